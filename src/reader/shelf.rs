//! The place of a log's backups: its own directory, an archive, or both.
//!
//! The backups of an archive are fetched one by one into a private directory, under their own
//! names, and opened there. So they are read as those of a local log are.

pub(super) use on::Shelf;

#[cfg(not(feature = "archive"))]
mod on {
    use crate::error::Result;
    use crate::segment::name::{Key, Name};
    use crate::segment::{Location, backup_names};
    use std::path::{Path, PathBuf};

    /// The log's own directory.
    #[derive(Debug, Clone)]
    pub(in crate::reader) struct Shelf;

    #[allow(clippy::unused_self, reason = "there is no archive")]
    impl Shelf {
        pub(in crate::reader) fn beside_log() -> Self {
            Self
        }

        pub(in crate::reader) fn names(&self, location: &Location) -> Result<Vec<Name>> {
            backup_names(location, None)
        }

        pub(in crate::reader) fn fetch(&self, _: &Location, _: Key) -> Result<()> {
            Ok(())
        }

        pub(in crate::reader) fn missing(&self, location: &Location, key: Key) -> PathBuf {
            location.backup_path(Name::plain(key))
        }

        pub(in crate::reader) fn shown(&self, path: PathBuf) -> PathBuf {
            path
        }

        pub(in crate::reader) fn path(&self, location: &Location, name: Name) -> PathBuf {
            location.backup_path(name)
        }

        pub(in crate::reader) fn is_fetched(&self, _: &Path) -> bool {
            false
        }
    }
}

#[cfg(feature = "archive")]
mod on {
    use crate::error::{Error, Result};
    use crate::fs;
    use crate::segment::archived::{ArchivedLog, ArchivedOrigin};
    use crate::segment::name::{Compression, Key, Name};
    use crate::segment::{Location, backup_names};
    use crate::store::Reading;
    use parking_lot::Mutex;
    use std::collections::BTreeSet;
    use std::fmt;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::SystemTime;

    /// The log's own directory, the objects of one origin of an archived log, or both.
    #[derive(Clone)]
    pub(in crate::reader) struct Shelf(Option<Arc<Objects>>);

    struct Objects {
        reading: Arc<Reading>,
        /// The part of the keys before the names.
        log: String,
        origin: String,
        /// Oldest first.
        names: Vec<Name>,
        /// Whether the log's own directory belongs to it too. A file there goes before the object.
        with_local: bool,
        /// Where they are fetched to.
        dir: tempfile::TempDir,
        /// The one that is there now. A reader keeps open what it reads.
        fetched: Mutex<Option<PathBuf>>,
    }

    impl Shelf {
        /// The log's own directory.
        pub(in crate::reader) fn beside_log() -> Self {
            Self(None)
        }

        /// The shelves of an archived log, one for each origin that has segments.
        pub(in crate::reader) fn of_archive(archived: &ArchivedLog) -> Result<Vec<Self>> {
            let origins = archived.origins.iter();
            let with_segments = origins.filter(|origin| !origin.segments.is_empty());
            with_segments.map(|origin| Self::of_origin(archived, origin, false)).collect()
        }

        /// The shelf of a local log and of the objects of one origin.
        pub(in crate::reader) fn of_both(
            archived: &ArchivedLog,
            origin: &ArchivedOrigin,
        ) -> Result<Self> {
            Self::of_origin(archived, origin, true)
        }

        fn of_origin(
            archived: &ArchivedLog,
            origin: &ArchivedOrigin,
            with_local: bool,
        ) -> Result<Self> {
            let dir = tempfile::tempdir()
                .map_err(|error| Error::io("create a directory in", std::env::temp_dir(), error))?;
            Ok(Self(Some(Arc::new(Objects {
                reading: Arc::clone(&archived.reading),
                log: archived.log.clone(),
                origin: origin.name.clone(),
                names: origin.segments.iter().map(|segment| segment.name).collect(),
                with_local,
                dir,
                fetched: Mutex::new(None),
            }))))
        }

        /// Returns the location of a log that has no file yet, and will have one at a time.
        pub(in crate::reader) fn location(&self) -> Result<Option<Location>> {
            let Some(objects) = &self.0 else { return Ok(None) };
            Location::find(&objects.dir.path().join(&objects.log)).map(Some)
        }

        /// Returns the times of the oldest segment and of the newest one.
        pub(in crate::reader) fn ends(&self) -> Option<(SystemTime, SystemTime)> {
            let names = &self.0.as_ref()?.names;
            let time = |name: &Name| name.key.time().map(SystemTime::from);
            time(names.first()?).zip(time(names.last()?))
        }

        pub(in crate::reader) fn names(&self, location: &Location) -> Result<Vec<Name>> {
            let Some(objects) = &self.0 else { return backup_names(location, None) };
            if !objects.with_local {
                return Ok(objects.names.clone());
            }
            let mut names = backup_names(location, None)?;
            let here: BTreeSet<_> = names.iter().map(|name| name.key).collect();
            names.extend(objects.names.iter().filter(|name| !here.contains(&name.key)));
            Ok(names)
        }

        /// Returns the path of a backup: where it was fetched to, or beside the log.
        pub(in crate::reader) fn path(&self, location: &Location, name: Name) -> PathBuf {
            let here = location.backup_path(name);
            let fetched = self.0.as_ref().and_then(|objects| objects.fetched.lock().clone());
            fetched.filter(|path| path.file_name() == here.file_name()).unwrap_or(here)
        }

        /// Brings a backup into the directory, in place of the one before. Nothing is there if its
        /// object is gone.
        pub(in crate::reader) fn fetch(&self, location: &Location, key: Key) -> Result<()> {
            let Some(objects) = &self.0 else { return Ok(()) };
            for name in objects.candidates(location, key)? {
                if objects.fetch(location, name)? {
                    break;
                }
            }
            Ok(())
        }

        /// Returns the path under which a backup is reported that could not be opened.
        pub(in crate::reader) fn missing(&self, location: &Location, key: Key) -> PathBuf {
            let listed = |objects: &Arc<Objects>| {
                let name = objects.names.iter().find(|name| name.key == key)?;
                let name = location.file_name(*name);
                Some(objects.reading.key(&objects.log, &objects.origin, &name).1.into())
            };
            let url = self.0.as_ref().and_then(listed);
            url.unwrap_or_else(|| location.backup_path(Name::plain(key)))
        }

        /// Returns the path under which a backup is reported: the URL of its object.
        pub(in crate::reader) fn shown(&self, path: PathBuf) -> PathBuf {
            let name = path.file_name().and_then(|name| name.to_str());
            match self.0.as_ref().zip(name) {
                Some((objects, name)) if self.is_fetched(&path) => {
                    objects.reading.key(&objects.log, &objects.origin, name).1.into()
                }
                _ => path,
            }
        }

        /// Whether a path is in the directory that objects are fetched to.
        pub(in crate::reader) fn is_fetched(&self, path: &Path) -> bool {
            self.0.as_ref().is_some_and(|objects| {
                // Links on the way to temporary files are resolved in one and not in the other.
                let dir = objects.dir.path().file_name();
                path.parent().is_some_and(|parent| parent.file_name() == dir)
            })
        }
    }

    impl Objects {
        /// The names under which a segment may be in the archive; none if it is here.
        fn candidates(&self, location: &Location, key: Key) -> Result<Vec<Name>> {
            let listed: Vec<_> = self.names.iter().filter(|it| it.key == key).copied().collect();
            if !self.with_local || key.time().is_none() {
                return Ok(listed);
            }
            for compression in Compression::ALL {
                if fs::stat(&location.backup_path(Name { key, compression }))?.is_some() {
                    return Ok(Vec::new());
                }
            }
            // A segment that was removed since the listing was archived before.
            let forms = Compression::ALL.into_iter().rev();
            let unlisted = || forms.map(|compression| Name { key, compression }).collect();
            Ok(if listed.is_empty() { unlisted() } else { listed })
        }

        /// Fetches an object; `false` if it is gone.
        fn fetch(&self, location: &Location, name: Name) -> Result<bool> {
            let object = location.file_name(name);
            let path = self.dir.path().join(&object);
            let mut fetched = self.fetched.lock();
            if fetched.as_ref() == Some(&path) {
                return Ok(true);
            }
            if let Some(before) = fetched.take() {
                fs::remove(&before)?;
            }
            let file = fs::create_new(&path, 0o600)?;
            let (object, _) = self.reading.key(&self.log, &self.origin, &object);
            match self.reading.fetch(&object, &file, &path) {
                Ok(true) => {
                    let time = name.key.time().map_or(SystemTime::UNIX_EPOCH, SystemTime::from);
                    fs::set_modified(&file, time, &path)?;
                    *fetched = Some(path);
                    Ok(true)
                }
                Ok(false) => fs::remove(&path).map(|_| false),
                Err(error) => fs::remove(&path).and(Err(error)),
            }
        }
    }

    impl fmt::Debug for Shelf {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let origin = self.0.as_ref().map(|objects| &objects.origin);
            f.debug_tuple("Shelf").field(&origin).finish()
        }
    }
}
