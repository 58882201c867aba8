//! The parts of `logrotor` in which threads wait for each other, and their promises.
//!
//! The modules `writer` and `pool` are the crate's own files. The other modules that they
//! need have replacements here: `sync`, so that another thread may run at each wait and each
//! access, `clock`, `config` and `error`.

mod clock;
mod config;
mod error;
pub mod scenarios;
mod sync;

#[allow(dead_code, reason = "not all that the crate needs is needed here")]
#[path = "../../../src/writer"]
mod writer {
    pub(crate) mod append_lock;
    pub(crate) mod buffered;
    pub(crate) mod group_commit;
    mod line_run;
    pub(crate) mod next_check;
}

#[allow(dead_code, reason = "not all that the crate needs is needed here")]
#[path = "../../../src/pool"]
mod pool {
    pub(crate) mod alarm;
    pub(crate) mod queue;
    pub(crate) mod scheduler;
}
