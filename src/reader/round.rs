//! The rounds of a forward reader: how they end, and the position at which the last one ends.

use crate::fs::FileId;
use std::time::SystemTime;

/// The point at which reading ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadMode {
    /// At the end that the active segment had when it was reached.
    Once,
    /// When the stream is stopped.
    Follow,
}

/// The outcome of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// There may be more to read.
    Moved,
    /// There is no more to read for now.
    Idle,
    /// Reading is over.
    Over,
}

/// How far the newest segment was read when reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bookmark {
    pub(super) id: FileId,
    pub(super) created: Option<SystemTime>,
    pub(super) offset: u64,
}
