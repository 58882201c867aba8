"""Servers with several workers log under load, and every record is looked for.

    python benches/servers.py [--short] [--handlers logrotor,stdlib,clh] [SCENARIO ..]

gunicorn, uWSGI, Celery and process pools log to one file of 64 KiB segments, which are compressed
with gzip. Workers are replaced meanwhile. Each record has a number of its own, which its worker
also notes in a file without rotation once the log call has returned. A table says what was lost,
doubled or torn. The exit status is 1 if that is so for logrotor. `--short` runs logrotor alone,
with fewer records. A server that is not installed is skipped.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import http.client
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

# Runs in the workers. A unit is what a request or task logs.
APP = """
import gzip, logging, logging.handlers, os, shutil

PATH, KIND = os.environ["LOG"], os.environ["KIND"]
SIZE, COUNT = 64 * 1024, 10_000

def compress(source, target):
    with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    os.remove(source)

def make():
    if KIND == "logrotor":
        import logrotor
        return logrotor.RotatingFileHandler(
            PATH, maxBytes=SIZE, backupCount=COUNT, compression="gzip"
        )
    if KIND == "clh":
        from concurrent_log_handler import ConcurrentRotatingFileHandler
        return ConcurrentRotatingFileHandler(PATH, "a", SIZE, COUNT, use_gzip=True)
    handler = logging.handlers.RotatingFileHandler(PATH, maxBytes=SIZE, backupCount=COUNT)
    # As the logging cookbook has it.
    handler.namer = lambda name: name + ".gz"
    handler.rotator = compress
    return handler

handler = make()
handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
logger = logging.Logger("app")
logger.addHandler(handler)
noted = os.open(os.environ["NOTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
logger.info("unit loaded-%d record 0 %s.", os.getpid(), "x" * 60)

def unit(number):
    for record in range(20):
        logger.info("unit %s record %d %s.", number, record, "x" * 60)
    os.write(noted, f"{number}\\n".encode())

def application(environ, start_response):
    unit(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\\n"]

try:
    import celery
except ImportError:
    pass
else:
    if os.environ.get("BROKER"):
        celery_app = celery.Celery("app", broker="filesystem://")
        celery_app.conf.update(
            broker_transport_options={
                "data_folder_in": os.environ["BROKER"],
                "data_folder_out": os.environ["BROKER"],
            },
            worker_hijack_root_logger=False,
            worker_max_tasks_per_child=25,
        )
        task = celery_app.task(unit, name="unit")
"""

POOL = """
import concurrent.futures, multiprocessing, sys
import app

if __name__ == "__main__":
    method, count = sys.argv[1], int(sys.argv[2])
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=context) as pool:
        list(pool.map(app.unit, range(count)))
"""

SENDER = """
import sys, app
for number in range(int(sys.argv[1])):
    app.task.delay(number)
"""

Load = Callable[["Place", int], float]


class Place:
    """The directory of one run."""

    def __init__(self, folder: str, kind: str) -> None:
        self.folder = Path(folder)
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.noted = self.folder / "noted"
        self.noted.touch()
        (self.folder / "app.py").write_text(APP)
        (self.folder / "pool.py").write_text(POOL)
        (self.folder / "sender.py").write_text(SENDER)
        self.broker = self.folder / "broker"
        self.broker.mkdir()
        self.environment = {
            **os.environ,
            "KIND": kind,
            "LOG": str(self.logs / "app.log"),
            "NOTED": str(self.noted),
            "PYTHONPATH": folder,
        }

    def start(self, *command: object, **environment: str) -> subprocess.Popen[bytes]:
        """Start a server in a session of its own."""
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "output").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def units(self) -> list[str]:
        """Return the units that their workers have noted."""
        return self.noted.read_text().split()

    def output(self) -> str:
        """Return what the server printed."""
        return (self.folder / "output").read_text()[-4000:]


def program(name: str) -> str:
    """Return the path of a program beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(done: Callable[[], bool], server: subprocess.Popen[bytes], place: Place) -> None:
    """Wait until something is so, which fails if the server ends."""
    deadline = time.monotonic() + 300
    while not done():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server does not do its work:\n{place.output()}")
        time.sleep(0.01)


def request(port: int, number: object) -> bool:
    """Return whether the request was answered."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/?{number}")
        answered = connection.getresponse().status == 200
        connection.close()
    except OSError:
        return False
    except http.client.HTTPException:
        return False
    return answered


def serve(place: Place, count: int, *command: object) -> float:
    """Send requests, and have the server replace its workers at a third and two thirds."""
    port = free_port()
    server = place.start(*(f"127.0.0.1:{port}" if part == "PORT" else part for part in command))
    try:
        wait_for(lambda: request(port, "first"), server, place)
        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for part in range(3):
                numbers = range(part * count // 3, (part + 1) * count // 3)
                sent = pool.map(lambda number: request(port, number), numbers)
                if part:
                    server.send_signal(signal.SIGHUP)
                answered = sum(sent)
                if answered < len(numbers) // 2:
                    raise RuntimeError(f"{answered} answers:\n{place.output()}")
        return time.perf_counter() - start
    finally:
        end(server, signal.SIGINT if "uwsgi" in str(command[0]) else signal.SIGTERM)


def end(server: subprocess.Popen[bytes], number: int) -> None:
    """End a server and its workers."""
    server.send_signal(number)
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def gunicorn(*options: str) -> Load:
    """Return the load for gunicorn."""

    def load(place: Place, count: int) -> float:
        command = [program("gunicorn"), "-w", 4, "--log-level", "warning", "-b", "PORT"]
        command += ["--max-requests", max(count // 20, 20), *options, "app:application"]
        return serve(place, count, *command)

    return load


def uwsgi(place: Place, count: int) -> float:
    """Run uWSGI, which forks without Python's knowledge."""
    options = ["--master", "--processes", "4", "--need-app", "--disable-logging"]
    options += ["--max-requests", str(max(count // 20, 20)), "--wsgi-file", "app.py"]
    return serve(place, count, program("uwsgi"), "--http-socket", "PORT", *options)


def celery(place: Place, count: int) -> float:
    """Run Celery's pool of forked workers, each for 25 tasks."""
    broker = {"BROKER": str(place.broker)}
    command = [program("celery"), "-A", "app:celery_app", "worker", "-c", "4", "-l", "error"]
    server = place.start(*command, "-P", "prefork", **broker)
    try:
        start = time.perf_counter()
        sender = place.start(sys.executable, "sender.py", count, **broker)
        sender.wait()
        wait_for(lambda: len(set(place.units())) >= count, server, place)
        return time.perf_counter() - start
    finally:
        end(server, signal.SIGTERM)


def pool(method: str) -> Load:
    """Return the load for a process pool."""

    def load(place: Place, count: int) -> float:
        start = time.perf_counter()
        server = place.start(sys.executable, "pool.py", method, count)
        if server.wait(600) != 0:
            raise RuntimeError(place.output())
        return time.perf_counter() - start

    return load


SCENARIOS: dict[str, tuple[str, Load]] = {
    "gunicorn": ("gunicorn", gunicorn()),
    "gunicorn --preload": ("gunicorn", gunicorn("--preload")),
    "uwsgi": ("uwsgi", uwsgi),
    "celery": ("celery", celery),
    "pool fork": ("", pool("fork")),
    "pool forkserver": ("", pool("forkserver")),
    "pool spawn": ("", pool("spawn")),
}

LINE = re.compile(r"[\d-]+ [\d:,]+ INFO unit (\S+) record (\d+) x{60}\.")


def look(place: Place) -> tuple[int, int, int, int]:
    """Return how many records were noted, and are lost, doubled and torn."""
    found: collections.Counter[tuple[str, int]] = collections.Counter()
    torn = 0
    for file in place.logs.iterdir():
        # Lock files, and temporaries of a compression that ended with its process.
        if file.name.endswith(".lock") or file.name.startswith("."):
            continue
        content, is_cut = unpacked(file)
        if is_superseded(file, content):
            continue
        torn += is_cut
        for line in content.decode(errors="replace").splitlines():
            match = LINE.fullmatch(line)
            if match:
                found[match[1], int(match[2])] += 1
            else:
                torn += 1
    noted = place.units()
    expected = {(unit, record) for unit in noted for record in range(20)}
    # A unit that was logged again, because its request was, is noted again.
    times = collections.Counter(noted)
    lost = len(expected - found.keys())
    doubled = sum(
        max(0, count - max(1, times[key[0]])) for key, count in found.items() if key in expected
    )
    return len(expected), lost, doubled, torn


def unpacked(file: Path) -> tuple[bytes, bool]:
    """Return the content of a file as far as it is whole, and whether it is cut off."""
    data = file.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data, False
    content = b""
    while data:
        stream = zlib.decompressobj(wbits=31)
        try:
            content += stream.decompress(data)
        except zlib.error:
            return content, True
        if not stream.eof:
            return content, True
        data = stream.unused_data
    return content, False


def is_superseded(file: Path, content: bytes) -> bool:
    """Whether a file is there compressed as well, because its process ended before it removed it.

    The next process removes it, and `logrotor.open` reads one of them.
    """
    packed = file.with_name(file.name + ".gz")
    return packed.exists() and unpacked(packed) == (content, False)


def is_installed(name: str) -> bool:
    """Whether a server, or the package of a handler, is there."""
    return importlib.util.find_spec(name) is not None or Path(program(name)).exists()


def main() -> int:
    """Run the scenarios, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", nargs="*", choices=[[], *SCENARIOS])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--handlers", default="")
    options = parser.parse_args()
    handlers = (options.handlers or ("logrotor" if options.short else "logrotor,stdlib,clh")).split(
        ","
    )
    count = 300 if options.short else 3000
    failed = False
    print("| workers | handler | records | lost | doubled | torn | records/s |")
    print("|---|---|--:|--:|--:|--:|--:|", flush=True)
    for name in options.scenario or SCENARIOS:
        server, load = SCENARIOS[name]
        if server and not is_installed(server):
            print(f"skipped: {server} is not installed")
            continue
        for kind in handlers:
            if kind == "clh" and not is_installed("concurrent_log_handler"):
                print("skipped: concurrent-log-handler is not installed")
                continue
            with tempfile.TemporaryDirectory() as folder:
                place = Place(folder, kind)
                seconds = load(place, count)
                records, lost, doubled, torn = look(place)
            rate = records / seconds
            print(
                f"| {name} | {kind} | {records} | {lost} | {doubled} | {torn} | {rate:.0f} |",
                flush=True,
            )
            failed |= kind == "logrotor" and any((lost, doubled, torn, records < count * 10))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
