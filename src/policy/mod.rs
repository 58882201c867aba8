//! One settings file for all processes that share something, changed while they run.

mod author;
mod builder;
mod diff;
pub(crate) mod document;
mod engine;
mod files;
mod history;
mod name;
mod stats;
mod store;
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

/// What can be the content of a policy: whatever serde can write as a TOML table and read again. There is
/// nothing to implement.
pub trait Settings: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Settings for T {}

/// One version of a policy. It dereferences to the settings themselves.
#[derive(Debug)]
pub struct Policy<T> {
    value: T,
    metadata: Metadata,
    /// The whole file.
    text: String,
}

impl<T> Policy<T> {
    /// Its number, 1 or more.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.metadata.version
    }

    /// When, by whom and how it was made.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The text of its file, header included.
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

/// The version that was in force when it was taken: an `Arc` whose count most often need not be touched,
/// so that threads that read at full speed do not get in each other's way.
///
/// To be used and dropped; [`into_arc`](Self::into_arc) is for keeping it.
pub struct Snapshot<T>(Guard<Arc<Policy<T>>>);

impl<T> Snapshot<T> {
    /// The version as an `Arc`, for as long as one likes.
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
