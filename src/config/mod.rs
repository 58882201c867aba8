//! Settings: what they mean, their defaults, and which are refused.

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

use crate::error::{Error, Result};
use crate::maintenance::{Encoding, MaintenanceConfig, MaintenanceMode, Retention};
use crate::rotation::trigger::Trigger;
use crate::rotation::{Period, Zone};
use crate::segment::name::{Compression, Naming};
use std::time::Duration;

/// The settings of a log as plain data.
///
/// All workers of a log should have the same; a [policy](LogBuilder::policy) sees to it. Where they differ,
/// nothing is lost, and this holds:
///
/// | setting | with different workers |
/// |---|---|
/// | `max_size` | each keeps to its own as it writes; so segments end at the smallest, while that worker writes |
/// | `max_age`, `rotate_every`, `zone` | a segment ends as soon as any worker's says so |
/// | `max_backups` and the other limits of what is kept | the strictest holds while its worker runs |
/// | `compression` | a backup is packed once, by whichever worker packs and comes first; none unpacks it |
/// | `naming` | each worker names the backups it makes, and packs, prunes and counts only those named its way; the order between the two kinds is not kept |
/// | `mode` | a segment has that of the worker that made it |
/// | header | a segment has that of the worker that made it, or else of the first with one that finds it empty |
/// | `delivery`, `durability`, `lock_timeout`, `check_interval`, `maintenance` | each worker's own |
///
/// A worker rotates only a segment that is full or past its time by its own settings. So no two can rotate
/// against each other: there are as many rotations as the strictest settings alone would make, and few more.
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
/// With feature `serde` it is read and written as TOML and JSON, with units: see
/// [`from_file`](Config::from_file). A setting that is left out has its default; one that there is not,
/// or that cannot work, is refused with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Config {
    /// The size in bytes that a segment does not exceed. A record that would make it larger goes to a
    /// new segment; only a record that is itself larger makes a segment larger. Default: 64 MiB.
    ///
    /// With N workers a segment may grow beyond it by about one record per other worker.
    #[cfg_attr(feature = "serde", serde(with = "text::size"))]
    pub max_size: u64,
    /// The age at which a segment is rotated, counted from its creation. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub max_age: Option<Duration>,
    /// The calendar period at whose end a segment is rotated. Default: none.
    pub rotate_every: Option<Period>,
    /// Whose calendar that is. Default: UTC.
    pub zone: Zone,
    /// Whether opening the log rotates it, if there is a record in it. Default: no.
    pub rotate_on_open: bool,
    /// How many backups are kept; 0 keeps none. Default: all.
    pub max_backups: Option<usize>,
    /// How many bytes the log may take up on disk: backups, temporaries, and the active segment, which
    /// counts with the `max_size` that it may grow to. The oldest backups go first. Default: no limit.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_size"))]
    pub max_total_size: Option<u64>,
    /// How long a backup is kept after its rotation. Default: for ever.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub max_backup_age: Option<Duration>,
    /// How many bytes are left free on the file system, if removing backups can do it. Default: 0.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_size"))]
    pub min_free_space: Option<u64>,
    /// What backups are compressed with. Default: nothing.
    pub compression: Compression,
    /// How hard it tries. Default: the codec's own.
    pub compression_level: Option<u32>,
    /// How backups are named. Default: by time.
    pub naming: Naming,
    /// The permission bits of all the log's files, such as `0o640`, whatever the umask. Default: a
    /// first segment has those of the umask, and each later one those of the one before.
    ///
    /// # Platform
    /// Ignored on Windows.
    #[cfg_attr(feature = "serde", serde(with = "text::optional_mode"))]
    pub mode: Option<u32>,
    /// How long a log call may wait for another worker that is rotating. After that the record goes to
    /// the segment there is, and rotation is tried again later. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub lock_timeout: Duration,
    /// How often the log's path is compared with the open file, to notice a rotation by another worker
    /// before this one's segment is full, or a foreign program's deed. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub check_interval: Duration,
    /// Where backups are looked after. Default: on a thread.
    pub maintenance: MaintenanceMode,
    /// When a record reaches the kernel. Default: before its log call returns.
    pub delivery: Delivery,
    /// What survives a power cut. Default: nothing in particular.
    pub durability: Durability,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_size: 64 * 1024 * 1024,
            max_age: None,
            rotate_every: None,
            zone: Zone::Utc,
            rotate_on_open: false,
            max_backups: None,
            max_total_size: None,
            max_backup_age: None,
            min_free_space: None,
            compression: Compression::None,
            compression_level: None,
            naming: Naming::Timestamp,
            mode: None,
            lock_timeout: Duration::from_secs(1),
            check_interval: Duration::from_secs(1),
            maintenance: MaintenanceMode::Thread,
            delivery: Delivery::Direct,
            durability: Durability::None,
        }
    }
}

impl Config {
    /// Checks every setting by itself and with the others.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for the first that cannot work:
    /// its name, its value, and what would be right.
    pub fn validate(&self) -> Result<()> {
        let refuse = |setting, value: &dyn std::fmt::Display, why: &str| {
            Err(Error::config(setting, value, why))
        };
        if self.max_size == 0 {
            return refuse("max_size", &0, "a segment must have room for a record; use 1 or more");
        }
        for (setting, span) in [("max_age", self.max_age), ("max_backup_age", self.max_backup_age)]
        {
            if span.is_some_and(|span| span < Duration::from_millis(1)) {
                let value = format!("{:?}", span.unwrap_or_default());
                return refuse(setting, &value, "use 1 ms or more, or leave it out");
            }
        }
        if let Some(total) = self.max_total_size.filter(|total| *total < self.max_size) {
            let why = format!(
                "the active segment alone may take up `max_size` = {}; use at least that",
                self.max_size
            );
            return refuse("max_total_size", &total, &why);
        }
        if let Some(mode) = self.mode.filter(|mode| mode & !0o777 != 0 || mode & 0o600 != 0o600) {
            let why = "use permission bits between 0o600 and 0o777; the owner must be able to read \
                       and write";
            return refuse("mode", &format!("{mode:#o}"), why);
        }
        if let Delivery::Buffered(buffering) = self.delivery {
            if buffering.capacity == 0 {
                return refuse(
                    "capacity",
                    &0,
                    "a buffer must have room for a record; use 1 MiB or so",
                );
            }
            if self.maintenance == MaintenanceMode::Inline {
                let why = "buffered delivery has a thread of its own anyway; use `Thread`, or direct \
                           delivery";
                return refuse("maintenance", &"Inline", why);
            }
            if self.durability == Durability::EveryRecord {
                let why = "a buffered record is not even in the kernel when its log call returns; use \
                           direct delivery, or another durability";
                return refuse("durability", &"EveryRecord", why);
            }
        }
        Encoding::choose(self.compression, self.compression_level).map(|_| ())
    }

    /// Refuses a header that leaves a segment no room for a record.
    pub(crate) fn check_header(&self, bytes: u64) -> Result<()> {
        if bytes < self.max_size {
            return Ok(());
        }
        let why = format!("the header of {bytes} bytes fills it; use more than that");
        Err(Error::config("max_size", self.max_size, why))
    }

    /// What of the settings says when a segment has had its time.
    pub(crate) fn trigger(&self) -> Trigger {
        Trigger {
            max_size: self.max_size,
            max_age: self.max_age,
            rotate_every: self.rotate_every,
            zone: self.zone,
        }
    }

    /// What of the settings concerns backups.
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
            max_size: self.max_size,
            lock_mode: self.mode,
            lock_timeout: self.lock_timeout,
        })
    }
}
