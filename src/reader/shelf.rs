//! The place of a log's backups: its own directory, an archive, or both.
//!
//! The backups of an archive are fetched one by one, each into a temporary file without a name. So
//! nothing is left behind, however the process ends.

pub(super) use on::Shelf;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::segment::name::Compression;

/// The place where a backup is to be read.
#[derive(Debug)]
#[cfg_attr(not(feature = "archive"), allow(dead_code, reason = "there is no archive"))]
pub(super) enum BackupPlace {
    /// Beside the log, if anywhere.
    Here,
    Fetched(Fetched),
    /// It was listed, and was removed since.
    Nowhere,
}

/// The content of an archived backup.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) file: Arc<File>,
    /// The URL of its object.
    pub(super) url: PathBuf,
    pub(super) compression: Compression,
    /// The time in its name.
    pub(super) finished: SystemTime,
    /// Distinguishes it from the others that were fetched.
    pub(super) number: u64,
}

#[cfg(not(feature = "archive"))]
mod on {
    use super::BackupPlace;
    use crate::error::Result;
    use crate::segment::name::{Key, Name, TimeKey};
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

        pub(in crate::reader) fn has_local(&self) -> bool {
            true
        }

        pub(in crate::reader) fn local(&self, location: &Location) -> Result<Vec<Name>> {
            backup_names(location, None)
        }

        pub(in crate::reader) fn list_again(&self, _: TimeKey) -> Result<()> {
            Ok(())
        }

        pub(in crate::reader) fn archived(&self) -> Vec<Name> {
            Vec::new()
        }

        pub(in crate::reader) fn find(&self, _: &Location, _: Key) -> Result<BackupPlace> {
            Ok(BackupPlace::Here)
        }

        pub(in crate::reader) fn forget(&self, _: Key) -> bool {
            false
        }

        pub(in crate::reader) fn missing(&self, location: &Location, key: Key) -> PathBuf {
            location.backup_path(Name::plain(key))
        }
    }
}

#[cfg(feature = "archive")]
mod on {
    use super::{BackupPlace, Fetched};
    use crate::error::Result;
    use crate::fs;
    use crate::reader::range::Range;
    use crate::segment::archived::{ArchivedLog, ArchivedOrigin, ArchivedSegment, list_since};
    use crate::segment::name::{Compression, Key, Name, TimeKey};
    use crate::segment::{Location, backup_names};
    use crate::store::Reading;
    use parking_lot::Mutex;
    use std::collections::{BTreeMap, HashSet};
    use std::fmt;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::SystemTime;

    /// The log's own directory, the objects of one origin of an archived log, or both.
    #[derive(Clone)]
    pub(in crate::reader) struct Shelf(Option<Arc<Objects>>);

    struct Objects {
        reading: Arc<Reading>,
        /// The part of the keys before the names.
        log: Arc<str>,
        /// The present one. A log has objects of former ones, too.
        origin: Arc<str>,
        /// Whether the log's own directory belongs to it too. A file there goes before the object.
        with_local: bool,
        /// Segments outside of it are not wanted.
        range: Range,
        state: Mutex<State>,
    }

    #[derive(Default)]
    struct State {
        /// The objects that were listed, and their origins.
        names: BTreeMap<Key, (Name, Arc<str>)>,
        /// The backups that are neither in the archive any more nor here.
        gone: HashSet<Key>,
        /// The archive was listed after a backup of this time was seen.
        covered: Option<TimeKey>,
        /// Whether a listing failed after the first one.
        has_failed: bool,
        /// The last one that was fetched. It may be opened more than once.
        fetched: Option<(Key, Fetched)>,
        count: u64,
    }

    impl Shelf {
        /// The log's own directory.
        pub(in crate::reader) fn beside_log() -> Self {
            Self(None)
        }

        /// The shelves of an archived log, one for each origin that has segments.
        pub(in crate::reader) fn of_archive(archived: &ArchivedLog) -> Vec<Self> {
            let origins = archived.origins.iter();
            let with_segments = origins.filter(|origin| !origin.segments.is_empty());
            with_segments
                .map(|origin| {
                    let origins = std::slice::from_ref(origin);
                    Self::of_origins(archived, origins, false, Range::default())
                })
                .collect()
        }

        /// The shelf of a local log and of the objects of its origins that are in the range. The
        /// present origin is the first.
        pub(in crate::reader) fn of_both(
            archived: &ArchivedLog,
            origins: &[ArchivedOrigin],
            range: Range,
        ) -> Self {
            Self::of_origins(archived, origins, true, range)
        }

        fn of_origins(
            archived: &ArchivedLog,
            origins: &[ArchivedOrigin],
            with_local: bool,
            range: Range,
        ) -> Self {
            let mut names = BTreeMap::new();
            // Two may have the same segment, and then the present one counts.
            for origin in origins.iter().rev() {
                let name: Arc<str> = origin.name.as_str().into();
                let named = |segment: &ArchivedSegment| (segment.name, Arc::clone(&name));
                names.extend(origin.segments.iter().map(|it| (it.name.key, named(it))));
            }
            let present = origins.first().map_or("", |origin| &origin.name);
            Self(Some(Arc::new(Objects {
                reading: Arc::clone(&archived.reading),
                log: archived.log.as_str().into(),
                origin: present.into(),
                with_local,
                range,
                state: Mutex::new(State { names, ..State::default() }),
            })))
        }

        /// Returns the shelf with one of its objects alone.
        pub(in crate::reader) fn only(&self, name: Name) -> Self {
            let of = |objects: &Arc<Objects>| {
                Arc::new(Objects {
                    reading: Arc::clone(&objects.reading),
                    log: Arc::clone(&objects.log),
                    origin: Arc::clone(&objects.origin),
                    with_local: false,
                    range: Range::default(),
                    state: Mutex::new(State {
                        names: BTreeMap::from([(name.key, (name, Arc::clone(&objects.origin)))]),
                        ..State::default()
                    }),
                })
            };
            Self(self.0.as_ref().map(of))
        }

        /// Returns the location of a log that has no files.
        pub(in crate::reader) fn location(&self) -> Option<Location> {
            let objects = self.0.as_ref()?;
            let (_, url) = objects.reading.key(&objects.log, &objects.origin, "");
            Some(Location::of_archived(url.trim_end_matches('/').into(), &objects.log))
        }

        /// Whether the log's own directory belongs to it.
        pub(in crate::reader) fn has_local(&self) -> bool {
            self.0.as_ref().is_none_or(|objects| objects.with_local)
        }

        /// Returns the names of the backups beside the log.
        pub(in crate::reader) fn local(&self, location: &Location) -> Result<Vec<Name>> {
            if self.has_local() { backup_names(location, None) } else { Ok(Vec::new()) }
        }

        /// Returns the names of the objects, oldest first, as far as they were listed.
        pub(in crate::reader) fn archived(&self) -> Vec<Name> {
            let Some(objects) = &self.0 else { return Vec::new() };
            let state = objects.state.lock();
            let names = state.names.values().map(|(name, _)| *name);
            names.filter(|name| !state.gone.contains(&name.key)).collect()
        }

        /// Lists the objects that came since the last listing, unless that was made after a backup
        /// of the time `upto` was seen. Once that has failed, it is not tried again.
        pub(in crate::reader) fn list_again(&self, upto: TimeKey) -> Result<()> {
            let Some(objects) = self.0.as_ref().filter(|objects| objects.with_local) else {
                return Ok(());
            };
            let last = {
                let mut state = objects.state.lock();
                let covered = state.covered.unwrap_or(TimeKey::MIN);
                if objects.origin.is_empty() || state.has_failed || upto <= covered {
                    return Ok(());
                }
                if upto < TimeKey::MAX {
                    state.covered = Some(upto);
                }
                state.names.keys().next_back().and_then(|key| key.time())
            };
            let since = last.map(SystemTime::from).or(objects.range.since);
            let listed = list_since(
                &objects.reading,
                &objects.log,
                &objects.origin,
                since,
                objects.range.until,
            );
            let mut state = objects.state.lock();
            state.has_failed = listed.is_err();
            for name in listed? {
                let named = || (name, Arc::clone(&objects.origin));
                state.names.entry(name.key).or_insert_with(named);
            }
            Ok(())
        }

        /// Finds a backup. If it is in the archive alone, fetches it.
        pub(in crate::reader) fn find(&self, location: &Location, key: Key) -> Result<BackupPlace> {
            let Some(objects) = self.0.as_ref().filter(|_| key.time().is_some()) else {
                return Ok(BackupPlace::Here);
            };
            if objects.with_local {
                // The uncompressed form first: it may be compressed meanwhile.
                for compression in Compression::ALL {
                    if fs::stat(&location.backup_path(Name { key, compression }))?.is_some() {
                        return Ok(BackupPlace::Here);
                    }
                }
            }
            for (name, origin) in objects.candidates(key) {
                if let Some(fetched) = objects.fetch(name, &origin)? {
                    return Ok(BackupPlace::Fetched(fetched));
                }
            }
            Ok(BackupPlace::Nowhere)
        }

        /// Leaves a backup out from now on. Returns `false` if it was left out before.
        pub(in crate::reader) fn forget(&self, key: Key) -> bool {
            self.0.as_ref().is_some_and(|objects| objects.state.lock().gone.insert(key))
        }

        /// Returns the path under which a backup is reported that could not be opened.
        pub(in crate::reader) fn missing(&self, location: &Location, key: Key) -> PathBuf {
            let listed = |objects: &Arc<Objects>| {
                let (name, origin) = objects.state.lock().names.get(&key)?.clone();
                Some(objects.key(name, &origin).1.into())
            };
            let url = self.0.as_ref().and_then(listed);
            url.unwrap_or_else(|| location.backup_path(Name::plain(key)))
        }
    }

    impl Objects {
        /// Returns the key of an object, and its URL.
        fn key(&self, name: Name, origin: &str) -> (String, String) {
            self.reading.key(&self.log, origin, &name.format_object(&self.log))
        }

        /// The names under which a segment may be in the archive. One that was removed here since
        /// the last listing was archived before.
        fn candidates(&self, key: Key) -> Vec<(Name, Arc<str>)> {
            let state = self.state.lock();
            if state.gone.contains(&key) {
                return Vec::new();
            }
            if let Some(named) = state.names.get(&key) {
                return vec![named.clone()];
            }
            let forms = Compression::ALL.into_iter().rev();
            let named = |compression| (Name { key, compression }, Arc::clone(&self.origin));
            forms.map(named).collect()
        }

        /// Fetches an object; `None` if it is gone.
        fn fetch(&self, name: Name, origin: &str) -> Result<Option<Fetched>> {
            if let Some((key, fetched)) = &self.state.lock().fetched {
                if *key == name.key {
                    return Ok(Some(fetched.clone()));
                }
            }
            let (object, url) = self.key(name, origin);
            let file = fs::anonymous_file()?;
            // A compressed one has a checksum of its own, and is read as far as it is whole.
            let is_compared = name.compression == Compression::None;
            if !self.reading.fetch(&object, &file, &std::env::temp_dir(), is_compared)? {
                return Ok(None);
            }
            let mut state = self.state.lock();
            state.count += 1;
            let fetched = Fetched {
                file: Arc::new(file),
                url: url.into(),
                compression: name.compression,
                finished: name.key.time().map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
                number: state.count,
            };
            state.fetched = Some((name.key, fetched.clone()));
            Ok(Some(fetched))
        }
    }

    impl fmt::Debug for Shelf {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let origin = self.0.as_ref().map(|objects| &objects.origin);
            f.debug_tuple("Shelf").field(&origin).finish()
        }
    }
}
