from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

import logrotor
from support import run


def test_lock_excludes_other_processes(tmp_path: Path) -> None:
    program = """
        import sys, logrotor
        try:
            logrotor.FileLock(sys.argv[1]).exclusive(timeout=float(sys.argv[2]))
            print("locked")
        except logrotor.LockTimeout as error:
            print(error.kind, isinstance(error, TimeoutError))
    """
    lock = logrotor.FileLock(tmp_path / "a.lock")
    with lock:
        assert run(program, lock.path, 0) == "LockTimeout True\n"
        assert run(program, lock.path, 0.1) == "LockTimeout True\n"
    assert run(program, lock.path, 0) == "locked\n"


def test_lock_excludes_threads_and_readers_share_it(tmp_path: Path) -> None:
    lock = logrotor.FileLock(tmp_path / "data", beside=True)
    assert str(lock.path) == str(tmp_path / "data.lock")
    with lock.shared(), lock.shared(timeout=0), pytest.raises(logrotor.LockTimeout):
        lock.exclusive(timeout=0)
    counter = [0]

    def work() -> None:
        for _ in range(50):
            with lock:
                before = counter[0]
                os.stat(tmp_path)
                counter[0] = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter == [200]


def test_lock_that_this_thread_has_is_an_error(tmp_path: Path) -> None:
    lock = logrotor.FileLock(tmp_path / "a.lock")
    with lock, pytest.raises(logrotor.AlreadyLocked):
        lock.__enter__()
    with lock:
        pass


def test_lock_directory_and_kept_file_are_used(tmp_path: Path) -> None:
    lock = logrotor.FileLock(
        tmp_path / "data", lock_dir=tmp_path / "locks", keep_file=True, mode=0o660
    )
    with lock:
        pass
    (kept,) = (tmp_path / "locks").iterdir()
    assert kept.name.startswith("data.")
    assert kept.stat().st_mode & 0o777 == 0o660


def test_atomic_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    assert logrotor.atomic_write(path, "höhe", mode=0o640) is None
    assert path.read_bytes() == "höhe".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    logrotor.atomic_write(path, b"bytes", sync="none")
    assert path.read_bytes() == b"bytes"


def test_atomic_file_is_committed_or_discarded_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("old")
    with logrotor.AtomicFile(path) as file:
        file.write("new ")
        file.write(b"content")
        assert path.read_text() == "old"
    assert path.read_text() == "new content"
    file = logrotor.AtomicFile(path)
    file.write("lost")
    file.__exit__(KeyError, KeyError(), None)
    assert path.read_text() == "new content"
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
    with pytest.raises(ValueError, match="closed"):
        file.write("more")


def test_atomic_file_does_not_replace_unless_it_may(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("old")
    with pytest.raises(FileExistsError):
        logrotor.atomic_write(path, "new", replace=False)
    assert path.read_text() == "old"


def positive(settings: dict[str, Any]) -> None:
    if settings.get("limit", 1) < 1:
        raise ValueError("limit must be positive")


def test_policy_is_shared_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "app.policy"
    first = logrotor.PolicyStore(path, initial={"limit": 1}, validate=positive)
    second = logrotor.PolicyStore(path, validate=positive)
    assert first.update(lambda settings: settings.update(limit=2), comment="more") == 2
    assert second.current == {"limit": 1}
    assert second.reload()
    assert (second.current, second.version) == ({"limit": 2}, 2)
    assert second.metadata["comment"] == "more"
    with pytest.raises(logrotor.PolicyError, match="limit must be positive"):
        first.update(lambda settings: settings.update(limit=0))
    with pytest.raises(logrotor.PolicyConflict):
        first.update(lambda settings: None, if_version=1)
    assert first.current == {"limit": 2}


def test_policy_holds_values_of_all_kinds(tmp_path: Path) -> None:
    settings = {
        "text": "höhe",
        "number": -3,
        "real": 1.5,
        "flag": True,
        "list": [1, 2],
        "table": {"inner": {"deep": "x"}},
    }
    store = logrotor.PolicyStore(tmp_path / "app.policy", initial=settings)
    assert store.current == settings
    assert type(store.current["flag"]) is bool
    with pytest.raises(TypeError, match="leave out what is None"):
        store.update(lambda settings: settings.update(gone=None))


def test_policy_is_edited_in_a_block(tmp_path: Path) -> None:
    store = logrotor.PolicyStore(tmp_path / "app.policy", initial={"a": 1})
    with store.edit("why") as settings:
        settings["b"] = [2]
    assert store.current == {"a": 1, "b": [2]}
    with pytest.raises(KeyError), store.edit():
        raise KeyError
    assert store.version == 2
    other = logrotor.PolicyStore(tmp_path / "app.policy")
    with pytest.raises(logrotor.PolicyConflict), store.edit():
        other.update(lambda settings: settings.update(c=3))
    assert store.diff(1, 2) == [("b", None, "[2]")]
    assert [entry["version"] for entry in store.history()] == [1, 2, 3]
    assert store.rollback(1) == 4
    assert store.current == {"a": 1}


def test_exception_of_a_change_is_raised_and_changes_nothing(tmp_path: Path) -> None:
    store = logrotor.PolicyStore(tmp_path / "app.policy", initial={})
    with pytest.raises(ZeroDivisionError):
        store.update(lambda settings: {"x": 1 / 0})
    assert store.version == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_changes_the_policy(tmp_path: Path) -> None:
    store = logrotor.PolicyStore(tmp_path / "app.policy", initial={"a": 1})
    if os.fork() == 0:
        try:
            store.update(lambda settings: settings.update(a=2))
        finally:
            os._exit(0)
    os.wait()
    assert store.reload()
    assert store.current == {"a": 2}
