//! Replaces the crate's `sync`: the locks of `parking_lot`, built from `shuttle`'s threads.
//!
//! A timed wait may end by time whenever another thread could run, and does end if no thread ends
//! it. A wait of an hour or more never ends by time. So a call that in practice is only late,
//! because no thread woke it, blocks here and is found.

use crate::clock::{Deadline, FAR};
use shuttle::sync::mpsc::{Sender, channel};
use shuttle::thread;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

pub(crate) use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard, atomic};

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.0.try_write().ok()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` while it waits.
    held: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, held: Some(self.hold()) }
    }

    fn hold(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> MutexGuard<'_, T> {
    pub(crate) fn unlocked<U>(guard: &mut Self, work: impl FnOnce() -> U) -> U {
        guard.held = None;
        let done = work();
        guard.held = Some(guard.mutex.hold());
        done
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("BUG: used while it waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("BUG: used while it waits")
    }
}

/// The longest waiting thread is woken first, and none without a reason, as with `parking_lot`.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The number of threads that have come. Each has its number.
    came: usize,
    waiting: VecDeque<(usize, Sender<()>)>,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_for(guard, FAR);
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, span: Duration) {
        let deadline = Deadline::after(span);
        let (wake, woken) = channel();
        // In the queue before it unlocks, so that no thread comes in between.
        let number = {
            let mut queue = self.queue.lock();
            queue.came += 1;
            let number = queue.came;
            queue.waiting.push_back((number, wake));
            number
        };
        MutexGuard::unlocked(guard, || {
            if span < FAR {
                let queue = Arc::clone(&self.queue);
                thread::spawn(move || queue.lock().give_up(number, deadline));
            }
            woken.recv().expect("BUG: forgotten in the queue");
        });
    }

    pub(crate) fn notify_one(&self) {
        let mut queue = self.queue.lock();
        if let Some((_, wake)) = queue.waiting.pop_front() {
            wake.send(()).expect("BUG: does not wait");
        }
    }

    pub(crate) fn notify_all(&self) {
        let mut queue = self.queue.lock();
        for (_, wake) in queue.waiting.drain(..) {
            wake.send(()).expect("BUG: does not wait");
        }
    }
}

impl Queue {
    /// If number `number` still waits, advances the time to `deadline` and wakes it.
    fn give_up(&mut self, number: usize, deadline: Deadline) {
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == number) {
            deadline.reach();
            let (_, wake) = self.waiting.remove(at).expect("BUG: was there");
            wake.send(()).expect("BUG: does not wait");
        }
    }
}
