//! The URL of an archive, and the keys of its objects.

use crate::error::{Error, Result};

/// The kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    S3,
    Google,
    Azure,
    Directory,
}

/// A bucket, container or directory, and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchiveUrl {
    pub(crate) scheme: Scheme,
    /// The bucket or container; for a directory its path.
    pub(crate) root: String,
    /// Without a slash at either end; may be empty.
    pub(crate) prefix: String,
}

const SCHEMES: [(&str, Scheme); 4] = [
    ("s3://", Scheme::S3),
    ("gs://", Scheme::Google),
    ("az://", Scheme::Azure),
    ("file://", Scheme::Directory),
];

const USE: &str = "use `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or \
                   `file:///directory`";

/// Whether a path is the URL of a store.
pub(crate) fn is_url(text: &str) -> bool {
    SCHEMES.iter().any(|(start, _)| text.starts_with(start))
}

impl ArchiveUrl {
    /// Parses the URL of an archived log: that of the archive, a slash, and the log's name.
    pub(crate) fn of_log(text: &str) -> Result<(Self, String)> {
        let text = text.trim_end_matches('/');
        let rest = SCHEMES.iter().find_map(|(start, _)| text.strip_prefix(start));
        if rest.is_some_and(|rest| !rest.contains('/')) {
            return Err(Error::config("archive", text, "add a slash and the name of the log"));
        }
        let (archive, log) = text.rsplit_once('/').unwrap_or((text, ""));
        let url = Self::parse(archive)?;
        Ok((url, log.to_owned()))
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::config("archive", text, why);
        let found =
            SCHEMES.iter().find_map(|(start, scheme)| Some((*scheme, text.strip_prefix(start)?)));
        let (scheme, rest) = found.ok_or_else(|| refuse(USE))?;
        if text.contains(|c: char| c.is_control() || "?#".contains(c)) {
            return Err(refuse("it has a character that object names must not have"));
        }
        if scheme == Scheme::Directory {
            let root = rest.trim_end_matches('/');
            return match std::path::Path::new(root).is_absolute() {
                true => Ok(Self { scheme, root: root.to_owned(), prefix: String::new() }),
                false => Err(refuse("a directory needs three slashes and its whole path")),
            };
        }
        let (root, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        if root.is_empty() || root.contains('@') || prefix.contains("//") {
            return Err(refuse(USE));
        }
        Ok(Self { scheme, root: root.to_owned(), prefix: prefix.to_owned() })
    }

    /// The key of a log's object: under the prefix, the log, and the origin.
    pub(crate) fn key(&self, log: &str, origin: &str, file_name: &str) -> String {
        let parts = [self.prefix.as_str(), log, origin, file_name];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// The URL of an object.
    pub(crate) fn object(&self, key: &str) -> String {
        let start = SCHEMES.iter().find(|(_, scheme)| *scheme == self.scheme);
        format!("{}{}/{key}", start.map_or("", |(start, _)| start), self.root)
    }

    /// The key of an object of this store, by its URL.
    pub(crate) fn key_of<'a>(&self, object: &'a str) -> Option<&'a str> {
        object.strip_prefix(&self.object(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: &str) -> String {
        let url = ArchiveUrl::parse(url).unwrap();
        let key = url.key("app.log", "web-7.k3v9q2mx", "app.log.1");
        let object = url.object(&key);
        assert_eq!(url.key_of(&object), Some(key.as_str()));
        object
    }

    #[test]
    fn object_is_named_by_prefix_log_origin_and_segment() {
        let end = "app.log/web-7.k3v9q2mx/app.log.1";
        assert_eq!(key("s3://b/logs/eu/"), format!("s3://b/logs/eu/{end}"));
        assert_eq!(key("gs://b"), format!("gs://b/{end}"));
        assert_eq!(key("az://c/"), format!("az://c/{end}"));
    }

    #[test]
    #[cfg(unix)]
    fn directory_is_a_whole_path() {
        assert_eq!(key("file:///var/a/"), "file:///var/a/app.log/web-7.k3v9q2mx/app.log.1");
    }

    #[test]
    fn other_urls_are_rejected_with_the_valid_forms() {
        for url in
            ["", "s3://", "s3:///p", "http://b/p", "/var/a", "file://a", "s3://k@b", "s3://b/p?v=1"]
        {
            let error = ArchiveUrl::parse(url).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidConfig, "{url}");
        }
        let error = ArchiveUrl::parse("ftp://b").unwrap_err().to_string();
        assert!(
            error.starts_with("invalid `archive` = ftp://b: use `s3://bucket/prefix`"),
            "{error}"
        );
    }
}
