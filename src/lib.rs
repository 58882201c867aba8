//! A rotating log file that many threads and many processes share, and that loses no line.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod atomic;
mod clock;
mod error;
mod fs;
pub mod lock;
mod sys;

pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use lock::{FileLock, Guard, LockKind, Wait};
