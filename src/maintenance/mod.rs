//! Maintenance of backups: recovery after a crash, then pruning, then compression.
//!
//! Any worker does this work for all of them, and it can stop after any step. A temporary file is
//! removed once no process leases it, unless it is another program's file that was at the log's
//! path during a rotation: that becomes a backup. A backup that exists both uncompressed and
//! compressed loses its uncompressed form: the compressed one is complete, because it got its name
//! by `rename`.
//!
//! A backup is touched only under an exclusive lease, which excludes every worker's lease. So no
//! worker can append to a backup that is being compressed or removed. With [`Naming::Number`] a
//! rotation can rename a backup at any time; its name is looked up by identity, and used, under the
//! rotation lock.

mod compress;
mod excess;
mod foreign_writers;
mod knowledge;
mod maintainer;
mod pass;
mod prune;
mod remove;
mod settled;
mod temporary;
mod wakeup;

pub(crate) use compress::Encoding;
pub(crate) use knowledge::Occasion;
pub(crate) use maintainer::Maintainer;
pub(crate) use prune::Retention;
pub(crate) use wakeup::Wakeup;
#[cfg(feature = "archive")]
pub(crate) use {
    remove::is_active,
    settled::{QUIET, created_after, is_settled},
};

use crate::clock::Clock;
use crate::error::Result;
use crate::keywords::keywords;
use crate::ledger::{Archived, Duty};
use crate::segment::name::{Compression, Naming};
use crate::segment::{Backup, Location};
use crate::stats::{Event, Journal, Stats};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// When and where maintenance runs. Default: [`Thread`](MaintenanceMode::Thread).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum MaintenanceMode {
    /// On threads that all logs of the process share, so that no log call waits for it. The
    /// default.
    ///
    /// There are three such threads at most. A long compression or a disk that does not answer
    /// holds up no other log's checks, policy or syncs.
    #[default]
    Thread,
    /// Within the log call that rotated, for programs that must not have threads. That call takes
    /// as long as compressing the backup takes. Backups that another worker still has open are
    /// tried again by later calls, once per `check_interval`. A call some seconds after a rotation
    /// by another worker does what that one has left.
    ///
    /// [`build`](crate::LogBuilder::build) removes what a crash has left. In a directory of more
    /// than some hundreds of files, a log call does that 1 to 4 s later, or
    /// [`finish`](crate::RotatingFileWriter::finish), because it lists the directory.
    Inline,
}

keywords!(MaintenanceMode, "maintenance": Thread => "thread", Inline => "inline");

/// The part of a log's settings that concerns its backups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaintenanceConfig {
    pub(crate) naming: Naming,
    pub(crate) encoding: Option<Encoding>,
    /// How many of the newest backups are not compressed.
    pub(crate) keep_uncompressed: usize,
    pub(crate) retention: Retention,
    /// The rule for backups that are not archived.
    pub(crate) duty: Duty,
    /// The size that the active segment may reach, in bytes.
    pub(crate) max_size: u64,
    pub(crate) lock_mode: Option<u32>,
    pub(crate) lock_timeout: Duration,
}

/// One maintenance pass over a log's backups, made by a process that does not write to the log.
///
/// A pass enforces the limits, compresses backups and cleans up after crashes, exactly as the log's
/// own workers do. It is safe while they run: files that a worker or a reader has open are skipped.
///
/// # Examples
/// ```
/// use logrotor::{Config, Maintenance, RotatingFileWriter};
/// use std::io::Write;
/// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.log");
/// let mut log = RotatingFileWriter::builder(&path).build()?;
/// for number in 0..3 {
///     writeln!(log, "{number}")?;
///     log.rotate()?;
/// }
/// let mut config = Config::default();
/// config.max_backups = Some(1);
/// let maintenance = Maintenance::new(&path, &config, |event| println!("{event:?}"))?;
/// assert_eq!(maintenance.plan()?.prune.len(), 2);
/// assert_eq!(maintenance.run(&|| true)?.pruned, 2);
/// # Ok(()) }
/// ```
pub struct Maintenance {
    location: Location,
    maintainer: Maintainer,
    journal: Arc<Journal>,
}

/// The work that [`Maintenance::run`] would do now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenancePlan {
    /// The backups beyond the limits, oldest first. Those that a process has open stay.
    pub prune: Vec<PathBuf>,
    /// The uncompressed backups among the others, oldest first, without the newest that
    /// [`keep_uncompressed`](crate::Config::keep_uncompressed) keeps. Empty without a compression.
    pub compress: Vec<PathBuf>,
}

impl Maintenance {
    /// The constructor behind [`Maintenance::new`], which takes the settings from a `Config`.
    pub(crate) fn with_settings(
        path: &Path,
        settings: MaintenanceConfig,
        observer: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self> {
        let journal = Arc::new(Journal::new(Some(Arc::new(observer))));
        let mut maintainer = Maintainer::new(settings, Clock::system(), Arc::clone(&journal));
        maintainer.reports_deferrals = true;
        Ok(Self { location: Location::find(path)?, maintainer, journal })
    }

    /// Returns the work there is to do, without touching anything.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the directory cannot be read.
    pub fn plan(&self) -> Result<MaintenancePlan> {
        let (mut backups, excess) = self.maintainer.plan(&self.location)?;
        let mut kept = backups.split_off(excess);
        let archived = Archived::of(&self.location, self.maintainer.settings().duty)?;
        let is_archived = |backup: &Backup| archived.has(&self.location, backup);
        let (backups, unarchived): (Vec<_>, Vec<_>) = backups.into_iter().partition(is_archived);
        kept.splice(..0, unarchived);
        let is_plain = |backup: &Backup| backup.name.compression == Compression::None;
        let compressible = self.maintainer.compressible(&kept);
        Ok(MaintenancePlan {
            prune: backups.into_iter().map(|backup| backup.path).collect(),
            compress: kept
                .into_iter()
                .take(compressible)
                .filter(is_plain)
                .map(|backup| backup.path)
                .collect(),
        })
    }

    /// Makes one pass and returns its counters.
    ///
    /// `go_on` is called between steps, and every 128 KiB while a backup is compressed. If it
    /// returns `false`, the pass stops and the unfinished step is undone. `deferrals` counts the
    /// backups that were left, and an [`Event::Deferred`] says why for each.
    ///
    /// # Errors
    /// The first failure. Work that does not depend on it is done all the same.
    pub fn run(&self, go_on: &dyn Fn() -> bool) -> Result<Stats> {
        let go_on = || {
            self.journal.tell();
            go_on()
        };
        let done = self.maintainer.pass(&self.location, Occasion::ByHand, true, &go_on);
        self.journal.tell();
        done?;
        Ok(self.journal.counters.snapshot(0))
    }
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintenance").field("path", &self.location.path()).finish_non_exhaustive()
    }
}
