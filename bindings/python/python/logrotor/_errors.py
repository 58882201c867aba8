"""The exceptions of this package."""

from __future__ import annotations


class Error(Exception):
    """A failure that the operating system has not caused: see `kind`."""

    #: The name of the kind, such as `"LockTimeout"`.
    kind: str = ""
    #: The file, if there is one.
    path: str | None = None


class ConfigError(Error, ValueError):
    """A setting that is unknown, invalid, or does not go with the others."""


class LockTimeout(Error, TimeoutError):
    """Another process held a lock for longer than the caller waits."""


class AlreadyLocked(Error):
    """This thread, or this object, holds the lock already."""


class PolicyError(Error):
    """Settings that cannot be read, or cannot be in force."""


class PolicyConflict(PolicyError):
    """Another process has changed the settings first."""


class DamageError(Error):
    """A place in a log where records are missing or unreadable.

    The iteration can be resumed: the next record is the one after the damage.
    """

    #: The offset in bytes in the uncompressed segment.
    offset: int = 0

    def __init__(self, text: str, kind: str = "", segment: str = "", offset: int = 0) -> None:
        """Describe the damage at one place."""
        super().__init__(text)
        self.kind, self.path, self.offset = kind, str(segment), offset


def of_kind(kind: str, text: str, path: object) -> Error:
    """Return the exception for a kind of the crate's errors."""
    error = _class_of(kind)(text)
    error.kind, error.path = kind, None if path is None else str(path)
    return error


def _class_of(kind: str) -> type[Error]:
    if kind.startswith("Policy"):
        return PolicyConflict if kind == "PolicyConflict" else PolicyError
    known: dict[str, type[Error]] = {
        "InvalidConfig": ConfigError,
        "LockTimeout": LockTimeout,
        "AlreadyLocked": AlreadyLocked,
    }
    return known.get(kind, Error)
