//! Packing a finished segment: into a temporary beside it, which gets its name when it is whole.

use crate::error::{Error, Result};
use crate::fs::{self, Temp};
use crate::segment::name::Packing;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What finished segments are packed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Backups stay as they are. The default.
    #[default]
    None,
    /// gzip, `.gz`; levels 1 (fast) to 9 (small), by default 6.
    Gzip,
    /// Zstandard, `.zst`; levels 1 (fast) to 22 (small), by default 3. Feature `zstd`.
    #[cfg(feature = "zstd")]
    #[cfg_attr(docsrs, doc(cfg(feature = "zstd")))]
    Zstd,
}

/// A compression and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Gzip(u32),
    #[cfg(feature = "zstd")]
    Zstd(u32),
}

impl Codec {
    /// The codec of a configuration, `None` if backups stay plain.
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
        }))
    }

    pub(crate) fn packing(self) -> Packing {
        match self {
            Self::Gzip(_) => Packing::Gzip,
            #[cfg(feature = "zstd")]
            Self::Zstd(_) => Packing::Zstd,
        }
    }
}

/// Whether to go on with work that takes long.
pub(crate) type GoOn<'a> = &'a dyn Fn() -> bool;

/// Packs `plain` into a temporary for `target`, synced and with the mode, owner and time of `plain`.
/// `None` if it was given up because `go_on` said so.
pub(crate) fn pack(
    plain: &File,
    from: &Path,
    target: &Path,
    codec: Codec,
    go_on: GoOn<'_>,
) -> Result<Option<Temp>> {
    let entry = fs::fstat(plain, from)?;
    // Nobody else may look into it before it has the right owner.
    let temp = Temp::beside(target, 0o600)?;
    if !encode(plain, from, &temp, codec, go_on)? {
        return Ok(None);
    }
    temp.keep_owner(entry.access);
    fs::set_mode(temp.file(), entry.access.mode, temp.path())?;
    fs::set_modified(temp.file(), entry.modified, temp.path())?;
    fs::sync_all(temp.file(), temp.path())?;
    // Neither is likely to be read soon; what the log's readers and writers need should stay.
    fs::drop_from_cache(plain);
    fs::drop_from_cache(temp.file());
    Ok(Some(temp))
}

/// Streams `plain` through the codec; `false` if it was given up.
fn encode(plain: &File, from: &Path, temp: &Temp, codec: Codec, go_on: GoOn<'_>) -> Result<bool> {
    let sink = Sink(temp);
    match codec {
        Codec::Gzip(level) => {
            let level = flate2::Compression::new(level);
            let mut encoder = flate2::write::GzEncoder::new(sink, level);
            let whole = copy(plain, from, &mut encoder, temp, go_on)?;
            encoder.finish().map_err(|error| compressing(temp, error))?;
            Ok(whole)
        }
        #[cfg(feature = "zstd")]
        Codec::Zstd(level) => {
            let level = i32::try_from(level).unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            let encoder = zstd::Encoder::new(sink, level);
            let mut encoder = encoder.map_err(|error| compressing(temp, error))?;
            let whole = copy(plain, from, &mut encoder, temp, go_on)?;
            encoder.finish().map_err(|error| compressing(temp, error))?;
            Ok(whole)
        }
    }
}

fn copy(
    plain: &File,
    from: &Path,
    encoder: &mut impl Write,
    temp: &Temp,
    go_on: GoOn<'_>,
) -> Result<bool> {
    const CHUNK: usize = 128 * 1024;
    let mut buffer = vec![0; CHUNK];
    while go_on() {
        match fs::read(plain, &mut buffer, from)? {
            0 => return Ok(true),
            len => encoder.write_all(&buffer[..len]).map_err(|error| compressing(temp, error))?,
        }
    }
    Ok(false)
}

fn compressing(temp: &Temp, error: io::Error) -> Error {
    Error::io("compress into", temp.path(), error)
}

/// A temporary as the encoders write to it.
struct Sink<'a>(&'a Temp);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fs::append(self.0.file(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
