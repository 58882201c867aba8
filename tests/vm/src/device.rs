//! The write requests to a device, as logged by dm-log-writes, and the disks that a power cut may
//! leave of them.
//!
//! After a power cut, the disk of a device with a cache has everything that was written before the
//! last completed flush, and later writes that bypassed the cache (*FUA*). Of each other write it
//! may have all, nothing, or the first sectors.
//!
//! Source: `drivers/md/dm-log-writes.c` and
//! `Documentation/admin-guide/device-mapper/log-writes.rst` of Linux.

use fastrand::Rng;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One request to the device, in the order of completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A note of this program.
    Mark(String),
    /// A write or flush: all earlier writes are on the disk once it completes; it may write as
    /// well.
    Write {
        /// Whether it began with a flush.
        flushes: bool,
        /// Whether it bypassed the cache.
        is_direct: bool,
        /// The offset on the device, in bytes.
        at: u64,
        /// The length, in bytes.
        len: u64,
        /// The offset of its content in the log; `None` if it discards.
        content: Option<u64>,
    },
}

impl Entry {
    /// Whether all writes before it are on the disk.
    pub fn flushes(&self) -> bool {
        matches!(self, Self::Write { flushes: true, .. })
    }
}

/// A log of dm-log-writes.
pub struct WriteLog {
    file: File,
    sector: u64,
    /// The entries of the log.
    pub entries: Vec<Entry>,
}

impl WriteLog {
    /// Reads a complete log.
    ///
    /// # Errors
    /// If it cannot be read, or is no log of dm-log-writes.
    pub fn read(file: File) -> io::Result<Self> {
        let head = numbers::<4>(&file, 0)?;
        // Eight bytes each, but for the last: the size of a sector has four.
        let (count, sector) = (head[2], head[3] & 0xffff_ffff);
        if head[0] != MAGIC || head[1] != 1 || sector == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no log of dm-log-writes"));
        }
        let mut log = Self { file, sector, entries: Vec::new() };
        let mut at = sector;
        for _ in 0..count {
            at = log.read_entry(at)?;
        }
        Ok(log)
    }

    /// Reads the entry at `at`, and returns the offset of the next one.
    fn read_entry(&mut self, at: u64) -> io::Result<u64> {
        const HEAD: u64 = 32;
        let [sector, sectors, flags, data] = numbers::<4>(&self.file, at)?;
        let content = at + self.sector;
        let len = sectors * self.sector;
        if flags & MARK != 0 {
            let mut text = vec![0; data as usize];
            self.file.read_exact_at(&mut text, at + HEAD)?;
            self.entries.push(Entry::Mark(String::from_utf8_lossy(&text).into_owned()));
            return Ok(content);
        }
        let is_discard = flags & DISCARD != 0;
        self.entries.push(Entry::Write {
            flushes: flags & FLUSH != 0,
            is_direct: flags & FUA != 0,
            at: sector * self.sector,
            len,
            content: (!is_discard).then_some(content),
        });
        Ok(if is_discard { content } else { content + len })
    }

    /// Writes an entry to a disk: all of it, or its first `len` bytes.
    fn put(&self, disk: &File, entry: &Entry, len: u64) -> io::Result<()> {
        let Entry::Write { at, content, .. } = entry else { return Ok(()) };
        let mut bytes = vec![0; len as usize];
        if let Some(content) = content {
            self.file.read_exact_at(&mut bytes, *content)?;
        }
        disk.write_all_at(&bytes, *at)
    }

    /// Writes the certain state after a power cut behind `upto` entries to a disk that has the
    /// first `from` entries, or the flushed ones among them. Returns how many entries are certain.
    ///
    /// # Errors
    /// If the log cannot be read or the disk cannot be written.
    pub fn put_certain(&self, disk: &File, from: usize, upto: usize) -> io::Result<usize> {
        let certain = flushed(&self.entries[..upto]).max(from);
        for entry in &self.entries[from..certain] {
            self.put(disk, entry, entry.len())?;
        }
        Ok(certain)
    }

    /// Writes an uncertain state after a power cut behind `upto` entries to a disk that has the
    /// first `certain` ones.
    ///
    /// # Errors
    /// If the log cannot be read or the disk cannot be written.
    pub fn put_uncertain(
        &self,
        disk: &File,
        certain: usize,
        upto: usize,
        cache: &mut Cache,
    ) -> io::Result<()> {
        for entry in &self.entries[certain..upto] {
            self.put(disk, entry, cache.keeps(entry, self.sector))?;
        }
        Ok(())
    }
}

impl Entry {
    fn len(&self) -> u64 {
        match self {
            Self::Mark(_) => 0,
            Self::Write { len, .. } => *len,
        }
    }
}

/// The number of entries before the last flush. The write that comes with a flush is not one of
/// them.
fn flushed(entries: &[Entry]) -> usize {
    entries.iter().rposition(Entry::flushes).unwrap_or(0)
}

fn numbers<const N: usize>(file: &File, at: u64) -> io::Result<[u64; N]> {
    let mut numbers = [0; N];
    for (number, at) in numbers.iter_mut().zip((at..).step_by(8)) {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at)?;
        *number = u64::from_le_bytes(bytes);
    }
    Ok(numbers)
}

/// The part of a device's cache that is on the disk when the power fails.
pub enum Cache {
    /// Nothing.
    Idle,
    /// All.
    Through,
    /// Some writes, some in part.
    Chance(Rng),
}

impl Cache {
    /// One of the three.
    pub fn any(rng: &mut Rng) -> Self {
        match rng.u64(..4) {
            0 => Self::Idle,
            1 => Self::Through,
            _ => Self::Chance(Rng::with_seed(rng.u64(..))),
        }
    }

    /// The number of bytes of a write that are on the disk.
    fn keeps(&mut self, entry: &Entry, sector: u64) -> u64 {
        let len = entry.len();
        match self {
            _ if matches!(entry, Entry::Write { is_direct: true, .. }) => len,
            Self::Idle => 0,
            Self::Through => len,
            Self::Chance(rng) => match rng.u64(..5) {
                0 | 1 => len,
                2 => rng.u64(..len / sector + 1) * sector,
                _ => 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    /// A log as the kernel writes it.
    #[derive(Default)]
    struct Made {
        entries: Vec<u8>,
        count: u64,
    }

    impl Made {
        fn entry(mut self, sector: u64, flags: u64, content: &[u8]) -> Self {
            let is_mark = flags & MARK != 0;
            let sectors = if is_mark { 0 } else { content.len() / SECTOR };
            let data = if is_mark { content.len() } else { 0 };
            let mut head = Vec::new();
            for number in [sector, sectors as u64, flags, data as u64] {
                head.extend(number.to_le_bytes());
            }
            if is_mark {
                head.extend(content);
            }
            head.resize(SECTOR, 0);
            self.entries.extend(head);
            if !is_mark {
                self.entries.extend(content);
            }
            self.count += 1;
            self
        }

        fn log(self) -> WriteLog {
            let mut bytes = Vec::new();
            for number in [MAGIC, 1, self.count, SECTOR as u64] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.resize(SECTOR, 0);
            bytes.extend(self.entries);
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            WriteLog::read(file).unwrap()
        }
    }

    /// The disk after a power cut behind `upto` entries: the first byte of each sector.
    fn disk(log: &WriteLog, upto: usize, cache: &mut Cache) -> Vec<u8> {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(4 * SECTOR as u64).unwrap();
        let certain = log.put_certain(&disk, 0, upto).unwrap();
        log.put_uncertain(&disk, certain, upto, cache).unwrap();
        let mut bytes = vec![0; 4 * SECTOR];
        disk.read_exact_at(&mut bytes, 0).unwrap();
        bytes.chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    fn made() -> WriteLog {
        Made::default()
            .entry(0, 0, &[1; 2 * SECTOR])
            .entry(0, MARK, b"a note")
            .entry(2, FUA, &[2; SECTOR])
            .entry(0, FLUSH, &[])
            .entry(0, 0, &[3; SECTOR])
            .entry(3, FLUSH, &[4; SECTOR])
            .log()
    }

    #[test]
    fn log_is_read_as_the_kernel_writes_it() {
        let log = made();
        assert_eq!(log.entries.len(), 6);
        assert_eq!(log.entries[1], Entry::Mark("a note".to_owned()));
        let write = Entry::Write {
            flushes: false,
            is_direct: true,
            at: 1024,
            len: 512,
            content: Some(3072),
        };
        assert_eq!(log.entries[2], write);
        assert!(log.entries[3].flushes() && !log.entries[4].flushes());
        assert!(WriteLog::read(tempfile::tempfile().unwrap()).is_err());
    }

    #[test]
    fn only_unflushed_writes_may_be_lost() {
        let log = made();
        let idle = |upto| disk(&log, upto, &mut Cache::Idle);
        assert_eq!(idle(2), [0, 0, 0, 0]);
        assert_eq!(idle(3), [0, 0, 2, 0], "past the cache");
        assert_eq!(idle(4), [1, 1, 2, 0]);
        assert_eq!(idle(5), [1, 1, 2, 0]);
        assert_eq!(idle(6), [3, 1, 2, 0], "a flush does not cover what it brings");
    }

    #[test]
    fn unflushed_writes_may_be_there_whole_or_in_part() {
        let log = made();
        assert_eq!(disk(&log, 6, &mut Cache::Through), [3, 1, 2, 4]);
        let some = |seed| disk(&log, 1, &mut Cache::Chance(Rng::with_seed(seed)));
        let seen: std::collections::BTreeSet<_> = (0..100).map(some).collect();
        let all = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]].map(Vec::from);
        assert_eq!(seen, all.into());
    }
}
