//! The bytes of one segment, unpacked.

use super::damage::{Damage, DamageKind};
use super::walk::OpenSegment;
use crate::clock::sleep;
use crate::error::{Error, Result};
use crate::fs;
use crate::segment::name::Compression;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A segment that is read from some offset on.
pub(super) struct Content {
    pub(super) open: OpenSegment,
    /// Its name when it was opened, for reports.
    pub(super) name: Arc<Path>,
    /// The offset of the next byte, in unpacked bytes.
    pub(super) position: u64,
    unpacked: Option<Box<dyn Read + Send>>,
}

impl Content {
    pub(super) fn new(open: OpenSegment) -> Result<Self, Damage> {
        let name: Arc<Path> = open.segment.path.as_path().into();
        let unpacked = unpack(&open).map_err(|e| Damage::unreadable(&*name, 0, e))?;
        Ok(Self { open, name, position: 0, unpacked })
    }

    pub(super) fn is_packed(&self) -> bool {
        self.unpacked.is_some()
    }

    /// Reads up to a buffer's length; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Damage> {
        let taken = match &mut self.unpacked {
            Some(unpacked) => read_some(unpacked, buffer).map_err(|error| self.damage(error))?,
            None => {
                let taken = fs::read_at(&self.open.file, buffer, self.position, &self.name);
                taken.map_err(|e| Damage::unreadable(&*self.name, self.position, e))?
            }
        };
        self.position += taken as u64;
        Ok(taken)
    }

    /// Goes to an offset that is not before the present one.
    pub(super) fn skip_to(&mut self, offset: u64) -> Result<(), Damage> {
        if !self.is_packed() {
            self.position = offset;
            return Ok(());
        }
        let mut scrap = vec![0; CHUNK];
        while self.position < offset {
            let left = usize::try_from(offset - self.position).unwrap_or(CHUNK).min(CHUNK);
            if self.read(&mut scrap[..left])? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The file's length now.
    pub(super) fn len(&self) -> Result<u64, Damage> {
        let entry = fs::fstat(&self.open.file, &self.name);
        Ok(entry.map_err(|e| Damage::unreadable(&*self.name, self.position, e))?.len)
    }

    /// The file's length, when no record is being written to its end. A last line without a line break
    /// is given a moment to be finished.
    pub(super) fn settled_len(&self) -> Result<u64, Damage> {
        const LOOKS: usize = 10;
        const MOMENT: Duration = Duration::from_millis(1);
        let mut len = self.len()?;
        for _ in 0..LOOKS {
            if self.last_line_end(0, len)? == Some(len) || len == 0 {
                break;
            }
            sleep(MOMENT);
            len = self.len()?;
        }
        Ok(len)
    }

    /// Where the last line that ends in the plain bytes from `start` to `end` ends.
    pub(super) fn last_line_end(&self, start: u64, end: u64) -> Result<Option<u64>, Damage> {
        const BLOCK: usize = 4096;
        let mut block = [0; BLOCK];
        let mut upto = end;
        // Mostly the very last byte is a line break.
        let mut size = 1;
        while upto > start {
            let from = start.max(upto.saturating_sub(size));
            let len = usize::try_from(upto - from).unwrap_or(BLOCK);
            let taken = self.read_exact_at(&mut block[..len], from)?;
            if let Some(at) = block[..taken].iter().rposition(|&byte| byte == b'\n') {
                return Ok(Some(from + at as u64 + 1));
            }
            upto = from;
            size = BLOCK as u64;
        }
        Ok(None)
    }

    /// Reads plain bytes at an offset; less than a buffer full only at the end.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Damage> {
        read_exact_at(&self.open.file, buffer, offset, &self.name)
    }

    fn damage(&self, error: io::Error) -> Damage {
        let error = match error.downcast::<Error>() {
            Ok(error) => return Damage::unreadable(&*self.name, self.position, error),
            Err(error) => error,
        };
        let text = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the packed content is cut off".to_owned(),
            _ => format!("the packed content is damaged ({error})"),
        };
        Damage::new(DamageKind::Corrupt, &*self.name, self.position).with_text(text)
    }
}

pub(super) fn read_exact_at(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
    path: &Path,
) -> Result<usize, Damage> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        match fs::read_at(file, &mut buffer[done..], at, path) {
            Ok(0) => break,
            Ok(taken) => done += taken,
            Err(error) if error.io_kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Damage::unreadable(path, at, error)),
        }
    }
    Ok(done)
}

/// How much is asked of the system at once.
pub(super) const CHUNK: usize = 64 * 1024;

fn read_some(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn unpack(open: &OpenSegment) -> Result<Option<Box<dyn Read + Send>>> {
    let path: Arc<Path> = open.segment.path.as_path().into();
    let raw =
        BufReader::with_capacity(CHUNK, Raw { file: Arc::clone(&open.file), path, offset: 0 });
    match open.segment.compression {
        Compression::None => Ok(None),
        Compression::Gzip => Ok(Some(Box::new(flate2::bufread::MultiGzDecoder::new(raw)))),
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(raw);
            let decoder =
                decoder.map_err(|error| Error::io("unpack", &open.segment.path, error))?;
            Ok(Some(Box::new(decoder)))
        }
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => {
            let why = "this program was built without the feature `zstd`";
            Err(Error::refused(crate::error::ErrorKind::Io, "unpack", &open.segment.path, why))
        }
    }
}

/// A packed file as the decoders read it, with a place of its own: the handle may be read by others.
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
