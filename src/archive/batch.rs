//! Which segments to send next: those in their final form that are not archived, oldest first.

use super::settings::MAX_SEGMENT;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind, Unleased};
use crate::ledger::{self, Ledger, Shipment, ShipmentState};
use crate::maintenance::{QUIET, created_after, is_active, is_settled};
use crate::segment::name::{Compression, Name, Naming};
use crate::segment::{Backup, DirectorySnapshot, Location, birth_tag};
use crate::store::{ArchiveUrl, hex};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The segments of a log that are not archived, oldest first.
pub(super) struct Backlog {
    location: Arc<Location>,
    pub(super) pending: Vec<Backup>,
    /// All backups, with those that are archived.
    listed: Vec<Backup>,
    /// The creation of the active segment, as of just before the listing.
    active_born: Option<SystemTime>,
}

/// A segment in memory, to be sent.
pub(super) struct Parcel {
    pub(super) name: Name,
    pub(super) file_name: String,
    pub(super) path: PathBuf,
    /// The size of the segment. The body is dropped once it is sent.
    pub(super) bytes: u64,
    pub(super) body: Bytes,
    pub(super) digest: String,
    /// Kept open: the file is ours alone until the intent is noted.
    pub(super) file: File,
}

impl Backlog {
    pub(super) fn of(location: &Arc<Location>, ledger: &Ledger) -> Result<Self> {
        let active_born = fs::stat(location.path())?.and_then(|active| active.born);
        let listed = DirectorySnapshot::read(location, Naming::Timestamp)?.backups;
        let mut pending = Vec::new();
        for backup in &listed {
            let is_archived = ledger.has(&location.file_name(backup.name), backup.entry.len);
            // A rotation that was left half done is undone, and its segment grows on.
            if !is_archived && !is_active(location, backup)? {
                pending.push(backup.clone());
            }
        }
        // The other form of a backup that is being compressed counts once.
        pending.dedup_by_key(|backup| backup.name.key);
        Ok(Self { location: Arc::clone(location), pending, listed, active_born })
    }

    /// The bytes of the segments that are not archived.
    pub(super) fn bytes(&self) -> u64 {
        self.pending.iter().map(|backup| backup.entry.len).fold(0, u64::saturating_add)
    }

    /// Returns the objects of the backups that are in another archive than this one.
    pub(super) fn elsewhere(&self, ledger: &Ledger, url: &ArchiveUrl) -> BTreeSet<String> {
        let object = |backup: &Backup| {
            let file_name = self.location.file_name(backup.name);
            Some(ledger.verified(&file_name, backup.entry.len)?.object.clone())
        };
        let is_here = |object: &String| url.has_object_of(self.location.name(), object);
        self.listed.iter().filter_map(object).filter(|object| !is_here(object)).collect()
    }

    /// Whether a segment is listed, in this form or another, or is younger than the listing.
    pub(super) fn may_have(&self, file_name: &str) -> bool {
        let Some(name) = Name::parse(self.location.name(), file_name) else { return false };
        let newest = self.listed.last().map(|backup| backup.name.key);
        newest.is_none_or(|newest| name.key > newest)
            || self.listed.binary_search_by_key(&name.key, |backup| backup.name.key).is_ok()
    }

    /// Reads a segment if it has its final form and no process can append to it.
    pub(super) fn take(&self, backup: &Backup, ledger: &Ledger) -> Result<Option<Parcel>> {
        let location = &*self.location;
        let file_name = location.file_name(backup.name);
        let is_plain = backup.name.compression == Compression::None;
        let shipment = ledger.shipments.get(&file_name);
        if let Some(Shipment { state: ShipmentState::Intended { claim }, .. }) = shipment {
            if is_held(location, claim) {
                return Ok(None);
            }
        }
        let opened =
            if is_plain { self.open_plain(backup)? } else { open_compressed(location, backup)? };
        let Some(file) = opened else { return Ok(None) };
        if backup.entry.len > MAX_SEGMENT {
            let why = format!("it has more than {MAX_SEGMENT} bytes; use a smaller `max_size`");
            let kind = ErrorKind::ArchiveUnsupported;
            return Err(Error::refused(kind, "archive", &backup.path, why));
        }
        let (body, digest) = read(&file, backup.entry.len, &backup.path)?;
        let (name, path) = (backup.name, backup.path.clone());
        let bytes = body.len() as u64;
        Ok(Some(Parcel { name, file_name, path, bytes, body, digest, file }))
    }

    /// Opens an uncompressed segment that no process can append to any more.
    fn open_plain(&self, backup: &Backup) -> Result<Option<File>> {
        let Unleased::Ours(file) = fs::open_unleased(&backup.path)? else { return Ok(None) };
        let Some(entry) = same_file(&file, backup)? else { return Ok(None) };
        let at = self.listed.partition_point(|listed| listed.name.key < backup.name.key);
        let next_created = created_after(&self.listed[at..], self.active_born);
        let now = Clock::system().now().into();
        let is_final = fs::DENIES_WRITERS
            || (is_settled(&entry, backup.name.key, next_created, now)
                && fs::open_for_writing(&[entry.id], Some(&file))?.is_empty());
        Ok(is_final.then_some(file))
    }
}

/// Whether a worker holds a claim. One that cannot be looked at counts as held, and no file is
/// touched that is not one.
pub(super) fn is_held(location: &Location, claim: &str) -> bool {
    let Some(claim) = ledger::claim_path(location, claim) else { return true };
    match fs::stat(&claim) {
        Ok(None) => false,
        _ => !fs::remove_dead_temp(&claim).unwrap_or(false),
    }
}

/// Opens a compressed segment whose uncompressed file is gone. Until then, maintenance may find
/// that another program has changed that one, and remove this one.
fn open_compressed(location: &Location, backup: &Backup) -> Result<Option<File>> {
    let Some(file) = fs::open_segment(&backup.path)? else { return Ok(None) };
    let Some(entry) = same_file(&file, backup)? else { return Ok(None) };
    let plain = location.backup_path(Name::plain(backup.name.key));
    if fs::stat(&plain)?.is_some() {
        return Ok(None);
    }
    // Our own compression gives a file its name when it is complete.
    let tag = birth_tag::read(&file, entry.len, backup.name.compression, &backup.path)?;
    let age = SystemTime::from(Clock::system().now()).duration_since(entry.modified);
    let is_quiet = age.is_ok_and(|age| age >= QUIET);
    let is_ours = tag.uncompressed_bytes(entry.len, backup.name.compression).is_some();
    Ok((is_ours || is_quiet).then_some(file))
}

/// Returns the state of an open file if it is the one that was listed.
fn same_file(file: &File, backup: &Backup) -> Result<Option<Entry>> {
    let is_it = |entry: &Entry| {
        entry.kind == EntryKind::File
            && (entry.id, entry.len) == (backup.entry.id, backup.entry.len)
    };
    Ok(fs::fstat_if_any(file, &backup.path)?.filter(is_it))
}

/// Reads a file of `len` bytes. Returns its SHA-256 too, in hexadecimal.
fn read(file: &File, len: u64, path: &Path) -> Result<(Bytes, String)> {
    // A piece is still in the processor's cache when its digest is computed.
    const PIECE: usize = 256 * 1024;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let (mut content, mut digest) = (vec![0; len], Sha256::new());
    let mut filled = 0;
    while filled < len {
        let end = len.min(filled + PIECE);
        let read = fs::read_at(file, &mut content[filled..end], filled as u64, path)?;
        if read == 0 {
            break;
        }
        digest.update(&content[filled..filled + read]);
        filled += read;
    }
    content.truncate(filled);
    Ok((content.into(), hex(&digest.finalize())))
}
