//! Packing a finished segment: into a temporary beside it, which gets its name when it is whole.

use crate::atomic::{AtomicFile, Links, SyncLevel};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fs::{self, Replace};
use crate::segment::birth_tag;
use crate::segment::name::Compression;
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

/// Whether to go on with work that takes long.
pub(crate) type GoOn<'a> = &'a dyn Fn() -> bool;

/// Packs `plain` into a file that waits for its name: synced, with the mode, owner and time of `plain`.
/// `None` if it was given up because `go_on` said so.
pub(crate) fn pack(
    plain: &File,
    from: &Path,
    target: &Path,
    encoding: Encoding,
    go_on: GoOn<'_>,
) -> Result<Option<AtomicFile>> {
    let entry = fs::fstat(plain, from)?;
    let builder = AtomicFile::builder()
        .like(&entry)
        .replace(Replace::No)
        .links(Links::Replace)
        .sync(SyncLevel::File);
    let mut packed = builder.open(target)?;
    let begun = entry.born.map(Timestamp::from);
    let whole = match encoding {
        Encoding::Gzip(level) => {
            let level = flate2::Compression::new(level);
            let builder = flate2::GzBuilder::new();
            let builder = match begun {
                Some(begun) => builder.extra(birth_tag::gzip_extra(begun)),
                None => builder,
            };
            let mut encoder = builder.write(&mut packed, level);
            let whole = copy(plain, from, &mut encoder, go_on)?;
            encoder.finish().map(|_| whole)
        }
        #[cfg(feature = "zstd")]
        Encoding::Zstd(level) => {
            let level = i32::try_from(level).unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            if let Some(begun) = begun {
                let written = packed.write_all(&birth_tag::zstd_frame(begun));
                written.map_err(|error| compressing(from, error))?;
            }
            let encoder = zstd::Encoder::new(&mut packed, level);
            let mut encoder = encoder.map_err(|error| compressing(from, error))?;
            // Its frame then says how long the content is, for whoever wants to know without unpacking.
            let sized = encoder.set_pledged_src_size(Some(entry.len));
            sized.map_err(|error| compressing(from, error))?;
            let whole = copy(plain, from, &mut encoder, go_on)?;
            encoder.finish().map(|_| whole)
        }
    };
    if !whole.map_err(|error| compressing(from, error))? {
        return Ok(None);
    }
    packed.seal()?;
    // Neither is likely to be read soon; what the log's readers and writers need should stay.
    fs::drop_from_cache(plain);
    fs::drop_from_cache(packed.file());
    Ok(Some(packed))
}

/// Streams `plain` into the encoder; `false` if it was given up.
fn copy(plain: &File, from: &Path, encoder: &mut impl Write, go_on: GoOn<'_>) -> Result<bool> {
    const CHUNK: usize = 128 * 1024;
    let mut buffer = vec![0; CHUNK];
    while go_on() {
        match fs::read(plain, &mut buffer, from)? {
            0 => return Ok(true),
            len => encoder.write_all(&buffer[..len]).map_err(|error| compressing(from, error))?,
        }
    }
    Ok(false)
}

fn compressing(from: &Path, error: io::Error) -> Error {
    Error::io("compress", from, error)
}
