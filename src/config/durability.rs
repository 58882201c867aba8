//! The setting of durability: what survives a power cut.

use crate::keywords::keywords;

/// What of a log survives a power cut or a crash of the system. (The end of a process alone, also by
/// `kill -9`, never costs a record that was delivered.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Durability {
    /// What the system has written back by then, usually all but the last half minute; and all that was
    /// written before the last [`sync`](crate::RotatingFileWriter::sync). The default.
    #[default]
    None,
    /// Backups as well: a segment is synced soon after it was rotated away, before it is compressed, and
    /// off the log calls' way. What [`close`](crate::RotatingFileWriter::close) returns `Ok` for is
    /// synced; a failure is counted.
    OnRotate,
    /// Every record whose log call has returned `Ok`. Threads that write at the same time share one
    /// `fdatasync`. If that fails, the records that it was to cover, and those written while it was under way, may or may
    /// not be on the disk, and the log call of each fails. Only with [`Delivery::Direct`](crate::Delivery::Direct).
    EveryRecord,
}

keywords!(Durability, "durability":
    None => "none", OnRotate => "on_rotate", EveryRecord => "every_record",
);
