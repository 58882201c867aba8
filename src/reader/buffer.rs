//! Bytes on their way from a segment to the caller; holes are found and skipped.

/// The number of NUL bytes in a row that make a hole; fewer may be part of a record.
pub(super) const HOLE: usize = 64;

/// The kind of the first bytes of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    /// This many bytes of records.
    Bytes(usize),
    /// This many NUL bytes of a hole, and perhaps more after them.
    Hole(usize),
    /// More of the segment is needed to decide.
    Unknown,
}

/// A buffer of a fixed size: `ready` bytes for the caller, then raw ones.
pub(super) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    ready: usize,
    end: usize,
    /// The length so far of the hole that the raw bytes continue.
    hole: u64,
}

/// The next thing to do, after the raw bytes were sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sorted {
    /// Hand out the bytes that are ready.
    Ready,
    /// Report a hole of this length, which has ended where the raw bytes begin.
    Hole(u64),
    /// Read more of the segment. At its end, nothing is left.
    More,
}

impl ReadBuffer {
    /// Allocates a buffer of `size` bytes. It never grows, so it must hold more than a hole's first
    /// 64 bytes.
    pub(super) fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], start: 0, ready: 0, end: 0, hole: 0 }
    }

    /// Returns the bytes for the caller.
    pub(super) fn ready(&self) -> &[u8] {
        &self.bytes[self.start..self.ready]
    }

    /// Removes the first `len` ready bytes, or all of them if they are fewer.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.ready);
    }

    /// Returns the number of bytes in the buffer, ready and raw.
    pub(super) fn held(&self) -> u64 {
        (self.end - self.start) as u64
    }

    /// Whether nothing of the segment read last is in the buffer.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end && self.hole == 0
    }

    /// Returns the space for more of the segment. Call it only while nothing is ready.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            (self.start, self.ready) = (0, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes that the first `len` bytes of the space were filled.
    pub(super) fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Sorts the raw bytes. `is_last`: the segment has no more for now.
    pub(super) fn sort(&mut self, is_last: bool) -> Sorted {
        loop {
            let raw = &self.bytes[self.ready..self.end];
            if self.hole > 0 {
                let more = raw.iter().take_while(|&&byte| byte == 0).count();
                self.hole += more as u64;
                let is_over = more < raw.len() || is_last;
                self.drop_raw(more);
                return if is_over {
                    Sorted::Hole(std::mem::take(&mut self.hole))
                } else {
                    Sorted::More
                };
            }
            if raw.is_empty() {
                return Sorted::More;
            }
            match find(raw, is_last) {
                Prefix::Bytes(len) => {
                    self.ready += len;
                    return Sorted::Ready;
                }
                Prefix::Hole(len) => {
                    self.hole = len as u64;
                    self.drop_raw(len);
                }
                Prefix::Unknown => return Sorted::More,
            }
        }
    }

    /// Skips the first raw bytes. Call it only while nothing is ready.
    fn drop_raw(&mut self, len: usize) {
        self.start += len;
        self.ready = self.start;
    }
}

/// Classifies the first bytes of `bytes`, which is not empty.
fn find(bytes: &[u8], is_last: bool) -> Prefix {
    // Most pieces have no NUL byte, which is quickly seen.
    if !bytes.contains(&0) {
        return Prefix::Bytes(bytes.len());
    }
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|&byte| byte == 0) {
        let from = at + next;
        let run = bytes[from..].iter().take_while(|&&byte| byte == 0).count();
        let is_cut = from + run == bytes.len() && !is_last;
        if run >= HOLE || is_cut {
            return match from {
                0 if run >= HOLE => Prefix::Hole(run),
                0 => Prefix::Unknown,
                _ => Prefix::Bytes(from),
            };
        }
        at = from + run;
    }
    Prefix::Bytes(bytes.len())
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes { offset: u64, bytes: Vec<u8> },
    Hole { offset: u64, bytes: u64 },
}

/// Splits a line that begins at `offset` at its holes.
pub(super) fn split(line: &[u8], offset: u64) -> Vec<Piece> {
    let (mut rest, mut offset, mut pieces) = (line, offset, Vec::new());
    while !rest.is_empty() {
        let len = match find(rest, true) {
            Prefix::Hole(len) => {
                pieces.push(Piece::Hole { offset, bytes: len as u64 });
                len
            }
            Prefix::Bytes(len) => {
                pieces.push(Piece::Bytes { offset, bytes: rest[..len].to_owned() });
                len
            }
            Prefix::Unknown => break,
        };
        offset += len as u64;
        rest = &rest[len..];
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sends `input` in pieces of `step` through a buffer of `size`. Returns the bytes and the
    /// holes.
    fn through(input: &[u8], size: usize, step: usize) -> (Vec<u8>, Vec<u64>) {
        let mut buffer = ReadBuffer::new(size);
        let (mut rest, mut bytes, mut holes) = (input, Vec::new(), Vec::new());
        loop {
            match buffer.sort(rest.is_empty()) {
                Sorted::Ready => {
                    bytes.extend_from_slice(buffer.ready());
                    buffer.consume(buffer.ready().len());
                }
                Sorted::Hole(len) => holes.push(len),
                Sorted::More if rest.is_empty() => break,
                Sorted::More => {
                    let space = buffer.space();
                    let len = step.min(rest.len()).min(space.len());
                    assert!(len > 0, "a buffer that asks for more has room for it");
                    space[..len].copy_from_slice(&rest[..len]);
                    buffer.filled(len);
                    rest = &rest[len..];
                }
            }
        }
        assert!(buffer.is_empty());
        (bytes, holes)
    }

    #[test]
    fn long_run_of_nul_bytes_is_left_out_and_a_short_one_is_not() {
        for run in [0, 1, HOLE - 1, HOLE, HOLE + 1, 10 * HOLE] {
            let input = [b"before\n".as_slice(), &vec![0; run], b"after\n"].concat();
            for step in 1..=HOLE + 20 {
                let (bytes, holes) = through(&input, 100, step);
                if run < HOLE {
                    assert_eq!((bytes, holes), (input.clone(), vec![]), "{run} {step}");
                } else {
                    assert_eq!(bytes, b"before\nafter\n");
                    assert_eq!(holes, [run as u64], "{run} {step}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_change_what_comes_out(
            runs in prop::collection::vec((prop::bool::ANY, 1_usize..150), 0..8),
            size in HOLE..300,
            step in 1_usize..300,
        ) {
            let byte = |nul: bool| if nul { 0 } else { b'x' };
            let input: Vec<u8> =
                runs.iter().flat_map(|(nul, len)| vec![byte(*nul); *len]).collect();
            prop_assert_eq!(through(&input, size, step), through(&input, 10_000, 10_000));
        }
    }
}
