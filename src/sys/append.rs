//! Appending without the file position, where the system documents it.

use std::fs::File;
use std::io;

/// Whether threads may append to one handle at the same time. Windows lets them wait for each other
/// in any case, and wine loses records that are appended so.
pub(crate) const APPENDS_SIDE_BY_SIDE: bool = cfg!(not(windows));

#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn append_positioned(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    Ok(rustix::io::pwrite(file, bytes, offset)?)
}

/// By `RWF_APPEND`. gVisor and WSL 1 do not know the flag, and some sandboxes refuse the call.
#[cfg(target_os = "linux")]
pub(crate) fn append_explicitly(file: &File, bytes: &[u8]) -> io::Result<Option<usize>> {
    use rustix::io::{Errno, ReadWriteFlags, pwritev2};
    match pwritev2(file, &[io::IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(None),
        taken => Ok(Some(taken?)),
    }
}

/// POSIX writes at the offset, so it is never called.
#[cfg(not(target_os = "linux"))]
pub(crate) fn append_positioned(file: &File, bytes: &[u8], _offset: u64) -> io::Result<usize> {
    super::append(file, bytes)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn append_explicitly(_file: &File, _bytes: &[u8]) -> io::Result<Option<usize>> {
    Ok(None)
}
