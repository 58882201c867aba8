//! Archiving by hand: what is there now, by a process that does not write to the log.

use super::batch::Backlog;
use super::round::Rounds;
use super::uploader::{ArchiveClient, ArchiveSettings, block_on};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::segment::Location;
use crate::segment::name::Compression;
use crate::stats::{Event, Journal, Stats};
use crate::store::ArchiveUrl;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One pass over a log's backups that sends them to the archive. Feature `archive`.
///
/// It is safe while the log's workers run and send as well: each segment is sent once.
///
/// # Examples
/// ```
/// use logrotor::{Archive, Archiver, Config, RotatingFileWriter};
/// use std::io::Write;
/// # fn main() -> std::io::Result<()> {
/// # let (dir, store) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// # let path = dir.path().join("app.log");
/// let mut log = RotatingFileWriter::builder(&path).build()?;
/// writeln!(log, "a record")?;
/// log.rotate()?;
/// # #[cfg(unix)] {
/// let mut config = Config::default();
/// config.archive = Some(Archive::to(format!("file://{}", store.path().display())));
/// let archiver = Archiver::new(&path, &config, |event| println!("{event:?}"))?;
/// assert_eq!(archiver.plan()?.segments.len(), 1);
/// archiver.run(&|| true)?;
/// assert!(archiver.plan()?.segments.is_empty());
/// # }
/// # Ok(()) }
/// ```
pub struct Archiver(Arc<ByHand>);

struct ByHand {
    location: Arc<Location>,
    settings: ArchiveSettings,
    journal: Journal,
}

/// The segments that [`Archiver::run`] would send now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchivePlan {
    /// The backups that are not archived, oldest first. Those that a process may still write to are
    /// sent later.
    pub segments: Vec<PathBuf>,
    /// Their size in bytes.
    pub bytes: u64,
    /// The objects of the backups that are archived under another URL. They are not sent again: a
    /// segment is archived once. Copy the objects with the store's own tools.
    pub elsewhere: Vec<String>,
}

impl Archiver {
    /// Prepares archiving the log at `path`, which need not exist; no file is created and nothing
    /// is sent.
    ///
    /// Of `config`, the archive, the compression and the mode count. `observer` is called for every
    /// event, as described at [`LogBuilder::observer`](crate::LogBuilder::observer).
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) as [`Config::validate`], if
    ///   `config` has no archive, and if the log's name has a control character.
    /// - [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) if the path cannot be that of a log.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io) if its directory does not exist.
    pub fn new(
        path: impl AsRef<Path>,
        config: &Config,
        observer: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self> {
        config.validate()?;
        let Some(archive) = config.archive.clone() else {
            let why = "there is none to send to; use `Archive::to(url)`";
            return Err(Error::config("archive", "none", why));
        };
        archive.check_log(path.as_ref())?;
        let compresses = config.compression != Compression::None;
        Ok(Self(Arc::new(ByHand {
            location: Arc::new(Location::find(path.as_ref())?),
            settings: ArchiveSettings { archive, compresses, mode: config.mode },
            journal: Journal::new(Some(Arc::new(observer))),
        })))
    }

    /// Returns the segments that are not archived, without touching anything.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the directory cannot be read, and
    /// [`ErrorKind::ArchiveLedger`](crate::ErrorKind::ArchiveLedger).
    pub fn plan(&self) -> Result<ArchivePlan> {
        let ledger = Ledger::read(&self.0.location)?.unwrap_or_default();
        let backlog = Backlog::of(&self.0.location, &ledger)?;
        let bytes = backlog.bytes();
        let url = ArchiveUrl::parse(&self.0.settings.archive.url)?;
        let elsewhere = backlog.elsewhere(&ledger, &url).into_iter().collect();
        let segments = backlog.pending.into_iter().map(|backup| backup.path).collect();
        Ok(ArchivePlan { segments, bytes, elsewhere })
    }

    /// Sends every segment that is in its final form and that no other process is sending, and
    /// returns its counters.
    ///
    /// `go_on` is called many times a second. If it returns `false`, the requests under way are
    /// abandoned, and the call returns.
    ///
    /// # Errors
    /// The first failure to reach the store, or to read or send a segment. The rest is sent first,
    /// unless the store seems to be at fault: four segments fail in a row. The next call begins
    /// with the oldest segment again. A conflict is an event and is counted.
    pub fn run(&self, go_on: &dyn Fn() -> bool) -> Result<Stats> {
        let client: Arc<dyn ArchiveClient> = Arc::<ByHand>::clone(&self.0);
        let go_on = || {
            self.0.journal.tell();
            go_on()
        };
        let rounds = Rounds::new(Arc::clone(&client));
        let archived = || client.journal().counters.archive(|stats| stats.archived);
        let done = block_on(run_all(rounds, archived), &go_on);
        self.0.journal.tell();
        let path = self.0.location.path();
        let done = done.map_err(|error| Error::io("start a runtime to archive", path, error))?;
        done.transpose()?;
        Ok(self.0.journal.counters.snapshot(0))
    }
}

/// Makes rounds until no more can be sent, at the rate. `archived` counts the segments that were.
async fn run_all(mut rounds: Rounds, archived: impl Fn() -> u64) -> Result<()> {
    let mut failure = None;
    let mut at_failure = None;
    loop {
        let outcome = match rounds.run().await {
            Ok(outcome) => outcome,
            // Those that failed have a delay now, and others their turn.
            Err(error) if rounds.has_failures() && at_failure != Some(archived()) => {
                at_failure = Some(archived());
                failure.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(failure.unwrap_or(error)),
        };
        failure = failure.or(outcome.error);
        match outcome.pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return failure.map_or(Ok(()), Err),
        }
    }
}

impl std::fmt::Debug for Archiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archiver").field("path", &self.0.location.path()).finish_non_exhaustive()
    }
}

impl ArchiveClient for ByHand {
    fn location(&self) -> Arc<Location> {
        Arc::clone(&self.location)
    }

    fn settings(&self) -> ArchiveSettings {
        self.settings.clone()
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn archived(&self) {}
}
