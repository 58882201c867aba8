//! flexi_logger's file writer, in three of its write modes, through the way it offers to `tracing`.

use super::bounds::BUFFER_BYTES;
use super::{Contestant, Entry, Handle, Open, Setup, rival};
use crate::line::Line;
use anyhow::Result;
use flexi_logger::writers::{ArcFileLogWriter, FileLogWriter, FileLogWriterHandle, LogWriter};
use flexi_logger::{Cleanup, Criterion, FileSpec, Naming, WriteMode};
use std::io::{self, Write};
use std::time::Duration;

pub fn entries() -> Vec<Entry> {
    let mode = |name, open: Open| Entry {
        backup_name: |number| format!("app_r{:05}.log", number - 1),
        ..rival(name, "flexi_logger", open)
    };
    vec![
        mode("flexi_logger direct", |setup| open(setup, WriteMode::Direct)),
        mode("flexi_logger buffered", |setup| {
            open(setup, WriteMode::BufferAndFlushWith(BUFFER_BYTES, Duration::from_secs(1)))
        }),
        mode("flexi_logger async", |setup| open(setup, WriteMode::Async)),
    ]
}

fn open(setup: &Setup, mode: WriteMode) -> Result<Box<dyn Contestant>> {
    let file = FileSpec::default().directory(setup.dir()).basename("app").suffix("log");
    let cleanup = if setup.gzip {
        Cleanup::KeepCompressedFiles(setup.keep)
    } else {
        Cleanup::KeepLogFiles(setup.keep)
    };
    let (writer, handle) = FileLogWriter::builder(file)
        .append()
        .rotate(Criterion::Size(setup.segment_bytes), Naming::Numbers, cleanup)
        .write_mode(mode)
        .try_build_with_handle()?;
    Ok(Box::new(Flexi { writer, mode, _handle: handle }))
}

struct Flexi {
    writer: ArcFileLogWriter,
    mode: WriteMode,
    _handle: FileLogWriterHandle,
}

impl Contestant for Flexi {
    fn handle(&self) -> Box<dyn Handle + '_> {
        let mut writer = self.writer.clone();
        Box::new(move |line: &Line| writer.write_all(line.bytes()))
    }

    /// In the asynchronous mode a flush is but a message; only the shutdown waits.
    fn drain(&mut self) -> io::Result<()> {
        if self.mode == WriteMode::Async {
            LogWriter::shutdown(&*self.writer);
            return Ok(());
        }
        self.writer.flush()
    }
}
