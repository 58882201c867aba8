//! The names of a policy's files: formatting and parsing are exact inverses.
//!
//! | file | name |
//! |---|---|
//! | the policy | `app.log.policy.toml` |
//! | an earlier version, and a copy of the present one | `app.log.policy.toml.v42` |
//! | damaged content that `repair` replaced | `app.log.policy.toml.damaged` |
//! | update lock | `app.log.policy.toml.lock` |
//! | this machine's copy of a policy that machines share | `app.log.policy.cache` |
//!
//! A name that does not parse is not ours, and its file is never touched.

use super::document::parse_number;
use std::path::{Path, PathBuf};

/// The name of the copy of a version.
pub(crate) fn version(policy: &str, version: u64) -> String {
    format!("{policy}.v{version}")
}

/// The version whose copy has this name.
pub(crate) fn parse_version(policy: &str, name: &str) -> Option<u64> {
    parse_number(name.strip_prefix(policy)?.strip_prefix(".v")?)
}

/// The name of the file for damaged content.
pub(crate) fn damaged(policy: &str) -> String {
    format!("{policy}.damaged")
}

/// Returns the usual path of the policy of a log: `<log>.policy.toml`.
///
/// # Examples
/// ```
/// let path = logrotor::policy::path_beside("logs/app.log");
/// assert_eq!(path, std::path::Path::new("logs/app.log.policy.toml"));
/// ```
#[must_use]
pub fn path_beside(log: impl AsRef<Path>) -> PathBuf {
    let mut path = log.as_ref().as_os_str().to_owned();
    path.push(".policy.toml");
    path.into()
}

/// The path of this machine's copy of a policy that machines share, beside a log.
pub(crate) fn cache_beside(log: &Path) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(".policy.cache");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parsing_undoes_formatting(policy in "[ -~]{1,40}", number in 1_u64..) {
            prop_assert_eq!(parse_version(&policy, &version(&policy, number)), Some(number));
        }

        #[test]
        fn formatting_undoes_parsing(name in "p\\.v[0-9]{0,21}[a-z]?") {
            if let Some(number) = parse_version("p", &name) {
                prop_assert_eq!(version("p", number), name);
            }
        }
    }

    #[test]
    fn stray_files_are_not_ours() {
        let foreign =
            ["p", "p.v", "p.v0", "p.v01", "p.v+1", "p.v1.gz", "p.v18446744073709551616", "xp.v1"];
        for name in foreign.into_iter().chain([&*damaged("p"), "p.lock", "p.v1.lock"]) {
            assert_eq!(parse_version("p", name), None, "{name}");
        }
    }
}
