//! A backup of any content, compressed or not, is read to its end. Undamaged data is returned
//! whole, and damage is reported.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use logrotor::reader::LogReader;
use std::io::Read;

const SUFFIXES: [&str; 3] = ["", ".gz", ".zst"];
/// More reports than any content has.
const MOST: usize = 100_000;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((&choice, content)) = data.split_first() else { return Corpus::Reject };
    let suffix = SUFFIXES[usize::from(choice) % SUFFIXES.len()];
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join(format!("a.log.1{suffix}")), content).expect("a backup");
    std::fs::write(dir.path().join("a.log"), "last\n").expect("a log");
    let mut reader = LogReader::open(dir.path().join("a.log")).expect("it is opened");
    let (mut read, mut damages) = (Vec::new(), 0);
    while reader.read_to_end(&mut read).is_err() {
        damages += 1;
        assert!(damages < MOST, "it comes to no end");
    }
    assert!(read.ends_with(b"last\n"), "what comes after is read");
    let whole = match suffix {
        "" => Some(content.to_vec()),
        ".gz" => gunzip(content),
        _ => None,
    };
    // Holes of NUL bytes are reported and skipped.
    if let Some(whole) = whole.filter(|whole| !whole.contains(&0)) {
        assert_eq!((&read[..read.len() - 5], damages), (&whole[..], 0));
    }
    let mut reader = LogReader::open(dir.path().join("a.log")).expect("it is opened");
    for record in reader.records() {
        drop(record);
    }
    Corpus::Keep
});

fn gunzip(content: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    flate2::read::MultiGzDecoder::new(content).read_to_end(&mut whole).ok()?;
    Some(whole)
}
