//! `--memory`, which `cat`, `tail` and `verify` share.

use clap::Args;
use logrotor::reader::ReaderBuilder;
use logrotor::units::parse_size;

/// The memory that reading may take.
#[derive(Args)]
pub(crate) struct MemoryOptions {
    /// Memory limit for decompression, e.g. 2GiB for `zstd --long=31` [default: 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
}

impl MemoryOptions {
    pub(crate) fn apply(&self, builder: ReaderBuilder) -> ReaderBuilder {
        self.memory.into_iter().fold(builder, ReaderBuilder::memory_limit)
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| error.to_string())
}
