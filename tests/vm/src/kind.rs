//! The promises under test: the work until the power fails, and the data that must exist
//! afterwards.

use crate::promise::{Found, Notes, Promises};
use crate::record::line;
use fastrand::Rng;
use flate2::read::GzDecoder;
use logrotor::atomic::{self, update};
use logrotor::inspect::Inspection;
use logrotor::reader::{Damage, DamageKind, LogReader};
use logrotor::{
    Compression, Config, Durability, Event, LogBuilder, Naming, RotatingFileWriter, Wait,
};
use std::error::Error;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A failure, in words.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `Durability::EveryRecord`: each record whose call has returned.
    Every,
    /// `sync`: this worker's records before it.
    Sync,
    /// `Durability::OnRotate`: the records in backups when `close` returns.
    OnRotate,
    /// Compression: the records of a compressed backup that an event has reported, without another
    /// sync.
    Compressed,
    /// `atomic::write` and `update`: the whole content, at least as new as that of the last call.
    Atomic,
    /// A policy: the last version, whole.
    Policy,
    /// No promise: some records must be lost, otherwise the power was not cut.
    Nothing,
}

/// Two processes work at a time.
pub const PROCESSES: u32 = 2;
/// The worker that writes after the power has come back.
const LATER: u32 = 99;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Every,
        Self::Sync,
        Self::OnRotate,
        Self::Compressed,
        Self::Atomic,
        Self::Policy,
        Self::Nothing,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Every => "every-record",
            Self::Sync => "sync",
            Self::OnRotate => "on-rotate",
            Self::Compressed => "compressed",
            Self::Atomic => "atomic",
            Self::Policy => "policy",
            Self::Nothing => "nothing",
        }
    }

    /// The kind with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn log(self, dir: &Path) -> LogBuilder {
        let log = RotatingFileWriter::builder(dir.join("app.log"));
        match self {
            Self::Every => log
                .durability(Durability::EveryRecord)
                .max_size(2000)
                .compression(Compression::Gzip),
            Self::Sync => log.max_size(3000).naming(Naming::Number).compression(Compression::Gzip),
            Self::OnRotate => log.durability(Durability::OnRotate).max_size(2000),
            Self::Compressed => log.max_size(3000).compression(Compression::Gzip),
            Self::Atomic | Self::Policy | Self::Nothing => log,
        }
    }

    /// Works in `dir` until this process is killed. Its records are numbered from `first`.
    ///
    /// # Errors
    /// Any failure; none is expected.
    pub fn work(self, dir: &Path, notes: &Path, process: u32, first: u64) -> Result<()> {
        let notes = Arc::new(Notes::open(notes)?);
        match self {
            Self::Every => self.write_every(dir, &notes, process, first),
            Self::Sync => self.write_and_sync(dir, &notes, process, first),
            Self::OnRotate => self.write_and_close(dir, &notes, process, first),
            Self::Compressed => self.write_and_compress(dir, notes, process, first),
            Self::Atomic => replace(dir, &notes, process, first),
            Self::Policy => change_policy(dir, &notes, process, first),
            Self::Nothing => write_promised(&self.log(dir).build()?, &notes, process, first),
        }
    }

    /// Two threads, whose records are promised separately.
    fn write_every(self, dir: &Path, notes: &Notes, process: u32, first: u64) -> Result<()> {
        let log = self.log(dir).build()?;
        std::thread::scope(|scope| {
            let second = scope.spawn(|| write_promised(&log, notes, 2 * process + 1, first));
            write_promised(&log, notes, 2 * process, first)?;
            second.join().map_err(|_| "a thread has panicked")?
        })
    }

    fn write_and_sync(self, dir: &Path, notes: &Notes, process: u32, first: u64) -> Result<()> {
        let mut rng = Rng::with_seed(first);
        let mut log = self.log(dir).build()?;
        let mut upto = first;
        loop {
            let from = upto;
            for _ in 0..=rng.u64(..40) {
                log.write_all(line(process, upto).as_bytes())?;
                upto += 1;
            }
            log.sync()?;
            notes.promised(process, from, upto)?;
            rest(&mut rng, 2);
        }
    }

    fn write_and_close(self, dir: &Path, notes: &Notes, process: u32, first: u64) -> Result<()> {
        let mut rng = Rng::with_seed(first);
        let mut upto = first;
        loop {
            let mut log = self.log(dir).build()?;
            let from = upto;
            for _ in 0..=rng.u64(..60) {
                log.write_all(line(process, upto).as_bytes())?;
                upto += 1;
            }
            log.rotate()?;
            log.close()?;
            notes.promised(process, from, upto)?;
            rest(&mut rng, 2);
        }
    }

    fn write_and_compress(
        self,
        dir: &Path,
        notes: Arc<Notes>,
        process: u32,
        first: u64,
    ) -> Result<()> {
        let observer = move |event: &Event| {
            if let Event::Compressed { to, .. } = event {
                // A backup that cannot be read is not promised, which shows as too few promises.
                let _ = promise_what_is_in(to, &notes);
            }
        };
        let mut log = self.log(dir).observer(observer).build()?;
        for seq in first.. {
            log.write_all(line(process, seq).as_bytes())?;
        }
        Ok(())
    }

    /// Checks the state that the power cut has left in `dir`.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn check(self, dir: &Path, promises: &Promises) -> Result<Kept> {
        match self {
            Self::Atomic => check_replaced(dir, promises),
            Self::Policy => check_policy(dir, promises),
            _ => self.check_log(dir, promises),
        }
    }

    fn check_log(self, dir: &Path, promises: &Promises) -> Result<Kept> {
        let before = read(dir, CompressedAt::BeforeTheCut)?;
        let torn_end = torn_end(dir);
        self.go_on(dir)?;
        let after = read(dir, CompressedAt::Since)?;
        let lost = promises.lost(&after);
        if self == Self::Nothing {
            return Ok(Kept { promises: promises.count(), lost: lost.len(), ..Kept::default() });
        }
        if let Some((worker, seq)) = lost.first() {
            let lost = lost.len();
            return Err(format!("{lost} promised records lost, of {worker} number {seq}").into());
        }
        check_gone_on(before, &after, torn_end.as_deref())?;
        Ok(Kept { promises: promises.count(), found: after.count(), torn: after.torn, lost: 0 })
    }

    /// Opens the log again, writes, rotates, and leaves no trace of unfinished work.
    fn go_on(self, dir: &Path) -> Result<()> {
        let mut log = self.log(dir).build().map_err(|error| said("opening", &error))?;
        log.write_all(line(LATER, 0).as_bytes())?;
        log.rotate()?;
        log.write_all(line(LATER, 1).as_bytes())?;
        log.sync()?;
        log.close().map_err(|error| said("closing", &error))?;
        let seen = Inspection::of(dir.join("app.log"))?;
        if !seen.leftovers.is_empty() || !seen.temporaries.is_empty() || !seen.strays.is_empty() {
            let Inspection { leftovers, temporaries, strays, .. } = seen;
            return Err(format!("left: {leftovers:?} {temporaries:?} {strays:?}").into());
        }
        Ok(())
    }
}

/// The bytes after the last line break of the active segment, if there are any.
fn torn_end(dir: &Path) -> Option<Vec<u8>> {
    let active = std::fs::read(dir.join("app.log")).unwrap_or_default();
    let end = active.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (end < active.len()).then(|| active[end..].to_vec())
}

/// Checks that the log has all records from before the power cut, and all written since. The first
/// of these may share a line with a torn record.
fn check_gone_on(mut before: Found, after: &Found, torn_end: Option<&[u8]>) -> Result<()> {
    if let Some((worker, seq)) = torn_end.and_then(crate::record::parse) {
        before.records.entry(worker).and_modify(|seqs| seqs.retain(|there| *there != seq));
    }
    before.records.insert(LATER, if torn_end.is_some() { vec![1] } else { vec![0, 1] });
    for (worker, seqs) in &before.records {
        let there = after.records.get(worker).map(Vec::as_slice).unwrap_or_default();
        let is_there = |seq| there.binary_search(seq).is_ok();
        if let Some(lost) = seqs.iter().find(|seq| !is_there(seq)) {
            return Err(format!("going on has lost record {lost} of {worker}").into());
        }
    }
    Ok(())
}

fn said(what: &str, error: &dyn Display) -> Box<dyn Error + Send + Sync> {
    format!("{what}: {error}").into()
}

/// After one promise in so many, does nothing for a while. Otherwise the next sync would save
/// unsynced data before the power can be cut.
fn rest(rng: &mut Rng, one_in: u64) {
    const AT_MOST: u64 = 40;
    if rng.u64(..one_in) == 0 {
        std::thread::sleep(Duration::from_millis(rng.u64(..AT_MOST)));
    }
}

fn write_promised(
    mut log: &RotatingFileWriter,
    notes: &Notes,
    worker: u32,
    first: u64,
) -> Result<()> {
    let mut rng = Rng::with_seed(first);
    for seq in first.. {
        log.write_all(line(worker, seq).as_bytes())?;
        notes.promised(worker, seq, seq + 1)?;
        rest(&mut rng, 40);
    }
    Ok(())
}

/// The data that was found as promised.
#[derive(Debug, Default)]
pub struct Kept {
    /// The number of promises, all of them kept.
    pub promises: usize,
    /// The number of records found, promised or not.
    pub found: usize,
    /// The number of lines that are no whole record, all without a promise.
    pub torn: usize,
    /// The number of lost records, where losses are expected.
    pub lost: usize,
}

/// The time at which the compressed backups of a log were compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CompressedAt {
    BeforeTheCut,
    Since,
}

impl CompressedAt {
    /// Records without a promise may leave holes in uncompressed segments, and in backups
    /// compressed since, but not in those compressed before. While backups are renumbered, a number
    /// may be free until the next rotation.
    fn allows(self, damage: &Damage) -> bool {
        match damage.kind() {
            DamageKind::Hole => self == Self::Since || !is_compressed(damage.segment()),
            DamageKind::Missing => self == Self::BeforeTheCut,
            _ => false,
        }
    }
}

/// Reads a log without its allowed damage.
fn read(dir: &Path, compressed: CompressedAt) -> Result<Found> {
    let mut found = Found::default();
    let path = dir.join("app.log");
    if !path.exists() && Inspection::of(&path).is_err() {
        return Ok(found);
    }
    let mut log = LogReader::open(&path).map_err(|error| said("reading", &error))?;
    for record in log.records() {
        match record {
            Ok(record) => found.line(record.bytes()),
            Err(damage) if compressed.allows(&damage) => found.torn += 1,
            Err(damage) => return Err(format!("damage: {damage}").into()),
        }
    }
    found.check_order()?;
    Ok(found)
}

fn is_compressed(segment: &Path) -> bool {
    segment.extension().is_some_and(|extension| extension == "gz")
}

/// Notes every record of a compressed backup as promised.
fn promise_what_is_in(compressed: &Path, notes: &Notes) -> Result<()> {
    let content = BufReader::new(GzDecoder::new(File::open(compressed)?));
    for text in content.lines() {
        if let Some((worker, seq)) = crate::record::parse(text?.as_bytes()) {
            notes.promised(worker, seq, seq + 1)?;
        }
    }
    Ok(())
}

fn own_file(dir: &Path, worker: u32) -> PathBuf {
    dir.join(format!("own-{worker}"))
}

/// Content that has its version, and shows whether it is complete.
fn content(worker: u32, version: u64) -> String {
    let lines = Rng::with_seed(version).u64(..300);
    (0..=lines).map(|_| line(worker, version)).collect()
}

/// The version of complete content; 0 if the file does not exist.
fn version_of(worker: u32, path: &Path) -> Result<u64> {
    let Ok(bytes) = std::fs::read(path) else { return Ok(0) };
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match crate::record::parse(first) {
        Some((of, version)) if of == worker && content(worker, version).as_bytes() == bytes => {
            Ok(version)
        }
        _ => Err(format!("{} is torn: {} bytes", path.display(), bytes.len()).into()),
    }
}

/// The count of worker `worker` in a file with one number for each.
fn counted(text: &str, worker: u32) -> Option<u64> {
    text.split(' ').nth(worker as usize)?.trim_end().parse().ok()
}

/// Replaces a file of its own, and counts in a shared one: workers 0, 1, .. and 100, 101, ..
fn replace(dir: &Path, notes: &Notes, process: u32, first: u64) -> Result<()> {
    let mut rng = Rng::with_seed(first);
    let (own, shared) = (own_file(dir, process), dir.join("shared"));
    for version in first + 1.. {
        if rng.u64(..2) == 0 {
            atomic::write(&own, content(process, version))?;
            notes.promised(process, version, version + 1)?;
        } else {
            update(&shared, Wait::Forever, |old| {
                let old = String::from_utf8_lossy(old.unwrap_or_default()).into_owned();
                let count =
                    |of| if of == process { version } else { counted(&old, of).unwrap_or(0) };
                (0..PROCESSES).map(|of| format!("{} ", count(of))).collect::<String>()
            })?;
            notes.promised(100 + process, version, version + 1)?;
        }
        rest(&mut rng, 2);
    }
    Ok(())
}

fn check_replaced(dir: &Path, promises: &Promises) -> Result<Kept> {
    let shared = std::fs::read_to_string(dir.join("shared")).unwrap_or_default();
    for (worker, upto) in promises.last() {
        let version = match worker.checked_sub(100) {
            None => version_of(worker, &own_file(dir, worker))?,
            Some(process) => counted(&shared, process).unwrap_or(0),
        };
        if version < upto - 1 {
            return Err(format!("worker {worker}: version {version}, promised {}", upto - 1).into());
        }
    }
    for process in 0..PROCESSES {
        version_of(process, &own_file(dir, process))?;
    }
    atomic::write(dir.join("own-0"), content(0, 1))?;
    update(dir.join("shared"), Wait::Forever, |_| "0 0 ")?;
    Ok(Kept { promises: promises.count(), ..Kept::default() })
}

/// Changes a setting of its own: each process another one.
fn change_policy(dir: &Path, notes: &Notes, process: u32, first: u64) -> Result<()> {
    let mut rng = Rng::with_seed(first);
    let policy = Config::policy().open_or_create(dir.join("policy.toml"), Config::default)?;
    for version in first + 1.. {
        policy.update(|config| match process {
            0 => config.max_backups = Some(version as usize),
            _ => config.max_size = (1 << 30) + version,
        })?;
        notes.promised(process, version, version + 1)?;
        rest(&mut rng, 2);
    }
    Ok(())
}

fn check_policy(dir: &Path, promises: &Promises) -> Result<Kept> {
    let last = promises.last();
    if last.is_empty() && !dir.join("policy.toml").exists() {
        return Ok(Kept::default());
    }
    let policy = Config::policy().open(dir.join("policy.toml"))?;
    policy.verify()?;
    if let Some(trouble) = policy.problem() {
        return Err(said("policy", &trouble));
    }
    let now = policy.current();
    let versions = [now.max_backups.unwrap_or(0) as u64, now.max_size.saturating_sub(1 << 30)];
    for (worker, upto) in last {
        let version = versions.get(worker as usize).copied().unwrap_or(0);
        if version < upto - 1 {
            return Err(format!("process {worker}: change {version}, promised {}", upto - 1).into());
        }
    }
    policy.update(|config| config.max_backups = Some(1))?;
    Ok(Kept { promises: promises.count(), ..Kept::default() })
}
