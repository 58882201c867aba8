//! Logs in an archive: `--origin`, and which paths are URLs.

use crate::exit::CommandError;
use clap::Args;
use logrotor::inspect::{Inspection, InspectionBuilder};
use logrotor::reader::ReaderBuilder;
use std::path::Path;

/// The part of an archived log.
#[derive(Args)]
pub(crate) struct OriginOptions {
    /// Origin of an archived log, as `ls` shows it, e.g. web-7.3fa9c1d2 [default: all]
    ///
    /// An archived log is named by its URL, e.g. s3://bucket/prefix/app.log.
    #[cfg(feature = "archive")]
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
}

#[cfg_attr(not(feature = "archive"), allow(clippy::unused_self, reason = "no log has an origin"))]
impl OriginOptions {
    pub(crate) fn apply(&self, builder: ReaderBuilder) -> ReaderBuilder {
        #[cfg(feature = "archive")]
        let builder = self.origin.iter().fold(builder, ReaderBuilder::origin);
        builder
    }

    /// Begins an inspection.
    pub(crate) fn inspect(&self, log: &Path) -> InspectionBuilder {
        let builder = Inspection::builder(log);
        #[cfg(feature = "archive")]
        let builder = self.origin.iter().fold(builder, InspectionBuilder::origin);
        builder
    }
}

/// The archive of a local log.
#[cfg(feature = "archive")]
#[derive(Args)]
pub(crate) struct ArchiveOption {
    /// Print the archived records too, each once [URL default: the archive of the log]
    ///
    /// The archive is that of the ledger beside the log. To read from another one, give its URL
    /// after an equals sign, e.g. --archive=s3://bucket/prefix. Segments that are here are not
    /// fetched.
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true)]
    archive: Option<Option<String>>,
}

#[cfg(feature = "archive")]
impl ArchiveOption {
    pub(crate) fn is_given(&self) -> bool {
        self.archive.is_some()
    }

    pub(crate) fn apply(
        &self,
        builder: ReaderBuilder,
        log: &Path,
    ) -> Result<ReaderBuilder, CommandError> {
        let Some(given) = &self.archive else { return Ok(builder) };
        let url = match given {
            Some(url) => Some(url.clone()),
            None => Inspection::of(log)?.archive.and_then(|archive| archive.url),
        };
        let missing = || {
            let why = "no ledger notes its archive; use --archive=URL";
            CommandError::usage(format!("`{}`: {why}", log.display()))
        };
        Ok(builder.archive(url.ok_or_else(missing)?))
    }
}

/// The help for the log of a verb that reads.
pub(crate) const LOG: &str = match cfg!(feature = "archive") {
    true => "Path of the log, or the URL of an archived one, e.g. s3://bucket/prefix/app.log",
    false => "Path of the log",
};

/// Whether a log is named by the URL of an archive.
pub(crate) fn is_remote(log: &Path) -> bool {
    cfg!(feature = "archive") && is_url(log)
}

/// Whether a path is a URL. A drive of Windows has one letter.
pub(crate) fn is_url(log: &Path) -> bool {
    let scheme = log.to_str().and_then(|log| log.split_once("://")).map(|(scheme, _)| scheme);
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    scheme.is_some_and(|scheme| scheme.len() > 1 && scheme.chars().all(is_part))
}

/// Rejects a URL as the log of a verb that writes: its path would be that of a file.
pub(crate) fn check_is_local(log: &Path) -> Result<(), CommandError> {
    if !is_url(log) {
        return Ok(());
    }
    let why = "an archive is not written to; use the path of the log, and --archive URL of `write` \
               or --to URL of `archive` to archive it";
    Err(CommandError::usage(format!("`{}`: {why}", log.display())))
}
