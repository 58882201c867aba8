//! The uncompressed bytes of one segment.

use super::damage::{Damage, DamageKind};
use super::walk::{Missing, OpenSegment, Position, Walk};
use crate::clock::sleep;
use crate::error::{Error, Result};
use crate::fs;
use crate::segment::birth_tag::Verdict;
use crate::segment::name::{Compression, Key, Name, format_time};
use crate::segment::uncompress;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A segment that is read from some offset on.
pub(super) struct Content {
    pub(super) open: OpenSegment,
    /// The path when it was opened, for reports.
    pub(super) name: Arc<Path>,
    /// The offset of the next byte, in uncompressed bytes.
    pub(super) position: u64,
    uncompressed: Option<Box<dyn Read + Send>>,
    /// Whether its damage was reported before it was read.
    is_reported: bool,
}

impl Content {
    /// Prepares a segment for reading from its start. A compressed one gets a decoder with a file
    /// offset of its own, so the handle can be shared.
    pub(super) fn new(open: OpenSegment) -> Result<Self, Damage> {
        let name: Arc<Path> = open.segment.path.as_path().into();
        let uncompressed = decompress(&open).map_err(|error| refused(&open, &name, error))?;
        Ok(Self { open, name, position: 0, uncompressed, is_reported: false })
    }

    /// Checks a compressed segment before it is read, so that damage is reported before any record
    /// that may be altered.
    pub(super) fn examine(&mut self) -> Vec<Damage> {
        let OpenSegment { file, entry, segment, tag, .. } = &self.open;
        let (compression, mut damages) = (segment.compression, Vec::new());
        match tag.check(file, entry.len, compression, &self.name) {
            Ok(Verdict::Sound | Verdict::CutOff) => {}
            Ok(Verdict::TagDamaged) => damages.push(self.trace("its birth tag is damaged")),
            Ok(Verdict::TagCutOff) => damages.push(self.trace("it is cut off")),
            Ok(Verdict::Altered) => damages.push(self.trace("it contradicts its digest")),
            Err(error) => damages.push(Damage::unreadable(&*self.name, 0, error)),
        }
        self.is_reported = !damages.is_empty();
        damages.extend(self.exchanged());
        damages
    }

    /// Finds the offset up to which an altered file can be read.
    fn trace(&self, why: &str) -> Damage {
        let end = Self::new(self.open.clone()).map(|mut content| {
            let ended = content.skip_to(u64::MAX);
            (content.position, ended)
        });
        let (at, text) = match end {
            Ok((_, Err(damage))) if damage.kind() == DamageKind::Unreadable => return damage,
            Ok((at, Ok(()))) => (at, format!("{why}, but its records match their own checksum")),
            Ok((at, Err(_))) => (at, format!("{why}; its records up to here may be altered")),
            Err(damage) => return damage,
        };
        Damage::new(DamageKind::Corrupt, &*self.name, at).with_text(text)
    }

    /// Reports a backup named by time whose tag has another time.
    fn exchanged(&self) -> Option<Damage> {
        let Position::Backup(Key::Time(named)) = self.open.segment.position else { return None };
        let rotated_at = self.open.tag.tag()?.rotated_at.filter(|noted| *noted != named.time)?;
        let text = format!("it is the backup of {}, by its tag", format_time(rotated_at));
        Some(Damage::new(DamageKind::Misplaced, &*self.name, 0).with_text(text))
    }

    /// Whether offsets are those of decompressed bytes rather than of the file.
    pub(super) fn is_compressed(&self) -> bool {
        self.uncompressed.is_some()
    }

    /// Reads up to a buffer's length. Returns 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Damage> {
        let taken = match &mut self.uncompressed {
            Some(uncompressed) => match uncompressed.read(buffer) {
                Ok(taken) => taken,
                // Damage was reported; a failure of the file system was not.
                Err(error) if self.is_reported && !is_of_file_system(&error) => 0,
                Err(error) => return Err(self.damage(error)),
            },
            None => {
                let taken = fs::read_at(&self.open.file, buffer, self.position, &self.name);
                taken.map_err(|e| Damage::unreadable(&*self.name, self.position, e))?
            }
        };
        self.position += taken as u64;
        Ok(taken)
    }

    /// Skips to an offset that is not before the present one.
    pub(super) fn skip_to(&mut self, offset: u64) -> Result<(), Damage> {
        if !self.is_compressed() {
            self.position = offset;
            return Ok(());
        }
        let mut scrap = vec![0; CHUNK];
        while self.position < offset {
            let left = usize::try_from(offset - self.position).unwrap_or(CHUNK).min(CHUNK);
            if self.read(&mut scrap[..left])? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Returns the file's length now.
    pub(super) fn len(&self) -> Result<u64, Damage> {
        let entry = fs::fstat(&self.open.file, &self.name);
        Ok(entry.map_err(|e| Damage::unreadable(&*self.name, self.position, e))?.len)
    }

    /// Returns the file's length at a moment when no record is being appended. A last line without
    /// a line break gets 10 ms to be finished.
    pub(super) fn settled_len(&self) -> Result<u64, Damage> {
        const LOOKS: usize = 10;
        const MOMENT: Duration = Duration::from_millis(1);
        let mut len = self.len()?;
        for _ in 0..LOOKS {
            if self.last_line_end(0, len)? == Some(len) || len == 0 {
                break;
            }
            sleep(MOMENT);
            len = self.len()?;
        }
        Ok(len)
    }

    /// Returns where the last line that ends in the uncompressed bytes from `start` to `end` ends.
    pub(super) fn last_line_end(&self, start: u64, end: u64) -> Result<Option<u64>, Damage> {
        const BLOCK: usize = 4096;
        let mut block = [0; BLOCK];
        let mut upto = end;
        // Usually the very last byte is a line break.
        let mut size = 1;
        while upto > start {
            let from = start.max(upto.saturating_sub(size));
            let len = usize::try_from(upto - from).unwrap_or(BLOCK);
            let taken = self.read_exact_at(&mut block[..len], from)?;
            if let Some(at) = block[..taken].iter().rposition(|&byte| byte == b'\n') {
                return Ok(Some(from + at as u64 + 1));
            }
            upto = from;
            size = BLOCK as u64;
        }
        Ok(None)
    }

    /// Reads uncompressed bytes at an offset. Fills the buffer unless the file ends before.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Damage> {
        read_exact_at(&self.open.file, buffer, offset, &self.name)
    }

    /// Classifies a failure of a decoder: an error of the file system, a cut, or altered content.
    fn damage(&self, error: io::Error) -> Damage {
        let error = match error.downcast::<Error>() {
            Ok(error) => return Damage::unreadable(&*self.name, self.position, error),
            Err(error) => error,
        };
        let text = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the compressed content is cut off".to_owned(),
            _ => format!("the compressed content is damaged ({error})"),
        };
        Damage::new(DamageKind::Corrupt, &*self.name, self.position).with_text(text)
    }
}

/// Reports a numbered backup that was created before an older one. `open` is one of the two.
pub(super) fn out_of_order(
    older: Option<SystemTime>,
    newer: Option<SystemTime>,
    open: &OpenSegment,
) -> Option<Damage> {
    older.zip(newer).filter(|(older, newer)| newer < older)?;
    let text = "it and the one next to it are not in the order in which they were created; \
                they were exchanged, or copied before they were compressed, or the clock was set \
                back";
    Some(Damage::new(DamageKind::Misplaced, &open.segment.path, 0).with_text(text))
}

/// Takes the reports of the segments that a walk found missing.
pub(super) fn missing(walk: &mut Walk) -> Vec<Damage> {
    let all = walk.take_missing();
    let damage = |path: &Path| Damage::new(DamageKind::Missing, path, 0);
    let name = |number| walk.location().backup_path(Name::plain(Key::Number(number)));
    let report = |missing| match missing {
        Missing::Removed(path) => damage(&path).with_text("it was removed before it was read"),
        Missing::Unlisted(error) => Damage::unreadable(walk.location().path(), 0, error),
        Missing::Numbers(numbers) => {
            let (first, last) = (name(*numbers.end()), name(*numbers.start()));
            let text = "there is no backup of this number, but there are older ones";
            match first == last {
                true => damage(&first).with_text(text),
                false => damage(&first)
                    .with_text(format!("{text}; so it is down to `{}`", last.display())),
            }
        }
    };
    all.into_iter().map(report).collect()
}

/// Reads at an offset until the buffer is full or the file ends.
pub(super) fn read_exact_at(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
    path: &Path,
) -> Result<usize, Damage> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        match fs::read_at(file, &mut buffer[done..], at, path) {
            Ok(0) => break,
            Ok(taken) => done += taken,
            Err(error) => return Err(Damage::unreadable(path, at, error)),
        }
    }
    Ok(done)
}

/// The number of bytes asked of the system at once.
pub(super) const CHUNK: usize = 64 * 1024;

/// Whether a decoder failed because its file could not be read.
fn is_of_file_system(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Error>)
}

/// Reports a segment that cannot be decompressed. If it contradicts its digest, damage has made it
/// look like a file that needs another format, a dictionary or more memory.
fn refused(open: &OpenSegment, name: &Path, error: Error) -> Damage {
    match open.tag.check(&open.file, open.entry.len, open.segment.compression, name) {
        Ok(Verdict::Altered) => Damage::new(DamageKind::Corrupt, name, 0)
            .with_text("it contradicts its digest, and its header is damaged"),
        _ => Damage::unreadable(name, 0, error),
    }
}

/// Opens the decoder of a compressed segment; `None` if it is uncompressed.
fn decompress(open: &OpenSegment) -> Result<Option<Box<dyn Read + Send>>> {
    let OpenSegment { file, segment, memory, .. } = open;
    let path = segment.path.as_path().into();
    match segment.compression {
        Compression::None => Ok(None),
        compression => uncompress::open(file, &path, compression, *memory).map(Some),
    }
}
