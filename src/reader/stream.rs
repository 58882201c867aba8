//! Reading forward, oldest segment first, while workers write and rotate.
//!
//! After a rotation, workers that have not noticed it still append to the backup. A reader that
//! waited for them would stand still while one of them idles. A reader that did not would lose what
//! they append. So a finished segment stays *open beside* its successors until no worker can append
//! to it any more, and reading goes in rounds:
//!
//! 1. For each open segment, **newest first**, note how far its whole lines go.
//! 2. Hand these lines out, **oldest first**.
//!
//! This keeps the order: a worker's records in the newer segment were written after all of its
//! records in the older one. The older one's end was noted later, so all of those are handed out
//! before.
//!
//! A segment whose successor is open needs no lease any more. It can be read to its end even if it
//! is compressed and removed by then. So readers hold up neither maintenance nor each other.

use super::buffer::{ReadBuffer, Sorted};
use super::content::{self, CHUNK, Content};
use super::damage::{Damage, DamageKind};
use super::round::{Bookmark, ReadMode, Round};
use super::segment_reader::SegmentReader;
use super::walk::{OpenSegment, Position, Reached, SegmentRef, Walk};
use super::{At, ByteSource, Pulled};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::error::Result;
use crate::segment::Location;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Walking,
    /// The limits noted last are handed out, and then reading is over.
    Ending,
    Over,
}

/// A log as one stream.
pub(super) struct Stream {
    walk: Walk,
    mode: ReadMode,
    until: Option<SystemTime>,
    phase: Phase,
    /// The segment that the walk has reached.
    at: Option<SegmentRef>,
    /// The time of that segment's rotation, if its name has it.
    rotated_at: Option<SystemTime>,
    /// The creation time of that backup, if its tag has it.
    created: Option<SystemTime>,
    /// Oldest first; the last one is the segment that the walk has reached.
    readers: Vec<SegmentReader>,
    opened: u64,
    buffer: ReadBuffer,
    /// The number of the segment whose bytes are in the buffer.
    reading: u64,
    name: Arc<Path>,
    offset: u64,
    damage: VecDeque<Damage>,
    looked: Stopwatch,
    followed_since: Option<SystemTime>,
    bookmark: Option<Bookmark>,
}

impl Stream {
    /// Creates a stream that has not reached a segment yet; see [`begin`](Self::begin). The numbers
    /// of its segments start after `opened`.
    pub(super) fn new(walk: Walk, mode: ReadMode, until: Option<SystemTime>, opened: u64) -> Self {
        let name = walk.location().path().into();
        let follows = mode == ReadMode::Follow;
        Self {
            walk,
            mode,
            until,
            phase: Phase::Walking,
            at: None,
            rotated_at: None,
            created: None,
            readers: Vec::new(),
            opened,
            buffer: ReadBuffer::new(2 * CHUNK),
            reading: opened,
            name,
            offset: 0,
            damage: VecDeque::new(),
            looked: Stopwatch::start(),
            followed_since: follows.then(|| Clock::system().now().into()),
            bookmark: None,
        }
    }

    pub(super) fn location(&self) -> &Location {
        self.walk.location()
    }

    /// Makes a following stream end once it has read what the log holds now.
    pub(super) fn stop(&mut self) {
        self.mode = ReadMode::Once;
    }

    pub(super) fn is_following(&self) -> bool {
        self.mode == ReadMode::Follow
    }

    /// Whether a rotated segment is open beside its successor.
    pub(super) fn is_beside(&self) -> bool {
        self.readers.len() > 1
    }

    /// Whether the limits noted last are the ends of all that the log held then.
    pub(super) fn is_up_to_date(&self) -> bool {
        let is_last =
            |at: &SegmentRef| at.position == Position::Active && at.is_in_place().unwrap_or(false);
        self.at.as_ref().is_some_and(is_last)
    }

    /// Returns the position at which reading has ended.
    pub(super) fn bookmark(&self) -> Option<Bookmark> {
        self.bookmark
    }

    /// Begins at an offset of a segment. Late records of the segments before it, `behind`, are read
    /// too.
    pub(super) fn begin(
        &mut self,
        reached: Reached,
        offset: u64,
        behind: Vec<OpenSegment>,
    ) -> Result<(), Damage> {
        self.report_missing();
        for open in behind {
            let mut content = Content::new(open)?;
            let end = content.settled_len()?;
            content.position = end;
            self.opened += 1;
            let number = self.opened;
            self.readers.push(SegmentReader {
                content,
                number,
                limit: end,
                searched: end,
                is_final: false,
            });
        }
        self.go(reached)?;
        if let Some(reader) = self.readers.last_mut().filter(|_| offset > 0) {
            reader.content.skip_to(offset)?;
            reader.searched = offset;
        }
        Ok(())
    }

    /// Has the first segment come after one that was skipped, if that is known.
    pub(super) fn continue_after(&mut self, skipped: Option<SegmentRef>) {
        self.at = skipped;
    }

    /// Hands out damage before any further byte.
    pub(super) fn report(&mut self, damage: Damage) {
        self.damage.push_back(damage);
    }

    /// Returns what is ready to be handed out.
    pub(super) fn ready_or_damage(&mut self) -> Option<Pulled> {
        if !self.buffer.ready().is_empty() {
            return Some(Pulled::Bytes);
        }
        self.damage.pop_front().map(Pulled::Damage)
    }

    /// Brings the next bytes of the oldest segment that has any, or a hole among them, into the
    /// buffer. Returns `false` if nothing can be done before the next round.
    pub(super) fn read(&mut self) -> bool {
        self.look_around();
        let at = match self.buffer.is_empty() {
            true => self.readers.iter().position(|reader| !reader.is_at_limit()),
            false => self.readers.iter().position(|reader| reader.number == self.reading),
        };
        let Some(at) = at else { return false };
        let reader = &mut self.readers[at];
        if self.reading != reader.number {
            (self.reading, self.name) = (reader.number, Arc::clone(&reader.content.name));
        }
        loop {
            let sorted = self.buffer.sort(reader.is_at_limit());
            self.offset = reader.content.position - self.buffer.held();
            match sorted {
                Sorted::Ready => break,
                Sorted::Hole(len) => {
                    let offset = self.offset - len;
                    let damage = Damage::new(DamageKind::Hole, &*self.name, offset);
                    self.damage.push_back(Damage { bytes: Some(len), ..damage });
                    break;
                }
                Sorted::More if reader.is_at_limit() => break,
                Sorted::More => {}
            }
            let space = self.buffer.space();
            let left = reader.limit - reader.content.position;
            let len = usize::try_from(left).unwrap_or(space.len()).min(space.len());
            match reader.content.read(&mut space[..len]) {
                // The end of a compressed segment. Or the file was cut short: the next round finds
                // out.
                Ok(0) if reader.content.is_compressed() => reader.end_here(),
                Ok(0) => reader.limit = reader.content.position,
                Ok(taken) => self.buffer.filled(taken),
                Err(damage) => {
                    self.damage.push_back(damage);
                    reader.end_here();
                }
            }
        }
        true
    }

    /// Begins the next round, or ends.
    pub(super) fn advance(&mut self) -> Result<Round, Damage> {
        let round = self.next_round();
        if round.is_err() {
            self.close();
        }
        round
    }

    fn close(&mut self) {
        self.phase = Phase::Over;
        self.bookmark = self.readers.last().map(SegmentReader::bookmark).or(self.bookmark);
        self.readers.clear();
    }

    fn next_round(&mut self) -> Result<Round, Damage> {
        self.drop_finished();
        if self.phase != Phase::Walking {
            self.close();
            return Ok(Round::Over);
        }
        if self.is_following() && self.measure() {
            return Ok(Round::Moved);
        }
        self.settle();
        let reached = match &mut self.at {
            Some(segment) => self.walk.after(segment),
            None => self.walk.oldest(),
        };
        // If the active segment was rotated, it has its name by now.
        self.rotated_at = self.at.as_ref().and_then(time_of);
        let reached = match reached {
            // The directory was removed; the log's workers will recreate it.
            Err(error) if error.is_not_found() && self.is_following() => Reached::End,
            reached => {
                reached.map_err(|e| Damage::unreadable(self.walk.location().path(), 0, e))?
            }
        };
        if self.report_missing() {
            // Report the gap once.
            self.rotated_at = None;
        }
        match reached {
            Reached::End => return Ok(self.at_end()),
            reached => self.go(reached)?,
        }
        Ok(Round::Moved)
    }

    /// Notes how far each segment may be read now, newest first. Returns `true` if there is
    /// anything to read.
    fn measure(&mut self) -> bool {
        let mut grew = false;
        for reader in self.readers.iter_mut().rev().filter(|reader| !reader.is_final) {
            if let Err(damage) = reader.measure(&mut self.damage) {
                self.damage.push_back(damage);
                reader.end_here();
            }
            grew |= !reader.is_at_limit();
        }
        grew
    }

    /// Finds out which of the rotated segments have received their last record.
    fn settle(&mut self) {
        let newest = self.readers.len().saturating_sub(1);
        for reader in self.readers[..newest].iter_mut().filter(|reader| !reader.is_final) {
            reader.settle();
        }
    }

    /// Closes finished segments. The newest is kept: the walk continues from there.
    fn drop_finished(&mut self) {
        let newest = self.opened;
        self.readers
            .retain(|reader| reader.number == newest || !(reader.is_final && reader.is_at_limit()));
    }

    /// Continues with the segment that the walk has reached.
    fn go(&mut self, reached: Reached) -> Result<(), Damage> {
        match reached {
            Reached::Segment(open) => {
                let is_first = self.at.is_none();
                if !is_first && is_after(self.until, super::range::started(&open, self.rotated_at))
                {
                    self.end();
                    return Ok(());
                }
                self.report_gap(&open);
                self.at = Some(open.segment.clone());
                let before = std::mem::replace(&mut self.created, open.noted_creation());
                self.damage.extend(content::out_of_order(before, self.created, &open));
                match Content::new(open) {
                    Ok(mut content) => {
                        self.damage.extend(content.examine());
                        self.open_reader(content);
                    }
                    Err(damage) => self.damage.push_back(damage),
                }
            }
            Reached::Unreadable(segment, error) => {
                self.damage.push_back(Damage::unreadable(&segment.path, 0, error));
                self.at = Some(segment);
            }
            Reached::End => {
                self.at_end();
            }
        }
        Ok(())
    }

    /// Opens a segment beside those that are still open, and notes how far each may be read.
    ///
    /// The segment before it may be final by now. If it is compressed, its lease is released at
    /// once: nothing is appended to it any more.
    fn open_reader(&mut self, content: Content) {
        self.opened += 1;
        let is_compressed = content.is_compressed();
        let is_last = !self.is_following() && content.open.segment.position == Position::Active;
        let mut reader = SegmentReader {
            content,
            number: self.opened,
            limit: if is_compressed { u64::MAX } else { 0 },
            searched: 0,
            is_final: is_compressed,
        };
        if is_last {
            // Reading ends here, even if the log grows faster than it is read.
            match reader.content.settled_len() {
                Ok(len) => reader.limit = len,
                Err(damage) => self.damage.push_back(damage),
            }
            reader.is_final = true;
            self.phase = Phase::Ending;
        }
        self.readers.push(reader);
        // Newest first: see the head of this file.
        self.measure();
        let before = self.readers.len() - 1;
        if let Some(reader) = self.readers[..before].last_mut() {
            if reader.content.is_compressed() {
                let _ = reader.content.open.let_go();
            } else {
                reader.settle();
            }
        }
        if is_last {
            self.note_ends();
        }
    }

    /// Leaves it to the caller to wait for a successor, or ends.
    fn at_end(&mut self) -> Round {
        match self.mode {
            ReadMode::Once => {
                self.end();
                Round::Moved
            }
            ReadMode::Follow => Round::Idle,
        }
    }

    /// Hands out what is left, unfinished lines too, and ends.
    fn end(&mut self) {
        self.phase = Phase::Ending;
        self.note_ends();
    }

    /// Sets the limits to the ends of the files, newest first.
    fn note_ends(&mut self) {
        for reader in self.readers.iter_mut().rev().filter(|reader| !reader.is_final) {
            reader.is_final = true;
            reader.limit =
                reader.content.settled_len().map_or(reader.limit, |len| len.max(reader.limit));
        }
    }

    /// Reports the segments that the walk found missing. Returns `false` if there are none.
    fn report_missing(&mut self) -> bool {
        let before = self.damage.len();
        self.damage.extend(content::missing(&mut self.walk));
        self.damage.len() > before
    }

    /// Reports segments that came and went between two looks at the directory. A segment is created
    /// before the one before it gets its name. If it was created later, another one was in between.
    fn report_gap(&mut self, open: &OpenSegment) {
        // A segment after those that were skipped may be created at any time.
        let before = self.rotated_at.filter(|_| !self.readers.is_empty());
        let Some((before, followed_since)) = before.zip(self.followed_since) else { return };
        // An older segment may be a copy, with the creation time of the copy.
        let Some(created) = open.created.filter(|created| *created >= followed_since) else {
            return;
        };
        if Timestamp::from(created) > Timestamp::from(before) {
            let text = "segments between it and the one before may have been removed unread";
            let damage = Damage::new(DamageKind::Missing, &open.segment.path, 0);
            self.damage.push_back(damage.with_text(text));
        }
    }

    /// Lists the backups now and then while the reader is behind, to notice removed ones.
    fn look_around(&mut self) {
        if self.is_following() && self.looked.elapsed() > LOOK_EVERY {
            self.looked = Stopwatch::start();
            // If the directory is unreadable, the next step that needs it reports that.
            let _ = self.walk.look();
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether a segment was started after the range ends.
fn is_after(until: Option<SystemTime>, started: Option<SystemTime>) -> bool {
    until.zip(started).is_some_and(|(until, started)| started > until)
}

/// Returns the time of a backup's rotation, if its name has it.
fn time_of(segment: &SegmentRef) -> Option<SystemTime> {
    match segment.position {
        Position::Backup(key) if !segment.is_lost => key.time().map(SystemTime::from),
        _ => None,
    }
}

impl ByteSource for Stream {
    fn pull(&mut self) -> Pulled {
        loop {
            if let Some(pulled) = self.ready_or_damage() {
                return pulled;
            }
            if self.read() {
                continue;
            }
            match self.advance() {
                Ok(Round::Over) => return Pulled::End,
                // A stream that is followed is stopped before it ends.
                Ok(Round::Moved | Round::Idle) => {}
                Err(damage) => return Pulled::Damage(damage),
            }
        }
    }

    fn put_back(&mut self, damage: Damage) {
        self.damage.push_front(damage);
    }

    fn ready(&self) -> &[u8] {
        self.buffer.ready()
    }

    fn consume(&mut self, len: usize) {
        self.buffer.consume(len);
        self.offset += len as u64;
    }

    fn at(&self) -> At<'_> {
        At { segment: &self.name, offset: self.offset, ordinal: self.reading }
    }
}
