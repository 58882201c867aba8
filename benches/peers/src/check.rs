//! Reads a log back, including `.gz`, and accounts for every record.

use crate::line::{LINE_BYTES, Line};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The acknowledged records of one thread: `0..count` without the refused ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Written {
    /// Records handed to the log.
    pub count: u64,
    /// Those among them whose call returned an error: they may be missing.
    pub refused: Vec<u64>,
}

/// The records found, compared with those written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records acknowledged.
    pub written: u64,
    /// Acknowledged records that are not found.
    pub lost: u64,
    /// Copies beyond the first.
    pub doubled: u64,
    /// Lines that are no whole record, and compressed files that end early.
    pub torn: u64,
    /// Files that held at least one line.
    pub segments: u64,
}

/// Reads every file in `dir` and compares it with `written[worker][thread]`.
///
/// Lock files (`*.lock`) are skipped: their content is no record.
///
/// # Errors
/// Any failure to list the directory or to open a file. A damaged compressed file is no error: it
/// is counted as torn, and its missing records as lost.
pub fn check(dir: &Path, written: &[Vec<Written>]) -> io::Result<Tally> {
    let mut ledger = Ledger::new(written);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.path().extension().is_none_or(|e| e != "lock") {
            ledger.read(&entry.path())?;
        }
    }
    Ok(ledger.close())
}

/// How often each acknowledged record was seen.
struct Ledger<'a> {
    written: &'a [Vec<Written>],
    seen: Vec<Vec<Vec<u8>>>,
    tally: Tally,
}

impl<'a> Ledger<'a> {
    fn new(written: &'a [Vec<Written>]) -> Self {
        let column = |thread: &Written| vec![0; thread.count as usize];
        let seen = written.iter().map(|worker| worker.iter().map(column).collect()).collect();
        Self { written, seen, tally: Tally::default() }
    }

    fn read(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        if path.extension().is_some_and(|e| e == "gz") {
            self.lines(MultiGzDecoder::new(file));
        } else {
            self.lines(file);
        }
        Ok(())
    }

    fn lines(&mut self, source: impl Read) {
        let mut source = BufReader::with_capacity(1 << 18, source);
        let mut line = Vec::with_capacity(LINE_BYTES);
        let mut any = false;
        loop {
            line.clear();
            let read = source.read_until(b'\n', &mut line);
            if !line.is_empty() {
                any = true;
                self.line(&line);
            }
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => {
                    self.tally.torn += 1;
                    break;
                }
            }
        }
        self.tally.segments += u64::from(any);
    }

    fn line(&mut self, line: &[u8]) {
        let Some(id) = Line::parse(line) else {
            self.tally.torn += 1;
            return;
        };
        let column = self.seen.get_mut(id.worker as usize);
        let cell = column
            .and_then(|worker| worker.get_mut(id.thread as usize))
            .and_then(|thread| thread.get_mut(id.seq as usize));
        // The writer of a whole record without an acknowledgment died in the call.
        let Some(cell) = cell else { return };
        self.tally.doubled += u64::from(*cell > 0);
        *cell = cell.saturating_add(1);
    }

    fn close(mut self) -> Tally {
        for (worker, columns) in self.written.iter().zip(&self.seen) {
            for (thread, seen) in worker.iter().zip(columns) {
                let refused = thread.refused.len() as u64;
                let missing = seen.iter().filter(|&&times| times == 0).count() as u64;
                let excused = thread.refused.iter().filter(|&&seq| seen[seq as usize] == 0).count();
                self.tally.written += thread.count - refused;
                self.tally.lost += missing - excused as u64;
            }
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;
    use tempfile::TempDir;

    const RECORDS: u64 = 1000;

    /// A log by two workers of two threads: one plain segment, one compressed.
    fn log(change: impl Fn(&mut Vec<Vec<u8>>)) -> (TempDir, Vec<Vec<Written>>) {
        let dir = tempfile::tempdir().expect("no temporary directory");
        let mut lines = whole();
        change(&mut lines);
        let (first, second) = lines.split_at(lines.len() / 2);
        fs::write(dir.path().join("app.log"), second.concat()).expect("cannot write");
        fs::write(dir.path().join("app.log.1.gz"), gzip(&first.concat())).expect("cannot write");
        let thread = Written { count: RECORDS, refused: Vec::new() };
        (dir, vec![vec![thread; 2]; 2])
    }

    fn whole() -> Vec<Vec<u8>> {
        let threads = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let line = |(worker, thread), seq| {
            let mut line = Line::new(worker, thread);
            line.set(seq);
            line.bytes().to_vec()
        };
        (0..RECORDS).flat_map(|seq| threads.map(|from| line(from, seq))).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("cannot compress")
    }

    fn checked(change: impl Fn(&mut Vec<Vec<u8>>)) -> Tally {
        let (dir, written) = log(change);
        check(dir.path(), &written).expect("cannot check")
    }

    #[test]
    fn a_whole_log_has_nothing_lost_doubled_or_torn() {
        let good = Tally { written: 4 * RECORDS, segments: 2, ..Tally::default() };
        assert_eq!(checked(|_| {}), good);
    }

    #[test]
    fn dropped_lines_are_lost() {
        let tally = checked(|lines| {
            let mut nth = 0;
            lines.retain(|_| {
                nth += 1;
                nth % 20 != 0
            });
        });
        assert_eq!((tally.lost, tally.doubled, tally.torn), (200, 0, 0));
    }

    #[test]
    fn repeated_lines_are_doubled() {
        let tally = checked(|lines| {
            let again: Vec<_> = lines.iter().step_by(20).cloned().collect();
            lines.extend(again);
        });
        assert_eq!((tally.lost, tally.doubled, tally.torn), (0, 200, 0));
    }

    #[test]
    fn a_line_inside_another_is_torn_and_the_record_lost() {
        let tally = checked(|lines| {
            let inner = lines.remove(11);
            let tail = lines[10].split_off(50);
            lines[10].extend(inner);
            lines.insert(11, tail);
        });
        assert_eq!((tally.lost, tally.doubled, tally.torn), (2, 0, 2));
    }

    #[test]
    fn a_hole_of_zeros_is_torn() {
        let tally = checked(|lines| lines[10].splice(0..0, vec![0; 5000]).for_each(drop));
        assert_eq!((tally.lost, tally.doubled, tally.torn), (1, 0, 1));
    }

    #[test]
    fn a_compressed_segment_cut_short_is_torn_and_its_rest_lost() {
        let (dir, written) = log(|_| {});
        let path = dir.path().join("app.log.1.gz");
        let bytes = fs::read(&path).expect("cannot read");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("cannot write");
        let tally = check(dir.path(), &written).expect("cannot check");
        assert!(tally.lost > 0 && tally.torn > 0, "{tally:?}");
    }

    #[test]
    fn a_refused_record_may_be_missing_or_there() {
        let (dir, mut written) = log(|lines| drop(lines.remove(0)));
        written[0][0].refused = vec![0, 1];
        let tally = check(dir.path(), &written).expect("cannot check");
        assert_eq!((tally.written, tally.lost), (4 * RECORDS - 2, 0));
    }

    #[test]
    fn a_lock_file_is_no_segment() {
        let (dir, written) = log(|_| {});
        fs::write(dir.path().join("app.log.lock"), "4121\n").expect("cannot write");
        assert_eq!(check(dir.path(), &written).expect("cannot check").torn, 0);
    }
}
