//! The names of backups that are found without a listing of the directory.

use super::Location;
use super::backup_names;
use super::name::{Compression, Key, Name, Naming, TimeKey, TimePlace};
use super::note::{NewestBackup, Note};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::fs::{self, FileId};
use std::path::PathBuf;

/// Returns the backups named by time from `newest` back to `known`, without that one, newest first.
/// Returns `None` if a backup on the way does not note the one before it.
///
/// Backups are removed oldest first, so a missing one has none before it.
pub(crate) fn names_back_to(
    location: &Location,
    newest: Option<Timestamp>,
    known: Option<Timestamp>,
) -> Result<Option<Vec<Name>>> {
    // A listing is cheaper than more steps.
    const STEPS: usize = 1000;
    let (mut names, mut next) = (Vec::new(), newest);
    while let Some(time) = next.filter(|time| known.is_none_or(|known| *time > known)) {
        let Some(name) = named_by(location, time)? else { break };
        let note = Note::of(&location.backup_path(name));
        let Some(NewestBackup::Known(before)) = note.map(|note| note.newest) else {
            return Ok(None);
        };
        names.push(name);
        // A note that leads forward would lead in a circle.
        if before.is_some_and(|before| before >= time) || names.len() > STEPS {
            return Ok(None);
        }
        next = before;
    }
    Ok(Some(names))
}

/// Returns a form of the backup of this time, wherever its name has the time.
fn named_by(location: &Location, time: Timestamp) -> Result<Option<Name>> {
    for place in TimePlace::ALL {
        let forms = forms_of(location, Key::Time(TimeKey { time, place }))?;
        if let Some(name) = forms.first() {
            return Ok(Some(*name));
        }
    }
    Ok(None)
}

/// Returns the numbered backups, oldest first: all by a listing or, if the directory `is_crowded`,
/// [those that are known](numbers_up_to).
pub(crate) fn numbered(location: &Location, is_crowded: bool) -> Result<Vec<Name>> {
    match is_crowded {
        true => known_numbers(location),
        false => backup_names(location, Some(Naming::Number)),
    }
}

/// Returns the numbered backups up to the one that the note on the active segment leads to.
pub(crate) fn known_numbers(location: &Location) -> Result<Vec<Name>> {
    let beyond_gap = Note::of(location.path()).and_then(|note| note.beyond_gap);
    numbers_up_to(location, beyond_gap)
}

/// Returns the backups with the numbers from 1 up to the first gap, and on to the number
/// `beyond_gap`, oldest first, in all their forms.
pub(crate) fn numbers_up_to(location: &Location, beyond_gap: Option<u32>) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for number in 1..u32::MAX {
        let forms = forms_of(location, Key::Number(number))?;
        if forms.is_empty() && beyond_gap.is_none_or(|highest| number >= highest) {
            break;
        }
        names.extend(forms);
    }
    names.sort_unstable();
    Ok(names)
}

/// Returns the highest number that comes after a gap. `names` come oldest first.
///
/// A gap is left where backups are removed while a process still has an older one open.
pub(crate) fn beyond_gap(names: &[Name]) -> Option<u32> {
    // A number far away is another program's, and the way to it is longer than a listing.
    const STEPS: usize = 1000;
    let mut numbers: Vec<_> = names
        .iter()
        .rev()
        .filter_map(|name| match name.key {
            Key::Number(number) => Some(number),
            Key::Time(_) => None,
        })
        .collect();
    numbers.dedup();
    let chain = (1..).zip(&numbers).take_while(|(next, number)| next == *number).count();
    let beyond = numbers[chain..].iter().rev();
    beyond.copied().find(|number| *number as usize <= chain + STEPS)
}

/// Returns the paths of all backups that are this file. Each is looked at as it is taken.
pub(crate) fn backups_that_are(
    location: &Location,
    file: FileId,
) -> Result<impl Iterator<Item = Result<PathBuf>>> {
    let paths = backup_names(location, None)?.into_iter().map(|name| location.backup_path(name));
    Ok(paths.filter_map(move |path| match fs::is_at(&path, file) {
        Ok(is_it) => is_it.then_some(Ok(path)),
        Err(error) => Some(Err(error)),
    }))
}

/// Returns the forms of a backup that exist. One that is compressed meanwhile is found: the
/// compressed form comes before the uncompressed one goes.
fn forms_of(location: &Location, key: Key) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for compression in Compression::ALL {
        let name = Name { key, compression };
        if fs::stat(&location.backup_path(name))?.is_some() {
            names.push(name);
        }
    }
    Ok(names)
}
