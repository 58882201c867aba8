//! A file of any name beside a log is listed only if its name is exactly a backup's, of any naming,
//! and pruned only if it is one of the log's own kind: by time, in either form, or by number.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use logrotor::{MaintenanceMode, Naming, RotatingFileWriter};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((&choice, name)) = data.split_first() else { return Corpus::Reject };
    let Some(name) = std::str::from_utf8(name).ok().filter(|name| may_be_a_file(name)) else {
        return Corpus::Reject;
    };
    let naming =
        [Naming::Timestamp, Naming::Number, Naming::TimestampInfix][usize::from(choice % 3)];
    let dir = tempfile::tempdir().expect("a directory");
    let stranger = dir.path().join(name);
    std::fs::write(&stranger, "x\n").expect("a file");
    let builder = RotatingFileWriter::builder(dir.path().join("a.log")).naming(naming);
    let log = builder.max_backups(0).maintenance(MaintenanceMode::Inline).build().expect("a log");
    let segments = log.segments().expect("its segments");
    log.close().expect("its end");
    let is_pruned = !stranger.exists();
    assert_eq!(is_pruned, is_backup(name, naming), "{name:?}");
    // Backups of all namings are listed. One may be gone already, because opening prunes too.
    let is_listed = segments.iter().any(|segment| segment.path == stranger);
    let may_be_listed = [Naming::Timestamp, Naming::Number].map(|naming| is_backup(name, naming));
    let must_be_listed = may_be_listed.contains(&true) && !is_pruned;
    assert_eq!(is_listed && !is_pruned, must_be_listed, "{name:?}");
    Corpus::Keep
});

/// Names that are skipped: invalid ones, the log itself, and those that recovery removes.
fn may_be_a_file(name: &str) -> bool {
    const TAKEN: [&str; 4] = [".", "..", "a.log", "a.log.lock"];
    let is_temporary = name.starts_with(".a.") && name.ends_with(".tmp");
    let is_a_name = (1..=255).contains(&name.len()) && !name.contains(['/', '\0']);
    is_a_name && !is_temporary && !TAKEN.contains(&name)
}

/// The form of a backup's name, written independently of the library.
fn is_backup(name: &str, naming: Naming) -> bool {
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    let key = plain.strip_prefix("a.log.");
    if naming == Naming::Number {
        return key
            .is_some_and(|key| key.parse::<u32>().is_ok_and(|n| n > 0 && n.to_string() == key));
    }
    let infix = || plain.strip_prefix("a.")?.strip_suffix(".log");
    key.or_else(infix).is_some_and(|key| is_time(key.as_bytes()))
}

fn is_time(key: &[u8]) -> bool {
    const FORM: &[u8] = b"0000-00-00T00-00-00.000000Z";
    let fits =
        |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    if key.len() != FORM.len() || !key.iter().zip(FORM).all(fits) {
        return false;
    }
    let number = |at: usize, len: usize| {
        key[at..at + len].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(5, 2), number(8, 2));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let is_within = number(11, 2) < 24 && number(14, 2) < 60 && number(17, 2) < 60;
    year >= 1970 && (1..=days).contains(&day) && is_within
}
