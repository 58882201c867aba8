//! Requests for callers that wait.

use super::runtime;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use std::thread;
use tokio::runtime::Runtime;

/// A runtime for requests, used by threads that wait for them.
pub(crate) struct Blocking(Option<Runtime>);

impl Blocking {
    /// `name` is the log or policy, for messages.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let runtime =
            runtime().map_err(|error| Error::io("start a runtime to read", name, error))?;
        Ok(Self(Some(runtime)))
    }

    /// Runs requests on a thread of their own: the caller may be on one of another runtime. `root`
    /// is the URL, for messages.
    pub(crate) fn wait<T: Send>(
        &self,
        root: &str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let Some(runtime) = &self.0 else {
            let why = "it is closed";
            return Err(Error::refused(ErrorKind::ArchiveUnreachable, "read", root, why));
        };
        thread::scope(|scope| {
            let builder = thread::Builder::new().name("logrotor-read".to_owned());
            let spawn = || builder.spawn_scoped(scope, || runtime.block_on(work));
            let started = fs::without_signals(spawn);
            let started = started.map_err(|e| Error::io("start a thread to read", root, e))?;
            started.join().unwrap_or_else(|_| {
                let why = "the request panicked";
                Err(Error::refused(ErrorKind::ArchiveUnreachable, "read", root, why))
            })
        })
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        // Its own drop would wait, which another runtime forbids.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
