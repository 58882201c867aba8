//! Runs of lines, each of which is a record.

use super::RotatingFileWriter;
use std::io;

impl RotatingFileWriter {
    /// Appends lines that are there one after another, each of them as a record of its own, in one
    /// `write(2)` for as many as the segment has room for (at most 128 KiB, or the first line alone). Returns
    /// how many bytes were taken, always whole lines; call again with the rest, as with
    /// [`write`](std::io::Write::write).
    ///
    /// For programs that pass on what others have written, line by line, faster than a call per line could.
    /// Each line counts in [`Stats::records`](crate::Stats::records); a rotation comes between two lines;
    /// and a segment keeps its limit as it does with single records. Bytes after the last line break are a
    /// line too, and are written as they are. With [`Delivery::Buffered`](crate::Delivery::Buffered) the
    /// lines go to the buffer, as many as it has room for. No lines are nothing, and succeed.
    ///
    /// # Errors
    /// As [`write_record`](Self::write_record), for the first line: it was not written, or a part of it only.
    /// Where lines before a failure were written, their length is returned instead, and the next call says
    /// what is wrong if it still is. With
    /// [`Durability::EveryRecord`](crate::Durability::EveryRecord) a failure may also mean that the lines are in
    /// the log, as `Stats::records` shows, and may not survive a power cut.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.log");
    /// let log = logrotor::RotatingFileWriter::builder(&path).max_size(10).build()?;
    /// let mut rest: &[u8] = b"one\ntwo\nthree\n";
    /// while !rest.is_empty() {
    ///     rest = &rest[log.write_lines(rest)?..];
    /// }
    /// assert_eq!(std::fs::read(&path)?, b"three\n");
    /// assert_eq!(log.stats().records, 3);
    /// # Ok(()) }
    /// ```
    pub fn write_lines(&self, lines: &[u8]) -> io::Result<usize> {
        if lines.is_empty() {
            return Ok(0);
        }
        let core = self.core();
        if let Some(buffer) = &core.buffer {
            return buffer.push_lines(lines);
        }
        let (done, number) = {
            let mut direct = core.direct.lock();
            (direct.append_lines(lines), direct.records())
        };
        core.after_call();
        if let (Some(commit), Ok(_)) = (core.custody.commit(), &done) {
            commit.wait_for(number, || core.commit())?;
        }
        done
    }
}

/// The first line, its line break included.
pub(super) fn first(lines: &[u8]) -> &[u8] {
    match lines.iter().position(|&byte| byte == b'\n') {
        Some(at) => &lines[..=at],
        None => lines,
    }
}

/// As many lines as have room in `room` bytes; `None` if the first has not.
pub(super) fn fitting(lines: &[u8], room: usize) -> Option<&[u8]> {
    if lines.len() <= room {
        return Some(lines);
    }
    Some(whole(&lines[..room])).filter(|fitting| !fitting.is_empty())
}

/// All up to the last line break.
pub(super) fn whole(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|&byte| byte == b'\n');
    &bytes[..last.map_or(0, |at| at + 1)]
}

/// How many lines these are; a last one without a line break is one as well.
pub(super) fn count(lines: &[u8]) -> usize {
    // Sums of bytes, each of so few that it cannot overflow: the compiler makes vector instructions of it.
    const FEW: usize = 255;
    let breaks = |part: &[u8]| part.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
    let whole: usize = lines.chunks(FEW).map(|part| usize::from(breaks(part))).sum();
    whole + usize::from(!lines.is_empty() && !lines.ends_with(b"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ends_after_the_last_line_that_fits() {
        let lines = b"one\ntwo\nthree";
        assert_eq!(first(lines), b"one\n");
        assert_eq!(fitting(lines, 3), None);
        for (room, run) in [(4, 4), (7, 4), (8, 8), (12, 8), (13, 13), (100, 13)] {
            assert_eq!(fitting(lines, room).map(<[u8]>::len), Some(run), "{room}");
        }
    }

    #[test]
    fn lines_are_counted_however_many_are_empty() {
        for len in [0, 1, 254, 255, 256, 10_000] {
            assert_eq!(count(&vec![b'\n'; len]), len);
        }
        assert_eq!((count(b"one"), count(b"one\n"), count(b"one\ntwo")), (1, 1, 2));
    }
}
