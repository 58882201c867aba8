//! Reading an object from its start to its end, however often the connection breaks.

use super::ArchiveStore;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path as Key;
use object_store::{Attributes, Error, GetOptions, GetRange, GetResult, ObjectMeta, Result};

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
        let got = self.inner.get_opts(&key, GetOptions::default()).await?;
        let (meta, attributes) = (got.meta.clone(), got.attributes.clone());
        let content = got.into_stream();
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
            let got = self.store.inner.get_opts(&self.key, rest).await?;
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
        self.content = got.into_stream();
        Ok(())
    }
}

fn generic(why: &'static str) -> Error {
    Error::Generic { store: "archive", source: why.into() }
}
