"""One worker of concurrent-log-handler: the protocol of job.rs, the record of line.rs."""

import collections
import json
import logging
import sys
import time

from concurrent_log_handler import ConcurrentRotatingFileHandler

MESSAGE = "GET /api/v1/items/42 status=200 bytes=5316 cache=miss upstream=backend-3"
MASK = (1 << 64) - 1


def mix(worker, thread, seq):
    z = (worker << 52) ^ (thread << 44) ^ seq
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def text(worker, seq):
    """A record without its newline."""
    line = f"w{worker:04} t0000 s{seq:012} h{mix(worker, 0, seq):016x} {MESSAGE}"
    return line.ljust(127)


def open_log(setup):
    handler = ConcurrentRotatingFileHandler(
        setup["path"], maxBytes=setup["segment_bytes"], backupCount=setup["keep"]
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("peers")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    return logger, handler


def log(logger, job, limit):
    """Logs the worker's records; returns how long each call took, in ns."""
    calls = []
    start = time.perf_counter_ns()
    for seq in range(job["records"]):
        line = text(job["worker"], seq)
        before = time.perf_counter_ns()
        logger.info(line)
        after = time.perf_counter_ns()
        calls.append(after - before)
        if after - start > limit:
            break
    return calls


def main():
    job = json.loads(sys.argv[1])
    limit = job["limit"]["secs"] * 10**9 + job["limit"]["nanos"]
    logger, handler = open_log(job["setup"])
    print("\npeers:ready", flush=True)
    sys.stdin.readline()
    cpu, started = time.process_time(), time.monotonic_ns()
    calls = log(logger, job, limit)
    called = time.monotonic_ns()
    handler.close()
    report = {
        "written": [{"count": len(calls), "refused": []}],
        "timed": len(calls),
        "started": started,
        "called": called,
        "drained": time.monotonic_ns(),
        "cpu_secs": time.process_time() - cpu,
        "calls": list(collections.Counter(calls).items()),
        "faults": [],
        "unclosed": False,
    }
    print("\npeers:result " + json.dumps(report), flush=True)


main()
