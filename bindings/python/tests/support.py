"""What several tests use."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import logrotor


def logger_of(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger


def lines(log: Path) -> list[str]:
    return [str(line) for line in logrotor.open(log)]


def expect_once(log: Path, expected: Iterable[str]) -> None:
    assert sorted(lines(log)) == sorted(expected)


def run(program: str, *arguments: object, expect: int = 0) -> str:
    """Run a program in a process of its own. Return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expect, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def is_leased(file: Path) -> bool:
    """Whether a process holds a lease on the file."""
    import fcntl

    descriptor = os.open(file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
