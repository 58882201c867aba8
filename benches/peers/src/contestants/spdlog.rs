//! spdlog-rs: a logger with its rotating file sink.

use super::bounds::BUFFER_BYTES;
use super::{Contestant, Entry, Handle, NO_GZIP, NO_SYNC, Setup, rival};
use crate::line::Line;
use anyhow::Result;
use spdlog::Logger;
use spdlog::formatter::{PatternFormatter, pattern};
use spdlog::sink::{RotatingFileSink, RotationPolicy, Sink};
use std::io;
use std::sync::Arc;

pub fn entry() -> Entry {
    Entry {
        backup_name: |number| format!("app_{number}.log"),
        cannot: &[NO_GZIP, NO_SYNC],
        note: Some("buffers by itself, 64 KiB here; its log calls report no errors"),
        ..rival("spdlog-rs", "spdlog-rs", open)
    }
}

fn open(setup: &Setup) -> Result<Box<dyn Contestant>> {
    let sink = RotatingFileSink::builder()
        .base_path(&setup.path)
        .rotation_policy(RotationPolicy::FileSize(setup.segment_bytes))
        .max_files(setup.keep)
        .capacity(BUFFER_BYTES)
        .formatter(PatternFormatter::new(pattern!("{payload}{eol}")))
        .build_arc()?;
    let logger = Logger::builder().sink(sink.clone()).build()?;
    Ok(Box::new(Spdlog { logger, sink }))
}

struct Spdlog {
    logger: Logger,
    sink: Arc<RotatingFileSink>,
}

impl Contestant for Spdlog {
    fn handle(&self) -> Box<dyn Handle + '_> {
        Box::new(|line: &Line| {
            spdlog::info!(logger: self.logger, "{}", line.text());
            Ok(())
        })
    }

    fn drain(&mut self) -> io::Result<()> {
        self.sink.flush().map_err(io::Error::other)
    }
}
