//! How much input is still read after a signal has asked the relay to end.

use std::time::{Duration, Instant};

/// How long to wait for the rest of a line after a request to end.
const LINE_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest single wait. Some systems reject longer timeouts.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The input that is still read. The process that writes it need not stop first.
///
/// | state | reads | next |
/// |---|---|---|
/// | `NotRequested` | until end of input | `Grace` or `Last` at a signal |
/// | `Grace` | until end of input, or until the grace is over | `Last` |
/// | `Last` | the bytes that are in the pipe, and the rest of a line | the end |
#[derive(Clone, Copy)]
pub(super) enum Shutdown {
    NotRequested,
    /// No time means no limit.
    Grace {
        until: Option<Instant>,
    },
    /// `bytes` were in the pipe at the request and are not read yet.
    Last {
        bytes: usize,
        until: Instant,
    },
}

impl Shutdown {
    pub(super) fn grace(grace: Duration) -> Self {
        Self::Grace { until: Instant::now().checked_add(grace) }
    }

    pub(super) fn last(bytes: usize) -> Self {
        Self::Last { bytes, until: Instant::now() + LINE_TIMEOUT }
    }

    pub(super) fn is_grace(self) -> bool {
        matches!(self, Self::Grace { .. })
    }

    pub(super) fn is_last(self) -> bool {
        matches!(self, Self::Last { .. })
    }

    pub(super) fn is_grace_over(self) -> bool {
        matches!(self, Self::Grace { until: Some(until) } if left(until).is_zero())
    }

    /// Counts bytes that were read.
    pub(super) fn count(&mut self, read: usize) {
        if let Self::Last { bytes, .. } = self {
            *bytes = bytes.saturating_sub(read);
        }
    }

    /// Whether to read on, with or without the beginning of a line in the buffer.
    pub(super) fn wants_more(self, is_mid_line: bool) -> bool {
        match self {
            Self::NotRequested | Self::Grace { .. } => true,
            Self::Last { bytes, until } => bytes > 0 || (is_mid_line && !left(until).is_zero()),
        }
    }

    /// How long to wait for input; `None` waits without a limit.
    pub(super) fn read_timeout(self) -> Option<Duration> {
        match self {
            Self::NotRequested => None,
            Self::Last { bytes: 1.., .. } => Some(Duration::ZERO),
            Self::Last { until, .. } => Some(left(until)),
            Self::Grace { until } => until.map(|until| left(until).min(MAX_WAIT)),
        }
    }

    /// How long to wait for the reader of the copy; `None` waits without a limit.
    pub(super) fn copy_timeout(self, is_shutting_down: bool) -> Option<Duration> {
        match self {
            Self::Last { until, .. } if is_shutting_down => Some(left(until)),
            Self::Grace { until } => until.map(|until| left(until).min(MAX_WAIT)),
            _ => None,
        }
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
