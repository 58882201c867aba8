//! Files by hand that this process cannot change, as on a read-only mount.

use super::author::Origin;
use super::document::Base;
use super::engine::{Edit, Engine};
use super::{Policy, Settings};
use crate::error::{Error, ErrorKind, Result};
use std::sync::Arc;

impl<T: Settings> Engine<T> {
    /// Returns an edit by hand as it is, for a process that cannot give it a version in the file.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyConflict`] if it is an edit of an older version than the known one.
    pub(crate) fn unversioned(
        &self,
        edit: Edit,
        known: Option<&Policy<T>>,
    ) -> Result<Arc<Policy<T>>> {
        let path = self.files.path();
        let last = known.map_or(0, super::Policy::version);
        match (edit.base, known.map(|known| known.metadata.origin)) {
            // Its number is not that of a version in the file.
            (_, Some(Origin::Unversioned)) => {}
            (Base::Version(base), _) if base < last => {
                return Err(Error::policy_edit_conflict(path, base, last));
            }
            _ => {}
        }
        let value =
            self.judge.read(&edit.text, |c| Error::bad_text(ErrorKind::PolicyInvalid, path, c))?;
        let metadata = self.judge.metadata(last, Origin::Unversioned, None)?;
        Ok(Arc::new(Policy { value, metadata, text: edit.text }))
    }
}

impl Edit {
    /// Whether it has this text.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// Whether a failure means that this process cannot change the policy.
pub(crate) fn is_unwritable(error: &Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.io_kind(), PermissionDenied | ReadOnlyFilesystem)
}

/// Whether a version is that of a file which this process cannot change.
pub(super) fn is_unversioned<T>(policy: &Policy<T>) -> bool {
    policy.metadata().origin() == Origin::Unversioned
}
