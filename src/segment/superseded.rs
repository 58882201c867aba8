//! A backup that is there twice: plain, and packed, when a crash or a power cut came between.

use super::birth_tag;
use super::name::Compression;
use crate::clock::Timestamp;
use crate::fs::{self, Entry, EntryKind};
use std::path::Path;

/// Whether what is at `path` is what we made of the plain backup; then it is whole.
///
/// It has the plain one's time before it has its name. What somebody else is packing there has another until it
/// is whole, and a directory or a link holds no records of ours.
pub(crate) fn supersedes(
    path: &Path,
    compression: Compression,
    packed: Entry,
    plain: Entry,
) -> bool {
    compression != Compression::None
        && packed.kind == EntryKind::File
        && (packed.modified == plain.modified || is_of_one_birth(path, compression, packed, plain))
}

/// A power cut may take the last changes of the plain one back, its time with them, as nobody has synced it;
/// the packed one was synced. It notes when its segment was begun; one that cannot be read notes nothing.
fn is_of_one_birth(path: &Path, compression: Compression, packed: Entry, plain: Entry) -> bool {
    let Some(born) = plain.born.filter(|_| plain.modified < packed.modified) else {
        return false;
    };
    let Ok(Some(file)) = fs::open_segment(path) else { return false };
    birth_tag::read(&file, compression, path)
        .is_ok_and(|begun| begun == Some(Timestamp::from(born)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn look(path: &Path) -> Entry {
        fs::stat(path).unwrap().unwrap()
    }

    fn pack(path: &Path, begun: SystemTime, modified: SystemTime) -> Entry {
        let builder = flate2::GzBuilder::new().extra(birth_tag::gzip_extra(begun.into()));
        let packed = builder.write(Vec::new(), flate2::Compression::fast()).finish().unwrap();
        std::fs::write(path, packed).unwrap();
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
        look(path)
    }

    #[test]
    fn packed_one_of_another_time_counts_if_it_is_newer_and_notes_the_birth_of_the_plain_one() {
        const SECOND: Duration = Duration::from_secs(1);
        let dir = tempfile::tempdir().unwrap();
        let (plain, path) = (dir.path().join("a.1"), dir.path().join("a.1.gz"));
        std::fs::write(&plain, "x").unwrap();
        let born = SystemTime::UNIX_EPOCH + SECOND;
        // Not every file system knows one.
        let plain = Entry { born: Some(born), ..look(&plain) };
        let is_ours = |packed| supersedes(&path, Compression::Gzip, packed, plain);
        let at = plain.modified;
        assert!(is_ours(pack(&path, born - SECOND, at)));
        assert!(is_ours(pack(&path, born, at + SECOND)));
        assert!(!is_ours(pack(&path, born, at - SECOND)));
        assert!(!is_ours(pack(&path, born - SECOND, at + SECOND)));
        let gone = pack(&path, born, at + SECOND);
        std::fs::remove_file(&path).unwrap();
        assert!(!is_ours(gone), "what cannot be read notes nothing");
    }
}
