//! The decision which backups to remove: a pure function of a listing.

use crate::clock::Timestamp;
use std::time::Duration;

/// The limits on backups. All hold together; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Retention {
    pub(crate) max_backups: Option<usize>,
    pub(crate) max_total_size: Option<u64>,
    pub(crate) max_backup_age: Option<Duration>,
    pub(crate) min_free_space: Option<u64>,
}

/// One backup, as the decision sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BackupStat {
    pub(crate) bytes: u64,
    pub(crate) finished: Timestamp,
}

/// The clock, the disk and the rest of the log, as the decision sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskState {
    pub(crate) now: Timestamp,
    /// Bytes of the log beside its backups: temporary files, and the active segment at its maximum
    /// size, since it may grow until its backup is counted instead.
    pub(crate) other_bytes: u64,
    /// Bytes free on the file system.
    pub(crate) free: u64,
}

impl Retention {
    /// Returns how many of the oldest backups to remove. `backups` are ordered oldest first.
    pub(crate) fn excess(&self, backups: &[BackupStat], disk: DiskState) -> usize {
        let by_count = self.max_backups.map_or(0, |max| backups.len().saturating_sub(max));
        let by_age = self.max_backup_age.map_or(0, |age| {
            let too_old = |backup: &BackupStat| backup.finished.plus(age) <= disk.now;
            // The newest backup beyond the age takes all older ones with it: times of numbered
            // backups may be out of order if a program touched a file.
            backups.iter().rposition(too_old).map_or(0, |at| at + 1)
        });
        // Three sparse files may exceed 64 bits.
        let total: u128 = backups.iter().map(|backup| u128::from(backup.bytes)).sum();
        let by_size = self.max_total_size.map_or(0, |max| {
            let bytes = (total + u128::from(disk.other_bytes)).saturating_sub(max.into());
            oldest_with(backups, bytes)
        });
        let by_space = self
            .min_free_space
            .map_or(0, |min| oldest_with(backups, min.saturating_sub(disk.free).into()));
        by_count.max(by_age).max(by_size).max(by_space)
    }
}

/// Returns how many of the oldest backups hold at least `bytes` together, or all of them.
fn oldest_with(backups: &[BackupStat], bytes: u128) -> usize {
    let mut freed = 0;
    backups
        .iter()
        .take_while(|backup| {
            let needed = freed < bytes;
            freed += u128::from(backup.bytes);
            needed
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: Retention = Retention {
        max_backups: None,
        max_total_size: None,
        max_backup_age: None,
        min_free_space: None,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    /// Backups of 10 bytes each, finished at seconds 0, 1, 2, ..
    fn backups(count: i64) -> Vec<BackupStat> {
        (0..count).map(|second| BackupStat { bytes: 10, finished: at(second) }).collect()
    }

    fn disk() -> DiskState {
        DiskState { now: at(100), other_bytes: 5, free: 1000 }
    }

    #[test]
    fn nothing_goes_without_a_limit() {
        assert_eq!(NONE.excess(&backups(9), disk()), 0);
    }

    #[test]
    fn count_keeps_the_newest_and_zero_keeps_none() {
        let keep = |max| Retention { max_backups: Some(max), ..NONE }.excess(&backups(5), disk());
        assert_eq!([keep(7), keep(5), keep(3), keep(0)], [0, 0, 2, 5]);
    }

    #[test]
    fn total_size_counts_everything_and_holds_exactly() {
        let keep =
            |max| Retention { max_total_size: Some(max), ..NONE }.excess(&backups(5), disk());
        assert_eq!([keep(55), keep(54), keep(45), keep(44), keep(1)], [0, 1, 1, 2, 5]);
    }

    #[test]
    fn age_is_reached_at_exactly_the_limit() {
        let age = |seconds| {
            let age = Some(Duration::from_secs(seconds));
            Retention { max_backup_age: age, ..NONE }.excess(&backups(5), disk())
        };
        assert_eq!([age(101), age(100), age(97), age(1)], [0, 1, 4, 5]);
    }

    #[test]
    fn free_space_takes_the_oldest_until_there_is_enough() {
        let free =
            |min| Retention { min_free_space: Some(min), ..NONE }.excess(&backups(5), disk());
        assert_eq!([free(1000), free(1001), free(1010), free(1011), free(9999)], [0, 1, 1, 2, 5]);
    }

    proptest! {
        #[test]
        fn limits_hold_after_the_plan_and_no_more_goes_than_needed(
            sizes in prop::collection::vec(0_u64..100, 0..20),
            max_backups in 0_usize..20,
            max_total in 0_u64..1000,
        ) {
            let backups: Vec<_> = (0..).zip(&sizes)
                .map(|(second, &bytes)| BackupStat { bytes, finished: at(second) })
                .collect();
            let limits = Retention {
                max_backups: Some(max_backups), max_total_size: Some(max_total), ..NONE
            };
            let total = |from: usize| sizes[from..].iter().sum::<u64>() + disk().other_bytes;
            let fits = |from: usize| sizes.len() - from <= max_backups && total(from) <= max_total;
            let gone = limits.excess(&backups, disk());
            prop_assert!(fits(gone) || gone == sizes.len());
            // Empty backups in front free nothing; the plan may take them with the next.
            prop_assert!(gone == 0 || !fits(gone - 1));
        }
    }
}
