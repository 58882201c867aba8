//! Locks and atomics for the parts that are checked in every order of threads, and the condition
//! variable of the whole crate.
//!
//! `tests/interleavings` compiles those files with a module of its own in place of this one. There,
//! every wait and every access is a point at which another thread may run.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use std::sync::atomic;

/// A condition variable for the locks of this module. A wait may end early, and for no reason.
///
/// `parking_lot` has the threads that wait in one table of the process. A forked child inherits it,
/// and its own threads get the memory of those of its parent, so a wait of theirs may follow
/// pointers to what is gone. A thread that waits here is known to this variable alone.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    waiting: AtomicUsize,
    /// Counts the notifications.
    turn: std::sync::Mutex<u64>,
    turned: std::sync::Condvar,
}

impl Condvar {
    pub(crate) const fn new() -> Self {
        let (turn, turned) = (std::sync::Mutex::new(0), std::sync::Condvar::new());
        Self { waiting: AtomicUsize::new(0), turn, turned }
    }

    /// Waits for a notification. The lock is free meanwhile.
    pub(crate) fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.park(guard, None);
    }

    /// As `wait`, but no longer than `span`.
    pub(crate) fn wait_for<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, span: Duration) {
        self.park(guard, Some(span));
    }

    fn park<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, span: Option<Duration>) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Before the lock is free: a notification from then on is one that this wait is for.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = *turn;
        MutexGuard::unlocked(guard, || match span {
            None => drop(self.turned.wait_while(turn, |turn| *turn == seen)),
            Some(span) => drop(self.turned.wait_timeout_while(turn, span, |turn| *turn == seen)),
        });
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn notify_one(&self) {
        self.notify(std::sync::Condvar::notify_one);
    }

    pub(crate) fn notify_all(&self) {
        self.notify(std::sync::Condvar::notify_all);
    }

    fn notify(&self, notify: fn(&std::sync::Condvar)) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            *turn += 1;
            // Before a later wait begins, which would take it for its own and not end.
            notify(&self.turned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn every_notification_ends_a_wait() {
        const TURNS: usize = 1000;
        let (count, changed) = (Mutex::new(0), Condvar::new());
        thread::scope(|scope| {
            for parity in [0, 1] {
                let (count, changed) = (&count, &changed);
                scope.spawn(move || {
                    let mut count = count.lock();
                    while *count < TURNS {
                        if *count % 2 == parity {
                            *count += 1;
                            changed.notify_one();
                        } else {
                            changed.wait(&mut count);
                        }
                    }
                    changed.notify_one();
                });
            }
        });
        assert_eq!(*count.lock(), TURNS);
    }

    #[test]
    fn wait_without_a_notification_ends_in_time() {
        let (lock, changed) = (Mutex::new(()), Condvar::new());
        changed.notify_all();
        changed.wait_for(&mut lock.lock(), Duration::from_millis(1));
        assert!(lock.try_lock().is_some());
    }
}
