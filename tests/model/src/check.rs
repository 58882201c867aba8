//! Visits every reachable state, nearest first.
//!
//! States are distinguished by a 64-bit hash. For ten million states, the chance that any two share
//! a hash is 3 in a million.
//!
//! A ready-made checker such as `stateright` does not fit. The promise that the log *can* still be
//! written concerns the states that may follow, and needs a memory across states. `stateright` 0.31
//! examines only states and paths. An earlier revision of this model had the same counts of states
//! under both.

use crate::promises::{ALL, Liveness};
use crate::protocol::Model;
use crate::world::State;
use crate::{Event, trace};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// The result of a search.
pub struct Report {
    /// The number of states, or the number visited before the search ended.
    pub states: usize,
    /// The broken promises in the order of discovery, each with a shortest way to it.
    pub broken: Vec<(&'static str, String)>,
}

impl Report {
    /// The way to a broken promise.
    pub fn trace(&self, promise: &str) -> Option<&str> {
        self.broken.iter().find(|(name, _)| *name == promise).map(|(_, trace)| trace.as_str())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} states", self.states)?;
        self.broken.iter().try_for_each(|(name, trace)| writeln!(f, "\nBROKEN: {name}\n{trace}"))
    }
}

/// Visits all states until `until` is broken, or no state is left.
///
/// The states after a broken promise are visited as well: two holders of a lock are a flaw, and the
/// lost record is its cost.
pub fn check(model: &Model, until: Option<&str>) -> Report {
    let first = State::first(model);
    let mut seen = Seen::default();
    seen.insert(hash(&first));
    let mut origins: Vec<(u32, Option<Event>)> = vec![(0, None)];
    let mut frontier = VecDeque::from([(0, first)]);
    let mut liveness = Liveness::default();
    let mut report = Report { states: 0, broken: Vec::new() };
    while let Some((at, state)) = frontier.pop_front() {
        report.states += 1;
        let broken = ALL.iter().filter(|(_, holds)| !holds(model, &state)).map(|(name, _)| *name);
        let is_stuck = !liveness.holds(model, &state);
        for name in broken.chain(is_stuck.then_some(crate::promises::LIVE)) {
            if report.trace(name).is_none() {
                report.broken.push((name, trace::print(model, &way_to(&origins, at))));
            }
        }
        if until.is_some_and(|name| report.trace(name).is_some()) {
            break;
        }
        model.events(&state, |event| {
            let (next, _) = model.after(&state, event);
            if seen.insert(hash(&next)) {
                let here = u32::try_from(origins.len()).expect("BUG: too many states");
                origins.push((at, Some(event)));
                frontier.push_back((here, next));
            }
        });
    }
    report
}

fn way_to(origins: &[(u32, Option<Event>)], mut at: u32) -> Vec<Event> {
    let mut events = Vec::new();
    while let (from, Some(event)) = origins[at as usize] {
        events.push(event);
        at = from;
    }
    events.reverse();
    events
}

/// Hashes seen so far.
pub(crate) type Seen = HashSet<u64, BuildHasherDefault<AsItIs>>;

pub(crate) fn hash(state: &State) -> u64 {
    BuildHasherDefault::<Folded>::default().hash_one(state)
}

/// Multiplies and folds, a word at a time.
#[derive(Default)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = u128::from(self.0 ^ value ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (mixed as u64 ^ (mixed >> 64) as u64).wrapping_add(0x2545_f491_4f6c_dd1d);
    }
}

/// A hasher for values that are hashes already.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("BUG: only for numbers");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
