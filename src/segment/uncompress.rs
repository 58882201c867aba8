//! The records of a compressed backup, whichever program compressed it.
//!
//! Several members or frames in a row are one content; bgzip, pzstd and `cat` write such files.
//! Zero bytes after the last gzip member are padding, as for `gzip -t`. A file that may be sound
//! but cannot be read here (another format, a dictionary, too large a window) is rejected with
//! that reason.

use super::name::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::units::format_size;
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// The default limit for the window of a Zstandard backup, in bytes. `zstd` has the same.
pub(crate) const MEMORY: u64 = 128 * 1024 * 1024;
/// How much is asked of the system at once.
const CHUNK: usize = 64 * 1024;

/// Opens a compressed file. `memory` is the most that a window may take.
pub(crate) fn open(
    file: &Arc<File>,
    path: &Arc<Path>,
    compression: Compression,
    memory: u64,
) -> Result<Box<dyn Read + Send>> {
    if let Some(why) = refusal(file, path, compression, memory)? {
        return Err(refused(path, &why));
    }
    let raw = Raw { file: Arc::clone(file), path: Arc::clone(path), offset: 0 };
    let mut raw = BufReader::with_capacity(CHUNK, raw);
    if raw.fill_buf().is_ok_and(<[u8]>::is_empty) {
        return Ok(Box::new(Empty));
    }
    match compression {
        Compression::None => Ok(Box::new(raw)),
        Compression::Gzip => {
            let path = Arc::clone(path);
            Ok(Box::new(Members { member: Some(gzip(raw, &path)?), path }))
        }
        Compression::Zstd => zstd(raw, path, memory),
    }
}

/// More than a decoder takes at its start.
const DECODER_BYTES: usize = 160 * 1024;

/// More than a compressor takes at its start.
pub(crate) const COMPRESSOR_BYTES: usize = 512 * 1024;

/// Fails if the system refuses the memory that a compressor or a decoder takes at its start. Their
/// libraries panic then.
pub(crate) fn ask_for_memory(bytes: usize) -> io::Result<()> {
    let mut trial = Vec::<u8>::new();
    let granted = trial.try_reserve_exact(bytes);
    // Otherwise the compiler may leave the trial out.
    std::hint::black_box(&trial);
    granted.map_err(|_| io::ErrorKind::OutOfMemory.into())
}

fn gzip<R: BufRead>(raw: R, path: &Path) -> Result<GzDecoder<R>> {
    ask_for_memory(DECODER_BYTES).map_err(|error| Error::io("uncompress", path, error))?;
    Ok(GzDecoder::new(raw))
}

/// Counts the bytes of the records in a file of `len` bytes; `None` if that is not cheap, or they
/// are damaged. `budget` is what may still be uncompressed, in bytes; the call takes from it what
/// it uses.
pub(crate) fn count(
    file: &Arc<File>,
    path: &Path,
    compression: Compression,
    len: u64,
    budget: &mut u64,
) -> Option<u64> {
    const COMPRESSED: u64 = 256 * 1024;
    const UNCOMPRESSED: u64 = 16 * 1024 * 1024;
    const WINDOW: u64 = 8 * 1024 * 1024;
    if len > COMPRESSED {
        return None;
    }
    let limit = UNCOMPRESSED.min(*budget);
    let mut content = open(file, &path.into(), compression, WINDOW).ok()?.take(limit + 1);
    let counted = io::copy(&mut content, &mut io::sink());
    *budget = budget.saturating_sub(limit + 1 - content.limit());
    counted.ok().filter(|bytes| *bytes <= limit)
}

fn refused(path: &Path, why: &str) -> Error {
    Error::refused(ErrorKind::CompressionUnsupported, "read", path, why)
}

#[cfg(feature = "zstd")]
fn zstd(raw: BufReader<Raw>, path: &Arc<Path>, memory: u64) -> Result<Box<dyn Read + Send>> {
    let decoder = ask_for_memory(DECODER_BYTES).and_then(|()| zstd::Decoder::with_buffer(raw));
    let decoder = decoder.and_then(|mut decoder| {
        decoder.window_log_max(window_log(memory))?;
        Ok(decoder)
    });
    let decoder = decoder.map_err(|error| Error::io("uncompress", &**path, error))?;
    Ok(Box::new(Frames { decoder, path: Arc::clone(path), memory }))
}

#[cfg(not(feature = "zstd"))]
fn zstd(_raw: BufReader<Raw>, path: &Arc<Path>, _memory: u64) -> Result<Box<dyn Read + Send>> {
    Err(refused(path, "this program was built without the feature `zstd`"))
}

/// The power of two that `memory` fits in, within what Zstandard can do.
#[cfg(feature = "zstd")]
fn window_log(memory: u64) -> u32 {
    const SMALLEST: u32 = 10;
    const LARGEST: u32 = if usize::BITS > 32 { 31 } else { 30 };
    memory.clamp(1, 1 << LARGEST).next_power_of_two().ilog2().clamp(SMALLEST, LARGEST)
}

/// A file without a byte. No compressed file is.
struct Empty;

impl Read for Empty {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// gzip members, one after the other.
struct Members<R> {
    /// `None` after the last one.
    member: Option<GzDecoder<R>>,
    path: Arc<Path>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let taken = member.read(buffer)?;
            if taken > 0 || buffer.is_empty() {
                return Ok(taken);
            }
            self.next_member()?;
        }
        Ok(0)
    }
}

impl<R: BufRead> Members<R> {
    fn next_member(&mut self) -> io::Result<()> {
        let Some(member) = self.member.take() else { return Ok(()) };
        let mut raw = member.into_inner();
        let mut padding = 0;
        loop {
            let ready = raw.fill_buf()?;
            match ready.iter().position(|&byte| byte != 0) {
                Some(0) if padding == 0 && ready[0] == GZIP[0] => {
                    self.member = Some(gzip(raw, &self.path)?);
                    return Ok(());
                }
                Some(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "its end is followed by bytes that are not gzip",
                    ));
                }
                None if ready.is_empty() => return Ok(()),
                None => {
                    let len = ready.len();
                    padding += len;
                    raw.consume(len);
                }
            }
        }
    }
}

/// Zstandard frames, one after the other.
#[cfg(feature = "zstd")]
struct Frames {
    decoder: zstd::Decoder<'static, BufReader<Raw>>,
    path: Arc<Path>,
    memory: u64,
}

#[cfg(feature = "zstd")]
impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            // A later frame. The first one was checked when the file was opened.
            let text = error.to_string();
            if text.contains("too much memory") {
                let why = format!(
                    "it needs a window of more than the memory limit of {}",
                    format_size(self.memory)
                );
                return refused(&self.path, &why).into();
            }
            if text.contains("Dictionary mismatch") {
                return refused(&self.path, "it is compressed with a dictionary").into();
            }
            error
        })
    }
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// The first bytes of other formats.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\xFD7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4D\x18", "LZ4"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
    (b"LZIP", "lzip"),
    (b"\x1f\x9d", "the old `compress`"),
    (b"\x89LZO\0", "lzop"),
];

/// Returns the reason if a file that may be sound cannot be read.
fn refusal(
    file: &File,
    path: &Path,
    compression: Compression,
    memory: u64,
) -> Result<Option<String>> {
    let mut start = [0; 8];
    let taken = fs::read_start(file, &mut start, path)?;
    let start = &start[..taken];
    let (name, is_it, other): (_, _, (&[u8], _)) = match compression {
        Compression::None => return Ok(None),
        Compression::Gzip => ("gzip", start.starts_with(&GZIP), (&ZSTD, "Zstandard")),
        Compression::Zstd => ("Zstandard", start.starts_with(&ZSTD), (&GZIP, "gzip")),
    };
    let others = || OTHERS.into_iter().chain([other]);
    if let Some((_, there)) = others().find(|(magic, _)| !is_it && start.starts_with(magic)) {
        return Ok(Some(format!("it is {there}, not {name}")));
    }
    if compression != Compression::Zstd {
        return Ok(None);
    }
    let Some(frame) = first_frame(file, path)? else { return Ok(None) };
    Ok(match frame {
        Frame { dictionary, .. } if dictionary != 0 => {
            Some(format!("it is compressed with a dictionary (number {dictionary})"))
        }
        Frame { window, .. } if window > memory => Some(format!(
            "it needs a window of {}, and the memory limit is {}",
            format_size(window),
            format_size(memory)
        )),
        _ => None,
    })
}

/// The demands that the header of a Zstandard frame makes on a decoder.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    window: u64,
    /// 0 for none.
    dictionary: u32,
}

/// The first frame that is not skippable; `None` if it is not there or damaged.
fn first_frame(file: &File, path: &Path) -> Result<Option<Frame>> {
    const AT_MOST: usize = 16;
    let mut offset = 0;
    for _ in 0..AT_MOST {
        let mut header = [0; FRAME_HEADER];
        let taken = fs::read_at(file, &mut header, offset, path)?;
        match skippable(&header[..taken]) {
            Some(len) => offset += len,
            None => return Ok(parse_frame(&header[..taken])),
        }
    }
    Ok(None)
}

/// The longest header of a frame, with its magic number.
const FRAME_HEADER: usize = 18;

/// The length of a skippable frame; `None` for any other.
fn skippable(header: &[u8]) -> Option<u64> {
    const MAGIC: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;
    let (magic, rest) = header.split_first_chunk()?;
    let len = u32::from_le_bytes(*rest.first_chunk()?);
    MAGIC.contains(&u32::from_le_bytes(*magic)).then_some(8 + u64::from(len))
}

/// RFC 8878, section 3.1.1.1.
fn parse_frame(header: &[u8]) -> Option<Frame> {
    let (&descriptor, mut rest) = header.strip_prefix(&ZSTD)?.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    let mut window = 0;
    if !is_single {
        let (&byte, after) = rest.split_first()?;
        let base = 1_u64 << (10 + (byte >> 3));
        window = base + base / 8 * u64::from(byte & 7);
        rest = after;
    }
    let (dictionary, rest) = rest.split_at_checked([0, 1, 2, 4][usize::from(descriptor & 3)])?;
    if is_single {
        let size = 1_usize << (descriptor >> 6);
        let bytes = rest.get(..size)?;
        // The two-byte form counts from 256.
        window = little_endian(bytes) + if size == 2 { 256 } else { 0 };
    }
    let dictionary = u32::try_from(little_endian(dictionary)).ok()?;
    Some(Frame { window, dictionary })
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// A compressed file as the decoders read it, with its own offset because others share the handle.
struct Raw {
    file: Arc<File>,
    path: Arc<Path>,
    offset: u64,
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = fs::read_at(&self.file, buffer, self.offset, &self.path)?;
        self.offset += taken as u64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn frame_header_has_the_window_and_the_dictionary() {
        let parse = |header: &[u8]| {
            let frame = parse_frame(&[&ZSTD, header].concat())?;
            Some((frame.window, frame.dictionary))
        };
        // A window of 2 to the power of 11, and three eighths more.
        assert_eq!(parse(&[0, 1 << 3 | 3]), Some((2048 + 3 * 256, 0)));
        assert_eq!(parse(&[0b10, 0, 0x34, 0x12]), Some((1024, 0x1234)));
        // A single segment: its content's size in 1, 2, 4 and 8 bytes. Two count from 256.
        for (flag, bytes, size) in [
            (0, &[200][..], 200),
            (1, &[1, 2], 0x201 + 256),
            (2, &[1, 2, 3, 0], 0x0003_0201),
            (3, &[1, 0, 0, 0, 1, 0, 0, 0], (1 << 32) + 1),
        ] {
            assert_eq!(parse(&[&[flag << 6 | 0x20], bytes].concat()), Some((size, 0)));
            assert_eq!(parse(&[flag << 6 | 0x20]), None);
        }
        assert_eq!(skippable(b"\x5f\x2a\x4d\x18\x04\0\0\0"), Some(12));
        assert_eq!(skippable(b"\x60\x2a\x4d\x18\x04\0\0\0"), None);
    }

    #[test]
    fn content_of_more_than_16_mib_is_not_counted() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&[b'x'; 1 << 20]).unwrap();
        let member = encoder.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log.1.gz");
        let mut budget = u64::MAX;
        for (members, counted) in [(16, Some(16 << 20)), (17, None)] {
            let file = member.repeat(members);
            std::fs::write(&path, &file).unwrap();
            let opened = Arc::new(File::open(&path).unwrap());
            let len = file.len() as u64;
            assert_eq!(count(&opened, &path, Compression::Gzip, len, &mut budget), counted);
        }
    }

    #[test]
    fn counting_stops_when_the_budget_is_used_up() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&[b'x'; 600]).unwrap();
        let packet = encoder.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log.1.gz");
        std::fs::write(&path, &packet).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let mut budget = 1500;
        let mut next = || count(&file, &path, Compression::Gzip, packet.len() as u64, &mut budget);
        assert_eq!([next(), next(), next(), next()], [Some(600), Some(600), None, None]);
    }
}
