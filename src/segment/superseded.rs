//! Uncompressed backups that are also there compressed, after a crash or a power cut.

use super::name::{Compression, Name};
use super::{Location, birth_tag};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fs::{self, Entry, EntryKind};
use std::path::Path;
use std::time::SystemTime;

/// Whether the file at `path` is what this crate made of the uncompressed backup, and so is whole.
///
/// Such a file has the time of the uncompressed one before it has its name. A file that another
/// program is writing has another time until it is whole. A directory or a link holds no records of
/// ours.
pub(crate) fn supersedes(
    path: &Path,
    compression: Compression,
    compressed: Entry,
    plain: Entry,
) -> bool {
    compression != Compression::None
        && compressed.kind == EntryKind::File
        && (compressed.modified == plain.modified
            || has_same_birth(path, compression, compressed, plain))
}

/// Compares the creation times. A power cut may undo the last changes of the uncompressed file, and
/// its time, because it was not synced. The compressed file was synced, and its tag has the
/// creation time.
fn has_same_birth(path: &Path, compression: Compression, compressed: Entry, plain: Entry) -> bool {
    let Some(born) = plain.born.filter(|_| plain.modified < compressed.modified) else {
        return false;
    };
    has_birth(path, compression, compressed, born)
}

/// Whether the tag of a compressed file has this creation time.
fn has_birth(path: &Path, compression: Compression, compressed: Entry, born: SystemTime) -> bool {
    let Ok(Some(file)) = fs::open_segment(path) else { return false };
    birth_tag::read(&file, compressed.len, compression, path)
        .is_ok_and(|found| found.created() == Some(Timestamp::from(born)))
}

/// Whether this crate made the compressed file of this very backup, and another program has written
/// to the backup since: the compressed file is incomplete. It is there only after a crash.
pub(crate) fn is_outdated(
    path: &Path,
    compression: Compression,
    compressed: Entry,
    plain: Entry,
) -> bool {
    let Some(born) = plain.born.filter(|_| compressed.modified < plain.modified) else {
        return false;
    };
    has_birth(path, compression, compressed, born)
}

/// Removes each superseded backup, and returns the names that are left. If one cannot be removed,
/// it is left too, and `failed` gets the error.
///
/// A compressed backup gets its name when it is whole, and only after no worker can append to the
/// uncompressed one any more. A crash came before that one was removed.
pub(crate) fn remove(
    location: &Location,
    names: &[Name],
    mut failed: impl FnMut(Error),
) -> Result<Vec<Name>> {
    let mut left = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let is_gone = is_superseded(location, *name, names.get(at + 1))?
            && fs::remove(&location.backup_path(*name)).map_err(&mut failed).is_ok();
        if !is_gone {
            left.push(*name);
        }
    }
    Ok(left)
}

/// Whether this crate has compressed the same backup. `next` is the next name in order of age; the
/// uncompressed form of a backup comes first.
fn is_superseded(location: &Location, name: Name, next: Option<&Name>) -> Result<bool> {
    let Some(next) = next.filter(|next| next.key == name.key) else { return Ok(false) };
    if name.compression != Compression::None {
        return Ok(false);
    }
    let path = location.backup_path(*next);
    match (fs::stat(&location.backup_path(name))?, fs::stat(&path)?) {
        (Some(plain), Some(compressed)) => {
            Ok(supersedes(&path, next.compression, compressed, plain))
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::backup_names;
    use crate::segment::name::Naming;
    use std::time::{Duration, SystemTime};

    fn look(path: &Path) -> Entry {
        fs::stat(path).unwrap().unwrap()
    }

    fn compress(path: &Path, created: SystemTime, modified: SystemTime) -> Entry {
        let compressed = birth_tag::sample(b"", created.into());
        std::fs::write(path, compressed).unwrap();
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
        look(path)
    }

    #[test]
    fn newer_compressed_file_with_the_same_birth_supersedes() {
        const SECOND: Duration = Duration::from_secs(1);
        let dir = tempfile::tempdir().unwrap();
        let (plain, path) = (dir.path().join("a.1"), dir.path().join("a.1.gz"));
        std::fs::write(&plain, "x").unwrap();
        let born = SystemTime::UNIX_EPOCH + SECOND;
        // Not every file system has a creation time.
        let plain = Entry { born: Some(born), ..look(&plain) };
        let is_ours = |compressed| supersedes(&path, Compression::Gzip, compressed, plain);
        let at = plain.modified;
        assert!(is_ours(compress(&path, born - SECOND, at)));
        assert!(is_ours(compress(&path, born, at + SECOND)));
        assert!(!is_ours(compress(&path, born, at - SECOND)));
        assert!(!is_ours(compress(&path, born - SECOND, at + SECOND)));
        let is_outdated = |compressed| is_outdated(&path, Compression::Gzip, compressed, plain);
        assert!(is_outdated(compress(&path, born, at - SECOND)));
        assert!(!is_outdated(compress(&path, born, at)));
        assert!(!is_outdated(compress(&path, born - SECOND, at - SECOND)));
        let gone = compress(&path, born, at + SECOND);
        std::fs::remove_file(&path).unwrap();
        assert!(!is_ours(gone), "what cannot be read notes nothing");
    }

    #[test]
    fn superseded_backup_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::resolve(&dir.path().join("a")).unwrap();
        for name in ["a.1", "a.2", "a.2.gz", "a.3", "a.3.gz"] {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        // A file that another program is still writing.
        std::fs::write(dir.path().join("a.3.gz"), "partial").unwrap();
        let names = backup_names(&location, Some(Naming::Number)).unwrap();
        let left = remove(&location, &names, |_| unreachable!("none fails"));
        let left: Vec<_> = left.unwrap().into_iter().map(|name| name.format("a")).collect();
        assert_eq!(left, ["a.3", "a.3.gz", "a.2.gz", "a.1"]);
        assert!(!dir.path().join("a.2").exists());
    }
}
