//! The owner of a lock: a record in the lock file, for messages and to recognize our own files.

use crate::error::OwnerHint;
use crate::sys;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of a record. All have the same length, so each replaces the one before it whole.
pub(crate) const RECORD_LEN: usize =
    "logrotor lock pid 4294967295 start 18446744073709551615\n".len();

/// The first bytes of every record.
const MAGIC: &str = "logrotor lock ";

/// Whether a lock file's content is ours: a record, or the start of one from a full disk.
pub(crate) fn is_ours(content: &[u8]) -> bool {
    content.len() <= RECORD_LEN && content.starts_with(MAGIC.as_bytes())
}

/// A process as a lock file names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    /// Distinguishes processes with the same pid; 0 if unknown.
    start: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> Self {
        // Looked up once per process: a forked child finds its parent's pid here, and looks again.
        // Racing threads store the same values.
        static PID: AtomicU32 = AtomicU32::new(0);
        static START: AtomicU64 = AtomicU64::new(0);
        let pid = std::process::id();
        if PID.load(Ordering::Acquire) != pid {
            START.store(sys::process_start(pid).unwrap_or(0), Ordering::Relaxed);
            PID.store(pid, Ordering::Release);
        }
        Self { pid, start: START.load(Ordering::Relaxed) }
    }

    pub(crate) fn record(self) -> String {
        format!("{MAGIC}pid {:<10} start {:<20}\n", self.pid, self.start)
    }

    /// The inverse of [`record`](Owner::record); `None` for anything else.
    pub(crate) fn parse(record: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?;
        let (pid, start) = text.strip_prefix(MAGIC)?.strip_prefix("pid ")?.split_once(" start ")?;
        let owner =
            Self { pid: pid.trim_end().parse().ok()?, start: start.trim_end().parse().ok()? };
        (owner.record() == text).then_some(owner)
    }

    /// A guess whether it still runs: another machine or container may have written the record.
    pub(crate) fn hint(self) -> OwnerHint {
        let reused = |now| self.start != 0 && now != self.start;
        let runs = match sys::process_runs(self.pid) {
            Some(true) => Some(!sys::process_start(self.pid).is_some_and(reused)),
            known => known,
        };
        OwnerHint { pid: self.pid, runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_and_parse_are_inverses_of_one_length() {
        for owner in [
            Owner { pid: 0, start: 0 },
            Owner { pid: 4121, start: 987_654 },
            Owner { pid: u32::MAX, start: u64::MAX },
        ] {
            let record = owner.record();
            assert_eq!(record.len(), RECORD_LEN);
            assert_eq!(Owner::parse(record.as_bytes()), Some(owner));
        }
    }

    #[test]
    fn other_programs_files_are_not_records() {
        let ours = Owner { pid: 1, start: 2 }.record();
        let torn = &ours[..RECORD_LEN - 1];
        let signed = ours.replace("pid 1 ", "pid +1");
        let longer = format!("{ours}x");
        for other in ["", "4121\n", "[[package]]\nname = \"x\"\n", torn, &signed, &longer] {
            assert_eq!(Owner::parse(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(Owner::parse(b"\xff\xfe"), None);
        assert!(is_ours(ours.as_bytes()) && is_ours(torn.as_bytes()));
        assert!(!is_ours(longer.as_bytes()) && !is_ours(b"4121\n") && !is_ours(b""));
    }

    #[test]
    fn this_process_runs_and_another_start_means_another_process() {
        let this = Owner::this();
        assert_eq!(this, Owner::this());
        assert_eq!(this.hint().pid, std::process::id());
        assert_ne!(this.hint().runs, Some(false));
        if this.start != 0 {
            let reused = Owner { start: this.start - 1, ..this };
            assert_eq!(reused.hint().runs, Some(false));
        }
    }
}
