//! Time: the only place that reads a clock or sleeps.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sys::{self, Entry, FileId};

/// A point in time: microseconds since 1970, UTC, without leap seconds.
///
/// Limited to the years 1970 to 9999, so that all times have names of the same width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Timestamp(i64);

impl Timestamp {
    /// 9999-12-31T23:59:59.999999Z.
    pub(crate) const MAX: Self = Self(253_402_300_799_999_999);
    pub(crate) const MIN: Self = Self(0);

    /// The nearest time within the years 1970 to 9999.
    pub(crate) fn from_micros(micros: i64) -> Self {
        Self(micros).clamp(Self::MIN, Self::MAX)
    }

    pub(crate) fn micros(self) -> i64 {
        self.0
    }

    /// The next microsecond, or the last possible one.
    pub(crate) fn next(self) -> Self {
        Self::from_micros(self.0 + 1)
    }

    pub(crate) fn plus(self, span: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros(span)))
    }

    /// The time from `earlier` to this time; zero if it is not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    pub(crate) fn minus(self, span: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(micros(span)))
    }
}

/// A duration in whole microseconds, limited to [`i64::MAX`].
pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::from_micros(time.duration_since(UNIX_EPOCH).map_or(0, micros))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        // Not negative, see `MIN`.
        UNIX_EPOCH + Duration::from_micros(time.0.unsigned_abs())
    }
}

/// The time source of a log: the system, or a clock that a test sets.
#[derive(Debug, Clone, Default)]
#[cfg_attr(not(feature = "__test"), allow(unreachable_pub, reason = "public for tests only"))]
pub struct Clock(ClockSource);

#[derive(Debug, Clone, Default)]
enum ClockSource {
    #[default]
    System,
    /// A clock shared by all its clones, and the microseconds by which this one is ahead of it.
    #[cfg_attr(not(feature = "__test"), allow(dead_code, reason = "set by tests"))]
    Manual(Arc<Manual>, i64),
}

#[derive(Debug)]
struct Manual {
    now: AtomicI64,
    /// The time at which each file was created or first seen, by this clock: the file system's own
    /// birth times come from another clock.
    births: Mutex<HashMap<FileId, Timestamp>>,
}

impl Manual {
    fn micros(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }
}

impl Clock {
    /// The system's clock, the default.
    ///
    /// Names of backups come from the clock of the C library. A segment is due by the kernel's
    /// clock and by the birth times that the file system keeps by it, so that the workers of one
    /// machine agree. Hence `libfaketime` and similar tools, which replace the clock of the C
    /// library, change only the names.
    pub(crate) fn system() -> Self {
        Self(ClockSource::System)
    }

    /// A clock that stands still until it is [set](Clock::set). Its clones are the same clock.
    #[cfg(feature = "__test")]
    #[must_use]
    pub fn manual(now: SystemTime) -> Self {
        let now = AtomicI64::new(Timestamp::from(now).micros());
        Self(ClockSource::Manual(Arc::new(Manual { now, births: Mutex::default() }), 0))
    }

    /// Sets a manual clock, forwards or backwards. The system's clock is not changed.
    #[cfg(feature = "__test")]
    pub fn set(&self, now: SystemTime) {
        if let ClockSource::Manual(manual, _) = &self.0 {
            manual.now.store(Timestamp::from(now).micros(), Ordering::SeqCst);
        }
    }

    /// Returns the clock of a worker that is ahead of the others by `seconds`, or behind. Files are
    /// created at the time of the manual clock itself, as a file system has only one.
    #[cfg(feature = "__test")]
    #[must_use]
    pub fn ahead(&self, seconds: i64) -> Self {
        Self(match &self.0 {
            ClockSource::System => ClockSource::System,
            ClockSource::Manual(manual, ahead) => {
                ClockSource::Manual(Arc::clone(manual), ahead + seconds * 1_000_000)
            }
        })
    }

    /// The exact time.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.0 {
            ClockSource::System => SystemTime::now().into(),
            ClockSource::Manual(manual, ahead) => Timestamp::from_micros(manual.micros() + ahead),
        }
    }

    /// The time in microseconds since 1970, a few milliseconds stale. Costs a few nanoseconds.
    #[inline]
    pub(crate) fn coarse(&self) -> i64 {
        match &self.0 {
            ClockSource::System => sys::coarse_micros(),
            ClockSource::Manual(manual, ahead) => manual.micros() + ahead,
        }
    }

    /// The same as a [`Timestamp`].
    pub(crate) fn coarse_now(&self) -> Timestamp {
        Timestamp::from_micros(self.coarse())
    }

    /// Returns how far this clock is ahead of the file system's, which read `there` when this one
    /// read `here`, or later.
    pub(crate) fn lead(&self, here: Timestamp, there: SystemTime) -> Duration {
        // Times of files may lag behind by a tick of the kernel.
        const TICK: Duration = Duration::from_millis(10);
        let there = match &self.0 {
            ClockSource::System => there.into(),
            ClockSource::Manual(manual, _) => Timestamp(manual.micros()),
        };
        let lead = SystemTime::from(here).duration_since(there.into()).unwrap_or_default();
        if lead > TICK { lead } else { Duration::ZERO }
    }

    /// Records that a file was created just now.
    pub(crate) fn made(&self, file: FileId) {
        if let ClockSource::Manual(manual, _) = &self.0 {
            manual.births.lock().insert(file, Timestamp(manual.micros()));
        }
    }

    /// The creation time of a file by this clock, if it can be known.
    pub(crate) fn birth(&self, file: &Entry) -> Option<Timestamp> {
        match &self.0 {
            ClockSource::System => credible_birth(file, self.now()),
            ClockSource::Manual(manual, _) => {
                let now = || Timestamp(manual.micros());
                Some(*manual.births.lock().entry(file.id).or_insert_with(now))
            }
        }
    }
}

/// The creation time of a file or, if that is earlier, its last change: a file that was restored or
/// copied with its times is younger than its content. `None` if the file system keeps no creation
/// times, or in local time (vfat), so that it may be in the future.
fn credible_birth(file: &Entry, now: Timestamp) -> Option<Timestamp> {
    // The server of a network file system has a clock of its own.
    const MOST_AHEAD: Duration = Duration::from_secs(60);
    let born = file.born.map(Timestamp::from).filter(|born| *born <= now.plus(MOST_AHEAD))?;
    Some(born.min(file.modified.into()))
}

/// A deadline on the monotonic clock, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// The moment `span` from now; never, if that is beyond the range of the clock.
    pub(crate) fn after(span: Duration) -> Self {
        Self(Instant::now().checked_add(span))
    }

    /// No deadline.
    pub(crate) fn never() -> Self {
        Self(None)
    }

    pub(crate) fn is_never(self) -> bool {
        self.0.is_none()
    }

    /// The earlier of the two.
    pub(crate) fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }

    /// The remaining time; `None` once the deadline has passed.
    pub(crate) fn left(self) -> Option<Duration> {
        match self.0 {
            None => Some(Duration::MAX),
            Some(at) => at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()),
        }
    }
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Blocks this thread for `span`.
pub(crate) fn sleep(span: Duration) {
    std::thread::sleep(span);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn birth_is_not_after_the_content_and_not_in_the_future() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        let birth = |born: Option<u64>, modified, now| {
            let entry = sys::stat(dir.path()).unwrap();
            let entry = Entry { born: born.map(at), modified: at(modified), ..entry };
            credible_birth(&entry, at(now).into()).map(|birth| birth.micros() / 1_000_000)
        };
        assert_eq!(birth(Some(100), 150, 200), Some(100));
        assert_eq!(birth(Some(100), 50, 200), Some(50), "it was restored");
        assert_eq!(birth(Some(260), 260, 200), Some(260), "a server's clock is a minute ahead");
        assert_eq!(birth(Some(3800), 3800, 200), None, "local time");
        assert_eq!(birth(None, 50, 200), None);
    }
}
