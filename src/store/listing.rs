//! The requests of readers: listing an archived log, and reading its objects.

use super::answers::respell;
use super::requests::digest_of;
use super::threads::off_thread;
use super::url::Scheme;
use super::{ArchiveStore, hex};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind, fault};
use object_store::ObjectMeta;
use object_store::list::PaginatedListOptions;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

/// An object, as a listing shows it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The last part of its key.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

/// The names in the first page of a listing that has an end. A whole page takes much longer, and
/// most spans of time have few segments.
const FEW: usize = 100;

/// The names that a listing should return, which sort by age. It may return others too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Names up to this one are not wanted.
    pub(crate) after: Option<String>,
    /// The next name after this one, and the one after that, are the last that are wanted.
    pub(crate) until: Option<String>,
}

impl ArchiveStore {
    /// Returns the origins under which segments of a log are archived, in order.
    pub(crate) async fn origins(&self, log: &str) -> Result<Vec<String>> {
        let prefix = self.url.key(log, "", "");
        if self.url.scheme == Scheme::Directory {
            let files = self.list_dir(&prefix).await?;
            let mut origins: Vec<_> = files.into_iter().filter_map(FoundInDir::directory).collect();
            origins.sort_unstable();
            return Ok(origins);
        }
        self.step("list objects", &prefix)?;
        let listed = self.inner.list_with_delimiter(Some(&self.path_of(&prefix)?)).await;
        let listed = listed.map_err(|error| self.unread("list", &prefix, &error))?;
        self.step("receive list", &prefix)?;
        let names = listed.common_prefixes.iter().filter_map(|origin| origin.filename());
        let mut origins: Vec<_> = names.map(str::to_owned).collect();
        origins.sort_unstable();
        Ok(origins)
    }

    /// Returns an origin's objects, in no certain order.
    pub(crate) async fn segments(
        &self,
        log: &str,
        origin: &str,
        names: &Names,
    ) -> Result<Vec<Listed>> {
        let Some(pages) = &self.pages else {
            let files = self.list_dir(&self.url.key(log, origin, "")).await?;
            return Ok(files.into_iter().filter_map(FoundInDir::file).collect());
        };
        let prefix = self.url.key(log, origin, "");
        let dir = format!("{}/", self.path_of(&prefix)?);
        let offset = names.after.as_ref().map(|name| self.url.key(log, origin, name));
        let max_keys = names.until.as_ref().map(|_| FEW);
        let mut page = PaginatedListOptions { offset, max_keys, ..Default::default() };
        let (mut found, mut is_last) = (Vec::new(), false);
        loop {
            self.step("list objects", &prefix)?;
            let listed = pages.list_paginated(Some(&dir), page.clone()).await;
            let listed = listed.map_err(|error| self.unread("list", &prefix, &error))?;
            self.step("receive list", &prefix)?;
            for object in listed.result.objects {
                let Some(listed) = of_dir(&prefix, &object) else { continue };
                let is_past = names.until.as_ref().is_some_and(|until| listed.name > *until);
                found.push(listed);
                // The plain and the compressed form of the same segment may follow each other.
                if is_last {
                    return Ok(found);
                }
                is_last = is_past;
            }
            page.max_keys = None;
            page.page_token = listed.page_token;
            if page.page_token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Writes the content of an object to a file; `false` if there is no object.
    ///
    /// # Errors
    /// [`ErrorKind::ArchiveConflict`] if it `is_compared` with its digest and is not what was
    /// archived.
    pub(crate) async fn fetch(
        &self,
        key: &str,
        mut file: &File,
        path: &Path,
        is_compared: bool,
    ) -> Result<bool> {
        self.step("ask for object", key)?;
        let unread = |error| self.unread("read", key, &error);
        let mut object = match self.download(self.path_of(key)?).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            object => object.map_err(unread)?,
        };
        let noted = digest_of(&object.attributes).filter(|_| is_compared).map(str::to_owned);
        let mut digest = Sha256::new();
        while let Some(piece) = object.next().await.map_err(unread)? {
            digest.update(&piece);
            file.write_all(&piece).map_err(|error| Error::io("write", path, error))?;
        }
        self.step("receive object", key)?;
        if noted.is_some_and(|noted| noted != hex(&digest.finalize())) {
            let why = "it is damaged: its SHA-256 is not that of the segment that was archived";
            let kind = ErrorKind::ArchiveConflict;
            return Err(Error::refused(kind, "read", self.url.object(key), why));
        }
        Ok(true)
    }

    /// Returns the files and directories in a directory. `object_store` returns none of them if it
    /// takes one name for none of its own.
    async fn list_dir(&self, prefix: &str) -> Result<Vec<FoundInDir>> {
        self.step("list objects", prefix)?;
        let dir = self.file_of(prefix);
        let local = dir.clone();
        let list = move || {
            let names = match fs::names(&dir) {
                Err(error) if error.is_not_found() => Vec::new(),
                names => names?,
            };
            let mut found = Vec::new();
            for name in names {
                // It may have been removed, or lead nowhere.
                let entry = fs::stat_target(&dir.join(&name)).ok().flatten();
                found.extend(entry.map(|entry| FoundInDir { name: respell(&name), entry }));
            }
            Ok(found)
        };
        let refused = |error: Error| {
            let (kind, object) = (ErrorKind::ArchiveUnreachable, self.url.object(prefix));
            Error::refused(kind, "list", object, error.to_string())
        };
        let found = off_thread(list, &local).await.map_err(refused)?;
        self.step("receive list", prefix)?;
        Ok(found)
    }

    /// Passes the fault hook.
    fn step(&self, verb: &'static str, key: &str) -> Result<()> {
        fault::step(verb).map_err(|error| {
            let (kind, object) = (ErrorKind::ArchiveUnreachable, self.url.object(key));
            Error::refused(kind, "read", object, error.to_string())
        })
    }
}

/// A file or a directory in an archive that is a directory.
struct FoundInDir {
    name: String,
    entry: Entry,
}

impl FoundInDir {
    fn directory(self) -> Option<String> {
        (self.entry.kind == EntryKind::Directory).then_some(self.name)
    }

    /// A file, unless it is one in which `object_store` writes an object.
    fn file(self) -> Option<Listed> {
        let number = self.name.split_once('#').map(|(_, number)| number);
        let is_unfinished = number
            .is_some_and(|it| !it.is_empty() && it.bytes().all(|digit| digit.is_ascii_digit()));
        let Self { name, entry } = self;
        (entry.kind == EntryKind::File && !is_unfinished).then_some(Listed {
            name,
            bytes: entry.len,
            modified: entry.modified,
        })
    }
}

/// An object that is in a directory itself, not in one below.
fn of_dir(dir: &str, object: &ObjectMeta) -> Option<Listed> {
    let name = object.location.as_ref().strip_prefix(dir)?.strip_prefix('/')?;
    let (name, bytes) = (name.to_owned(), object.size);
    (!name.contains('/')).then(|| Listed { name, bytes, modified: object.last_modified.into() })
}
