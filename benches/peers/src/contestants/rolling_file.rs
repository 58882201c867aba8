//! rolling-file: numbered backups and a buffer of 8 KiB, behind std's mutex.

use super::{Contestant, Entry, Locked, NO_GZIP, NO_SYNC, Setup, rival};
use anyhow::Result;
use rolling_file::{BasicRollingFileAppender, RollingConditionBasic};

pub fn entry() -> Entry {
    Entry {
        cannot: &[NO_GZIP, NO_SYNC],
        note: Some("buffers 8 KiB by itself"),
        ..rival("rolling-file", "rolling-file", open)
    }
}

fn open(setup: &Setup) -> Result<Box<dyn Contestant>> {
    let condition = RollingConditionBasic::new().max_size(setup.segment_bytes);
    Ok(Locked::buffered(BasicRollingFileAppender::new(&setup.path, condition, setup.keep)?))
}
