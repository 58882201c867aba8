//! Replaces the crate's `config`: the settings of a buffer.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    Block,
    DropNewest,
    DropNewestSilently,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffering {
    pub(crate) capacity: usize,
    pub(crate) flush_interval: Duration,
    pub(crate) overflow: Overflow,
}
