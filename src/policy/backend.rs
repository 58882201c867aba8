//! The seam between a policy that machines share and the system that holds it.
//!
//! A [`Backend`] holds a few [slots](Slot), each with bytes and a [token](Token), and a history of
//! numbered texts. It knows nothing of what the bytes mean. The protocol above it (`shared/`)
//! relies on exactly what is written here, and on nothing else. Policies in files have no backend:
//! they have a file lock, and people edit them by hand.

use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex};
use crate::units::redacted;
use std::sync::Arc;
use std::time::Duration;

/// A value that a backend holds under the name of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    /// The document in force: `<name>/current`, or `<name>` itself.
    Current,
    /// The update lock: `<name>/lock`. It is never removed: a free lock has other bytes.
    Lock,
    /// A value without meaning, to test whether conditions are obeyed: `<name>/probe`.
    Probe,
}

impl Slot {
    /// The last part of its name in every backend.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Lock => "lock",
            Self::Probe => "probe",
        }
    }
}

/// Identifies one state of a slot: an ETag, a generation, a revision. Opaque to the protocol.
///
/// All bytes ever stored in one slot differ (each has a random number inside), so a token that is a
/// digest of the bytes is as good as one that counts. A token must never be given to two states.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) String);

/// The state of a slot: its bytes, and the token of exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) token: Token,
}

/// The state of a slot, compared with one that was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has the same token.
    Same,
    Other(Loaded),
    /// The slot is gone.
    Missing,
}

/// The outcome of a compare-and-swap.
#[derive(Debug)]
pub(crate) enum Swap {
    /// The backend has acknowledged it: the new bytes were stored, exactly in place of the state
    /// that was expected, and will be found by every later load on any machine. They are durable as
    /// far as the backend makes anything durable. The token is that of the new bytes.
    Won(Token),
    /// The backend has answered that the slot was in another state. The new bytes are not stored by
    /// this call, now or later.
    Lost,
    /// Anything else. The bytes may have been stored, may be stored later, or never.
    ///
    /// An implementation must return this, and neither `Lost` nor an error that looks final, if
    ///
    /// - the request, or a part of it, may have been sent, and no answer came: a timeout, a
    ///   connection that broke, a process that was asked to stop;
    /// - the answer does not say whether the condition was evaluated: 5xx, 408, 409, 429, a
    ///   serialization failure of the commit itself, an unreadable body;
    /// - it was refused after the request had been sent more than once, by whichever layer: the
    ///   refusal may be about our own bytes. So do not retry inside, or return this.
    ///
    /// A request that certainly was not sent (no address, connection refused, credentials rejected)
    /// may be `Unknown` too. The protocol loads the slot and looks for its own change id before it
    /// does anything else, so `Unknown` is always safe and costs one request.
    Unknown(Error),
}

/// The outcome of keeping a text in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// These very bytes are there, now or since before.
    Yes,
    /// Other bytes are there under that number. They were not changed.
    Other,
}

/// One policy in a system that machines share.
///
/// It is synchronous. An implementation that needs an asynchronous runtime owns one, and must work
/// when it is called from a thread of another runtime. Calls come from several threads at a time.
/// Every call except `wait` returns within about 10 s, whatever the network does: a call that hangs
/// makes `update` miss its timeout.
///
/// Errors are [`ErrorKind::PolicyUnreachable`](crate::ErrorKind::PolicyUnreachable), or
/// [`ErrorKind::PolicyDenied`](crate::ErrorKind::PolicyDenied) if the credentials are rejected.
/// Both mean that nothing is known. Make them with `Error::policy_unreachable` and
/// `Error::policy_denied`, without any secret in the text. Reads may be repeated inside.
///
/// Reads are linearizable: a load that begins after a swap was acknowledged, on any machine,
/// returns these bytes or newer ones. A replica that lags is not good enough.
pub(crate) trait Backend: Send + Sync {
    /// The URL without secrets, for messages.
    fn url(&self) -> &str;

    /// Returns the state of a slot; `None` if it was never stored.
    fn load(&self, slot: Slot) -> Result<Option<Loaded>>;

    /// As `load`, but cheap if the state is the one that was seen.
    fn load_if_changed(&self, slot: Slot, seen: &Token) -> Result<Change>;

    /// Stores new bytes if the slot is in the state `seen`; `None` means that it was never stored.
    /// See [`Swap`] for the outcomes.
    fn compare_and_swap(&self, slot: Slot, seen: Option<&Token>, new: &[u8]) -> Swap;

    /// Returns once [`Slot::Current`] may have another state than `seen`, at the latest after
    /// `at_most`, and at once if `stop` is set. It may return early, and for no reason. A failure
    /// is no reason to return early: the caller would spin. Without a way to be notified, this is
    /// `stop.sleep(at_most)`. A backend that waits for notifications looks at `stop` at least once
    /// a second.
    fn wait(&self, seen: Option<&Token>, at_most: Duration, stop: &Stop);

    /// Stores a text in the history under a number, never replacing one. Idempotent: if the answer
    /// is lost, the protocol calls it again.
    fn keep(&self, version: u64, bytes: &[u8]) -> Result<Kept>;

    /// Returns a text of the history.
    fn kept(&self, version: u64) -> Result<Option<Vec<u8>>>;

    /// Returns the numbers in the history, in ascending order.
    fn kept_versions(&self) -> Result<Vec<u64>>;

    /// Removes a text from the history, if it is there.
    fn discard(&self, version: u64) -> Result<()>;
}

/// Ends a wait from another thread.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    state: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Ends every wait, from now on.
    pub(crate) fn set(&self) {
        *self.state.lock() = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.state.lock()
    }

    /// Sleeps; shorter if it is set meanwhile.
    pub(crate) fn sleep(&self, at_most: Duration) {
        let end = Deadline::after(at_most);
        let mut is_set = self.state.lock();
        while !*is_set {
            let Some(left) = end.left() else { return };
            self.changed.wait_for(&mut is_set, left);
        }
    }
}

/// Where a policy is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address<'a> {
    Path(&'a str),
    Url(&'a str),
}

impl<'a> Address<'a> {
    /// A drive of Windows has one letter.
    pub(crate) fn of(text: &'a str) -> Self {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        match text.split_once("://") {
            Some(("file", path)) => Self::Path(path),
            Some((scheme, _)) if scheme.len() > 1 && scheme.chars().all(is_part) => Self::Url(text),
            _ => Self::Path(text),
        }
    }
}

/// Opens the system that a URL names. Sends nothing.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) if the URL is not one of a system
/// that this build has.
pub(crate) fn open(url: &str) -> Result<Arc<dyn Backend>> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    // One line for each system, with its feature or without.
    match scheme {
        #[cfg(feature = "archive")]
        "s3" | "gs" | "az" => Ok(Arc::new(super::bucket::Bucket::open(url)?)),
        #[cfg(not(feature = "archive"))]
        "s3" | "gs" | "az" => missing(url, "archive"),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => super::postgres::Postgres::open(url),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => missing(url, "postgres"),
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => super::etcd::Etcd::open(url),
        #[cfg(not(feature = "etcd"))]
        "etcd" | "etcds" => missing(url, "etcd"),
        _ => Err(Error::config("policy", redacted(url), USE)),
    }
}

#[cfg(not(all(feature = "archive", feature = "etcd", feature = "postgres")))]
fn missing(url: &str, feature: &str) -> Result<Arc<dyn Backend>> {
    Err(Error::config("policy", redacted(url), format!("this build lacks the feature `{feature}`")))
}

const USE: &str = "use a path, or `s3://bucket/prefix/app.policy`, `gs://bucket/prefix/app.policy`, \
                   `az://container/prefix/app.policy`, `postgres://host/database/app.policy`, \
                   `etcd://host:2379/app.policy`";
