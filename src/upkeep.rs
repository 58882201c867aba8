//! Maintenance by hand: what a log's own thread does, for a process that does not write to the log.

use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::maintenance::Maintainer;
use crate::segment::name::Compression;
use crate::segment::{Backup, Location, Segment};
use crate::stats::{Event, Journal, Stats};
use std::path::Path;
use std::sync::Arc;

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
    pub prune: Vec<Segment>,
    /// The plain backups among the others, oldest first, if there is a compression.
    pub compress: Vec<Segment>,
}

impl Maintenance {
    /// For the log at `path`, of which nothing is made, with these settings: limits, compression, and the
    /// naming of the backups it looks after. `observer` is told of what is done, as
    /// [`LogBuilder::observer`](crate::LogBuilder::observer)'s is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) as [`Config::validate`];
    /// [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) if the path cannot be a log's;
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if its directory is not there.
    pub fn new(
        path: impl AsRef<Path>,
        config: &Config,
        observer: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self> {
        config.validate()?;
        let journal = Arc::new(Journal::new(Some(Arc::new(observer))));
        let maintainer =
            Maintainer::new(config.maintenance_config()?, Clock::system(), Arc::clone(&journal));
        Ok(Self { location: Location::find(path.as_ref())?, maintainer, journal })
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
            prune: backups.into_iter().map(Segment::from).collect(),
            compress: kept
                .into_iter()
                .filter(|backup| compresses && is_plain(backup))
                .map(Segment::from)
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
