//! Follows a log, also to another place if a link in its path is turned to another target.
//!
//! Workers go over to the new target at their next check, so the old one still gets records for a
//! while. It is read beside the new one, by the rule of [`stream`](super::stream): first note how
//! far the newer target may be read, then note the same of the older one and hand that out. So the
//! records of a worker keep their order.

use super::range::Range;
use super::round::{Bookmark, ReadMode, Round};
use super::stream::Stream;
use super::walk::{Reached, Walk};
use super::watch::DirWatcher;
use super::{At, ByteSource, Damage, Pulled, first};
use crate::clock::{Clock, Stopwatch};
use crate::error::Result;
use crate::segment::Location;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The longest wait while a finished segment or target is open beside its successor.
const BESIDE: Duration = Duration::from_millis(20);

/// The longest time for which late workers may write to a target after the path has left it.
const LATE: Duration = Duration::from_secs(60);

/// How many targets that the path has left are read at the same time.
const MAX_BESIDE: usize = 8;

/// How many of the targets that the path has left are remembered, so that their records are not
/// read again if it returns.
const MAX_LEFT: usize = 64;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The path that the user gave, and the log that it leads to.
pub(super) struct GivenPath {
    /// Absolute. Links in it are not resolved.
    path: PathBuf,
    watcher: DirWatcher,
    memory: u64,
    looked: Stopwatch,
    /// The time of the last look that found the path unchanged.
    unchanged_at: SystemTime,
    /// Whether the present failure to resolve the path was reported.
    has_reported: bool,
}

impl GivenPath {
    pub(super) fn new(given: &Path, watcher: DirWatcher, memory: u64) -> Self {
        Self {
            path: std::path::absolute(given).unwrap_or_else(|_| given.to_owned()),
            watcher,
            memory,
            looked: Stopwatch::start(),
            unchanged_at: Clock::system().now().into(),
            has_reported: false,
        }
    }

    /// Returns the log that the path leads to now, if it is another one than `present`.
    fn turned(&mut self, present: &Location) -> Result<Option<Location>> {
        self.looked = Stopwatch::start();
        let now = Clock::system().now().into();
        let location = match Location::find(&self.path) {
            // Its directory was removed, or the link is made before its target.
            Err(error) if error.is_not_found() => return Ok(None),
            found => found?,
        };
        if location != *present {
            return Ok(Some(location));
        }
        self.unchanged_at = now;
        Ok(None)
    }
}

/// A target of the path.
struct TargetReader {
    stream: Stream,
    /// Runs since the path has led elsewhere.
    left: Option<Stopwatch>,
    /// Whether it may be read as far as it went when a newer target was last asked.
    is_current: bool,
}

/// A followed log as one stream.
pub(super) struct Follower {
    given: GivenPath,
    /// The targets that are read; the one that the path leads to comes last.
    targets: VecDeque<TargetReader>,
    /// The target whose bytes are ready.
    reading: usize,
    left: VecDeque<Bookmark>,
    turns: u64,
    /// Whether this round has found anything.
    has_moved: bool,
    is_stopped: bool,
    damage: Option<Damage>,
}

impl Follower {
    pub(super) fn new(given: GivenPath, stream: Stream) -> Self {
        Self {
            given,
            targets: [TargetReader { stream, left: None, is_current: false }].into(),
            reading: 0,
            left: VecDeque::new(),
            turns: 0,
            has_moved: false,
            is_stopped: false,
            damage: None,
        }
    }

    /// Goes over to the present target of the path now and then.
    fn look(&mut self) {
        // Check before the last look: records that exist when the reader is stopped are read.
        let is_over = self.given.watcher.notifier().is_over();
        if !self.is_stopped && (is_over || self.given.looked.elapsed() > LOOK_EVERY) {
            self.look_now();
        }
        self.is_stopped |= is_over;
        for target in &mut self.targets {
            let is_late = target.left.as_ref().is_some_and(|left| left.elapsed() > LATE);
            if self.is_stopped || is_late {
                target.stream.stop();
            }
        }
    }

    fn look_now(&mut self) {
        match self.turn() {
            Ok(()) => self.given.has_reported = false,
            Err(error) if !std::mem::replace(&mut self.given.has_reported, true) => {
                self.damage = Some(Damage::unreadable(&self.given.path, 0, error));
            }
            Err(_) => {}
        }
    }

    fn turn(&mut self) -> Result<()> {
        let Some((location, known)) = self.present()? else { return Ok(()) };
        let target = match known {
            None => {
                Some(TargetReader { stream: self.open(location)?, left: None, is_current: false })
            }
            // The next look finds it ended.
            Some(at) if !self.targets[at].stream.is_following() => None,
            Some(at) => self.targets.remove(at),
        };
        target.into_iter().for_each(|target| self.put_last(target));
        Ok(())
    }

    /// Returns the target that the path leads to now and, if it is read, its place among the
    /// targets; `None` if it is the last one.
    fn present(&mut self) -> Result<Option<(Location, Option<usize>)>> {
        let Some(last) = self.targets.back() else { return Ok(None) };
        let Some(location) = self.given.turned(last.stream.location())? else { return Ok(None) };
        let is_it = |target: &TargetReader| *target.stream.location() == location;
        let known = self.targets.iter().position(is_it);
        Ok(Some((location, known)))
    }

    fn put_last(&mut self, target: TargetReader) {
        self.reading = 0;
        self.given.watcher.turn_to(target.stream.location().dir());
        if let Some(before) = self.targets.back_mut() {
            before.left = Some(Stopwatch::start());
        }
        self.targets.push_back(TargetReader { left: None, ..target });
        let too_many = self.targets.len().saturating_sub(MAX_BESIDE);
        self.targets.iter_mut().take(too_many).for_each(|target| target.stream.stop());
        self.begin_round();
    }

    fn begin_round(&mut self) {
        self.has_moved = false;
        self.targets.iter_mut().for_each(|target| target.is_current = false);
    }

    /// Opens a target with the segment that was active when the path was last seen to lead
    /// elsewhere, behind the records that were read before.
    fn open(&mut self, location: Location) -> Result<Stream> {
        const SEGMENTS: u32 = 40;
        let mut walk = Walk::new(location, self.given.memory)?;
        let since = Some(self.given.unchanged_at);
        let range = Range { since, until: None, follows: true };
        let mut unreadable = Vec::new();
        let (reached, skipped) = first(&mut walk, &range, &mut unreadable)?;
        let known = match &reached {
            Reached::Segment(open) => {
                let is_it =
                    |mark: &&Bookmark| (mark.id, mark.created) == (open.entry.id, open.created);
                self.left.iter().rev().find(is_it)
            }
            _ => None,
        };
        let offset = known.map_or(0, |mark| mark.offset);
        self.turns += 1;
        let mut stream = Stream::new(walk, ReadMode::Follow, None, self.turns << SEGMENTS);
        stream.continue_after(skipped);
        unreadable.into_iter().for_each(|damage| stream.report(damage));
        if let Err(damage) = stream.begin(reached, offset, Vec::new()) {
            stream.report(damage);
        }
        Ok(stream)
    }

    /// Takes what the next target has, the oldest first. Returns `None` if the targets have to be
    /// asked again.
    fn step(&mut self) -> Option<Pulled> {
        for at in 0..self.targets.len() {
            let TargetReader { stream, is_current, .. } = &mut self.targets[at];
            if let Some(pulled) = stream.ready_or_damage() {
                self.reading = at;
                return Some(pulled);
            }
            if stream.read() {
                return None;
            }
            if *is_current {
                continue;
            }
            match stream.advance() {
                Ok(Round::Idle) => *is_current = true,
                Ok(Round::Moved) => {
                    *is_current = stream.is_up_to_date();
                    self.has_moved = true;
                    // Invariant: before a target hands out more, all older ones are asked again.
                    self.targets.iter_mut().take(at).for_each(|older| older.is_current = false);
                    if at + 1 < self.targets.len() {
                        // By late workers, or because the path leads there again. These records
                        // are newer than those of the targets after it then.
                        self.look_now();
                    }
                    return None;
                }
                Ok(Round::Over) if at + 1 == self.targets.len() => return Some(Pulled::End),
                Ok(Round::Over) => {
                    self.leave(at);
                    return None;
                }
                Err(damage) => return Some(Pulled::Damage(damage)),
            }
        }
        self.end_round();
        None
    }

    /// Waits if the round has found nothing.
    fn end_round(&mut self) {
        if !self.has_moved {
            self.wait();
        }
        self.begin_round();
    }

    /// Forgets a target that was read to its end, but not how far that was.
    fn leave(&mut self, at: usize) {
        let target = self.targets.remove(at);
        self.left.extend(target.and_then(|target| target.stream.bookmark()));
        let too_many = self.left.len().saturating_sub(MAX_LEFT);
        self.left.drain(..too_many);
        self.reading = 0;
    }

    fn wait(&self) {
        let is_alone = self.targets.len() == 1
            && !self.targets.back().is_some_and(|target| target.stream.is_beside());
        self.given.watcher.wait(if is_alone { Duration::MAX } else { BESIDE });
    }
}

impl ByteSource for Follower {
    fn pull(&mut self) -> Pulled {
        loop {
            if let Some(pulled) = self.targets[self.reading].stream.ready_or_damage() {
                return pulled;
            }
            self.look();
            if let Some(damage) = self.damage.take() {
                return Pulled::Damage(damage);
            }
            if let Some(pulled) = self.step() {
                return pulled;
            }
        }
    }

    fn put_back(&mut self, damage: Damage) {
        self.targets[self.reading].stream.put_back(damage);
    }

    fn ready(&self) -> &[u8] {
        self.targets[self.reading].stream.ready()
    }

    fn consume(&mut self, len: usize) {
        self.targets[self.reading].stream.consume(len);
    }

    fn at(&self) -> At<'_> {
        self.targets[self.reading].stream.at()
    }
}
