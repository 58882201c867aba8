//! Files that one machine writes and another one reads, whatever the byte order of either.
//!
//! By itself the test is one machine three times. With a directory in `LOGROTOR_EXCHANGE` it is one
//! visit there, after those of other machines; see `.ci/platforms big-endian`.

use crate::support::Dir;
use logrotor::inspect::Inspection;
use logrotor::policy::{PolicyStore, PolicyStoreBuilder};
use logrotor::{Compression, Naming, RotatingFileWriter, reader::LogReader};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The notes of the visitors: their number, and each segment as the last of them saw it.
type Facts = BTreeMap<String, u64>;

fn builder() -> PolicyStoreBuilder<Facts> {
    PolicyStore::builder(|_: &Facts| Ok(()))
}

fn logs(place: &Path) -> Vec<(PathBuf, Compression, Naming)> {
    #[cfg(feature = "zstd")]
    let compressions = [Compression::Gzip, Compression::Zstd];
    #[cfg(not(feature = "zstd"))]
    let compressions = [Compression::Gzip];
    let mut logs = Vec::new();
    for compression in compressions {
        for naming in [Naming::Timestamp, Naming::Number] {
            let name = format!("{compression:?}-{naming:?}.log");
            logs.push((place.join(name), compression, naming));
        }
    }
    logs
}

/// Checks the files of the visitors before, and leaves some more.
fn visit(place: &Path) {
    let store = builder().open_or_create(place.join("facts.toml"), Facts::new).unwrap();
    let visits = store.current().get("visits").copied().unwrap_or(0);
    check(place, &store, visits);
    let mut seen = Facts::from([("visits".to_owned(), visits + 1)]);
    for (path, compression, naming) in logs(place) {
        let log = RotatingFileWriter::builder(&path).compression(compression).naming(naming);
        write(log.build().unwrap(), visits);
        seen.extend(look(&path));
    }
    store.begin_update().comment(std::env::consts::ARCH).apply(|listed| *listed = seen).unwrap();
    check(place, &store, visits + 1);
}

fn write(mut log: RotatingFileWriter, visit: u64) {
    for line in lines_of(visit) {
        writeln!(log, "{line}").unwrap();
        if line.ends_with("99") {
            log.rotate().unwrap();
        }
    }
    log.close().unwrap();
}

fn lines_of(visit: u64) -> impl Iterator<Item = String> {
    (0..250).map(move |number| format!("visit {visit} line {number}"))
}

fn check(place: &Path, store: &PolicyStore<Facts>, visits: u64) {
    assert_eq!(store.verify().unwrap(), store.version());
    assert!(store.problem().is_none(), "{:?}", store.problem());
    assert_eq!(store.history().unwrap().len() as u64, visits + 1);
    let lines: Vec<_> = (0..visits).flat_map(lines_of).collect();
    for (path, ..) in logs(place) {
        if visits == 0 {
            continue;
        }
        let reader = LogReader::builder(&path);
        assert_eq!(read(reader.clone().open().unwrap()), lines);
        let backwards = read(reader.reverse().open().unwrap());
        assert!(backwards.iter().eq(lines.iter().rev()), "{}", path.display());
        for (key, value) in look(&path) {
            assert_eq!(store.current().get(&key), Some(&value), "{key}");
        }
    }
}

fn read(mut reader: LogReader) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap().trim_end().to_owned();
    reader.records().map(|record| text(record.unwrap().bytes())).collect()
}

/// The facts that the segments have noted in binary, read without decompressing them.
fn look(path: &Path) -> Facts {
    let seen = Inspection::of(path).unwrap();
    assert!(seen.leftovers.is_empty() && seen.strays.is_empty(), "{seen:?}");
    let compressed =
        seen.segments.iter().filter(|segment| segment.compression != Compression::None);
    let facts = compressed.enumerate().flat_map(|(number, segment)| {
        let key = |fact| format!("{} {number} {fact}", path.file_name().unwrap().to_str().unwrap());
        let created = segment.created.map_or(0, micros);
        [(key("bytes"), segment.uncompressed_bytes.unwrap()), (key("created"), created)]
    });
    facts.collect()
}

fn micros(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

#[test]
fn log_of_another_machine_is_read_and_continued() {
    match std::env::var_os("LOGROTOR_EXCHANGE") {
        Some(place) => visit(Path::new(&place)),
        None => {
            let dir = Dir::new();
            (0..3).for_each(|_| visit(dir.path()));
        }
    }
}
