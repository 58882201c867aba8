"""Four processes write to one log, which is then read back: `python -m logrotor.demo`."""

from __future__ import annotations

import collections
import logging
import multiprocessing
import os
import sys
import tempfile
import time

import logrotor

WORKERS = 4
RECORDS = 25_000


def work(path: str, worker: int) -> None:
    """Log some records, one in a hundred with a traceback."""
    handler = logrotor.RotatingFileHandler(
        path, maxBytes=64 * 1024, backupCount=100_000, compression="gzip"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    logger = logging.Logger(f"worker {worker}")
    logger.addHandler(handler)
    for number in range(RECORDS):
        if number % 100:
            logger.info("record %d-%d", worker, number)
            continue
        try:
            raise ValueError("an exception in the log")
        except ValueError:
            logger.exception("record %d-%d", worker, number)
    handler.finish()


def main() -> int:
    """Print what was found. Return 1 if a record is missing, doubled or torn."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "app.log")
        start = time.perf_counter()
        workers = [
            multiprocessing.Process(target=work, args=(path, number)) for number in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - start
        found = collections.Counter(
            line.rsplit(" ", 1)[1] for line in logrotor.open(path) if " record " in line
        )
        files = len([name for name in os.listdir(folder) if name.startswith("app.log.")])
    expected = {f"{worker}-{number}" for worker in range(WORKERS) for number in range(RECORDS)}
    missing = len(expected - found.keys())
    doubled = sum(count - 1 for count in found.values())
    torn = len(found.keys() - expected)
    print(f"{WORKERS} processes wrote {len(expected)} records to {files} files in {seconds:.1f} s")
    print(f"missing: {missing}, doubled: {doubled}, torn: {torn}")
    return int(any((missing, doubled, torn)))


if __name__ == "__main__":
    sys.exit(main())
