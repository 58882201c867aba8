//! Whether a program that leases nothing may still be writing a backup.

use crate::clock::Timestamp;
use crate::fs::{self, Entry};
use crate::segment::name::{Compression, Key};
use crate::segment::{Backup, birth_tag};
use std::time::{Duration, SystemTime};

/// How long a file that is no segment of this log's workers must stay unchanged before it counts as
/// complete: an operator may be copying a backup back.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// Whether a backup is complete unless a process has it open for writing.
///
/// A segment of the workers is complete once no worker leases it. It was created before its
/// successor; a file that was put there under an older name was created after. `next_created` is
/// the creation of the next segment, by the same clock as the times of the file.
pub(crate) fn is_settled(
    entry: &Entry,
    key: Key,
    next_created: Option<SystemTime>,
    now: SystemTime,
) -> bool {
    let is_segment = match (entry.born, next_created, key) {
        (Some(born), Some(next), _) => born <= next,
        // A file system without creation times. A worker may be late to notice a rotation.
        (None, _, Key::Time(key)) => Timestamp::from(entry.modified) <= key.time.plus(QUIET),
        _ => false,
    };
    // A change in the future says nothing about how long ago it was.
    let age = now.duration_since(entry.modified).unwrap_or_else(|ahead| ahead.duration());
    is_segment || age >= QUIET
}

/// Returns when the segment after the first of these backups was created, if that can be known.
/// They are listed in their order, without those before it.
pub(crate) fn created_after(
    from: &[Backup],
    active_born: Option<SystemTime>,
) -> Option<SystemTime> {
    let (first, rest) = from.split_first()?;
    let Some(next) = rest.iter().find(|next| next.name.key != first.name.key) else {
        return active_born;
    };
    if next.name.compression == Compression::None {
        return next.entry.born;
    }
    let file = fs::open_segment(&next.path).ok()??;
    let tag = birth_tag::read(&file, next.entry.len, next.name.compression, &next.path).ok()?;
    tag.created().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::name::TimeKey;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn file_created_after_its_successor_must_be_quiet() {
        let dir = tempfile::tempdir().unwrap();
        let entry = fs::stat(dir.path()).unwrap().unwrap();
        let of = |born, modified| Entry { born, modified: at(modified), ..entry };
        let number = Key::Number(1);
        let settled = |entry: &Entry, next, now| is_settled(entry, number, next, at(now));
        let (segment, copy) = (of(Some(at(100)), 109), of(Some(at(101)), 109));
        assert!(settled(&segment, Some(at(100)), 110));
        assert!(!settled(&copy, Some(at(100)), 110));
        assert!(!settled(&copy, Some(at(100)), 118));
        assert!(settled(&copy, Some(at(100)), 119));
        assert!(settled(&copy, Some(at(100)), 50), "the clock was set back");
        assert!(!settled(&segment, None, 110), "its successor is unknown");
    }

    #[test]
    fn name_decides_where_there_are_no_creation_times() {
        let dir = tempfile::tempdir().unwrap();
        let entry = fs::stat(dir.path()).unwrap().unwrap();
        let entry = Entry { born: None, modified: at(109), ..entry };
        let settled = |key| is_settled(&entry, key, Some(at(100)), at(110));
        let named = |second| Key::Time(TimeKey { time: at(second).into(), ..TimeKey::MIN });
        assert!(settled(named(99)));
        assert!(!settled(named(98)));
        assert!(!settled(Key::Number(1)));
    }
}
