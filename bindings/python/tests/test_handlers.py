from __future__ import annotations

import datetime
import errno
import gzip
import logging
import logging.config
import logging.handlers
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import logrotor
from support import expect_once, lines, logger_of

HANDLERS: list[Any] = [
    logrotor.RotatingFileHandler,
    logrotor.TimedRotatingFileHandler,
    logrotor.ConcurrentRotatingFileHandler,
    logrotor.ConcurrentTimedRotatingFileHandler,
]


@pytest.mark.parametrize("kind", HANDLERS)
def test_record_is_in_the_file_when_emit_returns(kind: Any, log: Path) -> None:
    logger_of(kind(str(log))).warning("one %s", "record")
    assert log.read_text() == "one record\n"


@pytest.mark.parametrize("kind", HANDLERS)
def test_handler_is_a_file_handler_with_its_attributes(kind: Any, log: Path) -> None:
    handler = kind(log, backupCount=3)
    assert issubclass(kind, logging.handlers.BaseRotatingHandler)
    assert (handler.baseFilename, handler.backupCount) == (str(log), 3)
    assert handler.namer is None
    assert handler.rotator is None
    assert str(log) in repr(handler)


def test_stdlib_signature_is_accepted_by_position(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, "a", 50, 2, "utf-8", True, "replace")
    assert not log.exists()
    for number in range(20):
        logger_of(handler).warning("a record with the number %02d", number)
    handler.finish()
    assert [name.name for name in sorted(log.parent.iterdir()) if "lock" not in name.name] == [
        "app.log",
        "app.log.1",
        "app.log.2",
    ]
    assert lines(log) == [f"a record with the number {number}" for number in (17, 18, 19)]


def test_timed_signature_is_accepted_by_position(log: Path) -> None:
    midnight = datetime.time(3, 30)
    handler = logrotor.TimedRotatingFileHandler(
        log, "midnight", 1, 7, "utf-8", True, True, midnight, "replace"
    )
    logger_of(handler).warning("x")
    assert (handler.when, handler.utc, handler.atTime) == ("MIDNIGHT", True, midnight)


def test_segment_keeps_its_limit_and_loses_nothing(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=1000, backupCount=1000)
    logger = logger_of(handler)
    expected = [f"{number:04} {'x' * (number % 90)}" for number in range(500)]
    for line in expected:
        logger.warning(line)
    assert all(os.path.getsize(segment) <= 1000 for segment in handler.segments())
    assert len(handler.segments()) > 10
    assert lines(log) == expected


@pytest.mark.parametrize(("max_bytes", "backups"), [(0, 5), (100, 0)])
def test_without_one_limit_the_file_is_not_rotated(log: Path, max_bytes: int, backups: int) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=max_bytes, backupCount=backups)
    for _ in range(50):
        logger_of(handler).warning("0123456789")
    assert handler.segments() == [str(log)]


def test_another_limit_on_backups_replaces_their_number(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=1000, max_total_size=5000)
    for _ in range(500):
        logger_of(handler).warning("x" * 99)
    handler.finish()
    sizes = [os.path.getsize(segment) for segment in handler.segments()]
    assert 3 <= len(sizes) <= 5
    assert sum(sizes) <= 5000


@pytest.mark.parametrize("kind", HANDLERS[2:])
def test_clh_arguments_work(kind: Any, log: Path) -> None:
    handler = kind(
        log,
        maxBytes=200,
        backupCount=2,
        encoding="ascii",
        use_gzip=True,
        chmod=0o640,
        newline="\r\n",
        terminator="|\n",
        unicode_error_policy="replace",
        keep_file_open=False,
    )
    assert not log.exists()
    for _ in range(20):
        logger_of(handler).warning("größe\nnext line of it")
    handler.finish()
    assert log.read_bytes().startswith(b"gr??e\r\nnext line of it|\r\n")
    assert log.stat().st_mode & 0o777 == 0o640
    backups = [Path(name) for name in handler.segments()][:-1]
    assert [name.suffix for name in backups] == [".gz", ".gz"]
    assert gzip.decompress(backups[0].read_bytes()).startswith(b"gr??e\r\n")


def test_umask_of_clh_sets_the_mode(log: Path) -> None:
    handler = logrotor.ConcurrentRotatingFileHandler(log, "a", 100, 5, umask=0o027)
    for _ in range(10):
        logger_of(handler).warning("x" * 60)
    handler.finish()
    assert {os.stat(name).st_mode & 0o777 for name in handler.segments()} == {0o640}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_owner_of_clh_owns_all_files(log: Path) -> None:
    handler = logrotor.ConcurrentRotatingFileHandler(
        log, "a", 100, 5, owner=["nobody", "nogroup"], use_gzip=True
    )
    for _ in range(10):
        logger_of(handler).warning("x" * 60)
    handler.finish()
    import pwd

    assert len(handler.segments()) > 2
    owner = pwd.getpwnam("nobody").pw_uid
    assert {os.stat(name).st_uid for name in handler.segments()} == {owner}


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (HANDLERS[0], {"mode": "w"}, "rotate_on_open"),
    (HANDLERS[0], {"encoding": "utf-16"}, 'use "utf-8"'),
    (HANDLERS[0], {"compression": "lzma"}, "gzip"),
    (HANDLERS[0], {"maxBytes": 100, "backupCount": 1, "max_total_size": 10}, "max_size"),
    (HANDLERS[0], {"mode": "q"}, "mode = 'q': use \"a\""),
    (HANDLERS[0], {"mode": 3}, "mode = 3"),
    (HANDLERS[0], {"errors": "nope"}, "errors = 'nope'"),
    (HANDLERS[0], {"errors": 5}, "errors = 5"),
    (HANDLERS[0], {"maxBytes": "x"}, "maxBytes = 'x'"),
    (HANDLERS[0], {"backupCount": 1.5}, "backupCount = 1.5"),
    (HANDLERS[1], {"when": 5}, "when = 5"),
    (HANDLERS[1], {"when": "D", "interval": "x"}, "interval = 'x'"),
    (HANDLERS[1], {"when": "W2"}, "interval=7"),
    (HANDLERS[1], {"when": "midnight", "interval": 2}, "when='D'"),
    (HANDLERS[1], {"when": "midnight", "atTime": datetime.time(1, 2, 3)}, "whole minutes"),
    (HANDLERS[1], {"when": "X"}, "Invalid rollover interval"),
    (HANDLERS[1], {"when": "W7"}, "Invalid day"),
    (HANDLERS[2], {"lock_file_directory": "/run"}, "leave it out"),
    (HANDLERS[2], {"debug": True}, "stats()"),
    (HANDLERS[2], {"newline": "x"}, "illegal newline"),
    (HANDLERS[2], {"chmod": 0o044}, "0o600"),
    (HANDLERS[3], {"lock_file_directory": "/run"}, "leave it out"),
]


@pytest.mark.parametrize(("kind", "arguments", "instead"), REFUSED)
def test_refused_argument_says_what_to_do_instead(
    kind: Any, arguments: dict[str, Any], instead: str, log: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(instead)):
        kind(log, **arguments)
    assert not log.exists()


def test_name_may_be_bytes_as_for_open(log: Path) -> None:
    filename: Any = os.fsencode(log)
    logger_of(logrotor.RotatingFileHandler(filename)).warning("one")
    assert log.read_text() == "one\n"


def test_missing_file_has_the_number_of_its_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.log") as raised:
        next(iter(logrotor.open(tmp_path / "missing.log")))
    assert raised.value.errno == errno.ENOENT
    assert raised.value.filename == str(tmp_path / "missing.log")


def test_unknown_argument_is_a_type_error_with_the_known_ones(log: Path) -> None:
    unknown: Any = {"max_backup_size": 1}
    with pytest.raises(TypeError, match="max_backup_age"):
        logrotor.RotatingFileHandler(log, **unknown)


@pytest.mark.parametrize("name", ["namer", "rotator"])
def test_namer_and_rotator_are_refused(name: str, log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log)
    setattr(handler, name, None)
    with pytest.raises(logrotor.ConfigError, match="compression"):
        setattr(handler, name, lambda *names: None)


def test_utf_8_sig_begins_each_file_with_its_mark(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=60, backupCount=9, encoding="utf-8-sig")
    for _ in range(6):
        logger_of(handler).warning("höhe 0123456789")
    for name in handler.segments():
        content = Path(name).read_bytes()
        assert content.startswith(b"\xef\xbb\xbfh")
        assert content.count(b"\xef\xbb\xbf") == 1


def test_seconds_since_creation_end_a_timed_segment(log: Path) -> None:
    handler = logrotor.TimedRotatingFileHandler(log, when="S", backupCount=100)
    logger = logger_of(handler)
    logger.warning("first")
    deadline = time.monotonic() + 60
    while len(handler.segments()) < 2 and time.monotonic() < deadline:
        logger.warning("next")
    segments = handler.segments()
    assert len(segments) >= 2
    assert Path(segments[0]).name.startswith("app.log.20")


def test_traceback_is_in_one_record_beside_other_threads(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=20_000, backupCount=1000)
    handler.setFormatter(logging.Formatter("<%(threadName)s %(message)s"))
    handler.terminator = ">\n"
    logger = logger_of(handler)

    def work() -> None:
        for number in range(100):
            try:
                raise ValueError("first line\nsecond line")
            except ValueError:
                logger.exception("number %d", number)

    threads = [threading.Thread(target=work, name=f"t{number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = "".join(Path(name).read_text() for name in handler.segments())
    records = content.split(">\n")[:-1]
    assert len(records) == 400
    for record in records:
        assert record.startswith("<t")
        assert record.count("<t") == 1
        assert record.endswith("ValueError: first line\nsecond line")
    heads = sorted(record.splitlines()[0] for record in records)
    assert heads == sorted(f"<t{t} number {n}" for t in range(4) for n in range(100))


def test_other_threads_run_while_a_record_waits(log: Path) -> None:
    """A log call that waits for another process's rotation lets the interpreter run."""
    import fcntl

    handler = logrotor.RotatingFileHandler(log, maxBytes=20, backupCount=5, lock_timeout=60)
    logger = logger_of(handler)
    logger.warning("0123456789")
    lock = os.open(f"{log}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    waiting = threading.Thread(target=logger.warning, args=("rotates first",))
    waiting.start()
    # Only possible if the other thread has released the interpreter.
    for _ in range(100):
        time.sleep(0.001)
        assert waiting.is_alive()
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
    waiting.join(60)
    assert lines(log) == ["0123456789", "rotates first"]


class Caught(logrotor.RotatingFileHandler):
    caught: int = 0

    def handleError(self, record: logging.LogRecord) -> None:
        self.caught += 1


def test_handle_error_gets_what_cannot_be_formatted_or_encoded(log: Path) -> None:
    handler = Caught(log, encoding="ascii")
    logger = logger_of(handler)
    logger.warning("%d", "no number")
    logger.warning("höhe")
    logger.warning("fine")
    assert handler.caught == 2
    assert lines(log) == ["fine"]


def test_handle_error_gets_what_the_system_refuses(log: Path) -> None:
    handler = Caught(log / "app.log", delay=True)
    log.write_text("not a directory")
    logger_of(handler).warning("lost")
    assert handler.caught == 1


def test_filters_apply_and_may_replace_the_record(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log)
    handler.addFilter(lambda record: "no" not in record.getMessage())
    logger = logger_of(handler)
    logger.warning("yes")
    logger.warning("no")
    assert lines(log) == ["yes"]


def test_record_after_close_opens_the_log_again(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, buffered=True)
    logger_of(handler).warning("one")
    handler.close()
    assert log.read_text() == "one\n"
    logger_of(handler).warning("two")
    # Without the buffer: nothing would write it at the end of the process.
    assert log.read_text() == "one\ntwo\n"


def test_buffer_is_written_by_flush(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(
        log, buffered={"capacity": "1 MiB", "flush_interval": 3600, "overflow": "block"}
    )
    logger_of(handler).warning("one")
    handler.flush()
    assert log.read_text() == "one\n"


def test_stats_count_records_and_rotations(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=10, backupCount=9, delay=True)
    assert handler.stats() == {}
    for _ in range(3):
        logger_of(handler).warning("12345678")
    stats = handler.stats()
    assert (stats["records"], stats["bytes"], stats["rotations"]) == (3, 27, 2)
    assert (stats["failures"], stats["last_error"]) == (0, None)


def test_settings_beyond_the_standard_library_reach_the_log(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(
        log,
        maxBytes=100,
        compression="zstd",
        compression_level=5,
        keep_uncompressed=1,
        durability="on_rotate",
        min_free_space="1 KiB",
        max_backup_age=datetime.timedelta(days=1),
        lock_timeout=0.5,
        check_interval="1 s",
        naming="timestamp_infix",
        maintenance="inline",
        rotate_on_open=True,
    )
    for _ in range(10):
        logger_of(handler).warning("x" * 60)
    handler.finish()
    names = [Path(name).name for name in handler.segments()]
    assert [name.endswith(".log.zst") for name in names] == [True] * 8 + [False] * 2
    assert lines(log) == ["x" * 60] * 10


def test_policy_gives_the_settings_and_changes_them(log: Path) -> None:
    policy = log.with_name("app.policy")
    store = logrotor.PolicyStore(policy, initial={"max_size": 50})
    handler = logrotor.RotatingFileHandler(log, policy=policy)
    for _ in range(4):
        logger_of(handler).warning("x" * 30)
    assert len(handler.segments()) == 4
    assert handler.stats()["policy_version"] == 1
    store.update(lambda settings: settings.update(max_size=1000))
    deadline = time.monotonic() + 60
    while handler.stats()["policy_version"] != 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(4):
        logger_of(handler).warning("x" * 30)
    assert len(handler.segments()) == 4


def test_archive_gets_finished_segments(log: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    handler = logrotor.RotatingFileHandler(
        log, maxBytes=100, backupCount=1, archive={"url": f"file://{store}", "host": "here"}
    )
    for number in range(20):
        logger_of(handler).warning("%03d %s", number, "x" * 40)
    deadline = time.monotonic() + 60
    while (handler.stats()["archived"] or 0) < 9 and time.monotonic() < deadline:
        time.sleep(0.01)
    handler.close()
    found = [str(line) for line in logrotor.open(log, archive=f"file://{store}")]
    assert found == [f"{number:03} {'x' * 40}" for number in range(20)]


def test_dict_config_uses_class_name_and_arguments(log: Path) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(levelname)s %(message)s"}},
            "handlers": {
                "file": {
                    "class": "logrotor.RotatingFileHandler",
                    "formatter": "plain",
                    "filename": str(log),
                    "maxBytes": 30,
                    "backupCount": 9,
                    "compression": "gzip",
                }
            },
            "loggers": {"dict": {"handlers": ["file"], "propagate": False}},
        }
    )
    for number in range(6):
        logging.getLogger("dict").error("number %d", number)
    assert lines(log) == [f"ERROR number {number}" for number in range(6)]


def test_file_config_uses_class_name_and_arguments(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "logging.ini"
    config.write_text(
        f"""\
[loggers]
keys=root,timed
[handlers]
keys=file
[formatters]
keys=plain
[formatter_plain]
format=%(message)s
[handler_file]
class=logrotor.ConcurrentTimedRotatingFileHandler
formatter=plain
args=({str(log)!r}, "midnight")
kwargs={{"maxBytes": 30, "max_total_size": "1 MiB"}}
[logger_root]
handlers=
[logger_timed]
handlers=file
qualname=timed
propagate=0
"""
    )
    logging.config.fileConfig(config, disable_existing_loggers=False)
    for number in range(6):
        logging.getLogger("timed").error("number %d", number)
    assert lines(log) == [f"number {number}" for number in range(6)]


def test_two_handlers_on_one_path_lose_nothing(log: Path) -> None:
    loggers = [
        logger_of(logrotor.RotatingFileHandler(log, maxBytes=500, backupCount=1000))
        for _ in range(2)
    ]
    for number in range(200):
        loggers[number % 2].warning("number %d", number)
    expect_once(log, (f"number {number}" for number in range(200)))


def test_memory_and_queue_handlers_pass_records_on(log: Path) -> None:
    import queue

    target = logrotor.RotatingFileHandler(log)
    listener = logging.handlers.QueueListener(queue.SimpleQueue(), target)
    listener.start()
    logger_of(logging.handlers.QueueHandler(listener.queue)).warning("queued")
    listener.stop()
    memory = logging.handlers.MemoryHandler(10, target=target)
    logger_of(memory).warning("remembered")
    memory.close()
    assert lines(log) == ["queued", "remembered"]
