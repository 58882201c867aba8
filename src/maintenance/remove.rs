//! Removing a backup that no process has open.

use super::pass::StepOutcome;
use crate::error::Result;
use crate::fs::{self, Unleased};
use crate::segment::Backup;
use crate::stats::DeferralReason;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A backup that has the name of a temporary file, and is about to be removed.
pub(super) struct Aside {
    pub(super) backup: Backup,
    pub(super) path: PathBuf,
    /// So that no other worker removes it meanwhile as left by a killed one.
    _held: File,
}

/// Gives a backup that no process has open the name of a temporary file.
pub(super) fn move_aside(backup: &Backup, aside: &mut Vec<Aside>) -> Result<StepOutcome> {
    match fs::open_unleased(&backup.path)? {
        Unleased::Ours(held) => {
            let path = fs::temp_name(&backup.path);
            match fs::rename_noreplace(&backup.path, &path) {
                Ok(()) => {}
                Err(error) if error.is_not_found() => return Ok(StepOutcome::Moved),
                Err(error) => return Err(error),
            }
            aside.push(Aside { backup: backup.clone(), path, _held: held });
            Ok(StepOutcome::Done)
        }
        Unleased::Leased => Ok(StepOutcome::Deferred(DeferralReason::InUse)),
        Unleased::Gone => Ok(StepOutcome::Moved),
    }
}

/// Removes a backup that no process has open. The caller ensures that it keeps its name.
pub(super) fn remove(path: &Path) -> Result<StepOutcome> {
    match fs::open_unleased(path)? {
        Unleased::Ours(_held) => {
            Ok(if fs::remove(path)? { StepOutcome::Done } else { StepOutcome::Moved })
        }
        Unleased::Leased => Ok(StepOutcome::Deferred(DeferralReason::InUse)),
        Unleased::Gone => Ok(StepOutcome::Moved),
    }
}
