//! Input that does not make a complete line yet.

/// The maximum size of a line that is written as one record, without its line break.
pub(crate) const MAX_LINE: usize = 1 << 20;
/// Room for the rest of a line and for one read.
const CAPACITY: usize = 2 * MAX_LINE;

/// The bytes of the input that were read and not yet written.
#[derive(Default)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    filled: usize,
    /// The number of lines that were split.
    split: u64,
    /// Whether the first byte continues a line that was split.
    is_mid_line: bool,
}

impl LineBuffer {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; CAPACITY], ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Returns the number of lines that were split.
    pub(super) fn split(&self) -> u64 {
        self.split
    }

    /// Returns the room for one read.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..self.filled + MAX_LINE]
    }

    /// Adds the first `read` bytes of the room.
    pub(super) fn add(&mut self, read: usize) {
        self.filled += read;
    }

    /// Passes the complete lines to `write` and keeps the rest.
    ///
    /// The buffer holds at most one line's rest and one read after it. Only its first line can
    /// therefore be too long, and at most twice as long as allowed.
    pub(super) fn write_lines(&mut self, mut write: impl FnMut(&[u8])) {
        let mut rest = &self.bytes[..self.filled];
        if content_of(first_line(rest)).len() > MAX_LINE {
            let (part, after) = rest.split_at(MAX_LINE);
            write(&with_line_break(part));
            self.split += u64::from(!self.is_mid_line);
            self.is_mid_line = true;
            rest = after;
        }
        let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        self.is_mid_line &= whole == 0;
        let (lines, rest) = rest.split_at(whole);
        write(lines);
        let left = rest.len();
        self.bytes.copy_within(self.filled - left..self.filled, 0);
        self.filled = left;
    }

    /// Takes the last line, which has no line break, and adds one.
    pub(super) fn take_rest(&mut self) -> Option<Vec<u8>> {
        let rest = &self.bytes[..std::mem::take(&mut self.filled)];
        (!rest.is_empty()).then(|| with_line_break(rest))
    }
}

/// Ends a piece of a line, so that no other process's line is glued to it.
fn with_line_break(piece: &[u8]) -> Vec<u8> {
    [piece, b"\n"].concat()
}

/// Returns the first line with its line break.
pub(super) fn first_line(lines: &[u8]) -> &[u8] {
    lines.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default()
}

/// Returns a line without its line break.
fn content_of(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}
