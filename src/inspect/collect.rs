//! Combines a snapshot of a log's directory with the processes that have its files open.

use super::holders::{Holders, Usage, probe};
use super::{ArchiveState, Inspection, Leftover, LeftoverKind, Segment};
use crate::clock::Clock;
use crate::error::Result;
use crate::fs::{self, Entry};
use crate::ledger::{Ledger, Trouble};
use crate::segment::name::{Compression, Name};
use crate::segment::{Backup, DirectorySnapshot, Location, birth_tag, uncompress};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The suffixes of the files of a log's policy, which are no strays.
const POLICY_SUFFIXES: [&str; 2] = ["policy.toml", "policy.cache"];

/// Lists the segments of a log as they are now, oldest first, the active one last.
pub(crate) fn segments(location: &Location) -> Result<Vec<Segment>> {
    let mut snapshot = DirectorySnapshot::take(location)?;
    Collector::new(location).segments(&mut snapshot)
}

/// Looks at all files of a log.
pub(super) fn inspection(location: &Location) -> Result<Inspection> {
    let mut snapshot = DirectorySnapshot::take(location)?;
    let collector = Collector::new(location);
    let segments = collector.segments(&mut snapshot)?;
    let mut leftovers = collector.superseded(&snapshot.superseded)?;
    let mut temporaries = Vec::new();
    for (path, bytes) in snapshot.temporaries {
        match probe(&path)? {
            Usage::Free => leftovers.push(Leftover { path, bytes, kind: LeftoverKind::Temporary }),
            _ => temporaries.push(path),
        }
    }
    let rotating = collector.holders.of_lock_file(&location.lock_path())?;
    if let Some((Usage::Free, bytes)) = &rotating {
        let (path, bytes) = (location.lock_path(), *bytes);
        leftovers.push(Leftover { path, bytes, kind: LeftoverKind::LockFile });
    }
    let archive = archive(location, &segments);
    Ok(Inspection {
        path: location.path().to_owned(),
        segments,
        rotating: rotating.map(|(usage, _)| usage),
        temporaries,
        leftovers,
        strays: collector.strays(snapshot.strays),
        free_bytes: fs::free_space(location.dir())?,
        network_file_system: fs::network_file_system(location.dir())?,
        archive,
    })
}

/// Compares the backups with the ledger of the archive. A damaged ledger, or one that cannot be
/// read, is a failure of it.
fn archive(location: &Location, segments: &[Segment]) -> Option<ArchiveState> {
    let ledger = match Ledger::read(location) {
        Ok(None) => return None,
        Ok(Some(ledger)) => ledger,
        Err(error) => {
            let trouble = Trouble { at: Clock::system().now(), message: error.to_string() };
            Ledger { trouble: Some(trouble), ..Ledger::default() }
        }
    };
    let is_archived = |segment: &Segment| {
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        ledger.has(&name, segment.bytes)
    };
    let backups = segments.iter().filter(|segment| !segment.is_active());
    let (archived, backlog): (Vec<_>, Vec<_>) = backups.partition(|backup| is_archived(backup));
    Some(ArchiveState {
        url: ledger.to,
        origin: ledger.origin.map(|origin| origin.name),
        archived: archived.len(),
        backlog: backlog.len(),
        backlog_bytes: backlog.iter().map(|backup| backup.bytes).fold(0, u64::saturating_add),
        oldest: backlog.first().and_then(|backup| backup.rotated_at),
        failure: ledger.trouble.map(|trouble| (trouble.at.into(), trouble.message)),
    })
}

/// Looks at the files of one log, with the locks that the system showed at the start.
struct Collector<'a> {
    location: &'a Location,
    holders: Holders,
    /// How many bytes of other programs' backups may still be uncompressed to count them.
    budget: Cell<u64>,
}

/// A log of many backups that expand a thousandfold must not make a look at it last minutes.
const BUDGET: u64 = 64 * 1024 * 1024;

impl<'a> Collector<'a> {
    fn new(location: &'a Location) -> Self {
        // If the file system is unknown, so are the machines that use it.
        let is_local = matches!(fs::network_file_system(location.dir()), Ok(None));
        Self { location, holders: Holders::now(!is_local), budget: Cell::new(BUDGET) }
    }

    /// Turns the backups and the active segment into public segments, in their order.
    ///
    /// The second form of one backup becomes a stray: this crate did not make it.
    fn segments(&self, snapshot: &mut DirectorySnapshot) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        let mut last = None;
        for Backup { name, path, entry } in std::mem::take(&mut snapshot.backups) {
            if last.replace(name.key) == Some(name.key) {
                // A foreign program is compressing the backup there.
                snapshot.strays.insert(path);
                continue;
            }
            segments.push(self.segment(path, Some(name), entry)?);
        }
        if let Some(entry) = snapshot.active {
            segments.push(self.segment(self.location.path().to_owned(), None, entry)?);
        }
        Ok(segments)
    }

    /// Describes one file. A compressed file is opened, for the creation time and length in its
    /// tag.
    fn segment(&self, path: PathBuf, name: Option<Name>, entry: Entry) -> Result<Segment> {
        let compression = name.map_or(Compression::None, |name| name.compression);
        let (created, uncompressed_bytes) = match compression {
            Compression::None => (entry.born, Some(entry.len)),
            _ => self.noted(&path, compression, entry),
        };
        Ok(Segment {
            bytes: entry.len,
            uncompressed_bytes,
            compression,
            naming: name.map(|name| name.key.naming()),
            created: created.map(|created| created.min(entry.modified)),
            modified: entry.modified,
            rotated_at: name.and_then(|name| name.key.time()).map(SystemTime::from),
            usage: self.holders.of(&path, entry.id, name.is_some())?,
            origin: None,
            path,
        })
    }

    /// Returns the creation time of a compressed segment and the length of its records.
    fn noted(
        &self,
        path: &Path,
        compression: Compression,
        entry: Entry,
    ) -> (Option<SystemTime>, Option<u64>) {
        // A file that cannot be read says nothing.
        let Ok(Some(file)) = fs::open_segment(path) else { return (None, None) };
        let Ok(tag) = birth_tag::read(&file, entry.len, compression, path) else {
            return (None, None);
        };
        let bytes = tag.uncompressed_bytes(entry.len, compression).or_else(|| {
            let mut budget = self.budget.get();
            let file = Arc::new(file);
            let bytes = uncompress::count(&file, path, compression, entry.len, &mut budget);
            self.budget.set(budget);
            bytes
        });
        (tag.created().map(SystemTime::from), bytes)
    }

    /// Returns the superseded copies that no process has open. The next worker removes them.
    fn superseded(&self, backups: &[Backup]) -> Result<Vec<Leftover>> {
        let mut leftovers = Vec::new();
        for Backup { path, entry, .. } in backups {
            let is_free = self.holders.of(path, entry.id, true)? == Usage::Free;
            if is_free && fs::stat(path)?.is_some() {
                let (path, bytes) = (path.clone(), entry.len);
                leftovers.push(Leftover { path, bytes, kind: LeftoverKind::Superseded });
            }
        }
        Ok(leftovers)
    }

    /// Returns the strays, sorted, without the files of a policy beside the log.
    fn strays(&self, strays: BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let is_of_policy = |path: &PathBuf| {
            let suffix = path.file_name().and_then(|name| self.location.suffix(name.to_str()?));
            suffix.is_some_and(|suffix| POLICY_SUFFIXES.iter().any(|of| suffix.starts_with(of)))
        };
        strays.into_iter().filter(|path| !is_of_policy(path)).collect()
    }
}
