"""The rounds of `benches/archive.sh`: see there. Arguments: the benchmark's program, the tools, a
directory, the number of rounds, and the file for the table."""

import array
import os
import pathlib
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / ".ci"))
from archive_server import ACCESS, BUCKET, REGION, SECRET, Server

PROGRAM, TOOLS, WORK = (pathlib.Path(argument) for argument in sys.argv[1:4])
ROUNDS = int(sys.argv[4])
RESULT = sys.argv[5]
SEED = int(os.environ.get("LOGROTOR_SEED", random.SystemRandom().getrandbits(32)))
KIB, MIB = 1024, 1024 * 1024
SETS = {"512 of 64 KiB": (512, 64 * KIB), "128 of 1 MiB": (128, MIB), "8 of 64 MiB": (8, 64 * MIB)}

# The other tools get the same files from the same directory, and each a new prefix.
BOTO3 = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, sys.argv[1])
import boto3
from botocore.config import Config
directory, prefix, threads = sys.argv[2], sys.argv[3], int(sys.argv[4])
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"], config=Config(
    s3={"addressing_style": "path"}, max_pool_connections=16))
def send(name):
    client.upload_file(os.path.join(directory, name), "logs", prefix + name)
start = time.monotonic()
if threads == 1:
    for name in sorted(os.listdir(directory)):
        send(name)
else:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(send, sorted(os.listdir(directory))))
print(f"seconds={time.monotonic() - start}")
"""


def run(command, server, **environment):
    """Returns the seconds that a command took, and the numbers that it printed."""
    environment = {**os.environ, **server.environment, **environment}
    start = time.monotonic()
    done = subprocess.run(
        [str(part) for part in command], check=True, env=environment, capture_output=True, text=True
    )
    took = time.monotonic() - start
    return took, {key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+)", done.stdout)}


def logrotor(verify):
    def send(server, directory, prefix):
        for name in ["app.log.archive", "app.log.archive.lock"]:
            (directory / name).unlink(missing_ok=True)
        url = f"s3://{BUCKET}/{prefix}"
        took, printed = run([PROGRAM, "send", directory / "app.log", url, verify], server)
        for name in ["app.log.archive", "app.log.archive.lock"]:
            (directory / name).unlink(missing_ok=True)
        return took, printed["peak_kib"]

    return send


def rclone(server, directory, prefix):
    options = ["--config", "/dev/null", "--s3-provider", "SeaweedFS", "--s3-endpoint", server.endpoint]
    options += ["--s3-access-key-id", ACCESS, "--s3-secret-access-key", SECRET, "--s3-region", REGION]
    command = [TOOLS / "python/bin/rclone", "copy", directory, f":s3:{BUCKET}/{prefix}", *options]
    return run(command, server)[0], None


def boto3(threads):
    def send(server, directory, prefix):
        # Without the time that Python takes to start.
        command = [sys.executable, "-c", BOTO3, "", directory, prefix + "/", threads]
        return run(command, server)[1]["seconds"], None

    return send


CONTESTANTS = {
    '**logrotor**, `verify = "checksum"`': logrotor("checksum"),
    "**logrotor**, each object read back": logrotor("read"),
    "`rclone copy`": rclone,
    "boto3, one after another": boto3(1),
    "boto3, 8 threads": boto3(8),
}


def files(count, size):
    """Backups of a log, compressed long ago."""
    directory = WORK / f"files.{size}"
    directory.mkdir()
    chance, old = random.Random(SEED), time.time() - 3600
    for number in range(count):
        path = directory / f"app.log.2026-11-20T{number // 60:02}-{number % 60:02}-00.000000Z.gz"
        path.write_bytes(chance.randbytes(size))
        os.utime(path, (old, old))
    return directory


def throughput(server):
    """Rows of the table: segments and bytes per second."""
    chance = random.Random(SEED)
    lines = ["| segments | | per second | MB/s | of the faster rival | peak memory |", "|---|---|--:|--:|--:|--:|"]
    for title, (count, size) in SETS.items():
        directory = files(count, size)
        seconds = {name: [] for name in CONTESTANTS}
        peaks = {name: [] for name in CONTESTANTS}
        for round_ in range(ROUNDS):
            names = list(CONTESTANTS)
            chance.shuffle(names)
            for name in names:
                prefix = f"{size}-{round_}-{names.index(name)}"
                took, peak = CONTESTANTS[name](server, directory, prefix)
                objects = found(server, prefix)
                assert objects == (count, count * size), (name, objects)
                seconds[name].append(took)
                if peak:
                    peaks[name].append(peak)
                print(f"{title}, round {round_}: {name} {took:.2f} s", file=sys.stderr)
                forget(server, prefix)
        shutil.rmtree(directory)
        rivals = [name for name in CONTESTANTS if "logrotor" not in name]
        # The faster one, by its median: the best of each round would be a contestant that has none
        # of the server's bad moments.
        rival = min(rivals, key=lambda name: statistics.median(seconds[name]))
        for name in CONTESTANTS:
            took = statistics.median(seconds[name])
            ratio = statistics.median(b / s for b, s in zip(seconds[rival], seconds[name]))
            peak = f"{max(peaks[name]) / KIB:.0f} MiB" if peaks[name] else ""
            lines.append(
                f"| {title} | {name} | {count / took:.3g} | {count * size / took / 1e6:.0f} "
                f"| {ratio:.2f} | {peak} |"
            )
    return lines


def listed(server, prefix):
    pages = server.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix + "/")
    return [item for page in pages for item in page.get("Contents", [])]


def found(server, prefix):
    """The number of segments in the store, and of their bytes."""
    objects = [item for item in listed(server, prefix) if item["Key"].endswith(".gz")]
    return len(objects), sum(item["Size"] for item in objects)


def forget(server, prefix):
    keys = [{"Key": item["Key"]} for item in listed(server, prefix)]
    for at in range(0, len(keys), 500):
        server.client.delete_objects(Bucket=BUCKET, Delete={"Objects": keys[at : at + 500]})


def set_policy(server, policy):
    """Sets the scheduling policy of all threads of the server. Later threads inherit it."""
    for thread in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))


def calls(server):
    """Rows of the table: log calls with the archive and without."""
    chance = random.Random(SEED)
    rate, seconds, size = 20_000, int(os.environ.get("LOGROTOR_BENCH_SECONDS", "40")), 4 * MIB
    # An uncompressed segment is sent 10 s after its last record.
    kinds = {
        "without": None,
        "with, the server yields": os.SCHED_IDLE,
        "with, the server competes": os.SCHED_OTHER,
    }
    nanos = {kind: array.array("I") for kind in kinds}
    each = {kind: [] for kind in kinds}
    archived = 0
    for round_ in range(ROUNDS):
        names = list(kinds)
        chance.shuffle(names)
        for kind in names:
            directory = WORK / "calls"
            directory.mkdir()
            policy, url = kinds[kind], ""
            if policy is not None:
                set_policy(server, policy)
                url = f"s3://{BUCKET}/calls/{round_}-{policy}"
            command = [PROGRAM, "calls", directory / "app.log", url, seconds, rate, size, WORK / "times"]
            _, printed = run(command, server)
            archived += int(printed["archived"])
            took = array.array("I")
            took.frombytes((WORK / "times").read_bytes())
            nanos[kind].extend(took)
            each[kind].append(sorted(took))
            shutil.rmtree(directory)
            print(f"calls, round {round_}: {kind} {printed}", file=sys.stderr)
    assert archived
    text = (
        f"{archived} segments of {size // MIB} MiB were archived meanwhile. The server runs on the cores "
        "of the log calls. It yields where a thread that logs can always take its core (SCHED_IDLE), as "
        "if it ran on a machine of its own."
    )
    lines = [
        *textwrap.wrap(text, 100),
        "",
        "| archive | calls | p50 | p99 | p99.99 | max | p50, p99, p99.99 of those without |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    shares = (0.5, 0.99, 0.9999)
    at = lambda values, share: values[min(len(values) - 1, int(len(values) * share))]
    for kind in kinds:
        values = sorted(nanos[kind])
        cells = [f"{at(values, share) / 1000:.1f} µs" for share in shares]
        cells.append(f"{values[-1] / 1e6:.1f} ms")
        # The median of the rounds' ratios.
        ratios = [
            statistics.median(at(a, share) / at(b, share) for a, b in zip(each[kind], each["without"]))
            for share in shares
        ]
        cells.append(", ".join(f"{ratio:.2f}" for ratio in ratios))
        lines.append(f"| {kind} | {len(values)} | {' | '.join(cells)} |")
    return lines


def memory(server):
    """A sentence: the peak memory with large segments, less that without any."""
    directory = WORK / "memory"
    size = 64 * MIB
    files(8, size).rename(directory)
    send = logrotor("checksum")
    peak = max(send(server, directory, f"memory-{verify}")[1] for verify in range(2))
    read = logrotor("read")(server, directory, "memory-read")[1]
    for path in directory.glob("*.gz"):
        path.unlink()
    # One small segment, for what the requests need in any case.
    least = directory / "app.log.2026-11-20T00-00-00.000000Z.gz"
    least.write_bytes(b"x" * 1000)
    os.utime(least, (time.time() - 3600,) * 2)
    base = send(server, directory, "memory-base")[1]
    segments = (max(peak, read) - base) * KIB / size
    text = (
        f"Peak memory with segments of 64 MiB, above that with one of 1000 bytes ({base / KIB:.0f} MiB): "
        f"{(peak - base) / KIB:.0f} MiB, and {(read - base) / KIB:.0f} MiB with each object read back: "
        f"{segments:.2f} segments."
    )
    return textwrap.wrap(text, 100)


def main():
    print(f"LOGROTOR_SEED={SEED}", file=sys.stderr)
    # Volumes that are full after one large segment make it wait for new ones, at random.
    server = Server("weed", TOOLS, WORK, volumes=40, volume_mb=4096)
    parts = os.environ.get("LOGROTOR_BENCH_PARTS", "throughput,calls,memory").split(",")
    try:
        text = [line for part in parts for line in [*globals()[part](server), ""]]
    finally:
        server.kill()
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    head = f"Made on {when}, with Linux {platform.release()} on {os.cpu_count()} cores, {ROUNDS} rounds."
    pathlib.Path(RESULT).write_text("\n".join([head, "", *text]))


main()
