//! tracing-appender: its own rolling file, and its non-blocking front before a file.

use super::{Contestant, Entry, Handle, NO_GZIP, NO_SIZE, NO_SYNC, Setup, file_rotate, rival};
use crate::line::Line;
use crate::scenarios::Scenario;
use anyhow::Result;
use std::io::{self, Write};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;

pub fn entries() -> Vec<Entry> {
    let own = |name, open| Entry {
        cannot: &[NO_GZIP, NO_SIZE, NO_SYNC],
        note: Some("rotates by time alone: hourly here, so hardly ever"),
        ..rival(name, "tracing-appender", open)
    };
    vec![
        own("tracing-appender direct", open_direct),
        own("tracing-appender non_blocking", |setup| non_blocking(rolling(setup)?)),
        Entry {
            scenarios: &[Scenario::Gzip],
            ..rival("non_blocking over file-rotate", "tracing-appender", |setup| {
                non_blocking(file_rotate::writer(setup))
            })
        },
    ]
}

fn rolling(setup: &Setup) -> Result<RollingFileAppender> {
    let builder = RollingFileAppender::builder().rotation(Rotation::HOURLY);
    Ok(builder.filename_prefix(setup.file_name()).build(setup.dir())?)
}

fn open_direct(setup: &Setup) -> Result<Box<dyn Contestant>> {
    Ok(Box::new(Direct(rolling(setup)?)))
}

struct Direct(RollingFileAppender);

impl Contestant for Direct {
    fn handle(&self) -> Box<dyn Handle + '_> {
        Box::new(|line: &Line| self.0.make_writer().write_all(line.bytes()))
    }
}

/// Lossless, as all others are: by default it drops records that do not fit the queue.
fn non_blocking(file: impl Write + Send + 'static) -> Result<Box<dyn Contestant>> {
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(file);
    Ok(Box::new(Front { writer, guard: Some(guard) }))
}

struct Front {
    writer: NonBlocking,
    guard: Option<WorkerGuard>,
}

impl Contestant for Front {
    fn handle(&self) -> Box<dyn Handle + '_> {
        let mut writer = self.writer.clone();
        Box::new(move |line: &Line| writer.write_all(line.bytes()))
    }

    /// Dropping the guard is the one way to wait for the queue; it waits a second at most.
    fn drain(&mut self) -> io::Result<()> {
        drop(self.guard.take());
        Ok(())
    }
}
