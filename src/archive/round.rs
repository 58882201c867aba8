//! One round: sends every segment that can be sent, some at a time.

use super::batch::{Backlog, Parcel};
use super::delivery::{conflict, deliver_one};
use super::notes::{RoundNotes, ShipOutcome, Shipped};
use super::pace::{Attempts, Pace, SendWindow};
use super::settings::{Archive, Verification};
use super::{ArchiveClient, ArchiveSettings};
use crate::clock::Stopwatch;
use crate::error::{Error, Result};
use crate::fs;
use crate::ledger::{Ledger, LedgerFile, OriginRecord};
use crate::segment::name::Compression;
use crate::segment::{Backup, Location};
use crate::stats::Event;
use crate::store::{ArchiveStore, Created, on_joined_thread};
use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// A round takes no more segments after this time, so that the next one looks at everything again.
const LONGEST: Duration = Duration::from_secs(60);

/// The longest wait for the rate within a round.
const MOMENT: Duration = Duration::from_secs(1);

/// The most requests at a time.
const MAX_REQUESTS: usize = 16;

/// After so many failures in a row, of as many segments, the store is at fault.
const STORE_FAILS: usize = 2;

/// Sends the segments of one log.
pub(super) struct Rounds {
    pub(super) client: Arc<dyn ArchiveClient>,
    store: Option<(Archive, Arc<ArchiveStore>)>,
    /// The origin that was compared with the store.
    pub(super) confirmed: Option<OriginRecord>,
    attempts: Attempts,
    pace: Pace,
}

/// The end of a round in which the store did not fail.
#[derive(Debug, Default)]
pub(super) struct RoundOutcome {
    /// Segments that another worker is sending, or that a process may still write to. That changes
    /// without a change of the directory.
    pub(super) waiting: usize,
    /// Whether a segment was verified.
    pub(super) has_verified: bool,
    /// The first failure to read or to send a segment. It concerns that segment alone.
    pub(super) error: Option<Error>,
    /// When a segment that failed, now or before, may be tried again.
    pub(super) retry: Option<Duration>,
    /// When the rest may be sent, if there is more.
    pub(super) pause: Option<Duration>,
}

/// The segments that a round has not looked at yet, and how it went with the others.
struct Remainder<'a> {
    pending: &'a [Backup],
    outcome: RoundOutcome,
    since: Stopwatch,
    /// The failures to send a segment since the last success.
    failed: Vec<Error>,
    /// A failure of the ledger or the store. The segments that are on their way are the last ones.
    stopped: Option<Error>,
}

impl RoundOutcome {
    /// Whether nothing has failed, and no segment that failed before was left alone.
    pub(super) fn is_clean(&self) -> bool {
        self.error.is_none() && self.retry.is_none()
    }

    /// Notes that a segment is left alone for some time.
    fn hold(&mut self, wait: Duration) {
        if wait < Duration::MAX {
            self.retry = Some(self.retry.map_or(wait, |retry| retry.min(wait)));
        }
    }

    fn fail(&mut self, error: Error, wait: Duration) {
        self.error.get_or_insert(error);
        self.hold(wait);
    }
}

impl Rounds {
    pub(super) fn new(client: Arc<dyn ArchiveClient>) -> Self {
        let (attempts, pace) = (Attempts::new(), Pace::new());
        Self { client, store: None, confirmed: None, attempts, pace }
    }

    /// Whether segments failed that may be sent later.
    pub(super) fn has_failures(&self) -> bool {
        self.attempts.has_failures()
    }

    /// Sends what can be sent. The future can be dropped at any time.
    ///
    /// # Errors
    /// A failure of the store, the ledger or the directory. Everything is tried again in the next
    /// round.
    pub(super) async fn run(&mut self) -> Result<RoundOutcome> {
        let (location, settings) = (self.client.location(), self.client.settings());
        let ledger = Ledger::read(&location)?.unwrap_or_default();
        let mut backlog = Backlog::of(&location, &ledger)?;
        self.note_backlog(&backlog);
        let name_of = |backup: &Backup| location.file_name(backup.name);
        self.attempts.arrange(&mut backlog.pending, name_of);
        let backlog = Arc::new(backlog);
        let mut rest = Remainder {
            pending: &backlog.pending,
            outcome: RoundOutcome::default(),
            since: Stopwatch::start(),
            failed: Vec::new(),
            stopped: None,
        };
        let file = LedgerFile { location: &location, mode: settings.mode };
        let mut notes = RoundNotes::new(file, Arc::clone(&backlog));
        let sent = self.send(&settings, &mut notes, &mut rest).await;
        self.end(sent, rest, &notes.file)
    }

    /// Decides how a round ended: the store failed, or segments did, or all is well.
    fn end(
        &mut self,
        sent: Result<()>,
        mut rest: Remainder<'_>,
        file: &LedgerFile<'_>,
    ) -> Result<RoundOutcome> {
        if sent.is_err() || !rest.failed.is_empty() {
            // So that the next attempt takes the credentials of then.
            self.store = None;
        }
        sent?;
        if rest.failed.len() >= STORE_FAILS {
            return Err(rest.failed.swap_remove(0));
        }
        if rest.outcome.is_clean() && rest.outcome.has_verified {
            self.client.journal().counters.archive(|stats| stats.last_error = None);
            if Ledger::read(file.location)?.is_some_and(|ledger| ledger.trouble.is_some()) {
                file.change(|ledger| ledger.trouble = None)?;
            }
        }
        Ok(rest.outcome)
    }

    /// Sends the rest, several segments at a time. While some are on their way, the next ones are
    /// read, and the ledger gets them together with those that are done.
    async fn send(
        &mut self,
        settings: &ArchiveSettings,
        notes: &mut RoundNotes<'_>,
        rest: &mut Remainder<'_>,
    ) -> Result<()> {
        let (mut ready, mut under_way) = (VecDeque::new(), FuturesUnordered::new());
        let mut window = SendWindow::new(settings.archive.max_rate.is_some());
        let mut shipped: Vec<Shipped> = Vec::new();
        loop {
            let next = self.advance(settings, notes, rest, window, &mut shipped);
            let (next, meanwhile): (_, Vec<Shipped>) = beside(next, &mut under_way).await;
            let mut is_ahead = !meanwhile.is_empty();
            shipped.extend(meanwhile.into_iter().map(|one| self.judge(one, rest, &mut window)));
            match next {
                Ok(None) if is_ahead || !under_way.is_empty() => {}
                Ok(None) => return rest.stopped.take().map_or(Ok(()), Err),
                Ok(Some((store, parcels))) => {
                    is_ahead |= !parcels.is_empty();
                    for (parcel, object) in parcels {
                        window.enter(parcel.bytes);
                        ready.push_back(self.deliver(&store, parcel, object));
                    }
                }
                Err(error) => {
                    let first = rest.stopped.take().unwrap_or(error);
                    if under_way.is_empty() && ready.is_empty() && !is_ahead {
                        return Err(first);
                    }
                    rest.stopped = Some(first);
                }
            }
            loop {
                if rest.failed.len() >= STORE_FAILS {
                    // Their intents are free once the round ends.
                    ready.clear();
                }
                let free = MAX_REQUESTS.saturating_sub(under_way.len()).min(ready.len());
                under_way.extend(ready.drain(..free));
                if is_ahead && rest.takes_more() && window.has_room() {
                    break;
                }
                let Some(one) = under_way.next().await else { break };
                is_ahead = true;
                shipped.push(self.judge(one, rest, &mut window));
            }
        }
    }

    /// Notes the segments that are done, and reads and notes the next ones, to be sent to this
    /// store; `None` if there are neither.
    async fn advance(
        &mut self,
        settings: &ArchiveSettings,
        notes: &mut RoundNotes<'_>,
        rest: &mut Remainder<'_>,
        window: SendWindow,
        shipped: &mut Vec<Shipped>,
    ) -> Result<Option<(Arc<ArchiveStore>, Vec<(Parcel, String)>)>> {
        let mut parcels = Vec::new();
        if self.goes_on(settings, rest).await {
            parcels = self.load(settings, notes, rest, window).await?;
        }
        if parcels.is_empty() && shipped.is_empty() {
            return Ok(None);
        }
        let store = self.open_store(&settings.archive)?;
        let taken = parcels.len();
        let parcels = self.note(settings, notes, &store, shipped, parcels).await?;
        rest.outcome.waiting += taken - parcels.len();
        rest.outcome.waiting += shipped.iter().filter(|it| it.is_of_another()).count();
        self.report(shipped);
        shipped.clear();
        Ok(Some((store, parcels)))
    }

    /// Whether the round takes more segments now. It ends if the settings have changed, so that
    /// they apply to the next segment.
    async fn goes_on(&self, settings: &ArchiveSettings, rest: &mut Remainder<'_>) -> bool {
        if !rest.takes_more() {
            return false;
        }
        let is_over = rest.since.elapsed() > LONGEST || self.client.settings() != *settings;
        let wait = match is_over {
            true => Duration::ZERO,
            false => self.pace.wait(settings.archive.max_rate),
        };
        rest.outcome.pause = (is_over || wait > MOMENT).then_some(wait);
        if rest.outcome.pause.is_none() && !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        rest.outcome.pause.is_none()
    }

    /// Reads some of the next segments, on a thread for that: those that are on their way do not
    /// wait for it.
    async fn load(
        &mut self,
        settings: &ArchiveSettings,
        notes: &RoundNotes<'_>,
        rest: &mut Remainder<'_>,
        window: SendWindow,
    ) -> Result<Vec<Parcel>> {
        let (location, mut parcels) = (notes.file.location, Vec::new());
        let ledger = Arc::new(Ledger::read(location)?.unwrap_or_default());
        // A process may still write to the first ones.
        while parcels.is_empty() {
            let chosen = self.choose(settings, location, &ledger, rest, window);
            if chosen.is_empty() {
                break;
            }
            let (backlog, ledger) = (Arc::clone(&notes.backlog), Arc::clone(&ledger));
            let take = move |backup: Backup| (backlog.take(&backup, &ledger), backup);
            let read =
                on_joined_thread(move || chosen.into_iter().map(take).collect::<Vec<_>>()).await;
            let action = "read the segments of";
            for (taken, backup) in read.map_err(|e| Error::io(action, location.path(), e))? {
                match taken {
                    Ok(Some(parcel)) => parcels.push(parcel),
                    Ok(None) => rest.outcome.waiting += 1,
                    Err(error) => {
                        let wait = self.attempts.failed(&location.file_name(backup.name));
                        rest.outcome.fail(error, wait);
                    }
                }
            }
        }
        Ok(parcels)
    }

    /// Takes the next segments that may be tried now, as many as there is room for.
    fn choose(
        &self,
        settings: &ArchiveSettings,
        location: &Location,
        ledger: &Ledger,
        rest: &mut Remainder<'_>,
        mut window: SendWindow,
    ) -> Vec<Backup> {
        let mut chosen = Vec::new();
        while let Some((backup, others)) = rest.pending.split_first() {
            let bytes = backup.entry.len;
            // The first ones are sent while the others are read.
            if !window.fits(bytes) || !(chosen.is_empty() || bytes <= SendWindow::SMALL_ONE) {
                break;
            }
            rest.pending = others;
            let name = location.file_name(backup.name);
            let is_plain = backup.name.compression == Compression::None;
            // It is not final, unless its intent is noted. Its compression changes the directory.
            if is_plain && settings.compresses && !ledger.shipments.contains_key(&name) {
                continue;
            }
            let wait = self.attempts.wait_for(&name);
            if wait.is_zero() {
                window.enter(bytes);
                chosen.push(backup.clone());
            } else {
                rest.outcome.hold(wait);
            }
        }
        chosen
    }

    /// Notes how a segment fared, for its next attempt and for the round.
    fn judge(
        &mut self,
        one: Shipped,
        rest: &mut Remainder<'_>,
        window: &mut SendWindow,
    ) -> Shipped {
        window.leave(one.parcel.bytes);
        let name = &one.parcel.file_name;
        match &one.outcome {
            Ok(outcome) => {
                rest.failed.clear();
                match outcome {
                    ShipOutcome::Verified | ShipOutcome::Conflict(Created::Exists) => {
                        self.attempts.succeeded(name);
                    }
                    ShipOutcome::Conflict(_) => self.attempts.give_up(name),
                }
                rest.outcome.has_verified |= matches!(outcome, ShipOutcome::Verified);
            }
            Err(error) => {
                rest.failed.push(error.clone());
                rest.outcome.fail(error.clone(), self.attempts.failed(name));
            }
        }
        one
    }

    /// Notes the segments that are done, and the intents of the next ones. Returns those that no
    /// other worker is sending.
    async fn note(
        &mut self,
        settings: &ArchiveSettings,
        notes: &mut RoundNotes<'_>,
        store: &ArchiveStore,
        shipped: &[Shipped],
        parcels: Vec<Parcel>,
    ) -> Result<Vec<(Parcel, String)>> {
        let mut shipped = shipped;
        // The next segments have the log's new origin, once it was compared with the store.
        if parcels.is_empty() || shipped.iter().any(Shipped::is_of_another) {
            notes.note_shipped(shipped, &store.url)?;
            shipped = &[];
        }
        if parcels.is_empty() {
            return Ok(Vec::new());
        }
        let archive = &settings.archive;
        let to = (&*archive.url, &store.url);
        let mut parcels = parcels;
        if let Some(origin) = self.confirmed_here(&notes.file, archive)? {
            match notes.note_next(shipped, &origin, parcels, to)? {
                Ok(sent) => return Ok(sent),
                Err(back) => parcels = back,
            }
            shipped = &[];
        }
        let origin = self.confirm_origin(&notes.file, store, archive).await?;
        // If another worker gives the log a new origin just now, that is for the next round.
        Ok(notes.note_next(shipped, &origin, parcels, to)?.unwrap_or_default())
    }

    /// Creates and verifies an object.
    fn deliver(
        &mut self,
        store: &Arc<ArchiveStore>,
        mut parcel: Parcel,
        object: String,
    ) -> impl Future<Output = Shipped> + use<> {
        // Until the intent was noted, it kept maintenance from changing the form of the file.
        // A failure leaves it with this worker a little longer.
        let _ = fs::end_lease(&parcel.file, &parcel.path);
        self.pace.sends(parcel.bytes);
        let ignores = self.client.journal().counters.archive(|stats| stats.ignores_conditions);
        let store = Arc::clone(store);
        async move {
            let outcome = deliver_one(&store, &parcel, &object, ignores).await;
            // At most two large segments are in memory.
            parcel.body = Bytes::new();
            Shipped { parcel, object, outcome }
        }
    }

    fn note_backlog(&self, backlog: &Backlog) {
        self.client.journal().counters.archive(|stats| {
            stats.backlog = backlog.pending.len() as u64;
            stats.backlog_bytes = backlog.bytes();
            stats.oldest = backlog.pending.first().map(|backup| backup.rotated_at().into());
        });
    }

    fn open_store(&mut self, settings: &Archive) -> Result<Arc<ArchiveStore>> {
        if let Some((_, store)) = self.store.as_ref().filter(|(of, _)| of == settings) {
            return Ok(Arc::clone(store));
        }
        let checks = match settings.verify {
            Verification::Auto => None,
            Verification::Checksum => Some(true),
            Verification::Read => Some(false),
        };
        let store = Arc::new(ArchiveStore::open(&settings.url, checks)?);
        self.store = Some((settings.clone(), Arc::clone(&store)));
        self.confirmed = None;
        Ok(store)
    }

    /// Counts and reports what is done.
    fn report(&self, shipped: &[Shipped]) {
        let journal = self.client.journal();
        let mut any_verified = false;
        for Shipped { parcel, object, outcome } in shipped {
            let (path, bytes) = (parcel.path.clone(), parcel.bytes);
            match outcome {
                Ok(ShipOutcome::Verified) => {
                    any_verified = true;
                    journal.counters.archive(|stats| {
                        stats.archived += 1;
                        stats.archived_bytes += bytes;
                        stats.backlog = stats.backlog.saturating_sub(1);
                        stats.backlog_bytes = stats.backlog_bytes.saturating_sub(bytes);
                    });
                    journal.note(Event::Archived { path, object: object.clone(), bytes });
                }
                Ok(ShipOutcome::Conflict(created)) => {
                    journal.counters.archive(|stats| stats.conflicts += 1);
                    journal.failed(conflict(*created, object, &path));
                }
                Err(_) => {}
            }
        }
        journal.tell();
        if any_verified {
            self.client.archived();
        }
    }
}

/// Waits for work while others go on. Returns its result, and those that were done meanwhile.
async fn beside<T, U>(
    work: impl Future<Output = T>,
    others: &mut FuturesUnordered<impl Future<Output = U>>,
) -> (T, Vec<U>) {
    let (mut work, mut done) = (pin!(work), Vec::new());
    while !others.is_empty() {
        match select(work.as_mut(), others.next()).await {
            Either::Left((result, _)) => return (result, done),
            Either::Right((other, _)) => done.extend(other),
        }
    }
    (work.await, done)
}

impl Remainder<'_> {
    /// Whether the round may take more segments.
    fn takes_more(&self) -> bool {
        !self.pending.is_empty() && self.stopped.is_none() && self.failed.len() < STORE_FAILS
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::archive::origin::LogPlace;
    use crate::archive::settings::MAX_SEGMENT;
    use crate::archive::uploader::{Uploader, block_on};
    use crate::error::ErrorKind;
    use crate::ledger::Trouble;
    use crate::stats::{ArchiveStats, Journal};
    use parking_lot::Mutex;
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::mpsc;
    use std::time::SystemTime;

    /// Far more than a test takes.
    const MINUTE: Duration = Duration::from_secs(60);

    type OnceArchived = Box<dyn FnOnce(&StillLog) + Send>;

    /// A log without a writer, and two directories as stores.
    struct StillLog {
        dir: tempfile::TempDir,
        location: Arc<Location>,
        settings: Mutex<ArchiveSettings>,
        journal: Journal,
        /// Called once, when segments were archived.
        on_archived: Mutex<Option<OnceArchived>>,
    }

    impl StillLog {
        /// With so many backups, sent one at a time.
        fn new(backups: usize) -> Arc<Self> {
            let dir = tempfile::tempdir().unwrap();
            for name in ["log", "first", "second"] {
                std::fs::create_dir(dir.path().join(name)).unwrap();
            }
            let location = Arc::new(Location::find(&dir.path().join("log/app.log")).unwrap());
            let archive = Archive::to("").host("web-7").max_rate(u64::MAX);
            let settings = Mutex::new(ArchiveSettings { archive, compresses: false, mode: None });
            let (journal, on_archived) = (Journal::new(None), Mutex::default());
            let log = Self { dir, location, settings, journal, on_archived };
            log.archive_to("first");
            for number in 0..backups {
                log.add(&format!("{number}Z.gz"));
            }
            Arc::new(log)
        }

        /// Adds a backup that no process writes any more.
        fn add(&self, end: &str) -> PathBuf {
            let path = self.dir.path().join("log").join(name(end));
            std::fs::write(&path, "a record\n".repeat(100)).unwrap();
            let long_ago = SystemTime::now() - MINUTE;
            File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
            path
        }

        fn once_archived(&self, run: impl FnOnce(&Self) + Send + 'static) {
            *self.on_archived.lock() = Some(Box::new(run));
        }

        fn archive_to(&self, store: &str) {
            let url = format!("file://{}", self.dir.path().join(store).display());
            self.settings.lock().archive.url = url;
        }

        /// Makes the store refuse a backup's object: there is a directory. Returns that.
        fn block(&self, end: &str) -> PathBuf {
            let place = LogPlace::of(self.location.dir(), Some("web-7")).unwrap();
            let origin = self.change(move |ledger| {
                ledger.origin.get_or_insert_with(|| place.origin()).name.clone()
            });
            let path = self.dir.path().join("first/app.log").join(origin).join(name(end));
            std::fs::create_dir_all(&path).unwrap();
            path
        }

        fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
            LedgerFile { location: &self.location, mode: None }.change(change).unwrap()
        }

        fn client(self: &Arc<Self>) -> Arc<dyn ArchiveClient> {
            Arc::<Self>::clone(self)
        }

        fn rounds(self: &Arc<Self>) -> Rounds {
            Rounds::new(self.client())
        }

        fn stats(&self) -> ArchiveStats {
            self.journal.counters.archive(|stats| stats.clone())
        }
    }

    impl ArchiveClient for StillLog {
        fn location(&self) -> Arc<Location> {
            Arc::clone(&self.location)
        }

        fn settings(&self) -> ArchiveSettings {
            self.settings.lock().clone()
        }

        fn journal(&self) -> &Journal {
            &self.journal
        }

        fn archived(&self) {
            let run = self.on_archived.lock().take();
            if let Some(run) = run {
                run(self);
            }
        }
    }

    fn name(end: &str) -> String {
        format!("app.log.2026-01-01T00-00-00.00000{end}")
    }

    fn run(rounds: &mut Rounds) -> Result<RoundOutcome> {
        block_on(rounds.run(), &|| true).unwrap().unwrap()
    }

    #[test]
    fn two_segments_that_fail_do_not_hold_up_the_others() {
        let log = StillLog::new(5);
        log.block("0Z.gz");
        log.block("1Z.gz");
        let mut rounds = log.rounds();
        assert_eq!(run(&mut rounds).unwrap_err().kind(), ErrorKind::ArchiveUnreachable);
        assert_eq!(log.stats().archived, 0, "the store may be at fault");
        // On a slow machine it is time for those two again, after the others.
        let _ = run(&mut rounds);
        assert_eq!(log.stats().archived, 3);
    }

    #[test]
    fn failure_of_one_segment_is_kept_until_that_is_archived() {
        let log = StillLog::new(3);
        let blocked = log.block("0Z.gz");
        let error = Error::config("a", 0, "b");
        log.journal.counters.archive(|stats| stats.last_error = Some(error));
        let trouble = Trouble { at: crate::clock::Timestamp::MIN, message: "no".to_owned() };
        log.change(|ledger| ledger.trouble = Some(trouble));
        let outcome = run(&mut log.rounds()).unwrap();
        assert_eq!(outcome.error.unwrap().kind(), ErrorKind::ArchiveUnreachable);
        assert!(outcome.retry.is_some() && log.stats().last_error.is_some());
        assert!(log.change(|ledger| ledger.trouble.is_some()), "others were archived since");
        assert_eq!(log.stats().archived, 2);
        std::fs::remove_dir(blocked).unwrap();
        assert!(run(&mut log.rounds()).unwrap().is_clean());
        assert!(log.change(|ledger| ledger.trouble.is_none()));
        assert_eq!((log.stats().archived, log.stats().last_error.is_none()), (3, true));
    }

    #[test]
    fn unreadable_segment_is_the_failure_of_that_one_alone() {
        let log = StillLog::new(3);
        let path = log.add("0Z.gz");
        File::options().write(true).open(&path).unwrap().set_len(MAX_SEGMENT + 1).unwrap();
        let long_ago = SystemTime::now() - MINUTE;
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let mut rounds = log.rounds();
        let outcome = run(&mut rounds).unwrap();
        assert_eq!(outcome.error.unwrap().kind(), ErrorKind::ArchiveUnsupported);
        assert!(outcome.has_verified && rounds.store.is_some());
        assert_eq!(log.stats().archived, 2);
    }

    #[test]
    fn another_rate_holds_for_the_segment_that_waits() {
        let log = StillLog::new(2);
        log.settings.lock().archive.max_rate = Some(1);
        let mut rounds = log.rounds();
        assert!(run(&mut rounds).unwrap().pause.is_some());
        assert_eq!(log.stats().archived, 1);
        log.settings.lock().archive.max_rate = None;
        assert_eq!(run(&mut rounds).unwrap().pause, None);
        assert_eq!(log.stats().archived, 2);
    }

    #[test]
    fn another_rate_ends_a_wait_of_the_thread() {
        let log = StillLog::new(2);
        log.settings.lock().archive.max_rate = Some(1);
        let (sender, receiver) = mpsc::channel();
        log.once_archived(move |log| {
            let next = sender.clone();
            log.once_archived(move |_| next.send(()).unwrap());
            sender.send(()).unwrap();
        });
        let _uploader = Uploader::start(log.client()).unwrap();
        receiver.recv_timeout(MINUTE).unwrap();
        log.settings.lock().archive.max_rate = None;
        receiver.recv_timeout(MINUTE).unwrap();
        assert_eq!(log.stats().archived, 2);
    }

    #[test]
    fn panic_is_reported_and_archiving_continues() {
        let log = StillLog::new(1);
        let (sender, receiver) = mpsc::channel();
        log.once_archived(move |log| {
            log.once_archived(move |_| sender.send(()).unwrap());
            log.add("7Z.gz");
            panic!("wanted");
        });
        let _uploader = Uploader::start(log.client()).unwrap();
        receiver.recv_timeout(MINUTE).unwrap();
        assert_eq!(log.stats().archived, 2);
        assert_eq!(log.journal.counters.snapshot(0).failures(ErrorKind::Io), 1);
    }

    #[test]
    fn another_archive_gets_the_next_segment() {
        let log = StillLog::new(4);
        log.once_archived(|log| log.archive_to("second"));
        let mut rounds = log.rounds();
        assert_eq!(run(&mut rounds).unwrap().pause, Some(Duration::ZERO));
        assert_eq!(log.stats().archived, 2, "one was on its way");
        assert_eq!(run(&mut rounds).unwrap().pause, None);
        let origin = std::fs::read_dir(log.dir.path().join("second/app.log")).unwrap().next();
        let objects = std::fs::read_dir(origin.unwrap().unwrap().path()).unwrap();
        assert_eq!(objects.count(), 3, "two segments, and whose they are");
    }

    #[test]
    fn segment_that_is_to_be_compressed_is_not_waited_for() {
        let log = StillLog::new(1);
        log.settings.lock().compresses = true;
        log.add("5Z");
        let outcome = run(&mut log.rounds()).unwrap();
        assert_eq!((outcome.waiting, log.stats().archived), (0, 1));
        assert!(outcome.is_clean());
    }

    #[test]
    fn store_that_heeds_conditions_again_is_used_so() {
        let log = StillLog::new(0);
        let rounds = log.rounds();
        for ignores in [true, false, true] {
            rounds.note_conditions(&log.location, ignores);
            assert_eq!(log.stats().ignores_conditions, ignores);
        }
        let kind = ErrorKind::ArchiveUnconditional;
        assert_eq!(log.journal.counters.snapshot(0).failures(kind), 2);
    }
}
