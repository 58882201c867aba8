//! Opening a log: the end of [`LogBuilder`].

use super::RotatingFileWriter;
use super::log::Log;
use super::threads::LogThreads;
use crate::config::LogBuilder;
use crate::error::Result;
use std::sync::Arc;

impl LogBuilder {
    /// Opens the log. Creates it and its directory if they do not exist.
    ///
    /// # Network file systems
    /// A log on NFS, SMB or another network file system opens, and logrotor warns about it: with
    /// [`Event::NetworkFileSystem`](crate::Event::NetworkFileSystem), with [`RotatingFileWriter::network_file_system`], in
    /// [`inspect`](crate::inspect), and in the command's messages. All its workers must run on one machine: two
    /// machines that append at the same time overwrite each other's records. The repository's
    /// `PLATFORMS.md` describes the other limits, and the tests.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig): a setting that
    ///   [`Config::validate`](crate::Config::validate) rejects, a header that leaves no room for a record, or a
    ///   directory that is not writable.
    /// - [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile): the path has no file name, or names a directory, a
    ///   device or a pipe.
    /// - [`ErrorKind::LockUnsupported`](crate::ErrorKind::LockUnsupported): the file system has no file locks.
    /// - [`ErrorKind::LockTimeout`](crate::ErrorKind::LockTimeout): the log had to be created, and another
    ///   worker held the rotation lock for longer than `lock_timeout`.
    /// - As [`PolicyStoreBuilder::open`](crate::policy::PolicyStoreBuilder::open), if the settings
    ///   name a policy.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io): any other failure of the file system, or of starting a thread.
    pub fn build(self) -> Result<RotatingFileWriter> {
        let Self { path, config, callbacks } = self.with_policy_settings()?;
        config.validate()?;
        #[cfg(feature = "archive")]
        if let Some(archive) = &config.archive {
            archive.check_log(&path)?;
        }
        let header_len = callbacks.header.as_ref().map_or(0, |header| header().len() as u64);
        config.check_header(header_len)?;
        let log = Log::open(&path, &config, callbacks, header_len)?;
        Ok(RotatingFileWriter { threads: Arc::new(LogThreads::start(log, &config)?) })
    }
}
