//! The state of an archived log, by listings.

use super::{Inspection, InspectionBuilder, Segment, Usage};
use crate::error::{Error, Result};
use crate::segment::archived::{ArchiveChoice, ArchivedLog, ArchivedSegment};
use crate::segment::name::Compression;
use crate::store::is_url;
use std::path::PathBuf;
use std::time::SystemTime;

/// Feature `archive`.
#[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
impl InspectionBuilder {
    /// Lists only the segments of this origin of an archive, such as `web-7.3fa9c1d2`. Default: all
    /// origins. Feature `archive`.
    pub fn origin(mut self, name: impl Into<String>) -> Self {
        self.origin = Some(name.into());
        self
    }

    /// Lists the log if it is in an archive; `None` if it is local.
    pub(super) fn remote(&self) -> Result<Option<Inspection>> {
        let origin = self.origin.as_deref();
        let Some(url) = self.path.to_str().filter(|path| is_url(path)) else {
            let why = "a local log has none; use the URL of an archived log";
            return origin.map_or(Ok(None), |origin| Err(Error::config("origin", origin, why)));
        };
        let choice = ArchiveChoice { origin, since: self.since, until: self.until };
        let archived = ArchivedLog::of_url(url, choice)?;
        let (mut segments, mut strays) = (Vec::new(), Vec::new());
        for origin in &archived.origins {
            let object = |name: &str| PathBuf::from(archived.object(&origin.name, name));
            strays.extend(origin.strays.iter().map(|name| object(name)));
            segments.extend(origin.segments.iter().map(|it| {
                segment(it, object(&it.name.format_object(&archived.log)), &origin.name)
            }));
        }
        segments.sort_by(|a, b| (a.rotated_at, &a.path).cmp(&(b.rotated_at, &b.path)));
        Ok(Some(Inspection {
            path: self.path.clone(),
            segments,
            rotating: None,
            temporaries: Vec::new(),
            leftovers: Vec::new(),
            strays,
            free_bytes: None,
            network_file_system: None,
            archive: None,
        }))
    }
}

fn segment(archived: &ArchivedSegment, path: PathBuf, origin: &str) -> Segment {
    let ArchivedSegment { name, bytes, archived_at } = *archived;
    Segment {
        path,
        origin: Some(origin.to_owned()),
        bytes,
        uncompressed_bytes: (name.compression == Compression::None).then_some(bytes),
        compression: name.compression,
        naming: Some(name.key.naming()),
        created: None,
        modified: archived_at,
        rotated_at: name.key.time().map(SystemTime::from),
        usage: Usage::Free,
    }
}
