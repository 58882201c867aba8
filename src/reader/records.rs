//! The records of a log: its lines, each with its segment and offset.

use super::{ByteSource, Damage, LogReader, Pulled};
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

/// One line of a log, without its line break.
///
/// A line longer than 16 MiB comes in pieces of at least that size, each a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    bytes: Vec<u8>,
    segment: Option<Arc<Path>>,
    offset: u64,
}

/// The length in bytes at which a line is cut into pieces.
const MAX_RECORD: usize = 16 * 1024 * 1024;

impl Record {
    /// Returns an empty record, for [`LogReader::read_record`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the bytes of the line, without the line break at its end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes of the line, without the line break at its end, and consumes the record.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns the line as text. Bytes that are not UTF-8 become replacement characters.
    #[must_use]
    pub fn into_string_lossy(self) -> String {
        String::from_utf8(self.bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Returns the path that the segment had when it was opened.
    #[must_use]
    pub fn segment(&self) -> &Path {
        self.segment.as_deref().unwrap_or(Path::new(""))
    }

    /// Returns the offset in bytes of the line in its uncompressed segment.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next line. It ends at a line break, at the end of its segment, before damage, or
    /// at 16 MiB.
    ///
    /// Damage in mid-line ends the line and is returned by the next call. Returns `false` at the
    /// end.
    pub(super) fn read(&mut self, source: &mut dyn ByteSource) -> Result<bool, Damage> {
        self.bytes.clear();
        let mut ordinal = None;
        loop {
            match source.pull() {
                Pulled::Bytes => {}
                Pulled::End => return Ok(ordinal.is_some()),
                Pulled::Damage(damage) if ordinal.is_none() => return Err(damage),
                Pulled::Damage(damage) => {
                    source.put_back(damage);
                    return Ok(true);
                }
            }
            let at = source.at();
            match ordinal {
                None => {
                    if self.segment.as_ref().is_none_or(|known| !Arc::ptr_eq(known, at.segment)) {
                        self.segment = Some(Arc::clone(at.segment));
                    }
                    (ordinal, self.offset) = (Some(at.ordinal), at.offset);
                }
                // A line without an end, at the end of its segment.
                Some(ordinal) if ordinal != at.ordinal => return Ok(true),
                Some(_) => {}
            }
            let mut rest = source.ready();
            let before = self.bytes.len();
            // Cannot fail: it reads from memory.
            let taken = rest.read_until(b'\n', &mut self.bytes).unwrap_or_default();
            source.consume(taken);
            if self.bytes.len() > before && self.bytes.last() == Some(&b'\n') {
                self.bytes.pop();
                return Ok(true);
            }
            if self.bytes.len() >= MAX_RECORD {
                return Ok(true);
            }
        }
    }
}

/// Iterates over a log's records. [`LogReader::records`] returns one.
///
/// An error is damage at that place; the next item is the record after it.
#[derive(Debug)]
pub struct Records<'a> {
    reader: &'a mut LogReader,
    segment: Option<Arc<Path>>,
}

impl<'a> Records<'a> {
    pub(super) fn new(reader: &'a mut LogReader) -> Self {
        Self { reader, segment: None }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = Record { segment: self.segment.take(), ..Record::default() };
        let read = self.reader.read_record(&mut record);
        self.segment.clone_from(&record.segment);
        match read {
            Ok(true) => Some(Ok(record)),
            Ok(false) => None,
            Err(damage) => Some(Err(damage)),
        }
    }
}
