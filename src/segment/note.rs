//! A note on the active segment, for the next worker: what is known of the log's directory.
//!
//! The note is an extended attribute of the file, `user.logrotor`, so it is replaced together with
//! the segment. A worker that rotates notes the backup that the next segment follows. So each
//! backup leads to the one before it, and the newest backups are found without listing a large
//! directory. A worker that has looked at the whole directory notes that, and others need not.
//!
//! Nothing depends on a note. Without it, as on a file system without such attributes, the
//! directory is listed. A copy of a segment has a note for another file, which is ignored.

use crate::clock::Timestamp;
use crate::fs::{self, FileId};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The knowledge of the newest backup's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewestBackup {
    Unknown,
    /// `None` if there is no backup.
    Known(Option<Timestamp>),
}

/// A note on a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    /// The newest backup named by time when this segment became active.
    pub(crate) newest: NewestBackup,
    /// The highest number of a backup after a gap, if one was left there.
    pub(crate) beyond_gap: Option<u32>,
    /// The start of the last look at the whole directory.
    pub(crate) looked_at: Timestamp,
    pub(crate) done: Option<CompleteLook>,
}

/// A look at the directory that left nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompleteLook {
    /// The directory's last change.
    pub(crate) changed: SystemTime,
    /// A fingerprint of the settings of the worker that looked.
    pub(crate) settings: u64,
    /// When a backup reaches its maximum age.
    pub(crate) until: Timestamp,
}

impl Note {
    /// A note that says nothing.
    pub(crate) const EMPTY: Self = Self {
        newest: NewestBackup::Unknown,
        beyond_gap: None,
        looked_at: Timestamp::MIN,
        done: None,
    };

    /// Reads the note on the file at `path`; `None` without one.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let id = fs::stat(path).ok()??.id;
        let text = fs::note(path).ok()?;
        Self::parse(std::str::from_utf8(&text).ok()?, id)
    }

    /// Puts the note on the file at `path`, if that can have one. If it is not the file `id` any
    /// more, it has no valid note then.
    pub(crate) fn put_on(&self, path: &Path, id: FileId) {
        // Nothing depends on it.
        let _ = fs::set_note(path, self.format(id).as_bytes());
    }

    fn format(&self, id: FileId) -> String {
        let newest = match self.newest {
            NewestBackup::Unknown => "?".to_owned(),
            NewestBackup::Known(None) => "-".to_owned(),
            NewestBackup::Known(Some(time)) => time.micros().to_string(),
        };
        let CompleteLook { changed, settings, until } = self.done.unwrap_or(CompleteLook {
            changed: SystemTime::UNIX_EPOCH,
            settings: 0,
            until: Timestamp::MIN,
        });
        let changed = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (looked_at, changed, until) =
            (self.looked_at.micros(), changed.as_nanos(), until.micros());
        let (index, beyond_gap) = (id.index, self.beyond_gap.unwrap_or(0));
        format!("1 {index} {newest} {beyond_gap} {looked_at} {changed} {settings} {until}")
    }

    fn parse(text: &str, id: FileId) -> Option<Self> {
        let fields: Vec<_> = text.split(' ').collect();
        let ["1", index, newest, beyond_gap, looked_at, changed, settings, until] = fields[..]
        else {
            return None;
        };
        if index.parse() != Ok(id.index) {
            return None;
        }
        let time = |text: &str| text.parse().ok().map(Timestamp::from_micros);
        let changed = Duration::from_nanos(changed.parse().ok()?);
        let done = CompleteLook {
            changed: SystemTime::UNIX_EPOCH.checked_add(changed)?,
            settings: settings.parse().ok()?,
            until: time(until)?,
        };
        Some(Self {
            newest: match newest {
                "?" => NewestBackup::Unknown,
                "-" => NewestBackup::Known(None),
                newest => NewestBackup::Known(Some(time(newest)?)),
            },
            beyond_gap: Some(beyond_gap.parse().ok()?).filter(|number| *number != 0),
            looked_at: time(looked_at)?,
            done: Some(done).filter(|_| !changed.is_zero()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: FileId = FileId { volume: 1, index: 2 };

    #[test]
    fn parsing_undoes_formatting() {
        let done = CompleteLook {
            changed: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_764_000_000_123_456_789),
            settings: u64::MAX,
            until: Timestamp::MAX,
        };
        for newest in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
            for done in [None, Some(done)] {
                let note = Note {
                    newest: NewestBackup::Known(newest),
                    beyond_gap: Some(u32::MAX),
                    looked_at: Timestamp::MAX,
                    done,
                };
                assert_eq!(Note::parse(&note.format(ID), ID), Some(note));
            }
        }
        assert_eq!(Note::parse(&Note::EMPTY.format(ID), ID), Some(Note::EMPTY));
    }

    #[test]
    fn note_of_another_file_or_form_is_ignored() {
        let text = Note::EMPTY.format(ID);
        assert_eq!(Note::parse(&text, FileId { index: 3, ..ID }), None);
        for other in ["", "1", "2 2 ? 0 0 0 0 0", &format!("{text} 0"), &text[..text.len() - 1]] {
            assert_eq!(Note::parse(other, ID), None, "{other}");
        }
    }
}
