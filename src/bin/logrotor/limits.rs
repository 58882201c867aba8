//! Options that several verbs share: limits of what is kept, and the compression of backups.

use clap::{ArgGroup, Args};
use logrotor::Compression;

/// The limits of what is kept.
#[derive(Args)]
pub(crate) struct LimitOptions {
    /// Maximum number of backups, e.g. 7 [default: no limit]
    #[arg(long, value_name = "N")]
    keep: Option<String>,
    /// Maximum total size of the log, including the active segment, e.g. 1GiB [default: no limit]
    #[arg(long, value_name = "SIZE")]
    max_total: Option<String>,
    /// Maximum age of a backup, e.g. 30days [default: no limit]
    #[arg(long, value_name = "SPAN")]
    max_backup_age: Option<String>,
    /// Minimum free space on the file system, e.g. 5GiB [default: none]
    #[arg(long, value_name = "SIZE")]
    min_free: Option<String>,
}

/// A setting that an option gives a value: its name, the option, and the value.
pub(crate) type Given<'a> = (&'static str, &'static str, &'a str);

impl LimitOptions {
    pub(crate) fn given(&self) -> impl Iterator<Item = Given<'_>> {
        let limits = [
            ("max_backups", "--keep", &self.keep),
            ("max_total_size", "--max-total", &self.max_total),
            ("max_backup_age", "--max-backup-age", &self.max_backup_age),
            ("min_free_space", "--min-free", &self.min_free),
        ];
        let limits = limits.into_iter();
        limits.filter_map(|(setting, option, value)| Some((setting, option, value.as_deref()?)))
    }
}

/// The compression of backups.
#[derive(Args)]
#[command(group(ArgGroup::new("codec").args(["gzip", "zstd"])))]
pub(crate) struct CodecOptions {
    /// Compress backups with gzip
    #[arg(long)]
    gzip: bool,
    /// Compress backups with Zstandard
    #[arg(long)]
    zstd: bool,
    /// Leave the newest N backups uncompressed [default: 0]
    #[arg(long, value_name = "N")]
    keep_uncompressed: Option<String>,
}

impl CodecOptions {
    /// The number of backups that stay uncompressed, if an option gives it.
    pub(crate) fn given(&self) -> Option<Given<'_>> {
        let kept = self.keep_uncompressed.as_deref()?;
        Some(("keep_uncompressed", "--keep-uncompressed", kept))
    }

    /// Returns the chosen compression and its option.
    pub(crate) fn chosen(&self) -> Option<(Compression, &'static str)> {
        match (self.gzip, self.zstd) {
            (true, _) => Some((Compression::Gzip, "--gzip")),
            (_, true) => Some((Compression::Zstd, "--zstd")),
            _ => None,
        }
    }
}
