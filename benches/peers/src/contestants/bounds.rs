//! The bounds: what the harness and the system cost without any rotating writer.

use super::{Contestant, Entry, Handle, Launch, Locked, NO_SYNC, Open, Setup, Standing, numbered};
use crate::line::Line;
use crate::scenarios::{Need, Scenario};
use anyhow::Result;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// Bytes of every buffer whose size can be chosen.
pub const BUFFER_BYTES: usize = 64 * 1024;

pub fn entries() -> Vec<Entry> {
    let bound = |name, open: Open, scenarios| Entry {
        name,
        package: None,
        standing: Standing::Bound,
        launch: Launch::Native(open),
        backup_name: numbered,
        scenarios,
        cannot: &[],
        note: None,
    };
    let buffered = bound("BufWriter 64 KiB", open_buffered, STREAMS);
    vec![
        Entry {
            note: Some("counts nothing, writes nothing: the harness's own cost"),
            ..bound("null sink", open_null, STREAMS)
        },
        Entry { note: Some("no rotation"), ..bound("raw write(2)", open_raw, APPENDS) },
        Entry { cannot: &[NO_SYNC, IN_PIECES], note: Some("no rotation"), ..buffered },
        bound("write + fdatasync", open_synced, &[Scenario::Sync]),
        bound("bare rename + create", open_bare, &[Scenario::Rotation]),
    ]
}

const STREAMS: &[Scenario] = &[Scenario::Memory, Scenario::Disk, Scenario::Think, Scenario::Gzip];
const APPENDS: &[Scenario] =
    &[Scenario::Memory, Scenario::Disk, Scenario::Think, Scenario::Gzip, Scenario::Processes];
const IN_PIECES: (Need, &str) = (Need::Processes, "writes pieces of records");

fn open_null(_: &Setup) -> Result<Box<dyn Contestant>> {
    Ok(Box::new(Null))
}

fn open_raw(setup: &Setup) -> Result<Box<dyn Contestant>> {
    Ok(Box::new(Raw(append(setup)?)))
}

fn open_buffered(setup: &Setup) -> Result<Box<dyn Contestant>> {
    Ok(Locked::buffered(BufWriter::with_capacity(BUFFER_BYTES, append(setup)?)))
}

fn open_synced(setup: &Setup) -> Result<Box<dyn Contestant>> {
    Ok(Locked::direct(Synced(append(setup)?)))
}

fn open_bare(setup: &Setup) -> Result<Box<dyn Contestant>> {
    Ok(Locked::direct(Bare { file: append(setup)?, setup: setup.clone(), position: 0, backups: 0 }))
}

fn append(setup: &Setup) -> io::Result<File> {
    File::options().create(true).append(true).open(&setup.path)
}

/// Takes records and does nothing with them.
struct Null;

impl Contestant for Null {
    fn handle(&self) -> Box<dyn Handle + '_> {
        Box::new(|line: &Line| {
            black_box(line.bytes());
            Ok(())
        })
    }
}

/// One system call for each record, with no lock but the kernel's.
struct Raw(File);

impl Contestant for Raw {
    fn handle(&self) -> Box<dyn Handle + '_> {
        Box::new(|line: &Line| (&self.0).write_all(line.bytes()))
    }
}

/// Each record on the disk before the call returns.
struct Synced(File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.0.sync_data()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The least that a rotation can be: rename and create, without a check.
struct Bare {
    file: File,
    setup: Setup,
    position: u64,
    backups: u64,
}

impl Bare {
    fn rotate(&mut self) -> io::Result<()> {
        self.backups += 1;
        let backup: PathBuf = self.setup.path.with_extension(format!("log.new-{}", self.backups));
        fs::rename(&self.setup.path, backup)?;
        self.file = append(&self.setup)?;
        self.position = 0;
        Ok(())
    }
}

impl Write for Bare {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.position > 0 && self.position + bytes.len() as u64 > self.setup.segment_bytes {
            self.rotate()?;
        }
        let written = self.file.write(bytes)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
