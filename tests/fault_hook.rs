//! The fault hook is compiled in with its feature alone. A file of its own: other tests name its
//! variables.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::Write;

#[test]
fn program_has_the_fault_hook_only_with_its_feature() {
    let dir = tempfile::tempdir().unwrap();
    // The whole crate is linked into this very program.
    let log = logrotor::RotatingFileWriter::builder(dir.path().join("app.log"));
    writeln!(log.build().unwrap(), "one").unwrap();
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let variable = ["LOGROTOR", "FAULT"].join("_");
    let is_in = program.windows(variable.len()).any(|part| part == variable.as_bytes());
    assert_eq!(is_in, cfg!(feature = "__test"));
}
