//! Gives a file the name of the newest backup. The steps here need the rotation lock; the caller
//! holds it.

use super::Location;
use super::lookup::numbered;
use super::name::{Key, Name, Naming};
use super::superseded;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fs;
use std::io::ErrorKind::AlreadyExists;
use std::path::{Path, PathBuf};

/// Has `give` give a file the name of the newest backup. With names by time, that is `earliest`, or
/// a later time if that is taken. Returns its path, and its time or `earliest`.
///
/// `failed` gets the error if a superseded backup cannot be removed; it is renamed too.
pub(crate) fn name_newest(
    location: &Location,
    naming: Naming,
    earliest: Timestamp,
    give: impl Fn(&Path) -> Result<()>,
    failed: impl FnMut(Error),
) -> Result<(PathBuf, Timestamp)> {
    if naming.is_by_time() {
        return give_time(location, naming, earliest, give);
    }
    let backup = free_number_1(location, failed)?;
    give(&backup)?;
    Ok((backup, earliest))
}

/// Has `give` give a file the name of a backup of this time, or of a later one if that is taken.
/// Returns its path and its time.
fn give_time(
    location: &Location,
    naming: Naming,
    earliest: Timestamp,
    give: impl Fn(&Path) -> Result<()>,
) -> Result<(PathBuf, Timestamp)> {
    let mut time = earliest;
    loop {
        let backup = location.backup_path(Name::plain(location.time_key(naming, time)));
        match give(&backup) {
            // A foreign file has that very name; the next microsecond will do.
            Err(error) if error.io_kind() == AlreadyExists && time < Timestamp::MAX => {
                time = time.next();
            }
            given => return given.map(|()| (backup, time)),
        }
    }
}

/// Returns the newest time in `names`, which come oldest first. A file with the last possible name
/// is no backup of ours, because no later name would be left.
pub(crate) fn newest_time(names: &[Name]) -> Option<Timestamp> {
    names.iter().rev().find_map(|name| name.key.time().filter(|time| *time < Timestamp::MAX))
}

/// Frees number 1 by renaming 1 to 2, 2 to 3 and so on, up to the first gap. Returns its path. A
/// crash on the way leaves a gap, and the next rotation renames only up to that.
fn free_number_1(location: &Location, failed: impl FnMut(Error)) -> Result<PathBuf> {
    let names = numbered(location, location.is_crowded()?)?;
    let names = superseded::remove(location, &names, failed)?;
    for (from, to) in shifts(&names) {
        let [from, to] = [from, to].map(|name| location.backup_path(name));
        fs::rename_noreplace(&from, &to)?;
    }
    Ok(location.backup_path(Name::plain(Key::Number(1))))
}

/// Returns the renames that free number 1, in order. `names` come oldest first.
fn shifts(names: &[Name]) -> Vec<(Name, Name)> {
    let mut last = 0;
    let chain = names.iter().rev().map_while(|name| match name.key {
        Key::Number(number) if number <= last + 1 && number < u32::MAX => {
            last = number;
            Some((*name, Name { key: Key::Number(number + 1), ..*name }))
        }
        _ => None,
    });
    let mut chain: Vec<_> = chain.collect();
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: &[&str]) -> Vec<Name> {
        let mut names: Vec<_> =
            names.iter().map(|name| Name::parse("a", &format!("a.{name}")).unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn shifts_rename_oldest_first_up_to_the_first_gap() {
        let names = numbers(&["1", "2.gz", "3.zst", "5"]);
        let shown: Vec<_> = shifts(&names)
            .into_iter()
            .map(|(from, to)| format!("{} {}", from.format("a"), to.format("a")))
            .collect();
        assert_eq!(shown, ["a.3.zst a.4.zst", "a.2.gz a.3.gz", "a.1 a.2"]);
        assert_eq!(shifts(&numbers(&["2", "3"])), []);
    }
}
