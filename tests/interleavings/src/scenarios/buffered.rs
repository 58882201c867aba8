//! Buffered delivery: log calls, threads that flush, and the flusher.

use crate::clock::{self, FAR};
use crate::config::{Buffering, Overflow};
use crate::error::{Error, Result};
use crate::sync;
use crate::writer::buffered::{Batch, RecordBuffer, TryWrite};
use shuttle::sync::mpsc::channel;
use shuttle::thread;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The length of a record: its producer, its number, and a line break.
pub const RECORD: usize = 3;

/// Threads that write to one log, and threads that flush it. At the end the log is closed.
#[derive(Debug, Clone)]
pub struct Buffered {
    pub producers: usize,
    /// The number of records of each producer.
    pub records: usize,
    /// Whether producers write lines, as many at once as are accepted, or record by record.
    pub lines: bool,
    /// The additional length of every second record of a producer. Not with lines.
    pub longer: usize,
    pub flushers: usize,
    /// The maximum time that a flushing thread waits.
    pub patience: Option<Duration>,
    pub capacity: usize,
    pub flush_interval: Duration,
    pub overflow: Overflow,
    /// Whether every other attempt of a log call to write finds the log locked.
    pub busy: bool,
    /// The calls that the kernel refuses, counted from 0. It may take some of the records before it
    /// refuses.
    pub refused: Range<usize>,
}

impl Default for Buffered {
    /// Two producers of two records, room for one and a half, no time limits, no failures,
    /// no other user of the log.
    fn default() -> Self {
        Self {
            producers: 2,
            records: 2,
            lines: false,
            longer: 0,
            flushers: 0,
            patience: None,
            capacity: RECORD * 3 / 2,
            flush_interval: FAR,
            overflow: Overflow::Block,
            busy: false,
            refused: 0..0,
        }
    }
}

fn buffer(capacity: usize, flush_interval: Duration, overflow: Overflow) -> RecordBuffer {
    RecordBuffer::new(Buffering { capacity, flush_interval, overflow })
}

struct World {
    scenario: Buffered,
    buffer: RecordBuffer,
    // Held only for moments in which no other thread can run: the notes are no part of the program.
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// Attempts of log calls to write.
    attempts: usize,
    /// Calls to the kernel.
    calls: usize,
    /// The number of threads in such a call.
    writing: usize,
    /// The content of the log.
    written: Vec<String>,
    /// Records whose log call has returned `Ok`.
    acknowledged: Vec<String>,
    /// The number of failed log calls.
    refused: usize,
    /// The number of calls to the kernel when the log was closed.
    calls_before_end: usize,
}

impl Buffered {
    /// One run.
    pub fn run(&self) {
        let world = Arc::new(World {
            scenario: self.clone(),
            buffer: buffer(self.capacity, self.flush_interval, self.overflow),
            notes: Mutex::default(),
        });
        let spawn = |work: fn(&World, usize), number| {
            let world = Arc::clone(&world);
            thread::spawn(move || work(&world, number))
        };
        let writer = Arc::clone(&world);
        let flusher = thread::spawn(move || writer.buffer.run(|batch| writer.write(batch)));
        let users: Vec<_> = (0..self.producers)
            .map(|number| spawn(World::produce, number))
            .chain((0..self.flushers).map(|number| spawn(World::flush, number)))
            .collect();
        users.into_iter().for_each(|user| user.join().unwrap());
        world.recover();
        let calls = world.notes().calls;
        world.notes().calls_before_end = calls;
        world.buffer.close();
        let lost = flusher.join().unwrap();
        world.check(usize::try_from(lost).unwrap());
    }
}

impl World {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// The kernel: takes all records out of a batch. If it is to refuse, it takes none or, every
    /// other time, all but the last.
    fn write(&self, batch: &mut Batch) -> Result<()> {
        self.notes().writing += 1;
        thread::yield_now();
        let mut notes = self.notes();
        assert_eq!(notes.writing, 1, "two threads write");
        notes.writing = 0;
        let call = notes.calls;
        notes.calls += 1;
        let refuses = self.scenario.refused.contains(&call);
        let most = if refuses { (batch.ends.len() - 1) * (call % 2) } else { batch.ends.len() };
        let lines = records(batch);
        let held: usize = lines.iter().filter(|line| !is_notice(line)).map(String::len).sum();
        assert!(held <= self.scenario.capacity || lines.len() == 1, "held too much: {lines:?}");
        notes.written.extend(lines[..most].iter().map(|line| name(line)));
        batch.forget(most);
        if refuses { Err(Error(call)) } else { Ok(()) }
    }

    /// The kernel as a log call uses it.
    fn try_write(&self, batch: &mut Batch) -> Option<Result<()>> {
        thread::yield_now();
        let attempt = self.notes().attempts;
        self.notes().attempts += 1;
        let is_locked = self.scenario.busy && attempt % 2 == 0;
        (!is_locked).then(|| self.write(batch))
    }

    fn push(&self, record: &str) -> io::Result<()> {
        self.buffer.push(record.as_bytes(), &|batch| self.try_write(batch))
    }

    fn flush_buffer(&self, patience: Option<Duration>) -> Result<()> {
        self.buffer.flush(patience, &|batch| self.try_write(batch))
    }

    fn produce(&self, producer: usize) {
        let records: Vec<_> =
            (0..self.scenario.records).map(|number| format!("{producer}{number}")).collect();
        if self.scenario.lines {
            self.produce_lines(&records);
            return;
        }
        for (number, record) in records.into_iter().enumerate() {
            let padding = ".".repeat(number % 2 * self.scenario.longer);
            let done = self.push(&format!("{record}{padding}\n"));
            let mut notes = self.notes();
            match done {
                Ok(()) => notes.acknowledged.push(record),
                Err(_) => notes.refused += 1,
            }
        }
    }

    /// Checks that no record is refused once the kernel takes records again.
    fn recover(&self) {
        while self.flush_buffer(None).is_err() && self.scenario.refused.end != usize::MAX {}
        if self.notes().calls >= self.scenario.refused.end {
            let refused = self.notes().refused;
            self.produce(self.scenario.producers);
            assert_eq!(self.notes().refused, refused, "refused for what is over");
        }
    }

    fn produce_lines(&self, records: &[String]) {
        let mut left = records;
        while !left.is_empty() {
            let lines = left.join("\n") + "\n";
            let write: TryWrite<'_> = &|batch| self.try_write(batch);
            let done = match self.buffer.push_lines(lines.as_bytes(), write) {
                Ok(bytes) => {
                    assert!(bytes > 0 && bytes % RECORD == 0, "{bytes} bytes of a line");
                    self.notes().acknowledged.extend_from_slice(&left[..bytes / RECORD]);
                    bytes / RECORD
                }
                // The first line is refused.
                Err(_) => {
                    self.notes().refused += 1;
                    1
                }
            };
            left = &left[done..];
        }
    }

    fn flush(&self, _: usize) {
        let before = self.notes().acknowledged.clone();
        let done = self.flush_buffer(self.scenario.patience);
        let notes = self.notes();
        if done.is_err() {
            assert!(notes.calls > self.scenario.refused.start, "nothing was refused");
        } else if self.scenario.patience.is_none() {
            let missing = before.iter().filter(|record| !notes.written.contains(record)).count();
            drop(notes);
            let dropped = usize::try_from(self.buffer.dropped()).unwrap();
            assert!(missing <= dropped, "flush was early: {missing} missing, {dropped} dropped");
        }
    }

    /// Checks the promises. `lost` is the number of records that the flusher abandoned at the end.
    fn check(&self, lost: usize) {
        let notes = self.notes();
        let (notices, written): (Vec<&String>, Vec<_>) =
            notes.written.iter().partition(|line| is_notice(line));
        let acknowledged: BTreeSet<_> = notes.acknowledged.iter().collect();
        let found: BTreeSet<_> = written.iter().copied().collect();
        let dropped = usize::try_from(self.buffer.dropped()).unwrap();

        assert_eq!(found.len(), written.len(), "doubled: {:?}", notes.written);
        assert!(found.is_subset(&acknowledged), "refused, and written all the same");
        for producer in 0..=self.scenario.producers {
            let own = |record: &&&String| record.starts_with(&producer.to_string());
            assert!(written.iter().filter(own).is_sorted(), "disordered: {:?}", notes.written);
        }
        // A lost notice counts as well, because it was accepted.
        let missing = acknowledged.len() - found.len();
        assert!((missing..=missing + lost.min(1)).contains(&dropped), "{missing}, not {dropped}");
        if lost > 0 {
            assert!(notes.calls > notes.calls_before_end, "{lost} given up without a last call");
            assert!(self.scenario.refused.contains(&(notes.calls - 1)), "{lost} given up");
        }
        if self.scenario.overflow == Overflow::Block {
            assert_eq!(dropped, lost);
        }
        if self.scenario.overflow == Overflow::DropNewest && lost == 0 {
            let told =
                |notice: &&String| notice.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
            assert_eq!(notices.iter().map(told).sum::<usize>(), dropped, "told otherwise");
            self.check_places(&notes.written);
        } else {
            assert!(lost > 0 || notices.is_empty(), "told unasked");
        }
    }

    /// Checks that records of a producer are missing only where there is a notice.
    fn check_places(&self, lines: &[String]) {
        for producer in 0..=self.scenario.producers {
            let (mut next, mut is_told) = (0, false);
            for line in lines {
                match line.strip_prefix(&producer.to_string()) {
                    Some(number) => {
                        let number = number.parse::<usize>().unwrap();
                        assert!(number == next || is_told, "missing before {line}: {lines:?}");
                        (next, is_told) = (number + 1, false);
                    }
                    None => is_told |= is_notice(line),
                }
            }
        }
    }
}

fn records(batch: &Batch) -> Vec<String> {
    let starts = std::iter::once(0).chain(batch.ends.iter().copied());
    let spans = starts.zip(&batch.ends);
    let text = |(start, &end)| std::str::from_utf8(&batch.bytes[start..end]).unwrap().to_owned();
    assert_eq!(batch.ends.last(), Some(&batch.bytes.len()), "bytes of no record");
    spans.map(text).collect()
}

fn name(line: &str) -> String {
    line.trim_end_matches(['.', '\n']).to_owned()
}

fn is_notice(line: &str) -> bool {
    line.starts_with("[logrotor]")
}

/// Checks that records of `bytes` bytes in all are written in time although no thread flushes and
/// no more records come.
pub fn written_unasked(bytes: usize, capacity: usize, flush_interval: Duration) {
    let buffer = Arc::new(buffer(capacity, flush_interval, Overflow::Block));
    let (tell, told) = channel();
    let write = move |batch: &mut Batch| {
        tell.send(batch.bytes.len()).unwrap();
        batch.forget(batch.ends.len());
        Ok(())
    };
    let (inner, flush) = (Arc::clone(&buffer), write.clone());
    let flusher = thread::spawn(move || inner.run(flush));
    for _ in 0..2 {
        let push = |_| buffer.push(b"x", &|batch| Some(write(batch))).unwrap();
        (0..bytes).for_each(push);
        let mut written = 0;
        while written < bytes {
            written += told.recv().unwrap();
        }
    }
    buffer.close();
    assert_eq!(flusher.join().unwrap(), 0);
}

/// Checks that a record that arrives while a log call writes is written after its interval although
/// no more records come.
pub fn late_beside_a_write() {
    let buffer = Arc::new(buffer(8, Duration::from_millis(20), Overflow::Block));
    let (tell, told) = channel();
    let write = move |batch: &mut Batch| {
        thread::yield_now();
        tell.send(batch.bytes.len()).unwrap();
        batch.forget(batch.ends.len());
        Ok(())
    };
    let (inner, flush) = (Arc::clone(&buffer), write.clone());
    let flusher = thread::spawn(move || inner.run(flush));
    let users: Vec<_> = [b"xxxx".as_slice(), b"x"]
        .into_iter()
        .map(|record| {
            let (buffer, write) = (Arc::clone(&buffer), write.clone());
            thread::spawn(move || buffer.push(record, &|batch| Some(write(batch))).unwrap())
        })
        .collect();
    let mut written = 0;
    while written < 5 {
        written += told.recv().unwrap();
    }
    users.into_iter().for_each(|user| user.join().unwrap());
    buffer.close();
    assert_eq!(flusher.join().unwrap(), 0);
}

/// Checks that the buffer accepts records while a batch is written, and that no log call but the
/// one that writes waits for the kernel. The kernel continues only after the others have returned.
pub fn buffers_take_turns(producers: usize, capacity: usize) {
    let buffer = Arc::new(buffer(capacity, FAR, Overflow::Block));
    let (tell, told) = channel();
    // Only one thread writes at a time.
    let kernel = Arc::new(sync::Mutex::new((0, 0, told)));
    let write = move |batch: &mut Batch, calls: usize| {
        let mut guard = kernel.lock();
        let (written, returned, told) = &mut *guard;
        *written += batch.ends.len();
        while *returned + calls < producers.min(*written + capacity) {
            *returned += told.recv().unwrap();
        }
        batch.forget(batch.ends.len());
        Ok(())
    };
    let (inner, flush) = (Arc::clone(&buffer), write.clone());
    let flusher = thread::spawn(move || inner.run(|batch| flush(batch, 0)));
    let users: Vec<_> = (0..producers)
        .map(|_| {
            let (buffer, tell, write) = (Arc::clone(&buffer), tell.clone(), write.clone());
            thread::spawn(move || {
                buffer.push(b"x", &|batch| Some(write(batch, 1))).unwrap();
                tell.send(1).unwrap();
            })
        })
        .collect();
    users.into_iter().for_each(|user| user.join().unwrap());
    buffer.close();
    assert_eq!(flusher.join().unwrap(), 0);
}

/// Checks that a kernel that is slow all the time holds up at most one log call: the flusher writes
/// after that. Checks with a fast kernel that the flusher writes nothing before the end.
pub fn who_writes(producers: usize, call: Duration) {
    let buffer = Arc::new(buffer(4, FAR, Overflow::Block));
    let calls = Arc::new(AtomicUsize::new(0));
    let is_slow = call > Duration::ZERO;
    let write = move |batch: &mut Batch| {
        thread::yield_now();
        clock::pass(call);
        batch.forget(batch.ends.len());
        Ok(())
    };
    let (inner, flushes) = (Arc::clone(&buffer), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&flushes);
    let flusher = thread::spawn(move || {
        inner.run(|batch| {
            count.fetch_add(1, SeqCst);
            write(batch)
        })
    });
    let users: Vec<_> = (0..producers)
        .map(|_| {
            let (buffer, calls) = (Arc::clone(&buffer), Arc::clone(&calls));
            let write = move |batch: &mut Batch| {
                calls.fetch_add(1, SeqCst);
                Some(write(batch))
            };
            thread::spawn(move || (0..4).for_each(|_| buffer.push(b"x", &write).unwrap()))
        })
        .collect();
    users.into_iter().for_each(|user| user.join().unwrap());
    let (calls, flushes) = (calls.load(SeqCst), flushes.load(SeqCst));
    assert!(if is_slow { calls == 1 } else { calls > 1 && flushes == 0 }, "{calls} {flushes}");
    buffer.close();
    assert_eq!(flusher.join().unwrap(), 0);
}
