//! A backend in memory whose answers are lost, late or doubled: for tests.

use crate::error::{Error, Result};
use crate::policy::backend::{Backend, Change, Kept, Loaded, Slot, Stop, Swap, Token};
use crate::policy::shared::identity;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// The system itself. It checks the rules that hold for every state.
#[derive(Default, Clone)]
pub(super) struct Memory {
    pub(super) slots: HashMap<Slot, Vec<u8>>,
    pub(super) history: BTreeMap<u64, Vec<u8>>,
    /// Every content of each slot.
    ever: HashSet<(Slot, Vec<u8>)>,
    /// Every version that was in force.
    committed: HashSet<Vec<u8>>,
    /// Swaps that are on their way.
    pub(super) late: Vec<(Slot, Option<Token>, Vec<u8>)>,
    pub(super) ignores_conditions: bool,
}

/// A digest of the bytes, as an ETag is.
pub(super) fn token(bytes: &[u8]) -> Token {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Token(format!("{:x}", hasher.finish()))
}

impl Memory {
    pub(super) fn swap(&mut self, slot: Slot, seen: Option<&Token>, new: &[u8]) -> Option<Token> {
        let present = self.slots.get(&slot).map(|bytes| token(bytes));
        if present.as_ref() != seen && !self.ignores_conditions {
            return None;
        }
        if !self.ignores_conditions {
            assert!(self.ever.insert((slot, new.to_vec())), "a state came back: ABA");
            self.check_order(slot, new);
        }
        self.slots.insert(slot, new.to_vec());
        Some(token(new))
    }

    /// Each version is the one after that before it, which the history has.
    fn check_order(&mut self, slot: Slot, new: &[u8]) {
        if slot != Slot::Current {
            return;
        }
        let (version, change) = identity(new).expect("what is committed is whole");
        assert!(change.is_some());
        if let Some(before) = self.slots.get(&slot) {
            if let Some((before_version, _)) = identity(before) {
                let kept = self.history.keys().last().copied().unwrap_or(0);
                assert_eq!(version, before_version.max(kept) + 1, "versions have no gap");
                assert_eq!(self.history.get(&before_version), Some(before), "kept before");
            }
        }
        self.committed.insert(new.to_vec());
    }

    pub(super) fn keep(&mut self, version: u64, bytes: &[u8]) -> Kept {
        assert!(self.committed.contains(bytes), "version {version} was never in force");
        let there = self.history.entry(version).or_insert_with(|| bytes.to_vec());
        if there == bytes { Kept::Yes } else { Kept::Other }
    }

    /// Lets the swaps that are on their way arrive.
    pub(super) fn arrive(&mut self) {
        for (slot, seen, new) in std::mem::take(&mut self.late) {
            // A doubled request finds its own bytes there.
            let is_ours = self.slots.get(&slot).is_some_and(|present| *present == new);
            if !is_ours {
                self.swap(slot, seen.as_ref(), &new);
            }
        }
    }
}

/// The faults of a client's requests.
#[derive(Debug, Clone)]
pub(super) enum Faults {
    None,
    /// So many of a hundred, at random.
    Random(u8),
    /// From this request on, none is answered. The first of them is carried out, or not.
    DiesAt(u64, bool),
    /// This request alone is not answered. It is carried out, or not.
    LosesOne(u64, bool),
    /// Swaps of the version in force are on their way until they are let arrive.
    LateSwaps,
    /// No request arrives.
    Cut,
}

/// A process's way to the system.
pub(super) struct FaultyClient {
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) faults: Mutex<Faults>,
    random: Mutex<fastrand::Rng>,
    pub(super) requests: Mutex<u64>,
}

/// The fate of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    NotSent,
    NotAnswered,
    Late,
    Doubled,
}

impl FaultyClient {
    pub(super) fn new(memory: &Arc<Mutex<Memory>>, faults: Faults, seed: u64) -> Arc<Self> {
        let (memory, faults) = (Arc::clone(memory), Mutex::new(faults));
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        Arc::new(Self { memory, faults, random, requests: Mutex::default() })
    }

    fn fate(&self) -> Fate {
        let mut requests = self.requests.lock();
        *requests += 1;
        let mut random = self.random.lock();
        match *self.faults.lock() {
            Faults::None | Faults::LateSwaps => Fate::Answered,
            Faults::Cut => Fate::NotSent,
            Faults::DiesAt(at, _) if *requests < at => Fate::Answered,
            Faults::DiesAt(at, true) if *requests == at => Fate::NotAnswered,
            Faults::DiesAt(..) => Fate::NotSent,
            Faults::LosesOne(at, _) if *requests != at => Fate::Answered,
            Faults::LosesOne(_, true) => Fate::NotAnswered,
            Faults::LosesOne(..) => Fate::NotSent,
            Faults::Random(percent) if random.u8(0..100) < percent => {
                let all = [Fate::NotSent, Fate::NotAnswered, Fate::Late, Fate::Doubled];
                all[random.usize(0..all.len())]
            }
            Faults::Random(_) => {
                if random.u8(0..100) < 20 {
                    self.memory.lock().arrive();
                }
                Fate::Answered
            }
        }
    }

    fn lost() -> Error {
        Error::policy_unreachable("reach", "memory://app.policy", "the answer is lost")
    }

    /// A request that may be repeated.
    fn ask<R>(&self, answer: impl Fn(&mut Memory) -> R) -> Result<R> {
        match self.fate() {
            Fate::NotSent | Fate::Late => Err(Self::lost()),
            Fate::NotAnswered => {
                answer(&mut self.memory.lock());
                Err(Self::lost())
            }
            Fate::Doubled => {
                answer(&mut self.memory.lock());
                Ok(answer(&mut self.memory.lock()))
            }
            Fate::Answered => Ok(answer(&mut self.memory.lock())),
        }
    }
}

impl Backend for FaultyClient {
    fn url(&self) -> &str {
        "memory://app.policy"
    }

    fn load(&self, slot: Slot) -> Result<Option<Loaded>> {
        let loaded = |bytes: &Vec<u8>| Loaded { bytes: bytes.clone(), token: token(bytes) };
        self.ask(|memory| memory.slots.get(&slot).map(loaded))
    }

    fn load_if_changed(&self, slot: Slot, seen: &Token) -> Result<Change> {
        Ok(match self.load(slot)? {
            None => Change::Missing,
            Some(loaded) if loaded.token == *seen => Change::Same,
            Some(loaded) => Change::Other(loaded),
        })
    }

    fn compare_and_swap(&self, slot: Slot, seen: Option<&Token>, new: &[u8]) -> Swap {
        let mut fate = self.fate();
        if matches!(*self.faults.lock(), Faults::LateSwaps) && slot == Slot::Current {
            fate = Fate::Late;
        }
        let swap = || self.memory.lock().swap(slot, seen, new);
        let answer = |won: Option<Token>| won.map_or(Swap::Lost, Swap::Won);
        match fate {
            Fate::Answered => answer(swap()),
            // The answer to the second one arrives.
            Fate::Doubled => {
                swap();
                Swap::Lost
            }
            Fate::NotSent => Swap::Unknown(Self::lost()),
            Fate::NotAnswered => {
                swap();
                Swap::Unknown(Self::lost())
            }
            Fate::Late => {
                self.memory.lock().late.push((slot, seen.cloned(), new.to_vec()));
                Swap::Unknown(Self::lost())
            }
        }
    }

    fn wait(&self, _: Option<&Token>, at_most: Duration, stop: &Stop) {
        stop.sleep(at_most);
    }

    fn keep(&self, version: u64, bytes: &[u8]) -> Result<Kept> {
        self.ask(|memory| memory.keep(version, bytes))
    }

    fn kept(&self, version: u64) -> Result<Option<Vec<u8>>> {
        self.ask(|memory| memory.history.get(&version).cloned())
    }

    fn kept_versions(&self) -> Result<Vec<u64>> {
        self.ask(|memory| memory.history.keys().copied().collect())
    }

    fn discard(&self, version: u64) -> Result<()> {
        self.ask(|memory| drop(memory.history.remove(&version)))
    }
}
