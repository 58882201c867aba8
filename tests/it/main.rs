//! Behavior of the crate as a user sees it. One binary, one file per subject.
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        unused_imports,
        dead_code,
        reason = "some tests are of one system, and what they need with them"
    )
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "tests fail by panicking, and say what they drew at random"
)]

#[cfg(all(feature = "archive", unix))]
mod archive;
#[cfg(all(feature = "archive", unix))]
mod archive_google;
#[cfg(all(feature = "archive", unix))]
mod archive_read;
#[cfg(all(feature = "archive", unix))]
#[allow(dead_code, reason = "the tests of the command share it")]
mod archive_server;
mod atomic;
#[cfg(all(feature = "archive", feature = "policy", unix))]
mod bad_network;
mod buffered;
mod clocks;
mod crash;
#[cfg(target_os = "linux")]
mod crowded;
mod direct;
#[cfg(target_os = "linux")]
mod disk;
mod durability;
mod errors;
#[cfg(feature = "policy")]
mod exchange;
#[cfg(unix)]
mod faults;
mod foreign;
mod formats;
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
mod gapless;
mod header;
mod inspect;
mod layers;
mod lines;
#[cfg(unix)]
mod links;
mod lock;
mod maintenance;
mod maintenance_by_hand;
mod names;
mod neighbors;
mod observer;
#[cfg(unix)]
mod permissions;
#[cfg(feature = "policy")]
mod policy;
#[cfg(all(feature = "archive", feature = "policy", unix))]
mod policy_machines;
#[cfg(all(feature = "archive", feature = "policy", unix))]
mod policy_server;
#[cfg(all(feature = "archive", feature = "policy", unix))]
mod policy_shared;
#[cfg(feature = "policy")]
mod policy_writer;
mod polling;
mod processes;
mod promises;
mod reader;
mod records;
mod recovery;
mod scenario;
#[cfg(unix)]
mod script;
mod settings;
mod source;
mod straggler;
#[cfg(target_os = "linux")]
mod stuck;
mod support;
mod support_lock;
mod tidy;
#[cfg(feature = "tracing")]
mod tracing;
mod triggers;
#[cfg(unix)]
mod users;
#[cfg(target_os = "linux")]
mod vanishing;
#[cfg(target_os = "linux")]
mod watch;
