//! Reading from a store, for callers that wait.

use super::{ArchiveStore, ArchiveUrl, Blocking, Listed, Names};
use crate::error::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::fs::File;
use std::path::Path;

/// A store that is read.
pub(crate) struct Reading {
    store: ArchiveStore,
    blocking: Blocking,
}

impl Reading {
    /// Opens the store of an archive. Sends nothing.
    pub(crate) fn of(url: &str, log: &str) -> Result<Self> {
        Self::at(ArchiveUrl::parse(url)?, log)
    }

    /// Opens the store of an archived log, such as `s3://bucket/prefix/app.log`. Returns the log's
    /// name too. Sends nothing.
    pub(crate) fn of_log(url: &str) -> Result<(Self, String)> {
        let (url, log) = ArchiveUrl::of_log(url)?;
        Ok((Self::at(url, &log)?, log))
    }

    fn at(url: ArchiveUrl, log: &str) -> Result<Self> {
        let store = ArchiveStore::at(url, None)?;
        Ok(Self { store, blocking: Blocking::new(log)? })
    }

    /// Returns the origins under which segments of a log are archived.
    pub(crate) fn origins(&self, log: &str) -> Result<Vec<String>> {
        self.wait(self.store.origins(log))
    }

    /// Returns the objects of each of the origins. Several are listed at a time.
    pub(crate) fn segments(
        &self,
        log: &str,
        origins: &[String],
        names: &Names,
    ) -> Result<Vec<Vec<Listed>>> {
        const AT_A_TIME: usize = 32;
        let listings: Vec<_> =
            origins.iter().map(|origin| self.store.segments(log, origin, names)).collect();
        self.wait(stream::iter(listings).buffered(AT_A_TIME).try_collect())
    }

    /// Writes an object to a file; `false` if there is none.
    pub(crate) fn fetch(
        &self,
        key: &str,
        file: &File,
        path: &Path,
        is_compared: bool,
    ) -> Result<bool> {
        self.wait(self.store.fetch(key, file, path, is_compared))
    }

    /// Returns the key of a segment, and the URL of its object.
    pub(crate) fn key(&self, log: &str, origin: &str, name: &str) -> (String, String) {
        let key = self.store.url.key(log, origin, name);
        let url = self.store.url.object(&key);
        (key, url)
    }

    fn wait<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.blocking.wait(&self.store.url.object(""), work)
    }
}
