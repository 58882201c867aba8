//! The check of a log's path that a report of the system makes due.

use crate::writer::next_check::NextCheck;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use shuttle::thread;
use std::sync::Arc;

/// The time of all records; scheduled checks are later.
const NOW: i64 = 0;
const LATER: i64 = 1;

/// A log that another worker rotates.
#[derive(Default)]
struct Log {
    /// The number of the segment at the log's path.
    path: AtomicUsize,
    /// Whether the system reports the next rotation, which it does once.
    is_watched: AtomicBool,
    watches: Mutex<Watches>,
    next: NextCheck,
}

/// The watch, as the process knows it.
#[derive(Default)]
struct Watches {
    is_known: bool,
    /// A watch is being added, and a report came meanwhile.
    is_adding: bool,
    is_early: bool,
}

impl Log {
    /// Rotates; the process gets the report if there is one.
    fn rotate(&self) {
        self.path.fetch_add(1, SeqCst);
        if self.is_watched.swap(false, SeqCst) {
            let mut watches = self.watches.lock().unwrap();
            watches.is_early |= watches.is_adding;
            if std::mem::take(&mut watches.is_known) {
                self.next.note_move();
            }
        }
    }
}

/// The writer that others rotate for.
#[derive(Default)]
struct Writer {
    segment: usize,
    watches: bool,
    last: i64,
}

impl Writer {
    /// Writes a record, after a check if one is due.
    fn write(&mut self, log: &Log) {
        if log.next.is_due(NOW) {
            self.begin(log);
            self.watch(log);
            let there = log.path.load(SeqCst);
            if there != self.segment {
                self.adopt(there, log);
            }
            self.last = log.next.set(self.last, LATER);
        }
    }

    fn begin(&mut self, log: &Log) {
        let (is_moved, last) = log.next.begin();
        self.watches &= !is_moved;
        self.last = last;
    }

    fn watch(&mut self, log: &Log) {
        if !self.watches {
            log.watches.lock().unwrap().is_adding = true;
            log.is_watched.store(true, SeqCst);
            let mut watches = log.watches.lock().unwrap();
            watches.is_adding = false;
            watches.is_known = !std::mem::take(&mut watches.is_early);
            if !watches.is_known {
                log.next.note_move();
            }
            self.watches = true;
        }
    }

    fn adopt(&mut self, segment: usize, log: &Log) {
        self.segment = segment;
        self.watches = false;
        self.begin(log);
        self.watch(log);
        if log.path.load(SeqCst) != segment {
            log.next.make_due();
        }
        self.last = log.next.set(self.last, LATER);
    }
}

/// Another worker rotates so many times. Checks that the first record after a rotation was reported
/// is in the new segment, whatever the writer was doing then.
pub fn rotations_are_seen(rotations: usize) {
    let log = Arc::new(Log::default());
    let rotating = Arc::clone(&log);
    let others = thread::spawn(move || (0..rotations).for_each(|_| rotating.rotate()));
    let mut writer = Writer::default();
    (0..=rotations).for_each(|_| writer.write(&log));
    others.join().unwrap();
    writer.write(&log);
    assert_eq!(writer.segment, rotations);
}
