//! The promises for a log on a network file system, and what becomes of it there otherwise.

use crate::kind::Result;
use crate::power::text;
use crate::promise::{Found, Notes, Promises};
use crate::record::line;
use crate::server::Network;
use logrotor::inspect::Inspection;
use logrotor::reader::LogReader;
use logrotor::{Compression, Durability, Event, FileLock, LogBuilder, RotatingFileWriter, Wait};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn log(dir: &Path) -> LogBuilder {
    RotatingFileWriter::builder(dir.join("app.log"))
}

/// A check of a promise, for a log in a directory.
pub type Check = fn(&Network, &Path) -> Result<()>;

/// The promises for a log whose workers are all on one machine. All must hold.
pub const HOLDS: [(&str, Check); 5] = [
    ("the file system is detected, and a local one is not", network_is_detected),
    ("nothing replaces a backup", no_backup_is_replaced),
    ("locks between processes", locks_hold),
    ("workers, gzip, a follower: each record once, in order", workers_share),
    (
        "workers killed while they write, rotate and compress: no record lost",
        killed_workers_lose_nothing,
    ),
];

fn network_is_detected(network: &Network, dir: &Path) -> Result<()> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let observer = move |event: &Event| {
        if let (Event::NetworkFileSystem { path, kind, .. }, Ok(mut events)) = (event, sink.lock())
        {
            events.push((path.clone(), kind.clone()));
        }
    };
    let log = log(dir).observer(observer).build()?;
    expect("the writer", log.network_file_system(), Some(network.reported_as))?;
    (&log).write_all(b"a record\n")?;
    log.rotate()?;
    let path = log.path();
    log.close()?;
    let events = events.lock().map_err(|_| "the observer has panicked")?;
    expect("the observer", &*events, &vec![(path, network.reported_as.to_owned())])?;
    expect(
        "the inspection",
        Inspection::of(dir.join("app.log"))?.network_file_system,
        Some(network.reported_as.to_owned()),
    )?;
    let local = notes(dir).with_extension("local");
    let log = self::log(&local).build()?;
    expect("the writer of a local log", log.network_file_system(), None)
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Result<()> {
    if is == should {
        return Ok(());
    }
    Err(format!("{what} says {is:?} and not {should:?}").into())
}

fn no_backup_is_replaced(_: &Network, dir: &Path) -> Result<()> {
    let naming = logrotor::Naming::Number;
    let log = log(dir).naming(naming).build()?;
    for text in ["one\n", "two\n"] {
        (&log).write_all(text.as_bytes())?;
        log.rotate()?;
    }
    for (name, text) in [("app.log.2", "one\n"), ("app.log.1", "two\n")] {
        expect(name, std::fs::read_to_string(dir.join(name))?.as_str(), text)?;
    }
    Ok(())
}

/// A lock that one process has is refused to another.
fn locks_hold(_: &Network, dir: &Path) -> Result<()> {
    let lock = FileLock::open(dir.join("lock"))?;
    let guard = lock.exclusive(Wait::Never)?;
    let other = || -> Result<Option<i32>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lock", text(&dir.join("lock"))]).stderr(Stdio::null());
        Ok(command.status()?.code())
    };
    expect("the other, while it is held,", other()?, Some(1))?;
    guard.unlock()?;
    expect("the other", other()?, Some(0))
}

/// The other process: tries to take a lock.
///
/// # Errors
/// If the lock is held.
pub fn take_lock(path: &Path) -> Result<()> {
    FileLock::open(path)?.exclusive(Wait::Never)?.unlock()?;
    Ok(())
}

/// Of workers that share a log, at most.
const WORKERS: u32 = 4;
const RECORDS: u64 = 2000;

/// Workers, killed when they are dropped.
struct Workers(Vec<Child>);

impl Workers {
    fn start(dirs: &[&Path], notes: &Path, first: u64) -> Result<Self> {
        let mut workers = Self(Vec::new());
        for (worker, dir) in dirs.iter().enumerate() {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["append", text(dir), text(notes)]);
            command.args([worker.to_string(), first.to_string()]);
            workers.0.push(command.spawn()?);
        }
        Ok(workers)
    }

    fn finish(mut self) -> Result<()> {
        for worker in &mut self.0 {
            let status = worker.wait()?;
            if !status.success() {
                return Err(format!("a worker has ended: {status}").into());
            }
        }
        self.0.clear();
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

/// A worker: appends records, and notes each whose call has returned.
///
/// # Errors
/// Any failure; none is expected.
pub fn append(dir: &Path, notes: &Path, worker: u32, first: u64) -> Result<()> {
    let notes = Notes::open(notes)?;
    let mut log = log(dir).max_size(20_000).compression(Compression::Gzip).build()?;
    for seq in first..first + RECORDS {
        log.write_all(line(worker, seq).as_bytes())?;
        notes.promised(worker, seq, seq + 1)?;
    }
    log.close()?;
    Ok(())
}

/// The file for the promises of a log in `dir`: beside the mounts.
fn notes(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.parent().unwrap_or(dir).with_file_name(format!("notes-{name}"))
}

/// All records of a log, once.
fn read(dir: &Path) -> Result<Found> {
    let mut found = Found::default();
    for record in LogReader::open(dir.join("app.log"))?.records() {
        found.line(record.map_err(|damage| damage.to_string())?.bytes());
    }
    Ok(found)
}

fn expect_all(found: &Found, workers: u32) -> Result<()> {
    let all = (0..workers).map(|worker| (worker, (0..RECORDS).collect())).collect();
    if found.records == all && found.torn == 0 {
        return Ok(());
    }
    let (is, should) = (found.count(), u64::from(workers) * RECORDS);
    Err(format!("{is} of {should} records, {} torn lines, {:?}", found.torn, found.check_order())
        .into())
}

fn workers_share(network: &Network, dir: &Path) -> Result<()> {
    log(dir).build()?;
    let workers = Workers::start(&vec![dir; network.workers as usize], &notes(dir), 0)?;
    let all = (u64::from(network.workers) * RECORDS) as usize;
    let follower = {
        let mut log = LogReader::builder(dir.join("app.log"))
            .follow()
            .poll_interval(Duration::from_millis(20))
            .open()?;
        std::thread::spawn(move || -> Result<Found> {
            let mut found = Found::default();
            let mut record = logrotor::reader::Record::new();
            while found.count() + found.torn < all
                && log.read_record(&mut record).map_err(|damage| damage.to_string())?
            {
                found.line(record.bytes());
            }
            Ok(found)
        })
    };
    workers.finish()?;
    expect_all(&read(dir)?, network.workers).map_err(|why| format!("the reader: {why}"))?;
    let followed = follower.join().map_err(|_| "the follower has panicked")??;
    expect_all(&followed, network.workers).map_err(|why| format!("the follower: {why}"))?;
    expect_tidy(network, dir)
}

/// Expects no uncompressed backup, no unfinished work, and no file that the client keeps under
/// another name because it was open.
fn expect_tidy(network: &Network, dir: &Path) -> Result<()> {
    let mut log = log(dir).compression(Compression::Gzip).build()?;
    // The lock file of a killed worker is removed by the next rotation.
    log.write_all(line(WORKERS, 0).as_bytes())?;
    log.rotate()?;
    log.close()?;
    let mut names = untidy(dir)?;
    // The client removes the file of a dead process asynchronously.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !names.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        if network.rounds_times {
            // A backup may count as one that another program has just put there.
            self::log(dir).compression(Compression::Gzip).build()?.close()?;
        }
        names = untidy(dir)?;
    }
    expect("the directory", names, Vec::new())
}

/// The files in the directory besides the log and its compressed backups.
fn untidy(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name != "app.log" && !name.ends_with("Z.gz"));
    Ok(names)
}

fn killed_workers_lose_nothing(network: &Network, dir: &Path) -> Result<()> {
    const ROUNDS: u64 = 8;
    for round in 0..ROUNDS {
        let before = std::fs::metadata(notes(dir)).map_or(0, |file| file.len());
        let workers = Workers::start(
            &vec![dir; network.workers.min(2) as usize],
            &notes(dir),
            round * RECORDS,
        )?;
        // Enough for at least one rotation.
        while std::fs::metadata(notes(dir)).map_or(0, |file| file.len()) < before + 5000 {
            std::thread::yield_now();
        }
        drop(workers);
    }
    log(dir).compression(Compression::Gzip).build()?.close()?;
    let promises = Promises::parse(&std::fs::read(notes(dir))?);
    let found = read(dir)?;
    found.check_order()?;
    match promises.lost(&found).as_slice() {
        [] => expect_tidy(network, dir),
        lost => Err(format!("{} of {} lost: {:?}", lost.len(), promises.count(), lost[0]).into()),
    }
}

/// Runs a program whose temporary files are on the network file system.
///
/// # Errors
/// If it cannot be run, or does not succeed.
pub fn run_on(client: &Path, command: &[&str]) -> Result<()> {
    let status = Command::new(command[0]).args(&command[1..]).env("TMPDIR", client).status()?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

/// Reports, without a promise, the fate of records when a worker in each of these directories,
/// which are mounts of one, writes to one log.
///
/// # Errors
/// If it cannot be tested.
pub fn share_beyond_promise(dirs: &[&Path]) -> Result<String> {
    dirs.iter().try_for_each(std::fs::create_dir_all)?;
    log(dirs[0]).durability(Durability::None).build()?;
    let workers = Workers::start(dirs, &notes(dirs[0]), 0)?;
    let ended = workers.finish();
    let found = match read(dirs[0]) {
        Ok(found) => found,
        Err(why) => return Ok(format!("the log cannot be read: {why}")),
    };
    let all = dirs.len() * RECORDS as usize;
    let lost = all.saturating_sub(found.count());
    Ok(format!(
        "{lost} of {all} records lost, {} torn lines; {}; {}",
        found.torn,
        found.check_order().map_or_else(|why| why, |()| "none doubled".to_owned()),
        ended.map_or_else(|why| why.to_string(), |()| "no worker had an error".to_owned()),
    ))
}

/// Facts about the file system that decide how the crate works on it.
///
/// # Errors
/// If they cannot be determined.
pub fn facts(dir: &Path) -> Result<String> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    std::fs::write(dir.join("a"), "a")?;
    let born = std::fs::metadata(dir.join("a"))?.created();
    let renamed = renameat_with(CWD, dir.join("a"), CWD, dir.join("b"), RenameFlags::NOREPLACE);
    let kept = File::open(dir.join(if renamed.is_ok() { "b" } else { "a" }))?;
    std::fs::remove_file(dir.join(if renamed.is_ok() { "b" } else { "a" }))?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name.starts_with(".nfs"));
    drop(kept);
    Ok(format!(
        "birth time: {}; renameat2 without replacing: {renamed:?}; a removed file that is open: {}",
        born.map_or_else(|error| error.to_string(), |_| "yes".to_owned()),
        names.first().map_or("gone", |_| ".nfs.. until it is closed"),
    ))
}
