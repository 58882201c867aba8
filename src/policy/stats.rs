//! Counters of a policy store.

use crate::error::Error;
use crate::stats::Counter;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counts of what one store, with all its clones, did in this process. Each figure is exact by
/// itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PolicyStats {
    /// Snapshots taken with [`current`](super::PolicyStore::current).
    pub reads: u64,
    /// Versions of other processes that were found in the file and put in force here.
    pub reloads: u64,
    /// Versions created here: updates, imports, rollbacks.
    pub updates: u64,
    /// Edits by hand accepted and given a version here.
    pub edits: u64,
    /// Changes refused because the policy was not at the version they were made for.
    pub conflicts: u64,
    /// Changes and edits rejected for their content: by their closure, the parser, or the
    /// validator.
    pub refused: u64,
    /// Waits for an update lock that was held elsewhere.
    pub lock_waits: u64,
    /// Texts parsed and checked by the validator.
    pub validations: u64,
    /// Times the file was damaged, missing, or replaced by an older version. Each is counted once.
    pub problems: u64,
    /// Times [`repair`](super::PolicyStore::repair) restored the file.
    pub repairs: u64,
    /// Versions in force of which no copy could be kept beside the file.
    pub unkept: u64,
    /// The current problem with the file.
    pub problem: Option<Error>,
}

#[derive(Debug, Default)]
pub(crate) struct PolicyCounters {
    pub(crate) reads: Reads,
    pub(crate) reloads: Counter,
    pub(crate) updates: Counter,
    pub(crate) edits: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) refused: Counter,
    pub(crate) lock_waits: Counter,
    pub(crate) validations: Counter,
    pub(crate) problems: Counter,
    pub(crate) repairs: Counter,
    pub(crate) unkept: Counter,
}

impl PolicyCounters {
    pub(crate) fn snapshot(&self, problem: Option<Error>) -> PolicyStats {
        PolicyStats {
            reads: self.reads.total(),
            reloads: self.reloads.get(),
            updates: self.updates.get(),
            edits: self.edits.get(),
            conflicts: self.conflicts.get(),
            refused: self.refused.get(),
            lock_waits: self.lock_waits.get(),
            validations: self.validations.get(),
            problems: self.problems.get(),
            repairs: self.repairs.get(),
            unkept: self.unkept.get(),
            problem,
        }
    }
}

/// How many threads can count without contention.
const STRIPES: usize = 16;

/// A counter for many threads at full speed. Each adds to its own stripe, on its own cache line, so
/// that counting does not make them wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Reads([Stripe; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

thread_local! {
    static STRIPE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Relaxed) % STRIPES
    };
}

impl Reads {
    #[inline]
    pub(crate) fn increment(&self) {
        // A thread that is ending may have no stripe.
        let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or(0);
        self.0[stripe].0.fetch_add(1, Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_of_many_threads_are_all_counted() {
        let reads = Reads::default();
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| (0..1000).for_each(|_| reads.increment()));
            }
        });
        assert_eq!(reads.total(), 40_000);
    }
}
