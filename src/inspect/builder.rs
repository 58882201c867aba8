//! Choosing the segments of an inspection.

use super::{Inspection, Segment, collect};
use crate::error::Result;
use crate::segment::Location;
use std::path::PathBuf;
use std::time::SystemTime;

/// Chooses which segments of a log to list. [`Inspection::builder`] returns one.
///
/// # Examples
/// The segments that may have records of the last hour:
/// ```
/// use logrotor::inspect::Inspection;
/// use std::time::{Duration, SystemTime};
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("app.log");
/// # std::fs::write(&path, "one\n").unwrap();
/// let hour_ago = SystemTime::now() - Duration::from_secs(3600);
/// let seen = Inspection::builder(&path).since(hour_ago).build()?;
/// assert_eq!(seen.segments.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is read before `build`"]
pub struct InspectionBuilder {
    pub(super) path: PathBuf,
    #[cfg(feature = "archive")]
    pub(super) origin: Option<String>,
    pub(super) since: Option<SystemTime>,
    pub(super) until: Option<SystemTime>,
}

impl InspectionBuilder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            #[cfg(feature = "archive")]
            origin: None,
            since: None,
            until: None,
        }
    }

    /// Leaves out the segments that were finished before this time. Default: none.
    ///
    /// The names of an archive's older objects are not even requested.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Leaves out the segments that were started after this time: after the rotation of the segment
    /// before. Default: none.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// Inspects the log.
    ///
    /// # Errors
    /// As [`Inspection::of`].
    pub fn build(self) -> Result<Inspection> {
        #[cfg(feature = "archive")]
        if let Some(inspection) = self.remote()? {
            return Ok(inspection);
        }
        let mut inspection = collect::inspection(&Location::find(&self.path)?)?;
        if inspection.segments.is_empty() {
            return Err(Location::no_log(&self.path));
        }
        let mut started = None;
        inspection.segments.retain(|segment| {
            let wanted = self.wants(segment, started);
            started = segment.rotated_at;
            wanted
        });
        Ok(inspection)
    }

    /// Whether a segment may have records of the chosen time. `started` is the rotation of the one
    /// before.
    fn wants(&self, segment: &Segment, started: Option<SystemTime>) -> bool {
        let finished = segment.rotated_at.map_or(segment.modified, |at| at.max(segment.modified));
        let is_before = self.since.is_some_and(|since| finished < since);
        let is_after = self.until.zip(started).is_some_and(|(until, at)| at > until);
        !is_before && !is_after
    }
}
