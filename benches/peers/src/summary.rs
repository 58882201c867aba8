//! Rounds made into rows.

use crate::contestants::{Entry, Standing};
use crate::job::Fault;
use crate::measure::median;
use crate::scenarios::{Case, Scenario};
use crate::supervise::Outcome;

/// All rows of one case.
pub struct Table {
    pub case: Case,
    pub rows: Vec<Row>,
}

/// The results of one contestant in all rounds of a case.
pub struct Row {
    pub name: &'static str,
    pub standing: Standing,
    /// None if no round gave any; the remarks say why.
    pub figures: Option<Figures>,
    /// Remarks for readers of this row.
    pub remarks: Vec<String>,
}

/// Medians over the rounds; records are counted over all of them.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// ns per record, as in [`Outcome`].
    pub called: f64,
    pub drained: f64,
    pub cpu: f64,
    /// ns of one call, as in [`Outcome`].
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub p9999: f64,
    pub max: f64,
    /// Records logged while the clock ran.
    pub timed: f64,
    /// Files that held the log, active one included.
    pub segments: f64,
    pub written: u64,
    pub lost: u64,
    pub doubled: u64,
    pub torn: u64,
    /// Whether a worker panicked in any round: records that it did not log could not be lost.
    pub panicked: bool,
}

impl Figures {
    pub fn records_per_second(&self) -> f64 {
        1e9 / self.drained
    }

    /// Lost records, of 100 acknowledged ones.
    pub fn lost_percent(&self) -> f64 {
        percent(self.lost, self.written)
    }

    pub fn doubled_percent(&self) -> f64 {
        percent(self.doubled, self.written)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// The results of one contestant so far, during the rounds of a case.
#[derive(Default)]
pub struct Rounds {
    outcomes: Vec<Outcome>,
    /// The reason that it is not measured (any more).
    failure: Option<String>,
}

impl Rounds {
    /// Rounds that will not take place.
    pub fn refused(reason: &str) -> Self {
        Self { outcomes: Vec::new(), failure: Some(reason.to_owned()) }
    }

    pub fn add(&mut self, outcome: anyhow::Result<Outcome>) {
        match outcome {
            Ok(outcome) => self.outcomes.push(outcome),
            Err(error) => self.failure = Some(format!("{error:#}")),
        }
    }

    /// Whether to continue: a contestant that failed or did not close gets no second round.
    pub fn is_open(&self) -> bool {
        self.failure.is_none() && !self.outcomes.iter().any(|outcome| outcome.unclosed)
    }

    pub fn row(&self, entry: &Entry, case: &Case) -> Row {
        let figures = (!self.outcomes.is_empty()).then(|| self.figures());
        Row {
            name: entry.name,
            standing: entry.standing,
            figures,
            remarks: self.remarks(entry, case, figures.as_ref()),
        }
    }

    fn figures(&self) -> Figures {
        let middle = |of: fn(&Outcome) -> f64| median(self.outcomes.iter().map(of));
        let count = |of: fn(&Outcome) -> u64| self.outcomes.iter().map(of).sum();
        Figures {
            called: middle(|o| o.called),
            drained: middle(|o| o.drained),
            cpu: middle(|o| o.cpu),
            mean: middle(|o| o.mean),
            p50: middle(|o| o.p50),
            p99: middle(|o| o.p99),
            p9999: middle(|o| o.p9999),
            max: middle(|o| o.max),
            timed: middle(|o| o.timed as f64),
            segments: middle(|o| o.tally.segments as f64),
            written: count(|o| o.tally.written),
            lost: count(|o| o.tally.lost),
            doubled: count(|o| o.tally.doubled),
            torn: count(|o| o.tally.torn),
            panicked: self.outcomes.iter().flat_map(|o| &o.faults).any(Fault::is_panic),
        }
    }

    fn remarks(&self, entry: &Entry, case: &Case, figures: Option<&Figures>) -> Vec<String> {
        let mut remarks: Vec<String> = Vec::new();
        if let Some(figures) = figures {
            remarks.extend(entry.note.map(str::to_owned));
            remarks.extend(self.faults());
            remarks.extend(self.unclosed(case));
            remarks.extend(self.cut_short(case));
            remarks.extend(losses(entry, case, figures));
            remarks.extend(rotations(case, figures));
        }
        let when = if figures.is_some() { "given up after a failure: " } else { "" };
        remarks.extend(self.failure.as_ref().map(|failure| format!("{when}{failure}")));
        remarks
    }

    fn faults(&self) -> Option<String> {
        let faulty = self.outcomes.iter().filter(|o| !o.faults.is_empty()).count();
        let first = self.outcomes.iter().flat_map(|o| &o.faults).next()?;
        Some(format!("in {faulty} of {} rounds: {first}", self.outcomes.len()))
    }

    fn unclosed(&self, case: &Case) -> Option<String> {
        let unclosed = self.outcomes.iter().any(|outcome| outcome.unclosed);
        unclosed.then(|| format!("still closing after {:?}, and not tried again", case.limit))
    }

    fn cut_short(&self, case: &Case) -> Option<String> {
        let due = case.records_per_thread() * u64::from(case.threads * case.processes);
        let least = self.outcomes.iter().map(|o| o.timed).min()?;
        (least < due).then(|| format!("stopped early, at the worst after {least} of {due} records"))
    }
}

/// One process should lose nothing. If the table has no such column, a remark reports losses.
fn losses(entry: &Entry, case: &Case, figures: &Figures) -> Option<String> {
    let Figures { written, lost, doubled, torn, .. } = figures;
    let wrong = *lost + *doubled + *torn > 0 && entry.name != NULL_SINK;
    (wrong && case.scenario != Scenario::Processes)
        .then(|| format!("of {written} records {lost} lost, {doubled} doubled; {torn} torn lines"))
}

/// The one contestant that keeps no records.
pub const NULL_SINK: &str = "null sink";

/// The case requests a rotation per record. Fewer rotations spread their cost over more records.
fn rotations(case: &Case, figures: &Figures) -> Option<String> {
    let made = figures.segments - case.backups as f64;
    let fewer = case.scenario == Scenario::Rotation && made < 0.9 * figures.timed;
    fewer.then(|| format!("made {made} segments of {} records", figures.timed))
}
