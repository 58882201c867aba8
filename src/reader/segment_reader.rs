//! One segment that a forward reader has open.

use super::content::Content;
use super::damage::{Damage, DamageKind};
use super::round::Bookmark;
use std::collections::VecDeque;

/// The longest unfinished line that waits for its end, in bytes.
const MAX_UNFINISHED: u64 = 16 * 1024 * 1024;

/// A segment that is being read.
pub(super) struct SegmentReader {
    pub(super) content: Content,
    /// Distinguishes the segments of one reader.
    pub(super) number: u64,
    /// The offset up to which it may be read in this round.
    pub(super) limit: u64,
    /// The offset up to which no further end of a line was found.
    pub(super) searched: u64,
    /// Whether nothing is appended any more, or nothing more is wanted.
    pub(super) is_final: bool,
}

impl SegmentReader {
    /// Whether all that may be read in this round was read.
    pub(super) fn is_at_limit(&self) -> bool {
        self.content.position >= self.limit
    }

    pub(super) fn bookmark(&self) -> Bookmark {
        let open = &self.content.open;
        Bookmark { id: open.entry.id, created: open.created, offset: self.content.position }
    }

    /// Makes the present position the end: nothing after it is read.
    pub(super) fn end_here(&mut self) {
        self.limit = self.content.position;
        self.is_final = true;
    }

    /// Sets the limit of the next round to the end of the last whole line.
    ///
    /// An unfinished line of more than 16 MiB is not waited for. A file that is shorter than what
    /// was read of it was cut short, and is read from its start.
    pub(super) fn measure(&mut self, reports: &mut VecDeque<Damage>) -> Result<(), Damage> {
        let content = &mut self.content;
        let len = content.len()?;
        if len < content.position {
            reports.push_back(Damage::new(DamageKind::CutShort, &*content.name, len));
            (content.position, self.limit, self.searched) = (0, 0, 0);
        }
        let from = content.position.max(self.searched);
        self.limit = match content.last_line_end(from, len)? {
            Some(end) => end,
            None if len - content.position > MAX_UNFINISHED => len,
            None => content.position,
        };
        self.searched = len;
        Ok(())
    }

    /// Notes the segment's true end, if it has one by now.
    pub(super) fn settle(&mut self) {
        // If that is unknown, the segment stays open; nothing is lost by it.
        if !self.content.open.may_grow().unwrap_or(true) {
            if let Ok(len) = self.content.len() {
                (self.limit, self.is_final) = (len, true);
            }
        }
    }
}
