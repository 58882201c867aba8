//! Feature flags that the machines of a fleet share and that change while they run:
//! `cargo run --features policy,archive --example fleet -- s3://bucket/flags.policy`, on several
//! machines. A path works too, for the processes of one machine.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use logrotor::policy::PolicyStore;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Any type that serde can write as TOML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flags {
    /// The share of requests, in percent, that each feature gets.
    rollout: BTreeMap<String, u8>,
}

fn main() -> logrotor::Result<()> {
    let dir = std::env::temp_dir();
    let place = std::env::args_os().nth(1).map_or_else(|| dir.clone(), PathBuf::from);
    let place = if place.is_dir() { place.join("flags.policy.toml") } else { place };
    let builder = PolicyStore::builder(|flags: &Flags| {
        match flags.rollout.iter().find(|(_, percent)| **percent > 100) {
            Some((feature, percent)) => Err(format!("{feature} = {percent} %"))?,
            None => Ok(()),
        }
    });
    // A machine that starts without network has the flags that it had.
    let builder = builder.cache(dir.join("logrotor-flags.cache")).interval(Duration::from_secs(2));
    let store = builder.open_or_create(&place, || Flags { rollout: BTreeMap::new() })?;

    // Changes of other machines are kept, and each is made once.
    let update = store.begin_update().comment("one percent more");
    let policy = update.apply(|flags| {
        let percent = flags.rollout.entry("new_search".to_owned()).or_default();
        *percent = (*percent + 1).min(100);
    })?;
    println!("version {} by {}", policy.version(), policy.metadata().author());

    for _ in 0..20 {
        // No lock, no request: as cheap as reading a variable.
        let percent = store.current().rollout.get("new_search").copied().unwrap_or_default();
        println!("version {}: new_search for {percent} %", store.version());
        std::thread::sleep(Duration::from_millis(100));
        // A file is looked at on request, an object store by a thread.
        store.reload()?;
    }
    Ok(())
}
