//! The public API, read from the source: a change of it must be seen in `tests/api.txt`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod krate;
mod surface;

use krate::Krate;
use std::collections::BTreeSet;
use std::path::Path;
use surface::Surface;

/// Crates whose types and traits users may meet in signatures.
const EXTERNAL: [&str; 3] = ["serde", "std", "tracing_subscriber"];

/// The number of exported types, traits and functions. Raise it only for a reason. Eight are of the
/// archive.
const MOST_NAMES: usize = 78;

fn surface() -> Surface {
    Surface::of(&Krate::read(Path::new(env!("CARGO_MANIFEST_DIR"))))
}

#[test]
fn public_api_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api.txt");
    let text = surface().text();
    if std::env::var_os("LOGROTOR_API").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let [old, new] = [&committed, &text].map(|text| text.lines().collect::<BTreeSet<_>>());
    let gone: Vec<_> = old.difference(&new).collect();
    let added: Vec<_> = new.difference(&old).collect();
    assert!(
        committed == text,
        "the public API has changed; if that is intended, run \
         `LOGROTOR_API=1 cargo test --test api` and commit tests/api.txt\n\
         removed: {gone:#?}\nadded: {added:#?}"
    );
}

#[test]
fn only_allowed_crates_are_in_signatures() {
    let external = surface().external_crates();
    let allowed = EXTERNAL.into_iter().map(str::to_owned).collect();
    let extra: Vec<_> = external.difference(&allowed).collect();
    assert!(extra.is_empty(), "{extra:?} would be part of our interface; allow it here or hide it");
}

#[test]
fn every_type_has_debug() {
    let surface = surface();
    assert_eq!(surface.types_without_debug(), Vec::<&String>::new());
}

#[test]
fn few_names_are_exported() {
    let names = surface().names();
    assert!(names.len() <= MOST_NAMES, "{}: {names:#?}", names.len());
    assert!(names.contains("RotatingFileWriter") && names.contains("parse_size"), "{names:#?}");
}
