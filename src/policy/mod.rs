//! One settings file for all processes that share something, changed while they run.

mod author;
mod backend;
mod builder;
mod diff;
pub(crate) mod document;
mod engine;
mod files;
mod history;
mod messages;
mod name;
mod stats;
mod store;
mod unversioned;
mod update;

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
