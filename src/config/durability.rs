//! The setting of durability: the records that survive a power loss.

use crate::keywords::keywords;

/// The records that survive a power loss or a crash of the system.
///
/// The end of a process alone, even by `kill -9`, never loses a record that is in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Durability {
    /// Those that the system has written back, usually all but the last 30 s, and all those before
    /// the last [`sync`](crate::RotatingFileWriter::sync). This is the default.
    #[default]
    None,
    /// Those in backups as well.
    ///
    /// A thread syncs each segment that this worker has left, soon after the rotation and before
    /// the segment is compressed. When [`finish`](crate::RotatingFileWriter::finish) or
    /// [`close`](crate::RotatingFileWriter::close) returns `Ok`, all of them are synced.
    /// [`Stats::failures`](crate::Stats::failures) counts failures.
    OnRotate,
    /// All those whose log call has returned `Ok`.
    ///
    /// Threads that write at the same time share one `fdatasync`. If it fails, the log call of each
    /// record that it covers fails, and so does that of each record written meanwhile; these may or
    /// may not be on the disk. Requires [`Delivery::Direct`](crate::Delivery::Direct).
    EveryRecord,
}

keywords!(Durability, "durability":
    None => "none", OnRotate => "on_rotate", EveryRecord => "every_record",
);
