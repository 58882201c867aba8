//! The rule for maintenance: a backup that is not archived stays.

use super::Ledger;
use crate::error::Result;
use crate::segment::{Backup, Location};

/// A log's settings for backups that are not archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Duty {
    /// Whether the log has an archive. If not, another worker's ledger shows it.
    pub(crate) archives: bool,
    /// Whether such backups are removed for `min_free_space`.
    pub(crate) drops_when_full: bool,
}

/// The backups of a log that are archived.
#[derive(Debug)]
pub(crate) struct Archived {
    /// `None` if the log has no archive.
    ledger: Option<Ledger>,
    drops_when_full: bool,
}

impl Archived {
    pub(crate) fn of(location: &Location, duty: Duty) -> Result<Self> {
        let ledger = Ledger::read(location)?.or_else(|| duty.archives.then(Ledger::default));
        Ok(Self { ledger, drops_when_full: duty.drops_when_full })
    }

    /// Whether the log has an archive, and backups that are not there are removed for
    /// `min_free_space`.
    pub(crate) fn drops_when_full(&self) -> bool {
        self.ledger.is_some() && self.drops_when_full
    }

    /// Whether a backup is archived, or need not be.
    pub(crate) fn has(&self, location: &Location, backup: &Backup) -> bool {
        let is_there =
            |ledger: &Ledger| ledger.has(&location.file_name(backup.name), backup.entry.len);
        self.ledger.as_ref().is_none_or(is_there)
    }

    /// Whether a backup must keep its form: it is archived in that form, or on its way.
    pub(crate) fn keeps_form(&self, file_name: &str) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.shipments.contains_key(file_name))
    }
}
