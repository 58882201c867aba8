from __future__ import annotations

import datetime
import os
import threading
from pathlib import Path

import pytest

import logrotor
from support import logger_of, run


def test_backups_and_file_are_read_in_order(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=100, backupCount=99, compression="gzip")
    for number in range(50):
        logger_of(handler).warning("number %d", number)
    handler.finish()
    with logrotor.open(log) as reader:
        records = list(reader)
    assert records == [f"number {number}" for number in range(50)]
    assert Path(records[0].segment).name.endswith(".gz")
    assert (records[0].offset, records[1].offset) == (0, 9)
    assert records[-1].segment == str(log)


def test_last_and_reverse_choose_lines(log: Path) -> None:
    log.write_text("one\ntwo\nthree\n")
    assert list(logrotor.open(log, last=2)) == ["two", "three"]
    assert list(logrotor.open(log, last=2, reverse=True)) == ["three", "two"]


def test_since_and_until_skip_whole_files(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, naming="timestamp")
    logger = logger_of(handler)
    logger.warning("before")
    handler.doRollover()
    logger.warning("after")
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    tomorrow = (now + 2 * day).timestamp()
    os.utime(log, (tomorrow, tomorrow))
    assert list(logrotor.open(log, since=now + day)) == ["after"]
    assert list(logrotor.open(log, until=(now - day).timestamp())) == ["before"]
    assert list(logrotor.open(log, since=now - day)) == ["before", "after"]


def test_follow_sees_each_record_once_across_rotations(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=200, backupCount=999)
    logger = logger_of(handler)
    logger.warning("number 0")
    reader = logrotor.open(log, follow=True)

    def write() -> None:
        for number in range(1, 500):
            logger.warning("number %d", number)

    writing = threading.Thread(target=write)
    writing.start()
    found = [next(reader) for _ in range(500)]
    writing.join()
    assert found == [f"number {number}" for number in range(500)]
    reader.close()
    assert list(reader) == []


def test_close_ends_a_reader_that_waits_in_another_thread(log: Path) -> None:
    log.write_text("one\n")
    reader = logrotor.open(log, follow=True)
    assert next(reader) == "one"
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.extend(reader))
    waiting.start()
    reader.close()
    waiting.join(60)
    assert not waiting.is_alive()
    assert found == []


def test_signal_interrupts_a_reader_that_waits(log: Path) -> None:
    log.write_text("one\n")
    program = """
        import os, signal, sys, threading, logrotor
        # A script in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        reader = logrotor.open(sys.argv[1], follow=True)
        print(next(reader))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            next(reader)
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert run(program, log) == "one\ninterrupted\n"


def test_damage_is_raised_and_reading_resumes_after_it(log: Path) -> None:
    log.write_bytes(b"one\n" + bytes(4096) + b"two\n")
    reader = logrotor.open(log)
    assert next(reader) == "one"
    with pytest.raises(logrotor.DamageError, match="4096 NUL bytes") as raised:
        next(reader)
    assert (raised.value.kind, raised.value.offset) == ("Hole", 4)
    assert list(reader) == ["two"]


def test_bytes_are_decoded_as_asked(log: Path) -> None:
    log.write_bytes(b"h\xf6he\n")
    assert list(logrotor.open(log, encoding="latin-1")) == ["h\u00f6he"]
    assert list(logrotor.open(log)) == ["h\ufffdhe"]
    with pytest.raises(UnicodeDecodeError):
        list(logrotor.open(log, errors="strict"))


def test_missing_log_is_an_os_error_with_its_name(log: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        logrotor.open(log)
    assert raised.value.filename is not None
    assert str(raised.value.filename).startswith(str(log.parent))


def test_contradicting_arguments_are_refused(log: Path) -> None:
    with pytest.raises(logrotor.ConfigError, match="follow"):
        logrotor.open(log, follow=True, reverse=True)
