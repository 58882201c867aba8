from __future__ import annotations

import concurrent.futures
import copy
import ctypes
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import logrotor
from support import expect_once, is_leased, lines, logger_of, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
linux = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are listed on Linux")


def in_child(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> None:
    """Do `work` in a forked child, and wait for its end."""
    child = fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Pipe:
    """A process waits on it for another."""

    def __init__(self) -> None:
        self.read, self.written = os.pipe()

    def signal(self) -> None:
        os.write(self.written, b"x")

    def wait(self) -> None:
        assert os.read(self.read, 1) == b"x"


def test_forked_child_writes_with_a_handle_of_its_own(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=200, backupCount=1000)
    logger = logger_of(handler)
    logger.warning("parent 0")

    def work() -> None:
        for number in range(100):
            logger.warning("child %d", number)
        # Its own counters: it has not the parent's handle.
        assert handler.stats()["records"] == 100

    in_child(work)
    logger.warning("parent 1")
    assert handler.stats()["records"] == 2
    expect_once(log, [f"child {n}" for n in range(100)] + ["parent 0", "parent 1"])


def test_fork_that_python_does_not_know_of_is_noticed(log: Path) -> None:
    """uWSGI forks from C, and calls no function of `os.register_at_fork`."""
    handler = logrotor.RotatingFileHandler(log)
    logger_of(handler).warning("parent")

    def work() -> None:
        logger_of(handler).warning("child")
        assert handler.stats()["records"] == 1

    in_child(work, ctypes.PyDLL(None).fork)
    expect_once(log, ["parent", "child"])


@linux
@pytest.mark.parametrize("fork", ["os", "C"])
def test_silent_child_lets_go_of_the_parent_s_segment(log: Path, fork: str) -> None:
    handler = logrotor.RotatingFileHandler(log, maxBytes=10_000, backupCount=9, compression="gzip")
    logger_of(handler).warning("one")
    begun, done = Pipe(), Pipe()
    child = (os.fork if fork == "os" else ctypes.PyDLL(None).fork)()
    if child == 0:
        begun.signal()
        done.wait()
        os._exit(0)
    try:
        begun.wait()
        handler.doRollover()
        handler.finish()
        names = [Path(name).name for name in handler.segments()]
        assert names == ["app.log.1.gz", "app.log"]
        # The parent has its own lease.
        assert is_leased(log)
    finally:
        done.signal()
        os.waitpid(child, 0)
    assert lines(log) == ["one"]


@linux
def test_child_keeps_descriptors_that_are_not_of_the_log(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log)
    logger_of(handler).warning("one")
    # As of a program whose standard error is appended to the log.
    other = os.open(log, os.O_WRONLY | os.O_APPEND)
    in_child(lambda: os.write(other, b"by hand\n"))
    assert lines(log) == ["one", "by hand"]


def test_child_writes_whatever_threads_the_parent_had(log: Path) -> None:
    """The threads log during each fork, so a lock that the child inherits is often locked."""
    handler = logrotor.RotatingFileHandler(
        log, maxBytes=2000, backupCount=10_000, compression="gzip"
    )
    logger = logger_of(handler)
    stop = threading.Event()
    counts = [0] * 3

    def work(number: int) -> None:
        while not stop.is_set():
            logger.warning("thread %d %d", number, counts[number])
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for child in range(50):
            in_child(lambda child=child: logger.warning("child %d", child))  # type: ignore[misc]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    expected = [f"thread {t} {n}" for t in range(3) for n in range(counts[t])]
    expect_once(log, expected + [f"child {child}" for child in range(50)])


def test_buffer_of_the_parent_is_written_once(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log, buffered={"flush_interval": 3600})
    logger = logger_of(handler)
    logger.warning("parent")

    def work() -> None:
        logger.warning("child")
        handler.close()

    in_child(work)
    handler.close()
    expect_once(log, ["parent", "child"])


def test_grandchildren_write_as_well(log: Path) -> None:
    logger = logger_of(logrotor.RotatingFileHandler(log))

    def work(generation: int) -> None:
        logger.warning("generation %d", generation)
        if generation < 20:
            in_child(lambda: work(generation + 1))

    work(0)
    expect_once(log, [f"generation {number}" for number in range(21)])


def test_kill_costs_nothing_once_emit_has_returned(log: Path) -> None:
    program = """
        import logging, os, signal, sys, logrotor
        logger = logging.Logger("x")
        logger.addHandler(logrotor.RotatingFileHandler(sys.argv[1], maxBytes=500, backupCount=99))
        for number in range(100):
            logger.warning("number %d", number)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run(program, log, expect=-signal.SIGKILL)
    assert lines(log) == [f"number {number}" for number in range(100)]


def test_exit_without_cleanup_costs_nothing(log: Path) -> None:
    program = """
        import logging, os, sys, logrotor
        logger = logging.Logger("x")
        logger.addHandler(logrotor.RotatingFileHandler(sys.argv[1]))
        logger.warning("last words")
        os._exit(3)
    """
    run(program, log, expect=3)
    assert lines(log) == ["last words"]


def test_shutdown_writes_the_buffer(log: Path) -> None:
    program = """
        import logging, sys, logrotor
        logging.basicConfig(handlers=[logrotor.RotatingFileHandler(sys.argv[1], buffered=True)])
        for number in range(1000):
            logging.warning("number %d", number)
    """
    assert run(program, log) == ""
    assert len(lines(log)) == 1000


def test_daemon_threads_log_until_the_interpreter_has_ended(log: Path) -> None:
    program = """
        import logging, sys, threading, logrotor
        logging.basicConfig(
            handlers=[logrotor.RotatingFileHandler(sys.argv[1], maxBytes=5000, backupCount=9999)],
            format="%(message)s",
        )
        def work(name):
            number = 0
            while True:
                logging.warning("%s %d", name, number)
                number += 1
        begun = [threading.Thread(target=work, args=(n,), daemon=True) for n in "abcd"]
        for thread in begun:
            thread.start()
        logging.warning("main")
    """
    for _ in range(5):
        assert run(program, log) == ""
    found = lines(log)
    assert found.count("main") == 5
    assert all(line == "main" or line.split()[1].isdigit() for line in found)


def test_signal_handler_may_log_within_a_log_call(log: Path) -> None:
    program = """
        import logging, os, signal, sys, logrotor
        logging.basicConfig(
            handlers=[logrotor.RotatingFileHandler(sys.argv[1], maxBytes=900, backupCount=9999)],
            format="%(message)s",
        )
        signal.signal(signal.SIGUSR1, lambda *_: logging.warning("signal"))
        child = os.fork()
        if child == 0:
            for _ in range(200):
                os.kill(os.getppid(), signal.SIGUSR1)
            os._exit(0)
        count = 0
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            logging.warning("record")
            count += 1
        print(count)
    """
    # Python 3.12 and later warn of a fork in a process with threads.
    count = int(run(program, log).split()[0])
    found = lines(log)
    assert found.count("record") == count
    assert found.count("signal") == len(found) - count > 0


def test_sub_interpreter_is_refused_with_a_reason() -> None:
    program = """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import logrotor
        sub = interpreters.create()
        try:
            print(interpreters.run_string(sub, "import logrotor"))
        except Exception as error:
            print(error)
    """
    assert "subinterpreters" in run(program)


def test_pickled_handler_writes_to_the_same_log(log: Path) -> None:
    handler = logrotor.ConcurrentRotatingFileHandler(
        log, "a", 100, 5, use_gzip=True, terminator="!\n"
    )
    handler.setLevel("ERROR")
    for twin in (pickle.loads(pickle.dumps(handler)), copy.copy(handler)):
        assert (twin.level, twin.maxBytes) == (40, 100)
        logger_of(twin).error("twin")
        twin.close()
    assert log.read_text() == "twin!\ntwin!\n"


def write_some(task: tuple[logrotor.RotatingFileHandler, int]) -> int:
    handler, number = task
    logger = logger_of(handler)
    for part in range(20):
        logger.warning("task %d part %d", number, part)
    return os.getpid()


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_process_pool_of_each_start_method_loses_nothing(log: Path, method: str) -> None:
    handler = logrotor.RotatingFileHandler(
        log, maxBytes=1000, backupCount=10_000, compression="gzip"
    )
    logger_of(handler).warning("parent")
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        workers = set(pool.map(write_some, [(handler, number) for number in range(20)]))
    assert os.getpid() not in workers
    expected = [f"task {n} part {part}" for n in range(20) for part in range(20)]
    expect_once(log, [*expected, "parent"])


def test_inherited_reader_is_refused(log: Path) -> None:
    log.write_text("one\ntwo\n")
    reader = logrotor.open(log)
    assert next(reader) == "one"

    def work() -> None:
        with pytest.raises(RuntimeError, match="belongs to the parent"):
            next(reader)

    in_child(work)
    assert next(reader) == "two"


def test_inherited_guard_leaves_the_lock_to_the_parent(tmp_path: Path) -> None:
    lock = logrotor.FileLock(tmp_path / "a.lock")
    with lock:

        def work() -> None:
            with pytest.raises(logrotor.LockTimeout):
                logrotor.FileLock(tmp_path / "a.lock").exclusive(timeout=0)

        guard = lock
        in_child(lambda: guard.__exit__(None, None, None))
        in_child(work)
    lock.exclusive(timeout=0).unlock()


@linux
def test_lock_of_a_killed_parent_is_free_although_its_child_lives(tmp_path: Path) -> None:
    program = """
        import os, sys, signal, logrotor
        guard = logrotor.FileLock(sys.argv[1]).exclusive()
        if os.fork() == 0:
            os.read(int(sys.argv[2]), 1)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    import textwrap

    read, written = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "a.lock"), str(read)],
        pass_fds=[read],
    )
    assert parent.wait(60) == -signal.SIGKILL
    try:
        logrotor.FileLock(tmp_path / "a.lock").exclusive(timeout=0).unlock()
    finally:
        os.write(written, b"x")


def test_subprocess_inherits_no_descriptor(log: Path) -> None:
    handler = logrotor.RotatingFileHandler(log)
    logger_of(handler).warning("one")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        handler.close()
        assert not is_leased(log)
    finally:
        child.communicate(b"\n")


def test_stopped_worker_delays_no_other(log: Path) -> None:
    """One worker stops in mid-life, with its handle open. The other one rotates on."""
    handler = logrotor.RotatingFileHandler(log, maxBytes=200, backupCount=999)
    begun, go_on = Pipe(), Pipe()
    child = os.fork()
    if child == 0:
        logger_of(handler).warning("child 0")
        begun.signal()
        go_on.wait()
        logger_of(handler).warning("child 1")
        os._exit(0)
    begun.wait()
    for number in range(100):
        logger_of(handler).warning("parent %d", number)
    go_on.signal()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    expect_once(log, [f"parent {n}" for n in range(100)] + ["child 0", "child 1"])
