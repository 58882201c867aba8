//! logroller: numbered backups, maintained in the background, behind std's mutex.

use super::{Contestant, Entry, Locked, Setup, rival};
use anyhow::Result;
use logroller::{Compression, LogRollerBuilder, Rotation, RotationSize};

pub fn entry() -> Entry {
    rival("logroller", "logroller", open)
}

fn open(setup: &Setup) -> Result<Box<dyn Contestant>> {
    let mut builder = LogRollerBuilder::new(setup.dir(), setup.file_name().as_ref())
        .rotation(Rotation::SizeBased(RotationSize::Bytes(setup.segment_bytes)))
        .max_keep_files(setup.keep as u64)
        .graceful_shutdown(true);
    if setup.gzip {
        builder = builder.compression(Compression::Gzip);
    }
    // Its flush waits for compression; records are in the kernel without it.
    Ok(Locked::direct(builder.build()?))
}
