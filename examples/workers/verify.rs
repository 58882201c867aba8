//! Reading everything back: what became of every record.

use crate::Result;
use crate::worker::checksum;
use chrono::DateTime;
use flate2::read::GzDecoder;
use logrotor::Compression;
use logrotor::inspect::Segment;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

/// The fate of one worker's records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Account {
    pub(crate) written: u64,
    pub(crate) found: u64,
    /// Not there, and in a backup that was removed as there were more than were to be kept.
    pub(crate) retired: u64,
    /// Not there without such a reason.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Lines that are not, to the last byte, a record that the worker wrote.
    pub(crate) torn: u64,
}

/// The content of a log.
pub(crate) struct Findings {
    /// One per worker.
    pub(crate) accounts: Vec<Account>,
    /// Torn lines of which it cannot be said whose they are.
    pub(crate) torn: u64,
    /// Uncompressed.
    pub(crate) bytes: u64,
}

impl Findings {
    pub(crate) fn is_clean(&self) -> bool {
        let damage = |account: &Account| account.lost + account.doubled + account.torn;
        self.torn + self.accounts.iter().map(damage).sum::<u64>() == 0
    }
}

/// Compares the log with how many records each worker has `written`. `prunes` says that old backups
/// were removed.
pub(crate) fn verify(segments: &[Segment], written: &[u64], prunes: bool) -> Result<Findings> {
    let mut reading = Reading::new(written)?;
    for segment in segments {
        reading.read(segment).map_err(|error| format!("{}: {error}", segment.path.display()))?;
    }
    let Reading { times, torn, unknown, bytes } = reading;
    let accounts = times.iter().zip(torn).map(|(times, torn)| account(times, torn, prunes));
    Ok(Findings { accounts: accounts.collect(), torn: unknown, bytes })
}

/// Counts how often each record of a worker was found.
///
/// A worker's records are in order, and retention removes the oldest segments and only them: so it
/// can explain what is missing before the first record found, and nothing after it.
fn account(times: &[u8], torn: u64, prunes: bool) -> Account {
    let count = |records: &[u8], what: fn(u8) -> bool| {
        records.iter().filter(|times| what(**times)).count() as u64
    };
    let first = times.iter().position(|times| *times > 0).unwrap_or(times.len());
    let (before, after) = times.split_at(if prunes { first } else { 0 });
    Account {
        written: times.len() as u64,
        found: count(after, |times| times > 0),
        retired: before.len() as u64,
        lost: count(after, |times| times == 0),
        doubled: count(after, |times| times > 1),
        torn,
    }
}

/// The state of the check so far.
struct Reading {
    /// Per worker and record, how often it was found.
    times: Vec<Vec<u8>>,
    /// Per worker, torn lines that still name it.
    torn: Vec<u64>,
    unknown: u64,
    bytes: u64,
}

impl Reading {
    fn new(written: &[u64]) -> Result<Self> {
        let records = |count: &u64| Ok(vec![0; usize::try_from(*count)?]);
        let times = written.iter().map(records).collect::<Result<_>>()?;
        Ok(Self { times, torn: vec![0; written.len()], unknown: 0, bytes: 0 })
    }

    fn read(&mut self, segment: &Segment) -> Result<()> {
        let mut lines = BufReader::new(open(segment)?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            self.bytes += line.len() as u64;
            self.note(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(())
    }

    fn note(&mut self, line: &str) {
        let place = parse(line).and_then(|(worker, seq)| self.times.get_mut(worker)?.get_mut(seq));
        match place {
            Some(times) => *times = times.saturating_add(1),
            None => match field(line, "worker").and_then(|worker| self.torn.get_mut(worker)) {
                Some(torn) => *torn += 1,
                None => self.unknown += 1,
            },
        }
    }
}

fn open(segment: &Segment) -> Result<Box<dyn Read>> {
    let file = File::open(&segment.path)?;
    match segment.compression {
        Compression::None => Ok(Box::new(file)),
        Compression::Gzip => Ok(Box::new(GzDecoder::new(file))),
        #[cfg(feature = "zstd")]
        Compression::Zstd => Ok(Box::new(zstd::Decoder::new(file)?)),
        other => Err(format!("packed with {other:?}, which this was built without").into()),
    }
}

/// The worker and number of a record, if the line is one from its first byte to its last.
fn parse(line: &str) -> Option<(usize, usize)> {
    const TIME: usize = "2026-11-20T23:57:01.123456Z".len();
    DateTime::parse_from_rfc3339(line.get(..TIME)?).ok()?;
    let fields = line.get(TIME..)?.strip_prefix("  INFO workers::worker: file ")?;
    let (fields, check) = fields.strip_suffix('\n')?.rsplit_once(" check=")?;
    let is_whole = check.parse() == Ok(checksum(fields));
    is_whole.then(|| Some((field(fields, "worker")?, field(fields, "seq")?))).flatten()
}

/// The number in the last field of this name.
fn field(text: &str, name: &str) -> Option<usize> {
    let (_, rest) = text.rsplit_once(&format!(" {name}="))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use logrotor::RotatingFileWriter;

    fn line(worker: usize, seq: usize) -> String {
        let fields = format!("path=\"a worker=9\" size=1 depth=1 worker={worker} seq={seq}");
        let check = checksum(&fields);
        format!("2026-11-20T23:57:01.123456Z  INFO workers::worker: file {fields} check={check}\n")
    }

    /// The verdict on a log with these lines, in which two workers wrote ten records each.
    fn findings(lines: &[String], prunes: bool) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        let log = RotatingFileWriter::builder(dir.path().join("a.log")).build().unwrap();
        lines.iter().for_each(|line| log.write_record(line.as_bytes()).unwrap());
        verify(&log.segments().unwrap(), &[10, 10], prunes).unwrap()
    }

    fn whole_log() -> Vec<String> {
        (0..20).map(|at| line(at % 2, at / 2)).collect()
    }

    #[test]
    fn whole_log_is_clean() {
        let findings = findings(&whole_log(), false);
        assert!(findings.is_clean());
        assert_eq!(findings.accounts.iter().map(|account| account.found).sum::<u64>(), 20);
    }

    #[test]
    fn dropped_doubled_and_torn_records_are_distinguished() {
        let mut lines = whole_log();
        lines[4] = lines[6].clone();
        lines[9].replace_range(30..32, "");
        lines[11].replace_range(20.., "\n");
        let findings = findings(&lines, false);
        let of = |id: usize| {
            let Account { found, lost, doubled, torn, .. } = findings.accounts[id];
            [found, lost, doubled, torn]
        };
        assert_eq!((of(0), of(1), findings.torn), ([9, 1, 1, 0], [8, 2, 0, 1], 1));
    }

    #[test]
    fn retention_explains_what_is_missing_at_the_beginning_alone() {
        let mut lines = whole_log();
        lines.remove(14);
        let findings = findings(&lines[6..], true);
        let [a, b] = findings.accounts[..] else { unreachable!("there are two workers") };
        assert_eq!((a.retired, a.lost, b.retired, b.lost), (3, 1, 3, 0));
    }
}
