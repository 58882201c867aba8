//! `io::Write` for the handle: one call is one record.

use super::RotatingFileWriter;
use std::fmt;
use std::io::{self, IoSlice, Write};

impl Write for &RotatingFileWriter {
    #[inline]
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.write_record(record).map(|()| record.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut record = self.record();
        let len = record.write_vectored(slices)?;
        record.commit().map(|()| len)
    }

    #[inline]
    fn write_all(&mut self, record: &[u8]) -> io::Result<()> {
        self.write_record(record)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        match arguments.as_str() {
            Some(text) => self.write_record(text.as_bytes()),
            None => {
                let mut record = self.record();
                record.write_fmt(arguments)?;
                record.commit()
            }
        }
    }

    /// As [`RotatingFileWriter::flush`].
    fn flush(&mut self) -> io::Result<()> {
        RotatingFileWriter::flush(self)
    }
}

impl Write for RotatingFileWriter {
    #[inline]
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        (&*self).write(record)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(slices)
    }

    #[inline]
    fn write_all(&mut self, record: &[u8]) -> io::Result<()> {
        (&*self).write_all(record)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        (&*self).write_fmt(arguments)
    }

    fn flush(&mut self) -> io::Result<()> {
        RotatingFileWriter::flush(self)
    }
}
