//! The end of the active segment: whether the next record must begin a new line.

/// The end of the segment, as far as this worker knows.
///
/// | state | entered when | the next record begins with a line break |
/// |---|---|---|
/// | `Whole` | a record was written, or another segment is active | no |
/// | `Suspect` | the kernel refused a record (the disk is full) | if it is a line, and another worker wrote a part of one |
/// | `Torn` | the kernel took a part of a record | unless another worker has written a line break |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentEnd {
    Whole,
    Suspect,
    Torn,
}

/// The file's length and last byte, where they can be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastByte {
    pub(crate) len: u64,
    pub(crate) byte: Option<u8>,
}

impl SegmentEnd {
    /// The length of a line break that may be needed before the next record.
    #[inline]
    pub(crate) fn break_len(self) -> usize {
        usize::from(self != Self::Whole)
    }

    /// The state after the kernel has refused a record, or has taken only a part of it.
    pub(crate) fn after_failure(self, is_torn: bool) -> Self {
        match self {
            _ if is_torn => Self::Torn,
            Self::Whole => Self::Suspect,
            other => other,
        }
    }

    /// Whether a record must begin with a line break. `known_size` is the size up to which this
    /// worker knows the file.
    ///
    /// If the last byte cannot be read, a torn record gets its line break, and a suspicion is
    /// dropped.
    pub(crate) fn needs_break(
        self,
        is_line: bool,
        known_size: u64,
        last: impl FnOnce() -> Option<LastByte>,
    ) -> bool {
        let ends_line = |last: LastByte| last.byte == Some(b'\n');
        match self {
            Self::Whole => false,
            Self::Torn => !last().is_some_and(ends_line),
            Self::Suspect => {
                is_line && last().is_some_and(|last| last.len > known_size && !ends_line(last))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SegmentEnd::{Suspect, Torn, Whole};
    use super::*;

    fn last(len: u64, byte: u8) -> Option<LastByte> {
        Some(LastByte { len, byte: Some(byte) })
    }

    #[test]
    fn failure_never_makes_the_end_more_trusted() {
        assert_eq!([Whole, Suspect, Torn].map(|end| end.after_failure(true)), [Torn; 3]);
        let refused = [Whole, Suspect, Torn].map(|end| end.after_failure(false));
        assert_eq!(refused, [Suspect, Suspect, Torn]);
    }

    #[test]
    fn torn_end_needs_a_break_unless_a_line_ends_there() {
        assert!(Torn.needs_break(false, 5, || last(5, b'x')));
        assert!(Torn.needs_break(true, 5, || None));
        assert!(!Torn.needs_break(true, 5, || last(9, b'\n')));
    }

    #[test]
    fn suspect_end_needs_a_break_after_a_part_of_a_foreign_line() {
        assert!(Suspect.needs_break(true, 5, || last(9, b'x')));
        assert!(!Suspect.needs_break(true, 9, || last(9, b'x')));
        assert!(!Suspect.needs_break(true, 5, || last(9, b'\n')));
        assert!(!Suspect.needs_break(true, 5, || None));
        assert!(!Suspect.needs_break(false, 5, || unreachable!("no line, no question")));
    }
}
