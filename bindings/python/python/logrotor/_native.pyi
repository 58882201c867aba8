import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

_Path = str | os.PathLike[str]

__version__: str

class Writer:
    def __new__(
        cls, path: _Path, settings: list[tuple[str, str]], header: bytes = ...
    ) -> Writer: ...
    def open(self) -> None: ...
    def write(self, record: bytes) -> None: ...
    def rotate(self) -> Path | None: ...
    def reopen(self) -> None: ...
    def sync(self) -> None: ...
    def finish(self) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def is_open(self) -> bool: ...
    def stats(self) -> dict[str, Any] | None: ...
    def segments(self) -> list[Path]: ...

class Reader:
    def __new__(
        cls,
        path: _Path,
        *,
        since: float | None = ...,
        until: float | None = ...,
        follow: bool = ...,
        last: int | None = ...,
        reverse: bool = ...,
        archive: str | None = ...,
        origin: str | None = ...,
        memory_limit: int | None = ...,
    ) -> Reader: ...
    def __iter__(self) -> Reader: ...
    def __next__(self) -> tuple[bytes, Path, int]: ...
    def close(self) -> None: ...

class AtomicFile:
    def __new__(
        cls,
        path: _Path,
        *,
        sync: str = ...,
        mode: int | None = ...,
        owner: tuple[int, int] | None = ...,
        replace: bool = ...,
        follow_links: bool = ...,
    ) -> AtomicFile: ...
    def write(self, bytes: bytes) -> None: ...
    def commit(self) -> None: ...
    def discard(self) -> None: ...

class FileLock:
    """A lock that processes share. `with lock:` holds it exclusively.

    The lock file is `path` itself; with `beside=True` it is `<path>.lock`, and with `lock_dir` it
    is in that directory. It is removed after use unless `keep_file` is true.
    """

    def __new__(
        cls,
        path: _Path,
        *,
        beside: bool = ...,
        lock_dir: _Path | None = ...,
        mode: int | None = ...,
        keep_file: bool = ...,
    ) -> FileLock: ...
    @property
    def path(self) -> Path: ...
    def exclusive(self, timeout: float | None = ...) -> LockGuard:
        """Wait for the lock for at most `timeout` seconds, or without limit."""

    def shared(self, timeout: float | None = ...) -> LockGuard:
        """Wait for the lock, which other holders may share."""

    def __enter__(self) -> LockGuard: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

class LockGuard:
    """Holds a lock until `unlock`, or the end of a `with` block."""

    def unlock(self) -> None: ...
    def __enter__(self) -> LockGuard: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

class PolicyStore:
    def __new__(
        cls,
        path: _Path,
        *,
        initial: dict[str, Any] | None = ...,
        validate: Callable[[dict[str, Any]], object] | None = ...,
        keep: int | None = ...,
        lock_timeout: float | None = ...,
        interval: float | None = ...,
        cache: _Path | None = ...,
        mode: int | None = ...,
    ) -> PolicyStore: ...
    @property
    def path(self) -> Path: ...
    @property
    def version(self) -> int: ...
    def current(self) -> dict[str, Any]: ...
    def metadata(self) -> dict[str, Any]: ...
    def problem(self) -> str | None: ...
    def reload(self) -> bool: ...
    def update(
        self,
        change: Callable[[dict[str, Any]], dict[str, Any] | None],
        *,
        comment: str | None = ...,
        if_version: int | None = ...,
    ) -> int: ...
    def rollback(self, version: int) -> int: ...
    def history(self) -> list[dict[str, Any]]: ...
    def diff(self, before: int, after: int) -> list[tuple[str, str | None, str | None]]: ...
