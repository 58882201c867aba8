//! One round: sends every segment that can be sent, in batches.

use super::batch::{Backlog, Parcel, is_held};
use super::origin::{LogPlace, renewed};
use super::pace::Pace;
use super::settings::{Archive, Verification};
use super::{ArchiveClient, ArchiveSettings};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Temp};
use crate::ledger::{self, Ledger, LedgerFile, OriginRecord, Shipment, ShipmentState};
use crate::segment::Location;
use crate::segment::archived::ORIGIN_FILE;
use crate::segment::name::Compression;
use crate::stats::Event;
use crate::store::{ArchiveStore, Created, ObjectState, Wanted, hex};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The most segments that are sent at the same time, if they are small.
const MAX_PARCELS: usize = 8;
/// The most bytes of small segments that are sent at the same time.
const SMALL: u64 = 16 * 1024 * 1024;

/// Sends the segments of one log.
pub(super) struct Rounds {
    client: Arc<dyn ArchiveClient>,
    store: Option<(Archive, ArchiveStore)>,
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

/// How one parcel fared.
enum ShipOutcome {
    Verified,
    /// The object under its key is another one.
    Conflict(Created),
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
        let (mut outcome, mut failure) = (RoundOutcome::default(), None);
        let mut pending = &backlog.pending[..];
        while !pending.is_empty() {
            let ledger = Ledger::read(&location)?.unwrap_or_default();
            let mut parcels = Vec::new();
            while !is_full(&parcels, &settings.archive) {
                let Some((backup, rest)) = pending.split_first() else { break };
                pending = rest;
                if self.conflicts.contains(&location.file_name(backup.name)) {
                    outcome.conflicts += 1;
                    continue;
                }
                match backlog.take(&location, backup, &ledger, settings.compresses) {
                    Ok(Some(parcel)) => parcels.push(parcel),
                    Ok(None) => outcome.waiting += 1,
                    // One segment that cannot be read must not hold up the others.
                    Err(error) => failure = Some(failure.unwrap_or(error)),
                }
            }
            outcome.waiting += parcels.len();
            outcome.waiting -= self.send(&location, &settings, &backlog, parcels).await?;
        }
        failure.map_or(Ok(outcome), Err)
    }

    fn note_backlog(&self, backlog: &Backlog) {
        self.client.journal().counters.archive(|stats| {
            stats.backlog = backlog.pending.len() as u64;
            stats.backlog_bytes = backlog.bytes();
            stats.oldest = backlog.pending.first().map(|backup| backup.rotated_at().into());
        });
    }

    /// Sends a batch. Returns the number of segments that are done.
    async fn send(
        &mut self,
        location: &Location,
        settings: &ArchiveSettings,
        backlog: &Backlog,
        parcels: Vec<Parcel>,
    ) -> Result<usize> {
        if parcels.is_empty() {
            return Ok(0);
        }
        let file = LedgerFile { location, mode: settings.mode };
        self.open_store(&settings.archive)?;
        let origin = self.confirm_origin(&file, &settings.archive).await?;
        // Empty, and to be looked at by the workers of other users.
        let claim = Temp::beside(&ledger::path_of(location), settings.mode.unwrap_or(0o666))?;
        let parcels = self.note_intents(&file, &origin, &claim, parcels)?;
        let mut done = Vec::new();
        let mut failure = None;
        for (parcel, delivery) in self.deliver(settings, parcels).await {
            match delivery {
                Ok(delivery) => done.push((parcel, delivery)),
                Err(error) => failure = Some(failure.unwrap_or(error)),
            }
        }
        self.note_deliveries(&file, &origin, backlog, &done, failure.as_ref())?;
        drop(claim);
        self.report(&done);
        let is_done = |(_, delivery): &&(_, ShipOutcome)| {
            !matches!(delivery, ShipOutcome::Conflict(Created::Exists))
        };
        failure.map_or(Ok(done.iter().filter(is_done).count()), Err)
    }

    fn open_store(&mut self, settings: &Archive) -> Result<()> {
        if self.store.as_ref().is_none_or(|(of, _)| of != settings) {
            let checks = match settings.verify {
                Verification::Auto => None,
                Verification::Checksum => Some(true),
                Verification::Read => Some(false),
            };
            let store = ArchiveStore::open(&settings.url, checks)?;
            self.store = Some((settings.clone(), store));
            self.confirmed = None;
        }
        Ok(())
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
            if self.is_ours(file.location, &origin).await? {
                self.confirmed = Some(origin.clone());
                return Ok(origin);
            }
            file.change(|ledger| renew(ledger, &origin))?;
        }
    }

    /// Whether the store has this origin as ours, or has it now.
    async fn is_ours(&self, location: &Location, origin: &OriginRecord) -> Result<bool> {
        let Some((_, store)) = &self.store else { return Ok(false) };
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

    /// Notes each object and its claim. Returns the parcels that no other worker is sending.
    fn note_intents(
        &self,
        file: &LedgerFile<'_>,
        origin: &OriginRecord,
        claim: &Temp,
        mut parcels: Vec<Parcel>,
    ) -> Result<Vec<(Parcel, String)>> {
        let Some((_, store)) = &self.store else { return Ok(Vec::new()) };
        let (dir, log) = (file.location.dir(), log_name(file.location));
        let claim = name_of(claim.path());
        file.change(|ledger| {
            parcels.retain(|parcel| match ledger.shipments.get(&parcel.file_name) {
                Some(Shipment { state: ShipmentState::Intended { claim }, .. }) => {
                    !is_held(&dir.join(claim))
                }
                Some(_) => !ledger.has(&parcel.file_name, parcel.body.len() as u64),
                None => true,
            });
            let noted = |parcel: Parcel| {
                let before = ledger.shipments.get(&parcel.file_name);
                let object = before.map(|before| before.object.clone());
                // Noted for another store: nothing was verified there.
                let object = object.filter(|object| store.url.key_of(object).is_some());
                let object = object.unwrap_or_else(|| {
                    store.url.object(&store.url.key(&log, &origin.name, &parcel.file_name))
                });
                let shipment = Shipment {
                    bytes: parcel.body.len() as u64,
                    digest: parcel.digest.clone(),
                    state: ShipmentState::Intended { claim: claim.clone() },
                    object: object.clone(),
                };
                ledger.shipments.insert(parcel.file_name.clone(), shipment);
                (parcel, object)
            };
            std::mem::take(&mut parcels).into_iter().map(noted).collect::<Vec<_>>()
        })
    }

    /// Creates and verifies the objects, several at a time.
    async fn deliver(
        &mut self,
        settings: &ArchiveSettings,
        parcels: Vec<(Parcel, String)>,
    ) -> Vec<((Parcel, String), Result<ShipOutcome>)> {
        let Some((_, store)) = &self.store else { return Vec::new() };
        for (parcel, _) in &parcels {
            // Until the intent was noted, it kept maintenance from changing the form of the file.
            // A failure leaves it with this worker a little longer.
            let _ = fs::end_lease(&parcel.file, &parcel.path);
            let wait = self.pace.wait_for(parcel.body.len() as u64, settings.archive.max_rate);
            tokio::time::sleep(wait).await;
        }
        let ignores = self.client.journal().counters.archive(|stats| stats.ignores_conditions);
        let deliver = |(parcel, object): (Parcel, String)| async move {
            let delivery = deliver_one(store, &parcel, &object, ignores).await;
            ((parcel, object), delivery)
        };
        stream::iter(parcels.into_iter().map(deliver)).buffer_unordered(MAX_PARCELS).collect().await
    }

    fn note_deliveries(
        &self,
        file: &LedgerFile<'_>,
        origin: &OriginRecord,
        backlog: &Backlog,
        done: &[((Parcel, String), ShipOutcome)],
        failure: Option<&Error>,
    ) -> Result<()> {
        let now = Clock::system().now();
        file.change(|ledger| {
            for ((parcel, object), delivery) in done {
                match delivery {
                    ShipOutcome::Verified => {
                        let shipment = Shipment {
                            bytes: parcel.body.len() as u64,
                            digest: parcel.digest.clone(),
                            state: ShipmentState::Verified { at: now },
                            object: object.clone(),
                        };
                        ledger.shipments.insert(parcel.file_name.clone(), shipment);
                    }
                    // Another log has our origin. This one goes on under its own.
                    ShipOutcome::Conflict(Created::Exists) => {
                        ledger.shipments.remove(&parcel.file_name);
                        renew(ledger, origin);
                    }
                    ShipOutcome::Conflict(Created::Yes) => {}
                }
            }
            if failure.is_none() {
                ledger.trouble = None;
            }
            ledger.shipments.retain(|name, _| backlog.has_file(file.location, name));
        })
    }

    /// Counts and reports what is done.
    fn report(&mut self, done: &[((Parcel, String), ShipOutcome)]) {
        let journal = self.client.journal();
        let mut any_verified = false;
        for ((parcel, object), delivery) in done {
            let (path, bytes) = (parcel.path.clone(), parcel.body.len() as u64);
            match delivery {
                ShipOutcome::Verified => {
                    any_verified = true;
                    journal.counters.archive(|stats| {
                        stats.archived += 1;
                        stats.archived_bytes += bytes;
                        stats.backlog = stats.backlog.saturating_sub(1);
                        stats.backlog_bytes = stats.backlog_bytes.saturating_sub(bytes);
                    });
                    journal.note(Event::Archived { path, object: object.clone(), bytes });
                }
                ShipOutcome::Conflict(created) => {
                    if *created == Created::Yes {
                        self.conflicts.insert(parcel.file_name.clone());
                    }
                    journal.counters.archive(|stats| stats.conflicts += 1);
                    journal.failed(conflict(*created, object, &path));
                }
            }
        }
        journal.tell();
        if any_verified {
            self.client.archived();
        }
    }
}

/// Gives the log another origin, unless another worker has.
fn renew(ledger: &mut Ledger, origin: &OriginRecord) {
    if ledger.origin.as_ref() == Some(origin) {
        ledger.origin = Some(renewed(origin));
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
    let (bytes, digest, path) = (parcel.body.len() as u64, &parcel.digest, &parcel.path);
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

/// Whether a batch is complete. Large segments are sent two at a time, which bounds the memory.
fn is_full(parcels: &[Parcel], settings: &Archive) -> bool {
    let bytes: u64 = parcels.iter().map(|parcel| parcel.body.len() as u64).sum();
    let is_large = parcels.len() >= 2 && bytes >= SMALL;
    is_large || parcels.len() == MAX_PARCELS || (settings.max_rate.is_some() && !parcels.is_empty())
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

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn log_name(location: &Location) -> String {
    name_of(location.path())
}
