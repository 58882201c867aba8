//! Leases on SMB shares (CIFS) under Linux.
//!
//! There a lock is for the server to enforce, and `flock` locks the whole file: while a worker has
//! its lease, the server refuses the records of all workers. The kernel reports that to none of
//! them if it had the records in its cache. So the lease is a lock of one byte beyond all records.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io;

/// The numbers of a share's file system, by the version of the protocol: `linux/magic.h`.
pub(super) const SMB1_MAGIC: u32 = 0xFF53_4D42;
pub(super) const SMB2_MAGIC: u32 = 0xFE53_4D42;

/// The byte that is locked.
const BYTE: libc::off_t = libc::off_t::MAX >> 1;

pub(super) fn is_on_share(file: &File) -> bool {
    // The numbers have 32 bits, whatever their type.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let is_share = |magic| matches!(magic as u32, SMB1_MAGIC | SMB2_MAGIC);
    rustix::fs::fstatfs(file).is_ok_and(|found| is_share(found.f_type))
}

pub(super) fn try_exclusive(file: &File) -> io::Result<bool> {
    granted(set(file, libc::F_WRLCK))
}

pub(super) fn try_shared(file: &File) -> io::Result<bool> {
    granted(set(file, libc::F_RDLCK))
}

pub(super) fn unlock(file: &File) -> io::Result<()> {
    Ok(set(file, libc::F_UNLCK)?)
}

fn granted(set: Result<(), Errno>) -> io::Result<bool> {
    match set {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The lock belongs to the open file, as that of `flock` does.
fn set(file: &File, kind: libc::c_int) -> Result<(), Errno> {
    #[allow(clippy::cast_possible_truncation, reason = "the constants are small")]
    let byte = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: BYTE,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&byte)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_of_one_byte_is_shared_or_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let open = || File::options().create(true).read(true).append(true).open(&path).unwrap();
        let (a, b) = (open(), open());
        assert!(try_shared(&a).unwrap() && try_shared(&b).unwrap());
        assert!(!try_exclusive(&a).unwrap());
        unlock(&b).unwrap();
        assert!(try_exclusive(&a).unwrap() && !try_shared(&b).unwrap());
        drop(a);
        assert!(try_exclusive(&b).unwrap());
        assert!(!is_on_share(&b));
    }
}
