//! The failures of policies, in words.

use crate::error::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

impl Error {
    /// A policy file that is damaged.
    pub(crate) fn policy_corrupt(path: &Path, found: impl fmt::Display) -> Self {
        Self::refused(ErrorKind::PolicyCorrupt, "trust policy", path, found.to_string())
    }

    /// A policy file that names an older version than is known, or the same with other content.
    pub(crate) fn policy_went_back(path: &Path, from: u64, to: u64) -> Self {
        match from == to {
            true => Self::policy_corrupt(
                path,
                format!("its version {to} is not the one that was read before"),
            ),
            false => {
                Self::policy_corrupt(path, format!("it went back from version {from} to {to}"))
            }
        }
    }

    /// A change made for another version than is in force.
    pub(crate) fn policy_conflict(path: &Path, expected: u64, is: u64) -> Self {
        let why = format!("it was made for version {expected}, and the policy is at version {is}");
        Self::refused(ErrorKind::PolicyConflict, "change policy", path, why)
    }

    /// An edit by hand of a version that is not the last one.
    pub(crate) fn policy_edit_conflict(path: &Path, base: u64, is: u64) -> Self {
        let why = format!(
            "it was made from version {base}, and version {is} was in force already; take over what is \
             new in that and name version {is} in the header, or remove the whole header to override it"
        );
        Self::refused(ErrorKind::PolicyConflict, "accept the edit of policy", path, why)
    }

    /// An edit by hand whose header does not say what it was made from.
    pub(crate) fn policy_edit_baseless(path: &Path) -> Self {
        let why = "its header does not say which version it was made from; restore the line `#: version`, \
                   or remove the whole header to override whatever there was";
        Self::refused(ErrorKind::PolicyInvalid, "accept the edit of policy", path, why)
    }

    /// An edit by hand that has no version yet.
    pub(crate) fn policy_edit_waits(path: &Path) -> Self {
        let why = "it holds an edit by hand that has no version yet";
        Self::refused(ErrorKind::PolicyConflict, "verify policy", path, why)
    }

    /// A value that the policy's text cannot hold, or that its validator rejects.
    pub(crate) fn policy_invalid(path: &Path, why: impl fmt::Display) -> Self {
        Self::refused(ErrorKind::PolicyInvalid, "accept a change of policy", path, why.to_string())
    }

    /// A system that does not answer, or not as it should. `action` is the verb, such as "read".
    pub(crate) fn policy_unreachable(
        action: &'static str,
        url: &str,
        why: impl fmt::Display,
    ) -> Self {
        let action = format!("{action} policy");
        Self::refused(ErrorKind::PolicyUnreachable, action, url, why.to_string())
    }

    /// The last of several failures in a row to reach a system.
    pub(crate) fn policy_given_up(self, attempts: u32, tried: Duration) -> Self {
        let tried = tried.as_secs_f64();
        self.with_detail(&format!("; gave up after {attempts} attempts in {tried:.1} s"))
    }

    /// A system that rejects the credentials.
    #[cfg_attr(not(feature = "archive"), allow(dead_code, reason = "no system is in this build"))]
    pub(crate) fn policy_denied(action: &'static str, url: &str, why: impl fmt::Display) -> Self {
        Self::refused(ErrorKind::PolicyDenied, format!("{action} policy"), url, why.to_string())
    }

    /// A version that is not kept.
    pub(crate) fn policy_no_version(path: &Path, version: u64) -> Self {
        let why = format!("version {version} is not among those kept beside it");
        let source = io::Error::new(io::ErrorKind::NotFound, why);
        Self::io("look up a version of policy", path, source)
    }

    /// A policy that was never created.
    pub(crate) fn policy_missing(path: &Path) -> Self {
        let why = "there is no such file, and no version of it is kept beside it";
        Self::io("open policy", path, io::Error::new(io::ErrorKind::NotFound, why))
    }

    /// A policy whose connections a forked child has from its parent.
    pub(crate) fn policy_of_parent(path: &Path) -> Self {
        let why = "its connections belong to the parent process; open it again after `fork`";
        Self::io("use policy", path, io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// A policy without a good version.
    pub(crate) fn policy_lost(self, path: &Path) -> Self {
        let why = format!(
            "no good version of it is known or kept beside it; found: {}",
            self.cause_text()
        );
        Self::refused(ErrorKind::PolicyCorrupt, "restore policy", path, why)
    }

    /// A version of a policy that is invalid with the settings that are fixed while a log is open.
    pub(crate) fn policy_refused(path: &Path, version: u64, error: &Self) -> Self {
        let why = format!("version {version} cannot hold for this log as it is open: {error}");
        Self::refused(ErrorKind::PolicyInvalid, "follow policy", path, why)
    }

    /// A setting of a policy that cannot change while a log is open.
    pub(crate) fn policy_setting_fixed(path: &Path, version: u64, setting: &str) -> Self {
        let why = format!(
            "version {version} has another `{setting}`, which cannot change while the log is open; it \
             holds for workers that start from now on, so restart them all"
        );
        Self::refused(ErrorKind::PolicyInvalid, "follow policy", path, why)
    }
}
