//! Compression of a finished segment into a temporary file beside it, which gets its name when it
//! is complete.

use crate::atomic::{AtomicFile, Links, SyncLevel};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fs::{self, Entry, Replace};
use crate::segment::birth_tag::{self, BirthTag, Digest};
use crate::segment::name::Compression;
use crate::segment::uncompress;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// A compression and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip(u32),
    #[cfg(feature = "zstd")]
    Zstd(u32),
}

impl Encoding {
    /// The encoding of a configuration, `None` if backups stay plain.
    pub(crate) fn choose(compression: Compression, level: Option<u32>) -> Result<Option<Self>> {
        let check = |default: u32, highest: u32| match level {
            None => Ok(default),
            Some(level) if (1..=highest).contains(&level) => Ok(level),
            Some(level) => {
                let why = format!("{compression:?} has levels 1 to {highest}");
                Err(Error::config("compression_level", level, why))
            }
        };
        Ok(Some(match compression {
            Compression::None => match level {
                None => return Ok(None),
                Some(level) => {
                    let why = "there is no compression; choose one, or leave the level out";
                    return Err(Error::config("compression_level", level, why));
                }
            },
            Compression::Gzip => Self::Gzip(check(6, 9)?),
            #[cfg(feature = "zstd")]
            Compression::Zstd => Self::Zstd(check(3, 22)?),
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => {
                let why = "this program was built without the feature `zstd`; use `Gzip`";
                return Err(Error::config("compression", "Zstd", why));
            }
        }))
    }

    pub(crate) fn compression(self) -> Compression {
        match self {
            Self::Gzip(_) => Compression::Gzip,
            #[cfg(feature = "zstd")]
            Self::Zstd(_) => Compression::Zstd,
        }
    }
}

/// Returns whether to continue work that takes long.
pub(crate) type GoOn<'a> = &'a dyn Fn() -> bool;

/// Compresses a segment into a file that waits for its name: synced, with the mode, owner and time
/// of the segment. `None` if `go_on` returned `false`.
pub(crate) fn compress(
    source: &Source<'_>,
    target: &Path,
    rotated_at: Option<Timestamp>,
    encoding: Encoding,
) -> Result<Option<AtomicFile>> {
    let entry = source.entry;
    let builder = AtomicFile::builder()
        .like(&entry)
        .replace(Replace::No)
        .links(Links::Replace)
        .sync(SyncLevel::File);
    let file = builder.open(target)?.with_attributes_of(source.file)?;
    let tag = BirthTag {
        created: fs::created(source.file, &entry).map(Into::into),
        rotated_at,
        digest: None,
    };
    let written = match encoding {
        Encoding::Gzip(level) => gzip(source, &file, level, tag)?,
        #[cfg(feature = "zstd")]
        Encoding::Zstd(level) => zstd(source, &file, level, tag)?,
    };
    if written.is_none() {
        return Ok(None);
    }
    file.seal()?;
    // Neither is likely to be read soon; the cache belongs to the data that readers and writers
    // need.
    fs::drop_from_cache(source.file);
    fs::drop_from_cache(file.file());
    Ok(Some(file))
}

/// The segment that is compressed.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a File,
    pub(crate) path: &'a Path,
    /// Its state before it is compressed.
    pub(crate) entry: Entry,
    pub(crate) go_on: GoOn<'a>,
}

/// Whether a program has written to a file between two looks at it.
pub(crate) fn has_changed(before: &Entry, after: &Entry) -> bool {
    (before.len, before.modified) != (after.len, after.modified)
}

impl Source<'_> {
    /// Whether a program has written to the segment since it was looked at.
    pub(crate) fn has_changed(&self) -> Result<bool> {
        Ok(has_changed(&self.entry, &fs::fstat(self.file, self.path)?))
    }

    /// Writes the first byte as a block of its own: the mark of our files. Returns its length.
    #[cfg(feature = "zstd")]
    fn mark(&self, encoder: &mut impl Write) -> Result<u64> {
        let mut first = [0];
        let len = fs::read(self.file, &mut first, self.path)?;
        let written = encoder.write_all(&first[..len]).and_then(|()| encoder.flush());
        written.map_err(|error| self.failure(error))?;
        Ok(len as u64)
    }

    /// Streams the rest of the segment into the encoder and returns its length; `None` if it was
    /// interrupted.
    fn copy(&self, encoder: &mut impl Write) -> Result<Option<u64>> {
        const CHUNK: usize = 128 * 1024;
        let (mut buffer, mut bytes) = (vec![0; CHUNK], 0);
        while (self.go_on)() {
            match fs::read(self.file, &mut buffer, self.path)? {
                0 => return Ok(Some(bytes)),
                len => {
                    encoder.write_all(&buffer[..len]).map_err(|error| self.failure(error))?;
                    bytes += len as u64;
                }
            }
            // Another program appends to it, perhaps as fast as this reads.
            if bytes > self.entry.len {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    fn failure(&self, error: io::Error) -> Error {
        Error::io("compress", self.path, error)
    }
}

/// Writes the header with an empty tag first, and again once the digest is known.
fn gzip(source: &Source<'_>, file: &AtomicFile, level: u32, tag: BirthTag) -> Result<Option<()>> {
    uncompress::ask_for_memory(uncompress::COMPRESSOR_BYTES)
        .map_err(|error| source.failure(error))?;
    let builder = flate2::GzBuilder::new().extra(tag.gzip_extra());
    let mut encoder =
        builder.write(Sink::after(birth_tag::GZIP_HEADER, file), flate2::Compression::new(level));
    let Some(bytes) = source.copy(&mut encoder)? else { return Ok(None) };
    let sink = encoder.finish().map_err(|error| source.failure(error))?;
    let tag = BirthTag { digest: Some(sink.digest(bytes)), ..tag };
    if let Ok(mut header) = sink.start.try_into() {
        tag.complete_gzip(&mut header);
        file.overwrite_start(&header)?;
    }
    Ok(Some(()))
}

/// Writes the content as one frame and the tag after it: many readers read only the first frame.
#[cfg(feature = "zstd")]
fn zstd(source: &Source<'_>, file: &AtomicFile, level: u32, tag: BirthTag) -> Result<Option<()>> {
    let level = i32::try_from(level).unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let encoder = uncompress::ask_for_memory(uncompress::COMPRESSOR_BYTES)
        .and_then(|()| zstd::Encoder::new(Sink::after(0, file), level));
    let encoder = encoder.and_then(|mut encoder| {
        encoder.include_checksum(true)?;
        // Then a reader knows how much memory it needs.
        encoder.set_pledged_src_size(Some(source.entry.len))?;
        Ok(encoder)
    });
    let mut encoder = encoder.map_err(|error| source.failure(error))?;
    let first = source.mark(&mut encoder)?;
    let Some(rest) = source.copy(&mut encoder)? else { return Ok(None) };
    let mut sink = encoder.finish().map_err(|error| source.failure(error))?;
    let tag = BirthTag { digest: Some(sink.digest(first + rest)), ..tag };
    if let Some(frame) = tag.zstd_frame() {
        sink.write_all(&frame).map_err(|error| source.failure(error))?;
    }
    Ok(Some(()))
}

/// Writes to a file and computes the digest of the bytes written.
struct Sink<'a> {
    file: &'a AtomicFile,
    /// The number of bytes at the start that the digest leaves out.
    header: usize,
    start: Vec<u8>,
    bytes: u64,
    crc: flate2::Crc,
}

impl<'a> Sink<'a> {
    fn after(header: usize, file: &'a AtomicFile) -> Self {
        Self { file, header, start: Vec::new(), bytes: 0, crc: flate2::Crc::new() }
    }

    fn digest(&self, uncompressed_bytes: u64) -> Digest {
        Digest { uncompressed_bytes, compressed_bytes: self.bytes, crc: self.crc.sum() }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.append(bytes)?;
        let in_header = taken.min(self.header - self.start.len());
        let (header, rest) = bytes[..taken].split_at(in_header);
        self.start.extend_from_slice(header);
        self.crc.update(rest);
        self.bytes += rest.len() as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
