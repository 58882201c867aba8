//! The mark of our Zstandard backups: their first block holds one byte. It is a plain block to
//! every reader, and shows that a file was cut off before its birth tag.

use super::birth_tag;
use crate::error::Result;
use crate::fs;
use std::fs::File;
use std::path::Path;

const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The header of a raw block of one byte that is not the last one.
const BLOCK: [u8; BLOCK_HEADER] = [1 << 3, 0, 0];
const BLOCK_HEADER: usize = 3;
const CHECKSUM: u64 = 4;

/// Whether a file of `len` bytes lacks the tag that it was written with. `start` is its first
/// bytes.
pub(super) fn lacks_tag(file: &File, len: u64, start: &[u8], path: &Path) -> Result<bool> {
    let Some(blocks) = blocks(start).filter(|at| start[*at..].starts_with(&BLOCK)) else {
        return Ok(false);
    };
    // Another program's frames may follow ours, with the tag between them.
    let end = frame_end(file, len, blocks as u64, path)?;
    Ok(end > len || (end == len && birth_tag::has_room(len)))
}

/// Where the first block of a frame begins; `None` if it is not a frame as we write it: with a
/// checksum and without a dictionary.
fn blocks(start: &[u8]) -> Option<usize> {
    const FLAGS: u8 = 0b1_1111;
    const CHECKSUM_ALONE: u8 = 0b100;
    let &descriptor = start.strip_prefix(&MAGIC)?.first()?;
    let is_single = descriptor & 0x20 != 0;
    let size = match descriptor >> 6 {
        0 => usize::from(is_single),
        flag => 1 << flag,
    };
    let blocks = MAGIC.len() + 1 + usize::from(!is_single) + size;
    (descriptor & FLAGS == CHECKSUM_ALONE && blocks <= start.len()).then_some(blocks)
}

/// Where the frame ends whose blocks begin at `at`, by its block headers; beyond `len` if it is cut
/// off.
fn frame_end(file: &File, len: u64, mut at: u64, path: &Path) -> Result<u64> {
    const RUN: u32 = 1;
    while at < len {
        let mut header = [0; 4];
        if fs::read_at(file, &mut header[..BLOCK_HEADER], at, path)? < BLOCK_HEADER {
            break;
        }
        let header = u32::from_le_bytes(header);
        let (is_last, kind, size) = (header & 1 == 1, header >> 1 & 3, header >> 3);
        at += BLOCK_HEADER as u64 + if kind == RUN { 1 } else { u64::from(size) };
        if is_last {
            return Ok(at + CHECKSUM);
        }
    }
    Ok(len + 1)
}
