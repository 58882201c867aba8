//! What a policy store counts.

use crate::error::Error;
use crate::stats::Counter;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What one store, with all its clones, did in this process: a snapshot, each figure exact by itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PolicyStats {
    /// Snapshots taken with [`current`](super::PolicyStore::current).
    pub reads: u64,
    /// Versions by others that were found in the file and put in force here.
    pub reloads: u64,
    /// Versions made here: updates, imports, rollbacks.
    pub updates: u64,
    /// Edits by hand accepted and given a version here.
    pub edits: u64,
    /// Changes refused because the policy was not at the version they were made for.
    pub conflicts: u64,
    /// Changes and edits refused for what they said: by their closure, the parser, or the validator.
    pub refused: u64,
    /// Times the update lock was held by somebody else and had to be waited for.
    pub lock_waits: u64,
    /// Texts read and checked by the validator.
    pub validations: u64,
    /// Times the file was found damaged, missing, or gone back; each reported once.
    pub problems: u64,
    /// Times [`repair`](super::PolicyStore::repair) restored the file.
    pub repairs: u64,
    /// Versions of which no copy could be kept beside the file; they are in force all the same.
    pub unkept: u64,
    /// What is wrong with the file now, if something is.
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

/// How many threads can count without getting in each other's way.
const STRIPES: usize = 16;

/// A counter for what many threads do at full speed: each adds to a stripe of its own, on a cache line of
/// its own, so that counting does not make them wait for each other.
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
        // While a thread ends it may have no stripe any more.
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
