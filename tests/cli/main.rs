//! The command `logrotor`: real processes, real pipes, real signals.
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        unused_imports,
        dead_code,
        reason = "some tests are of one system, and what they need with them"
    )
)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod apache;
#[cfg(all(feature = "archive", unix))]
mod archive;
#[cfg(all(feature = "archive", unix))]
mod archive_gone;
#[cfg(all(feature = "archive", unix))]
mod archive_read;
#[cfg(all(feature = "archive", unix))]
#[allow(dead_code, unreachable_pub, reason = "it is shared with `it`, which uploads")]
#[path = "../it/archive_server.rs"]
mod archive_server;
mod container;
mod disk;
mod docs;
mod durability;
mod followers;
mod guide;
mod help;
mod limits;
#[cfg(feature = "__test")]
mod listings;
#[cfg(unix)]
mod logrotate;
mod ls;
mod maintenance;
mod policy;
#[cfg(all(feature = "archive", unix))]
#[allow(dead_code, unreachable_pub, reason = "it is shared with `it`")]
#[path = "../it/policy_server.rs"]
mod policy_server;
#[cfg(all(feature = "archive", unix))]
mod policy_shared;
mod read;
mod refused;
mod run;
mod support;
mod surroundings;
mod verify;
mod write;
