//! An exhaustive model of how workers share, rotate and maintain one log.
//!
//! [`protocol`] has the steps, and [`world`] their effects, on the small file system of [`disk`].
//! [`promises`] must hold in every state. [`check`](check::check) visits every reachable state,
//! whatever the order in which the workers run.

pub mod check;
pub mod disk;
pub mod promises;
pub mod protocol;
mod trace;
pub mod world;

use protocol::{Job, Model, Step};
use world::State;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An idle worker starts a job, with its first call.
    Begins(u8, Job),
    /// A worker makes its next call.
    Goes(u8),
    /// A worker makes its next call, which fails.
    Fails(u8),
    /// A worker is killed, and a fresh one takes its place.
    Crashes(u8),
    /// Another program creates a file at the log's path.
    Intrudes,
}

impl Model {
    /// Offers all events that may happen next.
    pub fn events(&self, state: &State, mut offer: impl FnMut(Event)) {
        for w in 0..self.writes.len() {
            let me = w as u8;
            match state.workers[w].step {
                Step::Idle => state.jobs(self, w, |job| offer(Event::Begins(me, job))),
                _ => offer(Event::Goes(me)),
            }
            if state.may_fail(w) {
                offer(Event::Fails(me));
            }
            if state.may_crash(w) {
                offer(Event::Crashes(me));
            }
        }
        if state.may_intrude() {
            offer(Event::Intrudes);
        }
    }

    /// The state after `event`, and its outcome.
    pub fn after(&self, state: &State, event: Event) -> (State, &'static str) {
        let mut next = *state;
        let outcome = match event {
            Event::Begins(w, job) => {
                next.begin(self, w.into(), job);
                next.step(self, w.into())
            }
            Event::Goes(w) => next.step(self, w.into()),
            Event::Fails(w) => next.fail(w.into()),
            Event::Crashes(w) => {
                next.crash(w.into());
                ""
            }
            Event::Intrudes => {
                next.intrude();
                ""
            }
        };
        (next, outcome)
    }
}
