//! logforth: its file appender, given its own records.

use super::{Contestant, Entry, Handle, NO_GZIP, NO_SYNC, Setup, rival};
use crate::line::Line;
use anyhow::Result;
use logforth::append::file::FileBuilder;
use logforth::append::{Append, File};
use logforth::record::Record;
use logforth::{Diagnostic, Error, Layout};
use std::num::NonZeroUsize;
use std::{fmt, io};

pub fn entry() -> Entry {
    Entry { cannot: &[NO_GZIP, NO_SYNC], ..rival("logforth", "logforth", open) }
}

fn open(setup: &Setup) -> Result<Box<dyn Contestant>> {
    let at_least_one = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    let appender = FileBuilder::new(setup.dir(), setup.file_name())
        .rollover_size(at_least_one(setup.segment_bytes as usize))
        .max_log_files(at_least_one(setup.keep))
        .layout(Bare)
        .build()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Box::new(Appender(appender)))
}

/// The message and nothing else.
#[derive(Debug)]
struct Bare;

impl Layout for Bare {
    fn format(&self, record: &Record, _: &[Box<dyn Diagnostic>]) -> Result<Vec<u8>, Error> {
        Ok(record.payload().to_string().into_bytes())
    }
}

struct Appender(File);

impl Appender {
    fn append(&self, message: fmt::Arguments<'_>) -> io::Result<()> {
        let record = Record::builder().payload(message).build();
        self.0.append(&record, &[]).map_err(|error| io::Error::other(error.to_string()))
    }
}

impl Contestant for Appender {
    fn handle(&self) -> Box<dyn Handle + '_> {
        Box::new(|line: &Line| self.append(format_args!("{}", line.text())))
    }
}
