//! The place of a log's backups: its own directory, or an archive.
//!
//! The backups of an archive are fetched one by one into a private directory, under their own
//! names, and opened there. So they are read as those of a local log are.

pub(super) use on::Shelf;

#[cfg(not(feature = "archive"))]
mod on {
    use crate::error::Result;
    use crate::segment::name::{Key, Name};
    use crate::segment::{Location, backup_names};
    use std::path::PathBuf;

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

        pub(in crate::reader) fn shown(&self, path: PathBuf) -> PathBuf {
            path
        }

        pub(in crate::reader) fn is_remote(&self) -> bool {
            false
        }
    }
}

#[cfg(feature = "archive")]
mod on {
    use super::super::range::Range;
    use crate::error::{Error, Result};
    use crate::fs;
    use crate::segment::name::{Key, Name};
    use crate::segment::{Location, backup_names};
    use crate::store::Reading;
    use parking_lot::Mutex;
    use std::fmt;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::SystemTime;

    /// The log's own directory, or the objects of one origin of an archived log.
    #[derive(Clone)]
    pub(in crate::reader) struct Shelf(Option<Arc<Objects>>);

    struct Objects {
        reading: Arc<Reading>,
        /// The part of the keys before the names.
        log: String,
        origin: String,
        /// Oldest first.
        names: Vec<Name>,
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

        /// The shelves of an archived log, one for each origin that has segments in the range.
        pub(in crate::reader) fn of_archive(
            url: &str,
            origin: Option<&str>,
            range: Range,
        ) -> Result<Vec<Self>> {
            let (reading, log) = Reading::of_log(url)?;
            let reading = Arc::new(reading);
            let origins = match origin {
                Some(origin) => vec![origin.to_owned()],
                None => reading.origins(&log)?,
            };
            let mut shelves = Vec::new();
            for origin in origins {
                let found = reading.segments(&log, &origin)?;
                let parse = |name: &String| Name::parse(&log, name);
                let mut names: Vec<_> = found.iter().filter_map(parse).collect();
                names.sort_by_key(|name| (name.key.time(), name.compression));
                let names = within(names, range);
                if names.is_empty() {
                    continue;
                }
                let dir = tempfile::tempdir().map_err(|error| {
                    Error::io("create a directory in", std::env::temp_dir(), error)
                })?;
                let (reading, log) = (Arc::clone(&reading), log.clone());
                let fetched = Mutex::new(None);
                shelves.push(Self(Some(Arc::new(Objects {
                    reading,
                    log,
                    origin,
                    names,
                    dir,
                    fetched,
                }))));
            }
            Ok(shelves)
        }

        /// Returns the location of a log that has no file yet, and will have one at a time.
        pub(in crate::reader) fn location(&self) -> Result<Option<Location>> {
            let Some(objects) = &self.0 else { return Ok(None) };
            Location::find(&objects.dir.path().join(&objects.log)).map(Some)
        }

        /// Returns the time of the oldest segment.
        pub(in crate::reader) fn first(&self) -> Option<SystemTime> {
            let first = self.0.as_ref()?.names.first()?;
            first.key.time().map(SystemTime::from)
        }

        pub(in crate::reader) fn names(&self, location: &Location) -> Result<Vec<Name>> {
            match &self.0 {
                None => backup_names(location, None),
                Some(objects) => Ok(objects.names.clone()),
            }
        }

        /// Brings a backup into the directory, in place of the one before. Nothing is there if its
        /// object is gone.
        pub(in crate::reader) fn fetch(&self, location: &Location, key: Key) -> Result<()> {
            let Some(objects) = &self.0 else { return Ok(()) };
            let of_key = objects.names.iter().filter(|name| name.key == key);
            // An uncompressed object beside a compressed one is the older form.
            let Some(name) = of_key.max_by_key(|name| name.compression) else { return Ok(()) };
            let path = location.backup_path(*name);
            let mut fetched = objects.fetched.lock();
            if fetched.as_ref() == Some(&path) {
                return Ok(());
            }
            if let Some(before) = fetched.take() {
                fs::remove(&before)?;
            }
            let file = fs::create_new(&path, 0o600)?;
            let object = location.file_name(*name);
            let (object, _) = objects.reading.key(&objects.log, &objects.origin, &object);
            match objects.reading.fetch(&object, &file, &path) {
                Ok(true) => {
                    let time = name.key.time().map_or(SystemTime::UNIX_EPOCH, SystemTime::from);
                    fs::set_modified(&file, time, &path)?;
                    *fetched = Some(path);
                    Ok(())
                }
                Ok(false) => fs::remove(&path).map(drop),
                Err(error) => {
                    fs::remove(&path)?;
                    Err(error)
                }
            }
        }

        /// Returns the path under which a backup is reported: the URL of its object.
        pub(in crate::reader) fn shown(&self, path: PathBuf) -> PathBuf {
            let name = path.file_name().and_then(|name| name.to_str());
            match self.0.as_ref().zip(name) {
                Some((objects, name)) => {
                    objects.reading.key(&objects.log, &objects.origin, name).1.into()
                }
                None => path,
            }
        }

        pub(in crate::reader) fn is_remote(&self) -> bool {
            self.0.is_some()
        }
    }

    /// Leaves out the segments that were finished before the range or started after it, by their
    /// names and those of the segments before.
    fn within(names: Vec<Name>, range: Range) -> Vec<Name> {
        let time = |name: &Name| name.key.time().map(SystemTime::from);
        let mut started: Option<SystemTime> = None;
        let mut kept = Vec::new();
        for name in names {
            let finished = time(&name);
            let is_before = range.since.zip(finished).is_some_and(|(since, at)| at < since);
            let is_after = range.until.zip(started).is_some_and(|(until, at)| at > until);
            started = finished;
            if !is_before && !is_after && finished.is_some() {
                kept.push(name);
            }
        }
        kept
    }

    impl fmt::Debug for Shelf {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let origin = self.0.as_ref().map(|objects| &objects.origin);
            f.debug_tuple("Shelf").field(&origin).finish()
        }
    }
}
