"""Keyword arguments of handlers as the settings of a log."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict, Union

Size = Union[int, str]
"""A number of bytes, or a text such as `"64 MiB"`."""

Span = Union[float, timedelta, str]
"""A number of seconds, a `timedelta`, or a text such as `"1 day"`."""


class Buffer(TypedDict, total=False):
    """The buffer of `buffered=`."""

    capacity: Size
    flush_interval: Span
    overflow: str


class Archive(TypedDict, total=False):
    """The object store of `archive=`."""

    url: str
    host: str
    max_rate: Size
    when_full: str
    verify: str


class Settings(TypedDict, total=False):
    """What a log can do beyond the handlers of the standard library.

    Sizes are numbers of bytes or `"64 MiB"`, spans are seconds, a `timedelta` or `"1 day"`.
    """

    #: The maximum size of the log on disk, with all its backups.
    max_total_size: Size | None
    #: How long a backup is kept.
    max_backup_age: Span | None
    #: The oldest backups are removed until so much is free.
    min_free_space: Size | None
    #: `"gzip"` or `"zstd"`.
    compression: str | None
    #: 1 to 9 for gzip, 1 to 22 for zstd.
    compression_level: int | None
    #: How many of the newest backups stay uncompressed.
    keep_uncompressed: int
    #: `"on_rotate"` or `"every_record"`: what survives a power cut.
    durability: str | None
    #: Records go to a buffer first. Those in it are lost if the process is killed.
    buffered: bool | Buffer
    #: The path or URL of a policy, from which all settings are taken.
    policy: str | os.PathLike[str] | None
    #: The URL of an object store that gets each finished segment.
    archive: str | Archive | None
    #: `"number"` (`app.log.1`), `"timestamp"` or `"timestamp_infix"`.
    naming: str
    #: Rotations by size are at least so far apart.
    min_interval: Span | None
    #: The age at which a segment is rotated.
    max_age: Span | None
    #: Whether opening the log rotates it.
    rotate_on_open: bool
    #: How long a log call waits for another process that rotates.
    lock_timeout: Span
    #: How often the log's path is compared with the open file.
    check_interval: Span
    #: `"thread"`, or `"inline"`: a log call compresses, and there are no threads.
    maintenance: str


if TYPE_CHECKING:
    Pairs = list[tuple[str, str]]

_SPANS = {"max_backup_age", "min_interval", "max_age", "lock_timeout", "check_interval"}
_RETENTION = ("max_total_size", "max_backup_age", "min_free_space", "archive", "policy")


def limits_backups(settings: Mapping[str, Any]) -> bool:
    """Whether anything but their number decides what happens to backups."""
    return any(settings.get(name) is not None for name in _RETENTION)


def pairs(settings: Mapping[str, Any]) -> Pairs:
    """Return names and values as in a file of settings."""
    known = Settings.__annotations__
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise TypeError(f"unknown argument {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return [pair for name, value in settings.items() for pair in _pair(name, value)]


def _pair(name: str, value: Any) -> Pairs:
    if name == "buffered":
        return [("delivery", _delivery(value))]
    if name == "archive" and isinstance(value, Mapping):
        fields = (f"{key} = {json.dumps(part)}" for key, part in value.items())
        return [(name, "{ " + ", ".join(fields) + " }")]
    if name == "policy" and value is not None:
        return [(name, os.fspath(value))]
    if value is None:
        return [(name, "none")]
    if isinstance(value, bool):
        return [(name, str(value).lower())]
    return [(name, span(value) if name in _SPANS else str(value))]


def _delivery(buffered: Any) -> str:
    if not isinstance(buffered, Mapping):
        return "buffered" if buffered else "direct"
    parts = ["buffered"]
    for name, value in buffered.items():
        parts.append(f"{name}={span(value) if name == 'flush_interval' else value}")
    return ",".join(parts)


def span(value: Span) -> str:
    """Return a span of time as text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, timedelta):
        value = timedelta(seconds=value)
    return f"{value // timedelta(microseconds=1)}us"
