//! Files that do not exist, or no longer.

use super::stat;
use crate::error::Result;
use std::io;
use std::path::Path;

/// Turns a failure because the file does not exist into `Ok(None)`.
pub(super) fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`found`], of an open. CIFS says `EINVAL` of a file that is renamed or removed meanwhile.
pub(super) fn found_at<T>(path: &Path, opened: Result<T>) -> Result<Option<T>> {
    let is_gone = || matches!(stat(path), Ok(None));
    match found(opened) {
        Err(error) if error.io_kind() == io::ErrorKind::InvalidInput && is_gone() => Ok(None),
        opened => opened,
    }
}
