//! The contestants, and how each is driven.
//!
//! Every contestant gets the same bytes, the same segment size and a retention that never takes
//! effect, so that every record can be checked afterwards.

mod bounds;
mod file_rotate;
mod flexi;
mod log4rs;
mod logforth;
mod logroller;
mod ours;
pub mod python;
mod rolling_file;
mod spdlog;
mod tracing;

use crate::line::Line;
use crate::scenarios::{Need, Scenario};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How a log is to be set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The log's path; its directory holds nothing else.
    pub path: PathBuf,
    /// Where a segment ends.
    pub segment_bytes: u64,
    /// Backups to keep: more than there will be.
    pub keep: usize,
    /// Whether backups are to be compressed.
    pub gzip: bool,
}

impl Setup {
    pub fn dir(&self) -> &Path {
        self.path.parent().expect("BUG: a log's path has a directory")
    }

    /// The log's file name, for rivals that take it apart from its directory.
    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(|n| n.to_str()).expect("BUG: a log's name is plain text")
    }
}

/// An open log.
pub trait Contestant: Send + Sync {
    /// One thread's way to the log.
    fn handle(&self) -> Box<dyn Handle + '_>;

    /// Returns when every record so far is in the kernel. Nothing is logged afterwards.
    fn drain(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Closes the log, and finishes the work on backups if the log can wait for that.
    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// One thread's way to a log.
pub trait Handle {
    /// One log call.
    fn log(&mut self, line: &Line) -> io::Result<()>;
}

/// Any function of a line is a handle: most rivals need no more.
impl<F: FnMut(&Line) -> io::Result<()>> Handle for F {
    fn log(&mut self, line: &Line) -> io::Result<()> {
        self(line)
    }
}

/// A contestant as the tables know it.
pub struct Entry {
    pub name: &'static str,
    /// Its package, by whose version in `Cargo.lock` it is reported.
    pub package: Option<&'static str>,
    pub standing: Standing,
    pub launch: Launch,
    /// The name that it gives to a backup of `app.log`; 1 is the first.
    pub backup_name: fn(u64) -> String,
    /// The scenarios it is part of; the others do not list it.
    pub scenarios: &'static [Scenario],
    /// Its missing abilities, with reasons: scenarios that need them show a dash.
    pub cannot: &'static [(Need, &'static str)],
    /// Remarks for readers of its figures.
    pub note: Option<&'static str>,
}

/// The role of a contestant in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Shows what the system or the harness itself costs.
    Bound,
    /// logrotor.
    Ours,
    /// Another writer of rotating logs.
    Rival,
}

/// How a worker of it is started.
#[derive(Clone, Copy)]
pub enum Launch {
    /// This program again, which opens the log so.
    Native(fn(&Setup) -> Result<Box<dyn Contestant>>),
    /// A Python script.
    Python,
}

impl Entry {
    /// The reason that this contestant lacks an ability of `needs`; `None` if it has all.
    pub fn refusal(&self, needs: &[Need]) -> Option<&'static str> {
        let refused = self.cannot.iter().find(|(need, _)| needs.contains(need));
        refused.map(|&(_, reason)| reason)
    }
}

/// Every contestant, bounds first.
pub fn all() -> Vec<Entry> {
    let mut all = bounds::entries();
    all.push(ours::entry());
    all.extend(ours::delivery::entries());
    all.extend([file_rotate::entry(), logroller::entry()]);
    all.extend(flexi::entries());
    all.extend(tracing::entries());
    all.extend([log4rs::entry(), rolling_file::entry(), spdlog::entry(), logforth::entry()]);
    all.push(python::entry());
    all
}

/// A rival of one package, in every scenario that compares records.
fn rival(name: &'static str, package: &'static str, open: Open) -> Entry {
    Entry {
        name,
        package: Some(package),
        standing: Standing::Rival,
        launch: Launch::Native(open),
        backup_name: numbered,
        scenarios: &Scenario::ALL,
        cannot: &[NO_SYNC],
        note: None,
    }
}

/// The name that most of them give to a backup.
fn numbered(number: u64) -> String {
    format!("app.log.{number}")
}

type Open = fn(&Setup) -> Result<Box<dyn Contestant>>;

const NO_SYNC: (Need, &str) = (Need::Sync, "does not sync each record");
const NO_GZIP: (Need, &str) = (Need::Gzip, "does not compress");
const NO_SIZE: (Need, &str) = (Need::Rotation, "does not rotate by size");

/// A writer for one thread at a time, shared behind std's mutex as its documentation shows.
struct Locked<W> {
    writer: Mutex<W>,
    drain: Drain<W>,
}

/// How a writer's buffer is emptied.
type Drain<W> = fn(&mut W) -> io::Result<()>;

impl<W: Write + Send> Locked<W> {
    /// A writer that keeps nothing back.
    fn direct(writer: W) -> Box<Self> {
        Box::new(Self { writer: Mutex::new(writer), drain: |_| Ok(()) })
    }

    fn buffered(writer: W) -> Box<Self> {
        Box::new(Self { writer: Mutex::new(writer), drain: W::flush })
    }
}

impl<W: Write + Send> Contestant for Locked<W> {
    fn handle(&self) -> Box<dyn Handle + '_> {
        Box::new(|line: &Line| self.writer.lock().map_err(|_| poisoned())?.write_all(line.bytes()))
    }

    fn drain(&mut self) -> io::Result<()> {
        (self.drain)(self.writer.get_mut().map_err(|_| poisoned())?)
    }
}

fn poisoned() -> io::Error {
    io::Error::other("another thread panicked in a log call")
}
