//! Reading from the end backwards: the last lines, and reverse order.

use super::buffer::{self, Piece};
use super::content::{self, CHUNK, Content, read_exact_at};
use super::damage::{Damage, DamageKind};
use super::range::Range;
use super::walk::{OpenSegment, Reached, SegmentRef, Walk};
use super::{At, ByteSource, Pulled};
use crate::error::Result;
use crate::fs;
use crate::segment::Location;
use crate::segment::name::Compression;
use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Finds the place after which `lines` lines follow: a segment and an offset in it.
///
/// Damage on the way is reported later, when it is read. If the range has no segment yet, the
/// newest one is returned too: the first one of the range is to come after it.
pub(super) fn last(
    walk: &mut Walk,
    range: &Range,
    lines: u64,
) -> Result<(Reached, u64, Option<SegmentRef>)> {
    let mut wanted = lines;
    let mut newer = None;
    let mut reached = newest(walk, range)?;
    loop {
        let mark = walk.mark();
        let mut segment = match &reached {
            Reached::End => break,
            Reached::Unreadable(segment, _) => segment.clone(),
            Reached::Segment(open) if range.is_before(open) && !open.is_active() => break,
            // Clocks may have been set, so this says nothing about the backups.
            Reached::Segment(open) if range.is_before(open) => open.segment.clone(),
            Reached::Segment(open) => match start_of_last(open, wanted) {
                LastLines::From(offset) => return Ok((reached, offset, None)),
                LastLines::Lines(lines) => {
                    wanted -= lines;
                    open.segment.clone()
                }
            },
        };
        let before = walk.before(&mut segment)?;
        newer = Some((reached, mark));
        reached = before;
    }
    // Fewer lines exist: reading starts with the oldest segment.
    let Some((oldest, mark)) = newer else {
        let skipped = match reached {
            Reached::Segment(open) => Some(open.segment),
            Reached::Unreadable(..) | Reached::End => None,
        };
        return Ok((Reached::End, 0, skipped));
    };
    walk.return_to(mark);
    Ok((oldest, 0, None))
}

/// Returns the newest segment that is not wholly after the range.
pub(super) fn newest(walk: &mut Walk, range: &Range) -> Result<Reached> {
    let mut reached = walk.newest()?;
    while let (Some(until), Reached::Segment(open)) = (range.until, &reached) {
        let mark = walk.mark();
        let mut segment = open.segment.clone();
        let before = walk.before(&mut segment)?;
        let rotated_at = match &before {
            Reached::Segment(before) => before.rotated_at(),
            Reached::Unreadable(..) | Reached::End => None,
        };
        let is_oldest = matches!(before, Reached::End);
        if is_oldest
            || super::range::started(open, rotated_at).is_none_or(|started| started <= until)
        {
            walk.return_to(mark);
            break;
        }
        reached = before;
    }
    Ok(reached)
}

/// Returns the uncompressed segments shortly before one, oldest first: late workers may still
/// append to them.
pub(super) fn shortly_before(walk: &Walk, reached: &Reached) -> Result<Vec<OpenSegment>> {
    const AT_MOST: usize = 8;
    let mut walk = walk.clone();
    let mut found = VecDeque::new();
    let Reached::Segment(open) = reached else { return Ok(Vec::new()) };
    let mut segment = open.segment.clone();
    while found.len() < AT_MOST {
        match walk.before(&mut segment)? {
            Reached::Segment(open) if open.segment.compression == Compression::None => {
                segment = open.segment.clone();
                found.push_front(open);
            }
            _ => break,
        }
    }
    Ok(found.into())
}

/// The lines that a segment has of those wanted.
enum LastLines {
    /// All of them, from this offset on.
    From(u64),
    /// Only this many.
    Lines(u64),
}

/// Searches the readable part of a segment. Damage counts as its end.
fn start_of_last(open: &OpenSegment, lines: u64) -> LastLines {
    let Ok(mut content) = Content::new(open.clone()) else { return LastLines::Lines(0) };
    if content.is_compressed() {
        in_compressed(&mut content, open, lines)
    } else {
        in_plain(&content, lines)
    }
}

/// Searches an uncompressed segment from its end, one block at a time, for the start of its last
/// `lines` lines.
fn in_plain(content: &Content, lines: u64) -> LastLines {
    let Ok(len) = content.settled_len() else { return LastLines::Lines(0) };
    if lines == 0 {
        return LastLines::From(len);
    }
    let mut block = vec![0; CHUNK];
    let (mut found, mut upto) = (0, len);
    while upto > 0 {
        let from = upto.saturating_sub(CHUNK as u64);
        let size = usize::try_from(upto - from).unwrap_or(CHUNK);
        let Ok(taken) = content.read_exact_at(&mut block[..size], from) else { break };
        for at in (0..taken).rev().filter(|&at| block[at] == b'\n') {
            let end = from + at as u64 + 1;
            // A line break at the very end ends a line and begins none.
            if end == len {
                continue;
            }
            found += 1;
            if found == lines {
                return LastLines::From(end);
            }
        }
        upto = from;
    }
    // The first line begins after no line break.
    found += u64::from(len > 0);
    if found == lines { LastLines::From(0) } else { LastLines::Lines(found) }
}

/// Reads a compressed segment twice: to count its lines, and to find where the wanted ones begin.
fn in_compressed(content: &mut Content, open: &OpenSegment, lines: u64) -> LastLines {
    let all = line_start(content, u64::MAX).lines;
    if all < lines {
        return LastLines::Lines(all);
    }
    let Ok(mut again) = Content::new(open.clone()) else { return LastLines::Lines(0) };
    LastLines::From(line_start(&mut again, all - lines).offset)
}

/// The place where the line after a number of lines begins.
struct LineStart {
    /// The number of lines before it: fewer than wanted if the segment has no more.
    lines: u64,
    offset: u64,
}

/// Reads on until `after` lines have ended, or to the end of the content.
fn line_start(content: &mut Content, after: u64) -> LineStart {
    let mut block = vec![0; CHUNK];
    let (mut lines, mut is_mid_line) = (0, false);
    while lines < after {
        let from = content.position;
        let taken = content.read(&mut block).unwrap_or(0);
        let read = &block[..taken];
        let Some(last) = read.last() else {
            return LineStart { lines: lines + u64::from(is_mid_line), offset: content.position };
        };
        let breaks = read.iter().filter(|&&byte| byte == b'\n').count() as u64;
        if lines + breaks >= after {
            let mut ends = (0..taken).filter(|&at| read[at] == b'\n');
            let nth = usize::try_from(after - lines - 1).ok().and_then(|n| ends.nth(n));
            let offset = from + nth.map_or(0, |at| at as u64 + 1);
            return LineStart { lines: after, offset };
        }
        lines += breaks;
        is_mid_line = *last != b'\n';
    }
    LineStart { lines, offset: content.position }
}

/// A log as one stream of lines, newest first.
pub(super) struct Backward {
    walk: Walk,
    range: Range,
    at: Option<SegmentRef>,
    /// The creation time of that backup, if its tag has it.
    created: Option<SystemTime>,
    reader: Option<ReverseReader>,
    opened: u64,
    name: Arc<Path>,
    /// The pieces of the current line that are left, last piece first.
    pieces: VecDeque<Piece>,
    line: Vec<u8>,
    consumed: usize,
    /// The offset at which the line begins.
    offset: u64,
    damage: VecDeque<Damage>,
    lines_left: u64,
    is_over: bool,
}

impl Backward {
    /// Opens the log at its end, to hand out at most `lines` lines.
    pub(super) fn new(mut walk: Walk, range: Range, lines: u64, given: &Path) -> Result<Self> {
        let reached = newest(&mut walk, &range)?;
        if matches!(reached, Reached::End) && super::has_no_segment(&walk)? {
            return Err(Location::no_log(given));
        }
        let name = walk.location().path().into();
        let mut backward = Self {
            walk,
            range,
            at: None,
            created: None,
            reader: None,
            opened: 0,
            name,
            pieces: VecDeque::new(),
            line: Vec::new(),
            consumed: 0,
            offset: 0,
            damage: VecDeque::new(),
            lines_left: lines,
            is_over: lines == 0,
        };
        backward.go(reached);
        Ok(backward)
    }

    /// Opens the segment that the walk has reached. Reading is over if the segment ends before the
    /// range begins: all earlier segments do too.
    fn go(&mut self, reached: Reached) {
        self.reader = None;
        self.opened += 1;
        self.damage.extend(content::missing(&mut self.walk));
        let result = match reached {
            Reached::Segment(open) if !self.range.is_before(&open) => {
                self.at = Some(open.segment.clone());
                let newer = std::mem::replace(&mut self.created, open.noted_creation());
                self.damage.extend(content::out_of_order(self.created, newer, &open));
                ReverseReader::open(open)
            }
            Reached::Segment(open) if open.is_active() => {
                self.at = Some(open.segment.clone());
                return;
            }
            Reached::Segment(_) | Reached::End => {
                self.is_over = true;
                return;
            }
            Reached::Unreadable(segment, error) => {
                let damage = Damage::unreadable(&segment.path, 0, error);
                self.at = Some(segment);
                Err(damage)
            }
        };
        match result {
            Ok((reader, damages)) => {
                self.name = Arc::clone(&reader.name);
                self.reader = Some(reader);
                self.damage.extend(damages);
            }
            Err(damage) => self.damage.push_back(damage),
        }
    }

    /// Continues with the segment before.
    fn go_back(&mut self) {
        let reached = match &mut self.at {
            Some(segment) => self.walk.before(segment),
            None => Ok(Reached::End),
        };
        match reached {
            Ok(reached) => self.go(reached),
            Err(error) => {
                let log = self.walk.location().path();
                self.damage.push_back(Damage::unreadable(log, 0, error));
                self.is_over = true;
            }
        }
    }

    /// Takes the next line from the present segment, or continues with the segment before.
    fn next_line(&mut self) {
        let previous = match &mut self.reader {
            Some(reader) => reader.previous(),
            None => Ok(None),
        };
        match previous {
            Ok(Some((offset, line))) => {
                (self.line, self.consumed) = (line, 0);
                self.pieces = buffer::split(&self.line, offset).into();
                self.line.clear();
            }
            Ok(None) => self.go_back(),
            Err(damage) => {
                self.damage.push_back(damage);
                self.reader = None;
            }
        }
    }
}

impl ByteSource for Backward {
    fn pull(&mut self) -> Pulled {
        loop {
            if self.consumed < self.line.len() {
                return Pulled::Bytes;
            }
            if let Some(damage) = self.damage.pop_front() {
                return Pulled::Damage(damage);
            }
            match self.pieces.pop_back() {
                Some(Piece::Hole { offset, bytes }) => {
                    let damage = Damage::new(DamageKind::Hole, &*self.name, offset);
                    self.damage.push_back(Damage { bytes: Some(bytes), ..damage });
                }
                Some(Piece::Bytes { offset, mut bytes }) => {
                    // In this order every line needs its end.
                    if bytes.last() != Some(&b'\n') {
                        bytes.push(b'\n');
                    }
                    (self.line, self.consumed, self.offset) = (bytes, 0, offset);
                    self.lines_left -= 1;
                    if self.lines_left == 0 {
                        self.is_over = true;
                        self.pieces.clear();
                    }
                }
                None if self.is_over => return Pulled::End,
                None => self.next_line(),
            }
        }
    }

    fn put_back(&mut self, damage: Damage) {
        self.damage.push_front(damage);
    }

    fn ready(&self) -> &[u8] {
        &self.line[self.consumed..]
    }

    fn consume(&mut self, len: usize) {
        self.consumed = (self.consumed + len).min(self.line.len());
        self.offset += len as u64;
    }

    fn at(&self) -> At<'_> {
        At { segment: &self.name, offset: self.offset, ordinal: self.opened }
    }
}

/// A segment that is read backwards.
struct ReverseReader {
    /// Keeps the lease.
    _held: OpenSegment,
    /// The segment, or the temporary file with its decompressed records.
    file: Arc<File>,
    name: Arc<Path>,
    /// The part of the segment that was read and not yet handed out; it ends there.
    block: Vec<u8>,
    /// The offset at which the block begins.
    base: u64,
}

/// The longest line that is put together, in bytes. A longer one comes in pieces.
const MAX_LINE: usize = 16 * 1024 * 1024;

impl ReverseReader {
    /// Opens a segment at its end. Also returns the damage of a compressed one.
    fn open(open: OpenSegment) -> Result<(Self, Vec<Damage>), Damage> {
        let mut content = Content::new(open.clone())?;
        let mut damages = content.examine();
        let name = Arc::clone(&content.name);
        let (file, base) = if content.is_compressed() {
            let scratch =
                fs::anonymous_file().map_err(|error| Damage::unreadable(&*name, 0, error))?;
            damages.extend(decompress_into(&mut content, &scratch)?);
            (Arc::new(scratch), content.position)
        } else {
            (Arc::clone(&open.file), content.settled_len()?)
        };
        Ok((Self { _held: open, file, name, block: Vec::new(), base }, damages))
    }

    /// Returns the last line that is not handed out yet, and its offset.
    fn previous(&mut self) -> Result<Option<(u64, Vec<u8>)>, Damage> {
        let mut searched = 0;
        loop {
            let own_end = usize::from(self.block.last() == Some(&b'\n'));
            let end = self.block.len() - own_end.max(searched);
            if let Some(at) = self.block[..end].iter().rposition(|&byte| byte == b'\n') {
                return Ok(Some(self.take(at + 1)));
            }
            searched = self.block.len();
            if searched > MAX_LINE {
                return Ok(Some(self.take(0)));
            }
            if !self.extend()? {
                return Ok((searched > 0).then(|| self.take(0)));
            }
        }
    }

    /// Puts the bytes before the block in front of it. Returns `false` at the start of the segment.
    fn extend(&mut self) -> Result<bool, Damage> {
        let size = CHUNK.max(self.block.len());
        let from = self.base.saturating_sub(size as u64);
        let len = usize::try_from(self.base - from).unwrap_or(size);
        let mut block = vec![0; len];
        let taken = read_exact_at(&self.file, &mut block, from, &self.name)?;
        // Fewer only if another program has cut the file short.
        block.truncate(taken);
        block.append(&mut self.block);
        (self.block, self.base) = (block, from);
        Ok(len > 0)
    }

    /// Removes the bytes from `from` on from the block, and returns them with their offset.
    fn take(&mut self, from: usize) -> (u64, Vec<u8>) {
        (self.base + from as u64, self.block.split_off(from))
    }
}

/// Decompresses a segment into a temporary file. Returns the damage that ended it early.
fn decompress_into(content: &mut Content, scratch: &File) -> Result<Option<Damage>, Damage> {
    let mut block = vec![0; CHUNK];
    loop {
        match content.read(&mut block) {
            Ok(0) => return Ok(None),
            Ok(taken) => fs::write_all(scratch, &block[..taken], &content.name)
                .map_err(|error| Damage::unreadable(&*content.name, content.position, error))?,
            Err(damage) => return Ok(Some(damage)),
        }
    }
}
