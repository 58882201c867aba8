//! The origin of a log's objects: which machine and directory they come from.

use super::settings::is_host;
use crate::error::Result;
use crate::fs;
use crate::ledger::OriginRecord;
use crate::store::hex;
use crate::sys;
use sha2::{Digest as _, Sha256};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The marks that distinguish a machine and a directory from their copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogPlace {
    pub(super) host: String,
    pub(super) fingerprint: String,
}

impl LogPlace {
    /// The place of a log in `dir`. With a host by name, neither the system's name nor its identity
    /// counts: a container changes them.
    pub(super) fn of(dir: &Path, host: Option<&str>) -> Result<Self> {
        let entry = fs::stat(dir)?;
        // The number of the volume is left out: it may change when the machine starts.
        let file = entry.map(|entry| (entry.id.index, entry.born));
        let machine = match host {
            Some(_) => None,
            None => machine_id()?,
        };
        let host = host.map_or_else(|| short(&sys::host_name()), str::to_owned);
        let fingerprint = fingerprint(&host, file, machine.as_deref());
        Ok(Self { host, fingerprint })
    }

    /// Whether the segments of this place are archived under the origin.
    pub(super) fn has(&self, origin: &OriginRecord) -> bool {
        origin.fingerprint == self.fingerprint
    }

    /// Returns the first origin of this place. It is the same each time, so a ledger that is lost
    /// leads to the same objects again.
    pub(super) fn origin(&self) -> OriginRecord {
        let name = format!("{}.{}", self.host, &self.fingerprint[..PART]);
        OriginRecord { name, fingerprint: self.fingerprint.clone() }
    }
}

/// Reads the identity of this machine, if it has one and we may see it. Another failure is an
/// error, since it may pass, and must not give the log another origin meanwhile.
fn machine_id() -> Result<Option<Vec<u8>>> {
    match fs::read_whole(Path::new("/etc/machine-id")) {
        Err(error) if error.io_kind() == ErrorKind::PermissionDenied => Ok(None),
        read => read,
    }
}

/// Hashes the marks of a place. The result must never depend on the compiler or the system: with
/// another one, a log would get another origin.
fn fingerprint(
    host: &str,
    dir: Option<(u64, Option<SystemTime>)>,
    machine: Option<&[u8]>,
) -> String {
    let mut digest = Sha256::new();
    let mut add = |field: Option<&[u8]>| {
        // A field that is missing differs from one that is empty.
        let len = field.map_or(u64::MAX, |field| field.len() as u64);
        digest.update(len.to_le_bytes());
        digest.update(field.unwrap_or_default());
    };
    add(Some(host.as_bytes()));
    add(dir.map(|(index, _)| index.to_le_bytes()).as_ref().map(<[u8; 8]>::as_slice));
    let born = dir.and_then(|(_, born)| born);
    add(born.map(nanoseconds).as_ref().map(<[u8; 16]>::as_slice));
    add(machine);
    hex(&digest.finalize())[..32].to_owned()
}

/// The nanoseconds since 1970, as bytes.
fn nanoseconds(time: SystemTime) -> [u8; 16] {
    let of = |span: Duration| i128::try_from(span.as_nanos()).unwrap_or(i128::MAX);
    let nanoseconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => of(after),
        Err(before) => -of(before.duration()),
    };
    nanoseconds.to_le_bytes()
}

/// The length of the part of an origin's name that distinguishes logs.
const PART: usize = 8;

/// Returns another origin for the same place, because a log that could not be distinguished from
/// this one uses the present one.
pub(super) fn renewed(origin: &OriginRecord) -> OriginRecord {
    let letter = || char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[fastrand::usize(..36)]);
    let part: String = std::iter::repeat_with(letter).take(PART).collect();
    let host = origin.name.split('.').next().unwrap_or_default();
    OriginRecord { name: format!("{host}.{part}"), fingerprint: origin.fingerprint.clone() }
}

/// The part of a host's name before the first dot, in characters that every store takes.
fn short(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default();
    let safe: String =
        first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if is_host(&safe) { safe } else { "host".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_of_a_directory_has_another_fingerprint() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = |dir: &Path, host| LogPlace::of(dir, host).unwrap();
        let origin = place(a.path(), Some("x")).origin();
        assert!(origin.name.starts_with("x.") && origin.name.len() == 10);
        let other = renewed(&origin);
        assert!(other.name.starts_with("x.") && other.name.len() == 10 && other != origin);
        assert!(place(a.path(), Some("x")).has(&other));
        assert!(place(a.path(), Some("x")).has(&origin));
        assert!(!place(a.path(), Some("y")).has(&origin));
        assert!(!place(b.path(), Some("x")).has(&origin));
        assert!(!place(a.path(), None).has(&origin));
    }

    #[test]
    fn fingerprint_is_the_same_in_every_build() {
        let born = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 1);
        let early = SystemTime::UNIX_EPOCH - Duration::from_nanos(1);
        // By a program of a few lines in another language.
        for (dir, machine, expected) in [
            (Some((42, Some(born))), Some(&b"abc\n"[..]), "6d435ea3ecdfd8dddc2c067b522278b5"),
            (Some((42, Some(early))), None, "eb871c658298cd8bf85ae4fd0383280d"),
            (None, None, "c65b38cf15c27478e2cb30288033ba23"),
        ] {
            assert_eq!(fingerprint("web-7", dir, machine), expected);
        }
    }

    #[test]
    fn host_is_short_and_safe() {
        assert_eq!(short("web-7.example.org"), "web-7");
        assert_eq!(short("Bücher"), "B-cher");
        assert_eq!(short(""), "host");
    }
}
