//! Opening a log in an archive, by its URL.

use super::backward::Backward;
use super::merged::Merged;
use super::shelf::Shelf;
use super::walk::Walk;
use super::watch::Notifier;
use super::{ByteSource, LogReader, ReaderBuilder};
use crate::error::{Error, Result};
use crate::segment::Location;
use std::sync::Arc;

/// Feature `archive`.
#[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
impl ReaderBuilder {
    /// Reads only the segments of this origin of an archive, such as `web-7.3fa9c1d2`. Default: all
    /// origins, the segment that was finished first first.
    ///
    /// The path of an archived log is its URL, such as `s3://bucket/prefix/app.log`. Feature
    /// `archive`.
    pub fn origin(mut self, name: impl Into<String>) -> Self {
        self.origin = Some(name.into());
        self
    }

    /// Opens the log in an archive: one origin, or all of them as one.
    pub(super) fn open_archive(&self, url: &str) -> Result<LogReader> {
        let refuse = |setting, value: &str, why| Err(Error::config(setting, value, why));
        if self.follow {
            return refuse(
                "follow",
                "true",
                "an archive gets whole segments; follow the log itself",
            );
        }
        let shelves = Shelf::of_archive(url, self.origin.as_deref(), self.range)?;
        let notifier = Arc::new(Notifier::default());
        let path = self.path.clone();
        let source: Box<dyn ByteSource> = match shelves.as_slice() {
            [] if self.range.since.is_none() && self.range.until.is_none() => {
                return Err(Location::no_log(&self.path));
            }
            [one] => self.source_of(one.clone())?,
            _ if self.reverse || self.last.is_some() => {
                return refuse("origin", "none", "several origins have no common end; choose one");
            }
            _ => {
                let log = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                let builder = self.clone();
                let open = move |shelf| builder.source_of(shelf);
                let name = path.as_path().into();
                Box::new(Merged::new(shelves, log.to_owned(), name, Box::new(open)))
            }
        };
        Ok(LogReader { source, notifier, path })
    }

    /// Opens one origin.
    fn source_of(&self, shelf: Shelf) -> Result<Box<dyn ByteSource>> {
        let location = shelf.location()?.ok_or_else(|| Location::no_log(&self.path))?;
        let walk = Walk::along(location, shelf, self.memory_limit)?;
        if self.reverse {
            let lines = self.last.unwrap_or(u64::MAX);
            return Ok(Box::new(Backward::new(walk, self.range, lines, &self.path)?));
        }
        self.forward(walk, &Arc::new(Notifier::default()))
    }
}
