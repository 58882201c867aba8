//! The settings of an archive.

use crate::error::{Error, Result};
use crate::fs;
use crate::keywords::keywords;
use crate::store::{ArchiveUrl, Scheme, is_log_name};
use std::path::Path;

/// The archive of a log: a store to which each finished segment is copied before its file is
/// removed. Feature `archive`.
///
/// For each finished segment there is in the end exactly one object, whole and never changed. Until
/// the object is verified, the limits on backups do not remove the file. Uploads run on a thread of
/// the log; no log call, rotation or other maintenance waits for the network.
///
/// # Objects
/// `app.log.2026-11-20T23-57-01.123456Z.gz` becomes `<url>/app.log/<origin>/<the same name>`. The
/// origin is the host's name and a random part. It stays the same across restarts, in the ledger
/// `app.log.archive` beside the log. A copy of the directory gets another one. With a compression,
/// only compressed backups are copied.
///
/// # Credentials
/// From the environment, as each cloud's own tools take them, and rotated while the log is open:
/// keys in variables, roles of instances, containers and pods. Profiles of configuration files are
/// not read. `AWS_ENDPOINT` and `AWS_ALLOW_HTTP=true` name another server that speaks S3.
///
/// # Examples
/// ```
/// use logrotor::{Archive, Compression, RotatingFileWriter};
/// # fn main() -> logrotor::Result<()> {
/// # let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
/// # let url = format!("file://{}", store.path().display());
/// # #[cfg(unix)] {
/// let log = RotatingFileWriter::builder(dir.path().join("app.log"))
///     .compression(Compression::Gzip)
///     .archive(Archive::to(url)) // such as "s3://bucket/prefix"
///     .build()?;
/// # }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Archive {
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, or
    /// `file:///directory`, which must exist.
    pub url: String,
    /// The host's name in the names of objects. Default: the system's.
    ///
    /// Set it for containers that keep a volume and change their name.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub host: Option<String>,
    /// The most bytes per second that are sent, on average. Default: unlimited.
    ///
    /// A segment is sent at full speed, and the next one waits. So smaller segments make a steadier
    /// load.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::optional_size"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_rate: Option<u64>,
    /// The effect of `min_free_space` on backups that are not archived. Default:
    /// [`WhenFull::Keep`].
    pub when_full: WhenFull,
    /// How an object is verified. Default: [`Verification::Auto`].
    pub verify: Verification,
}

/// The effect of `min_free_space` on backups that are not archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum WhenFull {
    /// They stay, and the disk may fill up. The default.
    #[default]
    Keep,
    /// The oldest are removed, and counted in [`ArchiveStats::dropped`](crate::ArchiveStats).
    Drop,
}

keywords!(WhenFull, "when_full": Keep => "keep", Drop => "drop");

/// How an object is verified before the local file may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Verification {
    /// By the checksum that Amazon S3 checks; on every other store by reading the object back. The
    /// default.
    #[default]
    Auto,
    /// By the checksum. For a server that speaks S3 and is known to check `x-amz-checksum-sha256`.
    Checksum,
    /// By reading the object back.
    Read,
}

keywords!(Verification, "verify": Auto => "auto", Checksum => "checksum", Read => "read");

/// The largest segment that is sent. One request carries it, and it is in memory meanwhile.
pub(crate) const MAX_SEGMENT: u64 = 1024 * 1024 * 1024;

impl Archive {
    /// Returns the settings for an archive at this URL, with defaults for the rest.
    #[must_use]
    pub fn to(url: impl Into<String>) -> Self {
        let (when_full, verify) = (WhenFull::default(), Verification::default());
        Self { url: url.into(), host: None, max_rate: None, when_full, verify }
    }

    /// Sets the host's name in the names of objects. Default: the system's.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets the most bytes per second that are sent, on average. Default: unlimited.
    #[must_use]
    pub fn max_rate(mut self, max_rate: u64) -> Self {
        self.max_rate = Some(max_rate);
        self
    }

    /// Sets the effect of `min_free_space` on backups that are not archived. Default:
    /// [`WhenFull::Keep`].
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Sets how an object is verified. Default: [`Verification::Auto`].
    #[must_use]
    pub fn verify(mut self, verify: Verification) -> Self {
        self.verify = verify;
        self
    }

    /// Checks that the log at `path` can have objects. Creates nothing.
    pub(crate) fn check_log(&self, path: &Path) -> Result<()> {
        let (target, _) = fs::resolve_links("archive", path)?;
        match target.file_name().and_then(|name| name.to_str()) {
            Some(name) if !is_log_name(name) => {
                let why = format!(
                    "the log's name, {name:?}, has a character that the names of \
                                   objects must not have"
                );
                Err(Error::config("archive", &self.url, why))
            }
            _ => Ok(()),
        }
    }

    /// Checks every setting.
    pub(crate) fn validate(&self) -> Result<()> {
        let scheme = ArchiveUrl::parse(&self.url)?.scheme;
        if self.max_rate == Some(0) {
            let why = "nothing would be sent; use 1 or more, or leave it out";
            return Err(Error::config("archive.max_rate", 0, why));
        }
        if let Some(host) = self.host.as_ref().filter(|host| !is_host(host)) {
            let why = "use letters, digits, `-` and `_`, at least one";
            return Err(Error::config("archive.host", host, why));
        }
        if self.verify == Verification::Checksum && scheme != Scheme::S3 {
            let why = "only servers that speak S3 check one; use auto or read";
            return Err(Error::config("archive.verify", self.verify, why));
        }
        Ok(())
    }
}

/// Whether a text can be the host part of an origin.
pub(super) fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

#[cfg(feature = "serde")]
mod text {
    use super::{Archive, Verification, WhenFull};
    use serde::de::value::MapAccessDeserializer;
    use serde::de::{MapAccess, Visitor};
    use serde::{Deserialize, Deserializer};
    use std::fmt;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ArchiveTable {
        url: String,
        #[serde(default)]
        host: Option<String>,
        #[serde(default, with = "crate::config::text::optional_size")]
        max_rate: Option<u64>,
        #[serde(default)]
        when_full: WhenFull,
        #[serde(default)]
        verify: Verification,
    }

    struct UrlOrTable;

    impl<'de> Visitor<'de> for UrlOrTable {
        type Value = Archive;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a URL, or a table with `url`")
        }

        fn visit_str<E>(self, url: &str) -> Result<Archive, E> {
            Ok(Archive::to(url))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Archive, A::Error> {
            let ArchiveTable { url, host, max_rate, when_full, verify } =
                ArchiveTable::deserialize(MapAccessDeserializer::new(map))?;
            Ok(Archive { url, host, max_rate, when_full, verify })
        }
    }

    impl<'de> Deserialize<'de> for Archive {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(UrlOrTable)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_rejected_with_the_valid_ones() {
        let good = || Archive::to("gs://b");
        assert!(good().host("web-7").max_rate(1).validate().is_ok());
        for (bad, setting) in [
            (good().max_rate(0), "archive.max_rate"),
            (good().host("web.7"), "archive.host"),
            (good().host(""), "archive.host"),
            (good().verify(Verification::Checksum), "archive.verify"),
            (Archive::to("b"), "archive"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid `{setting}` = ")), "{error}");
        }
    }
}
