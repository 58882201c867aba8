//! The record that all contestants log: 128 bytes with their origin and a proof that they are
//! whole.

use std::io::Write;

/// Bytes of a record, its newline included.
pub const LINE_BYTES: usize = 128;

/// The writer of a record, and its number among the records of that thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    pub worker: u32,
    pub thread: u32,
    pub seq: u64,
}

/// A record, built in place: nothing is allocated while it is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    id: Id,
    bytes: [u8; LINE_BYTES],
}

const MESSAGE: &str = "GET /api/v1/items/42 status=200 bytes=5316 cache=miss upstream=backend-3";

impl Line {
    /// The first record of a thread.
    pub fn new(worker: u32, thread: u32) -> Self {
        let mut line = Self { id: Id { worker, thread, seq: 0 }, bytes: [b' '; LINE_BYTES] };
        let mut room = &mut line.bytes[..];
        write!(room, "w{worker:04} t{thread:04} s000000000000 h0000000000000000 {MESSAGE}")
            .expect("BUG: the fixed part of a record outgrew it");
        line.bytes[LINE_BYTES - 1] = b'\n';
        line.set(0);
        line
    }

    /// Makes this the thread's record number `seq`.
    pub fn set(&mut self, seq: u64) {
        self.id.seq = seq;
        put_decimal(&mut self.bytes[SEQ], seq);
        put_hex(&mut self.bytes[HASH], mix(self.id));
    }

    /// Makes this the thread's next record, faster than [`set`](Self::set).
    pub fn advance(&mut self) {
        self.id.seq += 1;
        increment(&mut self.bytes[SEQ]);
        put_hex(&mut self.bytes[HASH], mix(self.id));
    }

    /// The record with its newline, for writers of bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The record without its newline, for loggers that add their own.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..LINE_BYTES - 1]).expect("BUG: a record is ASCII")
    }

    /// The origin of the record in `bytes`; `None` unless they are exactly one whole record.
    pub fn parse(bytes: &[u8]) -> Option<Id> {
        if bytes.len() != LINE_BYTES {
            return None;
        }
        let (worker, thread) = (number(&bytes[WORKER])?, number(&bytes[THREAD])?);
        let mut whole = Self::new(u32::try_from(worker).ok()?, u32::try_from(thread).ok()?);
        whole.set(number(&bytes[SEQ])?);
        (whole.bytes() == bytes).then_some(whole.id)
    }
}

type Field = std::ops::Range<usize>;
const WORKER: Field = 1..5;
const THREAD: Field = 7..11;
const SEQ: Field = 13..25;
const HASH: Field = 27..43;

fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

fn put_decimal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn increment(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

fn put_hex(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// A number that two records do not share, so that halves of two are not taken for one.
///
/// Source: the finalizer of splitmix64.
fn mix(id: Id) -> u64 {
    let mut z = (u64::from(id.worker) << 52) ^ (u64::from(id.thread) << 44) ^ id.seq;
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(worker: u32, thread: u32, seq: u64) -> Line {
        let mut line = Line::new(worker, thread);
        line.set(seq);
        line
    }

    #[test]
    fn parsing_gives_back_what_was_built() {
        for (worker, thread, seq) in [(0, 0, 0), (7, 3, 41), (9999, 9999, 999_999_999_999)] {
            let line = line(worker, thread, seq);
            assert_eq!(Line::parse(line.bytes()), Some(Id { worker, thread, seq }));
            assert_eq!(line.text().len(), LINE_BYTES - 1);
            assert_eq!(line.bytes().last(), Some(&b'\n'));
        }
    }

    #[test]
    fn advancing_is_setting_to_the_next_number() {
        let mut advanced = line(1, 2, 0);
        for seq in 1..2000 {
            advanced.advance();
            assert_eq!(advanced, line(1, 2, seq));
        }
    }

    #[test]
    fn halves_of_two_records_are_not_a_record() {
        let (a, b) = (line(1, 2, 30), line(1, 2, 31));
        for cut in 1..HASH.end {
            let joined = [&a.bytes()[..cut], &b.bytes()[cut..]].concat();
            let whole = joined == a.bytes() || joined == b.bytes();
            assert_eq!(Line::parse(&joined).is_some(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_record_cut_short_or_run_into_another_is_not_a_record() {
        let whole = line(1, 2, 3);
        assert_eq!(Line::parse(&whole.bytes()[..60]), None);
        assert_eq!(Line::parse(&whole.bytes().repeat(2)), None);
        assert_eq!(Line::parse(b""), None);
    }
}
