//! Tests that need a machine of their own: `.ci/vm` starts one, and runs this program in it.
//!
//! **Power cut** (`.ci/power-cut`): two processes work on a device whose writes, flushes and
//! barriers are logged ([`power`]). They note the promises they got ([`promise`], [`kind`]) on
//! another device. Then, for many moments, a disk is built as the power cut may have left it
//! ([`device`]), mounted, and checked.
//!
//! **Network file systems** (`.ci/nfs`, `.ci/cifs`): a server and two clients of it ([`server`]),
//! and the promises that hold there ([`network`]).

pub mod device;
pub mod kind;
pub mod network;
pub mod power;
pub mod promise;
pub mod record;
pub mod server;
