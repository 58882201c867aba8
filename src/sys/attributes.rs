//! Access control lists, security labels and the attributes of users. Contracts: see the parent
//! module.

use rustix::fs::{XattrFlags, fgetxattr, fgetxattr_query, flistxattr, flistxattr_query, fsetxattr};
use std::fs::File;

const POSIX_ACL: &[u8] = b"system.posix_acl_access";

/// Whether an attribute belongs to whatever the file contains. Others describe this very file, such
/// as its checksum (`security.ima`) and our own note, or give rights (`security.capability`).
fn is_kept(name: &[u8]) -> bool {
    let known = [POSIX_ACL, b"system.nfs4_acl", b"security.selinux", b"security.SMACK64"];
    known.contains(&name) || (name.starts_with(b"user.") && name != super::xattr::NAME.as_bytes())
}

pub(crate) fn copy_attributes(from: &File, to: &File, with_acl: bool) -> bool {
    let Some(names) = names(from) else { return true };
    let mut is_acl_kept = true;
    for name in names.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        let is_acl = name == POSIX_ACL;
        let is_set = (with_acl || !is_acl) && copy(from, to, name).is_some();
        is_acl_kept &= is_set || !is_acl;
    }
    is_acl_kept
}

/// The names of a file's attributes, each followed by a zero. `None` if it has none.
fn names(file: &File) -> Option<Vec<u8>> {
    let mut names = vec![0; flistxattr_query(file).ok().filter(|len| *len > 0)?];
    let len = flistxattr(file, &mut names[..]).ok()?;
    names.truncate(len);
    Some(names)
}

/// Copies one attribute, if this process may.
fn copy(from: &File, to: &File, name: &[u8]) -> Option<()> {
    let mut value = vec![0; fgetxattr_query(from, name).ok()?];
    if !value.is_empty() {
        let len = fgetxattr(from, name, &mut value[..]).ok()?;
        value.truncate(len);
    }
    fsetxattr(to, name, &value, XattrFlags::empty()).ok()
}
