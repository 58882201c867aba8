"""How long a log call takes, beside other handlers and the least that one can cost.

    python benches/handlers.py [--rounds N] [--records N]

The limit is a handler that formats and calls `os.write` on an appending descriptor, without
rotation. Rounds are interleaved, and the table has medians: microseconds per record of all
processes together, and the ratio to the limit. Records have about 128 bytes, and a file 10 MiB.
Each process logs from one thread, or from four. After each run the records are counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import logging.handlers
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE, COUNT = 10 * 1024 * 1024, 1000
# The message alone, so that formatting hides little. `BENCH_FORMAT` chooses another.
FORMAT = os.environ.get("BENCH_FORMAT", "%(message)s")
TEXT = "x" * 120

Log = Callable[[str, Any], None]


class Limit(logging.Handler):
    """What a handler cannot do without."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def emit(self, record: logging.LogRecord) -> None:
        """Format and write."""
        os.write(self.descriptor, (self.format(record) + "\n").encode())


def by(handler: logging.Handler) -> Log:
    """Return the log call of a logger with this handler."""
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    return logger.info


def limit(path: str) -> Log:
    """Return the limit."""
    return by(Limit(path))


def own(path: str) -> Log:
    """Return ours."""
    import logrotor

    return by(logrotor.RotatingFileHandler(path, maxBytes=SIZE, backupCount=COUNT))


def buffered(path: str) -> Log:
    """Return ours with a buffer, which loses up to 100 ms if the process is killed."""
    import logrotor

    handler = logrotor.RotatingFileHandler(path, maxBytes=SIZE, backupCount=COUNT, buffered=True)
    return by(handler)


def stdlib(path: str) -> Log:
    """Return that of the standard library."""
    return by(logging.handlers.RotatingFileHandler(path, maxBytes=SIZE, backupCount=COUNT))


def clh(path: str) -> Log:
    """Return concurrent-log-handler."""
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    return by(ConcurrentRotatingFileHandler(path, "a", SIZE, COUNT))


def loguru(path: str) -> Log:
    """Return loguru, which formats with its own syntax."""
    from loguru import logger

    logger.remove()
    logger.add(path, rotation=SIZE, format="{message}")
    return lambda text, number: logger.info(text.replace("%s", "{}"), number)


def picologging(path: str) -> Log:
    """Return picologging, a rewrite of the standard library's in C++. With one thread only."""
    import picologging
    import picologging.handlers

    handler = picologging.handlers.RotatingFileHandler(path, maxBytes=SIZE, backupCount=COUNT)
    handler.setFormatter(picologging.Formatter(FORMAT))
    logger = picologging.Logger("bench", picologging.INFO)
    logger.addHandler(handler)
    log: Log = logger.info
    return log


HANDLERS: dict[str, tuple[str, Callable[[str], Log]]] = {
    "limit": ("", limit),
    "logrotor": ("logrotor", own),
    "logrotor, buffered": ("logrotor", buffered),
    "standard library": ("", stdlib),
    "concurrent-log-handler": ("concurrent_log_handler", clh),
    "loguru": ("loguru", loguru),
    "picologging": ("picologging", picologging),
}


def work(name: str, path: str, records: int, threads: int, ready: Any, times: Any) -> None:
    """Log from one process, once all are ready."""
    log = HANDLERS[name][1](path)

    def part() -> None:
        for number in range(records // threads):
            log(TEXT + " %s", number)

    others = [threading.Thread(target=part) for _ in range(threads - 1)]
    ready.wait()
    start = time.monotonic()
    for other in others:
        other.start()
    part()
    for other in others:
        other.join()
    times.put((start, time.monotonic()))
    logging.shutdown()


def measure(name: str, processes: int, threads: int, records: int) -> tuple[float, int]:
    """Return microseconds per record, and how many records are missing."""
    context = multiprocessing.get_context("spawn")
    folder = tempfile.mkdtemp()
    try:
        path = os.path.join(folder, "app.log")
        ready, times = context.Barrier(processes), context.SimpleQueue()
        share = records // processes
        workers = [
            context.Process(target=work, args=(name, path, share, threads, ready, times))
            for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
        spans = [times.get() for _ in workers]
        for worker in workers:
            worker.join()
        found = sum(
            file.read_bytes().count(TEXT.encode())
            for file in Path(folder).iterdir()
            if not file.name.endswith("lock")
        )
    finally:
        shutil.rmtree(folder)
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    written = share // threads * threads * processes
    return seconds / written * 1e6, written - found


def main() -> int:
    """Print the table. Return 1 if ours lost a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 4])
    options = parser.parse_args()
    names = [
        name
        for name, (package, _) in HANDLERS.items()
        if not package or importlib.util.find_spec(package)
    ]
    failed = False
    print("| processes | threads | handler | µs per record | of the limit | missing |")
    print("|--:|--:|---|--:|--:|--:|")
    for threads in options.threads:
        for processes in options.processes:
            taken: dict[str, list[float]] = {name: [] for name in names}
            missing = dict.fromkeys(names, 0)
            measured = [name for name in names if threads == 1 or name != "picologging"]
            for _ in range(options.rounds):
                for name in measured:
                    micros, lost = measure(name, processes, threads, options.records)
                    taken[name].append(micros)
                    missing[name] += lost
            least = statistics.median(taken["limit"])
            for name in measured:
                micros = statistics.median(taken[name])
                print(
                    f"| {processes} | {threads} | {name} | {micros:.2f} | {micros / least:.2f} "
                    f"| {missing[name]} |",
                    flush=True,
                )
            failed |= any(missing[name] for name in names if name.startswith("logrotor"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
