//! Scenarios of threads that wait for each other. A run ends with a check of the promises.

mod buffered;
mod direct;
mod group_commit;
mod wakeup;

pub use crate::clock::FAR;
pub use crate::config::Overflow;
pub use buffered::{Buffered, RECORD, buffers_take_turns, written_unasked};
pub use direct::Direct;
pub use group_commit::Committing;
pub use wakeup::wakeup_wakes_the_waiting_thread;
