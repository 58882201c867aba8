//! Settings: their meaning, their defaults, and checks.

mod builder;
mod delivery;
mod durability;
#[cfg(feature = "serde")]
mod file;
mod maintenance;
#[cfg(feature = "serde")]
pub(crate) mod text;

pub(crate) use builder::Callbacks;
pub use builder::LogBuilder;
pub use delivery::{Buffering, Delivery, Overflow};
pub use durability::Durability;

#[cfg(feature = "archive")]
use crate::archive::{Archive, MAX_SEGMENT, WhenFull};
use crate::error::{Error, Result};
use crate::fs;
use crate::ledger::Duty;
use crate::maintenance::{Encoding, MaintenanceConfig, MaintenanceMode, Retention};
use crate::rotation::period::MAX_HOURS;
use crate::rotation::trigger::Trigger;
use crate::rotation::{Period, Zone};
use crate::segment::name::{Compression, Naming};
use crate::units;
use std::fmt;
#[cfg(feature = "policy")]
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a log as plain data.
///
/// All workers of a log should have the same settings, which a [policy](LogBuilder::policy) ensures.
/// If they differ, no records are lost:
///
/// | setting | with different workers |
/// |---|---|
/// | `max_size` | each worker applies its own; segments end at the smallest while that worker writes |
/// | `min_interval` | a segment ends by size as soon as it is due for any worker that writes |
/// | `max_age`, `rotate_every`, `rotate_at`, `zone` | a segment ends as soon as it is due for any worker |
/// | `max_backups` and the other limits of what is kept | the strictest limit wins while its worker runs, some seconds after a rotation by another |
/// | `keep_uncompressed` | the worker that keeps the fewest compresses the others |
/// | `compression` | a backup is compressed once, by the first worker that compresses; no worker uncompresses it |
/// | `archive` | each worker with one sends segments; no worker removes a backup that is not archived, once a ledger is there |
/// | `naming` | each worker names its own backups, and compresses, prunes and counts only those named its way, by time (in either form) or by number; these two kinds have no common order |
/// | `mode` | a segment has the mode of the worker that created it |
/// | header | a segment has the header of the worker that created it, or of the first worker with a header that finds it empty |
/// | `delivery`, `durability`, `lock_timeout`, `check_interval`, `maintenance` | each worker's own |
///
/// A worker rotates only a segment that is full or due by its own settings. Therefore workers
/// cannot rotate in turns against each other: the number of rotations is that of the strictest
/// settings alone, and few more.
///
/// # Examples
/// ```
/// use logrotor::{Config, RotatingFileWriter};
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// let mut config = Config::default();
/// config.max_size = 1024 * 1024;
/// config.max_backups = Some(7);
/// let log = RotatingFileWriter::from_config(dir.path().join("app.log"), config)?;
/// # Ok(()) }
/// ```
///
/// # As a file
/// With the feature `serde`, settings are read and written as TOML and JSON, with units: see
/// `Config::from_file`. Omitted settings take their defaults. Unknown or invalid settings are
/// rejected with the line number.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Config {
    /// Maximum size of a segment, in bytes. Default: 64 MiB.
    ///
    /// A record that would exceed it goes to a new segment. Only a record that is itself larger
    /// makes a segment larger. With N workers, a segment may exceed the limit by about one record
    /// of each thread of the other workers.
    ///
    /// If the process has a lower limit for the size of files (`RLIMIT_FSIZE`, `ulimit -f`), that
    /// applies. A record that exceeds it is an error. Ignore the signal SIGXFSZ then, or it ends
    /// the process. A segment whose file the system refuses to grow is rotated.
    #[cfg_attr(feature = "serde", serde(with = "text::size"))]
    pub max_size: u64,
    /// Time since its creation before which a segment is not rotated for its size. Default: none.
    /// Minimum: 1 ms.
    ///
    /// For programs that look at the log at intervals, such as syslog-ng or busybox `tail -F`: with
    /// an interval longer than theirs, they see every segment. A segment that reaches 4 times
    /// `max_size` is rotated all the same. So are segments at the end of their period or age, those
    /// whose file the system refuses to grow, and those rotated on request.
    ///
    /// All workers count from the segment's creation. Choose `max_size` so that the log seldom
    /// grows by 4 times that within the interval.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub min_interval: Option<Duration>,
    /// Age, since its creation, at which a segment is rotated. Default: none. Minimum: 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub max_age: Option<Duration>,
    /// Calendar period at whose end a segment is rotated. Default: none.
    pub rotate_every: Option<Period>,
    /// Time of the day, since midnight, at which a period of `rotate_every` begins. Default:
    /// midnight. Limits: whole minutes, less than 24 hours.
    ///
    /// Days, weeks and months begin then, and hours are counted from it: with 00:15, hourly periods
    /// end a quarter past each hour. With minutely periods, or without periods, it is rejected. In
    /// a file it is `"03:00"`.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_time_of_day"))]
    pub rotate_at: Option<Duration>,
    /// Time zone of the calendar for `rotate_every`. Default: UTC.
    pub zone: Zone,
    /// Whether opening the log rotates it, if it has a record. Default: `false`.
    pub rotate_on_open: bool,
    /// Maximum number of backups; 0 keeps none. Default: unlimited.
    pub max_backups: Option<usize>,
    /// Maximum size of the log on disk, in bytes. Default: unlimited. Minimum: `max_size`, or 4
    /// times that with `min_interval`.
    ///
    /// Backups and temporary files count, and the active segment counts with the size that it may
    /// reach: that minimum. The oldest backups are removed first.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_size"))]
    pub max_total_size: Option<u64>,
    /// How long a backup is kept after its rotation. Default: unlimited. Minimum: 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub max_backup_age: Option<Duration>,
    /// Minimum free space on the file system, in bytes. Default: none.
    ///
    /// The oldest backups are removed until that much is free, or no backup is left.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_size"))]
    pub min_free_space: Option<u64>,
    /// Compression of backups. Default: [`Compression::None`].
    pub compression: Compression,
    /// Compression level: 1 to 9 for gzip (default 6), 1 to 22 for zstd (default 3).
    pub compression_level: Option<u32>,
    /// Number of the newest backups that stay uncompressed. Default: 0.
    ///
    /// The value 1 is logrotate's `delaycompress`. A program that reads a finished segment to its
    /// end finds it as it was, under its name, until so many rotations later. Size limits count
    /// these backups as they are.
    pub keep_uncompressed: usize,
    /// Names of backups. Default: [`Naming::Timestamp`].
    pub naming: Naming,
    /// Permission bits of all files of the log, such as `0o640`, whatever the umask. Limits:
    /// `0o600` to `0o777`.
    ///
    /// Default: the first segment takes the umask, and each later one the bits of the one before.
    ///
    /// # Platform
    /// Ignored on Windows.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_mode"))]
    pub mode: Option<u32>,
    /// How long a log call may wait for another worker that is rotating. Default: 1 s.
    ///
    /// After that the record goes to the current segment, and the rotation is tried again later.
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub lock_timeout: Duration,
    /// How often the log's path is compared with the open file. Default: 1 s.
    ///
    /// That is how a worker notices that another program has removed or truncated the log, or
    /// turned a link.
    ///
    /// On Linux the system reports a rotation by another worker or program, usually within a
    /// millisecond, later on a busy machine. The first record after the report is in the new
    /// segment, with a buffer its next write. This interval is the limit without reports: on other
    /// systems and network file systems, with [`MaintenanceMode::Inline`], in a forked child, when
    /// the user's inotify instances or watches are used up, or where a security module forbids
    /// them. A segment that others may fill before the next record, as far as its growth shows, is
    /// looked at before that record.
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub check_interval: Duration,
    /// Where backups are compressed and pruned. Default: [`MaintenanceMode::Thread`].
    pub maintenance: MaintenanceMode,
    /// When a record reaches the kernel. Default: [`Delivery::Direct`], before its call returns.
    pub delivery: Delivery,
    /// Which records survive a power cut. Default: [`Durability::None`].
    pub durability: Durability,
    /// The archive to which finished segments are copied before they are removed. Default: none.
    ///
    /// Needs [`Naming::Timestamp`], [`MaintenanceMode::Thread`], and a `max_size` of at most 1 GiB.
    /// The limits on backups leave what is not archived yet, so the log may exceed them.
    #[cfg(feature = "archive")]
    #[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub archive: Option<Archive>,
    /// The policy from which the log takes all other settings: its path, or the URL of one that
    /// machines share, such as `s3://bucket/prefix/app.policy`. Default: none.
    ///
    /// Opening the log opens the policy, which must exist, as [`LogBuilder::policy`] describes. The
    /// last good copy of one that machines share is kept beside the log. A policy cannot name
    /// another one.
    #[cfg(feature = "policy")]
    #[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub policy: Option<PathBuf>,
}

fn refuse(setting: &str, value: &dyn fmt::Display, why: &str) -> Result<()> {
    Err(Error::config(setting, value, why))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_size: 64 * 1024 * 1024,
            min_interval: None,
            max_age: None,
            rotate_every: None,
            rotate_at: None,
            zone: Zone::Utc,
            rotate_on_open: false,
            max_backups: None,
            max_total_size: None,
            max_backup_age: None,
            min_free_space: None,
            compression: Compression::None,
            compression_level: None,
            keep_uncompressed: 0,
            naming: Naming::Timestamp,
            mode: None,
            lock_timeout: Duration::from_secs(1),
            check_interval: Duration::from_secs(1),
            maintenance: MaintenanceMode::Thread,
            delivery: Delivery::Direct,
            durability: Durability::None,
            #[cfg(feature = "archive")]
            archive: None,
            #[cfg(feature = "policy")]
            policy: None,
        }
    }
}

impl Config {
    /// Checks every setting, alone and with the others.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for the first invalid setting:
    /// its name, its value, and what is valid.
    pub fn validate(&self) -> Result<()> {
        self.check_each()?;
        self.check_together()
    }

    /// Checks the settings that are invalid whatever the others are.
    fn check_each(&self) -> Result<()> {
        if self.max_size == 0 {
            return refuse("max_size", &0, "a segment must have room for a record; use 1 or more");
        }
        let spans = [
            ("min_interval", self.min_interval),
            ("max_age", self.max_age),
            ("max_backup_age", self.max_backup_age),
        ];
        for (setting, span) in spans {
            if span.is_some_and(|span| span < Duration::from_millis(1)) {
                let value = format!("{:?}", span.unwrap_or_default());
                return refuse(setting, &value, "use 1 ms or more, or leave it out");
            }
        }
        self.check_period()?;
        if let Some(mode) = self.mode.filter(|mode| mode & !0o777 != 0 || mode & 0o600 != 0o600) {
            let why = "use permission bits between 0o600 and 0o777; the owner must be able to read \
                       and write";
            return refuse("mode", &format!("{mode:#o}"), why);
        }
        match self.delivery {
            Delivery::Buffered(Buffering { capacity: 0, .. }) => {
                refuse("capacity", &0, "a buffer must have room for a record; use 1 MiB or so")
            }
            _ => Ok(()),
        }
    }

    fn check_period(&self) -> Result<()> {
        if let Some(Period::Hours(hours)) = self.rotate_every {
            if !(1..=MAX_HOURS).contains(&hours) {
                let why = format!("use 1 to {MAX_HOURS} hours, or weekly or monthly");
                return refuse("rotate_every", &format!("{hours} hours"), &why);
            }
        }
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let is_invalid = |at: &Duration| *at >= DAY || at.as_millis() % 60_000 != 0;
        match self.rotate_at.filter(is_invalid) {
            Some(at) => refuse(
                "rotate_at",
                &format!("{at:?}"),
                "use a time of the day, 00:00 to 23:59, in whole minutes",
            ),
            None => Ok(()),
        }
    }

    /// Checks the settings that limit each other.
    fn check_together(&self) -> Result<()> {
        if let Some(at) = self.rotate_at {
            let why = "it needs a period: use `rotate_every` = daily, hours, weekly or monthly";
            if matches!(self.rotate_every, None | Some(Period::Minutely)) {
                return refuse("rotate_at", &units::format_time_of_day(at), why);
            }
        }
        let largest = self.largest_size();
        if let Some(total) = self.max_total_size.filter(|total| *total < largest) {
            let times =
                if largest == self.max_size { "" } else { "4 times, with `min_interval`, " };
            let why = format!(
                "the active segment alone may take up {times}`max_size` = {}; use at least {largest}",
                self.max_size
            );
            return refuse("max_total_size", &total, &why);
        }
        if let Delivery::Buffered(_) = self.delivery {
            if self.maintenance == MaintenanceMode::Inline {
                let why = "with `delivery` = buffered there is a thread anyway; use thread, or \
                           direct delivery";
                return refuse("maintenance", &"Inline", why);
            }
            if self.durability == Durability::EveryRecord {
                let why = "with `delivery` = buffered, a record is not even in the kernel when its \
                           log call returns; use direct delivery, or another durability";
                return refuse("durability", &"EveryRecord", why);
            }
        }
        self.check_archive()?;
        Encoding::choose(self.compression, self.compression_level).map(|_| ())
    }

    #[cfg(not(feature = "archive"))]
    #[allow(clippy::unused_self, reason = "there is no archive to check")]
    fn check_archive(&self) -> Result<()> {
        Ok(())
    }

    /// Checks the archive, alone and with the others.
    #[cfg(feature = "archive")]
    fn check_archive(&self) -> Result<()> {
        let Some(archive) = &self.archive else { return Ok(()) };
        archive.validate()?;
        if self.naming == Naming::Number {
            let why = "with an `archive`, a name must stay with its segment; use timestamp";
            return refuse("naming", &self.naming, why);
        }
        if self.maintenance == MaintenanceMode::Inline {
            let why = "an `archive` has a thread of its own; use thread, or `logrotor archive` from \
                       time to time";
            return refuse("maintenance", &self.maintenance, why);
        }
        if self.largest_size() > MAX_SEGMENT {
            let why = format!(
                "with an `archive`, one request carries a segment; use {MAX_SEGMENT} or less, a \
                 fourth of it with `min_interval`"
            );
            return refuse("max_size", &self.max_size, &why);
        }
        Ok(())
    }

    /// The rule of maintenance for backups that are not archived.
    #[cfg(feature = "archive")]
    fn duty(&self) -> Duty {
        Duty {
            archives: self.archive.is_some(),
            drops_when_full: self
                .archive
                .as_ref()
                .is_some_and(|archive| archive.when_full == WhenFull::Drop),
        }
    }

    #[cfg(not(feature = "archive"))]
    #[allow(clippy::unused_self, reason = "another worker may have an archive")]
    fn duty(&self) -> Duty {
        Duty::default()
    }

    /// Rejects a header that leaves no room for a record in a segment.
    pub(crate) fn check_header(&self, bytes: u64) -> Result<()> {
        if bytes < self.max_size {
            return Ok(());
        }
        let why = format!("the header of {bytes} bytes fills it; use more than that");
        Err(Error::config("max_size", self.max_size, why))
    }

    /// The size up to which rotation by size may wait for `min_interval`, or `max_size`.
    fn largest_size(&self) -> u64 {
        const HARD_LIMIT: u64 = 4;
        let times = self.min_interval.map_or(1, |_| HARD_LIMIT);
        self.max_size.saturating_mul(times)
    }

    /// The settings that decide when a segment is due. A file that reaches the limit of the process
    /// is full.
    pub(crate) fn trigger(&self) -> Trigger {
        Trigger {
            max_size: self.max_size.min(fs::file_size_limit()),
            min_interval: self.min_interval,
            hard_max_size: self.largest_size().min(fs::file_size_limit()),
            max_age: self.max_age,
            rotate_every: self.rotate_every,
            rotate_at: self.rotate_at.unwrap_or_default(),
            zone: self.zone,
        }
    }

    /// The settings of maintenance.
    pub(crate) fn maintenance_config(&self) -> Result<MaintenanceConfig> {
        Ok(MaintenanceConfig {
            naming: self.naming,
            encoding: Encoding::choose(self.compression, self.compression_level)?,
            retention: Retention {
                max_backups: self.max_backups,
                max_total_size: self.max_total_size,
                max_backup_age: self.max_backup_age,
                min_free_space: self.min_free_space,
            },
            keep_uncompressed: self.keep_uncompressed,
            duty: self.duty(),
            max_size: self.largest_size(),
            lock_mode: self.mode,
            lock_timeout: self.lock_timeout,
        })
    }
}
