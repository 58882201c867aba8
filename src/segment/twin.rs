//! A backup that is there twice: plain, and packed, when a crash or a power cut came between.

use super::mark;
use super::name::Packing;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::fs::{self, Entry, EntryKind};
use std::path::Path;

/// Whether what is at `path` is what we made of the plain backup; then it is whole.
///
/// It has the plain one's time before it has its name. What somebody else is packing there has another until it
/// is whole, and a directory or a link holds no records of ours.
pub(crate) fn is_made_of(
    path: &Path,
    packing: Packing,
    packed: Entry,
    plain: Entry,
) -> Result<bool> {
    if packing == Packing::Plain || packed.kind != EntryKind::File {
        return Ok(false);
    }
    Ok(packed.modified == plain.modified || is_of_one_birth(path, packing, packed, plain)?)
}

/// A power cut may take the last changes of the plain one back, its time with them, as nobody has synced it;
/// the packed one was synced. It notes when its segment was begun.
fn is_of_one_birth(path: &Path, packing: Packing, packed: Entry, plain: Entry) -> Result<bool> {
    let Some(born) = plain.born.filter(|_| plain.modified < packed.modified) else {
        return Ok(false);
    };
    let Some(file) = fs::open_segment(path)? else { return Ok(false) };
    Ok(mark::read(&file, packing, path)? == Some(Timestamp::from(born)))
}
