//! What threads meet in, for the parts that are checked in all orders in which threads may run.
//!
//! `tests/interleavings` compiles those very files with a module of its own in the place of this one, in which
//! every wait and every access is a point where another thread may go on.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::atomic;
