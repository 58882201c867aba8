//! logrotor itself.

pub mod delivery;

use super::{Contestant, Entry, Handle, Launch, Open, Setup, Standing};
use crate::line::Line;
use crate::scenarios::{Need, Scenario};
use anyhow::Result;
use logrotor::{Compression, LogBuilder, RotatingFileWriter};
use std::io::{self, Write};

pub fn entry() -> Entry {
    ours("logrotor direct", |setup| open(builder(setup)))
}

/// One way to use logrotor. Syncing each record is a contestant of its own.
fn ours(name: &'static str, open: Open) -> Entry {
    Entry {
        name,
        package: Some("logrotor"),
        standing: Standing::Ours,
        launch: Launch::Native(open),
        // Long ago, one microsecond apart.
        backup_name: |number| format!("app.log.2020-01-01T00-00-00.{number:06}Z"),
        scenarios: &Scenario::ALL,
        cannot: &[(Need::Sync, "does so with `Durability::EveryRecord`")],
        note: None,
    }
}

fn builder(setup: &Setup) -> LogBuilder {
    let builder = RotatingFileWriter::builder(&setup.path)
        .max_size(setup.segment_bytes)
        .max_backups(setup.keep);
    if setup.gzip { builder.compression(Compression::Gzip) } else { builder }
}

fn open(builder: LogBuilder) -> Result<Box<dyn Contestant>> {
    Ok(Box::new(Ours(builder.build()?)))
}

struct Ours(RotatingFileWriter);

impl Contestant for Ours {
    fn handle(&self) -> Box<dyn Handle + '_> {
        let mut log = &self.0;
        Box::new(move |line: &Line| log.write_all(line.bytes()))
    }

    fn drain(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(self.0.close()?)
    }
}
