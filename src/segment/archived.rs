//! The segments of a log in an archive, as listings of it show them.

use super::name::{Key, Name, TimeKey};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::segment::name::Naming;
use crate::store::{Listed, Names, ORIGIN_FILE, Reading};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The part of an archive to list.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ArchiveChoice<'a> {
    /// Default: all.
    pub(crate) origin: Option<&'a str>,
    /// Leaves out segments that were finished before.
    pub(crate) since: Option<SystemTime>,
    /// Leaves out segments that were started after.
    pub(crate) until: Option<SystemTime>,
}

impl ArchiveChoice<'_> {
    /// The time after its rotation for which a segment may still get records, of workers that have
    /// not noticed.
    const LATE: Duration = Duration::from_secs(2);

    fn is_unbounded(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    /// Returns the time of rotation of the first segments that may have records of the choice.
    fn first(&self) -> Option<SystemTime> {
        self.since.map(|since| since.checked_sub(Self::LATE).unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

/// An archived log.
pub(crate) struct ArchivedLog {
    pub(crate) reading: Arc<Reading>,
    /// Its name.
    pub(crate) log: String,
    /// Those that have objects of the choice, by name; a chosen one in any case.
    pub(crate) origins: Vec<ArchivedOrigin>,
}

/// The segments that one log has archived.
pub(crate) struct ArchivedOrigin {
    pub(crate) name: String,
    /// Oldest first. Each is there once.
    pub(crate) segments: Vec<ArchivedSegment>,
    /// Objects that are no segments.
    pub(crate) strays: Vec<String>,
}

/// An origin under which a log was archived before, and the newest segment that is its own. Another
/// machine may have archived later ones there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormerOrigin {
    pub(crate) name: String,
    pub(crate) newest: Key,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ArchivedSegment {
    pub(crate) name: Name,
    pub(crate) bytes: u64,
    pub(crate) archived_at: SystemTime,
}

impl ArchivedOrigin {
    /// An origin of which nothing is archived yet.
    pub(crate) fn empty(name: String) -> Self {
        Self { name, segments: Vec::new(), strays: Vec::new() }
    }
}

impl ArchivedLog {
    /// Lists a log by its own URL, such as `s3://bucket/prefix/app.log`.
    pub(crate) fn of_url(url: &str, choice: ArchiveChoice<'_>) -> Result<Self> {
        let (reading, log) = Reading::of_log(url)?;
        let archived = Self::list(reading, log, choice)?;
        archived.check(url, choice)?;
        Ok(archived)
    }

    /// Lists one origin of a log in an archive, the chosen one or, by default, the only one; and
    /// after it the log's part of its former origins.
    ///
    /// # Errors
    /// If there are several and none is chosen; and if the archive has no segment of it, unless
    /// `may_be_empty`.
    pub(crate) fn of_one(
        archive: &str,
        log: &str,
        choice: ArchiveChoice<'_>,
        formers: &[FormerOrigin],
        may_be_empty: bool,
    ) -> Result<Self> {
        let reading = Reading::of(archive, log)?;
        let url = reading.key(log, "", "").1;
        // All times count: within a span, another log's origin may be the only one.
        let only = match choice.origin {
            Some(_) => None,
            None => only(reading.origins(log)?, &url)?,
        };
        let mut archived = match choice.origin.or(only.as_deref()) {
            None => Self { reading: Arc::new(reading), log: log.to_owned(), origins: Vec::new() },
            origin => Self::list(reading, log.to_owned(), ArchiveChoice { origin, ..choice })?,
        };
        archived.add(formers, choice)?;
        if !may_be_empty {
            archived.check(&url, choice)?;
        }
        Ok(archived)
    }

    /// Lists the log's part of its former origins.
    fn add(&mut self, formers: &[FormerOrigin], choice: ArchiveChoice<'_>) -> Result<()> {
        let named: Vec<_> = formers.iter().map(|former| former.name.clone()).collect();
        let listings = self.reading.segments(&self.log, &named, &names(&self.log, choice))?;
        for (former, listed) in formers.iter().zip(listings) {
            let mut origin = origin(&self.log, former.name.clone(), listed, choice);
            origin.segments.retain(|segment| segment.name.key <= former.newest);
            self.origins.push(origin);
        }
        Ok(())
    }

    /// Rejects a log, or an origin of it, of which the archive has nothing at all. Nothing within a
    /// span of time is no error.
    fn check(&self, url: &str, choice: ArchiveChoice<'_>) -> Result<()> {
        let has_segments = self.origins.iter().any(|origin| !origin.segments.is_empty());
        let is_there = if has_segments || choice.is_unbounded() {
            has_segments
        } else {
            let origins = self.reading.origins(&self.log)?;
            let is_it = |origin: &str| choice.origin.is_none_or(|chosen| chosen == origin);
            origins.iter().any(|origin| is_it(origin))
        };
        if is_there {
            return Ok(());
        }
        let why = match choice.origin {
            Some(origin) => format!("no segment of it is archived there by `{origin}`"),
            None => "no segment of it is archived there".to_owned(),
        };
        Err(Error::io("read", url, io::Error::new(io::ErrorKind::NotFound, why)))
    }

    fn list(reading: Reading, log: String, choice: ArchiveChoice<'_>) -> Result<Self> {
        let origins = match choice.origin {
            Some(origin) if origin.is_empty() || origin.contains('/') => {
                let why = "use a name such as `web-7.3fa9c1d2`";
                return Err(Error::config("origin", origin, why));
            }
            Some(origin) => vec![origin.to_owned()],
            None => reading.origins(&log)?,
        };
        let listings = reading.segments(&log, &origins, &names(&log, choice))?;
        let origins = origins.into_iter().zip(listings);
        let origins = origins.map(|(name, listed)| {
            // A name that cannot be that of an origin was respelled, and has no objects as such.
            let is_odd = choice.origin.is_none() && choice.is_unbounded() && name.contains('%');
            let is_stray = is_odd && listed.is_empty();
            let mut origin = origin(&log, name, listed, choice);
            origin.strays.extend(is_stray.then(String::new));
            origin
        });
        let has_objects =
            |origin: &ArchivedOrigin| !origin.segments.is_empty() || !origin.strays.is_empty();
        let origins = origins.filter(|origin| choice.origin.is_some() || has_objects(origin));
        Ok(Self { origins: origins.collect(), reading: Arc::new(reading), log })
    }

    /// Returns the URL of an object.
    pub(crate) fn object(&self, origin: &str, name: &str) -> String {
        self.reading.key(&self.log, origin, name).1
    }
}

/// Lists an origin's segments that were finished at a time or later, as far as a range goes.
pub(crate) fn list_since(
    reading: &Reading,
    log: &str,
    of: &str,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
) -> Result<Vec<Name>> {
    let choice = ArchiveChoice { origin: Some(of), since, until };
    let mut listings = reading.segments(log, &[of.to_owned()], &names(log, choice))?;
    let found = origin(log, of.to_owned(), listings.pop().unwrap_or_default(), choice);
    Ok(found.segments.iter().map(|segment| segment.name).collect())
}

/// Returns the only origin; `None` if there is none.
fn only(mut origins: Vec<String>, url: &str) -> Result<Option<String>> {
    const SHOWN: usize = 5;
    if origins.len() < 2 {
        return Ok(origins.pop());
    }
    let shown: Vec<_> = origins.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = match origins.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let why = format!("it has several, {}{more}; choose one (--origin)", shown.join(", "));
    Err(Error::refused(ErrorKind::InvalidConfig, "choose the origin of", url, why))
}

/// The names that a listing must return.
fn names(log: &str, choice: ArchiveChoice<'_>) -> Names {
    let plain = |time: SystemTime| {
        let key = TimeKey::new(log, Naming::Timestamp, time.into());
        Name::plain(Key::Time(key)).format_object(log)
    };
    // A listing begins after a name.
    let before = choice.first().and_then(|time| time.checked_sub(Duration::from_micros(1)));
    // Every name of the same time is less.
    Names { after: before.map(plain), until: choice.until.map(|time| plain(time) + "~") }
}

/// Sorts the objects of an origin into segments and others.
fn origin(
    log: &str,
    name: String,
    listed: Vec<Listed>,
    choice: ArchiveChoice<'_>,
) -> ArchivedOrigin {
    let (mut segments, mut strays) = (Vec::new(), Vec::new());
    for Listed { name, bytes, modified } in listed {
        match Name::parse_object(log, &name) {
            Some(name) => segments.push(ArchivedSegment { name, bytes, archived_at: modified }),
            None if name == ORIGIN_FILE => {}
            None => strays.push(name),
        }
    }
    segments.sort_unstable_by_key(|segment| (segment.name.key, segment.name.compression));
    // An uncompressed object beside a compressed one is the older form of the same segment.
    segments.reverse();
    segments.dedup_by_key(|segment| segment.name.key);
    segments.reverse();
    strays.sort_unstable();
    ArchivedOrigin { name, segments: within(segments, choice), strays }
}

/// Leaves out the segments that got their last record before the choice or were started after it,
/// by their names and those of the segments before.
fn within(segments: Vec<ArchivedSegment>, choice: ArchiveChoice<'_>) -> Vec<ArchivedSegment> {
    let mut started: Option<Timestamp> = None;
    let (since, until) = (choice.first().map(Timestamp::from), choice.until.map(Timestamp::from));
    let mut kept = segments;
    kept.retain(|segment| {
        let finished = segment.name.key.time();
        let is_before = since.zip(finished).is_some_and(|(since, at)| at < since);
        let is_after = until.zip(started).is_some_and(|(until, at)| at > until);
        started = finished;
        !is_before && !is_after
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn listed(log: &str, naming: Naming, seconds: u64, suffix: &str) -> Listed {
        let key = Key::Time(TimeKey::new(log, naming, at(seconds).into()));
        let name = format!("{}{suffix}", Name::plain(key).format_object(log));
        Listed { name, bytes: seconds, modified: at(9) }
    }

    #[test]
    fn compressed_object_takes_the_place_of_the_plain_one() {
        let log = "app.log";
        let mut objects: Vec<_> = [(2, ".gz"), (1, ""), (2, ""), (1, ".zst")]
            .map(|(seconds, suffix)| listed(log, Naming::Timestamp, seconds, suffix))
            .into();
        let none = |name: &str| Listed { name: name.to_owned(), bytes: 1, modified: at(1) };
        objects.extend([none(".origin"), none("app.log.1"), none("notes.txt")]);
        let found = origin(log, "h.1".to_owned(), objects, ArchiveChoice::default());
        let names: Vec<_> = found.segments.iter().map(|it| it.name.format_object(log)).collect();
        let first = listed(log, Naming::Timestamp, 1, ".zst").name;
        assert_eq!(names, [first, listed(log, Naming::Timestamp, 2, ".gz").name]);
        assert_eq!(found.strays, ["app.log.1", "notes.txt"]);
    }

    #[test]
    fn segments_are_chosen_by_their_names_and_the_one_before() {
        let log = "app.log";
        let objects = [1, 4, 6, 7, 9].map(|at| listed(log, Naming::Timestamp, at, "")).into();
        let choice = ArchiveChoice { since: Some(at(6)), until: Some(at(6)), origin: None };
        let found = origin(log, "h.1".to_owned(), objects, choice);
        let sizes: Vec<_> = found.segments.iter().map(|segment| segment.bytes).collect();
        assert_eq!(sizes, [4, 6, 7], "that of 4 may have late records; that of 9 was started at 7");
    }

    #[test]
    fn listing_begins_right_before_the_first_name_of_the_choice() {
        for log in ["app.log", "app", "app.0x", "a.b"] {
            let choice = ArchiveChoice { since: Some(at(50)), until: Some(at(60)), origin: None };
            let names = names(log, choice);
            let (after, until) = (names.after.unwrap(), names.until.unwrap());
            for (naming, suffix) in [(Naming::Timestamp, ""), (Naming::TimestampInfix, ".gz")] {
                let name = |seconds| listed(log, naming, seconds, suffix).name;
                assert!(name(47) < after && after < name(48), "{log} {after}");
                assert!(name(60) < until && until < name(61), "{log} {until}");
            }
        }
    }
}
