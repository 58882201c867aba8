#!/usr/bin/env bash
# slog-term 2.9.2: `PlainDecorator` writes each piece of a message with a `write` call of its own,
# because its record decorator does not forward `write_fmt`. Seen: the line break of "one\n{}"
# ends with one call in the middle of the event. `PlainSyncDecorator` makes one call for the
# event. A name that differs in "Sync" alone suggests a lock, not another number of calls.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
cargo init --quiet --vcs none --name probe .
cargo add --quiet slog@=2.8.2 slog-term@=2.9.2
cat > src/main.rs <<'RUST'
use slog::{Drain, Logger, info, o};
use slog_term::{FullFormat, PlainDecorator, PlainSyncDecorator};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Vec<u8>>>>);

impl Write for Calls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(bytes.to_vec());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn print(name: &str, calls: &Calls) {
    let calls = calls.0.lock().unwrap();
    let ends = calls.iter().filter(|call| call.ends_with(b"\n")).count();
    println!("{name}: one call {}, line ends {ends}", calls.len() == 1);
}

fn main() {
    let calls = Calls::default();
    let plain = FullFormat::new(PlainDecorator::new(calls.clone())).build();
    info!(Logger::root(Mutex::new(plain).fuse(), o!()), "one\n{}", std::process::id());
    print("plain", &calls);
    let calls = Calls::default();
    let sync = FullFormat::new(PlainSyncDecorator::new(calls.clone())).build();
    info!(Logger::root(sync.fuse(), o!()), "one\n{}", std::process::id());
    print("sync", &calls);
}
RUST
output=$(cargo run --quiet)
printf '%s\n' "$output"
[[ $output == $'plain: one call false, line ends 2\nsync: one call true, line ends 1' ]]
