//! The span of time to read, and the segments outside of it.

use super::walk::OpenSegment;
use std::time::{Duration, SystemTime};

/// The span of time to read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range {
    pub(super) since: Option<SystemTime>,
    pub(super) until: Option<SystemTime>,
    /// Whether records that are still to be written are wanted.
    pub(super) follows: bool,
}

impl Range {
    /// The time by which a file's last change may lag behind the clock.
    const LAG: Duration = Duration::from_secs(2);

    /// Whether a segment received its last record before the range begins.
    pub(super) fn is_before(&self, open: &OpenSegment) -> bool {
        let Some(since) = self.since else { return false };
        // Some file systems keep times up to the last that the type can express.
        let modified = open.entry.modified;
        let changed = modified.checked_add(Self::LAG).unwrap_or(modified);
        match open.rotated_at() {
            Some(rotated_at) => changed.max(rotated_at) < since,
            None => changed < since && !self.follows,
        }
    }
}

/// Returns the time at which a segment was started: the rotation of the one before or, if that is
/// unknown, the creation of the file. A file that was created after its last record is a copy; its
/// creation says nothing.
pub(super) fn started(open: &OpenSegment, before: Option<SystemTime>) -> Option<SystemTime> {
    let changed = open.entry.modified;
    let last = open.rotated_at().map_or(changed, |rotated_at| rotated_at.min(changed));
    before.or(open.created.filter(|created| *created <= last))
}
