//! The URL of an archive, and the keys of its objects.

use crate::error::{Error, Result};
use crate::units::redacted;

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

/// The object beside an origin's segments that shows whose they are.
pub(crate) const ORIGIN_FILE: &str = ".origin";

const USE: &str = "use `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or \
                   `file:///directory`";

/// Whether a path is a URL, of a store or of something else. A drive of Windows has one letter.
pub(crate) fn is_url(text: &str) -> bool {
    let is_scheme = |text: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        text.len() > 1
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(is_part)
    };
    text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme))
}

impl ArchiveUrl {
    /// Parses the URL of an archived log: that of the archive, a slash, and the log's name.
    pub(crate) fn of_log(text: &str) -> Result<(Self, String)> {
        let text = text.trim_end_matches('/');
        let rest = SCHEMES.iter().find_map(|(start, _)| text.strip_prefix(start));
        let refuse = |why| Err(Error::config("archive", redacted(text), why));
        match rest {
            None => return refuse(USE),
            Some(rest) if !rest.contains('/') => {
                return refuse("add a slash and the name of the log");
            }
            Some(_) => {}
        }
        let (archive, log) = text.rsplit_once('/').unwrap_or((text, ""));
        let url = Self::parse(archive)?;
        let refuse = |why: &str| Err(Error::config("archive", redacted(text), why));
        if log.split_once('?').is_some_and(|(_, query)| query.contains('=')) {
            return refuse("credentials come from the environment; leave them out of the URL");
        }
        if !is_log_name(log) {
            return refuse("its last part cannot be the name of a log");
        }
        Ok((url, log.to_owned()))
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::config("archive", redacted(text), why);
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
        if rest.contains('@') && !is_bucket(root) {
            return Err(refuse("credentials come from the environment; leave them out of the URL"));
        }
        if !is_bucket(root) || prefix.contains("//") {
            return Err(refuse(USE));
        }
        if prefix.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(refuse("no part of the prefix can be `.` or `..`"));
        }
        Ok(Self { scheme, root: root.to_owned(), prefix: prefix.to_owned() })
    }

    /// The key of a log's object: under the prefix, the log, and the origin.
    pub(crate) fn key(&self, log: &str, origin: &str, file_name: &str) -> String {
        let parts = [self.prefix.as_str(), log, origin, file_name];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// The URL under which a log's objects of an origin are.
    pub(crate) fn origin(&self, log: &str, origin: &str) -> String {
        self.object(&self.key(log, origin, ""))
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

    /// Whether the URL of an object is that of one of the log's in this archive.
    pub(crate) fn has_object_of(&self, log: &str, object: &str) -> bool {
        let key = self.key_of(object).and_then(|key| key.strip_prefix(&self.key(log, "", "")));
        key.is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Whether a text can be the name of a bucket or container in a URL.
fn is_bucket(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.$".contains(c);
    !matches!(text, "" | "." | "..") && text.chars().all(is_part)
}

/// Whether a log of this name can have objects.
pub(crate) fn is_log_name(text: &str) -> bool {
    !text.is_empty() && object_store::path::Path::parse(text).is_ok()
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
        for url in ["s3://b/../p", "gs://b/p/.", "az://..", "s3://b:80/p", "s3://b c", "s3://b%20"]
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

    #[test]
    fn accepted_bucket_is_one_that_object_store_takes() {
        for root in ["b", "a.b-c_d", "B9", "$logs"] {
            let url = ArchiveUrl::parse(&format!("s3://{root}/p")).unwrap();
            let builder = object_store::aws::AmazonS3Builder::new().with_region("r");
            assert!(builder.with_url(url.object("")).build().is_ok(), "{root}");
            assert!(object_store::path::Path::parse(url.key("app.log", "h.1", "x")).is_ok());
        }
    }

    #[test]
    fn message_has_no_secret_of_a_url() {
        let of_log = |url: &str| ArchiveUrl::of_log(url).map(|_| ()).unwrap_err().to_string();
        let parse = |url: &str| ArchiveUrl::parse(url).map(|_| ()).unwrap_err().to_string();
        for (url, shown) in [
            ("s3://AKIA:SECRET@b/p/l", "s3://...@b/p/l: credentials come from the environment"),
            ("s3://AKIA:SEC/RET@b/l", "s3://...@b/l: credentials come from the environment"),
            ("s3://AKIA:SECRET/b", "s3://AKIA:.../b: "),
            ("az://c/p?sv=1&sig=SECRET/l", "az://c/p?...: it has a character"),
            ("az://c/p#SECRET/l", "az://c/p#...: it has a character"),
            ("https://k:SECRET@host/b?SECRET", "https://...@host/b?...: use `s3://"),
            ("AKIA:SECRET@b/l", "...@b/l: use `s3://"),
        ] {
            let error = parse(url);
            assert!(error.starts_with(&format!("invalid `archive` = {shown}")), "{error}");
            assert!(!(error + &of_log(url)).contains("SEC"), "{url}");
        }
        for url in ["s3://AKIA:SECRET@b", "az://c/app.log?sv=1&sig=SECRET", "s3://b/.."] {
            let error = of_log(url);
            assert!(!error.contains("SEC"), "{error}");
        }
    }

    #[test]
    fn object_of_another_prefix_or_log_is_not_ours() {
        let url = ArchiveUrl::parse("s3://b/new").unwrap();
        assert!(url.has_object_of("app.log", "s3://b/new/app.log/h.1/app.log.x"));
        for other in [
            "s3://b/old/app.log/h.1/app.log.x",
            "s3://b/app.log/h.1/app.log.x",
            "s3://b/new/app.log.2/h.1/app.log.x",
            "s3://c/new/app.log/h.1/app.log.x",
        ] {
            assert!(!url.has_object_of("app.log", other), "{other}");
        }
        let root = ArchiveUrl::parse("s3://b").unwrap();
        assert!(!root.has_object_of("app.log", "s3://b/old/app.log/h.1/app.log.x"));
    }
}
