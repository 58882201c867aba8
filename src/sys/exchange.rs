//! A second name for a file, and the exchange of two names, on Unix.

use super::Access;
use rustix::fs::AtFlags;
use std::io;
use std::path::Path;

/// Whether [`exchange`] is there.
pub(crate) const EXCHANGES: bool =
    cfg!(any(target_os = "linux", target_os = "android", target_vendor = "apple"));

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(crate) fn exchange(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) fn exchange(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn is_exchange_missing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let missing = [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|errno| missing.contains(&errno))
}

pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    // POSIX leaves it open whether `link` follows a link; without the flag `linkat` does not.
    Ok(rustix::fs::linkat(rustix::fs::CWD, from, rustix::fs::CWD, to, AtFlags::empty())?)
}

pub(crate) fn is_own(access: Access) -> bool {
    access.uid == rustix::process::geteuid().as_raw()
}

pub(crate) fn keeps_names(dir: Access) -> bool {
    const STICKY: u32 = 0o1000;
    dir.mode & STICKY != 0 && !is_own(dir)
}
