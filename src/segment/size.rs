//! How long the content of a packed file is, as the file itself says, without unpacking it.

use super::name::Compression;

/// How much of a file's start is needed.
pub(crate) const START: usize = 64;
/// How much of its end.
pub(crate) const END: usize = 4;

/// The length of the content of a packed file of `len` bytes, if the file says it.
///
/// gzip says it in its last four bytes (RFC 1952, section 2.3.1), modulo 4 GiB and for its last member
/// alone; an answer that the file's own length contradicts is none. Zstandard may say it in the header of
/// its first frame (RFC 8878, section 3.1.1.1.4), and with our backups does.
pub(crate) fn unpacked(
    compression: Compression,
    start: &[u8],
    end: &[u8],
    len: u64,
) -> Option<u64> {
    match compression {
        Compression::None => Some(len),
        Compression::Gzip => gzip(start, end, len),
        Compression::Zstd => zstd(start),
    }
}

fn gzip(start: &[u8], end: &[u8], len: u64) -> Option<u64> {
    const MAGIC: [u8; 2] = [0x1f, 0x8b];
    // What does not pack well becomes longer: by the headers, and by less than an eighth with any packer.
    const OVERHEAD: u64 = 1024;
    let said = u64::from(u32::from_le_bytes(end.try_into().ok()?));
    let is_possible = len <= said + said / 8 + OVERHEAD;
    (start.starts_with(&MAGIC) && is_possible).then_some(said)
}

fn zstd(mut start: &[u8]) -> Option<u64> {
    const MAGIC: u32 = 0xFD2F_B528;
    const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;
    loop {
        let (magic, rest) = start.split_first_chunk()?;
        match u32::from_le_bytes(*magic) {
            MAGIC => return frame_content(rest),
            magic if SKIPPABLE.contains(&magic) => {
                let (skip, rest) = rest.split_first_chunk()?;
                start = rest.get(usize::try_from(u32::from_le_bytes(*skip)).ok()?..)?;
            }
            _ => return None,
        }
    }
}

/// The content's length from a frame's header, after the magic number.
fn frame_content(header: &[u8]) -> Option<u64> {
    let (&descriptor, rest) = header.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let field = rest.get(usize::from(!is_single) + dictionary..)?;
    match (descriptor >> 6, is_single) {
        (0, false) => None,
        (0, true) => field.first().copied().map(u64::from),
        (1, _) => Some(u64::from(u16::from_le_bytes(*field.first_chunk()?)) + 256),
        (2, _) => Some(u64::from(u32::from_le_bytes(*field.first_chunk()?))),
        (_, _) => Some(u64::from_le_bytes(*field.first_chunk()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn ask(compression: Compression, file: &[u8]) -> Option<u64> {
        let start = &file[..file.len().min(START)];
        unpacked(compression, start, &file[file.len().saturating_sub(END)..], file.len() as u64)
    }

    proptest! {
        #[test]
        fn gzip_says_its_length(content in prop::collection::vec(any::<u8>(), 0..9_000)) {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&content).unwrap();
            prop_assert_eq!(ask(Compression::Gzip, &encoder.finish().unwrap()), Some(content.len() as u64));
        }

        #[cfg(feature = "zstd")]
        #[test]
        fn zstd_says_its_length(len in prop_oneof![0..600_usize, 65_000..66_000_usize]) {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.set_pledged_src_size(Some(len as u64)).unwrap();
            encoder.write_all(&vec![b'x'; len]).unwrap();
            let tag = crate::segment::birth_tag::zstd_frame(crate::clock::Timestamp::MIN);
            let file = [tag, encoder.finish().unwrap()].concat();
            prop_assert_eq!(ask(Compression::Zstd, &file), Some(len as u64));
        }

        #[test]
        fn no_bytes_panic(file in prop::collection::vec(any::<u8>(), 0..80)) {
            for compression in Compression::ALL {
                let _ = ask(compression, &file);
            }
        }
    }

    #[test]
    fn what_contradicts_the_file_is_no_answer() {
        let mut file = vec![0x1f, 0x8b];
        file.extend([0; 5000]);
        assert_eq!(ask(Compression::Gzip, &file), None);
        assert_eq!(ask(Compression::Zstd, b"\x28\xb5\x2f\xfd\x00"), None);
    }
}
