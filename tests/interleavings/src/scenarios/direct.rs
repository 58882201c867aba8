//! Direct delivery: threads that append side by side, rotate, and wait for the disk.

use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};
use crate::writer::append_lock::{Append, AppendLock, Appended, PartialWrite, SegmentSize};
use crate::writer::group_commit::GroupCommit;
use shuttle::thread;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// Threads that append to one log.
#[derive(Debug, Clone)]
pub struct Direct {
    pub writers: usize,
    /// The number of records of each writer.
    pub records: usize,
    /// The limit of a segment. A record is three bytes long, and every second one of a writer four.
    pub max_size: u64,
    /// The calls to the kernel, counted from 0, of which it takes one byte only.
    pub short: &'static [usize],
    /// The calls that it refuses.
    pub refused: &'static [usize],
    /// Whether each record waits for the disk, and the syncs, counted from 0, that fail.
    pub syncs: Option<&'static [usize]>,
    /// Whether a thread rotates and learns the size meanwhile.
    pub checks: bool,
}

impl Default for Direct {
    fn default() -> Self {
        Self {
            writers: 2,
            records: 3,
            max_size: 8,
            short: &[],
            refused: &[],
            syncs: None,
            checks: false,
        }
    }
}

// Held only for moments in which no other thread can run.
type Shared = Arc<Mutex<Kernel>>;

#[derive(Default)]
struct Kernel {
    calls: usize,
    syncs: usize,
    failures: usize,
    segments: Vec<Segment>,
}

#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    /// Records that a thread is appending beside others.
    in_flight: usize,
    dirty: Vec<String>,
    durable: Vec<String>,
}

/// The state that the lock protects, in place of the crate's appender.
struct Log {
    scenario: Direct,
    kernel: Shared,
    commit: Arc<GroupCommit>,
    active: usize,
    size: u64,
    is_torn: bool,
    records: AtomicU64,
}

impl Direct {
    /// One run.
    pub fn run(&self) {
        let kernel = Shared::default();
        kernel.lock().unwrap().segments.push(Segment::default());
        let commit = Arc::new(GroupCommit::default());
        let log = Arc::new(AppendLock::new(Log {
            scenario: self.clone(),
            kernel: Arc::clone(&kernel),
            commit: Arc::clone(&commit),
            active: 0,
            size: 0,
            is_torn: false,
            records: AtomicU64::new(0),
        }));
        let threads: Vec<_> = (0..self.writers)
            .map(|writer| {
                let (log, commit, scenario) = (Arc::clone(&log), Arc::clone(&commit), self.clone());
                thread::spawn(move || scenario.write(writer, &log, &commit))
            })
            .collect();
        if self.checks {
            log.exclusive().check();
        }
        let acknowledged = threads.into_iter().map(|thread| thread.join().unwrap());
        let acknowledged: Vec<_> = acknowledged.collect();
        log.exclusive().check();
        self.judge(&kernel.lock().unwrap(), &acknowledged);
    }

    /// The records of one writer. Returns those that were acknowledged.
    fn write(&self, writer: usize, log: &AppendLock<Log>, commit: &GroupCommit) -> Vec<String> {
        let records = (0..self.records).map(|seq| {
            let name = char::from(b'a' + u8::try_from(writer).unwrap());
            format!("{name}{seq}{}\n", if seq % 2 == 1 { "+" } else { "" })
        });
        records.filter(|record| self.write_one(record, log, commit)).collect()
    }

    fn write_one(&self, record: &str, log: &AppendLock<Log>, commit: &GroupCommit) -> bool {
        let Ok(number) = log.append(record.as_bytes()) else { return false };
        if self.syncs.is_none() {
            return true;
        }
        let position = || {
            let log = log.exclusive();
            let (records, segment) = (log.records.load(SeqCst), log.active);
            let (kernel, scenario) = (Arc::clone(&log.kernel), self.clone());
            (records, move || fdatasync(&kernel, &scenario, segment))
        };
        let done = commit.wait_for(number, position);
        let kernel = log.shared().kernel.clone();
        let kernel = kernel.lock().unwrap();
        match done {
            Ok(()) => assert!(kernel.is_durable(record), "{record:?} is not on the disk"),
            Err(_) => assert!(kernel.failures > 0, "nothing has failed"),
        }
        true
    }

    fn judge(&self, kernel: &Kernel, acknowledged: &[Vec<String>]) {
        let segments =
            kernel.segments.iter().map(|segment| String::from_utf8_lossy(&segment.bytes));
        let all: String = segments.collect();
        let lines: Vec<_> = all.split_inclusive('\n').collect();
        for records in acknowledged {
            let places = records.iter().map(|record| {
                let mut places =
                    lines.iter().enumerate().filter(|(_, line)| line.ends_with(record));
                let (place, _) =
                    places.next().unwrap_or_else(|| panic!("{record:?} is lost: {all:?}"));
                assert!(places.next().is_none(), "{record:?} is doubled: {all:?}");
                place
            });
            assert!(places.is_sorted(), "out of order: {all:?}");
        }
    }
}

fn fdatasync(kernel: &Shared, scenario: &Direct, segment: usize) -> Result<()> {
    thread::yield_now();
    let done = kernel.lock().unwrap().sync(segment, scenario.syncs.unwrap_or_default());
    thread::yield_now();
    done
}

impl Kernel {
    /// One `write` call: everything happens at one moment.
    fn write(&mut self, segment: usize, bytes: &[u8], scenario: &Direct) -> io::Result<usize> {
        let call = self.calls;
        self.calls += 1;
        if scenario.refused.contains(&call) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = if scenario.short.contains(&call) { 1 } else { bytes.len() };
        let segment = &mut self.segments[segment];
        segment.bytes.extend_from_slice(&bytes[..taken]);
        segment.dirty.push(String::from_utf8_lossy(bytes).into_owned());
        Ok(taken)
    }

    fn sync(&mut self, segment: usize, failing: &[usize]) -> Result<()> {
        let fails = failing.contains(&self.syncs);
        self.syncs += 1;
        self.failures += usize::from(fails);
        let segment = &mut self.segments[segment];
        let dirty = std::mem::take(&mut segment.dirty);
        if fails {
            // The kernel has reported it once, and now counts the records as written.
            return Err(Error(self.failures));
        }
        segment.durable.extend(dirty);
        Ok(())
    }

    fn is_durable(&self, record: &str) -> bool {
        self.segments.iter().any(|segment| segment.durable.iter().any(|found| found == record))
    }
}

impl Log {
    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap()
    }

    /// Checks that no record is on its way, and that the size is exact.
    fn check(&mut self) {
        thread::yield_now();
        let kernel = self.kernel();
        let active = &kernel.segments[self.active];
        assert_eq!(active.in_flight, 0, "a record is on its way");
        // Counted as the crate does: the bytes of refused records are given back.
        assert_eq!(active.bytes.len() as u64, self.size, "{:?}", self.scenario);
    }

    fn rotate(&mut self) {
        self.check();
        if self.scenario.syncs.is_some() {
            let (kernel, scenario) = (Arc::clone(&self.kernel), self.scenario.clone());
            let records = self.records.load(SeqCst);
            self.commit.sync(records, || fdatasync(&kernel, &scenario, self.active));
        }
        self.kernel().segments.push(Segment::default());
        self.active += 1;
        self.size = 0;
        self.is_torn = false;
    }

    /// Appends alone, as often as the kernel takes a part.
    fn put(&mut self, bytes: &[u8], mut written: usize) -> io::Result<u64> {
        while written < bytes.len() {
            let done = self.kernel().write(self.active, &bytes[written..], &self.scenario);
            let taken = done.inspect_err(|_| self.is_torn |= written > 0)?;
            self.size += taken as u64;
            written += taken;
            thread::yield_now();
        }
        Ok(self.records.fetch_add(1, SeqCst) + 1)
    }
}

impl Append for Log {
    fn is_ready(&self) -> bool {
        !self.is_torn
    }

    fn has_room(&self, size: u64, len: usize) -> bool {
        size == 0 || size + len as u64 <= self.scenario.max_size
    }

    fn append_beside(
        &self,
        record: &[u8],
        offset: u64,
        _size: &SegmentSize,
    ) -> std::result::Result<Appended, PartialWrite> {
        self.kernel().segments[self.active].in_flight += 1;
        thread::yield_now();
        let done = self.kernel().write(self.active, record, &self.scenario);
        thread::yield_now();
        let len = {
            let mut kernel = self.kernel();
            let segment = &mut kernel.segments[self.active];
            segment.in_flight -= 1;
            segment.bytes.len() as u64
        };
        assert!(len <= self.scenario.max_size, "a segment exceeds its limit");
        assert!(offset <= self.scenario.max_size);
        match done {
            Ok(taken) if taken == record.len() => {}
            Ok(written) => {
                return Err(PartialWrite { written, error: io::ErrorKind::WriteZero.into() });
            }
            Err(error) => return Err(PartialWrite { written: 0, error }),
        }
        Ok(Appended { number: self.records.fetch_add(1, SeqCst) + 1, is_cut_short: false })
    }

    fn append_alone(&mut self, record: &[u8]) -> io::Result<u64> {
        self.check();
        if !self.has_room(self.size, record.len()) {
            self.rotate();
        }
        if std::mem::take(&mut self.is_torn) {
            let line = [b"\n", record].concat();
            return self.put(&line, 0);
        }
        self.put(record, 0)
    }

    fn complete(&mut self, record: &[u8], partial: PartialWrite) -> io::Result<u64> {
        self.check();
        let PartialWrite { written, error } = partial;
        if written == 0 {
            return Err(error);
        }
        let ends_with_it = self.kernel().segments[self.active].bytes.ends_with(&record[..written]);
        if ends_with_it {
            return self.put(record, written);
        }
        self.is_torn = self.size > 0;
        self.append_alone(record)
    }

    fn note_cut(&mut self) {}

    fn enter(&mut self, size: u64) {
        self.size = size;
    }

    fn leave(&mut self) -> u64 {
        self.size
    }
}
