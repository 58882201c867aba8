//! Notes on files, as extended attributes. Contracts: see the parent module.

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use std::io;
use std::path::Path;

pub(super) const NAME: &str = "user.logrotor";

pub(crate) fn note(path: &Path) -> io::Result<Vec<u8>> {
    const AT_MOST: usize = 256;
    let mut note = vec![0; AT_MOST];
    let len = lgetxattr(path, NAME, &mut note[..])?;
    note.truncate(len);
    Ok(note)
}

pub(crate) fn set_note(path: &Path, note: &[u8]) -> io::Result<()> {
    Ok(lsetxattr(path, NAME, note, XattrFlags::empty())?)
}
