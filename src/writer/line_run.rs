//! Runs of lines, each of which is a record.

/// Returns the first line, with its line break.
pub(super) fn first(lines: &[u8]) -> &[u8] {
    match lines.iter().position(|&byte| byte == b'\n') {
        Some(at) => &lines[..=at],
        None => lines,
    }
}

/// Returns as many lines as fit into `room` bytes. `None` if the first does not fit.
pub(super) fn fitting(lines: &[u8], room: usize) -> Option<&[u8]> {
    if lines.len() <= room {
        return Some(lines);
    }
    Some(whole(&lines[..room])).filter(|fitting| !fitting.is_empty())
}

/// Returns the bytes up to the last line break.
pub(super) fn whole(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|&byte| byte == b'\n');
    &bytes[..last.map_or(0, |at| at + 1)]
}

/// Returns the number of lines. A last one without a line break counts as well.
pub(super) fn count(lines: &[u8]) -> usize {
    // Sums of bytes that are too few to overflow: the compiler vectorizes them.
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
