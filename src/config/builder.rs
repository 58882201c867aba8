//! The builder of a log: settings as data, and callbacks.

use super::{Config, Delivery, Durability};
#[cfg(feature = "archive")]
use crate::archive::Archive;
use crate::clock::Clock;
#[cfg(feature = "policy")]
use crate::error::Error;
use crate::error::Result;
use crate::maintenance::MaintenanceMode;
#[cfg(feature = "policy")]
use crate::policy::PolicyStore;
use crate::rotation::{HeaderFn, Period, Zone};
use crate::segment::name::{Compression, Naming};
use crate::stats::{Event, Observer};
#[cfg(feature = "policy")]
use crate::units::redacted;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Configures and opens a [`RotatingFileWriter`](crate::RotatingFileWriter).
///
/// [`RotatingFileWriter::builder`](crate::RotatingFileWriter::builder) returns it, with the
/// defaults of [`Config`].
#[derive(Clone)]
#[must_use = "nothing is opened before `build`"]
pub struct LogBuilder {
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
    pub(crate) callbacks: Callbacks,
}

impl fmt::Debug for LogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogBuilder")
            .field("path", &self.path)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The settings of a log that are code.
#[derive(Clone, Default)]
pub(crate) struct Callbacks {
    pub(crate) header: Option<HeaderFn>,
    pub(crate) observer: Option<Observer>,
    pub(crate) clock: Clock,
    #[cfg(feature = "policy")]
    pub(crate) policy: Option<Bound>,
}

/// The policy under which a log was opened.
#[cfg(feature = "policy")]
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) store: PolicyStore<Config>,
    /// The version whose settings are in force.
    pub(crate) version: u64,
    /// Whether the builder had settings of its own, which the policy overrides.
    pub(crate) overrides: bool,
}

/// One builder method per plain setting.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $field:ident = $value:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.config.$field = $value;
            self
        }
    )*};
}

impl LogBuilder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_config(path, Config::default())
    }

    pub(crate) fn with_config(path: impl Into<PathBuf>, config: Config) -> Self {
        Self { path: path.into(), config, callbacks: Callbacks::default() }
    }

    /// Replaces all settings that are plain data with `config`.
    ///
    /// # Examples
    /// ```
    /// use logrotor::{Config, RotatingFileWriter};
    /// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
    /// let config = Config::default();
    /// let log = RotatingFileWriter::builder(dir.path().join("app.log"))
    ///     .config(config)
    ///     .observer(|event| eprintln!("{event:?}"))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    setters! {
        /// Sets the maximum size of a segment, in bytes. Default: 64 MiB. Minimum: 1.
        ///
        /// Only a record that is itself larger makes a segment larger. See [`Config::max_size`] for
        /// the limit with several workers.
        max_size: u64 => max_size = max_size;
        /// Sets the time since its creation before which a segment is not rotated for its size, up
        /// to 4 times [`max_size`](Self::max_size). Default: none. Minimum: 1 ms.
        ///
        /// With an interval longer than theirs, programs that look at the log at intervals see
        /// every segment. [`Config::min_interval`] lists the exceptions.
        min_interval: Duration => min_interval = Some(min_interval);
        /// Sets the age, since its creation, at which a segment is rotated. Default: none. Minimum:
        /// 1 ms.
        max_age: Duration => max_age = Some(max_age);
        /// Rotates at the end of every calendar period. Default: none.
        rotate_every: Period => rotate_every = Some(rotate_every);
        /// Sets the time of the day, since midnight, at which the periods of
        /// [`rotate_every`](Self::rotate_every) begin. Default: midnight. Limits: whole minutes,
        /// less than 24 hours, and no minutely periods.
        ///
        /// # Examples
        /// ```
        /// use logrotor::{Period, RotatingFileWriter};
        /// use std::time::Duration;
        /// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
        /// # let path = dir.path().join("app.log");
        /// let at_three = Duration::from_secs(3 * 3600);
        /// let log = RotatingFileWriter::builder(&path)
        ///     .rotate_every(Period::Daily)
        ///     .rotate_at(at_three)
        ///     .build()?;
        /// # Ok(()) }
        /// ```
        rotate_at: Duration => rotate_at = Some(rotate_at);
        /// Sets the time zone of the calendar for [`rotate_every`](Self::rotate_every). Default: UTC.
        zone: Zone => zone = zone;
        /// Sets whether opening the log rotates it, if it has a record. Default: `false`.
        rotate_on_open: bool => rotate_on_open = rotate_on_open;
        /// Sets the maximum number of backups; 0 keeps none. Default: unlimited.
        max_backups: usize => max_backups = Some(max_backups);
        /// Sets the maximum size of the log on disk, in bytes. Default: unlimited. Minimum:
        /// [`max_size`](Self::max_size), or 4 times that with [`min_interval`](Self::min_interval).
        ///
        /// Backups, temporary files and the active segment count, the latter with that minimum.
        max_total_size: u64 => max_total_size = Some(max_total_size);
        /// Sets how long a backup is kept after its rotation. Default: unlimited. Minimum: 1 ms.
        max_backup_age: Duration => max_backup_age = Some(max_backup_age);
        /// Sets the minimum free space on the file system, in bytes. Default: none.
        ///
        /// Backups are removed, oldest first, until that much is free.
        min_free_space: u64 => min_free_space = Some(min_free_space);
        /// Sets the compression of backups. Default: [`Compression::None`].
        compression: Compression => compression = compression;
        /// Sets the compression level: 1 to 9 for gzip, by default 6, and 1 to 22 for zstd, by
        /// default 3.
        compression_level: u32 => compression_level = Some(compression_level);
        /// Sets how many of the newest backups stay uncompressed. Default: 0.
        ///
        /// The value 1 is logrotate's `delaycompress`. A program that reads a finished segment to
        /// its end finds it as it was.
        keep_uncompressed: usize => keep_uncompressed = keep_uncompressed;
        /// Sets how backups are named. Default: [`Naming::Timestamp`].
        naming: Naming => naming = naming;
        /// Sets the permission bits of all files, 0o600 to 0o777, whatever the umask. Default: by
        /// the umask.
        ///
        /// See [`Config::mode`]. Ignored on Windows.
        mode: u32 => mode = Some(mode);
        /// Sets how long a log call waits for another worker that is rotating. Default: 1 s.
        lock_timeout: Duration => lock_timeout = lock_timeout;
        /// Sets how often the log's path is compared with the open file. Default: 1 s.
        ///
        /// That is how a worker notices that another program has removed or truncated the log, and
        /// where the system does not report it, a rotation. See [`Config::check_interval`].
        check_interval: Duration => check_interval = check_interval;
        /// Sets where backups are compressed and pruned. Default: [`MaintenanceMode::Thread`].
        maintenance: MaintenanceMode => maintenance = maintenance;
        /// Sets when a record reaches the kernel. Default: [`Delivery::Direct`], before its call
        /// returns.
        delivery: Delivery => delivery = delivery;
        /// Sets what survives a power cut. Default: [`Durability::None`], nothing in particular.
        durability: Durability => durability = durability;
        /// Sets the archive to which finished segments are copied before they are removed. Default:
        /// none.
        ///
        /// See [`Archive`] and [`Config::archive`].
        #[cfg(feature = "archive")]
        #[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
        archive: Archive => archive = Some(archive);
    }

    /// Writes `bytes` at the start of every new segment, such as the column names of a CSV file.
    ///
    /// The header counts toward the size of a segment, and a segment with nothing else counts as
    /// empty. An empty file that another program created at the path gets it too, unless another
    /// worker holds the rotation lock. Default: no header.
    ///
    /// # Examples
    /// ```
    /// # use logrotor::RotatingFileWriter;
    /// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("app.csv");
    /// let log = RotatingFileWriter::builder(&path).header("time,level\n").build()?;
    /// assert_eq!(std::fs::read(&path).unwrap(), b"time,level\n");
    /// # Ok(()) }
    /// ```
    pub fn header(self, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        self.header_with(move || bytes.clone())
    }

    /// Writes the bytes that `function` returns at the start of every new segment.
    ///
    /// As [`header`](Self::header), for content that changes. The function is called once per new
    /// segment, and once by [`build`](Self::build), to learn the length of headers. It must not
    /// write to this log. If it panics, the rotation fails and is tried again later.
    ///
    /// # Examples
    /// ```
    /// # use logrotor::RotatingFileWriter;
    /// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("app.log");
    /// let header = || format!("# pid {}\n", std::process::id()).into_bytes();
    /// let log = RotatingFileWriter::builder(&path).header_with(header).build()?;
    /// # Ok(()) }
    /// ```
    pub fn header_with(mut self, function: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.callbacks.header = Some(Arc::new(function));
        self
    }

    /// Calls `observer` for every [`Event`].
    ///
    /// The call comes from a thread that is using the log or closing it, from one of the threads
    /// that all logs of the process share, or from that of the archive. No lock is held, so the
    /// observer may write to the log. Panics are caught and ignored. Default: no observer.
    ///
    /// While an observer does not return, the other threads serve the other logs. With two or more
    /// such observers they may have to wait. A program that the observer starts may inherit a mask
    /// that blocks all signals: start it from a thread of your own.
    ///
    /// Events that its own records cause are reported with a later call. An observer must write
    /// much less than a segment per event, or the log rotates endlessly.
    pub fn observer(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.callbacks.observer = Some(Arc::new(observer));
        self
    }

    /// Takes the time from `clock` rather than the system.
    #[cfg(feature = "__test")]
    #[doc(hidden)]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.callbacks.clock = clock;
        self
    }

    /// Follows a policy: its settings replace the builder's, from the start and as they change.
    /// The setting `policy` of [`Config`] names one in place of that.
    ///
    /// A new version is in force within a second, between two records.
    /// [`Stats::policy`](crate::Stats::policy) has the version in force, and whether the builder's
    /// settings differed.
    ///
    /// [`naming`](Config::naming), [`delivery`](Config::delivery) and
    /// [`maintenance`](Config::maintenance) cannot change while the log is open. If a version
    /// changes one of them, the rest is taken over, and an [`Event::Failed`] reports each such
    /// setting. Workers that start later use the whole version. A version that is invalid with the
    /// fixed settings is rejected whole and reported, as is damage to the policy's file.
    ///
    /// A thread of the process checks the file four times a second, for one `stat` each. With
    /// [`MaintenanceMode::Inline`], log calls do.
    ///
    /// # Examples
    /// ```
    /// use logrotor::{Config, RotatingFileWriter, policy};
    /// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("app.log");
    /// let policy = Config::policy().open_or_create(policy::path_beside(&path), Config::default)?;
    /// let log = RotatingFileWriter::builder(&path).policy(policy).build()?;
    /// assert_eq!(log.stats().policy.unwrap().version, 1);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "policy")]
    #[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
    pub fn policy(mut self, store: PolicyStore<Config>) -> Self {
        let version = store.version();
        self.callbacks.policy = Some(Bound { store, version, overrides: false });
        self
    }

    #[cfg(not(feature = "policy"))]
    #[allow(clippy::unnecessary_wraps, reason = "with a policy, it fails")]
    pub(crate) fn with_policy_settings(self) -> Result<Self> {
        Ok(self)
    }

    /// Takes over the policy's current settings.
    #[cfg(feature = "policy")]
    pub(crate) fn with_policy_settings(mut self) -> Result<Self> {
        if let Some(named) = self.config.policy.take() {
            if self.callbacks.policy.is_some() {
                let named = redacted(&named.to_string_lossy());
                let why = "the builder follows another policy already";
                return Err(Error::config("policy", named, why));
            }
            // A machine that starts without network has the settings of the copy.
            let store = Config::policy().cache_beside(&self.path).open(named)?;
            self = self.policy(store);
        }
        if let Some(bound) = &mut self.callbacks.policy {
            // A problem with the file is reported once the log is open. It does not prevent
            // opening: the last good version is in force.
            let _ = bound.store.catch_up();
            let policy = bound.store.current();
            let own = std::mem::replace(&mut self.config, Config::clone(&policy));
            bound.overrides = own != Config::default() && own != self.config;
            bound.version = policy.version();
        }
        Ok(self)
    }

    /// Returns the path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
