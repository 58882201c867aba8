//! The ledger: what is archived, beside the log as `<log>.archive`.
//!
//! It is text of lines with tabs, replaced as a whole under a lock of its own:
//!
//! ```text
//! logrotor archive 1
//! to      s3://bucket/prefix
//! origin  web-7.k3v9q2mx  <fingerprint of machine and directory>
//! confirmed  <URL of an origin in a store that has it as this log's>  <newest segment there>
//! failed  <micros>  <message of the last failure, until a success>
//! app.log.<time>.gz  <bytes>  <sha256>  intended  <claim>   <object>
//! app.log.<time>.gz  <bytes>  <sha256>  verified  <micros>  <object>
//! ```
//!
//! The ledger of a log whose archive was never set up does not exist. This module is part of every
//! build: a worker without the feature `archive` must not remove what another one has not archived.

mod duty;

pub(crate) use duty::{Archived, Duty};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::segment::Location;
use crate::segment::name::{Compression, split_compression};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::PathBuf;

/// The end of a ledger's file name, after the log's name and a dot.
const SUFFIX: &str = "archive";
const HEADER: &str = "logrotor archive 1";

const DAMAGED: &str = "it is damaged; if you remove it, the archive compares the segments that are \
                       still here with their objects, and writes it again; it knows only the \
                       origin that follows from the machine and the directory, so segments whose \
                       objects are under another one are sent again";
const OTHER_VERSION: &str = "another version of logrotor wrote it, in a format that this one does \
                             not know; use that version, and keep the file";

/// The identity under which a log's segments are archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OriginRecord {
    /// The host's name, a dot, and a part that distinguishes logs.
    pub(crate) name: String,
    /// Distinguishes machines and directories, so that a copy of a directory is detected. It is in
    /// the store as well, beside the objects, so that two logs do not share an origin.
    pub(crate) fingerprint: String,
}

/// The archiving of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shipment {
    pub(crate) bytes: u64,
    /// The SHA-256 of the file, in hexadecimal.
    pub(crate) digest: String,
    pub(crate) state: ShipmentState,
    /// The URL of the object.
    pub(crate) object: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShipmentState {
    /// A worker uploads it. Its claim is the name of a temporary file that it leases meanwhile.
    Intended {
        claim: String,
    },
    Verified {
        at: Timestamp,
    },
}

/// The last failure of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) at: Timestamp,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The URL of the archive.
    pub(crate) to: Option<String>,
    pub(crate) origin: Option<OriginRecord>,
    /// The URLs of origins in stores that were seen to have them as this log's, and the file name
    /// of the newest segment that was verified there. Former origins too: up to that segment, a
    /// former origin has the history of this log, even if another machine uses it since.
    pub(crate) confirmed: BTreeMap<String, Option<String>>,
    pub(crate) trouble: Option<Trouble>,
    /// By the file name of the segment.
    pub(crate) shipments: BTreeMap<String, Shipment>,
}

impl Ledger {
    /// Reads a log's ledger; `None` if there is none.
    pub(crate) fn read(location: &Location) -> Result<Option<Self>> {
        let path = path_of(location);
        let Some(bytes) = fs::read_whole(&path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        Self::parse(&text, &name_of(location)).map(Some).map_err(|line| {
            let action = format!("read line {line} of the archive's ledger");
            let why = if is_of_other_version(&text) { OTHER_VERSION } else { DAMAGED };
            Error::refused(ErrorKind::ArchiveLedger, action, path, why)
        })
    }

    /// Whether a segment with this file name and length is archived, or was before another program
    /// compressed it.
    pub(crate) fn has(&self, file_name: &str, bytes: u64) -> bool {
        self.verified(file_name, bytes).is_some()
    }

    /// Returns what is archived of a segment with this file name and length.
    pub(crate) fn verified(&self, file_name: &str, bytes: u64) -> Option<&Shipment> {
        let verified = |name: &str| {
            let shipment = self.shipments.get(name);
            shipment.filter(|it| matches!(it.state, ShipmentState::Verified { .. }))
        };
        let (plain, compression) = split_compression(file_name);
        let was_plain = || verified(plain).filter(|_| compression != Compression::None);
        verified(file_name).filter(|shipment| shipment.bytes == bytes).or_else(was_plain)
    }

    /// Parses the text of a ledger with this file name. The error is the number of the first wrong
    /// line.
    fn parse(text: &str, own_name: &str) -> Result<Self, usize> {
        let mut ledger = Self::default();
        for (at, line) in text.lines().enumerate() {
            let fields: Vec<_> = line.split('\t').collect();
            let read = match (at, &fields[..]) {
                (0, [HEADER]) => Some(()),
                (0, _) => None,
                (_, rest) => ledger.parse_line(rest, own_name),
            };
            read.ok_or(at + 1)?;
        }
        // A file that was cut to nothing is no empty ledger.
        if text.ends_with('\n') { Ok(ledger) } else { Err(text.lines().count().max(1)) }
    }

    fn parse_line(&mut self, fields: &[&str], own_name: &str) -> Option<()> {
        let time = |text: &str| Some(Timestamp::from_micros(text.parse().ok()?));
        let owned = |text: &str| text.to_owned();
        match *fields {
            // It becomes a part of objects' keys, which are paths in a directory.
            ["origin", name, _] if !is_bare(name) => return None,
            ["origin", name, fingerprint] => {
                let [name, fingerprint] = [name, fingerprint].map(owned);
                self.origin = Some(OriginRecord { name, fingerprint });
            }
            ["to", url] => self.to = Some(owned(url)),
            ["confirmed", url] => _ = self.confirmed.insert(owned(url), None),
            ["confirmed", url, newest] => {
                self.confirmed.insert(owned(url), Some(owned(newest)));
            }
            ["failed", at, message] => {
                self.trouble = Some(Trouble { at: time(at)?, message: owned(message) });
            }
            [file_name, bytes, digest, state, detail, object] => {
                let state = match state {
                    // Maintenance and the archive remove the file if no process leases it.
                    "intended" if !is_claim(detail, own_name) => return None,
                    "intended" => ShipmentState::Intended { claim: owned(detail) },
                    "verified" => ShipmentState::Verified { at: time(detail)? },
                    _ => return None,
                };
                let (bytes, digest) = (bytes.parse().ok()?, owned(digest));
                let shipment = Shipment { bytes, digest, state, object: owned(object) };
                self.shipments.insert(owned(file_name), shipment);
            }
            _ => return None,
        }
        Some(())
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(url) = &self.to {
            writeln!(f, "to\t{url}")?;
        }
        if let Some(OriginRecord { name, fingerprint }) = &self.origin {
            writeln!(f, "origin\t{name}\t{fingerprint}")?;
        }
        for (url, newest) in &self.confirmed {
            match newest {
                None => writeln!(f, "confirmed\t{url}")?,
                Some(newest) => writeln!(f, "confirmed\t{url}\t{newest}")?,
            }
        }
        if let Some(Trouble { at, message }) = &self.trouble {
            writeln!(f, "failed\t{}\t{}", at.micros(), on_one_line(message))?;
        }
        for (file_name, Shipment { bytes, digest, state, object }) in &self.shipments {
            write!(f, "{file_name}\t{bytes}\t{digest}\t")?;
            match state {
                ShipmentState::Intended { claim } => write!(f, "intended\t{claim}")?,
                ShipmentState::Verified { at } => write!(f, "verified\t{}", at.micros())?,
            }
            writeln!(f, "\t{object}")?;
        }
        Ok(())
    }
}

/// A message of a server may have line breaks.
fn on_one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty()) {
        // Writing to a string cannot fail.
        let _ = write!(line, "{}{word}", if line.is_empty() { "" } else { " " });
    }
    line
}

pub(crate) fn path_of(location: &Location) -> PathBuf {
    location.dir().join(name_of(location))
}

/// The ledger's file name.
fn name_of(location: &Location) -> String {
    format!("{}.{SUFFIX}", location.name())
}

/// The path of a claim; `None` if the text cannot be the name of one.
#[cfg(feature = "archive")]
pub(crate) fn claim_path(location: &Location, claim: &str) -> Option<PathBuf> {
    is_claim(claim, &name_of(location)).then(|| location.dir().join(claim))
}

/// Whether a text is the name of a temporary file of the ledger. So it names no file elsewhere.
fn is_claim(text: &str, own_name: &str) -> bool {
    fs::temp_target(text) == Some(own_name)
}

/// Whether a text names a file in a directory itself.
fn is_bare(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\\'])
}

/// Whether a ledger's first line is that of another version of its format.
fn is_of_other_version(text: &str) -> bool {
    let Some((first, _)) = text.split_once('\n') else { return false };
    let version = HEADER.rsplit_once(' ').and_then(|(start, _)| first.strip_prefix(start));
    let version = version.and_then(|version| version.strip_prefix(' '));
    first != HEADER
        && version.is_some_and(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether the part of a file name after the log's name and a dot is that of the ledger or of its
/// lock.
pub(crate) fn is_file_of(suffix: &str) -> bool {
    suffix.strip_prefix(SUFFIX).is_some_and(|rest| rest.is_empty() || rest == ".lock")
}

#[cfg(feature = "archive")]
pub(crate) use change::LedgerFile;

#[cfg(feature = "archive")]
mod change {
    use super::{Ledger, path_of};
    use crate::atomic::{AtomicFile, Links, SyncLevel, Target};
    use crate::error::{Error, Result};
    use crate::lock::Wait;
    use crate::segment::Location;
    use std::io::Write;
    use std::time::Duration;

    /// The lock is held for a few file operations. A worker that was stopped meanwhile makes others
    /// try again later.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// A log's ledger, to be changed.
    pub(crate) struct LedgerFile<'a> {
        pub(crate) location: &'a Location,
        /// The permissions of a new ledger.
        pub(crate) mode: Option<u32>,
    }

    impl LedgerFile<'_> {
        /// Changes the ledger under its lock. It survives a power cut once this has returned.
        pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> Result<T> {
            let path = path_of(self.location);
            let lock = Target::of(&path, Links::Replace)?.lock()?.without_gate();
            let guard = lock.exclusive(Wait::AtMost(PATIENCE))?;
            let before = Ledger::read(self.location)?;
            let mut ledger = before.clone().unwrap_or_default();
            let done = change(&mut ledger);
            if before.as_ref() != Some(&ledger) {
                let builder = AtomicFile::builder().sync(SyncLevel::FileAndDirectory);
                let builder = match (self.mode, &before) {
                    (Some(mode), None) => builder.mode(mode),
                    _ => builder,
                };
                let mut file = builder.open(&path)?;
                file.write_all(ledger.to_string().as_bytes())
                    .map_err(|error| Error::io("write", &path, error))?;
                guard.verify()?;
                file.commit()?;
            }
            guard.unlock()?;
            Ok(done)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: &str = "app.log.archive";
    const CLAIM: &str = ".app.log.archive.abcdefghijkl.tmp";

    fn parse(text: &str) -> Result<Ledger, usize> {
        Ledger::parse(text, NAME)
    }

    fn ledger() -> Ledger {
        let shipment = |state| Shipment {
            bytes: 7,
            digest: "ab".to_owned(),
            state,
            object: "s3://b/p/app.log/h.1/app.log.x".to_owned(),
        };
        let intended = ShipmentState::Intended { claim: CLAIM.to_owned() };
        let verified = ShipmentState::Verified { at: Timestamp::from_micros(5) };
        Ledger {
            to: Some("s3://b/p".to_owned()),
            origin: Some(OriginRecord {
                name: "web-7.k3v9q2mx".to_owned(),
                fingerprint: "f".to_owned(),
            }),
            confirmed: [("s3://a/app.log/h.1", None), ("s3://b/p/app.log/h.1", Some("b"))]
                .map(|(url, newest)| (url.to_owned(), newest.map(str::to_owned)))
                .into(),
            trouble: Some(Trouble {
                at: Timestamp::from_micros(9),
                message: "no route".to_owned(),
            }),
            shipments: [("a", intended), ("b", verified)]
                .map(|(name, state)| (name.to_owned(), shipment(state)))
                .into(),
        }
    }

    #[test]
    fn ledger_reads_back_as_it_was_written() {
        let written = ledger();
        assert_eq!(parse(&written.to_string()), Ok(written));
        let empty = Ledger::default();
        assert_eq!(parse(&empty.to_string()), Ok(empty));
    }

    #[test]
    fn cut_or_unknown_ledger_is_rejected_with_its_line() {
        let text = ledger().to_string();
        assert_eq!(parse(""), Err(1));
        assert_eq!(parse("logrotor archive 2\n"), Err(1));
        assert_eq!(parse(&text.replace("verified", "verifies")), Err(8));
        for end in 1..text.len() {
            assert!(parse(&text[..end]).is_err() || text.as_bytes()[end - 1] == b'\n', "{end}");
        }
    }

    #[test]
    fn name_that_leads_elsewhere_is_a_damaged_line() {
        let text = ledger().to_string();
        for claim in [
            "/etc/passwd",
            "../.app.log.archive.abcdefghijkl.tmp",
            "app.log",
            ".app.log.abcdefghijkl.tmp",
            ".other.log.archive.abcdefghijkl.tmp",
            "",
        ] {
            assert_eq!(parse(&text.replace(CLAIM, claim)), Err(7), "{claim}");
        }
        for origin in ["..", ".", "", "a/../../b", "a\\b"] {
            assert_eq!(parse(&text.replace("web-7.k3v9q2mx", origin)), Err(3), "{origin}");
        }
    }

    #[test]
    fn ledger_of_another_version_is_not_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::find(&dir.path().join("app.log")).unwrap();
        let read = |text: &str| {
            std::fs::write(path_of(&location), text).unwrap();
            let error = Ledger::read(&location).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ArchiveLedger);
            error.to_string()
        };
        let newer = read("logrotor archive 2\nto\ts3://b\n");
        assert!(newer.contains("another version of logrotor wrote it"), "{newer}");
        assert!(newer.contains("keep the file") && !newer.contains("remove"), "{newer}");
        for text in ["", "logrotor archive 2", "logrotor archive x\n", "logrotor archive 1\nx\n"] {
            let damaged = read(text);
            assert!(damaged.contains("it is damaged; if you remove it"), "{damaged}");
            assert!(damaged.contains("under another one are sent again"), "{damaged}");
        }
    }

    #[test]
    fn only_a_verified_segment_of_that_length_is_archived() {
        let ledger = ledger();
        assert!(ledger.has("b", 7));
        assert!(!ledger.has("b", 8), "a program has appended to it");
        assert!(!ledger.has("a", 7), "it is on its way");
        assert!(!ledger.has("c", 7));
        assert!(ledger.has("b.gz", 3), "another program compressed it after that");
        assert!(!ledger.has("a.gz", 3));
    }

    #[test]
    fn message_of_a_server_takes_one_line() {
        assert_eq!(on_one_line("a\tb\r\n  c\u{b}"), "a b c");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}(\\t\\PC{0,9}){0,6}\\n?") {
            let _ = parse(&text);
            let _ = parse(&format!("{HEADER}\n{text}"));
        }
    }
}
