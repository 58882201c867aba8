//! Tests that need a virtual machine, which `.ci/vm` starts.
//!
//! **Power cut** (`.ci/power-cut`): two processes work on a device whose every write, flush and
//! barrier is logged ([`power`]). They note their promises ([`promise`], [`kind`]) elsewhere. Then,
//! for many moments, a disk is made as the power cut may have left it ([`device`]), mounted, and
//! checked.
//!
//! **Network file systems** (`.ci/nfs`): an NFS server and two clients, and checks on them
//! ([`nfs`]).

pub mod device;
pub mod kind;
pub mod nfs;
pub mod power;
pub mod promise;
pub mod record;
