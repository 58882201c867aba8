//! Work that may block, on files and for addresses: each on a thread of its own. A system that
//! refuses a thread makes the pool of `tokio` panic; here it is an error.

use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use object_store::client::{DnsFuture, DnsResolver};
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::thread::{Builder, JoinHandle};
use tokio::sync::oneshot;

/// Runs work on a thread of its own, which is not waited for if the future is dropped.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (_, done) = start(work)?;
    done.await.map_err(|_| io::Error::other("its thread panicked"))
}

/// Runs work on a thread of its own. Dropping the future waits for its end, so that nothing is left
/// open.
pub(crate) async fn on_joined_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (thread, done) = start(work)?;
    let _joined = JoinedThread(Some(thread));
    done.await.map_err(|_| io::Error::other("its thread panicked"))
}

fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<(JoinHandle<()>, oneshot::Receiver<T>)> {
    let (sender, done) = oneshot::channel();
    let work = move || drop(sender.send(work()));
    let start = || Builder::new().name("logrotor-wait".to_owned()).spawn(work);
    Ok((fs::without_signals(start)?, done))
}

/// Waits for a thread when it is dropped.
struct JoinedThread(Option<JoinHandle<()>>);

impl Drop for JoinedThread {
    fn drop(&mut self) {
        // A panic is reported by the work's missing result.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

/// Runs file operations on a thread of their own: a server of files may not answer.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
    local: &Path,
) -> Result<T> {
    on_thread(work).await.unwrap_or_else(|error| {
        let why = format!("no thread for its files: {error}");
        Err(Error::refused(ErrorKind::ArchiveUnreachable, "archive", local, why))
    })
}

/// Asks the system for the addresses of a host. They are tried in any order, to spread the load.
#[derive(Debug)]
pub(super) struct Addresses;

impl DnsResolver for Addresses {
    fn resolve(&self, host: &str) -> DnsFuture {
        let host = host.to_owned();
        Box::pin(async move {
            let look_up = move || (host.as_str(), 0).to_socket_addrs();
            let found = on_thread(look_up).await??;
            let mut found: Vec<_> = found.map(|address| address.ip()).collect();
            fastrand::shuffle(&mut found);
            Ok(found)
        })
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::answers::AnswersConnector;
    use super::super::{ArchiveStore, Created, Names, ORIGIN_FILE, ObjectState, Wanted, hex};
    use super::*;
    use bytes::Bytes;
    use futures_util::FutureExt;
    use object_store::ClientOptions;
    use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody};
    use sha2::{Digest, Sha256};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    async fn use_directory(url: &str) {
        let store = ArchiveStore::open(url, None).unwrap();
        let body = Bytes::from_static(b"text");
        let (key, digest) =
            (store.url.key("app.log", "h.1", ORIGIN_FILE), hex(&Sha256::digest(b"text")));
        let wanted = Wanted { key: &key, bytes: 4, digest: &digest };
        let local = Path::new("app.log");
        let created = store.create(&wanted, body, "text/plain", local).await.unwrap();
        assert_eq!(created, Created::Yes);
        assert_eq!(store.examine(&wanted, created, local).await.unwrap(), ObjectState::Same);
        assert_eq!(store.segments("app.log", "h.1", &Names::default()).await.unwrap().len(), 1);
    }

    async fn ask_for_a_host() {
        let options = ClientOptions::new().with_allow_http(true);
        let client = AnswersConnector::default().connect(&options).unwrap();
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = "http://localhost:1/".parse().unwrap();
        assert!(client.execute(request).await.is_err(), "no server has this port");
        let found = Addresses.resolve("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(std::net::IpAddr::is_loopback));
    }

    #[test]
    fn end_of_dropped_work_is_waited_for() {
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        let mut work = Box::pin(on_joined_thread(move || {
            may_go_on.recv().unwrap();
            std::thread::yield_now();
            done.store(true, SeqCst);
        }));
        assert!(work.as_mut().now_or_never().is_none());
        go_on.send(()).unwrap();
        drop(work);
        assert!(is_done.load(SeqCst));
    }

    #[test]
    fn pool_of_the_runtime_starts_no_thread() {
        let is_started = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&is_started);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_start(move || note.store(true, SeqCst))
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            use_directory(&format!("file://{}", dir.path().display())).await;
            ask_for_a_host().await;
        });
        assert!(!is_started.load(SeqCst));
        runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await }).unwrap();
        assert!(is_started.load(SeqCst), "it would be noticed");
    }
}
