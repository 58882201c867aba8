//! The constructor of [`Maintenance`], which takes the settings of a log.

use super::Config;
use crate::error::Result;
use crate::maintenance::Maintenance;
use crate::stats::Event;
use std::path::Path;

impl Maintenance {
    /// Prepares maintenance of the log at `path`, which need not exist; no file is created.
    ///
    /// Of `config`, the limits, the compression, `keep_uncompressed` and the naming count.
    /// `observer` is called for every event of the pass, as described at
    /// [`LogBuilder::observer`](crate::LogBuilder::observer).
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) as [`Config::validate`].
    /// - [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) if the path cannot be that of a log.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io) if its directory does not exist.
    pub fn new(
        path: impl AsRef<Path>,
        config: &Config,
        observer: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self> {
        config.validate()?;
        Self::with_settings(path.as_ref(), config.maintenance_config()?, observer)
    }
}
