//! Locks and atomics for the parts that are checked in every order of threads.
//!
//! `tests/interleavings` compiles those files with a module of its own in place of this one. There,
//! every wait and every access is a point at which another thread may run.

pub(crate) use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
pub(crate) use std::sync::atomic;
