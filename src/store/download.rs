//! Reading an object from its start to its end, however often the connection breaks.

use super::ArchiveStore;
use super::threads::on_thread;
use crate::fs;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path as Key;
use object_store::{
    Attributes, Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, Result,
};
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

/// An object that is being read.
pub(super) struct Download<'a> {
    store: &'a ArchiveStore,
    key: Key,
    pub(super) meta: ObjectMeta,
    pub(super) attributes: Attributes,
    content: BoxStream<'static, Result<Bytes>>,
    /// The number of bytes that were read, and those that were when it was last asked for the rest.
    at: u64,
    asked_at: u64,
}

impl ArchiveStore {
    pub(super) async fn download(&self, key: Key) -> Result<Download<'_>> {
        let got = self.get(&key, GetOptions::default()).await?;
        let (meta, attributes) = (got.meta.clone(), got.attributes.clone());
        let content = content_of(got);
        Ok(Download { store: self, key, meta, attributes, content, at: 0, asked_at: 0 })
    }
}

impl Download<'_> {
    /// Returns the next piece; `None` at the end.
    ///
    /// After a connection broke or a request took too long, asks for the rest of the same version,
    /// as long as each request brings some of it. `object_store` does so for a minute only.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let error = match self.content.next().await {
                Some(Ok(piece)) => {
                    self.at += piece.len() as u64;
                    return Ok(Some(piece));
                }
                None if self.at >= self.meta.size => return Ok(None),
                None => generic("its end is missing"),
                Some(Err(error)) => error,
            };
            if self.at == self.asked_at {
                return Err(error);
            }
            let Some(rest) = self.rest() else { return Err(error) };
            let got = self.store.get(&self.key, rest).await?;
            self.go_on(got)?;
        }
    }

    /// The request for the rest; `None` if the version of the object is not known.
    fn rest(&self) -> Option<GetOptions> {
        let ObjectMeta { e_tag, version, .. } = self.meta.clone();
        // The condition will do, and needs no right to read versions.
        let version = version.filter(|_| e_tag.is_none());
        (e_tag.is_some() || version.is_some()).then(|| GetOptions {
            range: Some(GetRange::Offset(self.at)),
            if_match: e_tag,
            version,
            ..GetOptions::default()
        })
    }

    fn go_on(&mut self, got: GetResult) -> Result<()> {
        let version = |meta: &ObjectMeta| (meta.e_tag.clone(), meta.version.clone(), meta.size);
        // A server may ignore the condition.
        if version(&got.meta) != version(&self.meta) {
            let (path, source) = (self.key.to_string(), "it has another version".into());
            return Err(Error::Precondition { path, source });
        }
        self.asked_at = self.at;
        self.content = content_of(got);
        Ok(())
    }
}

/// Returns the content of an object. That of a file is read in pieces.
fn content_of(got: GetResult) -> BoxStream<'static, Result<Bytes>> {
    let Range { start, end } = got.range;
    match got.payload {
        GetResultPayload::Stream(content) => content,
        GetResultPayload::File(file, path) => {
            let read = move |(file, path, at)| read_piece(file, path, at, end);
            stream::try_unfold((file, path, start), read).boxed()
        }
    }
}

/// A piece of a file, and what is needed to read the next one.
type FilePiece = (Bytes, (File, PathBuf, u64));

/// Reads a piece of a file; `None` at its end.
async fn read_piece(file: File, path: PathBuf, at: u64, end: u64) -> Result<Option<FilePiece>> {
    const PIECE: u64 = 1024 * 1024;
    let read = on_thread(move || {
        let len = end.saturating_sub(at).min(PIECE);
        let mut piece = vec![0; usize::try_from(len).unwrap_or_default()];
        let read = fs::read_at(&file, &mut piece, at, &path)?;
        piece.truncate(read);
        let next = (file, path, at + read as u64);
        Ok::<_, crate::Error>((read > 0).then(|| (piece.into(), next)))
    });
    let read = read.await.map_err(|error| generic(error.to_string()))?;
    read.map_err(|error| generic(error.to_string()))
}

fn generic(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "archive", source: why.into() }
}
