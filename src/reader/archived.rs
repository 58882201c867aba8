//! Opening a log in an archive, by its URL, or together with the local log.

use super::backward::Backward;
use super::gathered::Gathered;
use super::merged::{Merged, Order};
use super::range::Range;
use super::shelf::Shelf;
use super::walk::Walk;
use super::watch::Notifier;
use super::{ByteSource, LogReader, ReaderBuilder};
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::segment::Location;
use crate::segment::archived::{ArchiveChoice, ArchivedLog, ArchivedOrigin, FormerOrigin};
use crate::segment::name::Name;
use crate::store::{ArchiveUrl, is_url};
use crate::units::redacted;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The archived part of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct Remote {
    origin: Option<String>,
    /// The archive of a local log.
    archive: Option<String>,
    recent: RecentListing,
}

/// The last listing. Clones of a builder share it for a moment: a program looks at the end of a log
/// before it reads the whole, and the listing of a thousand origins takes a thousand requests.
#[derive(Clone, Default)]
struct RecentListing(Arc<Mutex<Option<(Deadline, ListedChoice)>>>);

/// A listing, and what was listed.
struct ListedChoice {
    origin: Option<String>,
    range: Range,
    archived: Arc<ArchivedLog>,
}

impl RecentListing {
    const LASTS: Duration = Duration::from_secs(10);

    /// Returns the listing of a choice, by `list` if there is no recent one.
    fn get(
        &self,
        origin: Option<&str>,
        range: Range,
        list: impl FnOnce(ArchiveChoice<'_>) -> Result<ArchivedLog>,
    ) -> Result<Arc<ArchivedLog>> {
        let mut recent = self.0.lock();
        let is_it = |listing: &ListedChoice| {
            let bounds = |range: Range| (range.since, range.until);
            listing.origin.as_deref() == origin && bounds(listing.range) == bounds(range)
        };
        match &*recent {
            Some((until, listing)) if until.left().is_some() && is_it(listing) => {
                Ok(Arc::clone(&listing.archived))
            }
            _ => {
                let choice = ArchiveChoice { origin, since: range.since, until: range.until };
                let (archived, origin) = (Arc::new(list(choice)?), origin.map(str::to_owned));
                let listing = ListedChoice { origin, range, archived: Arc::clone(&archived) };
                *recent = Some((Deadline::after(Self::LASTS), listing));
                Ok(archived)
            }
        }
    }
}

impl fmt::Debug for RecentListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecentListing")
    }
}

/// Feature `archive`.
#[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
impl ReaderBuilder {
    /// Reads only the segments of this origin of an archive, such as `web-7.3fa9c1d2`. Default: all
    /// origins, the segment that was finished first first.
    ///
    /// The path of an archived log is its URL, such as `s3://bucket/prefix/app.log`. Clones of a
    /// builder share a listing of it for 10 s. Feature `archive`.
    pub fn origin(mut self, name: impl Into<String>) -> Self {
        self.remote.origin = Some(name.into());
        self
    }

    /// Reads the log at the path together with the segments of it that are archived at `url`, such
    /// as `s3://bucket/prefix`, each once. Default: only the files that are there.
    ///
    /// A segment that is there is not fetched. The archived ones are those of the log's own origin,
    /// which the ledger beside the log notes, and those of its former origins up to the last one
    /// that the log itself archived there. If there is no ledger, set the [`origin`](Self::origin),
    /// unless only one origin has this log. Opening fails if the archive has no segment of the
    /// origin, unless the ledger notes both. Feature `archive`.
    pub fn archive(mut self, url: impl Into<String>) -> Self {
        self.remote.archive = Some(url.into());
        self.remote.recent = RecentListing::default();
        self
    }

    /// Opens the log if it is in an archive, at least in part; `None` if it is local.
    pub(super) fn open_remote(&self) -> Result<Option<LogReader>> {
        let url = self.path.to_str().filter(|path| is_url(path));
        let refuse = |setting, value: &str, why| Err(Error::config(setting, value, why));
        if self.follow && (url.is_some() || self.remote.archive.is_some()) {
            let why = "an archive gets whole segments; follow the log itself";
            return refuse("follow", "true", why);
        }
        match (url, &self.remote.archive) {
            (Some(_), Some(archive)) => {
                let why = "the path is that of an archived log; leave this out";
                refuse("archive", &redacted(archive), why)
            }
            (Some(url), None) => self.open_archive(url).map(Some),
            (None, Some(archive)) => self.open_both(archive).map(Some),
            (None, None) => match &self.remote.origin {
                Some(origin) => {
                    let why = "a local log has none; use the URL of an archived log";
                    refuse("origin", origin, why)
                }
                None => Ok(None),
            },
        }
    }

    /// Opens the log in an archive: one origin, or all of them as one.
    fn open_archive(&self, url: &str) -> Result<LogReader> {
        let Remote { origin, recent, .. } = &self.remote;
        let list = |choice: ArchiveChoice<'_>| ArchivedLog::of_url(url, choice);
        let archived = recent.get(origin.as_deref(), self.range, list)?;
        let mut shelves = Shelf::of_archive(&archived);
        if shelves.len() == 1 {
            let source = shelves.pop().map(|shelf| self.source_of(shelf)).transpose()?;
            return Ok(self.reader(source.unwrap_or_else(|| self.merged(Vec::new()))));
        }
        Ok(self.reader(match self.last {
            None => self.merged(shelves),
            Some(lines) => {
                let backward = Self { reverse: true, ..self.clone() };
                let mut source = backward.merged(shelves);
                Box::new(Gathered::of(&mut *source, lines, self.reverse))
            }
        }))
    }

    /// Opens the local log and its archived segments as one.
    fn open_both(&self, archive: &str) -> Result<LogReader> {
        let location = Location::find(&self.path)?;
        let ledger = match &self.remote.origin {
            Some(_) => None,
            None => Ledger::read(&location)?,
        };
        // The log may have archived nothing yet. Another URL or origin may be mistyped.
        let is_same = |to: &str| ArchiveUrl::parse(to).ok() == ArchiveUrl::parse(archive).ok();
        let is_noted = ledger.as_ref().and_then(|ledger| ledger.to.as_deref()).is_some_and(is_same);
        let log = location.name();
        let formers = match &ledger {
            Some(ledger) => former_origins(ledger, &ArchiveUrl::parse(archive)?, log),
            None => Vec::new(),
        };
        let noted = ledger.and_then(|ledger| Some(ledger.origin?.name));
        let known = self.remote.origin.clone().or(noted);
        let list = |choice: ArchiveChoice<'_>| {
            ArchivedLog::of_one(archive, log, choice, &formers, is_noted)
        };
        let archived = self.remote.recent.get(known.as_deref(), self.range, list)?;
        let none = [ArchivedOrigin::empty(known.unwrap_or_default())];
        let origins = if archived.origins.is_empty() { &none } else { &*archived.origins };
        let shelf = Shelf::of_both(&archived, origins, self.range);
        let walk = Walk::along(location, shelf, self.memory_limit)?;
        self.along(walk).map(|source| self.reader(source))
    }

    fn reader(&self, source: Box<dyn ByteSource>) -> LogReader {
        LogReader { source, notifier: Arc::new(Notifier::default()), path: self.path.clone() }
    }

    fn merged(&self, shelves: Vec<Shelf>) -> Box<dyn ByteSource> {
        let order = if self.reverse { Order::Newest } else { Order::Oldest };
        let (builder, name) = (self.clone(), self.path.as_path().into());
        let open = move |shelf| builder.source_of(shelf);
        Box::new(Merged::new(shelves, order, name, Box::new(open)))
    }

    /// Opens one origin, or one segment of it.
    fn source_of(&self, shelf: Shelf) -> Result<Box<dyn ByteSource>> {
        let location = shelf.location().ok_or_else(|| Location::no_log(&self.path))?;
        self.along(Walk::along(location, shelf, self.memory_limit)?)
    }

    fn along(&self, walk: Walk) -> Result<Box<dyn ByteSource>> {
        if self.reverse {
            let lines = self.last.unwrap_or(u64::MAX);
            return Ok(Box::new(Backward::new(walk, self.range, lines, &self.path)?));
        }
        self.forward(walk, &Arc::new(Notifier::default()))
    }
}

/// Returns the former origins of a log in an archive, as its ledger notes them.
fn former_origins(ledger: &Ledger, archive: &ArchiveUrl, log: &str) -> Vec<FormerOrigin> {
    let present = ledger.origin.as_ref().map(|origin| &*origin.name);
    let former = |(url, newest): (&String, &Option<String>)| {
        let of_log = archive.key(log, "", "");
        let name = archive.key_of(url)?.strip_prefix(&of_log)?.strip_prefix('/')?;
        let newest = Name::parse(log, newest.as_ref()?)?.key;
        let is_former = present != Some(name) && !name.contains('/');
        is_former.then(|| FormerOrigin { name: name.to_owned(), newest })
    };
    ledger.confirmed.iter().filter_map(former).collect()
}
