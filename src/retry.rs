//! When to try again what has failed.

use crate::clock::Deadline;
use std::time::Duration;

/// A delay that doubles with every failure, and ends with a success.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    waiting: Option<(Duration, Deadline)>,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(10);

    /// Whether enough time has passed since the last failure.
    pub(crate) fn is_due(&self) -> bool {
        self.waiting.is_none_or(|(_, deadline)| deadline.left().is_none())
    }

    /// Whether the last attempt failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.waiting.is_some()
    }

    pub(crate) fn failed(&mut self) {
        let delay = self.waiting.map_or(Self::FIRST, |(last, _)| Self::LONGEST.min(2 * last));
        self.waiting = Some((delay, Deadline::after(delay)));
    }

    pub(crate) fn succeeded(&mut self) {
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_to_its_cap_and_ends_with_success() {
        let mut retry = Retry::default();
        assert!(retry.is_due() && !retry.is_failing());
        let delays: Vec<_> = (0..12)
            .map(|_| {
                retry.failed();
                retry.waiting.unwrap().0.as_millis()
            })
            .collect();
        assert_eq!(delays[..4], [10, 20, 40, 80]);
        assert_eq!(delays[11], 10_000);
        assert!(retry.is_failing() && !retry.is_due());
        retry.succeeded();
        assert!(retry.is_due() && !retry.is_failing());
    }
}
