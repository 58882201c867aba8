//! The ledger's side of a round: the intents, and the segments that were sent.

use super::batch::{Backlog, Parcel, is_held};
use super::origin::renewed;
use crate::clock::Clock;
use crate::error::Result;
use crate::fs::Temp;
use crate::ledger::{self, Ledger, LedgerFile, OriginRecord, Shipment, ShipmentState};
use crate::segment::name::{Key, Name};
use crate::store::{ArchiveUrl, Created};
use std::path::Path;
use std::sync::Arc;

/// A parcel that was sent to its object.
pub(super) struct Shipped {
    pub(super) parcel: Parcel,
    /// The URL of the object.
    pub(super) object: String,
    pub(super) outcome: Result<ShipOutcome>,
}

/// Parcels to send, each with the URL of its object.
pub(super) type Intended = Vec<(Parcel, String)>;

/// How one parcel fared.
pub(super) enum ShipOutcome {
    Verified,
    /// The object under its key is another one.
    Conflict(Created),
}

/// The ledger, as one round changes it.
pub(super) struct RoundNotes<'a> {
    pub(super) file: LedgerFile<'a>,
    pub(super) backlog: Arc<Backlog>,
    /// Leased until the round ends. It shows other workers which intents are ours.
    claim: Option<Temp>,
}

impl Shipped {
    /// Whether another log has the origin.
    pub(super) fn is_of_another(&self) -> bool {
        matches!(self.outcome, Ok(ShipOutcome::Conflict(Created::Exists)))
    }
}

impl<'a> RoundNotes<'a> {
    pub(super) fn new(file: LedgerFile<'a>, backlog: Arc<Backlog>) -> Self {
        Self { file, backlog, claim: None }
    }

    /// Returns the name of the claim, which is leased from now on.
    fn claim(&mut self) -> Result<String> {
        if self.claim.is_none() {
            let (location, mode) = (self.file.location, self.file.mode);
            // Empty, and to be looked at by the workers of other users.
            let claim = Temp::beside(&ledger::path_of(location), mode.unwrap_or(0o666))?;
            self.claim = Some(claim);
        }
        Ok(self.claim.as_ref().map(|claim| name_of(claim.path())).unwrap_or_default())
    }

    /// Notes which segments are done.
    pub(super) fn note_shipped(&self, shipped: &[Shipped], url: &ArchiveUrl) -> Result<()> {
        self.file.change(|ledger| self.enter_shipped(ledger, shipped, url))
    }

    /// Notes which segments are done, and the object and the claim of each of the next ones: one
    /// change, which is synced once. Returns the parcels that no other worker is sending.
    ///
    /// The inner error has the parcels back: another worker has given the log another origin. The
    /// segments that are done are noted in any case.
    pub(super) fn note_next(
        &mut self,
        shipped: &[Shipped],
        origin: &OriginRecord,
        parcels: Vec<Parcel>,
        (setting, url): (&str, &ArchiveUrl),
    ) -> Result<Result<Intended, Vec<Parcel>>> {
        let claim = self.claim()?;
        self.file.change(|ledger| {
            self.enter_shipped(ledger, shipped, url);
            if ledger.origin.as_ref() != Some(origin) {
                return Err(parcels);
            }
            ledger.to = Some(setting.to_owned());
            Ok(self.enter_intents(ledger, &claim, origin, parcels, url))
        })
    }

    fn enter_shipped(&self, ledger: &mut Ledger, shipped: &[Shipped], url: &ArchiveUrl) {
        let (now, log) = (Clock::system().now(), self.file.location.name());
        for Shipped { parcel, object, outcome } in shipped {
            match outcome {
                Ok(ShipOutcome::Verified) => {
                    let state = ShipmentState::Verified { at: now };
                    ledger.shipments.insert(parcel.file_name.clone(), parcel.noted(object, state));
                    enter_newest(ledger, log, object, &parcel.file_name);
                }
                // Another log has the origin. This one goes on under its own.
                Ok(ShipOutcome::Conflict(Created::Exists)) => {
                    ledger.shipments.remove(&parcel.file_name);
                    let of = |origin: &OriginRecord| {
                        url.object(&url.key(log, &origin.name, &parcel.name.format_object(log)))
                    };
                    // Unless another worker has renewed it.
                    if let Some(origin) = ledger.origin.take() {
                        let is_it = of(&origin) == *object;
                        ledger.origin = Some(if is_it { renewed(&origin) } else { origin });
                    }
                }
                Ok(ShipOutcome::Conflict(_)) | Err(_) => {}
            }
        }
        ledger.shipments.retain(|name, _| self.backlog.may_have(name));
    }

    fn enter_intents(
        &self,
        ledger: &mut Ledger,
        claim: &str,
        origin: &OriginRecord,
        mut parcels: Vec<Parcel>,
        url: &ArchiveUrl,
    ) -> Vec<(Parcel, String)> {
        let location = self.file.location;
        let log = location.name();
        parcels.retain(|parcel| match ledger.shipments.get(&parcel.file_name) {
            Some(Shipment { state: ShipmentState::Intended { claim }, .. }) => {
                !is_held(location, claim)
            }
            Some(_) => !ledger.has(&parcel.file_name, parcel.bytes),
            None => true,
        });
        let note = |parcel: Parcel| {
            let before = ledger.shipments.get(&parcel.file_name);
            let object = before.map(|before| before.object.clone());
            // Noted for another store or prefix: nothing was verified there.
            let object = object.filter(|object| url.has_object_of(log, object));
            let key = || url.key(log, &origin.name, &parcel.name.format_object(log));
            let object = object.unwrap_or_else(|| url.object(&key()));
            let state = ShipmentState::Intended { claim: claim.to_owned() };
            ledger.shipments.insert(parcel.file_name.clone(), parcel.noted(&object, state));
            (parcel, object)
        };
        parcels.into_iter().map(note).collect()
    }
}

impl Parcel {
    fn noted(&self, object: &str, state: ShipmentState) -> Shipment {
        let (bytes, digest, object) = (self.bytes, self.digest.clone(), object.to_owned());
        Shipment { bytes, digest, state, object }
    }
}

/// Notes an origin that the store has as this log's, and forgets the oldest of many.
pub(super) fn enter_confirmed(ledger: &mut Ledger, log: &str, url: &str) {
    const MOST: usize = 16;
    ledger.confirmed.entry(url.to_owned()).or_default();
    while ledger.confirmed.len() > MOST {
        let others = ledger.confirmed.iter().filter(|(other, _)| other.as_str() != url);
        let oldest = others.min_by_key(|(_, newest)| key_of(log, newest.as_deref()));
        let Some(oldest) = oldest.map(|(url, _)| url.clone()) else { break };
        ledger.confirmed.remove(&oldest);
    }
}

/// Notes the newest segment that an origin has.
fn enter_newest(ledger: &mut Ledger, log: &str, object: &str, file_name: &str) {
    let origin = object.rsplit_once('/').map(|(origin, _)| origin);
    let newest = origin.and_then(|origin| ledger.confirmed.get_mut(origin));
    let Some(newest) = newest else { return };
    if key_of(log, newest.as_deref()) < key_of(log, Some(file_name)) {
        *newest = Some(file_name.to_owned());
    }
}

fn key_of(log: &str, file_name: Option<&str>) -> Option<Key> {
    Some(Name::parse(log, file_name?)?.key)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledger_keeps_the_newest_segment_of_the_last_sixteen_origins() {
        let mut ledger = Ledger::default();
        let url = |at: u32| format!("s3://b/app.log/h.{at}");
        let segment = |at: u32| format!("app.log.2026-01-{at:02}T00-00-00.000000Z.gz");
        for at in 1..=20 {
            enter_confirmed(&mut ledger, "app.log", &url(at));
            for day in [at, at + 1, at] {
                let object = format!("{}/{}", url(at), segment(day));
                enter_newest(&mut ledger, "app.log", &object, &segment(day));
            }
        }
        let expected = (5..=20).map(|at| (url(at), Some(segment(at + 1))));
        assert_eq!(ledger.confirmed, expected.collect());
        // The present one stays, though nothing was archived there yet.
        enter_confirmed(&mut ledger, "app.log", &url(99));
        assert!(ledger.confirmed.contains_key(&url(99)) && !ledger.confirmed.contains_key(&url(5)));
    }
}
