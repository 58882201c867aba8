//! Rust's readers of gzip and Zstandard. Prints a row of tab-separated cells for each.

use futures_util::AsyncReadExt;
use std::error::Error;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Reader = fn(&[u8]) -> Result<Vec<u8>>;

fn all(mut reader: impl Read) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    reader.read_to_end(&mut content)?;
    Ok(content)
}

fn all_async(mut reader: impl futures_util::AsyncRead + Unpin) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    futures_executor::block_on(reader.read_to_end(&mut content))?;
    Ok(content)
}

fn libdeflate(file: &[u8]) -> Result<Vec<u8>> {
    let mut content = vec![0; 16 << 20];
    let len = libdeflater::Decompressor::new().gzip_decompress(file, &mut content)?;
    content.truncate(len);
    Ok(content)
}

const READERS: [(&str, &str, &str, Reader); 8] = [
    ("flate2 GzDecoder", "1.1.5", "gz", |file| all(flate2::read::GzDecoder::new(file))),
    ("flate2 MultiGzDecoder", "1.1.5", "gz", |file| all(flate2::read::MultiGzDecoder::new(file))),
    ("libdeflater", "1.25.0", "gz", libdeflate),
    ("async-compression GzipDecoder", "0.4.36", "gz", |file| {
        all_async(async_compression::futures::bufread::GzipDecoder::new(file))
    }),
    ("async-compression ZstdDecoder", "0.4.36", "zst", |file| {
        all_async(async_compression::futures::bufread::ZstdDecoder::new(file))
    }),
    ("zstd decode_all", "0.13.3", "zst", |file| Ok(zstd::decode_all(Cursor::new(file))?)),
    ("ruzstd StreamingDecoder", "0.8.2", "zst", |file| {
        all(ruzstd::decoding::StreamingDecoder::new(file).map_err(|error| error.to_string())?)
    }),
    ("ruzstd FrameDecoder", "0.8.2", "zst", |file| {
        let mut content = Vec::with_capacity(16 << 20);
        let mut decoder = ruzstd::decoding::FrameDecoder::new();
        decoder.decode_all_to_vec(file, &mut content).map_err(|error| error.to_string())?;
        Ok(content)
    }),
];

fn wrong(path: &Path, read: Reader) -> Result<Option<String>> {
    let content = fs::read(format!("{}.plain", path.display()))?;
    let file = fs::read(path)?;
    let said = match read(&file) {
        Ok(found) if found == content => return Ok(None),
        Ok(found) if found.is_empty() => "empty".to_owned(),
        Ok(found) => format!("{} of {} bytes", found.len(), content.len()),
        Err(error) => error.to_string().chars().take(60).collect(),
    };
    Ok(Some(format!("{} bytes compressed: {said}", file.len())))
}

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).ok_or("the folder with the backups is missing")?;
    let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    for (name, version, suffix, read) in READERS {
        let mut row =
            vec!["Rust".to_owned(), name.to_owned(), version.to_owned(), suffix.to_owned()];
        for path in paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == suffix)) {
            row.extend(wrong(path, read)?);
        }
        println!("{}", row.join("\t"));
    }
    Ok(())
}
