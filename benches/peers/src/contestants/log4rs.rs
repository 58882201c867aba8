//! log4rs: its rolling file appender, given records of the `log` crate.

use super::{Contestant, Entry, Handle, Setup, rival};
use crate::line::Line;
use anyhow::Result;
use log::{Level, Record};
use log4rs::append::Append;
use log4rs::append::rolling_file::RollingFileAppender;
use log4rs::append::rolling_file::policy::compound::CompoundPolicy;
use log4rs::append::rolling_file::policy::compound::roll::fixed_window::FixedWindowRoller;
use log4rs::append::rolling_file::policy::compound::trigger::size::SizeTrigger;
use log4rs::encode::pattern::PatternEncoder;
use std::{fmt, io};

pub fn entry() -> Entry {
    Entry {
        // It counts from 0.
        backup_name: |number| super::numbered(number - 1),
        note: Some("with its feature `background_rotation`"),
        ..rival("log4rs", "log4rs", open)
    }
}

fn open(setup: &Setup) -> Result<Box<dyn Contestant>> {
    let suffix = if setup.gzip { ".gz" } else { "" };
    let pattern = format!("{}.{{}}{suffix}", setup.path.display());
    let roller = FixedWindowRoller::builder().build(&pattern, u32::try_from(setup.keep)?)?;
    let trigger = SizeTrigger::new(setup.segment_bytes);
    let policy = CompoundPolicy::new(Box::new(trigger), Box::new(roller));
    let appender = RollingFileAppender::builder()
        .encoder(Box::new(PatternEncoder::new("{m}{n}")))
        .build(&setup.path, Box::new(policy))?;
    Ok(Box::new(Appender(appender)))
}

struct Appender(RollingFileAppender);

impl Appender {
    fn append(&self, message: fmt::Arguments<'_>) -> io::Result<()> {
        let record = Record::builder().level(Level::Info).args(message).build();
        self.0.append(&record).map_err(io::Error::other)
    }
}

impl Contestant for Appender {
    fn handle(&self) -> Box<dyn Handle + '_> {
        Box::new(|line: &Line| self.append(format_args!("{}", line.text())))
    }
}
