"""Building blocks: whole files, locks between processes, shared settings."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Union

from . import _native

if TYPE_CHECKING:
    from collections.abc import Iterator

    Path = str | os.PathLike[str]

Data = Union[str, bytes, bytearray, memoryview]


class AtomicFile:
    """New content of a file, which replaces it when it is committed.

    Readers see the old content or the new one, whole. As a context manager it is committed at the
    end, and discarded after an exception. `sync` says what is on the disk then:
    `"file_and_directory"`, `"file"` or `"none"`. With `replace=False` a file that exists stays, and
    `commit` raises `FileExistsError`.
    """

    def __init__(
        self,
        path: Path,
        *,
        encoding: str = "utf-8",
        sync: str = "file_and_directory",
        mode: int | None = None,
        replace: bool = True,
        follow_links: bool = True,
    ) -> None:
        self._encoding = encoding
        self._file = _native.AtomicFile(
            os.fspath(path), sync=sync, mode=mode, replace=replace, follow_links=follow_links
        )

    def write(self, data: Data) -> int:
        """Add text or bytes to the new content."""
        content = data.encode(self._encoding) if isinstance(data, str) else bytes(data)
        self._file.write(content)
        return len(data)

    def commit(self) -> None:
        """Put the content in place."""
        self._file.commit()

    def discard(self) -> None:
        """Leave the file as it was."""
        self._file.discard()

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def atomic_write(path: Path, data: Data | None = None, **options: Any) -> AtomicFile | None:
    """Replace the file at `path` by `data`, or return an `AtomicFile` to write to.

    The options are those of `AtomicFile`.
    """
    file = AtomicFile(path, **options)
    if data is None:
        return file
    with file:
        file.write(data)
    return None


class PolicyStore:
    """A dict that processes share in a file, versioned and checked, changed while they run.

    `path` is a file, or a URL such as `s3://bucket/app.policy`. With `initial`, it is created
    unless it exists. `validate` gets each dict that is read or written, and raises an exception if
    it must not be in force. A child of a fork opens the file again by itself.
    """

    def __init__(
        self,
        path: Path,
        *,
        initial: dict[str, Any] | None = None,
        validate: Callable[[dict[str, Any]], object] | None = None,
        keep: int | None = None,
        lock_timeout: float | None = None,
        interval: float | None = None,
        cache: Path | None = None,
        mode: int | None = None,
    ) -> None:
        self._store = _native.PolicyStore(
            os.fspath(path),
            initial=initial,
            validate=validate,
            keep=keep,
            lock_timeout=lock_timeout,
            interval=interval,
            cache=cache,
            mode=mode,
        )

    @property
    def path(self) -> str:
        """The absolute path, or the URL."""
        return str(self._store.path)

    @property
    def version(self) -> int:
        """The number of the version in force in this process."""
        return self._store.version

    @property
    def current(self) -> dict[str, Any]:
        """A copy of the settings in force in this process. `reload` looks for newer ones."""
        return self._store.current()

    @property
    def metadata(self) -> dict[str, Any]:
        """Version, author, comment, origin, time and text of the settings in force."""
        return self._store.metadata()

    @property
    def problem(self) -> str | None:
        """Why the stored settings are not in force, if they are not."""
        return self._store.problem()

    def reload(self) -> bool:
        """Look for a newer version. Return whether there is one."""
        return self._store.reload()

    def update(
        self,
        change: Callable[[dict[str, Any]], dict[str, Any] | None],
        *,
        comment: str | None = None,
        if_version: int | None = None,
    ) -> int:
        """Have `change` alter the newest settings, or return others, and put them in force.

        No other process changes them meanwhile. Return the new version. With `if_version`, raise
        `PolicyConflict` unless that is the version before.
        """
        return self._store.update(change, comment=comment, if_version=if_version)

    @contextmanager
    def edit(self, comment: str | None = None) -> Iterator[dict[str, Any]]:
        """Return a copy of the newest settings, and put it in force at the end of the block.

        Raise `PolicyConflict` if another process has changed them during the block.
        """
        self.reload()
        version, settings = self.version, self.current
        yield settings
        self.update(lambda _: settings, comment=comment, if_version=version)

    def rollback(self, version: int) -> int:
        """Put an older version in force again. Return the new version."""
        return self._store.rollback(version)

    def history(self) -> list[dict[str, Any]]:
        """Return the versions that are kept, the oldest first."""
        return self._store.history()

    def diff(self, before: int, after: int) -> list[tuple[str, str | None, str | None]]:
        """Return the settings that differ: name, value before and after, as TOML."""
        return self._store.diff(before, after)
