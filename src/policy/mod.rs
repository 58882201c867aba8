//! One set of settings for all processes that share something, changed while they run.
//!
//! It is in a file, for the processes of one machine, or in a system that any number of machines
//! share: an object store (feature `archive`), etcd (`etcd`) or PostgreSQL (`postgres`):
//!
//! ```no_run
//! use logrotor::{Config, RotatingFileWriter};
//! # fn main() -> logrotor::Result<()> {
//! let store = Config::policy()
//!     .cache_beside("app.log")
//!     .open("s3://bucket/fleet/app.policy")?;
//! let log = RotatingFileWriter::builder("app.log").policy(store).build()?;
//! # Ok(()) }
//! ```
//!
//! | | file | object store |
//! |---|---|---|
//! | a change is in force elsewhere | in a log within a second; at the next [`reload`](PolicyStore::reload) elsewhere | within 10 s, by a thread |
//! | a change is made once | by a file lock | by a conditional write |
//! | edits by hand | yes | no |
//! | it cannot be reached | the version in force stays | the same; a process that starts takes the copy of this machine ([`cache_beside`](PolicyStoreBuilder::cache_beside)) |
//!
//! In etcd (`etcd://host:2379/app.policy`, `etcds://` with TLS) and PostgreSQL
//! (`postgres://user@host/database/app.policy`), a change is in force elsewhere at once. Passwords
//! come from the URL, or from the variables and files of `etcdctl` and `psql`. No message shows
//! them.
//!
//! A change may fail with [`PolicyConflict`](crate::ErrorKind::PolicyConflict) if another one was
//! made first, and with [`PolicyUnsettled`](crate::ErrorKind::PolicyUnsettled) if no answer tells
//! whether it was made: look before you repeat it.

mod author;
#[cfg_attr(
    not(any(feature = "archive", feature = "etcd", feature = "postgres")),
    allow(dead_code, reason = "no system is in this build")
)]
mod backend;
#[cfg(feature = "archive")]
mod bucket;
mod builder;
#[cfg(all(test, any(feature = "etcd", feature = "postgres")))]
mod contract;
mod diff;
pub(crate) mod document;
mod engine;
#[cfg(feature = "etcd")]
mod etcd;
mod files;
mod history;
mod judge;
#[cfg(any(feature = "archive", feature = "etcd"))]
mod key;
mod messages;
mod name;
#[cfg(any(feature = "etcd", feature = "postgres"))]
mod pem;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "etcd", feature = "postgres"))]
mod remote_url;
mod shared;
mod stats;
mod store;
mod unversioned;
mod update;
mod watch;

pub use crate::stats::ReloadStats;
pub use author::{Author, Origin};
pub use builder::PolicyStoreBuilder;
pub use diff::Difference;
pub use document::Metadata;
pub use history::HistoryEntry;
pub use name::path_beside;
pub use stats::PolicyStats;
pub use store::PolicyStore;
pub use update::Update;

use arc_swap::Guard;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A type that can be the content of a policy.
///
/// It is implemented for every type that serde can write as a TOML table and read again.
pub trait Settings: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Settings for T {}

/// One version of a policy. It dereferences to the settings.
#[derive(Debug)]
pub struct Policy<T> {
    value: T,
    metadata: Metadata,
    /// The whole file.
    text: String,
}

impl<T> Policy<T> {
    /// Returns its number, 1 or more.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.metadata.version
    }

    /// Returns its author, time, origin and comment.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the text of its file, including the header.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<T> Deref for Policy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The version that was in force when the snapshot was taken.
///
/// It holds an `Arc` whose count is usually not changed, so that threads that read at full speed do
/// not contend. Drop it soon, or keep the version with [`into_arc`](Self::into_arc).
pub struct Snapshot<T>(Guard<Arc<Policy<T>>>);

impl<T> Snapshot<T> {
    /// Returns the version as an `Arc`, to keep.
    #[must_use]
    pub fn into_arc(self) -> Arc<Policy<T>> {
        Guard::into_inner(self.0)
    }
}

impl<T> Deref for Snapshot<T> {
    type Target = Policy<T>;

    fn deref(&self) -> &Policy<T> {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
