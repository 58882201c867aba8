//! The update lock of a shared policy: courtesy, not safety.
//!
//! It is a value that is never removed: free, or held by an owner for a time to live. The clocks of
//! machines are never compared: a lock is taken over once an observer has seen the same token for
//! the whole time to live on its own monotonic clock, as in the leader election of Kubernetes. A
//! holder that was paused for longer finds at its commit that the version has changed.

use super::{ProtocolTiming, random_id};
use crate::clock::{Deadline, Stopwatch};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::author::Author;
use crate::policy::backend::{Backend, Loaded, Slot, Swap, Token};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The content of the slot, as TOML. `id` makes all of them differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LockRecord {
    pub(super) id: String,
    /// `None` if it is free.
    pub(super) holder: Option<LockHolder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LockHolder {
    pid: u32,
    host: String,
    owner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    ttl_ms: u64,
}

/// How long a failed attempt to free the lock may take for a second one to follow.
const PATIENCE: Duration = Duration::from_secs(1);

/// No lock lives longer, whatever it says.
const LONGEST_TTL: Duration = Duration::from_secs(60 * 60);

impl LockHolder {
    fn this(note: Option<&str>, ttl: Duration) -> Self {
        let author = Author::this();
        Self {
            pid: author.pid(),
            host: author.host().to_owned(),
            owner: author.user().to_owned(),
            note: note.map(str::to_owned),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms).min(LONGEST_TTL)
    }

    fn describe(&self) -> String {
        let Self { pid, host, owner, note, .. } = self;
        // As in the header of a version. Another program may have written it.
        let author = Author::new(*pid, host, owner);
        let note = note.as_deref().and_then(crate::policy::document::comment);
        let note = note.map(|note| format!(", \"{note}\"")).unwrap_or_default();
        format!("{author}{note}")
    }
}

impl LockRecord {
    fn to_bytes(&self) -> Vec<u8> {
        // A record of strings and numbers is TOML.
        toml::to_string(self).unwrap_or_default().into_bytes()
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        toml::from_str(std::str::from_utf8(bytes).ok()?).ok()
    }
}

/// Since when this process has seen the lock in its state.
#[derive(Debug, Default)]
pub(super) struct LockObserver(Mutex<Option<(Token, Stopwatch)>>);

impl LockObserver {
    /// How long this state has been seen by now.
    pub(super) fn observe(&self, token: &Token) -> Duration {
        let mut seen = self.0.lock();
        match &*seen {
            Some((last, since)) if last == token => since.elapsed(),
            _ => {
                *seen = Some((token.clone(), Stopwatch::start()));
                Duration::ZERO
            }
        }
    }
}

/// Frees the update lock when it is dropped.
pub(super) struct UpdateGuard<'a> {
    backend: &'a dyn Backend,
    token: Token,
    ids: Vec<String>,
}

impl Drop for UpdateGuard<'_> {
    fn drop(&mut self) {
        let free = || LockRecord { id: random_id(), holder: None }.to_bytes();
        let swap = |token| self.backend.compare_and_swap(Slot::Lock, Some(token), &free());
        let sent = Stopwatch::start();
        if let Swap::Unknown(_) = swap(&self.token) {
            // Once more, if it is still ours and the network is quick. Otherwise others wait for
            // its time to live, and the caller not at all.
            if sent.elapsed() > PATIENCE {
                return;
            }
            if let Ok(Some(loaded)) = self.backend.load(Slot::Lock) {
                if is_ours(&loaded, &self.ids) {
                    let _ = swap(&loaded.token);
                }
            }
        }
    }
}

fn is_ours(loaded: &Loaded, ids: &[String]) -> bool {
    LockRecord::parse(&loaded.bytes).is_some_and(|record| ids.contains(&record.id))
}

/// The state of a lock, as one that wants it sees it.
enum Turn {
    Ours(Token),
    /// It may be taken, in place of this state.
    Open(Option<Token>),
    /// It is held by this one.
    Held(String),
}

/// A wish for the update lock.
pub(super) struct LockRequest<'a, 'n> {
    pub(super) backend: &'a dyn Backend,
    pub(super) observer: &'a LockObserver,
    pub(super) timing: &'a ProtocolTiming,
    pub(super) note: Option<&'n str>,
}

impl<'a> LockRequest<'a, '_> {
    /// Takes the lock. `on_wait` is called once if it is held elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::LockTimeout`] if it was held until the deadline: the message names the holder.
    pub(super) fn take(&self, until: Deadline, on_wait: impl FnOnce()) -> Result<UpdateGuard<'a>> {
        let (started, backend) = (Stopwatch::start(), self.backend);
        let holder = LockHolder::this(self.note, self.timing.ttl);
        let (mut delays, mut on_wait) = (self.timing.delays(), Some(on_wait));
        // Each attempt has an id of its own: if one was made, and the lock was taken over already,
        // the same bytes again would be a state that comes back.
        let mut ids = Vec::new();
        loop {
            let failure = match self.timing.insist(until, || self.look(&ids))? {
                Turn::Ours(token) => return Ok(UpdateGuard { backend, token, ids }),
                Turn::Open(seen) => {
                    let id = random_id();
                    ids.push(id.clone());
                    let record = LockRecord { id, holder: Some(holder.clone()) }.to_bytes();
                    match backend.compare_and_swap(Slot::Lock, seen.as_ref(), &record) {
                        Swap::Won(token) => return Ok(UpdateGuard { backend, token, ids }),
                        // The next look finds whose it is.
                        Swap::Lost => self.timeout(started, "others"),
                        Swap::Unknown(error) => error,
                    }
                }
                Turn::Held(holder) => {
                    if let Some(on_wait) = on_wait.take() {
                        on_wait();
                    }
                    self.timeout(started, &holder)
                }
            };
            if !delays.pause(until) {
                return Err(failure);
            }
        }
    }

    fn look(&self, ids: &[String]) -> Result<Turn> {
        let Some(loaded) = self.backend.load(Slot::Lock)? else { return Ok(Turn::Open(None)) };
        if is_ours(&loaded, ids) {
            return Ok(Turn::Ours(loaded.token));
        }
        // An unreadable one lives as long as a lock of ours.
        let record = LockRecord::parse(&loaded.bytes);
        let holder = match record.map(|record| record.holder) {
            Some(None) => return Ok(Turn::Open(Some(loaded.token))),
            Some(Some(holder)) => Some(holder),
            None => None,
        };
        let ttl = holder.as_ref().map_or(self.timing.ttl, LockHolder::ttl);
        if self.observer.observe(&loaded.token) >= ttl {
            return Ok(Turn::Open(Some(loaded.token)));
        }
        let who = holder.map_or_else(|| "an unreadable holder".to_owned(), |it| it.describe());
        Ok(Turn::Held(format!("{who}; a holder that died loses it after {ttl:?}")))
    }

    fn timeout(&self, started: Stopwatch, holder: &str) -> Error {
        let waited = started.elapsed().as_secs_f64();
        let why = format!("timed out after {waited:.1} s (held by {holder})");
        let action = "take update lock of policy";
        Error::refused(ErrorKind::LockTimeout, action, self.backend.url(), why)
    }
}
