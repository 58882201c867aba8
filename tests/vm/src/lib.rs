//! What needs a machine of its own to be seen: `.ci/vm` starts one, and runs this in it.
//!
//! **Power cut** (`.ci/power-cut`): two processes work on a device whose every write, flush and barrier is logged
//! ([`power`]). They note what they were promised ([`promise`], [`kind`]) elsewhere. Then, for many moments, a disk is
//! made as the power cut may have left it ([`device`]), mounted, and looked at.
//!
//! **Network file systems** (`.ci/nfs`): an NFS server and two clients of it, and what holds on them ([`nfs`]).

pub mod device;
pub mod kind;
pub mod nfs;
pub mod power;
pub mod promise;
pub mod record;
