//! The ledger's side of a round: the intents, and the segments that were sent.

use super::batch::{Backlog, Parcel, is_held};
use super::origin::renewed;
use crate::clock::Clock;
use crate::error::Result;
use crate::fs::Temp;
use crate::ledger::{self, Ledger, LedgerFile, OriginRecord, Shipment, ShipmentState};
use crate::store::{ArchiveUrl, Created};
use std::path::Path;

/// A parcel that was sent to its object.
pub(super) struct Shipped {
    pub(super) parcel: Parcel,
    /// The URL of the object.
    pub(super) object: String,
    pub(super) outcome: Result<ShipOutcome>,
}

/// How one parcel fared.
pub(super) enum ShipOutcome {
    Verified,
    /// The object under its key is another one.
    Conflict(Created),
}

/// The ledger, as one round changes it.
pub(super) struct RoundNotes<'a> {
    pub(super) file: LedgerFile<'a>,
    pub(super) backlog: &'a Backlog,
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
    pub(super) fn new(file: LedgerFile<'a>, backlog: &'a Backlog) -> Self {
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
    pub(super) fn note_next(
        &mut self,
        shipped: &[Shipped],
        origin: &OriginRecord,
        parcels: Vec<Parcel>,
        url: &ArchiveUrl,
    ) -> Result<Vec<(Parcel, String)>> {
        let claim = self.claim()?;
        self.file.change(|ledger| {
            self.enter_shipped(ledger, shipped, url);
            self.enter_intents(ledger, &claim, origin, parcels, url)
        })
    }

    fn enter_shipped(&self, ledger: &mut Ledger, shipped: &[Shipped], url: &ArchiveUrl) {
        let (now, log) = (Clock::system().now(), self.file.location.name());
        for Shipped { parcel, object, outcome } in shipped {
            match outcome {
                Ok(ShipOutcome::Verified) => {
                    let state = ShipmentState::Verified { at: now };
                    ledger.shipments.insert(parcel.file_name.clone(), parcel.noted(object, state));
                }
                // Another log has the origin. This one goes on under its own.
                Ok(ShipOutcome::Conflict(Created::Exists)) => {
                    ledger.shipments.remove(&parcel.file_name);
                    let of = |origin: &OriginRecord| {
                        url.object(&url.key(log, &origin.name, &parcel.file_name))
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
        ledger.shipments.retain(|name, _| self.backlog.may_have(self.file.location, name));
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
            let key = || url.key(log, &origin.name, &parcel.file_name);
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

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
