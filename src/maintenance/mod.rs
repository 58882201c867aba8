//! What happens to backups: what a crash left is cleared up, then they are pruned and compressed.
//!
//! All of it is done by any worker for all of them, and can be stopped at every step: a temporary is
//! removed once nobody leases it; of a backup that is there both plain and packed the packed one is
//! whole, for it got its name by `rename`, so the plain one is removed.
//!
//! A backup is touched only while it is held exclusively, which no worker's lease allows; so nobody
//! can append to what is compressed or removed. With [`Naming::Number`] a backup may get another name
//! at any time: its name is looked up by its identity, and used, under the rotation lock.

mod compress;
mod maintainer;
mod pass;
mod prune;
mod wakeup;

pub(crate) use compress::Encoding;
pub(crate) use maintainer::Maintainer;
pub(crate) use prune::Retention;
pub(crate) use wakeup::Wakeup;

use crate::clock::Clock;
use crate::error::Result;
use crate::keywords::keywords;
use crate::segment::name::{Compression, Naming};
use crate::segment::{Backup, Location};
use crate::stats::{Event, Journal, Stats};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// When and where maintenance is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum MaintenanceMode {
    /// On a thread of the log's own, so that no log call waits for it. The default.
    #[default]
    Thread,
    /// Within the log call that rotated, for programs that must not have threads. That call takes as
    /// long as compressing the backup does. Backups that another worker still has open are looked at
    /// again at later calls, once per `check_interval`.
    Inline,
}

keywords!(MaintenanceMode, "maintenance": Thread => "thread", Inline => "inline");

/// What of a log's settings concerns its backups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaintenanceConfig {
    pub(crate) naming: Naming,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) retention: Retention,
    /// What the active segment may grow to.
    pub(crate) max_size: u64,
    pub(crate) lock_mode: Option<u32>,
    pub(crate) lock_timeout: Duration,
}

/// Looks after the backups of a log once, as the log's own workers do, and safely beside them: limits are
/// kept, plain backups compressed, and what a crash has left is cleared up. What a worker or a reader has
/// open is left alone.
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

/// What a [`Maintenance`] would do, as things are now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenancePlan {
    /// The backups that the limits leave no room for, oldest first. Those that somebody has open stay.
    pub prune: Vec<PathBuf>,
    /// The plain backups among the others, oldest first, if there is a compression.
    pub compress: Vec<PathBuf>,
}

impl Maintenance {
    /// See [`Maintenance::new`], which takes the settings from a `Config`.
    pub(crate) fn with_settings(
        path: &Path,
        settings: MaintenanceConfig,
        observer: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self> {
        let journal = Arc::new(Journal::new(Some(Arc::new(observer))));
        let maintainer = Maintainer::new(settings, Clock::system(), Arc::clone(&journal));
        Ok(Self { location: Location::find(path)?, maintainer, journal })
    }

    /// What there is to do. Nothing is touched.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn plan(&self) -> Result<MaintenancePlan> {
        let (mut backups, excess) = self.maintainer.plan(&self.location)?;
        let kept = backups.split_off(excess);
        let is_plain = |backup: &Backup| backup.name.compression == Compression::None;
        let compresses = self.maintainer.compresses();
        Ok(MaintenancePlan {
            prune: backups.into_iter().map(|backup| backup.path).collect(),
            compress: kept
                .into_iter()
                .filter(|backup| compresses && is_plain(backup))
                .map(|backup| backup.path)
                .collect(),
        })
    }

    /// Does it. `go_on` is asked between steps, and every 128 KiB of a backup that is compressed: what is
    /// half done when it says `false` is undone. In what is returned, `deferrals` counts the backups that
    /// were left because somebody has them open.
    ///
    /// # Errors
    /// The first failure; what does not depend on it is done all the same.
    pub fn run(&self, go_on: &dyn Fn() -> bool) -> Result<Stats> {
        let go_on = || {
            self.journal.tell();
            go_on()
        };
        let done = self.maintainer.pass(&self.location, &go_on);
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
