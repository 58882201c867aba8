//! The settings of a log, for maintenance by hand.

use super::Config;
use crate::error::Result;
use crate::maintenance::Maintenance;
use crate::stats::Event;
use std::path::Path;

impl Maintenance {
    /// For the log at `path`, of which nothing is made, with these settings: limits, compression, and the
    /// naming of the backups it looks after. `observer` is told of what is done, as
    /// [`LogBuilder::observer`](crate::LogBuilder::observer)'s is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) as [`Config::validate`];
    /// [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) if the path cannot be a log's;
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if its directory is not there.
    pub fn new(
        path: impl AsRef<Path>,
        config: &Config,
        observer: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self> {
        config.validate()?;
        Self::with_settings(path.as_ref(), config.maintenance_config()?, observer)
    }
}
