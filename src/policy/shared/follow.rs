//! The thread that follows a shared policy, so that readers never wait for it.

use super::SharedPolicy;
use crate::error::{Error, Result};
use crate::fs;
use crate::policy::Settings;
use crate::policy::store::{PolicySource, PolicyStore, StoreState};
use std::sync::{Arc, Weak};
use std::thread::Builder;

impl<T: Settings> PolicyStore<T> {
    /// Starts the thread. It ends after the last handle of the store is dropped, and is not waited
    /// for: a request may be under way.
    pub(in crate::policy) fn follow_shared(&self, shared: &SharedPolicy<T>) -> Result<()> {
        let (backend, stop) = (Arc::clone(&shared.backend), Arc::clone(&shared.stop));
        let (store, interval) = (Arc::downgrade(&self.0), shared.timing.interval);
        let work = move || {
            fs::lower_priority();
            loop {
                let seen = match seen(&store) {
                    Some(seen) => seen,
                    None => return,
                };
                // Varied, so that machines that were started together do not ask together.
                let at_most = interval.mul_f64(0.9 + 0.1 * fastrand::f64());
                backend.wait(seen.as_ref(), at_most, &stop);
                if stop.is_set() || !look(&store) {
                    return;
                }
            }
        };
        let spawn = || Builder::new().name("logrotor-policy".to_owned()).spawn(work);
        let spawned = fs::without_signals(spawn);
        let path = &shared.judge.path;
        spawned.map(drop).map_err(|error| Error::io("start a thread to follow policy", path, error))
    }
}

/// The state that was put in force last; `None` if the store is gone.
fn seen<T: Settings>(store: &Weak<StoreState<T>>) -> Option<Option<crate::policy::backend::Token>> {
    let state = store.upgrade()?;
    match &state.source {
        PolicySource::Shared(shared) => Some(shared.seen.lock().clone()),
        PolicySource::File(_) => None,
    }
}

/// Looks once; `false` if the store is gone. A problem is reported by the store.
fn look<T: Settings>(store: &Weak<StoreState<T>>) -> bool {
    let Some(state) = store.upgrade() else { return false };
    let store = PolicyStore(state);
    if let PolicySource::Shared(shared) = &store.0.source {
        let _ = store.look_at_shared(shared);
    }
    true
}
