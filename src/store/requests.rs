//! The boundary to a store: the three requests that the archive makes, and what a directory needs
//! besides.
//!
//! Each request passes the fault hook before it is sent and before its answer is returned, as every
//! file operation does. So a test can fail, kill or cut short any request by number.

use super::answers::{AnswersConnector, Received};
use super::digests::KnownDigests;
use super::environment::{ENDPOINTS, check_amazon, check_azure, check_google, check_time};
use super::hex;
use super::threads::{off_thread, on_thread};
use super::url::{ArchiveUrl, ORIGIN_FILE, Scheme};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, fault};
use bytes::Bytes;
use futures_util::FutureExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, ClientConfigKey, GetOptions, GetResult, ObjectStore, PutMode,
    PutOptions, RetryConfig,
};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A store, and how its objects are verified.
pub(crate) struct ArchiveStore {
    pub(super) inner: Arc<dyn ObjectStore>,
    /// The same, for listings; `None` for a directory.
    pub(super) pages: Option<Arc<dyn PaginatedListStore>>,
    pub(crate) url: ArchiveUrl,
    /// Whether it checks the SHA-256 of what it receives.
    checks: bool,
    /// Used by S3 alone.
    known: KnownDigests,
}

/// The result of creating an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    Yes,
    /// The store has answered with the SHA-256 of what it received, and that is the right one.
    Confirmed,
    /// The store has answered with another SHA-256.
    Doubted,
    /// The store says that the object exists. It may be our own, or not exist at all.
    Exists,
}

/// The state of an object in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectState {
    Nothing,
    Same,
    Other,
}

/// The object of a segment: its key, and the content that it must have.
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a str,
    pub(crate) bytes: u64,
    pub(crate) digest: &'a str,
}

/// The time for one request. A slow link needs minutes for a segment, and after 15 minutes a
/// signature is not valid any more.
const REQUEST: &str = "10 minutes";

/// The name of the digest among an object's metadata. Azure takes no `-` in it.
const DIGEST: &str = "sha256";

/// How often and how long a request is tried.
pub(super) struct Patience {
    pub(super) retries: usize,
    /// The time for one request, unless the environment has another.
    pub(super) request: &'static str,
}

/// Few retries: the archive itself tries again for as long as it takes.
const OF_ARCHIVE: Patience = Patience { retries: 2, request: REQUEST };

impl Patience {
    fn retries(&self) -> RetryConfig {
        let (max_retries, retry_timeout) = (self.retries, Duration::from_secs(60));
        RetryConfig { max_retries, retry_timeout, ..Default::default() }
    }
}

/// Sets the time for one request, unless the environment does.
macro_rules! with_timeout {
    ($builder:expr, $key:ident, $patience:expr) => {{
        let (builder, key) = ($builder, $key::Client(ClientConfigKey::Timeout));
        let builder = builder
            .with_retry($patience.retries())
            .with_http_connector(AnswersConnector::default());
        if builder.get_config_value(&key).is_some() {
            builder
        } else {
            builder.with_config(key, $patience.request)
        }
    }};
}

impl ArchiveStore {
    /// Opens the store of an archive. Sends nothing. `checks` says whether it checks the SHA-256 of
    /// what it receives; by default, Amazon S3 does.
    pub(crate) fn open(url: &str, checks: Option<bool>) -> Result<Self> {
        Self::at(ArchiveUrl::parse(url)?, checks)
    }

    pub(crate) fn at(url: ArchiveUrl, checks: Option<bool>) -> Result<Self> {
        Self::with_patience(url, checks, &OF_ARCHIVE)
    }

    pub(super) fn with_patience(
        url: ArchiveUrl,
        checks: Option<bool>,
        patience: &Patience,
    ) -> Result<Self> {
        let root = url.object("");
        let refuse =
            |error: object_store::Error| Error::config("archive", &root, explained(&error));
        let variable = |name: &str| std::env::var(name).ok();
        let (mut is_amazon, known) = (false, KnownDigests::default());
        let (inner, pages) = match url.scheme {
            Scheme::S3 => {
                let builder =
                    with_timeout!(AmazonS3Builder::from_env(), AmazonS3ConfigKey, patience);
                let set = |key: &AmazonS3ConfigKey| builder.get_config_value(key);
                check_amazon(set).map_err(|why| Error::config("archive", &root, why))?;
                is_amazon = ENDPOINTS.iter().all(|key| set(key).is_none());
                let builder = builder.with_checksum_algorithm(Checksum::SHA256).with_url(&root);
                let builder = builder.with_crypto_provider(Arc::new(known.clone()));
                in_pages(builder.build().map_err(refuse)?)
            }
            Scheme::Google => {
                let builder =
                    with_timeout!(GoogleCloudStorageBuilder::from_env(), GoogleConfigKey, patience);
                let set = |key: &GoogleConfigKey| builder.get_config_value(key);
                check_google(set, variable).map_err(|why| Error::config("archive", &root, why))?;
                in_pages(builder.with_url(&root).build().map_err(refuse)?)
            }
            Scheme::Azure => {
                let builder =
                    with_timeout!(MicrosoftAzureBuilder::from_env(), AzureConfigKey, patience);
                let set = |key: &AzureConfigKey| builder.get_config_value(key);
                check_azure(set, variable).map_err(|why| Error::config("archive", &root, why))?;
                in_pages(builder.with_url(&root).build().map_err(refuse)?)
            }
            // It must exist, because an empty mount point would fill the disk under it.
            Scheme::Directory => {
                let opened = LocalFileSystem::new_with_prefix(&url.root).map_err(|error| {
                    let kind = ErrorKind::ArchiveUnreachable;
                    Error::refused(kind, "open the archive", &url.root, cause(&error))
                })?;
                (Arc::new(opened.with_fsync(true)) as Arc<dyn ObjectStore>, None)
            }
        };
        Ok(Self { inner, pages, url, checks: checks.unwrap_or(is_amazon), known })
    }

    /// Makes a request. One to a directory blocks, unless it is made outside of a runtime, and then
    /// it is done at once.
    async fn request<T: Send + 'static, R>(
        &self,
        request: impl FnOnce(Arc<dyn ObjectStore>) -> R,
    ) -> object_store::Result<T>
    where
        R: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let request = request(Arc::clone(&self.inner));
        if self.url.scheme != Scheme::Directory {
            return request.await;
        }
        let failed = |source| object_store::Error::Generic { store: "archive", source };
        match on_thread(move || request.now_or_never()).await {
            Ok(Some(done)) => done,
            Ok(None) => Err(failed("it waits for a runtime".into())),
            Err(error) => Err(failed(format!("no thread for its files: {error}").into())),
        }
    }

    pub(super) async fn get(
        &self,
        key: &Key,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let key = key.clone();
        self.request(|store| async move { store.get_opts(&key, options).await }).await
    }

    /// Rejects a directory that an origin was in before and is not in any more: a file system that
    /// is not mounted leaves an empty directory. Other stores are not looked at.
    pub(crate) async fn expect_origin(&self, log: &str, origin: &str, local: &Path) -> Result<()> {
        if self.url.scheme != Scheme::Directory {
            return Ok(());
        }
        let dir = self.file_of(&self.url.key(log, origin, ""));
        let looked_at = dir.clone();
        match off_thread(move || fs::stat(&looked_at), local).await? {
            Some(_) => Ok(()),
            None => {
                let dir = dir.display();
                let why = format!("`{dir}` is gone: {UNMOUNTED}; if it was emptied, create that");
                Err(Error::refused(ErrorKind::ArchiveUnreachable, "archive", local, why))
            }
        }
    }

    /// Rejects a directory that does not have the mark of a segment's origin. It would be created
    /// again, perhaps on the disk under a mount point.
    async fn expect_mark(&self, key: &str, local: &Path) -> Result<()> {
        let Some(dir) = self.dir_of_segment(key) else { return Ok(()) };
        fault::step("look at origin").map_err(lost(local))?;
        let mark = format!("{dir}/{ORIGIN_FILE}");
        let options = GetOptions { head: true, ..Default::default() };
        match self.get(&self.path_of(&mark)?, options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => {
                let why = format!("`{}` is gone: {UNMOUNTED}", self.url.object(&mark));
                Err(Error::refused(ErrorKind::ArchiveUnreachable, "archive", local, why))
            }
            Err(error) => Err(self.failure("archive", &mark, local, &error)),
        }
    }

    /// Ends the work on an object that is as it must be. In a directory, a worker that was killed
    /// may have left its name unsynced, and another name of it.
    async fn settle(&self, key: &str, created: Created, local: &Path) -> Result<()> {
        if self.url.scheme != Scheme::Directory {
            return Ok(());
        }
        self.expect_mark(key, local).await?;
        let (root, file) = (PathBuf::from(&self.url.root), self.file_of(key));
        let is_segment = self.dir_of_segment(key).is_some();
        let settled = move || {
            if created == Created::Exists {
                sync_dirs(&root, &file)?;
            }
            if is_segment {
                remove_unfinished(&file);
            }
            Ok(())
        };
        off_thread(settled, local).await
    }

    /// The first part of a segment's key, without its name, if the store is a directory.
    fn dir_of_segment<'a>(&self, key: &'a str) -> Option<&'a str> {
        let (dir, name) = key.rsplit_once('/')?;
        (self.url.scheme == Scheme::Directory && name != ORIGIN_FILE).then_some(dir)
    }

    /// The path of a key, if the store is a directory.
    pub(super) fn file_of(&self, key: &str) -> PathBuf {
        Path::new(&self.url.root).join(key)
    }

    /// Creates an object, never replacing one. `local` is the file, for messages.
    pub(crate) async fn create(
        &self,
        wanted: &Wanted<'_>,
        body: Bytes,
        content_type: &'static str,
        local: &Path,
    ) -> Result<Created> {
        self.expect_mark(wanted.key, local).await?;
        let mut attributes = Attributes::new();
        // A directory has none.
        if self.url.scheme != Scheme::Directory {
            attributes.insert(Attribute::ContentType, content_type.into());
            attributes.insert(Attribute::Metadata(DIGEST.into()), wanted.digest.to_owned().into());
        }
        let sent = fault::write_step("send object", body.len(), Ok).map_err(lost(local))?;
        if sent < body.len() {
            // The connection broke within the body. Stores create whole objects only.
            return Err(lost(local)(std::io::ErrorKind::BrokenPipe.into()));
        }
        let options = PutOptions { mode: PutMode::Create, attributes, ..Default::default() };
        let key = self.path_of(wanted.key)?;
        let _known = self.known.note(&body, wanted.digest);
        let put =
            self.request(|store| async move { store.put_opts(&key, body.into(), options).await });
        let put = put.await;
        fault::step("receive answer").map_err(lost(local))?;
        match put {
            Ok(put) => Ok(match put.extensions.get() {
                None => Created::Yes,
                Some(Received::Same) => Created::Confirmed,
                Some(Received::Other) => Created::Doubted,
            }),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(Created::Exists),
            Err(error) => Err(self.failure("archive", wanted.key, local, &error)),
        }
    }

    /// Compares an object with what it must be.
    ///
    /// If the store checks a checksum, one that it has answered with will do. If it has only
    /// acknowledged the creation (`Created::Yes`), the object must be there. Otherwise, the object
    /// is read.
    pub(crate) async fn examine(
        &self,
        wanted: &Wanted<'_>,
        created: Created,
        local: &Path,
    ) -> Result<ObjectState> {
        if self.checks && created == Created::Confirmed {
            return Ok(ObjectState::Same);
        }
        fault::step("ask for object").map_err(lost(local))?;
        let key = self.path_of(wanted.key)?;
        let looked_at = match self.checks && created == Created::Yes {
            true => self.look_at(key, wanted).await,
            false => self.compare(key, wanted).await,
        };
        let is_same = match looked_at {
            Err(object_store::Error::NotFound { .. }) => return Ok(ObjectState::Nothing),
            looked_at => {
                looked_at.map_err(|error| self.failure("verify", wanted.key, local, &error))?
            }
        };
        fault::step("receive object").map_err(lost(local))?;
        if !is_same {
            return Ok(ObjectState::Other);
        }
        self.settle(wanted.key, created, local).await?;
        Ok(ObjectState::Same)
    }

    /// Whether an object is there with its size and the digest that was sent with it.
    async fn look_at(&self, key: Key, wanted: &Wanted<'_>) -> object_store::Result<bool> {
        let options = GetOptions { head: true, ..Default::default() };
        let got = self.get(&key, options).await?;
        let digest = digest_of(&got.attributes);
        Ok(got.meta.size == wanted.bytes && digest == Some(wanted.digest))
    }

    /// Whether an object has the content that it must have.
    async fn compare(&self, key: Key, wanted: &Wanted<'_>) -> object_store::Result<bool> {
        let mut object = self.download(key).await?;
        if object.meta.size != wanted.bytes {
            return Ok(false);
        }
        let mut digest = Sha256::new();
        while let Some(piece) = object.next().await? {
            digest.update(&piece);
        }
        Ok(hex(&digest.finalize()) == wanted.digest)
    }

    /// The key of an object as it is, without the encoding that `object_store` prefers: it keeps
    /// the name of a log in which it has another character.
    ///
    /// # Errors
    /// No request can be made now: see [`check_time`].
    pub(super) fn path_of(&self, key: &str) -> Result<Key> {
        check_time(Clock::system().now()).map_err(|why| {
            let (kind, object) = (ErrorKind::ArchiveUnreachable, self.url.object(key));
            Error::refused(kind, "reach", object, why)
        })?;
        let why = "it has a character that object names must not have";
        Key::parse(key).map_err(|_| Error::config("archive", self.url.object(key), why))
    }

    pub(super) fn unread(
        &self,
        verb: &'static str,
        key: &str,
        error: &object_store::Error,
    ) -> Error {
        let (kind, why) = explain(error);
        Error::refused(kind, verb, self.url.object(key), why)
    }

    fn failure(
        &self,
        verb: &'static str,
        key: &str,
        local: &Path,
        error: &object_store::Error,
    ) -> Error {
        let (kind, why) = explain(error);
        let action = format!("{verb} as `{}` the segment", self.url.object(key));
        Error::refused(kind, action, local, why)
    }
}

/// A store whose listings are in pages.
type InPages = (Arc<dyn ObjectStore>, Option<Arc<dyn PaginatedListStore>>);

fn in_pages(store: impl ObjectStore + PaginatedListStore) -> InPages {
    let store = Arc::new(store);
    (Arc::clone(&store) as _, Some(store as _))
}

const UNMOUNTED: &str = "this is not the archive of before, perhaps because it is not mounted";

/// Makes the names of the directories from `root` to a file durable, and its own.
fn sync_dirs(root: &Path, file: &Path) -> Result<()> {
    for dir in file.ancestors().skip(1).take_while(|dir| dir.starts_with(root)) {
        match fs::sync_dir(dir) {
            // A directory above may belong to another user, who has created the one below.
            Err(error) if error.io_kind() == std::io::ErrorKind::PermissionDenied => {}
            done => done?,
        }
    }
    Ok(())
}

/// Removes the files `<object>#<number>` in which `object_store` writes an object, if workers that
/// were killed left some. The claim ensures that none is written now.
fn remove_unfinished(object: &Path) {
    let removes = |number: &u32| {
        let mut name = object.as_os_str().to_owned();
        name.push(format!("#{number}"));
        // A file that stays takes room, and does no other harm.
        fs::remove(Path::new(&name)).unwrap_or(false)
    };
    let _ = (1..).take_while(removes).count();
}

/// An answer that did not arrive.
fn lost(local: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::refused(ErrorKind::ArchiveUnreachable, "archive", local, error.to_string())
}

/// The digest that was archived with an object. Some servers capitalize the names of metadata.
pub(super) fn digest_of(attributes: &Attributes) -> Option<&str> {
    let is_digest = |attribute: &Attribute| match attribute {
        Attribute::Metadata(name) => name.eq_ignore_ascii_case(DIGEST),
        _ => false,
    };
    let found = attributes.iter().find(|(attribute, _)| is_digest(attribute));
    found.map(|(_, digest)| digest.as_ref())
}

/// Classifies a failure, and words it for an operator.
pub(super) fn explain(error: &object_store::Error) -> (ErrorKind, String) {
    use object_store::Error::{PermissionDenied, Precondition, Unauthenticated};
    let text = cause(error);
    // The words of S3, and of Azure.
    if text.contains("RequestTimeTooSkewed") || text.contains("not within the allowed clock skew") {
        let why = "the clock of this machine differs too much from that of the store";
        return (ErrorKind::ArchiveDenied, format!("{why} ({text})"));
    }
    match error {
        PermissionDenied { .. } | Unauthenticated { .. } => (ErrorKind::ArchiveDenied, text),
        Precondition { .. } => {
            (ErrorKind::ArchiveConflict, format!("it was replaced while it was read ({text})"))
        }
        _ => (ErrorKind::ArchiveUnreachable, text),
    }
}

/// The error, and its innermost cause if that says more.
fn explained(error: &object_store::Error) -> String {
    let (text, cause) = (error.to_string(), cause(error));
    if text.contains(&cause) { text } else { format!("{text}: {cause}") }
}

/// The innermost cause, which says most. The outer ones repeat it.
fn cause(error: &object_store::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
