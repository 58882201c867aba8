//! Two machines in every order of their requests, with answers that are lost, late or doubled.
//!
//! Requests are all that machines share, so a machine waits for its turn before each one. By
//! default, one machine makes all its requests, and then the other one. A plan deviates from that
//! at some steps. All plans with few deviations are tried, by going on from the steps of a run with
//! one deviation less. The code that runs is the whole protocol. A failure prints its plan.

use super::lock::LockRecord;
use super::memory::{Memory, token};
use super::tests::{Entries, EntryStore, LONG, SharedMemory, add, builder, check_history};
use super::tests::{healthy, seed, timing};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::Policy;
use crate::policy::backend::{Backend, Change, Kept, Loaded, Slot, Stop, Swap, Token};
use crate::policy::store::PolicySource;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The fate of a request, or a step in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deviation {
    /// The other machine goes on, up to its end or the next switch.
    Switch,
    NotSent,
    NotAnswered,
    Doubled,
    /// The request is on its way.
    Late,
    /// The requests that are on their way arrive before this one.
    Arrival,
}

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Read,
    Keep,
    Swap,
}

/// A step that was made, and whether a request was on its way then.
type Step = (Asks, bool);
type OrderPlan = Vec<(usize, Deviation)>;

/// The deviations that differ at a step.
fn deviations((asks, is_any_late): Step) -> Vec<Deviation> {
    use Deviation::{Arrival, Doubled, Late, NotAnswered, NotSent, Switch};
    let mut all = match asks {
        Asks::Read => vec![Switch, NotSent],
        Asks::Keep => vec![Switch, NotSent, NotAnswered],
        Asks::Swap => vec![Switch, NotSent, NotAnswered, Doubled, Late],
    };
    if is_any_late {
        all.push(Arrival);
    }
    all
}

struct LateSwap {
    machine: usize,
    slot: Slot,
    seen: Option<Token>,
    new: Vec<u8>,
}

#[derive(Default)]
struct Course {
    /// Before that, and after the end, no machine waits.
    is_on: bool,
    active: usize,
    unfinished: Vec<usize>,
    steps: Vec<Step>,
    late: Vec<LateSwap>,
    /// The machine that has stored each content of the lock.
    holders: HashMap<Vec<u8>, usize>,
}

impl Course {
    fn next_after(&self, machine: usize) -> Option<usize> {
        self.unfinished.iter().copied().find(|next| *next != machine)
    }
}

/// The machines, and the system that they share.
struct World {
    memory: SharedMemory,
    plan: OrderPlan,
    /// No lock is taken over meanwhile, so each change is made with the lock.
    is_exclusive: bool,
    course: Mutex<Course>,
    turned: Condvar,
}

impl World {
    /// Waits for the turn of a machine. Returns the fate of its request.
    fn step(&self, machine: usize, asks: Asks, is_waiting: bool) -> Option<Deviation> {
        let mut course = self.course.lock();
        if !course.is_on {
            return None;
        }
        self.await_turn(&mut course, machine);
        if is_waiting {
            self.switch(&mut course, machine);
        }
        let at = course.steps.len();
        let is_any_late = !course.late.is_empty();
        course.steps.push((asks, is_any_late));
        let planned = self.plan.iter().find(|(step, _)| *step == at);
        match planned.map(|(_, deviation)| *deviation) {
            Some(Deviation::Switch) => {
                self.switch(&mut course, machine);
                None
            }
            Some(Deviation::Arrival) => {
                self.arrive(&mut course);
                None
            }
            other => other,
        }
    }

    fn await_turn(&self, course: &mut MutexGuard<'_, Course>, machine: usize) {
        while course.active != machine {
            self.turned.wait(course);
        }
    }

    fn switch(&self, course: &mut MutexGuard<'_, Course>, machine: usize) {
        if let Some(next) = course.next_after(machine) {
            course.active = next;
            self.turned.notify_all();
            self.await_turn(course, machine);
        }
    }

    fn finish(&self, machine: usize) {
        let mut course = self.course.lock();
        course.unfinished.retain(|unfinished| *unfinished != machine);
        course.active = course.next_after(machine).unwrap_or(machine);
        self.turned.notify_all();
    }

    fn arrive(&self, course: &mut Course) {
        for LateSwap { machine, slot, seen, new } in std::mem::take(&mut course.late) {
            // A doubled request finds its own bytes there.
            let is_ours = self.memory.lock().slots.get(&slot).is_some_and(|there| *there == new);
            if !is_ours {
                self.swap(course, machine, slot, seen.as_ref(), &new);
            }
        }
    }

    /// Only the machine that took the lock frees it.
    fn swap(
        &self,
        course: &mut Course,
        machine: usize,
        slot: Slot,
        seen: Option<&Token>,
        new: &[u8],
    ) -> Option<Token> {
        let mut memory = self.memory.lock();
        let before = memory.slots.get(&slot).cloned();
        let won = memory.swap(slot, seen, new)?;
        if slot == Slot::Lock {
            let is_free = |bytes: &[u8]| LockRecord::parse(bytes).unwrap().holder.is_none();
            if !is_free(new) {
                let is_taken = before.is_some_and(|before| !is_free(&before));
                assert!(!(self.is_exclusive && is_taken), "it took a lock that is held");
                course.holders.insert(new.to_vec(), machine);
            } else if let Some(before) = before.filter(|before| !is_free(before)) {
                assert_eq!(course.holders.get(&before), Some(&machine), "it freed another's lock");
            }
        }
        Some(won)
    }
}

/// The way of a machine to the system.
struct Machine {
    number: usize,
    world: Arc<World>,
    /// Whether the lock was held elsewhere when it was looked at last.
    is_waiting: Mutex<bool>,
}

fn lost() -> Error {
    Error::policy_unreachable("reach", "memory://app.policy", "the answer is lost")
}

impl Machine {
    fn ask<R>(&self, asks: Asks, is_waiting: bool, answer: impl Fn(&mut Memory) -> R) -> Result<R> {
        let deviation = self.world.step(self.number, asks, is_waiting);
        if deviation == Some(Deviation::NotSent) {
            return Err(lost());
        }
        let answer = answer(&mut self.world.memory.lock());
        if deviation == Some(Deviation::NotAnswered) { Err(lost()) } else { Ok(answer) }
    }
}

impl Backend for Machine {
    fn url(&self) -> &str {
        "memory://app.policy"
    }

    fn load(&self, slot: Slot) -> Result<Option<Loaded>> {
        let loaded = |bytes: &Vec<u8>| Loaded { bytes: bytes.clone(), token: token(bytes) };
        let is_waiting = slot == Slot::Lock && *self.is_waiting.lock();
        let found = self.ask(Asks::Read, is_waiting, |it| it.slots.get(&slot).map(loaded))?;
        if slot == Slot::Lock {
            let record = found.as_ref().and_then(|found| LockRecord::parse(&found.bytes));
            *self.is_waiting.lock() = record.is_some_and(|record| record.holder.is_some());
        }
        Ok(found)
    }

    fn load_if_changed(&self, slot: Slot, seen: &Token) -> Result<Change> {
        Ok(match self.load(slot)? {
            None => Change::Missing,
            Some(loaded) if loaded.token == *seen => Change::Same,
            Some(loaded) => Change::Other(loaded),
        })
    }

    fn compare_and_swap(&self, slot: Slot, seen: Option<&Token>, new: &[u8]) -> Swap {
        let deviation = self.world.step(self.number, Asks::Swap, false);
        let mut course = self.world.course.lock();
        if slot == Slot::Current && self.world.is_exclusive {
            let lock = self.world.memory.lock().slots[&Slot::Lock].clone();
            assert_eq!(course.holders.get(&lock), Some(&self.number), "it has no lock");
        }
        let swap = |course: &mut Course| self.world.swap(course, self.number, slot, seen, new);
        match deviation {
            Some(Deviation::NotSent) => Swap::Unknown(lost()),
            Some(Deviation::Late) => {
                let (machine, seen, new) = (self.number, seen.cloned(), new.to_vec());
                course.late.push(LateSwap { machine, slot, seen, new });
                Swap::Unknown(lost())
            }
            Some(Deviation::NotAnswered) => {
                swap(&mut course);
                Swap::Unknown(lost())
            }
            // The second answer arrives.
            Some(Deviation::Doubled) => {
                swap(&mut course);
                Swap::Lost
            }
            _ => swap(&mut course).map_or(Swap::Lost, Swap::Won),
        }
    }

    fn wait(&self, _: Option<&Token>, at_most: Duration, stop: &Stop) {
        stop.sleep(at_most);
    }

    fn keep(&self, version: u64, bytes: &[u8]) -> Result<Kept> {
        self.ask(Asks::Keep, false, |memory| memory.keep(version, bytes))
    }

    fn kept(&self, version: u64) -> Result<Option<Vec<u8>>> {
        self.ask(Asks::Read, false, |memory| memory.history.get(&version).cloned())
    }

    fn kept_versions(&self) -> Result<Vec<u64>> {
        self.ask(Asks::Read, false, |memory| memory.history.keys().copied().collect())
    }

    fn discard(&self, version: u64) -> Result<()> {
        self.ask(Asks::Keep, false, |memory| drop(memory.history.remove(&version)))
    }
}

/// The work of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Update,
    Rollback,
}

/// Machines, and how long their locks live.
#[derive(Debug, Clone, Copy)]
struct Pair {
    acts: [Act; 2],
    ttl: Duration,
}

/// Ends the turns of a machine, also if it panics.
struct Turns<'a>(&'a World, usize);

impl Drop for Turns<'_> {
    fn drop(&mut self) {
        self.0.finish(self.1);
    }
}

/// Names the plan of a run that fails.
struct PlanNaming<'a>(&'a Pair, &'a OrderPlan);

impl Drop for PlanNaming<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{:?}, {:?}", self.0, self.1);
        }
    }
}

type Outcome = Result<Arc<Policy<Entries>>>;

impl Pair {
    fn play(&self, machine: usize, store: &EntryStore) -> Outcome {
        match self.acts[machine] {
            Act::Update => add(store, &format!("of {machine}")),
            Act::Rollback => store.rollback(1),
        }
    }

    /// Plays a plan, and checks what came of it. Returns the steps.
    fn run(&self, start: &Memory, plan: &OrderPlan) -> Vec<Step> {
        let _naming = PlanNaming(self, plan);
        let memory = SharedMemory::new(Mutex::new(start.clone()));
        let (course, turned) = (Mutex::default(), Condvar::new());
        let (of_all, plan) = (Arc::clone(&memory), plan.clone());
        let is_exclusive = self.ttl == LONG;
        let world = Arc::new(World { memory: of_all, plan, is_exclusive, course, turned });
        let stores = [0, 1].map(|number| self.open(&world, number));
        *world.course.lock() = Course { is_on: true, unfinished: vec![0, 1], ..Course::default() };
        let work = |machine: usize| {
            let _turns = Turns(&world, machine);
            self.play(machine, &stores[machine])
        };
        let outcomes: Vec<Outcome> = thread::scope(|scope| {
            let work = &work;
            let machines = [0, 1].map(|machine| scope.spawn(move || work(machine)));
            machines.into_iter().map(|machine| machine.join().unwrap()).collect()
        });
        let mut course = world.course.lock();
        course.is_on = false;
        world.arrive(&mut course);
        self.check(&memory, &outcomes);
        std::mem::take(&mut course.steps)
    }

    fn open(&self, world: &Arc<World>, number: usize) -> EntryStore {
        let is_waiting = Mutex::default();
        let machine = Arc::new(Machine { number, world: Arc::clone(world), is_waiting });
        let store = builder().start_with(machine, timing(self.ttl, LONG), None).unwrap();
        if let PolicySource::Shared(shared) = &store.0.source {
            *shared.is_probed.lock() = true;
        }
        store
    }

    fn check(&self, memory: &SharedMemory, outcomes: &[Outcome]) {
        let before = {
            let memory = memory.lock();
            let is_there = |policy: &Policy<Entries>| {
                let text = policy.text().as_bytes();
                let kept = memory.history.get(&policy.version());
                memory.slots[&Slot::Current] == text || kept.is_some_and(|kept| kept == text)
            };
            assert!(outcomes.iter().flatten().all(|policy| is_there(policy)), "a change is lost");
            2
        };
        let made = check_history(memory) - before;
        let errors = || outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let count = |kind| errors().filter(|error| error.kind() == kind).count() as u64;
        let known = (outcomes.len() - errors().count()) as u64;
        let unsettled = count(ErrorKind::PolicyUnsettled);
        assert!((known..=known + unsettled).contains(&made), "{outcomes:?}");
        let is_expected = |error: &Error| {
            use ErrorKind::{LockTimeout, PolicyConflict, PolicyUnreachable, PolicyUnsettled};
            matches!(
                error.kind(),
                PolicyConflict | PolicyUnreachable | LockTimeout | PolicyUnsettled
            )
        };
        assert!(errors().all(is_expected), "{outcomes:?}");
        if !self.acts.contains(&Act::Rollback) {
            let store = healthy(memory);
            let last = add(&store, "end").unwrap().version();
            for version in 2..=last {
                assert_eq!(store.diff(version - 1, version).unwrap().len(), 1);
            }
        }
    }
}

/// Runs every plan with at most so many deviations; of those with most, one of `share`. Returns
/// their number.
fn explore(scene: &Pair, start: &Memory, deviations_at_most: usize, share: usize) -> usize {
    let mut random = fastrand::Rng::with_seed(seed());
    let (mut plans, mut runs) = (vec![OrderPlan::new()], 0);
    while let Some(plan) = plans.pop() {
        let steps = scene.run(start, &plan);
        runs += 1;
        if plan.len() == deviations_at_most {
            continue;
        }
        let from = plan.last().map_or(0, |(step, _)| step + 1);
        for (at, step) in steps.iter().enumerate().skip(from) {
            for deviation in deviations(*step) {
                let is_last = plan.len() + 1 == deviations_at_most;
                if !is_last || random.usize(..share) == 0 {
                    let mut next = plan.clone();
                    next.push((at, deviation));
                    plans.push(next);
                }
            }
        }
    }
    runs
}

/// A policy at version 2.
fn start() -> Memory {
    let memory = SharedMemory::default();
    add(&healthy(&memory), "a").unwrap();
    memory.lock().clone()
}

/// Locks that no machine respects, so that both hold one; and such that are taken over soon.
const TTLS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(5)];

#[test]
fn requests_in_any_order_make_each_change_once() {
    let is_long = std::env::var_os("LOGROTOR_LONG").is_some();
    let (at_most, share) = if is_long { (3, 4) } else { (2, 12) };
    for ttl in TTLS {
        for acts in [[Act::Update, Act::Update], [Act::Update, Act::Rollback]] {
            let scene = Pair { acts, ttl };
            println!("{scene:?}: {} orders", explore(&scene, &start(), at_most, share));
        }
    }
}

#[test]
fn search_finds_a_change_that_is_lost_without_conditions() {
    let mut memory = start();
    memory.ignores_conditions = true;
    let scene = Pair { acts: [Act::Update, Act::Update], ttl: Duration::ZERO };
    let explored = catch_unwind(AssertUnwindSafe(|| explore(&scene, &memory, 1, 1)));
    assert!(explored.is_err());
}

/// A lock that lives long has one holder: without a fault, and with a lost answer to the request
/// that takes or frees it.
#[test]
fn lock_has_one_holder_while_it_lives() {
    let scene = Pair { acts: [Act::Update, Act::Update], ttl: LONG };
    let start = start();
    let of_one = scene.run(&start, &OrderPlan::new()).len() / 2;
    for fault in [None, Some(Deviation::NotSent), Some(Deviation::NotAnswered)] {
        // The last request frees the lock.
        for at in 1..=of_one {
            for back in at + 1..2 * of_one + 2 {
                let mut plan = vec![(at, Deviation::Switch), (back, Deviation::Switch)];
                // The request before the switch.
                plan.extend(fault.map(|fault| (at - 1, fault)));
                scene.run(&start, &plan);
            }
        }
    }
}

/// The first attempt was made, and another machine has had the lock since: equal bytes would be a
/// state that comes back, which the system rejects here.
#[test]
fn second_attempt_at_the_lock_stores_other_bytes() {
    let scene = Pair { acts: [Act::Update, Act::Update], ttl: Duration::ZERO };
    let steps = scene.run(&start(), &OrderPlan::new());
    let takes = steps.iter().position(|(asks, _)| *asks == Asks::Swap).unwrap();
    let plan = vec![(takes, Deviation::NotAnswered), (takes + 1, Deviation::Switch)];
    scene.run(&start(), &plan);
}

#[test]
fn old_guard_does_not_free_the_lock_of_the_next_holder() {
    let scene = Pair { acts: [Act::Update, Act::Update], ttl: Duration::ZERO };
    // The first has the lock and the version; the second takes both over, up to its change.
    let steps = scene.run(&start(), &OrderPlan::new());
    let commits = steps.iter().filter(|(asks, _)| *asks == Asks::Swap).count();
    assert_eq!(commits, 6, "each takes the lock, commits and frees the lock");
    for at in 2..steps.len() {
        for back in at + 1..steps.len() {
            let plan = vec![(at, Deviation::Switch), (back, Deviation::Switch)];
            scene.run(&start(), &plan);
        }
    }
}
