//! A log read back in order across its segments: plain, packed and active, while others write to it.
//!
//! ```
//! use logrotor::{Compression, RotatingFileWriter, reader::LogReader};
//! use std::io::{BufRead, Write};
//! # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("app.log");
//! let mut log = RotatingFileWriter::builder(&path)
//!     .max_size(64)
//!     .compression(Compression::Gzip)
//!     .build()?;
//! for number in 0..100 {
//!     writeln!(log, "line {number}")?;
//! }
//! let lines: Vec<_> = LogReader::open(&path)?.lines().collect::<Result<_, _>>()?;
//! assert_eq!(lines.len(), 100);
//! assert_eq!(lines[99], "line 99");
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! - Every record that was written before [`open`](ReaderBuilder::open) is read exactly once, whatever rotation,
//!   compression and renumbering happen meanwhile, unless retention removes it first; then the gap is
//!   [reported](DamageKind::Missing). What is written while it is read may be read or not, but without
//!   holes: if a record of a worker is read, then so are all that this worker wrote before it.
//! - The segments come oldest first. The records of one thread come in the order in which they were
//!   written. Those of different workers come in the order in which the kernel took them, except around a
//!   rotation: what a worker appends to a segment that has been rotated away comes when it is found,
//!   after what others may have written to the next segment by then.
//! - A [following](ReaderBuilder::follow) reader keeps to this for as long as it runs. It hands out whole lines: an
//!   unfinished one waits for its end, or for that of its segment, or for 16 MiB.
//! - Nothing that a reader does makes a log call wait or fail. It holds a shared lease on the segment that
//!   it reads, so that this is not packed or removed from under it; maintenance comes back to it later.
//! - Memory is bounded, whatever the sizes: about half a MiB, and for records the longest line, which comes in
//!   pieces if it is longer than 16 MiB. A Zstandard backup takes its window in addition, at most the
//!   [memory limit](ReaderBuilder::memory_limit).
//! - [`Damage`] is reported where it is met, and reading goes on after it.
//!
//! # Limits
//!
//! - A backup that retention removed before a following reader even saw its name is told by the birth of
//!   its successor, or by a gap in the numbers. That misses one that was written to for less than the
//!   resolution of file times (some 4 ms), and numbers that the next rotation has moved together.
//! - Times are those of segments: [`since`](ReaderBuilder::since) and [`until`](ReaderBuilder::until) leave out
//!   whole ones, and do not look into records.
//! - A log whose workers have changed from one [`Naming`](crate::Naming) to the other is read in order. One
//!   whose workers disagree about it has no order.
//! - On Windows a reader holds no lease (what is open can be read to its end there anyway), so it can
//!   lose its place in a log with numbered backups when the one that it reads is packed.

mod backward;
mod buffer;
mod content;
mod damage;
mod records;
mod segment_reader;
mod stream;
mod walk;
mod watch;

pub use damage::{Damage, DamageKind};
pub use records::{Record, Records};
pub use watch::Stopper;

use crate::error::{Error, Result};
use crate::segment::{Location, uncompress};
use backward::Backward;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use stream::{ReadMode, Stream};
use walk::{OpenSegment, Reached, Walk};
use watch::{DirWatcher, Notifier};

/// A log as one stream of bytes or of [records](LogReader::records); see the [module](self).
///
/// As [`Read`] and [`BufRead`] it gives the bytes of the segments one after the other. Damage is an error of
/// kind [`InvalidData`](io::ErrorKind::InvalidData) with a [`Damage`] inside, after which one can read on.
///
/// # Examples
/// Everything in one file, with what is damaged told apart:
/// ```
/// use logrotor::reader::LogReader;
/// use std::io::{Read, Write};
/// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.log");
/// # std::fs::write(&path, [b"one\n".as_slice(), &[0; 4096], b"two\n"].concat())?;
/// let mut reader = LogReader::open(&path)?;
/// let (mut whole, mut damages) = (Vec::new(), Vec::new());
/// loop {
///     match reader.read_to_end(&mut whole) {
///         Ok(_) => break,
///         Err(damage) => damages.push(damage.to_string()),
///     }
/// }
/// assert_eq!(whole, b"one\ntwo\n");
/// assert!(damages[0].ends_with("at byte 4: 4096 NUL bytes in place of records"));
/// # Ok(()) }
/// ```
pub struct LogReader {
    source: Box<dyn ByteSource>,
    notifier: Arc<Notifier>,
    path: PathBuf,
}

impl LogReader {
    /// Opens the log at `path` to read all of it, oldest record first, up to the end it has when the
    /// reader gets there.
    ///
    /// # Errors
    /// As [`ReaderBuilder::open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// Chooses what to read; nothing is opened before [`ReaderBuilder::open`].
    pub fn builder(path: impl Into<PathBuf>) -> ReaderBuilder {
        ReaderBuilder {
            path: path.into(),
            range: Range::default(),
            last: None,
            reverse: false,
            follow: false,
            poll_interval: None,
            memory_limit: uncompress::MEMORY,
        }
    }

    /// The log's records: its lines, without their line breaks.
    pub fn records(&mut self) -> Records<'_> {
        Records::new(self)
    }

    /// Reads the next record into `record`, whose memory is used again. `false` at the end.
    ///
    /// # Errors
    /// The damage met before the next record, which the next call reads.
    pub fn read_record(&mut self, record: &mut Record) -> Result<bool, Damage> {
        record.read(&mut *self.source)
    }

    /// The segment that the next byte comes from, as far as it is known, and the offset in it.
    #[must_use]
    pub fn position(&self) -> (&Path, u64) {
        let at = self.source.at();
        (at.segment, at.offset)
    }

    /// What ends a following reader. To others it makes no difference.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.notifier))
    }
}

impl BufRead for LogReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.source.pull() {
            Pulled::Bytes => Ok(self.source.ready()),
            Pulled::Damage(damage) => Err(damage.into()),
            Pulled::End => Ok(&[]),
        }
    }

    fn consume(&mut self, len: usize) {
        self.source.consume(len);
    }
}

impl Read for LogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let len = ready.len().min(buffer.len());
        buffer[..len].copy_from_slice(&ready[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.source.at();
        f.debug_struct("LogReader")
            .field("path", &self.path)
            .field("segment", &at.segment)
            .field("offset", &at.offset)
            .finish_non_exhaustive()
    }
}

/// What to read of a log, and how.
///
/// # Examples
/// The last two lines, newest first:
/// ```
/// use logrotor::reader::LogReader;
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("app.log");
/// std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
/// let mut reader = LogReader::builder(&path).last(2).reverse().open()?;
/// let lines: Vec<_> = reader.records().map(|record| record.unwrap().into_string_lossy()).collect();
/// assert_eq!(lines, ["three", "two"]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `open`"]
pub struct ReaderBuilder {
    path: PathBuf,
    range: Range,
    last: Option<u64>,
    reverse: bool,
    follow: bool,
    poll_interval: Option<Duration>,
    memory_limit: u64,
}

impl ReaderBuilder {
    /// Leaves out the segments that were finished before this time, by their names and times of change.
    /// What is read may still begin earlier, by up to a segment.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.range.since = Some(time);
        self
    }

    /// Leaves out the segments that were begun after this time: after the one before was rotated away, or,
    /// with [`Naming::Number`](crate::Naming::Number), after the file was made, unless it is a copy that was made
    /// after the last record. Nothing tells that of the oldest one, which is read in any case. What is read
    /// may still end later, by up to a segment.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.range.until = Some(time);
        self
    }

    /// Begins with the last `lines` lines that there are. Plain segments are read from their ends, and of the
    /// packed ones only those that are needed.
    pub fn last(mut self, lines: u64) -> Self {
        self.last = Some(lines);
        self
    }

    /// Reads the newest line first. Every line then ends in a line break, also one that has none in
    /// its segment. A packed segment is unpacked to a temporary file without a name meanwhile.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Goes on as the log grows and rotates, until it is [stopped](Stopper::stop): the reader waits instead
    /// of coming to an end. There need not be a log yet, only its directory.
    ///
    /// With the feature `follow`, the system tells of changes (inotify and its like); without, or
    /// where it cannot, the reader looks again at intervals.
    pub fn follow(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Looks for changes at this interval, and has the system tell of none. Default: 50 ms where the
    /// system cannot tell.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval);
        self
    }

    /// Lets decompression take up to `bytes` of memory for a segment. Default: 128 MiB.
    ///
    /// Only Zstandard backups that were compressed with a larger window (`zstd --long=31`, `--ultra`)
    /// need more. They are reported as [unreadable](DamageKind::Unreadable) below their window's size.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Opens the log.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig): reading in reverse or up to a time,
    ///   and following; a poll interval of zero.
    /// - [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile): the path is no file name, or names a
    ///   directory, a device or a pipe.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io): the directory, or to read without following the log,
    ///   does not exist; or whatever else the file system refuses.
    pub fn open(self) -> Result<LogReader> {
        self.check()?;
        let walk = Walk::new(Location::find(&self.path)?, self.memory_limit)?;
        let path = walk.location().path().to_owned();
        let notifier = Arc::new(Notifier::default());
        let source: Box<dyn ByteSource> = if self.reverse {
            let lines = self.last.unwrap_or(u64::MAX);
            Box::new(Backward::new(walk, self.range, lines, &self.path)?)
        } else {
            Box::new(self.forward(walk, &notifier)?)
        };
        Ok(LogReader { source, notifier, path })
    }

    fn check(&self) -> Result<()> {
        let refuse = |setting, value: &str, why| Err(Error::config(setting, value, why));
        if self.follow && self.reverse {
            return refuse("reverse", "true", "what is followed has no end to begin at");
        }
        if self.follow && self.range.until.is_some() {
            return refuse(
                "until",
                "a time",
                "leave it out when following; stop the reader instead",
            );
        }
        if self.poll_interval.is_some_and(|interval| interval.is_zero()) {
            return refuse("poll_interval", "0", "use 1 ms or more");
        }
        Ok(())
    }

    fn forward(&self, mut walk: Walk, notifier: &Arc<Notifier>) -> Result<Stream> {
        // Before anything is looked for, so that nothing that comes after the look is missed.
        let mode = if self.follow {
            ReadMode::Follow(DirWatcher::new(
                Arc::clone(notifier),
                walk.location().dir(),
                self.poll_interval,
            ))
        } else {
            ReadMode::Once
        };
        let range = Range { follows: self.follow, ..self.range };
        let mut unreadable = Vec::new();
        let (reached, offset) = match self.last {
            Some(lines) => backward::last(&mut walk, &range, lines)?,
            None => (first(&mut walk, &range, &mut unreadable)?, 0),
        };
        let is_none = matches!(reached, Reached::End) && unreadable.is_empty();
        if is_none && !self.follow && has_no_segment(&walk)? {
            return Err(Location::no_log(&self.path));
        }
        let begins_late = self.follow && self.last.is_some();
        let behind =
            if begins_late { backward::shortly_before(&walk, &reached)? } else { Vec::new() };
        let mut stream = Stream::new(walk, mode, range.until);
        unreadable.into_iter().for_each(|damage| stream.report(damage));
        if let Err(damage) = stream.begin(reached, offset, behind) {
            stream.report(damage);
        }
        Ok(stream)
    }
}

/// The oldest segment of the range.
fn first(walk: &mut Walk, range: &Range, unreadable: &mut Vec<Damage>) -> Result<Reached> {
    let mut reached = walk.oldest()?;
    loop {
        let mut segment = match reached {
            Reached::Segment(open) if range.is_before(&open) => open.segment.clone(),
            Reached::Unreadable(segment, error) if range.since.is_some() => {
                unreadable.push(Damage::unreadable(&segment.path, 0, error));
                segment
            }
            reached => return Ok(reached),
        };
        reached = walk.after(&mut segment)?;
    }
}

/// Whether there is no log at all; else none of it may be wanted.
fn has_no_segment(walk: &Walk) -> Result<bool> {
    Ok(matches!(walk.clone().newest()?, Reached::End))
}

/// What time is wanted.
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    /// Whether what is still to come is wanted.
    follows: bool,
}

impl Range {
    /// How far the time of a file's last change may lag behind the clock.
    const LAG: Duration = Duration::from_secs(2);

    /// Whether a segment had got its last record when the range begins.
    fn is_before(&self, open: &OpenSegment) -> bool {
        let Some(since) = self.since else { return false };
        let changed = open.entry.modified + Self::LAG;
        match open.rotated_at() {
            Some(rotated_at) => changed.max(rotated_at) < since,
            None => changed < since && !self.follows,
        }
    }
}

/// When a segment was begun: when the one before was rotated away, or else when its file was made. A file that
/// was made after its last record is a copy, and does not tell.
fn started(open: &OpenSegment, before: Option<SystemTime>) -> Option<SystemTime> {
    let changed = open.entry.modified;
    let last = open.rotated_at().map_or(changed, |rotated_at| rotated_at.min(changed));
    before.or(open.created.filter(|created| *created <= last))
}

/// What [`Source::pull`] came to.
enum Pulled {
    /// There are bytes ready.
    Bytes,
    Damage(Damage),
    End,
}

/// Where the bytes that are ready come from.
struct At<'a> {
    segment: &'a Arc<Path>,
    offset: u64,
    /// Another number for every segment opened.
    ordinal: u64,
}

/// Where a reader's bytes come from.
///
/// Bytes of another segment than those before begin a new line.
trait ByteSource: Send {
    /// Makes bytes ready, unless there are any.
    fn pull(&mut self) -> Pulled;

    /// Has the next `pull` tell of this damage.
    fn put_back(&mut self, damage: Damage);

    /// Bytes to be consumed.
    fn ready(&self) -> &[u8];

    fn consume(&mut self, len: usize);

    fn at(&self) -> At<'_>;
}
