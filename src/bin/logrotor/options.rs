//! The options for writing a log, which `write` and `run` share.

use crate::exit::CommandError;
use crate::report::say;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, ValueEnum};
use logrotor::{Compression, Config, Delivery, Durability, Event, Naming, RotatingFileWriter};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[derive(Args)]
#[command(group(ArgGroup::new("settings").multiple(true).conflicts_with("policy").args([
    "max_size", "max_age", "minutely", "hourly", "daily", "weekly", "monthly", "keep", "max_total", "max_backup_age", "min_free",
    "gzip", "zstd", "number", "buffered", "durability",
])))]
#[command(group(ArgGroup::new("every").args(["minutely", "hourly", "daily", "weekly", "monthly"])))]
#[command(group(ArgGroup::new("codec").args(["gzip", "zstd"])))]
pub(crate) struct WriteOptions {
    /// Maximum size of a segment, e.g. 10MiB [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Maximum age of the active segment, e.g. 1day [default: no limit]
    #[arg(long, value_name = "SPAN")]
    max_age: Option<String>,
    /// Rotate every minute
    #[arg(long)]
    minutely: bool,
    /// Rotate every hour
    #[arg(long)]
    hourly: bool,
    /// Rotate every day
    #[arg(long)]
    daily: bool,
    /// Rotate every week, on Monday
    #[arg(long)]
    weekly: bool,
    /// Rotate every month
    #[arg(long)]
    monthly: bool,
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
    /// Compress backups with gzip [default: no compression]
    #[arg(long)]
    gzip: bool,
    /// Compress backups with Zstandard [default: no compression]
    #[arg(long)]
    zstd: bool,
    /// Number the backups, 1 for the newest [default: named by the time of rotation]
    #[arg(long)]
    number: bool,
    /// Take all settings from this policy file, and reload them when it changes
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Collect lines in memory and write them in large blocks. They are lost if logrotor is killed
    #[arg(long)]
    buffered: bool,
    /// Sync lines to the disk, to survive a power cut [default: none]
    #[arg(long, value_name = "WHAT", value_parser = durability())]
    durability: Option<Durability>,
}

/// Parses a durability, with the words of settings files and dashes.
fn durability() -> impl TypedValueParser<Value = Durability> {
    let value = |name, help| PossibleValue::new(name).help(help);
    let values = PossibleValuesParser::new([
        value("none", "Nothing; a power cut loses about the last 30 s"),
        value("on-rotate", "Each segment when it is rotated"),
        value(
            "every-record",
            "Every line; lines that arrive together share a sync. Not possible with --buffered",
        ),
    ]);
    values.try_map(|word| word.replace('-', "_").parse())
}

/// The handling of each line.
#[derive(Args, Clone, Copy)]
pub(crate) struct LineOptions {
    /// Prefix each line with the time, in UTC
    #[arg(long)]
    pub(crate) timestamp: bool,
    /// Copy the lines to standard output
    #[arg(long)]
    pub(crate) tee: bool,
    /// Behavior if the log cannot be written, e.g. on a full disk
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnFull::Block)]
    pub(crate) on_full: OnFull,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFull {
    /// Wait until it can be written; after a signal to end, drop the lines
    Block,
    /// Drop lines, count them, and keep reading
    Drop,
}

/// The warning for a log on a network file system.
fn network_warning(log: &RotatingFileWriter) -> Option<String> {
    let kind = log.network_file_system()?;
    let path = log.path();
    Some(format!(
        "warning: `{}` is on a network file system ({kind}); records are lost if several machines write to it",
        path.display()
    ))
}

/// Reports failures of rotation and maintenance. Each is reported once until something succeeds.
fn failure_reporter() -> impl Fn(&Event) + Send + Sync {
    let reported = Mutex::new(Vec::new());
    move |event| {
        let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Failed { error, .. } => {
                let what = (error.kind(), error.io_error().map(io::Error::kind));
                if !reported.contains(&what) {
                    reported.push(what);
                    say(error);
                }
            }
            Event::Rotated { .. } | Event::Compressed { .. } | Event::Pruned { .. } => {
                reported.clear();
            }
            _ => {}
        }
    }
}

/// A log, and whether it buffers lines.
pub(crate) struct OpenLog {
    pub(crate) log: RotatingFileWriter,
    pub(crate) is_buffered: bool,
}

impl WriteOptions {
    pub(crate) fn open(&self, log: &Path) -> Result<OpenLog, CommandError> {
        let builder = RotatingFileWriter::builder(log).observer(failure_reporter());
        let (builder, delivery) = match &self.policy {
            Some(path) => {
                let policy = Config::policy().open(path)?;
                let delivery = policy.current().delivery;
                (builder.policy(policy), delivery)
            }
            None => {
                let config = self.config()?;
                let delivery = config.delivery;
                (builder.config(config), delivery)
            }
        };
        let log = builder.build()?;
        if let Some(warning) = network_warning(&log) {
            say(warning);
        }
        Ok(OpenLog { log, is_buffered: delivery != Delivery::Direct })
    }

    fn config(&self) -> Result<Config, CommandError> {
        let mut config = Config::default().with_env()?;
        let every = [
            ("minutely", self.minutely),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
        ];
        let every = every.iter().find(|(_, given)| *given).map(|(every, _)| (*every).to_owned());
        let given = [
            ("max_size", &self.max_size),
            ("max_age", &self.max_age),
            ("rotate_every", &every),
            ("max_backups", &self.keep),
            ("max_total_size", &self.max_total),
            ("max_backup_age", &self.max_backup_age),
            ("min_free_space", &self.min_free),
        ];
        for (setting, value) in given {
            if let Some(value) = value {
                config.set(setting, value)?;
            }
        }
        if self.gzip {
            config.compression = Compression::Gzip;
        }
        if self.zstd {
            config.compression = Compression::Zstd;
        }
        if self.number {
            config.naming = Naming::Number;
        }
        config.durability = self.durability.unwrap_or(config.durability);
        if self.buffered {
            config.delivery = Delivery::buffered();
        }
        Ok(config)
    }
}
