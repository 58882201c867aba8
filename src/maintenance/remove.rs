//! Removing a backup that no process has open.

use super::pass::StepOutcome;
use crate::error::Result;
use crate::fs::{self, Unleased};
use crate::segment::{Backup, Location};
use crate::stats::DeferralReason;
use std::fs::File;
use std::path::PathBuf;

/// A backup that has the name of a temporary file, and is about to be removed.
pub(super) struct Aside {
    pub(super) backup: Backup,
    pub(super) path: PathBuf,
    /// So that no other worker removes it meanwhile as left by a killed one.
    _held: File,
}

/// Gives a backup that no process has open the name of a temporary file.
pub(super) fn move_aside(
    location: &Location,
    backup: &Backup,
    aside: &mut Vec<Aside>,
) -> Result<StepOutcome> {
    take(location, backup, |held| {
        let path = fs::temp_name(&backup.path);
        match fs::rename_noreplace(&backup.path, &path) {
            Err(error) if error.is_not_found() => return Ok(false),
            renamed => renamed?,
        }
        aside.push(Aside { backup: backup.clone(), path, _held: held });
        Ok(true)
    })
}

/// Removes a backup that no process has open. The caller ensures that it keeps its name.
pub(super) fn remove(location: &Location, backup: &Backup) -> Result<StepOutcome> {
    take(location, backup, |_held| fs::remove(&backup.path))
}

/// Does `work` with a backup that no process has open. `work` returns whether it still had its
/// name.
fn take(
    location: &Location,
    backup: &Backup,
    work: impl FnOnce(File) -> Result<bool>,
) -> Result<StepOutcome> {
    match fs::open_unleased(&backup.path)? {
        Unleased::Ours(_) if is_active(location, backup)? => {
            Ok(StepOutcome::Deferred(DeferralReason::InUse))
        }
        Unleased::Ours(held) => {
            Ok(if work(held)? { StepOutcome::Done } else { StepOutcome::Moved })
        }
        Unleased::Leased => Ok(StepOutcome::Deferred(DeferralReason::InUse)),
        Unleased::Gone => Ok(StepOutcome::Moved),
    }
}

/// Whether a listed backup is the active segment too. A rotation gives that a backup's name first,
/// and its worker may have died then. The caller has taken the file.
pub(crate) fn is_active(location: &Location, backup: &Backup) -> Result<bool> {
    Ok(backup.entry.links > 1 && fs::is_at(location.path(), backup.entry.id)?)
}
