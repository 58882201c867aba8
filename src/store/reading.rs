//! Reading from a store, for callers that wait.

use super::{ArchiveStore, ArchiveUrl, Listed, Names, runtime};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::fs::File;
use std::path::Path;
use std::thread;
use tokio::runtime::Runtime;

/// A store that is read.
pub(crate) struct Reading {
    store: ArchiveStore,
    runtime: Option<Runtime>,
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
        let runtime =
            runtime().map_err(|error| Error::io("start a runtime to read", log, error))?;
        Ok(Self { store, runtime: Some(runtime) })
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

    /// Runs requests on a thread of their own: the caller may be on one of another runtime.
    fn wait<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let root = self.store.url.object("");
        let Some(runtime) = &self.runtime else {
            let why = "it is closed";
            return Err(Error::refused(ErrorKind::ArchiveUnreachable, "read", root, why));
        };
        thread::scope(|scope| {
            let builder = thread::Builder::new().name("logrotor-read".to_owned());
            let spawn = || builder.spawn_scoped(scope, || runtime.block_on(work));
            let started = fs::without_signals(spawn);
            let started = started.map_err(|e| Error::io("start a thread to read", &root, e))?;
            started.join().unwrap_or_else(|_| {
                let why = "the request panicked";
                Err(Error::refused(ErrorKind::ArchiveUnreachable, "read", &root, why))
            })
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Its own drop would wait, which another runtime forbids.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
