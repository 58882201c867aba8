//! The files of a log: their names and order, the lease on an open one, and what a directory holds.

#[cfg(feature = "archive")]
pub(crate) mod archived;
pub(crate) mod birth_tag;
mod directory;
pub(crate) mod fresh_name;
pub(crate) mod lease;
mod location;
pub(crate) mod lookup;
mod mark;
pub(crate) mod name;
pub(crate) mod note;
pub(crate) mod rotation_lock;
pub(crate) mod superseded;
pub(crate) mod temporary;
pub(crate) mod uncompress;

pub(crate) use directory::{Backup, DirectorySnapshot, backup_names, newest_naming, sync_backups};
pub(crate) use location::Location;
