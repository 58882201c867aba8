//! The commit of a version: exactly one winner, however late an answer comes.
//!
//! A swap is sent. If the answer is not a clear yes, the slot is loaded:
//!
//! | the slot has | and the history, at our number | so the change |
//! |---|---|---|
//! | our change id | | was made |
//! | the state that we expected | | was not made yet: the same swap may be sent again, since at most one of them can find that state |
//! | another version with our number | | was not made, and cannot be made any more |
//! | anything else | our change id | was made, and another one after it |
//! | anything else | another change id | was not made, and cannot be made any more |
//! | anything else | nothing | is unsettled |
//!
//! The last but two rows hold because the author of the next version has kept ours before.

use super::{ProtocolTiming, identity};
use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::backend::{Backend, Kept, Loaded, Slot, Swap};

/// A version to be put in force.
pub(super) struct Next<'a> {
    pub(super) version: u64,
    pub(super) change: &'a str,
    pub(super) text: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Commit {
    /// The change was made.
    Made,
    /// Another one was made in its place, and the policy is at this version or a later one.
    Overtaken(u64),
}

/// Keeps the version in force in the history: only there, and only committed versions.
pub(super) fn keep(backend: &dyn Backend, version: u64, bytes: &[u8]) -> Result<()> {
    match backend.keep(version, bytes)? {
        Kept::Yes => Ok(()),
        Kept::Other => {
            let why = format!("its history has another version {version} than was in force");
            Err(Error::policy_corrupt(backend.url().as_ref(), why))
        }
    }
}

/// Puts a version in force in place of the state that was loaded.
///
/// # Errors
/// [`ErrorKind::PolicyUnsettled`] if the deadline passes before it is known whether it was made.
pub(super) fn commit(
    backend: &dyn Backend,
    expected: Option<&Loaded>,
    next: &Next<'_>,
    until: Deadline,
    timing: &ProtocolTiming,
) -> Result<Commit> {
    let mut delays = timing.delays();
    let mut why = "it was refused, and nothing else is in its place".to_owned();
    loop {
        let token = expected.map(|expected| &expected.token);
        match backend.compare_and_swap(Slot::Current, token, next.text.as_bytes()) {
            Swap::Won(_) => return Ok(Commit::Made),
            // A proxy may have sent the request twice, and the refusal may be about our own bytes.
            Swap::Lost => {}
            Swap::Unknown(error) => why = error.to_string(),
        }
        let settled = timing.insist(until, || settle(backend, expected, next));
        match settled {
            Ok(Some(settled)) => return Ok(settled),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::PolicyUnsettled => return Err(error),
            Err(error) => return Err(unsettled(backend, next, &error.to_string())),
        }
        if !delays.pause(until) {
            return Err(unsettled(backend, next, &why));
        }
    }
}

/// Finds out what became of a change; `None` if it was not made yet.
pub(super) fn settle(
    backend: &dyn Backend,
    expected: Option<&Loaded>,
    next: &Next<'_>,
) -> Result<Option<Commit>> {
    let present = backend.load(Slot::Current)?;
    let is_expected = match (&present, expected) {
        (None, None) => true,
        (Some(present), Some(expected)) => present.token == expected.token,
        _ => false,
    };
    if is_expected {
        return Ok(None);
    }
    let found = present.and_then(|present| identity(&present.bytes));
    if let Some((version, change)) = &found {
        if change.as_deref() == Some(next.change) {
            return Ok(Some(Commit::Made));
        }
        if *version == next.version {
            return Ok(Some(Commit::Overtaken(*version)));
        }
    }
    match backend.kept(next.version)?.and_then(|bytes| identity(&bytes)) {
        Some((_, change)) if change.as_deref() == Some(next.change) => Ok(Some(Commit::Made)),
        Some(_) => Ok(Some(Commit::Overtaken(found.map_or(next.version, |(version, _)| version)))),
        None => {
            let why = "the policy has changed, and its history lacks the version";
            Err(unsettled(backend, next, why))
        }
    }
}

fn unsettled(backend: &dyn Backend, next: &Next<'_>, why: &str) -> Error {
    let action = format!("settle version {} of policy", next.version);
    let why = format!("{why}; it may or may not be made: look before you repeat the change");
    Error::refused(ErrorKind::PolicyUnsettled, action, backend.url(), why)
}
