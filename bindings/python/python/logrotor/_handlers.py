"""Handlers for `logging` that many processes may use on one file."""

from __future__ import annotations

import codecs
import contextlib
import locale
import logging
import logging.handlers
import os
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import ConfigError
from ._settings import Settings, limits_backups, pairs

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from typing_extensions import Unpack

    Path = str | os.PathLike[str]

# The maximum size of a segment that is never rotated for its size.
_NO_LIMIT = 2**63 - 1


class BaseHandler(logging.handlers.BaseRotatingHandler):
    """What all handlers of this package have in common.

    `emit` is one record: it is in the kernel, whole, once the call has returned. The handler opens
    the log itself in each process, after a fork, and after `close`.
    """

    terminator = "\n"
    backupCount: int

    # Not of the class above, which would open the file.
    def _start(
        self,
        filename: Path,
        mode: str,
        encoding: str | None,
        errors: str | None,
        delay: bool,
        settings: dict[str, Any],
        newline: str | None = None,
    ) -> None:
        filename = os.fsdecode(filename)
        _check_mode(mode)
        _check_errors(errors)
        # As text files of Python do: without an encoding, that of the locale.
        self.encoding = encoding
        self.errors = errors
        self.mode = mode
        self.delay = delay
        self.baseFilename = os.path.abspath(filename)
        self._codec, header = _codec(encoding)
        self._newline = _newline(newline)
        self._arguments = (self.baseFilename, _merged(settings), header)
        self._writer = _native.Writer(*self._arguments)
        if not delay:
            self._writer.open()
        logging.Handler.__init__(self)
        self.stream = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record if the filters let it pass.

        Unlike other handlers it holds no lock meanwhile: threads write side by side.
        """
        passed: Any = self.filter(record)
        if isinstance(passed, logging.LogRecord):
            record = passed
        if passed:
            self.emit(record)
        return passed  # type: ignore[no-any-return]

    def emit(self, record: logging.LogRecord) -> None:
        """Append the record to the log, and rotate it if that is due."""
        try:
            # A formatter need not work from several threads at once.
            with self.lock:  # type: ignore[union-attr]
                text = self.format(record)
            text += self.terminator
            if self._newline is not None:
                text = text.replace("\n", self._newline)
            self._writer.write(text.encode(self._codec, self.errors or "strict"))
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all records are in the kernel. They are, unless the handler is `buffered`."""
        self._writer.flush()

    def close(self) -> None:
        """Write the buffer and close the file. A later record opens it again."""
        try:
            self._writer.close()
        finally:
            logging.Handler.close(self)

    def doRollover(self) -> None:
        """Rotate now, unless the file has no record."""
        self._writer.rotate()

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Return `False`: the log is rotated within `emit`, for all processes at once."""
        return False

    def stats(self) -> dict[str, Any]:
        """Return the counters of this process since it opened the log, empty if it has not."""
        return self._writer.stats() or {}

    def segments(self) -> list[str]:
        """Return the paths of the log's files, the oldest first."""
        return [str(path) for path in self._writer.segments()]

    def reopen(self) -> None:
        """Open the log's path again, after another program has moved the file."""
        self._writer.reopen()

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        self._writer.sync()

    def finish(self) -> None:
        """Wait until the backups are compressed and removed as far as that is due."""
        self._writer.finish()

    def setStream(self, stream: Any) -> None:
        """Refuse: the log chooses its file."""
        raise TypeError("the handler writes to its log alone; use logging.StreamHandler")

    @property
    def namer(self) -> None:
        """`None`: see `naming`."""
        return None

    @namer.setter
    def namer(self, namer: object) -> None:
        if namer is not None:
            why = "all processes must know the names of backups"
            raise ConfigError(f'namer: {why}; use naming="timestamp" or compression="gzip"')

    @property
    def rotator(self) -> None:
        """`None`: see `compression`."""
        return None

    @rotator.setter
    def rotator(self, rotator: object) -> None:
        if rotator is not None:
            why = "a backup is renamed, and compressed when no process has it open any more"
            raise ConfigError(f'rotator: {why}; use compression="gzip" or "zstd", or archive=URL')

    def __getstate__(self) -> dict[str, Any]:
        own = {"lock", "stream", "_writer"}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.stream = None
        self._writer = _native.Writer(*self._arguments)
        self.createLock()
        # As the constructor does, so that `logging.shutdown` closes it.
        logging._addHandlerRef(self)  # type: ignore[attr-defined]


class RotatingFileHandler(BaseHandler):
    """`logging.handlers.RotatingFileHandler` for many processes.

    A file of `maxBytes` becomes `app.log.1`, and the one before it `app.log.2`, up to
    `backupCount`. If one of them is zero, the file is not rotated, unless another argument limits
    the backups (see `Settings`).
    """

    def __init__(
        self,
        filename: Path,
        mode: str = "a",
        maxBytes: int = 0,
        backupCount: int = 0,
        encoding: str | None = None,
        delay: bool = False,
        errors: str | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.maxBytes = _check_number("maxBytes", maxBytes)
        self.backupCount = _check_number("backupCount", backupCount)
        if maxBytes > 0:
            # As the standard library does: what is there must stay.
            mode = "a"
        rotates = maxBytes > 0 and (backupCount > 0 or limits_backups(settings))
        self._start(
            filename,
            mode,
            encoding,
            errors,
            delay,
            {
                "max_size": maxBytes if rotates else _NO_LIMIT,
                "max_backups": backupCount if backupCount > 0 else None,
                "naming": "timestamp" if settings.get("archive") else "number",
                **settings,
            },
        )

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Return whether the record would not fit. `emit` does not ask."""
        if self.maxBytes <= 0:
            return False
        try:
            size = os.path.getsize(self.baseFilename)
        except OSError:
            return False
        if size == 0:
            return False
        text = self.format(record) + self.terminator
        return size + len(text.encode(self._codec, self.errors or "strict")) > self.maxBytes


class TimedRotatingFileHandler(BaseHandler):
    """`logging.handlers.TimedRotatingFileHandler` for many processes.

    `when` and `interval` mean what they mean there: `"S"`, `"M"`, `"H"` and `"D"` count from the
    creation of the file, `"midnight"` and `"W0"` to `"W6"` go by the calendar. Backups are named by
    the time of their rotation, in UTC: `app.log.2026-11-20T23-57-01.123456Z`.
    """

    def __init__(
        self,
        filename: Path,
        when: str = "h",
        interval: int = 1,
        backupCount: int = 0,
        encoding: str | None = None,
        delay: bool = False,
        utc: bool = False,
        atTime: datetime.time | None = None,
        errors: str | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.when = _upper(when)
        self.backupCount = _check_number("backupCount", backupCount)
        self.utc = utc
        self.atTime = atTime
        times, self.interval = _times(self.when, interval, atTime)
        self._start(
            filename,
            "a",
            encoding,
            errors,
            delay,
            {
                "max_size": _NO_LIMIT,
                "max_backups": backupCount if backupCount > 0 else None,
                "zone": "utc" if utc else "local",
                **times,
                **settings,
            },
        )


class ConcurrentRotatingFileHandler(BaseHandler):
    """`concurrent_log_handler.ConcurrentRotatingFileHandler` with the same arguments.

    With `backupCount` 0 a full file is removed, unless another argument limits the backups.
    """

    def __init__(
        self,
        filename: Path,
        mode: str = "a",
        maxBytes: int = 0,
        backupCount: int = 0,
        encoding: str | None = None,
        debug: bool = False,
        delay: bool | None = None,
        use_gzip: bool = False,
        owner: Sequence[str] | None = None,
        chmod: int | None = None,
        umask: int | None = None,
        newline: str | None = None,
        terminator: str = "\n",
        unicode_error_policy: str = "ignore",
        lock_file_directory: str | None = None,
        keep_file_open: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        self.maxBytes = _check_number("maxBytes", maxBytes)
        self.backupCount = _check_number("backupCount", backupCount)
        self._start_concurrent(
            filename,
            mode,
            encoding,
            {
                "max_size": maxBytes if maxBytes > 0 else _NO_LIMIT,
                "max_backups": None
                if backupCount <= 0 and limits_backups(settings)
                else max(backupCount, 0),
                "naming": "timestamp" if settings.get("archive") else "number",
            },
            settings,
            debug,
            use_gzip,
            owner,
            chmod,
            umask,
            newline,
            terminator,
            unicode_error_policy,
            lock_file_directory,
        )

    def _start_concurrent(
        self,
        filename: Path,
        mode: str,
        encoding: str | None,
        limits: dict[str, Any],
        settings: Any,
        debug: bool,
        use_gzip: bool,
        owner: Sequence[str] | None,
        chmod: int | None,
        umask: int | None,
        newline: str | None,
        terminator: str,
        errors: str,
        lock_file_directory: str | None,
    ) -> None:
        if debug:
            raise ConfigError("debug: nothing is printed; use stats(), or leave it out")
        if lock_file_directory:
            where = "the lock file is beside the log, where all its processes find it"
            raise ConfigError(f"lock_file_directory: {where}; leave it out")
        bits = chmod
        if bits is None and umask is not None:
            bits = 0o666 & ~umask
        own = dict(limits)
        if use_gzip:
            own["compression"] = "gzip"
        if bits is not None:
            own["mode"] = f"0o{bits:o}"
        if owner:
            _give_to(os.path.abspath(filename), owner, bits)
        self.terminator = terminator or "\n"
        # The file is opened by the first record, as there.
        self._start(filename, mode, encoding, errors, True, {**own, **settings}, newline)
        self.chmod, self.umask, self.owner = chmod, umask, owner
        self.newline, self.use_gzip = newline, use_gzip
        self.unicode_error_policy = errors


class ConcurrentTimedRotatingFileHandler(ConcurrentRotatingFileHandler):
    """`concurrent_log_handler.ConcurrentTimedRotatingFileHandler` with the same arguments.

    `when` and `interval` are those of `TimedRotatingFileHandler`. With `maxBytes`, a full file is
    rotated before its time.
    """

    def __init__(
        self,
        filename: Path,
        when: str = "h",
        interval: int = 1,
        backupCount: int = 0,
        encoding: str | None = None,
        delay: bool = False,
        utc: bool = False,
        atTime: datetime.time | None = None,
        errors: str | None = None,
        maxBytes: int = 0,
        use_gzip: bool = False,
        owner: Sequence[str] | None = None,
        chmod: int | None = None,
        umask: int | None = None,
        newline: str | None = None,
        terminator: str = "\n",
        unicode_error_policy: str = "ignore",
        lock_file_directory: str | None = None,
        keep_file_open: bool = True,
        debug: bool = False,
        mode: str = "a",
        **settings: Unpack[Settings],
    ) -> None:
        self.when = _upper(when)
        self.utc = utc
        self.atTime = atTime
        self.maxBytes = _check_number("maxBytes", maxBytes)
        self.backupCount = _check_number("backupCount", backupCount)
        times, self.interval = _times(self.when, interval, atTime)
        self._start_concurrent(
            filename,
            "a",
            encoding,
            {
                "max_size": maxBytes if maxBytes > 0 else _NO_LIMIT,
                "max_backups": backupCount if backupCount > 0 else None,
                "zone": "utc" if utc else "local",
                **times,
            },
            settings,
            debug,
            use_gzip,
            owner,
            chmod,
            umask,
            newline,
            terminator,
            errors or unicode_error_policy,
            lock_file_directory,
        )


def _merged(settings: dict[str, Any]) -> list[tuple[str, str]]:
    own = ("max_size", "max_backups", "zone", "mode", "rotate_every", "rotate_at")
    fixed = [(name, str(settings[name])) for name in own if settings.get(name) is not None]
    return fixed + pairs({name: value for name, value in settings.items() if name not in own})


def _check_errors(errors: str | None) -> None:
    # Otherwise the first record with such a character would fail, and be lost.
    try:
        codecs.lookup_error("strict" if errors is None else errors)
    except (LookupError, TypeError):
        use = 'use "strict", "replace", "backslashreplace" or another name that codecs knows'
        raise ConfigError(f"errors = {errors!r}: {use}") from None


def _check_number(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{name} = {value!r}: use a whole number, 0 for no limit")
    return value


def _check_mode(mode: str) -> None:
    if not isinstance(mode, str) or mode[:1] not in ("a", "w", "x", "r"):
        raise ConfigError(f'mode = {mode!r}: use "a"')
    if not mode.startswith("a"):
        use = "use rotate_on_open=True for a fresh file at each start"
        raise ConfigError(f"mode = {mode!r}: other processes write to the file; {use}")


def _codec(encoding: str | None) -> tuple[str, bytes]:
    """Return the encoding of a record, and the bytes at the start of a file."""
    if encoding is None or encoding == "locale":
        encoding = locale.getpreferredencoding(False)
    name = codecs.lookup(encoding).name
    if name == "utf-8-sig":
        return "utf-8", codecs.BOM_UTF8
    if "\n".encode(name) != b"\n":
        raise ConfigError(f'encoding = {encoding!r}: a record must end in a byte 10; use "utf-8"')
    return name, b""


def _newline(newline: str | None) -> str | None:
    if newline not in (None, "", "\n", "\r", "\r\n"):
        raise ValueError(f"illegal newline value: {newline!r}")
    if newline is None:
        newline = os.linesep
    return None if newline in ("", "\n") else newline


def _upper(when: str) -> str:
    if not isinstance(when, str):
        raise ConfigError(f'when = {when!r}: use "S", "M", "H", "D", "midnight" or "W6"')
    return when.upper()


def _times(when: str, interval: int, at: datetime.time | None) -> tuple[dict[str, Any], int]:
    """Return settings for the end of a segment, and the interval in seconds."""
    _check_number("interval", interval)
    seconds = {"S": 1, "M": 60, "H": 3600, "D": 86400}
    if when in seconds:
        length = seconds[when] * interval
        return {"max_age": length}, length
    if when == "MIDNIGHT":
        _check_single(when, interval, "D")
        return {"rotate_every": "daily", **_at(at)}, 86400
    if when.startswith("W"):
        _check_single(when, interval, "D")
        return {"rotate_every": "weekly", **_week(when, at)}, 7 * 86400
    raise ValueError(f"Invalid rollover interval specified: {when}")


def _check_single(when: str, interval: int, instead: str) -> None:
    if interval != 1:
        use = f"use when={instead!r}, which counts from the file's creation"
        raise ConfigError(f"when = {when!r} with interval = {interval}: {use}")


def _week(when: str, at: datetime.time | None) -> dict[str, Any]:
    if len(when) != 2:
        text = "You must specify a day for weekly rollover from 0 to 6 (0 is Monday)"
        raise ValueError(f"{text}: {when}")
    if not "0" <= when[1] <= "6":
        raise ValueError(f"Invalid day specified for weekly rollover: {when}")
    # The standard library rotates at the end of the day, or on the day at `atTime`. Our week ends
    # with Sunday, or on Monday at that time.
    if when[1] != ("6" if at is None else "0"):
        use = "use 'W6' without atTime, 'W0' with it, or when='D' with interval=7"
        raise ConfigError(f"when = {when!r}: a week ends with Sunday; {use}")
    return _at(at)


def _at(at: datetime.time | None) -> dict[str, Any]:
    if at is None or (at.hour, at.minute, at.second) == (0, 0, 0):
        return {}
    if at.second or at.microsecond:
        raise ConfigError(f"atTime = {at}: use whole minutes")
    return {"rotate_at": f"{at.hour:02}:{at.minute:02}"}


def _give_to(path: str, owner: Sequence[str], mode: int | None) -> None:
    """Have the log belong to this user and group. Its later files do as well."""
    try:
        import grp
        import pwd
    except ImportError:
        raise ConfigError("owner: this system has none; leave it out") from None
    user, group = pwd.getpwnam(owner[0]).pw_uid, grp.getgrnam(owner[1]).gr_gid
    if not os.path.exists(path):
        if mode is None:
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        try:
            _native.AtomicFile(
                path, sync="none", mode=mode, owner=(user, group), replace=False
            ).commit()
        except FileExistsError:
            pass
        else:
            return
    found = os.stat(path)
    if (found.st_uid, found.st_gid) != (user, group):
        # Another user's log that this process may write to keeps its owner.
        with contextlib.suppress(PermissionError):
            os.chown(path, user, group)
