//! The temporary of a new segment: how it differs from another file that has its name.
//!
//! A rotation exchanges the new segment with the file at the log's path. A worker that dies just
//! then leaves the temporary's name to that file, which may be one that another program has put at
//! the path, and has no other name. So the name of the temporary says what the new segment holds:
//! nothing, or a header with a certain fingerprint. Any other content is not removed.

use crate::error::Result;
use crate::fs;
use std::fs::File;
use std::path::Path;

/// Begins the random part of the name of a new segment's temporary.
const MARK: &str = "new";
const DIGITS: usize = 6;

/// Returns the mark in the name of the temporary of a new segment with this header.
pub(crate) fn mark(header: &[u8]) -> String {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = fingerprint(header);
    let mut mark = MARK.to_owned();
    for _ in 0..DIGITS {
        mark.push(char::from(ALPHABET[(rest % 36) as usize]));
        rest /= 36;
    }
    mark
}

/// Source: the FNV-1a hash, 64 bits.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// Whether a file with the name of a temporary of the log itself may be another program's. `len` is
/// the length of the file.
pub(crate) fn may_be_foreign(file: &File, len: u64, path: &Path) -> Result<bool> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(marked) = fs::temp_mark(name).filter(|mark| mark.starts_with(MARK)) else {
        return Ok(false);
    };
    if len == 0 {
        return Ok(false);
    }
    // Longer than any header.
    const MAX: u64 = 16 * 1024 * 1024;
    if len > MAX {
        return Ok(true);
    }
    let mut content = Vec::new();
    let mut buffer = [0; 8 * 1024];
    loop {
        match fs::read_at(file, &mut buffer, content.len() as u64, path)? {
            0 => return Ok(!marked.starts_with(&mark(&content))),
            read => content.extend_from_slice(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Temp;
    use std::io::Write;

    #[test]
    fn new_segment_is_not_taken_for_a_foreign_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        for (header, content, is_foreign) in [
            ("", "", false),
            ("", "x", true),
            ("# header\n", "", false),
            ("# header\n", "# header\n", false),
            ("# header\n", "# header\nx", true),
            ("# header\n", "# heades\n", true),
        ] {
            let temp = Temp::marked(&target, 0o600, &mark(header.as_bytes())).unwrap();
            temp.file().write_all(content.as_bytes()).unwrap();
            let seen = may_be_foreign(temp.file(), content.len() as u64, temp.path()).unwrap();
            assert_eq!(seen, is_foreign, "{header:?} {content:?}");
        }
        let other = Temp::beside(&target, 0o600).unwrap();
        if !other.path().to_string_lossy().contains(MARK) {
            assert!(!may_be_foreign(other.file(), 5, other.path()).unwrap());
        }
    }
}
