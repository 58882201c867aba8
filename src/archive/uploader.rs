//! The thread of an archive.

use super::pace::{Attempts, RetryDelay};
use super::round::{RoundOutcome, Rounds};
use super::settings::Archive;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::fs;
use crate::ledger::{LedgerFile, Trouble};
use crate::segment::Location;
use crate::stats::{Event, Journal};
use crate::store::runtime;
use futures_util::future::{Either, FutureExt, select};
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// How long the ledger may be in use before that is reported.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

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
    let mut backoff = RetryDelay::up_to(Attempts::LONGEST);
    let mut waiting = RetryDelay::up_to(REST);
    let mut reported = None;
    loop {
        let (seen, settings) = (changed(&client.location()), client.settings());
        // A panic ends the round, not the archive.
        let round = AssertUnwindSafe(rounds.run()).catch_unwind().await;
        let round = round.unwrap_or_else(|_| {
            rounds = Rounds::new(Arc::clone(&client));
            Err(panicked(&client.location()))
        });
        match round {
            Ok(outcome) => {
                if outcome.is_clean() {
                    reported = None;
                }
                if outcome.is_clean() || outcome.has_verified {
                    backoff.succeeded();
                }
                if let Some(error) = &outcome.error {
                    report(&*client, error, &mut reported);
                }
                let longest = next_round(&outcome, &mut waiting);
                let is_due = || changed(&client.location()) != seen;
                if rest(&*client, &settings, longest, is_due).await {
                    waiting.succeeded();
                }
            }
            Err(error) => {
                if is_worth_a_report(error.kind(), backoff.total()) {
                    report(&*client, &error, &mut reported);
                }
                rest(&*client, &settings, backoff.failed(), || false).await;
            }
        }
    }
}

fn panicked(location: &Location) -> Error {
    Error::io("archive", location.path(), io::Error::other("the archive's thread panicked"))
}

/// Whether a failure that has lasted for some time is reported. A ledger in use is none at first:
/// another worker is archiving, or was stopped.
fn is_worth_a_report(kind: ErrorKind, lasted: Duration) -> bool {
    kind != ErrorKind::LockTimeout || lasted >= LOCK_PATIENCE
}

/// How long until the next round, unless something changes. The first segment that waits for
/// another process makes it a second, which grows.
fn next_round(outcome: &RoundOutcome, waiting: &mut RetryDelay) -> Duration {
    let longest = if outcome.waiting > 0 {
        waiting.failed()
    } else {
        waiting.succeeded();
        REST
    };
    [outcome.retry, outcome.pause].into_iter().flatten().fold(longest, Duration::min)
}

/// Waits for at most `longest`, until the settings change or a round is due. Returns whether one
/// of these happened.
async fn rest(
    client: &dyn ArchiveClient,
    settings: &ArchiveSettings,
    longest: Duration,
    is_due: impl Fn() -> bool,
) -> bool {
    let mut left = longest;
    while !left.is_zero() {
        let next = left.min(LOOK_EVERY);
        tokio::time::sleep(next).await;
        left -= next;
        if is_due() || client.settings() != *settings {
            return true;
        }
    }
    false
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_for_another_process_grows_to_the_rest_period() {
        let mut waiting = RetryDelay::up_to(REST);
        let mut busy = RoundOutcome { waiting: 1, ..RoundOutcome::default() };
        let delays: Vec<_> = (0..8).map(|_| next_round(&busy, &mut waiting)).collect();
        assert!(delays[0] <= LOOK_EVERY);
        assert!(delays[7] > REST / 2 && delays[7] <= REST);
        busy.retry = Some(Duration::from_secs(9));
        assert_eq!(next_round(&busy, &mut waiting), Duration::from_secs(9));
        busy.pause = Some(Duration::from_secs(5));
        assert_eq!(next_round(&busy, &mut waiting), Duration::from_secs(5));
        assert_eq!(next_round(&RoundOutcome::default(), &mut waiting), REST);
        assert!(next_round(&RoundOutcome { waiting: 1, ..busy }, &mut waiting) <= LOOK_EVERY);
    }

    #[test]
    fn ledger_in_use_is_reported_after_half_a_minute() {
        let mut backoff = RetryDelay::up_to(Attempts::LONGEST);
        let mut is_reported = || {
            let is_reported = is_worth_a_report(ErrorKind::LockTimeout, backoff.total());
            backoff.failed();
            is_reported
        };
        assert!((0..5).all(|_| !is_reported()));
        is_reported();
        assert!(is_reported());
        assert!(is_worth_a_report(ErrorKind::ArchiveDenied, Duration::ZERO));
    }
}
