//! The thread of an archive.

use super::pace::RetryDelay;
use super::round::Rounds;
use super::settings::Archive;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::fs;
use crate::ledger::{LedgerFile, Trouble};
use crate::segment::Location;
use crate::stats::{Event, Journal};
use futures_util::future::{Either, select};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;

/// A log, as its archive sees it.
pub(crate) trait ArchiveClient: Send + Sync {
    fn location(&self) -> Arc<Location>;

    /// The settings as they are now.
    fn settings(&self) -> ArchiveSettings;

    fn journal(&self) -> &Journal;

    /// Called after segments were archived, which maintenance may now remove.
    fn archived(&self);
}

/// The settings of a log that concern its archive.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveSettings {
    pub(crate) archive: Archive,
    /// Whether backups are compressed.
    pub(crate) compresses: bool,
    /// The permissions of the log's files.
    pub(crate) mode: Option<u32>,
}

/// The thread that sends a log's segments. Dropping it ends the thread, whatever the network does.
pub(crate) struct Uploader {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// How often the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long nothing is looked for in a directory that did not change.
const REST: Duration = Duration::from_secs(60);

impl Uploader {
    pub(crate) fn start(client: Arc<dyn ArchiveClient>) -> io::Result<Self> {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let runtime = runtime()?;
        let work = move || {
            fs::lower_priority();
            runtime.block_on(async {
                select(pin!(stopped.notified()), pin!(serve(client))).await;
            });
            // A request for an address may be under way, and is not waited for.
            runtime.shutdown_background();
        };
        let thread =
            fs::without_signals(|| Builder::new().name("logrotor-archive".to_owned()).spawn(work))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Leaves the thread alone, in a process that has not got it.
    pub(crate) fn forget(mut self) {
        std::mem::forget(self.thread.take());
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // An observer that closes the log is on this thread. It has no panic to pass on.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // For files and addresses.
        .max_blocking_threads(4)
        .build()
}

/// Runs a future on this thread, until it ends or `go_on` returns `false`; `None` in that case.
pub(super) fn block_on<T>(
    work: impl Future<Output = T>,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Option<T>> {
    const LOOK: Duration = Duration::from_millis(50);
    let runtime = runtime()?;
    let stopped = async {
        while go_on() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let done = runtime.block_on(async {
        match select(pin!(work), pin!(stopped)).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    });
    runtime.shutdown_background();
    Ok(done)
}

/// Makes a round whenever there may be something to send.
async fn serve(client: Arc<dyn ArchiveClient>) {
    let mut rounds = Rounds::new(Arc::clone(&client));
    let mut backoff = RetryDelay::default();
    let mut reported = None;
    loop {
        let seen = changed(&client.location());
        match rounds.run().await {
            Ok(outcome) => {
                backoff.succeeded();
                reported = None;
                rest(&*client, seen, outcome.waiting > 0).await;
            }
            // The ledger is in use. Another worker is archiving, or was stopped.
            Err(error) if error.kind() == ErrorKind::LockTimeout => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => {
                report(&*client, &error, &mut reported);
                // So that the next attempt takes the credentials of then.
                rounds.close_store();
                tokio::time::sleep(backoff.failed()).await;
            }
        }
    }
}

/// Waits until there may be something to send.
async fn rest(client: &dyn ArchiveClient, seen: Option<SystemTime>, is_waiting: bool) {
    let mut rested = Duration::ZERO;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        rested += LOOK_EVERY;
        if is_waiting || rested >= REST || changed(&client.location()) != seen {
            return;
        }
    }
}

/// The last change of a log's directory; `None` if it cannot be looked at.
fn changed(location: &Location) -> Option<SystemTime> {
    Some(fs::stat(location.dir()).ok()??.modified)
}

/// Counts a failure. The first one of its kind is also sent to the observer and kept in the ledger,
/// until a success.
fn report(client: &dyn ArchiveClient, error: &Error, reported: &mut Option<ErrorKind>) {
    let journal = client.journal();
    journal.counters.failed(error);
    journal.counters.archive(|stats| stats.last_error = Some(error.clone()));
    if reported.replace(error.kind()) == Some(error.kind()) {
        return;
    }
    journal.note(Event::Failed { error: error.clone() });
    journal.tell();
    let (location, mode) = (client.location(), client.settings().mode);
    let trouble = Trouble { at: Clock::system().now(), message: error.to_string() };
    // The ledger may be what failed.
    let _ =
        LedgerFile { location: &location, mode }.change(|ledger| ledger.trouble = Some(trouble));
}
