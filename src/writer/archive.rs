//! A log as its archive sees it.

use super::log::Log;
use crate::archive::{Archive, ArchiveClient, ArchiveSettings};
use crate::config::Config;
use crate::segment::Location;
use crate::stats::Journal;
use parking_lot::Mutex;
use std::sync::Arc;

/// The settings of a log's archive, which a policy may change.
pub(super) struct LiveArchive {
    settings: Mutex<Option<Archive>>,
}

impl LiveArchive {
    pub(super) fn of(config: &Config) -> Self {
        Self { settings: Mutex::new(config.archive.clone()) }
    }

    #[cfg(feature = "policy")]
    pub(super) fn apply(&self, config: &Config) {
        self.settings.lock().clone_from(&config.archive);
    }
}

impl ArchiveClient for Log {
    fn location(&self) -> Arc<Location> {
        Self::location(self)
    }

    fn settings(&self) -> ArchiveSettings {
        ArchiveSettings {
            // The thread runs only if there is one.
            archive: self.archive.settings.lock().clone().unwrap_or_else(|| Archive::to("")),
            compresses: self.maintainer.compresses(),
            mode: self.config.mode,
        }
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn archived(&self) {
        self.maintainer.call_for_pass();
        self.wakeup.notify();
    }
}
