//! file-rotate: numbered backups, behind std's mutex.

use super::{Contestant, Entry, Locked, Setup, rival};
use anyhow::Result;
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};

pub fn entry() -> Entry {
    rival("file-rotate", "file-rotate", open)
}

fn open(setup: &Setup) -> Result<Box<dyn Contestant>> {
    Ok(Locked::direct(writer(setup)))
}

/// The writer by itself, for contestants that put something in front of it.
///
/// `BytesSurpassed` is the limit that does not cut a record in two.
pub fn writer(setup: &Setup) -> FileRotate<AppendCount> {
    let limit = ContentLimit::BytesSurpassed(setup.segment_bytes as usize);
    let compression = if setup.gzip { Compression::OnRotate(0) } else { Compression::None };
    FileRotate::new(&setup.path, AppendCount::new(setup.keep), limit, compression, None)
}
