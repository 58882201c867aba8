//! A rotating log file that many threads and many processes share, and that loses no line.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod atomic;
mod clock;
mod config;
mod error;
mod fs;
pub mod lock;
mod maintenance;
#[cfg(feature = "policy")]
#[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
pub mod policy;
mod rotation;
mod segment;
mod stats;
mod sys;
#[cfg(feature = "tracing")]
mod tracing;
mod writer;

pub use clock::Clock;
pub use config::{Builder, Config};
pub use error::{Error, ErrorKind, Result};
pub use lock::{FileLock, Guard, LockKind, Wait};
pub use maintenance::{Compression, Maintenance};
pub use rotation::{Period, Zone};
pub use segment::Segment;
pub use segment::name::{Naming, Packing};
pub use stats::{Event, Stats};
pub use writer::{Delivery, Durability, LineRecords, Overflow, RotatingFileWriter};
