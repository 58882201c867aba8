//! The options for writing a log, which `write` and `run` share.

use crate::exit::CommandError;
use crate::limits::{CodecOptions, Given, LimitOptions};
use crate::remote::check_is_local;
use crate::report::say;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, ValueEnum};
use logrotor::{Compression, Config, Delivery, Durability, Error, Event, RotatingFileWriter};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[derive(Args)]
#[command(group(ArgGroup::new("settings").multiple(true).conflicts_with("policy").args([
    "max_size", "min_interval", "max_age", "minutely", "hourly", "every", "daily", "weekly", "monthly", "at", "keep", "max_total", "max_backup_age", "min_free",
    "gzip", "zstd", "keep_uncompressed", "infix", "number", "buffered", "durability",
])))]
#[command(group(ArgGroup::new("naming").args(["infix", "number"])))]
#[command(group(ArgGroup::new("period").args(["minutely", "hourly", "every", "daily", "weekly", "monthly"])))]
pub(crate) struct WriteOptions {
    /// Maximum size of a segment, e.g. 10MiB [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Minimum time between rotations by size, up to 4 times that size, e.g. 5s [default: none]
    #[arg(long, value_name = "SPAN")]
    min_interval: Option<String>,
    /// Maximum age of the active segment, e.g. 1day [default: no limit]
    #[arg(long, value_name = "SPAN")]
    max_age: Option<String>,
    /// Rotate every minute
    #[arg(long)]
    minutely: bool,
    /// Rotate every hour
    #[arg(long)]
    hourly: bool,
    /// Rotate every so many hours, counted from the time of --at, e.g. 6h
    #[arg(long, value_name = "HOURS")]
    every: Option<String>,
    /// Rotate every day
    #[arg(long)]
    daily: bool,
    /// Rotate every week, on Monday
    #[arg(long)]
    weekly: bool,
    /// Rotate every month
    #[arg(long)]
    monthly: bool,
    /// Time of the day at which a period begins, e.g. 03:00; needs a period other than --minutely
    /// [default: 00:00]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    codec: CodecOptions,
    /// Name backups with the time before the extension: app.TIME.log [default: app.log.TIME]
    #[arg(long)]
    infix: bool,
    /// Number the backups, 1 for the newest [default: named by the time of rotation]
    #[arg(long)]
    number: bool,
    /// Take all settings from this policy, and reload them when it changes: a file, or the URL of a
    /// policy that machines share, e.g. s3://bucket/prefix/app.policy
    #[arg(long, value_name = "FILE|URL")]
    policy: Option<PathBuf>,
    /// Collect lines in memory and write them in large blocks. They are lost if logrotor is killed
    #[arg(long)]
    buffered: bool,
    /// Sync lines to the disk, to survive a power cut [default: none]
    #[arg(long, value_name = "WHAT", value_parser = durability())]
    durability: Option<Durability>,
    #[cfg(feature = "archive")]
    #[command(flatten)]
    archive: crate::archive::ArchiveOptions,
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
            Event::Rotated { .. }
            | Event::Compressed { .. }
            | Event::Pruned { .. }
            | Event::Archived { .. } => {
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
        check_is_local(log)?;
        let builder = RotatingFileWriter::builder(log).observer(failure_reporter());
        let (builder, delivery) = match self.policy()? {
            Some(path) => {
                // A machine that starts without network has the settings of the copy.
                let policy = Config::policy().cache_beside(log).open(path)?;
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

    /// The policy that the option or the environment names.
    fn policy(&self) -> Result<Option<PathBuf>, CommandError> {
        if self.policy.is_some() {
            return Ok(self.policy.clone());
        }
        let named = Config::default().with_env()?.policy;
        if let (Some(_), Some((_, option, _))) = (&named, self.given().first()) {
            let why = format!("LOGROTOR_POLICY names a policy, so {option} has no effect");
            return Err(CommandError::usage(why));
        }
        Ok(named)
    }

    fn config(&self) -> Result<Config, CommandError> {
        let given = self.given();
        let mut config = Config::default().with_env()?;
        let set = given.iter().try_for_each(|(setting, _, value)| config.set(setting, value));
        #[cfg(feature = "archive")]
        self.archive.put_into(&mut config);
        // Only now: an option may make a variable valid.
        set.and_then(|()| config.validate()).map_err(|error| with_sources(&error, &given))?;
        Ok(config)
    }

    /// The settings that options give a value.
    fn given(&self) -> Vec<Given<'_>> {
        let every = [
            ("minutely", "--minutely", self.minutely),
            ("hourly", "--hourly", self.hourly),
            ("daily", "--daily", self.daily),
            ("weekly", "--weekly", self.weekly),
            ("monthly", "--monthly", self.monthly),
        ];
        let every = every.into_iter().find(|(.., given)| *given);
        let every = every.map(|(every, option, _)| ("rotate_every", option, every));
        let hours = self.every.as_deref().map(|hours| ("rotate_every", "--every", hours));
        let codec = self.codec.chosen().map(|(codec, option)| match codec {
            Compression::Zstd => ("compression", option, "zstd"),
            _ => ("compression", option, "gzip"),
        });
        let durability = self.durability.map(|durability| match durability {
            Durability::EveryRecord => "every_record",
            Durability::OnRotate => "on_rotate",
            _ => "none",
        });
        [
            self.max_size.as_deref().map(|size| ("max_size", "--max-size", size)),
            self.min_interval.as_deref().map(|span| ("min_interval", "--min-interval", span)),
            self.max_age.as_deref().map(|age| ("max_age", "--max-age", age)),
            every.or(hours),
            self.at.as_deref().map(|at| ("rotate_at", "--at", at)),
            codec,
            self.codec.given(),
            self.infix.then_some(("naming", "--infix", "timestamp_infix")),
            self.number.then_some(("naming", "--number", "number")),
            durability.map(|value| ("durability", "--durability", value)),
            self.buffered.then_some(("delivery", "--buffered", "buffered")),
        ]
        .into_iter()
        .flatten()
        .chain(self.limits.given())
        .collect()
    }
}

/// Adds the option or variable that each setting in a message comes from.
fn with_sources(error: &Error, given: &[Given<'_>]) -> CommandError {
    let message = error.to_string();
    let source = |setting: &str| {
        let option = given.iter().find(|(of, ..)| *of == setting);
        if let Some((_, option, _)) = option {
            return Some(format!("`{setting}` is from {option}"));
        }
        let variable = format!("LOGROTOR_{}", setting.to_uppercase());
        let value = std::env::var_os(&variable).filter(|value| !value.is_empty());
        value.map(|_| format!("`{setting}` is from {variable}"))
    };
    let mut settings: Vec<_> = message.split('`').skip(1).step_by(2).collect();
    settings.dedup();
    let sources: Vec<_> = settings.into_iter().filter_map(source).collect();
    CommandError::Usage(match sources.is_empty() {
        true => message,
        false => format!("{message}; {}", sources.join(", ")),
    })
}
