#!/usr/bin/env bash
# csv 1.4.0: a row larger than the writer's buffer (8 KiB by default) is passed on in several
# `write` calls, although `flush` follows each row. Seen: a row of 20001 bytes comes in 3 calls of
# at most 8192 bytes. A reader of "flush after each row" may expect one call. Behind a writer for
# which a call is a record, such rows are split.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
cargo init --quiet --vcs none --name probe .
cargo add --quiet csv@=1.4.0
cat > src/main.rs <<'RUST'
use std::io::{self, Write};

struct Calls(Vec<usize>);

impl Write for &mut Calls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.len());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn main() {
    let mut calls = Calls(Vec::new());
    let mut csv = csv::Writer::from_writer(&mut calls);
    csv.write_record(["a".repeat(10_000), "b".repeat(9_999)]).unwrap();
    csv.flush().unwrap();
    drop(csv);
    println!("{:?}", calls.0);
}
RUST
output=$(cargo run --quiet)
printf '%s\n' "calls of one row: $output"
[[ $output == "[8192, 8192, 3617]" ]]
