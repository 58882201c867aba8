//! One round: sends every segment that can be sent, some at a time.

use super::batch::{Backlog, Parcel};
use super::notes::{RoundNotes, ShipOutcome, Shipped, log_name};
use super::origin::{LogPlace, renewed};
use super::pace::{Pace, SendWindow};
use super::settings::{Archive, Verification};
use super::{ArchiveClient, ArchiveSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::ledger::{Ledger, LedgerFile, OriginRecord};
use crate::segment::archived::ORIGIN_FILE;
use crate::segment::name::Compression;
use crate::segment::{Backup, Location};
use crate::stats::Event;
use crate::store::{ArchiveStore, Created, ObjectState, Wanted, hex};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Sends the segments of one log.
pub(super) struct Rounds {
    client: Arc<dyn ArchiveClient>,
    store: Option<(Archive, Arc<ArchiveStore>)>,
    /// The origin that was compared with the store.
    confirmed: Option<OriginRecord>,
    /// The segments whose objects turned out to be others. They are not tried again.
    conflicts: BTreeSet<String>,
    pace: Pace,
}

/// The segments that a round has left.
#[derive(Debug, Default)]
pub(super) struct RoundOutcome {
    /// Segments that are not in their final form yet, or that another worker is sending.
    pub(super) waiting: usize,
    /// Segments that cannot be archived.
    pub(super) conflicts: usize,
}

/// The segments that a round has not looked at yet, oldest first, and those that it has left.
struct Remainder<'a> {
    pending: &'a [Backup],
    outcome: RoundOutcome,
    /// The first one that cannot be read. It must not hold up the others.
    unreadable: Option<Error>,
}

impl Rounds {
    pub(super) fn new(client: Arc<dyn ArchiveClient>) -> Self {
        let (conflicts, pace) = (BTreeSet::new(), Pace::new());
        Self { client, store: None, confirmed: None, conflicts, pace }
    }

    /// Sends what can be sent. The future can be dropped at any time.
    ///
    /// # Errors
    /// The first failure. Everything is tried again in the next round.
    pub(super) async fn run(&mut self) -> Result<RoundOutcome> {
        let (location, settings) = (self.client.location(), self.client.settings());
        let ledger = Ledger::read(&location)?.unwrap_or_default();
        let backlog = Backlog::of(&location, &ledger)?;
        self.note_backlog(&backlog);
        let (outcome, unreadable) = (RoundOutcome::default(), None);
        let mut rest = Remainder { pending: &backlog.pending, outcome, unreadable };
        let file = LedgerFile { location: &location, mode: settings.mode };
        let mut notes = RoundNotes::new(file, &backlog);
        self.send(&settings, &mut notes, &mut rest).await?;
        rest.unreadable.map_or(Ok(rest.outcome), Err)
    }

    /// Sends the rest, several segments at a time. While some are on their way, the ledger gets
    /// those that are done together with the next ones, so that the network does not wait for it.
    async fn send(
        &mut self,
        settings: &ArchiveSettings,
        notes: &mut RoundNotes<'_>,
        rest: &mut Remainder<'_>,
    ) -> Result<()> {
        let mut under_way = FuturesUnordered::new();
        let mut window = SendWindow::new(settings.archive.max_rate.is_some());
        let mut shipped: Vec<Shipped> = Vec::new();
        let mut failure = None;
        loop {
            let mut parcels = Vec::new();
            if failure.is_none() {
                parcels = self.load(settings, notes, rest, window)?;
            }
            if parcels.is_empty() && shipped.is_empty() {
                // Nor is any on its way: one that is done is noted.
                return failure.map_or(Ok(()), Err);
            }
            let store = self.open_store(&settings.archive)?;
            let taken = parcels.len();
            let parcels = self.note(settings, notes, &store, &shipped, parcels).await?;
            rest.outcome.waiting += taken - parcels.len();
            rest.outcome.waiting += shipped.iter().filter(|it| it.is_of_another()).count();
            self.report(&shipped);
            shipped.clear();
            for (parcel, object) in parcels {
                window.enter(parcel.bytes);
                under_way.push(self.deliver(settings, &store, parcel, object));
            }
            while let Some(one) = under_way.next().await {
                window.leave(one.parcel.bytes);
                if let Err(error) = &one.outcome {
                    failure.get_or_insert_with(|| error.clone());
                }
                shipped.push(one);
                if failure.is_none() && window.has_room() && !rest.pending.is_empty() {
                    break;
                }
            }
        }
    }

    /// Reads the next segments, as many as there is room for.
    fn load(
        &self,
        settings: &ArchiveSettings,
        notes: &RoundNotes<'_>,
        rest: &mut Remainder<'_>,
        mut window: SendWindow,
    ) -> Result<Vec<Parcel>> {
        let mut parcels = Vec::new();
        if rest.pending.is_empty() {
            return Ok(parcels);
        }
        let location = notes.file.location;
        let ledger = Ledger::read(location)?.unwrap_or_default();
        while let Some((backup, others)) = rest.pending.split_first() {
            if !window.fits(backup.entry.len) {
                break;
            }
            rest.pending = others;
            if self.conflicts.contains(&location.file_name(backup.name)) {
                rest.outcome.conflicts += 1;
                continue;
            }
            match notes.backlog.take(location, backup, &ledger, settings.compresses) {
                Ok(Some(parcel)) => {
                    window.enter(parcel.bytes);
                    parcels.push(parcel);
                }
                Ok(None) => rest.outcome.waiting += 1,
                Err(error) => rest.unreadable = rest.unreadable.take().or(Some(error)),
            }
        }
        Ok(parcels)
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
        let origin = self.confirm_origin(&notes.file, store, &settings.archive).await?;
        notes.note_next(shipped, &origin, parcels, &store.url)
    }

    /// Creates and verifies an object.
    fn deliver(
        &mut self,
        settings: &ArchiveSettings,
        store: &Arc<ArchiveStore>,
        mut parcel: Parcel,
        object: String,
    ) -> impl Future<Output = Shipped> + use<> {
        // Until the intent was noted, it kept maintenance from changing the form of the file.
        // A failure leaves it with this worker a little longer.
        let _ = fs::end_lease(&parcel.file, &parcel.path);
        let wait = self.pace.wait_for(parcel.bytes, settings.archive.max_rate);
        let ignores = self.client.journal().counters.archive(|stats| stats.ignores_conditions);
        let store = Arc::clone(store);
        async move {
            tokio::time::sleep(wait).await;
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

    /// Forgets the connection, so that the next round reads the credentials again.
    pub(super) fn close_store(&mut self) {
        self.store = None;
    }

    /// Returns the log's origin, after a look at whose it is in the store.
    ///
    /// The object that says so is created, and created again: a store that lets the second one
    /// through ignores conditions.
    async fn confirm_origin(
        &mut self,
        file: &LedgerFile<'_>,
        store: &ArchiveStore,
        settings: &Archive,
    ) -> Result<OriginRecord> {
        let place = LogPlace::of(file.location.dir(), settings.host.as_deref())?;
        loop {
            let origin = file.change(|ledger| {
                ledger.to = Some(settings.url.clone());
                let present = ledger.origin.take().filter(|origin| place.has(origin));
                ledger.origin.insert(present.unwrap_or_else(|| place.origin())).clone()
            })?;
            if self.confirmed.as_ref() == Some(&origin) {
                return Ok(origin);
            }
            if self.is_ours(file.location, store, &origin).await? {
                self.confirmed = Some(origin.clone());
                return Ok(origin);
            }
            file.change(|ledger| {
                if ledger.origin.as_ref() == Some(&origin) {
                    ledger.origin = Some(renewed(&origin));
                }
            })?;
        }
    }

    /// Whether the store has this origin as ours, or has it now.
    async fn is_ours(
        &self,
        location: &Location,
        store: &ArchiveStore,
        origin: &OriginRecord,
    ) -> Result<bool> {
        let key = store.url.key(&log_name(location), &origin.name, ORIGIN_FILE);
        let body = Bytes::from(format!("{}\n", origin.fingerprint));
        let digest = hex(&Sha256::digest(&body));
        let wanted = Wanted { key: &key, bytes: body.len() as u64, digest: &digest };
        let path = location.path();
        let create = || store.create(&wanted, body.clone(), "text/plain; charset=utf-8", path);
        let ignores = create().await? == Created::Yes && create().await? == Created::Yes;
        self.note_conditions(location, ignores);
        match store.examine(&wanted, Created::Exists, path).await? {
            ObjectState::Same => Ok(true),
            ObjectState::Other => Ok(false),
            ObjectState::Nothing => {
                let why =
                    format!("it acknowledged `{}` and does not have it", store.url.object(&key));
                Err(Error::refused(ErrorKind::ArchiveUnreachable, "archive", path, why))
            }
        }
    }

    fn note_conditions(&self, location: &Location, ignores: bool) {
        let journal = self.client.journal();
        let mut is_news = false;
        journal.counters.archive(|stats| {
            is_news = ignores && !stats.ignores_conditions;
            stats.ignores_conditions |= ignores;
        });
        if is_news {
            let why = "it replaced an object that it was asked to create only if there is none; \
                       each segment is still archived, and verified, but an object of another \
                       program with the same name would be overwritten";
            let kind = ErrorKind::ArchiveUnconditional;
            journal.failed(Error::refused(kind, "rely on the store of", location.path(), why));
        }
    }

    /// Counts and reports what is done.
    fn report(&mut self, shipped: &[Shipped]) {
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
                    if *created == Created::Yes {
                        self.conflicts.insert(parcel.file_name.clone());
                    }
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

/// Creates and verifies one object.
async fn deliver_one(
    store: &ArchiveStore,
    parcel: &Parcel,
    object: &str,
    ignores_conditions: bool,
) -> Result<ShipOutcome> {
    let Some(key) = store.url.key_of(object) else {
        return Ok(ShipOutcome::Conflict(Created::Yes));
    };
    let (bytes, digest, path) = (parcel.bytes, &parcel.digest, &parcel.path);
    let wanted = Wanted { key, bytes, digest };
    if ignores_conditions {
        match store.examine(&wanted, Created::Exists, path).await? {
            ObjectState::Same => return Ok(ShipOutcome::Verified),
            ObjectState::Other => return Ok(ShipOutcome::Conflict(Created::Exists)),
            ObjectState::Nothing => {}
        }
    }
    let kind = content_type(parcel.name.compression);
    let created = store.create(&wanted, parcel.body.clone(), kind, path).await?;
    match store.examine(&wanted, created, path).await? {
        ObjectState::Same => Ok(ShipOutcome::Verified),
        ObjectState::Other => Ok(ShipOutcome::Conflict(created)),
        // Some stores answer so while another request is under way.
        ObjectState::Nothing => {
            let why = format!("the store has no `{object}` after it was sent");
            Err(Error::refused(ErrorKind::ArchiveUnreachable, "archive", path, why))
        }
    }
}

fn conflict(created: Created, object: &str, path: &Path) -> Error {
    let why = match created {
        Created::Exists => format!(
            "`{object}` has other content, perhaps that of a copy of this machine or directory; it \
             stays, and the segment is archived under another origin"
        ),
        Created::Yes => format!("`{object}` reads back with other content; the segment stays here"),
    };
    Error::refused(ErrorKind::ArchiveConflict, "archive", path, why)
}

/// The type of a segment's content, as stores serve it. There is no `Content-Encoding`: with one,
/// clients decompress what they download.
fn content_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "text/plain; charset=utf-8",
        Compression::Gzip => "application/gzip",
        Compression::Zstd => "application/zstd",
    }
}
