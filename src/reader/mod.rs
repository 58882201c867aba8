//! Reads a log back in order, across its segments, while processes write to it.
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
//! # Guarantees
//!
//! - Every record that was written before [`open`](ReaderBuilder::open) is read exactly once, while the log is rotated,
//!   compressed and renumbered. If retention removes a segment before it is read, the gap is
//!   [reported](DamageKind::Missing).
//! - Records that are written during the reading may be read or not, but without holes: if a record
//!   of a worker is read, all that this worker wrote before it are read too.
//! - The segments come oldest first, and the records of a thread in the order in which it wrote
//!   them.
//! - Records of different workers come in the order in which the kernel took them. A worker that
//!   has not noticed a rotation yet still appends to the old segment; such records come when they
//!   are found, perhaps after newer ones of other workers.
//! - A [following](ReaderBuilder::follow) reader keeps these promises for as long as it runs. It hands
//!   out whole lines: an unfinished line waits for its end, the end of its segment, or 16 MiB.
//! - Readers never block writers. A reader holds a shared lease on the segment that it reads, so
//!   maintenance neither compresses nor removes that segment meanwhile, and returns to it later.
//! - Memory is bounded: about 512 KiB, and for records the longest line. A line longer than 16 MiB
//!   comes in pieces. A Zstandard backup takes its window in addition, at most the
//!   [memory limit](ReaderBuilder::memory_limit).
//! - [`Damage`] is reported where it is met, and reading resumes after it.
//!
//! # Limits
//!
//! - If retention removes a backup before a following reader has seen its name, the gap shows in
//!   the creation time of the next segment, or in the numbers. A backup that was written to for
//!   less than the resolution of file times (about 4 ms) leaves no such gap, nor do numbers that
//!   the next rotation has closed up.
//! - [`since`](ReaderBuilder::since) and [`until`](ReaderBuilder::until) skip whole segments; they do
//!   not look into records.
//! - A log whose workers have changed from one [`Naming`](crate::Naming) to the other is read in order.
//!   If workers use both at the same time, the log has no order.
//! - On Windows a reader holds no lease, because an open file can be read to its end there anyway.
//!   In a log with numbered backups it can lose its position if the backup that it reads is
//!   compressed.

#[cfg(feature = "archive")]
mod archived;
mod backward;
mod buffer;
mod content;
mod damage;
mod follower;
#[cfg(feature = "archive")]
mod gathered;
#[cfg(feature = "archive")]
mod merged;
mod range;
mod records;
mod round;
mod segment_reader;
mod shelf;
mod stream;
mod walk;
mod watch;

pub use damage::{Damage, DamageKind};
pub use records::{Record, Records};
pub use watch::Stopper;

use crate::error::{Error, Result};
use crate::segment::{Location, uncompress};
use backward::Backward;
use follower::{Follower, GivenPath};
use range::Range;
use round::ReadMode;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use stream::Stream;
use walk::{Reached, SegmentRef, Walk};
use watch::{DirWatcher, Notifier};

/// A log as one stream of bytes or of [records](LogReader::records); see the [module](self).
///
/// [`Read`] and [`BufRead`] return the bytes of the segments one after the other. Damage is an
/// error of kind [`InvalidData`](io::ErrorKind::InvalidData) with a [`Damage`] inside; the next
/// call resumes after it.
///
/// # Examples
/// The whole log in memory, with damage reported separately:
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
    /// Opens the log at `path` to read all of it, oldest record first. Reading ends where the log
    /// ends when the reader gets there.
    ///
    /// # Errors
    /// As [`ReaderBuilder::open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// Returns a builder that chooses what to read. Nothing is opened before
    /// [`ReaderBuilder::open`].
    pub fn builder(path: impl Into<PathBuf>) -> ReaderBuilder {
        ReaderBuilder {
            path: path.into(),
            #[cfg(feature = "archive")]
            remote: archived::Remote::default(),
            range: Range::default(),
            last: None,
            reverse: false,
            follow: false,
            poll_interval: None,
            memory_limit: uncompress::MEMORY,
        }
    }

    /// Iterates over the log's records: its lines, without their line breaks.
    ///
    /// # Examples
    /// ```
    /// use logrotor::reader::LogReader;
    /// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("app.log");
    /// std::fs::write(&path, "one\ntwo\n").unwrap();
    /// let mut reader = LogReader::open(&path)?;
    /// for record in reader.records() {
    ///     match record {
    ///         Ok(record) => println!("{} bytes at {}", record.bytes().len(), record.offset()),
    ///         Err(damage) => eprintln!("{damage}"),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn records(&mut self) -> Records<'_> {
        Records::new(self)
    }

    /// Reads the next record into `record` and reuses its memory. Returns `false` at the end of the
    /// log.
    ///
    /// # Errors
    /// The damage before the next record. The next call returns that record.
    pub fn read_record(&mut self, record: &mut Record) -> Result<bool, Damage> {
        record.read(&mut *self.source)
    }

    /// Returns the segment of the next byte, as far as it is known, and its offset in the
    /// uncompressed segment, in bytes.
    #[must_use]
    pub fn position(&self) -> (&Path, u64) {
        let at = self.source.at();
        (at.segment, at.offset)
    }

    /// Returns a handle that ends a following reader from any thread. It has no effect on other
    /// readers.
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

/// Chooses which part of a log to read, and in which order. [`LogReader::builder`] returns one.
///
/// # Examples
/// The last two lines, newest first:
/// ```
/// use logrotor::reader::{LogReader, Record};
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("app.log");
/// std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
/// let mut reader = LogReader::builder(&path).last(2).reverse().open()?;
/// let lines: Vec<_> = reader.records().collect::<Result<_, _>>().unwrap();
/// let lines: Vec<_> = lines.into_iter().map(Record::into_string_lossy).collect();
/// assert_eq!(lines, ["three", "two"]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `open`"]
pub struct ReaderBuilder {
    path: PathBuf,
    #[cfg(feature = "archive")]
    remote: archived::Remote,
    range: Range,
    last: Option<u64>,
    reverse: bool,
    follow: bool,
    poll_interval: Option<Duration>,
    memory_limit: u64,
}

impl ReaderBuilder {
    /// Skips the segments that were finished before `time`, by their names and times of change.
    /// Default: none.
    ///
    /// Whole segments are skipped, so the first record may be older than `time` by up to a segment.
    ///
    /// # Examples
    /// The last hour, and perhaps a little more:
    /// ```
    /// use logrotor::reader::LogReader;
    /// use std::time::{Duration, SystemTime};
    /// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("app.log");
    /// std::fs::write(&path, "now\n").unwrap();
    /// let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    /// let mut reader = LogReader::builder(&path).since(hour_ago).open()?;
    /// assert_eq!(reader.records().count(), 1);
    /// # Ok(()) }
    /// ```
    pub fn since(mut self, time: SystemTime) -> Self {
        self.range.since = Some(time);
        self
    }

    /// Skips the segments that were created after `time`. Default: none.
    ///
    /// A segment is created when the one before it is rotated. With
    /// [`Naming::Number`](crate::Naming::Number) the creation time of the file counts, unless the
    /// file was created after its last record and so is a copy. The oldest segment is always read,
    /// because its creation time is unknown. The last record may be newer than `time` by up to a
    /// segment.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.range.until = Some(time);
        self
    }

    /// Reads only the last `lines` lines. Default: all lines.
    ///
    /// Uncompressed segments are read from their ends. Compressed segments are read only if they
    /// are needed.
    pub fn last(mut self, lines: u64) -> Self {
        self.last = Some(lines);
        self
    }

    /// Reads the newest line first. Default: the oldest.
    ///
    /// Every line ends in a line break then, even a last line that has none in its segment. A
    /// compressed segment is decompressed into a temporary file without a name, so that much disk
    /// space is needed.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Follows the log as it grows and rotates, until it is [stopped](Stopper::stop), like `tail
    /// -F`. Default: reading ends at the end of the log.
    ///
    /// The log need not exist yet; its directory must.
    ///
    /// If a link in the path is turned to another target, the reader finishes the old target and
    /// continues in the new one, with the segment that is active there. Late workers may still
    /// write to the old target, so it is followed for 60 s more.
    ///
    /// With the feature `follow` the system reports changes (inotify and the like), and the reader
    /// looks at the log every 250 ms as well. Without it, or if the system refuses a watch, the
    /// reader looks at the log every 50 ms.
    pub fn follow(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Looks at the log at this interval, and asks the system for no reports. Default: see
    /// [`follow`](Self::follow).
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval);
        self
    }

    /// Lets decompression take up to `bytes` of memory for a segment. Default: 128 MiB.
    ///
    /// Only Zstandard backups that were compressed with a larger window (`zstd --long=31`,
    /// `--ultra`) need more. They are reported as [unreadable](DamageKind::Unreadable) below their window's size.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Opens the log.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig): `follow` with `reverse` or
    ///   `until`, or a poll interval of zero.
    /// - [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile): the path has no file name, or names a
    ///   directory, a device, a pipe or a compressed backup.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io): the directory does not exist, or the log does not
    ///   and is not followed; and any other failure of the file system.
    pub fn open(self) -> Result<LogReader> {
        self.check()?;
        #[cfg(feature = "archive")]
        if let Some(reader) = self.open_remote()? {
            return Ok(reader);
        }
        let walk = Walk::new(Location::find(&self.path)?, self.memory_limit)?;
        let path = walk.location().path().to_owned();
        let notifier = Arc::new(Notifier::default());
        let source: Box<dyn ByteSource> = if self.reverse {
            let lines = self.last.unwrap_or(u64::MAX);
            Box::new(Backward::new(walk, self.range, lines, &self.path)?)
        } else {
            self.forward(walk, &notifier)?
        };
        Ok(LogReader { source, notifier, path })
    }

    /// Rejects settings that contradict each other.
    fn check(&self) -> Result<()> {
        let refuse = |setting, value: &str, why| Err(Error::config(setting, value, why));
        if self.follow && self.reverse {
            return refuse(
                "reverse",
                "true",
                "a followed log has no end to start from; leave one of them out",
            );
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

    /// Opens the first segment of the range, or finds the start of the last lines.
    fn forward(&self, mut walk: Walk, notifier: &Arc<Notifier>) -> Result<Box<dyn ByteSource>> {
        // Watch before the first look, so that no change after the look is missed.
        let dir = walk.location().dir();
        let watch = || DirWatcher::new(Arc::clone(notifier), dir, self.poll_interval);
        let given = self.follow.then(|| GivenPath::new(&self.path, watch(), self.memory_limit));
        let range = Range { follows: self.follow, ..self.range };
        let mut unreadable = Vec::new();
        let (reached, offset, skipped) = match self.last {
            Some(lines) => backward::last(&mut walk, &range, lines)?,
            None => {
                let (reached, skipped) = first(&mut walk, &range, &mut unreadable)?;
                (reached, 0, skipped)
            }
        };
        let is_none = matches!(reached, Reached::End) && unreadable.is_empty();
        if is_none && !self.follow && has_no_segment(&walk)? {
            return Err(Location::no_log(&self.path));
        }
        let begins_late = self.follow && self.last.is_some();
        let behind =
            if begins_late { backward::shortly_before(&walk, &reached)? } else { Vec::new() };
        let mode = if self.follow { ReadMode::Follow } else { ReadMode::Once };
        let mut stream = Stream::new(walk, mode, range.until, 0);
        stream.continue_after(skipped);
        unreadable.into_iter().for_each(|damage| stream.report(damage));
        if let Err(damage) = stream.begin(reached, offset, behind) {
            stream.report(damage);
        }
        Ok(match given {
            Some(given) => Box::new(Follower::new(given, stream)),
            None => Box::new(stream),
        })
    }
}

/// Returns the oldest segment of the range. If there is none yet, it is to come after the segment
/// that is returned too, the last one that was skipped.
fn first(
    walk: &mut Walk,
    range: &Range,
    unreadable: &mut Vec<Damage>,
) -> Result<(Reached, Option<SegmentRef>)> {
    let mut reached = walk.oldest()?;
    let mut skipped = None;
    loop {
        let mut segment = match reached {
            Reached::Segment(open) if range.is_before(&open) => open.segment.clone(),
            Reached::Unreadable(segment, error) if range.since.is_some() => {
                unreadable.push(Damage::unreadable(&segment.path, 0, error));
                segment
            }
            Reached::End => return Ok((Reached::End, skipped)),
            reached => return Ok((reached, None)),
        };
        reached = walk.after(&mut segment)?;
        skipped = Some(segment);
    }
}

/// Whether there is no log at all. Otherwise the range may exclude all of it.
fn has_no_segment(walk: &Walk) -> Result<bool> {
    Ok(!walk.has_missing() && matches!(walk.clone().newest()?, Reached::End))
}

/// The result of [`ByteSource::pull`].
enum Pulled {
    /// Bytes are ready.
    Bytes,
    Damage(Damage),
    End,
}

/// The origin of the bytes that are ready.
struct At<'a> {
    segment: &'a Arc<Path>,
    offset: u64,
    /// A number that differs for every segment that is opened.
    ordinal: u64,
}

/// A source of a reader's bytes.
///
/// Bytes of a new segment begin a new line.
trait ByteSource: Send {
    /// Makes bytes ready, unless some are.
    fn pull(&mut self) -> Pulled;

    /// Makes the next `pull` return this damage.
    fn put_back(&mut self, damage: Damage);

    /// Returns the bytes to be consumed.
    fn ready(&self) -> &[u8];

    /// Consumes the first `len` bytes that are ready.
    fn consume(&mut self, len: usize);

    /// Returns the origin of the first byte that is ready.
    fn at(&self) -> At<'_>;
}
