//! The scenarios, their cases, and the amount of work of each.

use crate::line::LINE_BYTES;
use clap::ValueEnum;
use std::time::Duration;

/// A question to all contestants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// (a) Tight loops in 1 to 8 threads, in memory.
    #[value(name = "a")]
    Memory,
    /// (b) The same on the disk's file system.
    #[value(name = "b")]
    Disk,
    /// (c) Some work between two records.
    #[value(name = "c")]
    Think,
    /// (d) Backups compressed while the log is written: the longest stalls.
    #[value(name = "d")]
    Gzip,
    /// (e) Several processes on one log.
    #[value(name = "e")]
    Processes,
    /// (f) Every record on the disk before its call returns.
    #[value(name = "f")]
    Sync,
    /// (g) A rotation for every record, in a small and in a large directory.
    #[value(name = "g")]
    Rotation,
}

/// An ability that not every contestant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Rotates by size.
    Rotation,
    /// Compresses backups.
    Gzip,
    /// Syncs each record.
    Sync,
    /// Can be measured with several processes.
    Processes,
}

impl Scenario {
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::Disk,
        Self::Think,
        Self::Gzip,
        Self::Processes,
        Self::Sync,
        Self::Rotation,
    ];

    pub fn letter(self) -> char {
        char::from(b'a' + self as u8)
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Memory => "Tight loops in memory",
            Self::Disk => "Tight loops on disk",
            Self::Think => "Work between records",
            Self::Gzip => "Compressing, on disk",
            Self::Processes => "Several processes on one log",
            Self::Sync => "Every record synced",
            Self::Rotation => "A rotation for every record",
        }
    }

    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::Memory | Self::Disk | Self::Think => &[],
            Self::Gzip => &[Need::Gzip],
            Self::Processes => &[Need::Processes],
            Self::Sync => &[Need::Sync],
            Self::Rotation => &[Need::Rotation],
        }
    }

    /// How the work is spread: (processes, threads in each, backups there beforehand).
    fn spreads(self) -> &'static [(u32, u32, u64)] {
        match self {
            Self::Memory | Self::Disk => &[(1, 1, 0), (1, 2, 0), (1, 4, 0), (1, 8, 0)],
            Self::Think | Self::Gzip => &[(1, 1, 0), (1, 4, 0)],
            Self::Processes => &[(2, 1, 0), (4, 1, 0), (8, 1, 0)],
            Self::Sync => &[(1, 1, 0), (1, 4, 0), (1, 16, 0)],
            Self::Rotation => &[(1, 1, 100), (1, 1, 10_000)],
        }
    }
}

/// Where a log lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A file system in memory.
    Memory,
    Disk,
}

/// One table: a scenario at one number of threads, processes or backups.
#[derive(Debug, Clone)]
pub struct Case {
    pub scenario: Scenario,
    pub place: Place,
    pub processes: u32,
    pub threads: u32,
    /// Records that the clock runs for, of all threads of all processes.
    pub records: u64,
    /// Backups that are there beforehand.
    pub backups: u64,
    pub think: Duration,
    pub segment_bytes: u64,
    pub gzip: bool,
    /// A contestant that is slower than this stops with fewer records.
    pub limit: Duration,
}

impl Case {
    fn new(scenario: Scenario, spread: (u32, u32, u64), scale: Scale) -> Self {
        let (processes, threads, backups) = spread;
        Self {
            scenario,
            place: if scenario == Scenario::Memory { Place::Memory } else { Place::Disk },
            processes,
            threads,
            records: scale.records(scenario),
            backups,
            think: if scenario == Scenario::Think { THINK } else { Duration::ZERO },
            segment_bytes: segment_bytes(scenario),
            gzip: scenario == Scenario::Gzip,
            limit: scale.limit(scenario),
        }
    }

    /// The parameter that distinguishes this case in its scenario.
    pub fn title(&self) -> String {
        match self.scenario {
            Scenario::Processes => format!("{} processes", self.processes),
            Scenario::Rotation => format!("{} backups there beforehand", self.backups),
            _ if self.threads == 1 => "1 thread".to_owned(),
            _ => format!("{} threads", self.threads),
        }
    }

    pub fn records_per_thread(&self) -> u64 {
        self.records / u64::from(self.processes * self.threads)
    }

    /// Backups to keep: as many as are made if each process rotates for all records, so that
    /// retention removes none.
    pub fn keep(&self) -> usize {
        let bytes = self.records * LINE_BYTES as u64;
        (self.backups + u64::from(self.processes) * bytes / self.segment_bytes + 16) as usize
    }
}

/// How thorough a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Shows that everything works.
    Quick,
    /// For figures to be quoted.
    Full,
}

impl Scale {
    fn records(self, scenario: Scenario) -> u64 {
        let (quick, full) = match scenario {
            Scenario::Memory | Scenario::Disk => (40_000, 400_000),
            Scenario::Think => (10_000, 100_000),
            Scenario::Gzip => (100_000, 400_000),
            Scenario::Processes => (160_000, 400_000),
            Scenario::Sync => (160, 3_200),
            Scenario::Rotation => (100, 500),
        };
        if self == Self::Quick { quick } else { full }
    }

    fn limit(self, scenario: Scenario) -> Duration {
        Duration::from_secs(match (self, scenario) {
            (Self::Quick, _) | (_, Scenario::Rotation) => 1,
            (Self::Full, Scenario::Sync) => 2,
            (Self::Full, _) => 4,
        })
    }
}

/// The cases of `scenarios`, in order.
pub fn cases(scenarios: &[Scenario], scale: Scale) -> Vec<Case> {
    let of = |&scenario: &Scenario| {
        scenario.spreads().iter().map(move |&spread| Case::new(scenario, spread, scale))
    };
    scenarios.iter().flat_map(of).collect()
}

/// Work between two records, where there is any.
pub const THINK: Duration = Duration::from_micros(3);

fn segment_bytes(scenario: Scenario) -> u64 {
    match scenario {
        Scenario::Processes => 1 << 20,
        // Less than a record, so that each has a segment of its own, whether a writer compares
        // before a record or after it.
        Scenario::Rotation => LINE_BYTES as u64 - 1,
        _ => 4 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_on_the_command_line_are_the_letters_in_the_tables() {
        for scenario in Scenario::ALL {
            let value = scenario.to_possible_value().expect("BUG: a scenario is hidden");
            assert_eq!(value.get_name(), scenario.letter().to_string());
        }
    }

    #[test]
    fn records_divide_evenly_among_threads_and_processes() {
        for scale in [Scale::Quick, Scale::Full] {
            for case in cases(&Scenario::ALL, scale) {
                let shares = u64::from(case.processes * case.threads);
                assert_eq!(case.records_per_thread() * shares, case.records, "{case:?}");
            }
        }
    }

    #[test]
    fn titles_name_what_varies() {
        let titles: Vec<_> = cases(&[Scenario::Processes, Scenario::Rotation], Scale::Quick)
            .iter()
            .map(Case::title)
            .collect();
        assert_eq!(
            titles,
            [
                "2 processes",
                "4 processes",
                "8 processes",
                "100 backups there beforehand",
                "10000 backups there beforehand"
            ]
        );
    }
}
