//! The birth tag of a compressed backup, format 2. It notes when the segment was created and
//! rotated, the length of its records, and a digest of the compressed bytes.
//!
//! | compression | place |
//! |---|---|
//! | gzip | first subfield `LR` of the header's extra field (RFC 1952, section 2.3.1.1) |
//! | Zstandard | a skippable frame after the content (RFC 8878, section 3.1.2), begins with `LR` |
//!
//! `docs/formats.md` describes the bytes. A Zstandard tag is left out where its frame would
//! straddle a multiple of 64 KiB, because some readers reject such a frame. The first block of our
//! Zstandard files holds one byte, so a missing tag is noticed (`mark.rs`).
//!
//! Every other reader skips the tag. Files of the first format have the creation time alone, and
//! with Zstandard in front of the content. They are read as before.

use super::mark;
use super::name::Compression;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::fs;
use std::fs::File;
use std::path::Path;

const ID: [u8; 2] = *b"LR";
/// The length of the value, by which the formats differ.
const VALUE: usize = 40;
const VALUE_1: usize = 8;
/// Where the value's own checksum is, the last four of its bytes.
const OWN: usize = VALUE - 4;

/// The magic number, compression method, flags, time, two hints, and the length of the extra field.
const GZIP_FIXED: usize = 12;
/// The two hints: one for the level, one for the system, which our encoder leaves open.
const GZIP_LEVEL: usize = 8;
/// All of a gzip header with a tag.
pub(crate) const GZIP_HEADER: usize = GZIP_FIXED + GZIP_NAMED + VALUE;
/// The subfield's name and length.
const GZIP_NAMED: usize = 4;
const GZIP_START: [u8; GZIP_FIXED + GZIP_NAMED] = [
    0x1f,
    0x8b,
    8,
    4,
    0,
    0,
    0,
    0,
    0,
    0xff,
    (VALUE + GZIP_NAMED) as u8,
    0,
    b'L',
    b'R',
    VALUE as u8,
    0,
];

const FRAME_MAGIC: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
/// The magic number and the frame's length.
const FRAME_FIXED: usize = 8;
const FRAME_START: [u8; FRAME_FIXED + 2] =
    [0x50, 0x2A, 0x4D, 0x18, (VALUE + 2) as u8, 0, 0, 0, b'L', b'R'];
/// A whole skippable frame with a tag.
pub(crate) const FRAME: usize = FRAME_START.len() + VALUE;
/// A tag does not straddle multiples of this. Node.js 22 reads a file in such pieces, and fails
/// on a skippable frame that comes in two.
const PIECE: u64 = 64 * 1024;

/// Stands for an unknown time.
const UNKNOWN: i64 = -1;

/// A note in a compressed backup of the segment that it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BirthTag {
    /// When the segment's file was created.
    pub(crate) created: Option<Timestamp>,
    /// When it was rotated, as its name says; `None` with numbered names.
    pub(crate) rotated_at: Option<Timestamp>,
    /// Describes the compressed bytes; `None` in files of the first format.
    pub(crate) digest: Option<Digest>,
}

/// Describes the compressed bytes: those after the gzip header, or before the frame with the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    /// How long the records are, uncompressed.
    pub(crate) uncompressed_bytes: u64,
    pub(crate) compressed_bytes: u64,
    /// The CRC-32 of the compressed bytes, as gzip computes it.
    pub(crate) crc: u32,
}

/// The result of looking for a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No tag: another program compressed the file, or there was no room for a tag.
    Foreign,
    Tag(BirthTag),
    /// A damaged tag.
    Damaged,
    /// The file was cut off before its tag.
    CutOff,
}

impl Found {
    pub(crate) fn tag(self) -> Option<BirthTag> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Foreign | Self::Damaged | Self::CutOff => None,
        }
    }

    /// When the segment was created.
    pub(crate) fn created(self) -> Option<Timestamp> {
        self.tag()?.created
    }
}

impl BirthTag {
    /// Returns the extra field of a gzip header, with room for the digest and the checksum.
    pub(crate) fn gzip_extra(&self) -> Vec<u8> {
        [&GZIP_START[GZIP_FIXED..], &self.value()].concat()
    }

    /// Completes `header`, the bytes that the encoder wrote first.
    pub(crate) fn complete_gzip(&self, header: &mut [u8; GZIP_HEADER]) {
        let at = GZIP_START.len();
        header[at..].copy_from_slice(&self.value());
        let own = crc(&[&header[..at + OWN]]);
        header[at + OWN..].copy_from_slice(&own.to_le_bytes());
    }

    /// The frame for the end of a Zstandard file; `None` if there is no room for it.
    #[cfg(feature = "zstd")]
    pub(crate) fn zstd_frame(&self) -> Option<Vec<u8>> {
        let start = self.digest?.compressed_bytes;
        let mut frame = [&FRAME_START[..], &self.value()].concat();
        let at = frame.len() - 4;
        let own = crc(&[&frame[..at]]);
        frame[at..].copy_from_slice(&own.to_le_bytes());
        has_room(start).then_some(frame)
    }

    fn value(&self) -> [u8; VALUE] {
        let time = |time: Option<Timestamp>| time.map_or(UNKNOWN, Timestamp::micros).to_le_bytes();
        let digest =
            self.digest.unwrap_or(Digest { uncompressed_bytes: 0, compressed_bytes: 0, crc: 0 });
        let mut value = [0; VALUE];
        value[..8].copy_from_slice(&time(self.created));
        value[8..16].copy_from_slice(&time(self.rotated_at));
        value[16..24].copy_from_slice(&digest.uncompressed_bytes.to_le_bytes());
        value[24..32].copy_from_slice(&digest.compressed_bytes.to_le_bytes());
        value[32..OWN].copy_from_slice(&digest.crc.to_le_bytes());
        value
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(value.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            created: time(value)?,
            rotated_at: time(value.get(8..)?)?,
            digest: Some(Digest {
                uncompressed_bytes: word(16)?,
                compressed_bytes: word(24)?,
                crc: u32::from_le_bytes(value.get(32..OWN)?.try_into().ok()?),
            }),
        })
    }

    fn of_birth(created: Timestamp) -> Self {
        Self { created: Some(created), rotated_at: None, digest: None }
    }
}

/// Whether a Zstandard file whose content has `len` bytes has its tag after it.
pub(super) fn has_room(len: u64) -> bool {
    len / PIECE == (len + FRAME as u64 - 1) / PIECE
}

/// A time in a tag, which may be unknown; `None` if there is not enough of it.
#[allow(clippy::option_option, reason = "one is about the bytes, one about the time")]
fn time(value: &[u8]) -> Option<Option<Timestamp>> {
    let micros = i64::from_le_bytes(*value.first_chunk()?);
    Some((micros != UNKNOWN).then(|| Timestamp::from_micros(micros)))
}

/// The result of comparing a compressed file with its digest, before it is decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The bytes match the digest, or there is no digest.
    Sound,
    /// The tag is damaged, so the digest is unknown.
    TagDamaged,
    /// The tag is cut off, and perhaps content before it. So the digest is unknown.
    TagCutOff,
    /// The bytes differ from those that were written.
    Altered,
    /// Bytes are missing at the end. The others are not checked.
    CutOff,
}

impl Digest {
    /// Compares the bytes of a file of `len` bytes. Members that were appended to ours are not
    /// checked.
    fn check(
        self,
        file: &File,
        len: u64,
        compression: Compression,
        path: &Path,
    ) -> Result<Verdict> {
        let start = match compression {
            Compression::Gzip => GZIP_HEADER as u64,
            _ => match len
                .checked_sub(FRAME as u64)
                .and_then(|at| at.checked_sub(self.compressed_bytes))
            {
                Some(start) => start,
                None => return Ok(Verdict::Altered),
            },
        };
        let Some(end) = start.checked_add(self.compressed_bytes).filter(|end| *end <= len) else {
            return Ok(Verdict::CutOff);
        };
        let (mut crc, mut block, mut at) = (flate2::Crc::new(), vec![0; BLOCK], start);
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK);
            match fs::read_at(file, &mut block[..left], at, path)? {
                0 => return Ok(Verdict::CutOff),
                taken => {
                    crc.update(&block[..taken]);
                    at += taken as u64;
                }
            }
        }
        Ok(if crc.sum() == self.crc { Verdict::Sound } else { Verdict::Altered })
    }

    /// Whether it describes all of a file of `len` bytes.
    fn is_of_all(self, len: u64, compression: Compression) -> bool {
        let around = if compression == Compression::Gzip { GZIP_HEADER } else { FRAME };
        self.compressed_bytes.checked_add(around as u64) == Some(len)
    }
}

const BLOCK: usize = 64 * 1024;

impl Found {
    /// Checks the bytes of a compressed file of `len` bytes against the digest.
    pub(crate) fn check(
        self,
        file: &File,
        len: u64,
        compression: Compression,
        path: &Path,
    ) -> Result<Verdict> {
        match self {
            Self::Damaged => Ok(Verdict::TagDamaged),
            Self::CutOff => Ok(Verdict::TagCutOff),
            Self::Foreign | Self::Tag(BirthTag { digest: None, .. }) => Ok(Verdict::Sound),
            Self::Tag(BirthTag { digest: Some(digest), .. }) => {
                digest.check(file, len, compression, path)
            }
        }
    }

    /// The length of the records, if the tag describes all of a file of `len` bytes.
    pub(crate) fn uncompressed_bytes(self, len: u64, compression: Compression) -> Option<u64> {
        let digest = self.tag()?.digest?;
        digest.is_of_all(len, compression).then_some(digest.uncompressed_bytes)
    }
}

/// Reads the tag of an open compressed file of `len` bytes.
pub(crate) fn read(file: &File, len: u64, compression: Compression, path: &Path) -> Result<Found> {
    if compression == Compression::None {
        return Ok(Found::Foreign);
    }
    let mut start = [0; GZIP_HEADER];
    let taken = fs::read_start(file, &mut start, path)?;
    let mut end = [0; FRAME];
    let end = match (compression, len.checked_sub(FRAME as u64)) {
        (Compression::Zstd, Some(at)) => {
            let taken = fs::read_at(file, &mut end, at, path)?;
            &end[..taken]
        }
        _ => &[],
    };
    Ok(match parse(compression, &start[..taken], end) {
        Found::Foreign if compression == Compression::Zstd => {
            match mark::lacks_tag(file, len, &start[..taken], path)? {
                true => Found::CutOff,
                false => Found::Foreign,
            }
        }
        // Another content precedes ours, and the tag says nothing of the other's times.
        Found::Tag(BirthTag { digest: Some(digest), .. })
            if compression == Compression::Zstd && !digest.is_of_all(len, compression) =>
        {
            Found::Tag(BirthTag { created: None, rotated_at: None, digest: Some(digest) })
        }
        found => found,
    })
}

/// Finds a tag in the first and the last bytes of a compressed file.
fn parse(compression: Compression, start: &[u8], end: &[u8]) -> Found {
    match compression {
        Compression::None => Found::Foreign,
        Compression::Gzip => parse_gzip(start).unwrap_or(Found::Foreign),
        Compression::Zstd => parse_zstd(start, end).unwrap_or(Found::Foreign),
    }
}

fn parse_gzip(start: &[u8]) -> Option<Found> {
    if let Some(value) = start.get(GZIP_START.len()..GZIP_HEADER) {
        let mut wanted = GZIP_START;
        wanted[GZIP_LEVEL] = start[GZIP_LEVEL];
        let found = judge(&start[..GZIP_START.len()], &wanted, value);
        if found != Found::Foreign {
            return Some(found);
        }
    }
    let has_extra = start.starts_with(&GZIP_START[..3]) && start.get(3)? & GZIP_START[3] != 0;
    let field = has_extra.then(|| start.get(GZIP_FIXED..))??;
    let value = field.strip_prefix(&ID)?.strip_prefix(&[VALUE_1 as u8, 0])?;
    Some(Found::Tag(BirthTag::of_birth(time(value)??)))
}

fn parse_zstd(start: &[u8], end: &[u8]) -> Option<Found> {
    if let Some((named, value)) = end.split_first_chunk::<{ FRAME_START.len() }>() {
        let found = judge(named, &FRAME_START, value);
        if found != Found::Foreign {
            return Some(found);
        }
    }
    let frame = start.strip_prefix(&FRAME_MAGIC)?.strip_prefix(&[VALUE_1 as u8 + 2, 0, 0, 0])?;
    Some(Found::Tag(BirthTag::of_birth(time(frame.strip_prefix(&ID)?)??)))
}

/// Distinguishes a tag from another program's bytes. The tag is damaged if exactly one of two
/// things is wrong: `named`, which must be `wanted`, or the value's checksum over `wanted` and
/// the value.
fn judge(named: &[u8], wanted: &[u8], value: &[u8]) -> Found {
    let Some((covered, own)) = value.split_last_chunk() else { return Found::Foreign };
    let is_whole = crc(&[wanted, covered]) == u32::from_le_bytes(*own);
    match (named == wanted, is_whole) {
        (true, true) => BirthTag::parse(value).map_or(Found::Damaged, Found::Tag),
        (false, false) => Found::Foreign,
        _ => Found::Damaged,
    }
}

/// The CRC-32 of some pieces one after the other.
fn crc(pieces: &[&[u8]]) -> u32 {
    let mut crc = flate2::Crc::new();
    pieces.iter().for_each(|piece| crc.update(piece));
    crc.sum()
}

#[cfg(test)]
pub(super) use tests::gzip as sample;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    fn compress(content: &[u8], extra: Vec<u8>) -> Vec<u8> {
        let builder = flate2::GzBuilder::new().extra(extra);
        let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn digest(content: &[u8], compressed: &[u8]) -> Option<Digest> {
        Some(Digest {
            uncompressed_bytes: content.len() as u64,
            compressed_bytes: compressed.len() as u64,
            crc: crc(&[compressed]),
        })
    }

    fn tag(created: Timestamp) -> BirthTag {
        BirthTag { created: Some(created), rotated_at: None, digest: None }
    }

    /// A gzip file with a tag.
    pub(in crate::segment) fn gzip(content: &[u8], created: Timestamp) -> Vec<u8> {
        let mut file = compress(content, tag(created).gzip_extra());
        let digest = digest(content, &file[GZIP_HEADER..]);
        let header = file.first_chunk_mut().unwrap();
        BirthTag { digest, ..tag(created) }.complete_gzip(header);
        file
    }

    #[cfg(feature = "zstd")]
    fn zstd(content: &[u8], created: Timestamp) -> Vec<u8> {
        let mut file = zstd::encode_all(content, 1).unwrap();
        let tag = BirthTag { digest: digest(content, &file), ..tag(created) };
        file.extend(tag.zstd_frame().unwrap());
        file
    }

    fn found(compression: Compression, bytes: &[u8]) -> (Found, Verdict) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let len = bytes.len() as u64;
        let found = read(file.as_file(), len, compression, file.path()).unwrap();
        (found, found.check(file.as_file(), len, compression, file.path()).unwrap())
    }

    fn every_change_is_found(compression: Compression, file: &[u8]) {
        assert_eq!(found(compression, file).1, Verdict::Sound);
        for bit in 0..file.len() * 8 {
            let mut changed = file.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (tag, verdict) = found(compression, &changed);
            assert_ne!(verdict, Verdict::Sound, "{compression:?}, bit {bit}: {tag:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_gzip_file_is_found() {
        every_change_is_found(Compression::Gzip, &gzip(b"content", Timestamp::MAX));
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn every_flipped_bit_of_a_zstd_file_is_found() {
        every_change_is_found(Compression::Zstd, &zstd(b"content", Timestamp::MAX));
    }

    proptest! {
        #[test]
        fn gzip_tag_is_found_and_decoders_skip_it(micros in 0..=Timestamp::MAX.micros()) {
            let created = Timestamp::from_micros(micros);
            let file = gzip(b"content", created);
            let (tag, verdict) = found(Compression::Gzip, &file);
            prop_assert_eq!((tag.created(), verdict), (Some(created), Verdict::Sound));
            let len = file.len() as u64;
            prop_assert_eq!(tag.uncompressed_bytes(len, Compression::Gzip), Some(7));
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&file[..]).read_to_end(&mut plain).unwrap();
            prop_assert_eq!(plain, b"content");
        }

        #[cfg(feature = "zstd")]
        #[test]
        fn zstd_tag_is_found_and_decoders_skip_it(micros in 0..=Timestamp::MAX.micros()) {
            let created = Timestamp::from_micros(micros);
            let file = zstd(b"content", created);
            let (tag, verdict) = found(Compression::Zstd, &file);
            prop_assert_eq!((tag.created(), verdict), (Some(created), Verdict::Sound));
            let len = file.len() as u64;
            prop_assert_eq!(tag.uncompressed_bytes(len, Compression::Zstd), Some(7));
            prop_assert_eq!(zstd::decode_all(&file[..]).unwrap(), b"content");
        }

        #[test]
        fn no_bytes_panic(start in prop::collection::vec(any::<u8>(), 0..80)) {
            for compression in Compression::ALL {
                let _ = parse(compression, &start, &start);
            }
        }
    }

    #[test]
    fn first_format_is_read() {
        let created = Timestamp::from_micros(1_700_000_000_123_456);
        let value = [&b"LR\x08\0"[..], &created.micros().to_le_bytes()].concat();
        let (tag, verdict) = found(Compression::Gzip, &compress(b"content", value));
        assert_eq!((tag, verdict), (Found::Tag(self::tag(created)), Verdict::Sound));
        let frame = [&b"\x50\x2a\x4d\x18\x0a\0\0\0LR"[..], &created.micros().to_le_bytes()];
        let (tag, _) = found(Compression::Zstd, &[&frame.concat()[..], b"rest"].concat());
        assert_eq!(tag, Found::Tag(self::tag(created)));
    }

    #[test]
    fn other_files_have_no_tag() {
        for extra in [&b"LR\x04\0abcd"[..], b"XY\x08\0abcdefgh", b""] {
            let file = compress(b"some content of more than a few bytes", extra.to_vec());
            assert_eq!(found(Compression::Gzip, &file).0, Found::Foreign);
        }
        // A skippable frame of another length.
        let frame =
            b"\x50\x2a\x4d\x18\x0b\0\0\0LR012345678, enough bytes for a tag of ours and more";
        assert_eq!(found(Compression::Zstd, frame).0, Found::Foreign);
    }

    #[test]
    fn appended_member_is_not_judged() {
        let one = gzip(b"one\n", Timestamp::MIN);
        let two = [&one[..], &gzip(b"two\n", Timestamp::MAX)].concat();
        let (tag, verdict) = found(Compression::Gzip, &two);
        assert_eq!((tag.created(), verdict), (Some(Timestamp::MIN), Verdict::Sound));
        assert_eq!(tag.uncompressed_bytes(two.len() as u64, Compression::Gzip), None);
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn zstd_tag_describes_the_bytes_before_it() {
        let whole = zstd(b"content", Timestamp::MIN);
        assert_eq!(found(Compression::Zstd, &whole[3..]).1, Verdict::Altered);
        // Another frame in front, whose times the tag does not have.
        let other = zstd::encode_all(&b"other"[..], 1).unwrap();
        let (tag, verdict) = found(Compression::Zstd, &[other, whole].concat());
        assert_eq!((tag.created(), verdict), (None, Verdict::Sound));
        assert!(matches!(tag, Found::Tag(_)));
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn zstd_tag_does_not_straddle_multiples_of_64_kib() {
        let frame = |compressed_bytes| {
            let digest = Digest { uncompressed_bytes: 0, compressed_bytes, crc: 0 };
            BirthTag { digest: Some(digest), ..tag(Timestamp::MIN) }.zstd_frame()
        };
        let len = FRAME as u64;
        for (start, fits) in [
            (PIECE - len, true),
            (PIECE - len + 1, false),
            (PIECE - 1, false),
            (PIECE, true),
            (3 * PIECE - len - 1, true),
            (3 * PIECE - 7, false),
        ] {
            assert_eq!(frame(start).is_some(), fits, "{start}");
        }
    }
}
