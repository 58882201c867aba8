//! A note in a packed backup of when its segment was begun: a packed file has a birth of its own, and no
//! name tells. With it, a reader can tell whether two backups are neighbours.
//!
//! | packing | where |
//! |---|---|
//! | gzip | first subfield `LR` of the header's extra field (RFC 1952, section 2.3.1.1) |
//! | Zstandard | a skippable frame before the content (RFC 8878, section 3.1.2), beginning with `LR` |
//!
//! The value is microseconds since 1970, 8 bytes, the lowest first. Every unpacker skips it; without it
//! a backup is read just as well.

use super::name::Compression;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::fs;
use std::fs::File;
use std::path::Path;

const ID: [u8; 2] = *b"LR";
const VALUE: usize = 8;
/// The magic number, compression method, flags, time, two hints, and the length of the extra field.
const GZIP_HEADER: usize = 12;
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const GZIP_EXTRA: u8 = 1 << 2;
/// The magic number and the frame's length.
const FRAME_HEADER: usize = 8;
const FRAME_MAGIC: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();

/// How much of a packed file is needed to find the mark.
pub(crate) const MAX_LEN: usize = GZIP_HEADER + 4 + VALUE;

/// The extra field of a gzip header.
pub(crate) fn gzip_extra(begun: Timestamp) -> Vec<u8> {
    [&ID[..], &[8, 0], &begun.micros().to_le_bytes()].concat()
}

/// A Zstandard frame to go before the content.
#[cfg(feature = "zstd")]
pub(crate) fn zstd_frame(begun: Timestamp) -> Vec<u8> {
    let content = [&ID[..], &begun.micros().to_le_bytes()].concat();
    [&FRAME_MAGIC[..], &[10, 0, 0, 0], &content].concat()
}

/// What an open packed file says.
pub(crate) fn read(
    file: &File,
    compression: Compression,
    path: &Path,
) -> Result<Option<Timestamp>> {
    let mut start = [0; MAX_LEN];
    let taken = fs::read_start(file, &mut start, path)?;
    Ok(parse(compression, &start[..taken]))
}

/// What the first bytes of a packed file say.
pub(crate) fn parse(compression: Compression, start: &[u8]) -> Option<Timestamp> {
    let value = match compression {
        Compression::None => return None,
        Compression::Gzip => {
            let has_extra = start.starts_with(&GZIP_MAGIC) && start.get(3)? & GZIP_EXTRA != 0;
            let field = has_extra.then(|| start.get(GZIP_HEADER..))??;
            field.strip_prefix(&ID)?.strip_prefix(&[8, 0])?
        }
        Compression::Zstd => {
            let frame = start.strip_prefix(&FRAME_MAGIC)?;
            frame.get(FRAME_HEADER - FRAME_MAGIC.len()..)?.strip_prefix(&ID)?
        }
    };
    let value = value.get(..VALUE)?.try_into().ok()?;
    Some(Timestamp::from_micros(i64::from_le_bytes(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    proptest! {
        #[test]
        fn gzip_birth_tag_is_found_and_unpackers_skip_it(micros in 0..=Timestamp::MAX.micros()) {
            let begun = Timestamp::from_micros(micros);
            let builder = flate2::GzBuilder::new().extra(gzip_extra(begun));
            let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
            encoder.write_all(b"content").unwrap();
            let packed = encoder.finish().unwrap();
            prop_assert_eq!(parse(Compression::Gzip, &packed[..MAX_LEN]), Some(begun));
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
            prop_assert_eq!(plain, b"content");
        }

        #[cfg(feature = "zstd")]
        #[test]
        fn zstd_birth_tag_is_found_and_unpackers_skip_it(micros in 0..=Timestamp::MAX.micros()) {
            let begun = Timestamp::from_micros(micros);
            let mut packed = zstd_frame(begun);
            packed.extend(zstd::encode_all(&b"content"[..], 1).unwrap());
            prop_assert_eq!(parse(Compression::Zstd, &packed[..MAX_LEN]), Some(begun));
            prop_assert_eq!(zstd::decode_all(&packed[..]).unwrap(), b"content");
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            for compression in Compression::ALL {
                let _ = parse(compression, &bytes);
            }
        }
    }

    #[test]
    fn file_without_a_birth_tag_has_none() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"some content of more than a few bytes").unwrap();
        assert_eq!(parse(Compression::Gzip, &encoder.finish().unwrap()), None);
        assert_eq!(parse(Compression::Zstd, b"\x28\xb5\x2f\xfd"), None);
    }
}
