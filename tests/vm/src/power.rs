//! The machine whose power fails. Needs root in a virtual machine of its own, with dm-log-writes.

use crate::device::{Cache, Entry, WriteLog};
use crate::kind::{Kept, Kind, PROCESSES, Result};
use crate::promise::Promises;
use fastrand::Rng;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The work and the number of its repetitions.
pub struct Plan {
    /// A directory with room for the disks, on a device that is not cut.
    pub dir: PathBuf,
    /// The seed of all random choices.
    pub seed: u64,
    /// The number of times a worker is killed and replaced before the power fails.
    pub reliefs: usize,
    /// The number of moments at which it fails.
    pub cuts: usize,
}

/// A file system that a log may be on.
#[derive(Debug, Clone, Copy)]
pub struct FileSystem {
    /// Its name for `mount`.
    pub name: &'static str,
    /// The smallest disk that it accepts, approximately, in MiB.
    mib: u64,
    make: &'static [&'static str],
    options: &'static str,
}

/// The tested file systems.
pub const FILE_SYSTEMS: [FileSystem; 3] = [
    FileSystem { name: "ext4", mib: 64, make: &["mkfs.ext4", "-q", "-F"], options: "defaults" },
    FileSystem { name: "xfs", mib: 320, make: &["mkfs.xfs", "-q", "-f"], options: "nouuid" },
    FileSystem { name: "btrfs", mib: 160, make: &["mkfs.btrfs", "-q", "-f"], options: "defaults" },
];

/// Runs a program that must succeed, and returns its output.
pub(crate) fn run(line: &[&str]) -> Result<String> {
    let output = Command::new(line[0]).args(&line[1..]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{line:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// A file as a block device, until it is dropped.
pub(crate) struct Loop(pub(crate) String);

impl Loop {
    pub(crate) fn of(file: &Path) -> Result<Self> {
        Ok(Self(run(&["losetup", "--find", "--show", text(file)])?))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run(&["losetup", "--detach", &self.0]);
    }
}

/// A mounted file system, until it is dropped.
pub(crate) struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    pub(crate) fn new(of: &str, device: &str, options: &str, at: &'a Path) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        run(&["mount", "-t", of, "-o", options, device, text(at)])?;
        Ok(Self(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = run(&["umount", text(self.0)]);
    }
}

/// A device whose writes are logged, until it is dropped.
struct Logged;

impl Logged {
    const PATH: &str = "/dev/mapper/power";

    fn new(disk: &Loop, log: &Loop, bytes: u64) -> Result<Self> {
        let table = format!("0 {} log-writes {} {}", bytes / 512, disk.0, log.0);
        run(&["dmsetup", "create", "power", "--table", &table])?;
        Ok(Self)
    }

    fn mark(text: &str) -> Result<()> {
        run(&["dmsetup", "message", "power", "0", "mark", text]).map(drop)
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = run(&["dmsetup", "remove", "power"]);
    }
}

/// The working processes, killed when they are dropped.
struct Workers<'a> {
    kind: Kind,
    dir: &'a Path,
    notes: &'a Path,
    /// The number of processes started in all.
    started: u64,
    running: Vec<Child>,
}

impl<'a> Workers<'a> {
    fn start(kind: Kind, dir: &'a Path, notes: &'a Path) -> Result<Self> {
        let mut workers = Self { kind, dir, notes, started: 0, running: Vec::new() };
        for _ in 0..PROCESSES {
            let worker = workers.spawn()?;
            workers.running.push(worker);
        }
        Ok(workers)
    }

    /// Starts one, as the first or second process by turns. Each has a range of numbers of its own.
    fn spawn(&mut self) -> Result<Child> {
        const FAR: u64 = 1_000_000;
        let (turn, processes) = (self.started, u64::from(PROCESSES));
        self.started += 1;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["work", self.kind.name(), text(self.dir), text(self.notes)]);
        command.args([(turn % processes).to_string(), (turn / processes * FAR).to_string()]);
        Ok(command.spawn()?)
    }

    /// Marks the log of writes while they work: until they got promises, but for a minimum time.
    fn work_on(&mut self) -> Result<()> {
        let noted = || std::fs::metadata(self.notes).map(|file| file.len());
        let (start, before) = (Instant::now(), noted()?);
        loop {
            // All notes so far were promised before the mark.
            let now = noted()?;
            Logged::mark(&now.to_string())?;
            if now > before && start.elapsed() >= RELIEF {
                return Ok(());
            }
            for worker in &mut self.running {
                if let Some(status) = worker.try_wait()? {
                    return Err(format!("a worker has ended: {status}").into());
                }
            }
        }
    }

    /// Kills the older one, and starts its replacement.
    fn relieve(&mut self) -> Result<()> {
        let older = &mut self.running[0];
        older.kill()?;
        older.wait()?;
        self.running[0] = self.spawn()?;
        self.running.rotate_left(1);
        Ok(())
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        for worker in &mut self.running {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

/// The writes and promises of two processes.
struct Recording {
    log: WriteLog,
    notes: Vec<u8>,
    /// Numbers of entries, each with the number of bytes of notes that existed by then, at least.
    marks: Vec<(usize, usize)>,
}

/// Tests one promise on one file system. Returns a report.
///
/// # Errors
/// The first broken promise, with all data needed to reproduce it.
pub fn test(plan: &Plan, on: FileSystem, kind: Kind) -> Result<String> {
    run(&["modprobe", "--all", "loop", "dm-log-writes"])?;
    let base = plan.dir.join("base");
    make(on, &base)?;
    let mut rng = Rng::with_seed(plan.seed ^ (kind as u64) << 32);
    let recording = record(plan, on, kind, &base)?;
    let mut all = Kept::default();
    let disk = File::options().write(true).open(&base)?;
    let mut certain = 0;
    for cut in recording.cuts(plan.cuts, &mut rng) {
        certain = recording.log.put_certain(&disk, certain, cut)?;
        let kept = recording.check(plan, on, kind, [certain, cut], &mut Cache::any(&mut rng));
        let kept = kept.map_err(|why| {
            let entries = recording.log.entries.len();
            format!("{} on {}, cut after {cut} of {entries} writes: {why}", kind.name(), on.name)
        })?;
        all.promises += kept.promises;
        all.found += kept.found;
        all.torn += kept.torn;
        all.lost += kept.lost;
    }
    recording.report(plan, on, kind, &all)
}

/// Creates a file system in a file.
fn make(on: FileSystem, file: &Path) -> Result<()> {
    let _ = std::fs::remove_file(file);
    File::create(file)?.set_len(on.mib << 20)?;
    let line: Vec<_> = on.make.iter().copied().chain([text(file)]).collect();
    run(&line).map(drop)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(&["cp", "--sparse=always", text(from), text(to)]).map(drop)
}

/// Runs two processes on a copy of `base`.
fn record(plan: &Plan, on: FileSystem, kind: Kind, base: &Path) -> Result<Recording> {
    let [disk, log, notes, at] = ["disk", "log", "notes", "work"].map(|name| plan.dir.join(name));
    copy(base, &disk)?;
    for file in [&log, &notes] {
        let _ = std::fs::remove_file(file);
    }
    File::create(&notes)?;
    File::create(&log)?.set_len(LOG)?;
    {
        let (disk, log) = (Loop::of(&disk)?, Loop::of(&log)?);
        let _device = Logged::new(&disk, &log, on.mib << 20)?;
        let _mount = Mount::new(on.name, Logged::PATH, on.options, &at)?;
        Logged::mark("0")?;
        let mut workers = Workers::start(kind, &at, &notes)?;
        for _ in 0..plan.reliefs {
            workers.work_on()?;
            workers.relieve()?;
        }
        drop(workers);
        Logged::mark(END)?;
    }
    Recording::read(WriteLog::read(File::open(&log)?)?, std::fs::read(&notes)?)
}

/// The minimum time for which two workers work together.
const RELIEF: Duration = Duration::from_millis(150);
/// More than is ever logged; it needs no more room than its content.
const LOG: u64 = 4 << 30;
/// The mark after which writes no longer matter.
const END: &str = "end";

impl Recording {
    fn read(log: WriteLog, notes: Vec<u8>) -> Result<Self> {
        let mut marks = Vec::new();
        for (at, entry) in log.entries.iter().enumerate() {
            match entry {
                Entry::Mark(text) if text == END => break,
                Entry::Mark(text) => marks.push((at, text.parse()?)),
                Entry::Write { .. } => {}
            }
        }
        if marks.len() < 2 {
            return Err("the log of writes has no marks".into());
        }
        Ok(Self { log, notes, marks })
    }

    /// Moments after the first mark, in order. One is right after the last mark, when most is
    /// promised.
    fn cuts(&self, count: usize, rng: &mut Rng) -> Vec<usize> {
        let (first, last) = (self.marks[0].0, self.marks[self.marks.len() - 1].0);
        let any = |_| first + 1 + rng.u64(..(last - first) as u64) as usize;
        let mut cuts: Vec<_> = (1..count).map(any).chain([last + 1]).collect();
        cuts.sort_unstable();
        cuts
    }

    /// The promises made before the first `cut` entries.
    fn promises(&self, cut: usize) -> Promises {
        let passed = self.marks.partition_point(|(at, _)| *at < cut);
        Promises::parse(&self.notes[..self.marks[passed.saturating_sub(1)].1])
    }

    /// Cuts the power after `cut` entries, and checks the result on a copy of the base, which has
    /// the first `certain`.
    fn check(
        &self,
        plan: &Plan,
        on: FileSystem,
        kind: Kind,
        [certain, cut]: [usize; 2],
        cache: &mut Cache,
    ) -> Result<Kept> {
        let (trial, at) = (plan.dir.join("trial"), plan.dir.join("look"));
        copy(&plan.dir.join("base"), &trial)?;
        self.log.put_uncertain(&File::options().write(true).open(&trial)?, certain, cut, cache)?;
        let disk = Loop::of(&trial)?;
        let mount = Mount::new(on.name, &disk.0, on.options, &at)?;
        let kept = kind.check(&at, &self.promises(cut));
        drop(mount);
        kept
    }

    fn report(&self, plan: &Plan, on: FileSystem, kind: Kind, all: &Kept) -> Result<String> {
        let flushes = self.log.entries.iter().filter(|entry| entry.flushes()).count();
        let Kept { promises, found, torn, lost } = all;
        if kind == Kind::Nothing && *lost == 0 {
            return Err(format!("{}: no record without a promise was lost", on.name).into());
        }
        if *promises == 0 {
            return Err(format!("{} on {}: nothing was promised", kind.name(), on.name).into());
        }
        let outcome = match kind {
            Kind::Nothing => format!("{lost} of {promises} records without a promise lost"),
            Kind::Atomic | Kind::Policy => format!("{promises} promises kept"),
            _ => format!("{promises} promises kept; {found} records, {torn} torn lines"),
        };
        Ok(format!(
            "{:5} {:12} {} writes, {flushes} flushes, {} cuts: {outcome}",
            on.name,
            kind.name(),
            self.log.entries.len() - self.marks.len(),
            plan.cuts
        ))
    }
}
