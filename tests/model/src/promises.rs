//! The promises that must hold in every state.

use crate::check::{Seen, hash};
use crate::disk::{Name, Records};
use crate::protocol::{Job, Model, Naming, SPARE, Step, WORKERS, of_worker};
use crate::world::State;

/// A promise: its name, and a function that checks a state.
pub type Promise = (&'static str, fn(&Model, &State) -> bool);

/// An acknowledged record is found, unless its backup was pruned.
pub const LOST: &str = "no record is lost";
/// It is found once, and not again after it was pruned.
pub const DOUBLED: &str = "no record is doubled";
/// At most one worker has the rotation lock.
pub const ONE_HOLDER: &str = "one holder of the rotation lock";
/// Only a full segment becomes a backup.
pub const ONE_ROTATION: &str = "one rotation per overflow";
/// A file that a worker appends to is neither compressed nor removed.
pub const ONLY_FINISHED: &str = "only backups that nobody can append to are touched";
/// A file named `.gz` is complete.
pub const WHOLE_GZ: &str = "no partial .gz under its name";
/// A worker's records are in order over the segments.
pub const ORDER: &str = "a worker's records are in order";
/// With an exchange, the log's path is never empty. Otherwise, without a crash, only the holder of
/// the rotation lock ever sees it so.
pub const PATH: &str = "the log's path names a segment";
/// All workers can come to rest, and then, or after a crash of all, the log still works.
pub const LIVE: &str = "the log can be written and rotated again";

/// All promises that a single state keeps or breaks.
pub const ALL: [Promise; 8] = [
    (LOST, none_is_lost),
    (DOUBLED, none_is_doubled),
    (ONE_HOLDER, |_, s| s.workers.iter().filter(|w| w.is_inside()).count() <= 1),
    (ONE_ROTATION, only_full_segments_are_rotated),
    (ONLY_FINISHED, only_finished_are_touched),
    (WHOLE_GZ, |_, s| s.disk.backups().all(|n| s.disk.at(Name::Gz(n)).is_none_or(|gz| gz.whole))),
    (ORDER, records_are_in_order),
    (PATH, path_is_named),
];

/// The contents a reader finds, oldest first; a `.gz` counts, and an uncompressed file beside it
/// does not.
fn segments(model: &Model, state: &State) -> impl Iterator<Item = Records> {
    let disk = state.disk;
    let is_reversed = model.naming == Naming::Number;
    let place = move |n: u8| if is_reversed { crate::disk::BACKUPS + 1 - n } else { n };
    (1..=crate::disk::BACKUPS)
        .map(place)
        .filter_map(move |n| disk.at(Name::Gz(n)).or(disk.at(Name::Plain(n))).map(|f| f.records))
        // A file with two names is one segment.
        .chain(disk.at(Name::Log).filter(|_| disk.plain_of(Name::Log).is_none()).map(|f| f.records))
}

fn found(model: &Model, state: &State) -> Records {
    segments(model, state).fold(0, |all, records| all | records)
}

fn none_is_lost(model: &Model, state: &State) -> bool {
    state.acknowledged & !found(model, state) & !state.pruned == 0
}

fn none_is_doubled(model: &Model, state: &State) -> bool {
    let mut seen = state.pruned;
    segments(model, state).all(|records| {
        let is_new = seen & records == 0;
        seen |= records;
        is_new
    })
}

fn only_full_segments_are_rotated(model: &Model, state: &State) -> bool {
    let is_full =
        |n| state.disk.at(Name::Plain(n)).is_none_or(|f| f.records.count_ones() >= model.full_at);
    (1..=crate::disk::BACKUPS).all(is_full)
}

fn only_finished_are_touched(_: &Model, state: &State) -> bool {
    let disk = &state.disk;
    state.workers.iter().filter_map(|worker| worker.segment).all(|segment| {
        let is_at = |name| disk.stat(name) == Some(segment.file);
        is_at(Name::Log) || disk.backups().any(|n| is_at(Name::Plain(n)) && !disk.has(Name::Gz(n)))
    })
}

fn records_are_in_order(model: &Model, state: &State) -> bool {
    (0..WORKERS).all(|w| {
        let mut before: Records = 0;
        segments(model, state).map(|records| records & of_worker(w)).all(|records| {
            let is_after = records == 0 || 1u32 << records.trailing_zeros() > u32::from(before);
            before |= records;
            is_after
        })
    })
}

fn path_is_named(model: &Model, state: &State) -> bool {
    let is_named = state.disk.has(Name::Log) || state.disk.backups().next().is_none();
    if model.exchanges && model.faults == 0 {
        return is_named;
    }
    is_named || state.crashes < model.crashes || state.workers.iter().any(|w| w.is_inside())
}

/// The check of [`LIVE`], which concerns the states that may follow: remembers known results.
#[derive(Default)]
pub(crate) struct Liveness {
    resting: Seen,
    working: Seen,
}

impl Liveness {
    /// Whether all workers can come to rest and the log then works, and works after a crash of all.
    pub(crate) fn holds(&mut self, model: &Model, state: &State) -> bool {
        let mut fresh = *state;
        (0..WORKERS).for_each(|w| fresh.crash(w));
        self.works(model, fresh) && self.rests(model, *state)
    }

    fn rests(&mut self, model: &Model, mut state: State) -> bool {
        for _ in 0..200 {
            if !self.resting.insert(hash(&state)) {
                return true;
            }
            if !take_turns(model, &mut state) {
                return self.works(model, state);
            }
        }
        false
    }

    fn works(&mut self, model: &Model, mut state: State) -> bool {
        (state.crashes, state.faults) = (0, 0);
        !self.working.insert(hash(&state)) || works(model, state)
    }
}

/// Lets each busy worker take a step; false if none is busy.
fn take_turns(model: &Model, state: &mut State) -> bool {
    let mut is_busy = false;
    for w in 0..WORKERS {
        if state.workers[w].step != Step::Idle {
            state.step(model, w);
            is_busy = true;
        }
    }
    is_busy
}

fn comes_to_rest(model: &Model, state: &mut State) -> bool {
    (0..200).any(|_| !take_turns(model, state))
}

/// Whether worker 0 alone can write until a segment is full and a new one is started.
fn works(model: &Model, mut state: State) -> bool {
    let writes = usize::try_from(model.full_at).expect("BUG: too many") + 1;
    let before = state.acknowledged;
    for _ in 0..writes {
        // Its remaining records would suffice, too, but every state gets the same test.
        state.begin(model, 0, Job::Write);
        if !comes_to_rest(model, &mut state) {
            return false;
        }
    }
    let new = state.acknowledged & !before;
    let active = state.disk.at(Name::Log).map_or(0, |file| file.records);
    new.count_ones() as usize == writes
        && active & new != 0
        && active & new != new
        && none_is_lost(model, &state)
        && is_tidied(model, state)
}

/// Whether worker 0 can finish all maintenance that is not held up by a lease.
fn is_tidied(model: &Model, mut state: State) -> bool {
    for _ in 0..20 {
        let before = state;
        let mut jobs = Vec::new();
        state.maintenance(model, |job| jobs.push(job));
        for job in jobs {
            state.begin(model, 0, job);
            if !comes_to_rest(model, &mut state) {
                return false;
            }
        }
        if state == before {
            let is_leased = |n| {
                let file = state.disk.stat(Name::Plain(n));
                state.workers.iter().any(|w| w.segment.is_some_and(|s| Some(s.file) == file))
            };
            return none_is_lost(model, &state)
                && state.disk.temps().next().is_none()
                && !state.disk.has(Name::Lock)
                && state.disk.backups().all(|n| !state.disk.has(Name::Plain(n)) || is_leased(n));
        }
    }
    false
}

const _: () = assert!(SPARE.end - SPARE.start >= 3, "records to see that the log works");
