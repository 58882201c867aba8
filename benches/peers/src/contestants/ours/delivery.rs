//! logrotor's other ways of delivery.

use super::{Entry, builder, open, ours};
use crate::contestants::Setup;
use crate::contestants::bounds::BUFFER_BYTES;
use crate::contestants::{Contestant, NO_SYNC};
use crate::scenarios::Scenario;
use anyhow::Result;
use logrotor::{Buffering, Delivery, Durability};
use std::time::Duration;

pub fn entries() -> Vec<Entry> {
    vec![
        Entry { cannot: &[NO_SYNC], ..ours("logrotor buffered", open_buffered) },
        Entry {
            cannot: &[],
            scenarios: &[Scenario::Sync],
            ..ours("logrotor EveryRecord", open_synced)
        },
    ]
}

fn open_buffered(setup: &Setup) -> Result<Box<dyn Contestant>> {
    open(builder(setup).delivery(Delivery::Buffered(
        Buffering::new().capacity(BUFFER_BYTES).flush_interval(Duration::from_secs(1)),
    )))
}

fn open_synced(setup: &Setup) -> Result<Box<dyn Contestant>> {
    open(builder(setup).durability(Durability::EveryRecord))
}
