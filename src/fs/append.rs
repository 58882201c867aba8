//! The system call that appends a record.

use super::fault;
use crate::sys;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How records are appended to one file.
///
/// A positioned write does not take the lock of the file position, for which the threads of a
/// process otherwise wait. On a handle opened for appending, Linux appends whatever the position
/// says: `pwrite(2)`, section BUGS. Other systems write at the position, as POSIX asks, so they
/// keep `write(2)`. To be certain, the first such record of a file says explicitly that it appends
/// (`RWF_APPEND`, Linux 4.16). A kernel that does not know the flag refuses it, and the file keeps
/// `write(2)`.
#[derive(Debug)]
pub(crate) struct AppendMode(AtomicU8);

impl AppendMode {
    /// Each record moves the file position to the end.
    const SEQUENTIAL: u8 = 0;
    const UNKNOWN: u8 = 1;
    const POSITIONED: u8 = 2;

    /// The mode of a file that has just been opened. On a network file system the position is
    /// cheaper to ask for than the size, so records keep moving it.
    pub(crate) fn new(is_local: bool) -> Self {
        Self(AtomicU8::new(if is_local { Self::UNKNOWN } else { Self::SEQUENTIAL }))
    }
}

/// Appends one record or several with one `write` call; may be short. The file position is then the
/// end of what was written.
#[inline]
pub(crate) fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    fault::write_step("append", bytes.len(), |len| sys::append(file, &bytes[..len]))
}

/// As [`append`], but may leave the file position as it is. `offset` is where the file is expected
/// to end.
#[inline]
pub(crate) fn append_beside(
    file: &File,
    bytes: &[u8],
    offset: u64,
    mode: &AppendMode,
) -> io::Result<usize> {
    fault::write_step("append", bytes.len(), |len| match mode.0.load(Relaxed) {
        AppendMode::POSITIONED => sys::append_positioned(file, &bytes[..len], offset),
        AppendMode::UNKNOWN => append_first(file, &bytes[..len], mode),
        _ => sys::append(file, &bytes[..len]),
    })
}

/// Learns by one record whether the kernel appends by position.
#[cold]
fn append_first(file: &File, bytes: &[u8], mode: &AppendMode) -> io::Result<usize> {
    match sys::append_explicitly(file, bytes)? {
        Some(taken) => {
            mode.0.store(AppendMode::POSITIONED, Relaxed);
            Ok(taken)
        }
        None => {
            mode.0.store(AppendMode::SEQUENTIAL, Relaxed);
            sys::append(file, bytes)
        }
    }
}

/// The end of the handle's last [`append`], which includes earlier appends of other workers.
#[inline]
pub(crate) fn append_offset(file: &File) -> io::Result<u64> {
    fault::step("ask the offset of")?;
    sys::append_offset(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let file = sys::create_new(&dir.path().join("a"), 0o600).unwrap();
        (dir, file)
    }

    #[test]
    fn positioned_record_is_appended_whatever_its_offset() {
        let (dir, file) = file();
        let mode = AppendMode::new(true);
        for (text, offset) in [("one ", 0), ("two ", 0), ("three", 1)] {
            assert_eq!(append_beside(&file, text.as_bytes(), offset, &mode).unwrap(), text.len());
        }
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"one two three");
        // An emulator of another processor may not know the call.
        let positioned = mode.0.into_inner() == AppendMode::POSITIONED;
        assert!(positioned || !cfg!(target_os = "linux") || cfg!(target_arch = "s390x"));
    }

    #[test]
    fn other_systems_and_network_file_systems_append_in_sequence() {
        let (_dir, file) = file();
        let mode = AppendMode::new(false);
        append_beside(&file, b"record", 99, &mode).unwrap();
        assert_eq!(append_offset(&file).unwrap(), 6);
    }

    #[test]
    fn error_of_the_first_record_decides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "").unwrap();
        let read_only = File::open(dir.path().join("a")).unwrap();
        let mode = AppendMode::new(true);
        append_beside(&read_only, b"record", 0, &mode).unwrap_err();
        assert_ne!(mode.0.into_inner(), AppendMode::POSITIONED);
    }
}
