//! The promises made before the power cut, and whether they were kept.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A file for the promises that workers got, on a file system that is not cut. One line, in one
/// call, for the records (or versions) `from..upto` of a worker.
pub struct Notes(File);

impl Notes {
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    /// Notes that these records are promised.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn promised(&self, worker: u32, from: u64, upto: u64) -> io::Result<()> {
        (&self.0).write_all(format!("{worker} {from} {upto}\n").as_bytes())
    }
}

/// The promises made up to some moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Promises(Vec<(u32, u64, u64)>);

impl Promises {
    /// Parses the first bytes of the output of [`Notes`]; an incomplete last line is ignored.
    pub fn parse(notes: &[u8]) -> Self {
        let whole = notes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = notes[..whole].split(|byte| *byte == b'\n');
        let promise = |line: &[u8]| {
            let mut fields = std::str::from_utf8(line).ok()?.split(' ');
            let worker = fields.next()?.parse().ok()?;
            Some((worker, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        Self(lines.filter_map(promise).collect())
    }

    /// The number of promised records.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The highest promise to each worker.
    pub fn last(&self) -> BTreeMap<u32, u64> {
        let mut last = BTreeMap::new();
        for (worker, _, upto) in &self.0 {
            let highest = last.entry(*worker).or_default();
            *highest = (*upto).max(*highest);
        }
        last
    }

    /// The promised records that are not among those found.
    pub fn lost(&self, found: &Found) -> Vec<(u32, u64)> {
        let none = Vec::new();
        let mut lost = Vec::new();
        for (worker, from, upto) in &self.0 {
            let there = found.records.get(worker).unwrap_or(&none);
            let is_lost = |seq: &u64| there.binary_search(seq).is_err();
            lost.extend((*from..*upto).filter(is_lost).map(|seq| (*worker, seq)));
        }
        lost.sort_unstable();
        lost.dedup();
        lost
    }
}

/// The records found in a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The numbers of each worker's records, in the order of the log.
    pub records: BTreeMap<u32, Vec<u64>>,
    /// Lines that are no whole record.
    pub torn: usize,
}

impl Found {
    /// Counts one line, without its line break.
    pub fn line(&mut self, text: &[u8]) {
        match crate::record::parse(text) {
            Some((worker, seq)) => self.records.entry(worker).or_default().push(seq),
            None => self.torn += 1,
        }
    }

    /// Checks that each record exists once at most, and that each worker's are in order.
    ///
    /// # Errors
    /// The first record that breaks this.
    pub fn check_order(&self) -> Result<(), String> {
        for (worker, seqs) in &self.records {
            if let Some(at) = seqs.windows(2).position(|pair| pair[0] >= pair[1]) {
                let (before, seq) = (seqs[at], seqs[at + 1]);
                let again = if seqs[..=at].contains(&seq) { ", again" } else { "" };
                return Err(format!("worker {worker}: record {seq} after {before}{again}"));
            }
        }
        Ok(())
    }

    /// The number of records.
    pub fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::line;

    fn found(lines: &[(u32, u64)]) -> Found {
        let mut found = Found::default();
        for (worker, seq) in lines {
            found.line(line(*worker, *seq).trim_end().as_bytes());
        }
        found
    }

    #[test]
    fn kept_promise_is_kept() {
        let promises = Promises::parse(b"1 0 2\n2 5 6\n");
        let found = found(&[(1, 0), (2, 4), (1, 1), (2, 5), (1, 2)]);
        assert_eq!(promises.lost(&found), []);
        assert_eq!(found.check_order(), Ok(()));
        assert_eq!((promises.count(), found.count(), found.torn), (2, 5, 0));
    }

    #[test]
    fn lost_and_torn_records_are_found_out() {
        let promises = Promises::parse(b"1 0 3\n2 0 1\n");
        let mut found = found(&[(1, 0)]);
        let torn = line(1, 1);
        found.line(&torn.as_bytes()[..torn.len() - 2]);
        assert_eq!(promises.lost(&found), [(1, 1), (1, 2), (2, 0)]);
        assert_eq!(found.torn, 1);
    }

    #[test]
    fn doubled_and_exchanged_records_are_found_out() {
        assert!(found(&[(1, 0), (2, 0), (1, 0)]).check_order().is_err());
        assert!(found(&[(1, 1), (1, 0)]).check_order().is_err());
    }

    #[test]
    fn half_a_note_is_no_promise() {
        assert_eq!(Promises::parse(b"1 0 2\n1 2 3"), Promises(vec![(1, 0, 2)]));
        assert_eq!(Promises::parse(b"1 0"), Promises::default());
        assert_eq!(Promises::parse(b"1 0 2\n1 2 7\n4 0 1\n").last(), [(1, 7), (4, 1)].into());
    }
}
