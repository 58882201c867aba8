//! logrotor measured against other rotating log writers: one command, one report.

mod check;
mod contestants;
mod job;
mod line;
mod machine;
mod measure;
mod plots;
mod report;
mod scenarios;
mod summary;
mod supervise;
mod worker;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use contestants::{Entry, Launch, python};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use report::Preface;
use scenarios::{Case, Place, Scale, Scenario};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use summary::{Rounds, Table};
use supervise::{Ground, Neighbors};
use tempfile::TempDir;

/// Measures logrotor and its peers, and writes RESULTS.md with its plots.
#[derive(Debug, Parser)]
struct Options {
    /// Little work and one round: shows that everything runs, in about a minute
    #[arg(long)]
    quick: bool,
    /// Rounds of each case, all contestants in each [default: 5, quick: 1]
    #[arg(long)]
    rounds: Option<u32>,
    /// Only these scenarios, by letter
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Only contestants whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Directory of RESULTS.md and plots/ [default: benches/ of this repository]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Directory for logs on disk [default: the system's, for temporary files]
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Directory for logs in memory
    #[arg(long, default_value = "/dev/shm")]
    memory: PathBuf,
    /// Seed of the order of contestants [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Processes that keep a processor busy meanwhile
    #[arg(long, value_name = "N", default_value_t = 0)]
    neighbors: u32,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("worker") => work(arguments.get(2).context("a worker needs its job")?),
        Some("neighbor") => supervise::keep_busy(),
        _ => compare(&Options::parse(), &arguments[1..]),
    }
}

/// A worker's own words on what went wrong become a remark in the report.
fn work(job: &str) -> Result<()> {
    worker::main(job).or_else(|error| {
        eprintln!("{error:#}");
        exit(1)
    })
}

fn compare(options: &Options, arguments: &[String]) -> Result<()> {
    let start = Instant::now();
    let entries = contestants::all();
    let entries: Vec<&Entry> = entries.iter().filter(|entry| options.wants(entry)).collect();
    ensure!(!entries.is_empty(), "no contestant is called so");
    let venue = Venue::open(options, &entries)?;
    let seed = options.seed();
    eprintln!("seed {seed}");
    let _neighbors = Neighbors::start(options.neighbors)?;
    let mut season = Season { options, entries, venue, order: StdRng::seed_from_u64(seed) };
    let tables = season.play()?;
    let preface = season.preface(arguments, seed, start.elapsed());
    publish(&options.out(), &preface, &season.entries, &tables)
}

fn publish(out: &Path, preface: &Preface, entries: &[&Entry], tables: &[Table]) -> Result<()> {
    let plots_dir = out.join("plots");
    fs::create_dir_all(&plots_dir)
        .with_context(|| format!("failed to create `{}`", plots_dir.display()))?;
    let plots = plots::draw(tables, &plots_dir)?;
    let plots: Vec<_> = plots.into_iter().map(|(t, file)| (t, format!("plots/{file}"))).collect();
    let path = out.join("RESULTS.md");
    let appendix = appendix(&fs::read_to_string(&path).unwrap_or_default());
    fs::write(&path, report::markdown(preface, entries, tables, &plots) + &appendix)
        .with_context(|| format!("failed to write `{}`", path.display()))?;
    eprintln!("wrote {} after {} s", path.display(), preface.seconds);
    Ok(())
}

/// The part of the results that another harness has appended.
fn appendix(results: &str) -> String {
    const BEGINNING: &str = "<!-- From here on written by ";
    results.find(BEGINNING).map(|at| results[at..].to_owned()).unwrap_or_default()
}

impl Options {
    fn scale(&self) -> Scale {
        if self.quick { Scale::Quick } else { Scale::Full }
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    fn scenarios(&self) -> &[Scenario] {
        if self.scenario.is_empty() { &Scenario::ALL } else { &self.scenario }
    }

    fn wants(&self, entry: &Entry) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| entry.name.contains(part.as_str()))
    }

    fn out(&self) -> PathBuf {
        let benches = || Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        self.out.clone().unwrap_or_else(benches)
    }

    fn disk(&self) -> PathBuf {
        self.disk.clone().unwrap_or_else(std::env::temp_dir)
    }

    fn seed(&self) -> u64 {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.seed.unwrap_or_else(|| clock().as_secs())
    }
}

/// Where the logs are written, for as long as the run lasts.
struct Venue {
    disk: TempDir,
    /// None where the directory is not in memory: its scenario is left out then.
    memory: Option<TempDir>,
    /// Rounds of thinking for a case that thinks.
    think: u32,
    python: Result<PathBuf>,
}

impl Venue {
    fn open(options: &Options, entries: &[&Entry]) -> Result<Self> {
        let temporary = |dir: &Path| {
            TempDir::with_prefix_in("peers-", dir)
                .with_context(|| format!("failed to create a directory in `{}`", dir.display()))
        };
        let in_memory = machine::file_system(&options.memory).as_deref() == Some("tmpfs");
        let disk = temporary(&options.disk())?;
        let wanted = options.scenarios().contains(&Scenario::Processes)
            && entries.iter().any(|entry| matches!(entry.launch, Launch::Python));
        let python = if wanted {
            python::install(disk.path())
        } else {
            Err(anyhow::anyhow!("not asked for"))
        };
        Ok(Self {
            memory: in_memory.then(|| temporary(&options.memory)).transpose()?,
            think: measure::calibrate(scenarios::THINK),
            disk,
            python,
        })
    }

    fn ground(&self, place: Place) -> Option<Ground> {
        let dir = match place {
            Place::Disk => &self.disk,
            Place::Memory => self.memory.as_ref()?,
        };
        let python = self.python.as_ref().ok().cloned();
        Some(Ground { dir: dir.path().to_owned(), think: self.think, python })
    }

    /// The reason that `entry` is not measured in `case`.
    fn refusal(&self, entry: &Entry, case: &Case) -> Option<String> {
        match (entry.launch, &self.python) {
            (Launch::Python, Err(reason)) => Some(format!("skipped: {reason:#}")),
            _ => entry.refusal(case.scenario.needs()).map(str::to_owned),
        }
    }
}

/// All cases, all rounds, all contestants.
struct Season<'a> {
    options: &'a Options,
    entries: Vec<&'a Entry>,
    venue: Venue,
    order: StdRng,
}

impl Season<'_> {
    fn play(&mut self) -> Result<Vec<Table>> {
        let mut tables = Vec::new();
        for case in scenarios::cases(self.options.scenarios(), self.options.scale()) {
            match self.venue.ground(case.place) {
                Some(ground) => tables.push(self.case(case, &ground)),
                None => eprintln!(
                    "({}) left out: no tmpfs at `{}`",
                    case.scenario.letter(),
                    self.options.memory.display()
                ),
            }
        }
        Ok(tables)
    }

    /// One case: in each round every contestant once, in a new order.
    fn case(&mut self, case: Case, ground: &Ground) -> Table {
        let here = |entry: &&&Entry| entry.scenarios.contains(&case.scenario);
        let entries: Vec<&Entry> = self.entries.iter().filter(here).copied().collect();
        let mut rounds: Vec<Rounds> = entries
            .iter()
            .map(|entry| {
                self.venue
                    .refusal(entry, &case)
                    .map_or_else(Rounds::default, |r| Rounds::refused(&r))
            })
            .collect();
        for round in 1..=self.options.rounds() {
            eprintln!("({}) {}, round {round}", case.scenario.letter(), case.title());
            let mut order: Vec<usize> =
                (0..entries.len()).filter(|&i| rounds[i].is_open()).collect();
            order.shuffle(&mut self.order);
            for number in order {
                rounds[number].add(supervise::run(entries[number], &case, ground));
            }
        }
        let rows = rounds.iter().zip(&entries).map(|(rounds, entry)| rounds.row(entry, &case));
        Table { rows: rows.collect(), case }
    }

    fn preface(&self, arguments: &[String], seed: u64, took: Duration) -> Preface {
        let command = "cargo run --release --manifest-path benches/peers/Cargo.toml --";
        Preface {
            command: format!("{command} {}", arguments.join(" ")),
            date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            rounds: self.options.rounds(),
            neighbors: self.options.neighbors,
            seed,
            seconds: took.as_secs(),
            machine: machine::facts(&self.options.memory, self.venue.disk.path()),
            think_micros: scenarios::THINK.as_micros(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_harness_has_written_is_kept() {
        assert_eq!(appendix("# Results\n"), "");
        let old = "# Results\n\n<!-- From here on written by benches/pipe.sh. -->\n## (h)\n";
        assert_eq!(appendix(old), &old["# Results\n\n".len()..]);
    }
}
