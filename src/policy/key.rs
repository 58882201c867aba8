//! The number of a version as the last part of a key, so that keys sort by age.

const DIGITS: usize = 20;

pub(super) fn numbered(version: u64) -> String {
    format!("{version:0DIGITS$}")
}

/// The inverse of [`numbered`]; `None` for the key of another program.
pub(super) fn number_of(key: &str) -> Option<u64> {
    let is_ours = key.len() == DIGITS && key.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| key.parse().ok()).flatten().filter(|version| *version > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_twenty_digits_are_versions() {
        for version in [1, 42, u64::MAX] {
            assert_eq!(number_of(&numbered(version)), Some(version));
        }
        for key in ["42", "00000000000000000000", "0000000000000000004a", "99999999999999999999"] {
            assert_eq!(number_of(key), None, "{key}");
        }
    }
}
