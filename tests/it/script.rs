//! Random scripts: workers write, rotate, reopen and die, the clock jumps, and other programs move,
//! remove and truncate files. A model says which records must be found in the end.

use crate::support::{Dir, Job, Worker, is_long, record};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

const WORKERS: usize = 3;
/// 2027-01-15 12:00 UTC.
const START: i64 = 1_800_014_400;

/// One step of a script. Workers and files are chosen by a number, modulo how many exist.
#[derive(Debug, Clone)]
enum Deed {
    Write(usize),
    Rotate(usize),
    Reopen(usize),
    /// `kill -9` of an idle worker. Another process replaces it.
    Kill(usize),
    /// `kill -9` right after the command to write.
    KillInWrite(usize),
    KillInRotate(usize),
    /// Moves the clock of all workers by so many seconds, ahead or back.
    Tick(i64),
    Foreign(Foreign),
}

/// An action of another program.
#[derive(Debug, Clone)]
enum Foreign {
    MoveLog,
    RemoveLog,
    CutLog,
    MoveBackup(usize),
    RemoveBackup(usize),
    RemoveLockFile,
}

fn deeds(foreign: bool) -> impl Strategy<Value = Vec<Deed>> {
    let worker = || 0..WORKERS;
    let own = prop_oneof![
        12 => worker().prop_map(Deed::Write),
        2 => worker().prop_map(Deed::Rotate),
        1 => worker().prop_map(Deed::Reopen),
        1 => worker().prop_map(Deed::Kill),
        1 => worker().prop_map(Deed::KillInWrite),
        1 => worker().prop_map(Deed::KillInRotate),
        2 => prop::sample::select(vec![1, 60, 3_600, 86_400, 31_536_000, -1, -60, -3_600, -86_400])
            .prop_map(Deed::Tick),
    ];
    let others = prop_oneof![
        Just(Foreign::MoveLog),
        Just(Foreign::RemoveLog),
        Just(Foreign::CutLog),
        (0..8_usize).prop_map(Foreign::MoveBackup),
        (0..8_usize).prop_map(Foreign::RemoveBackup),
        Just(Foreign::RemoveLockFile),
    ];
    let deed = prop_oneof![
        9 => own,
        u32::from(foreign) => others.prop_map(Deed::Foreign),
    ];
    prop::collection::vec(deed, 1..60)
}

/// The settings of the log.
#[derive(Debug, Clone, Copy)]
struct Setup {
    max_size: usize,
    numbered: bool,
    gzip: bool,
    foreign: bool,
}

fn setups() -> impl Strategy<Value = (Setup, Vec<Deed>)> {
    let choices = (100..2_000_usize, any::<bool>(), any::<bool>(), any::<bool>());
    choices.prop_flat_map(|(max_size, numbered, gzip, foreign)| {
        (Just(Setup { max_size, numbered, gzip, foreign }), deeds(foreign))
    })
}

/// The state of a record in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The record was acknowledged.
    Once,
    /// Its worker died before it acknowledged the record.
    AtMostOnce,
    /// Another program has removed the file that it was in.
    Never,
}

struct Play {
    dir: Dir,
    /// The directory into which other programs move files.
    aside: Dir,
    job: Job,
    /// Each with the number in its records, and with the number of records written.
    workers: Vec<(Worker, usize, usize)>,
    next: usize,
    clock: i64,
    fates: BTreeMap<String, Fate>,
    moved: Vec<PathBuf>,
}

impl Play {
    fn new(setup: Setup) -> Self {
        let dir = Dir::new();
        let mut job = Job::new("obey", &dir.log()).with("max_size", setup.max_size);
        // Either the actions of other programs are detected at once and there are no threads, or
        // workers detect only what they must and threads compress.
        job = match setup.foreign {
            true => job.with("check_ms", 0).with("inline", 1),
            false => job.with("check_ms", 3_600_000),
        };
        for (key, is_set) in [("numbered", setup.numbered), ("gzip", setup.gzip)] {
            job = if is_set { job.with(key, 1) } else { job };
        }
        let aside = Dir::new();
        let (workers, moved, fates) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut play = Self { dir, aside, job, workers, next: 0, clock: START, fates, moved };
        play.workers = (0..WORKERS).map(|_| play.start()).collect();
        play
    }

    fn start(&mut self) -> (Worker, usize, usize) {
        let mut worker = self.job.clone().with("clock", self.clock).spawn();
        worker.expect("ready");
        self.next += 1;
        (worker, self.next, 0)
    }

    fn next_record(&mut self, at: usize, fate: Fate) -> String {
        let (_, id, seq) = &mut self.workers[at];
        let text = record(*id, *seq).trim_end().to_owned();
        *seq += 1;
        self.fates.insert(text.clone(), fate);
        text
    }

    fn do_(&mut self, deed: &Deed) {
        match *deed {
            Deed::Write(at) => {
                let text = self.next_record(at, Fate::Once);
                self.workers[at].0.write(&text);
            }
            Deed::Rotate(at) => assert_eq!(self.workers[at].0.ask("rotate"), "ok"),
            Deed::Reopen(at) => assert_eq!(self.workers[at].0.ask("reopen"), "ok"),
            Deed::Kill(at) => self.replace(at),
            Deed::KillInWrite(at) => {
                let text = self.next_record(at, Fate::AtMostOnce);
                self.workers[at].0.tell(&format!("write {text}"));
                self.replace(at);
            }
            Deed::KillInRotate(at) => {
                self.workers[at].0.tell("rotate");
                self.replace(at);
            }
            Deed::Tick(seconds) => {
                self.clock += seconds;
                for (worker, ..) in &mut self.workers {
                    assert_eq!(worker.ask(&format!("clock {}", self.clock)), "ok");
                }
            }
            Deed::Foreign(ref deed) => self.interfere(deed),
        }
    }

    fn replace(&mut self, at: usize) {
        self.workers[at].0.kill();
        self.workers[at] = self.start();
    }

    fn interfere(&mut self, deed: &Foreign) {
        match *deed {
            Foreign::MoveLog => self.move_aside("app.log"),
            Foreign::RemoveLog => {
                self.forget("app.log");
                let _ = std::fs::remove_file(self.dir.log());
            }
            Foreign::CutLog => {
                self.forget("app.log");
                if let Ok(file) = std::fs::File::options().write(true).open(self.dir.log()) {
                    file.set_len(0).unwrap();
                }
            }
            Foreign::MoveBackup(at) => {
                if let Some(name) = self.backup(at) {
                    self.move_aside(&name);
                }
            }
            Foreign::RemoveBackup(at) => {
                if let Some(name) = self.backup(at) {
                    self.forget(&name);
                    std::fs::remove_file(self.dir.file(&name)).unwrap();
                }
            }
            Foreign::RemoveLockFile => {
                let _ = std::fs::remove_file(self.dir.file("app.log.lock"));
            }
        }
    }

    fn backup(&self, at: usize) -> Option<String> {
        let backups = self.dir.backups();
        // A worker that was killed may have left a backup both compressed and uncompressed. Then
        // the record is in another file as well.
        let is_superseded = |name: &String| {
            let key = name.trim_end_matches(".gz");
            backups.iter().filter(|other| other.trim_end_matches(".gz") == key).count() > 1
        };
        let single: Vec<_> = backups.iter().filter(|name| !is_superseded(name)).collect();
        single.get(at % single.len().max(1)).map(|name| (*name).clone())
    }

    /// The present records of a file are removed with it.
    fn forget(&mut self, name: &str) {
        for line in self.dir.lines_of(name) {
            self.fates.insert(line, Fate::Never);
        }
    }

    fn move_aside(&mut self, name: &str) {
        let to = self.aside.file(&format!("{}.{name}", self.moved.len()));
        if std::fs::rename(self.dir.file(name), &to).is_ok() {
            self.moved.push(to);
        }
    }

    /// Ends all workers, and makes a new one finish the maintenance. Then the log must be as the
    /// model says.
    fn check(mut self) {
        for (worker, ..) in self.workers.drain(..) {
            worker.finish();
        }
        let (mut last, id, _) = self.start();
        let text = record(id, 0).trim_end().to_owned();
        last.write(&text);
        self.fates.insert(text, Fate::Once);
        assert_eq!(last.ask("rotate"), "ok");
        assert_eq!(last.ask("close"), "ok");
        last.finish();

        let lines = self.dir.all_lines();
        check_order(&lines);
        let moved = self.moved.iter().flat_map(|path| crate::support::lines_at(path));
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for line in lines.into_iter().chain(moved) {
            *found.entry(line).or_default() += 1;
        }
        for (text, times) in &found {
            let fate = self.fates.get(text).copied();
            let most = if matches!(fate, Some(Fate::Once | Fate::AtMostOnce)) { 1 } else { 0 };
            assert!(*times <= most, "found {times} times, but it is {fate:?}: {text}");
        }
        let is_lost =
            |(text, fate): &(&String, &Fate)| **fate == Fate::Once && !found.contains_key(*text);
        assert_eq!(self.fates.iter().find(is_lost), None);
        let (names, backups) = (self.dir.names(), self.dir.backups());
        assert_eq!(names.len(), backups.len() + 1, "{names:?}");
    }
}

/// Checks that the records of each worker are in the order in which it wrote them.
fn check_order(lines: &[String]) {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for line in lines {
        let (worker, rest) = line.split_once(' ').unwrap();
        let before = last.insert(worker, rest);
        assert!(before.is_none_or(|before| before < rest), "{before:?} comes before {line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if is_long() { 3_000 } else { 100 },
        max_shrink_iters: 300,
        // A failure is reported whole, and becomes a test of its own.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_script_leaves_what_the_model_says((setup, deeds) in setups()) {
        let mut play = Play::new(setup);
        for deed in &deeds {
            play.do_(deed);
        }
        play.check();
    }
}
