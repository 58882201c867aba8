//! The requests of a policy that machines share: small values under conditions.
//!
//! Nothing is sent twice by itself: a refusal of the second request could be about what the first
//! has stored.

use super::requests::{Patience, explain};
use super::{ArchiveStore, ArchiveUrl, Scheme};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::fault;
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::{
    GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutResult, UpdateVersion,
};
use std::time::Duration;

/// A value, and what identifies its state: an ETag, and on Google a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredValue {
    pub(crate) bytes: Vec<u8>,
    pub(crate) state: ValueState,
}

/// One state of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueState {
    pub(crate) e_tag: String,
    pub(crate) generation: Option<String>,
}

/// A value, compared with a state of before.
pub(crate) enum FetchedValue {
    Nothing,
    Unchanged,
    Value(StoredValue),
}

/// The result of storing a value under a condition.
pub(crate) enum Stored {
    Yes(ValueState),
    /// The condition did not hold.
    Refused,
}

/// The time for one request, its body included.
const AT_MOST: Duration = Duration::from_secs(8);

impl ArchiveStore {
    /// Opens a store for small values. Sends nothing.
    pub(crate) fn of_values(url: ArchiveUrl) -> Result<Self> {
        Self::with_patience(url, None, &Patience { retries: 0, request: "8 seconds" })
    }

    /// Returns a value, unless it is in this state.
    pub(crate) async fn value(
        &self,
        key: &str,
        unless: Option<&ValueState>,
    ) -> Result<FetchedValue> {
        self.pass("ask for value", key)?;
        let if_none_match = unless.map(|state| state.e_tag.clone());
        let options = GetOptions { if_none_match, ..Default::default() };
        let path = self.path_of(key)?;
        let fetch = async {
            let got = match self.inner.get_opts(&path, options).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(FetchedValue::Nothing),
                Err(object_store::Error::NotModified { .. }) => return Ok(FetchedValue::Unchanged),
                got => got?,
            };
            let (e_tag, version) = (got.meta.e_tag.clone(), got.meta.version.clone());
            let bytes = got.bytes().await?.to_vec();
            Ok(FetchedValue::Value(StoredValue { bytes, state: self.state(e_tag, version) }))
        };
        let fetched = self.in_time(key, "read", fetch).await;
        self.pass("receive value", key)?;
        match fetched? {
            FetchedValue::Value(value) if value.state.e_tag.is_empty() => {
                Err(self.unknown("read", key, "the store does not return ETags"))
            }
            fetched => Ok(fetched),
        }
    }

    /// Stores a value if it is in this state, or if there is none. An error says nothing about
    /// whether it was stored.
    pub(crate) async fn store_value(
        &self,
        key: &str,
        seen: Option<&ValueState>,
        bytes: &[u8],
    ) -> Result<Stored> {
        let sent = fault::write_step("send value", bytes.len(), Ok);
        let sent = sent.map_err(|error| self.unknown("change", key, &error.to_string()))?;
        if sent < bytes.len() {
            return Err(self.unknown("change", key, "the connection broke"));
        }
        let mode = seen.map_or(PutMode::Create, |seen| {
            let (e_tag, version) = (Some(seen.e_tag.clone()), seen.generation.clone());
            PutMode::Update(UpdateVersion { e_tag, version })
        });
        let options = PutOptions { mode, ..Default::default() };
        let (path, body) = (self.path_of(key)?, Bytes::copy_from_slice(bytes));
        let put = async {
            match self.inner.put_opts(&path, body.into(), options).await {
                Ok(PutResult { e_tag, version, .. }) => Ok(Stored::Yes(self.state(e_tag, version))),
                Err(
                    object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. }
                    | object_store::Error::NotFound { .. },
                ) => Ok(Stored::Refused),
                Err(error) => Err(error),
            }
        };
        let stored = self.in_time(key, "change", put).await;
        self.pass("receive answer", key)?;
        stored
    }

    /// Removes a value, if there is one.
    pub(crate) async fn remove_value(&self, key: &str) -> Result<()> {
        self.pass("remove value", key)?;
        let path = self.path_of(key)?;
        let removed = async {
            match self.inner.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                removed => removed,
            }
        };
        self.in_time(key, "change", removed).await
    }

    /// Returns the names of the values below a key, in no certain order.
    pub(crate) async fn value_names(&self, key: &str) -> Result<Vec<String>> {
        self.pass("list values", key)?;
        let dir = self.path_of(key)?;
        let list = async {
            let mut names = Vec::new();
            let mut listed = self.inner.list(Some(&dir));
            while let Some(object) = listed.next().await {
                names.extend(object?.location.filename().map(str::to_owned));
            }
            Ok(names)
        };
        self.in_time(key, "read", list).await
    }

    /// The state by which this store compares. Others return a number with some answers only.
    fn state(&self, e_tag: Option<String>, version: Option<String>) -> ValueState {
        let generation = version.filter(|_| self.url.scheme == Scheme::Google);
        ValueState { e_tag: e_tag.unwrap_or_default(), generation }
    }

    async fn in_time<R>(
        &self,
        key: &str,
        verb: &'static str,
        work: impl Future<Output = object_store::Result<R>>,
    ) -> Result<R> {
        match tokio::time::timeout(AT_MOST, work).await {
            Ok(done) => done.map_err(|error| {
                let (kind, why) = explain(&error);
                Error::refused(kind, verb, self.url.object(key), why)
            }),
            Err(_) => Err(self.unknown(verb, key, "no answer came in time")),
        }
    }

    /// Passes the fault hook.
    fn pass(&self, step: &'static str, key: &str) -> Result<()> {
        fault::step(step).map_err(|error| self.unknown("use", key, &error.to_string()))
    }

    fn unknown(&self, verb: &'static str, key: &str, why: &str) -> Error {
        Error::refused(ErrorKind::ArchiveUnreachable, verb, self.url.object(key), why)
    }
}
