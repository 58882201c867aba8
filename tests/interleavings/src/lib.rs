//! The parts of `logrotor` in which threads wait for each other, and what is promised of them.
//!
//! The modules `writer` and `maintenance` are the crate's own files. What they take from the rest of the crate
//! has a stand-in here: `sync`, so that each wait and each access is a point where another thread may go on,
//! `clock`, `config` and `error`.

mod clock;
mod config;
mod error;
pub mod scenarios;
mod sync;

#[allow(dead_code, reason = "not all that the crate needs is needed here")]
#[path = "../../../src/writer"]
mod writer {
    pub(crate) mod buffered;
    pub(crate) mod group_commit;
    mod line_run;
}

#[allow(dead_code, reason = "not all that the crate needs is needed here")]
#[path = "../../../src/maintenance"]
mod maintenance {
    pub(crate) mod wakeup;
}
