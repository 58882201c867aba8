"""Rotating log files that many threads and many processes share without losing a line.

The handlers take the place of those of the standard library, and of concurrent-log-handler:

    from logrotor import RotatingFileHandler

    logging.basicConfig(handlers=[RotatingFileHandler("app.log", maxBytes=10**7, backupCount=7)])

`open` reads a log back, across its backups. `FileLock`, `atomic_write` and `PolicyStore` are the
parts that it is made of.
"""

from ._blocks import AtomicFile, PolicyStore, atomic_write
from ._errors import (
    AlreadyLocked,
    ConfigError,
    DamageError,
    Error,
    LockTimeout,
    PolicyConflict,
    PolicyError,
)
from ._handlers import (
    ConcurrentRotatingFileHandler,
    ConcurrentTimedRotatingFileHandler,
    RotatingFileHandler,
    TimedRotatingFileHandler,
)
from ._native import FileLock, LockGuard, __version__
from ._reading import LogReader, Record, open
from ._settings import Settings

__all__ = [
    "AlreadyLocked",
    "AtomicFile",
    "ConcurrentRotatingFileHandler",
    "ConcurrentTimedRotatingFileHandler",
    "ConfigError",
    "DamageError",
    "Error",
    "FileLock",
    "LockGuard",
    "LockTimeout",
    "LogReader",
    "PolicyConflict",
    "PolicyError",
    "PolicyStore",
    "Record",
    "RotatingFileHandler",
    "Settings",
    "TimedRotatingFileHandler",
    "__version__",
    "atomic_write",
    "open",
]
