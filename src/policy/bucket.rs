//! A policy in an object store: one object for the version in force, replaced by conditional PUT.
//!
//! | object | content |
//! |---|---|
//! | `<url>/current` | the version in force |
//! | `<url>/history/<number, 20 digits>` | a committed version |
//! | `<url>/lock` | the update lock |
//! | `<url>/probe` | a number, to test conditions |

use super::backend::{Backend, Change, Kept, Loaded, Slot, Stop, Swap, Token};
use super::key::{number_of, numbered};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{
    ArchiveStore, ArchiveUrl, Blocking, FetchedValue, Stored, StoredValue, ValueState,
};
use crate::units::redacted;
use std::time::Duration;

pub(super) struct Bucket {
    store: ArchiveStore,
    blocking: Blocking,
    /// The key of the policy, below which its objects are.
    key: String,
    url: String,
}

const HISTORY: &str = "history";

impl Bucket {
    /// Opens the store of a policy such as `s3://bucket/prefix/app.policy`. Sends nothing.
    pub(super) fn open(url: &str) -> Result<Self> {
        let (parsed, name) = ArchiveUrl::of_log(url)
            .map_err(|error| Error::config("policy", redacted(url), error.cause_text()))?;
        let key = parsed.key(&name, "", "");
        let url = parsed.object(&key);
        let store = ArchiveStore::of_values(parsed)
            .map_err(|error| Error::config("policy", &url, error.cause_text()))?;
        Ok(Self { store, blocking: Blocking::new(&url)?, key, url })
    }

    fn key_of(&self, slot: Slot) -> String {
        format!("{}/{}", self.key, slot.name())
    }

    fn key_of_version(&self, version: u64) -> String {
        format!("{}/{HISTORY}/{}", self.key, numbered(version))
    }

    /// Waits for a request, and words its failure as that of a policy.
    fn run<R: Send>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        self.blocking.wait(&self.url, work).map_err(|error| match error.kind() {
            ErrorKind::ArchiveDenied => Error::policy_denied(action, &self.url, error.cause_text()),
            ErrorKind::ArchiveUnreachable => {
                Error::policy_unreachable(action, &self.url, error.cause_text())
            }
            _ => error,
        })
    }

    /// Reads a value; once more after a failure.
    fn read(&self, key: &str, unless: Option<&ValueState>) -> Result<FetchedValue> {
        let read = || self.run("read", self.store.value(key, unless));
        match read() {
            Err(error) if error.kind() == ErrorKind::PolicyUnreachable => read(),
            done => done,
        }
    }

    fn put(&self, key: &str, seen: Option<&ValueState>, bytes: &[u8]) -> Result<Stored> {
        self.run("change", self.store.store_value(key, seen, bytes))
    }
}

impl Backend for Bucket {
    fn url(&self) -> &str {
        &self.url
    }

    fn load(&self, slot: Slot) -> Result<Option<Loaded>> {
        match self.read(&self.key_of(slot), None)? {
            FetchedValue::Value(value) => Ok(Some(loaded(value))),
            FetchedValue::Nothing | FetchedValue::Unchanged => Ok(None),
        }
    }

    fn load_if_changed(&self, slot: Slot, seen: &Token) -> Result<Change> {
        let seen = state(seen);
        Ok(match self.read(&self.key_of(slot), Some(&seen))? {
            FetchedValue::Unchanged => Change::Same,
            // A server may ignore the condition.
            FetchedValue::Value(value) if value.state == seen => Change::Same,
            FetchedValue::Value(value) => Change::Other(loaded(value)),
            FetchedValue::Nothing => Change::Missing,
        })
    }

    fn compare_and_swap(&self, slot: Slot, seen: Option<&Token>, new: &[u8]) -> Swap {
        match self.put(&self.key_of(slot), seen.map(state).as_ref(), new) {
            Ok(Stored::Yes(state)) if !state.e_tag.is_empty() => Swap::Won(token(&state)),
            // Without an ETag, it is loaded.
            Ok(Stored::Yes(_)) => Swap::Unknown(Error::policy_unreachable(
                "change",
                &self.url,
                "the store does not return ETags",
            )),
            Ok(Stored::Refused) => Swap::Lost,
            Err(error) => Swap::Unknown(error),
        }
    }

    fn wait(&self, _: Option<&Token>, at_most: Duration, stop: &Stop) {
        stop.sleep(at_most);
    }

    fn keep(&self, version: u64, bytes: &[u8]) -> Result<Kept> {
        let key = self.key_of_version(version);
        if let Stored::Yes(_) = self.put(&key, None, bytes)? {
            return Ok(Kept::Yes);
        }
        match self.kept(version)? {
            Some(there) if there == bytes => Ok(Kept::Yes),
            Some(_) => Ok(Kept::Other),
            None => {
                let why = "the store refuses an object, and has none";
                Err(Error::policy_unreachable("keep a version of", &self.url, why))
            }
        }
    }

    fn kept(&self, version: u64) -> Result<Option<Vec<u8>>> {
        Ok(match self.read(&self.key_of_version(version), None)? {
            FetchedValue::Value(value) => Some(value.bytes),
            FetchedValue::Nothing | FetchedValue::Unchanged => None,
        })
    }

    fn kept_versions(&self) -> Result<Vec<u64>> {
        let dir = format!("{}/{HISTORY}", self.key);
        let names = self.run("list the versions of", self.store.value_names(&dir))?;
        let mut versions: Vec<_> = names.iter().filter_map(|name| number_of(name)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    fn discard(&self, version: u64) -> Result<()> {
        let key = self.key_of_version(version);
        self.run("remove a version of", self.store.remove_value(&key))
    }
}

fn loaded(value: StoredValue) -> Loaded {
    Loaded { token: token(&value.state), bytes: value.bytes }
}

/// A state as a token: its ETag, which has no line break, and its generation.
fn token(state: &ValueState) -> Token {
    Token(format!("{}\n{}", state.e_tag, state.generation.as_deref().unwrap_or_default()))
}

fn state(token: &Token) -> ValueState {
    let (e_tag, generation) = token.0.split_once('\n').unwrap_or((&token.0, ""));
    let generation = (!generation.is_empty()).then(|| generation.to_owned());
    ValueState { e_tag: e_tag.to_owned(), generation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_the_inverse_of_its_token() {
        for generation in [None, Some("1732".to_owned())] {
            let of = ValueState { e_tag: "\"a-1\"".to_owned(), generation };
            assert_eq!(state(&token(&of)), of);
        }
    }

    #[test]
    fn url_needs_a_name_and_shows_no_secret() {
        for url in ["s3://bucket", "s3://key:SECRET@bucket/p", "az://c/p?sig=SECRET", "gs:///p"] {
            let error = Bucket::open(url).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            let error = error.to_string();
            assert!(error.starts_with("invalid `policy` = "), "{error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
