"""Reading a log back."""

from __future__ import annotations

import datetime
import os
from typing import TYPE_CHECKING, Union

from . import _native

if TYPE_CHECKING:
    from types import TracebackType

Time = Union[datetime.datetime, float]
"""A `datetime`, or seconds since 1970. A `datetime` without zone is local time."""


class Record(str):
    """One line of a log, without its line break."""

    __slots__ = ("offset", "segment")

    #: The path that the line's file had when it was opened.
    segment: str
    #: The offset in bytes of the line in its uncompressed file.
    offset: int


class LogReader:
    """Iterates over the lines of a log, across its backups. `logrotor.open` returns one."""

    def __init__(self, reader: _native.Reader, encoding: str, errors: str) -> None:
        self._reader = reader
        self._encoding, self._errors = encoding, errors

    def __iter__(self) -> LogReader:
        return self

    def __next__(self) -> Record:
        line, segment, offset = next(self._reader)
        record = Record(line, self._encoding, self._errors)
        record.segment, record.offset = str(segment), offset
        return record

    def close(self) -> None:
        """End the iteration, also one that waits in another thread."""
        self._reader.close()

    def __enter__(self) -> LogReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open(
    path: str | os.PathLike[str],
    *,
    since: Time | None = None,
    until: Time | None = None,
    follow: bool = False,
    last: int | None = None,
    reverse: bool = False,
    archive: str | None = None,
    origin: str | None = None,
    memory_limit: int | None = None,
    encoding: str = "utf-8",
    errors: str = "replace",
) -> LogReader:
    """Read the log at `path` across its backups, the oldest line first.

    `since` and `until` skip whole files, so a few lines outside of the span are read as well.
    `last` reads only so many lines, `reverse` the newest first. `follow` waits for more lines, like
    `tail -F`, until `close` is called. `archive` reads the segments of an object store too, and
    `origin` chooses those of one machine.

    Damage raises `DamageError`; the next call resumes after it.
    """
    reader = _native.Reader(
        os.fspath(path),
        since=_seconds(since),
        until=_seconds(until),
        follow=follow,
        last=last,
        reverse=reverse,
        archive=archive,
        origin=origin,
        memory_limit=memory_limit,
    )
    return LogReader(reader, encoding, errors)


def _seconds(time: Time | None) -> float | None:
    return time.timestamp() if isinstance(time, datetime.datetime) else time
