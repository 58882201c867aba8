//! Scenarios of threads that wait for each other. A run ends with a check of the promises.

mod buffered;
mod direct;
mod group_commit;
mod next_check;
mod pool;

pub use crate::clock::FAR;
pub use crate::config::Overflow;
pub use buffered::{
    Buffered, RECORD, buffers_take_turns, late_beside_a_write, who_writes, written_unasked,
};
pub use direct::Direct;
pub use group_commit::Committing;
pub use next_check::rotations_are_seen;
pub use pool::{
    another_thread_waits_during_a_job, job_closes_its_own_log, logs_are_maintained_on_request,
    two_requests_are_served_beside_each_other,
};
