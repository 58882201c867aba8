//! The comparison of the log's origin with the store, before the first segment is sent.

use super::notes::enter_confirmed;
use super::origin::{LogPlace, renewed};
use super::round::Rounds;
use super::settings::Archive;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{LedgerFile, OriginRecord};
use crate::segment::Location;
use crate::store::{ArchiveStore, Created, ORIGIN_FILE, ObjectState, Wanted, hex};
use bytes::Bytes;
use sha2::{Digest, Sha256};

impl Rounds {
    /// Returns the origin that was compared with the store, if it is still that of this place.
    pub(super) fn confirmed_here(
        &self,
        file: &LedgerFile<'_>,
        settings: &Archive,
    ) -> Result<Option<OriginRecord>> {
        let Some(origin) = self.confirmed.clone() else { return Ok(None) };
        let place = LogPlace::of(file.location.dir(), settings.host.as_deref())?;
        Ok(place.has(&origin).then_some(origin))
    }

    /// Returns the log's origin, after a look at whose it is in the store. One that was there
    /// before must be there still.
    ///
    /// The object that says so is created, and created again: a store that lets the second one
    /// through ignores conditions.
    pub(super) async fn confirm_origin(
        &mut self,
        file: &LedgerFile<'_>,
        store: &ArchiveStore,
        settings: &Archive,
    ) -> Result<OriginRecord> {
        let place = LogPlace::of(file.location.dir(), settings.host.as_deref())?;
        let (log, path) = (file.location.name(), file.location.path());
        loop {
            let (origin, is_known) = file.change(|ledger| {
                ledger.to = Some(settings.url.clone());
                let present = ledger.origin.take().filter(|origin| place.has(origin));
                let origin = ledger.origin.insert(present.unwrap_or_else(|| place.origin()));
                let url = store.url.origin(log, &origin.name);
                (origin.clone(), ledger.confirmed.contains_key(&url))
            })?;
            if is_known {
                store.expect_origin(log, &origin.name, path).await?;
            }
            if self.is_ours(file.location, store, &origin).await? {
                let url = store.url.origin(log, &origin.name);
                file.change(|ledger| enter_confirmed(ledger, log, &url))?;
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
        let key = store.url.key(location.name(), &origin.name, ORIGIN_FILE);
        let body = Bytes::from(format!("{}\n", origin.fingerprint));
        let digest = hex(&Sha256::digest(&body));
        let wanted = Wanted { key: &key, bytes: body.len() as u64, digest: &digest };
        let path = location.path();
        let create = || store.create(&wanted, body.clone(), "text/plain; charset=utf-8", path);
        let exists = Created::Exists;
        let ignores = create().await? != exists && create().await? != exists;
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

    pub(super) fn note_conditions(&self, location: &Location, ignores: bool) {
        let journal = self.client.journal();
        let mut is_news = false;
        journal.counters.archive(|stats| {
            is_news = ignores && !stats.ignores_conditions;
            stats.ignores_conditions = ignores;
        });
        if is_news {
            let why = "it replaced an object that it was asked to create only if there is none; \
                       each segment is still archived, and verified, but an object of another \
                       program with the same name would be overwritten";
            let kind = ErrorKind::ArchiveUnconditional;
            journal.failed(Error::refused(kind, "rely on the store of", location.path(), why));
        }
    }
}
