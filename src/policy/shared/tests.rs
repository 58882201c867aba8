//! The protocol over a backend whose answers are lost, late or doubled, and whose clients die.

use super::ProtocolTiming;
use super::lock::LockObserver;
use super::memory::{Faults, FaultyClient, Memory};
use crate::error::{ErrorKind, Result};
use crate::policy::backend::{Backend, Slot, Token};
use crate::policy::document::{self, Document};
use crate::policy::{Origin, Policy, PolicyStore, PolicyStoreBuilder};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub(super) type Entries = BTreeMap<String, u32>;
pub(super) type EntryStore = PolicyStore<Entries>;
pub(super) type SharedMemory = Arc<Mutex<Memory>>;

/// Longer than any wait here that is meant to succeed.
pub(super) const LONG: Duration = Duration::from_secs(120);

pub(super) fn timing(ttl: Duration, timeout: Duration) -> ProtocolTiming {
    let delays = (Duration::from_micros(100), Duration::from_millis(5));
    // The thread that follows does nothing: tests look by themselves.
    ProtocolTiming { interval: LONG, timeout, ttl, delays }
}

/// Waits for as long as it takes, for holders that died soon.
pub(super) fn patient() -> ProtocolTiming {
    timing(Duration::from_millis(50), LONG)
}

pub(super) fn builder() -> PolicyStoreBuilder<Entries> {
    PolicyStore::builder(|entries: &Entries| match entries.values().find(|value| **value == 13) {
        Some(_) => Err("13 brings bad luck".into()),
        None => Ok(()),
    })
    .keep(10_000)
}

pub(super) fn open(client: &Arc<FaultyClient>, timing: ProtocolTiming) -> Result<EntryStore> {
    let backend: Arc<dyn Backend> = Arc::clone(client) as _;
    builder().start_with(backend, timing, Some(&Entries::new()))
}

pub(super) fn healthy(memory: &SharedMemory) -> EntryStore {
    open(&FaultyClient::new(memory, Faults::None, 0), patient()).unwrap()
}

pub(super) fn add(store: &EntryStore, key: &str) -> Result<Arc<Policy<Entries>>> {
    store.update(|entries| assert!(entries.insert(key.to_owned(), 1).is_none(), "{key} twice"))
}

/// Adds an entry, again if another change was made first. Returns how often that was.
fn add_surely(store: &EntryStore, key: &str) -> u32 {
    for overtaken in 0.. {
        match add(store, key) {
            Ok(_) => return overtaken,
            Err(error) => assert_eq!(error.kind(), ErrorKind::PolicyConflict, "{error}"),
        }
    }
    unreachable!()
}

/// Checks that every version from 1 on is there, whole. Returns how many there are.
pub(super) fn check_history(memory: &SharedMemory) -> u64 {
    let memory = memory.lock();
    let current = &memory.slots[&Slot::Current];
    let versions: Vec<_> = memory.history.keys().copied().collect();
    let Document::Sealed { metadata, .. } = document::parse(current) else { panic!("damaged") };
    let last = metadata.version;
    let all: Vec<_> = (1..=last).collect();
    // The last one may not be kept yet.
    assert!(versions == all || versions == all[..all.len() - 1], "{versions:?} up to {last}");
    for (version, text) in &memory.history {
        let Document::Sealed { metadata, .. } = document::parse(text) else { panic!("damaged") };
        assert_eq!(metadata.version, *version);
    }
    last
}

pub(super) fn seed() -> u64 {
    let seed = std::env::var("LOGROTOR_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("LOGROTOR_SEED={seed}");
    seed
}

/// Has workers add entries of their own, each over a way of its own to the system.
fn race(workers: usize, updates: usize, faults: &Faults, timing: ProtocolTiming) -> u32 {
    let (memory, seed) = (SharedMemory::default(), seed());
    let work = |worker: usize| {
        let client = FaultyClient::new(&memory, faults.clone(), seed.wrapping_add(worker as u64));
        let store = open(&client, timing).unwrap();
        let mut overtaken = 0;
        for n in 0..updates {
            overtaken += add_surely(&store, &format!("{worker}-{n}"));
            assert!(store.current().contains_key(&format!("{worker}-{n}")));
        }
        overtaken
    };
    let overtaken = thread::scope(|scope| {
        let work = &work;
        let all: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        all.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let last = check_history(&memory);
    assert_eq!(last, (workers * updates) as u64 + 1, "each change was made once");
    assert_eq!(healthy(&memory).current().len(), workers * updates);
    overtaken
}

#[test]
fn every_change_of_eight_workers_is_made_once() {
    race(8, 12, &Faults::None, patient());
}

#[test]
fn lost_late_and_doubled_answers_change_nothing() {
    let updates = if std::env::var_os("LOGROTOR_LONG").is_some() { 50 } else { 12 };
    race(8, updates, &Faults::Random(10), patient());
}

#[test]
fn many_holders_of_the_lock_overwrite_nothing() {
    // No process respects a lock that lives for no time.
    race(4, 25, &Faults::Random(20), timing(Duration::ZERO, LONG));
}

#[test]
fn change_of_a_second_holder_defeats_that_of_the_first() {
    let memory = SharedMemory::default();
    let timing = timing(Duration::ZERO, LONG);
    let client = || FaultyClient::new(&memory, Faults::None, 0);
    let (first, second) = (open(&client(), timing).unwrap(), open(&client(), timing).unwrap());
    let error = first.update(|entries| {
        // The first one has the lock, and has loaded version 1.
        assert_eq!(add(&second, "second").unwrap().version(), 2);
        entries.insert("first".to_owned(), 1);
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::PolicyConflict);
    assert_eq!(**first.current(), Entries::from([("second".to_owned(), 1)]));
    assert_eq!(add(&first, "first").unwrap().version(), 3);
    assert_eq!(check_history(&memory), 3);
}

/// The work of the process that dies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scene {
    Create,
    Update,
    Rollback,
    /// An update, after another process died with the lock.
    Takeover,
    Repair,
}

/// Leaves the lock to others, as a process does that dies with it.
fn abandon_lock(memory: &SharedMemory) {
    let client = FaultyClient::new(memory, Faults::None, 0);
    let store = open(&client, timing(Duration::from_millis(1), Duration::ZERO)).unwrap();
    let done = store.try_update(|_| {
        *client.faults.lock() = Faults::Cut;
        Err::<(), _>("it dies")
    });
    assert_eq!(done.unwrap().unwrap_err(), "it dies");
}

/// A policy at version 3 with the entries `a` and `b`, and the damage that a scene is about.
pub(super) fn prepare(scene: Scene) -> SharedMemory {
    let memory = SharedMemory::default();
    if matches!(scene, Scene::Create) {
        return memory;
    }
    let store = healthy(&memory);
    add(&store, "a").unwrap();
    add(&store, "b").unwrap();
    match scene {
        Scene::Takeover => abandon_lock(&memory),
        Scene::Repair => {
            memory.lock().slots.insert(Slot::Current, b"damage".to_vec());
        }
        _ => {}
    }
    memory
}

fn act(scene: Scene, store: &EntryStore) -> Result<()> {
    match scene {
        Scene::Create => Ok(()),
        Scene::Update => add(store, "x").map(drop),
        Scene::Rollback => store.rollback(2).map(drop),
        Scene::Takeover => {
            // It has been seen for its whole life, which was short.
            let _ = add(store, "x");
            thread::sleep(Duration::from_millis(2));
            add(store, "x").map(drop)
        }
        Scene::Repair => store.repair().map(drop),
    }
}

/// Plays a scene whose process dies at a request. Returns whether it came to its end before.
fn play(scene: Scene, at: u64, is_carried_out: bool) -> bool {
    let memory = prepare(scene);
    let client = FaultyClient::new(&memory, Faults::DiesAt(at, is_carried_out), 0);
    // It gives up at once: a dead process does not insist.
    let timing = timing(Duration::from_millis(1), Duration::ZERO);
    let done = open(&client, timing).and_then(|store| act(scene, &store));
    let is_done = *client.requests.lock() < at;
    if is_done {
        done.as_ref().unwrap();
    }

    let store = healthy(&memory);
    if matches!(scene, Scene::Repair) {
        store.repair().unwrap();
    }
    let before = store.reload().map(|_| store.current().into_arc()).unwrap();
    match scene {
        Scene::Rollback if done.is_ok() => assert!(!before.contains_key("b")),
        Scene::Update | Scene::Takeover if done.is_ok() => assert!(before.contains_key("x")),
        _ => {}
    }
    if let Err(error) = &done {
        let kind = error.kind();
        let is_plain = matches!(kind, ErrorKind::PolicyUnreachable | ErrorKind::LockTimeout);
        let is_damage = kind == ErrorKind::PolicyCorrupt && matches!(scene, Scene::Repair);
        let is_known = is_plain || is_damage || kind == ErrorKind::PolicyUnsettled;
        assert!(is_known, "{scene:?} at {at}: {error}");
    }
    add(&store, "y").unwrap();
    if !matches!(scene, Scene::Repair) {
        check_history(&memory);
    }
    is_done
}

#[test]
fn process_that_dies_at_any_request_costs_nothing() {
    for scene in [Scene::Create, Scene::Update, Scene::Rollback, Scene::Takeover, Scene::Repair] {
        for is_carried_out in [false, true] {
            let last = (1..).find(|at| play(scene, *at, is_carried_out));
            println!("{scene:?}: {last:?} requests");
        }
    }
}

#[test]
fn late_change_cannot_replace_another() {
    for is_late in [false, true] {
        let memory = SharedMemory::default();
        let other = healthy(&memory);
        let client = FaultyClient::new(&memory, Faults::LateSwaps, 0);
        let store = open(&client, timing(LONG, Duration::ZERO)).unwrap();
        let error = add(&store, "late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyUnsettled, "{error}");
        if !is_late {
            memory.lock().arrive();
        }
        add(&other, "other").unwrap();
        memory.lock().arrive();
        assert!(!other.reload().unwrap());
        let expected: &[&str] = if is_late { &["other"] } else { &["late", "other"] };
        assert_eq!(other.current().keys().collect::<Vec<_>>(), expected);
        check_history(&memory);
    }
}

#[test]
fn timeout_names_the_holder_of_the_update_lock() {
    let memory = SharedMemory::default();
    let (holder, store) = (healthy(&memory), healthy(&memory));
    let told = holder.begin_update().comment("a long \u{7} thought").apply(|_| {
        let update = store.begin_update().lock_timeout(Duration::from_millis(1));
        let error = update.apply(|_| panic!("the lock is held")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockTimeout);
        let (error, pid) = (error.to_string(), std::process::id());
        assert!(error.contains(&format!("(held by pid {pid} on ")), "{error}");
        assert!(error.contains(", \"a long thought\"; a holder that died loses it"), "{error}");
    });
    assert_eq!(told.unwrap().version(), 2);
    assert_eq!(store.stats().lock_waits, 1);
    add(&store, "x").unwrap();
}

#[test]
fn lock_is_taken_over_once_its_life_was_observed() {
    let memory = SharedMemory::default();
    healthy(&memory);
    abandon_lock(&memory);
    let client = FaultyClient::new(&memory, Faults::None, 0);
    let store = open(&client, timing(LONG, Duration::ZERO)).unwrap();
    // However long ago it was taken: it was never seen before.
    thread::sleep(Duration::from_millis(5));
    assert_eq!(add(&store, "x").unwrap_err().kind(), ErrorKind::LockTimeout);
    thread::sleep(Duration::from_millis(2));
    assert_eq!(add(&store, "x").unwrap().version(), 2);
}

#[test]
fn life_of_a_lock_begins_again_with_each_state() {
    let (observer, state) = (LockObserver::default(), |name: &str| Token(name.to_owned()));
    assert_eq!(observer.observe(&state("one")), Duration::ZERO);
    thread::sleep(Duration::from_millis(2));
    assert!(observer.observe(&state("one")) >= Duration::from_millis(2));
    assert_eq!(observer.observe(&state("two")), Duration::ZERO);
    assert_eq!(observer.observe(&state("one")), Duration::ZERO);
}

#[test]
fn history_with_another_text_is_not_built_on() {
    let memory = SharedMemory::default();
    let store = healthy(&memory);
    memory.lock().history.insert(1, b"another".to_vec());
    let error = add(&store, "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyCorrupt, "{error}");
    assert!(error.to_string().contains("another version 1 than was in force"), "{error}");
    assert_eq!(healthy(&memory).version(), 1);
}

#[test]
fn system_that_ignores_conditions_is_refused() {
    let memory = SharedMemory::default();
    memory.lock().ignores_conditions = true;
    let error = open(&FaultyClient::new(&memory, Faults::None, 0), patient()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyUnconditional, "{error}");
    assert!(!memory.lock().slots.contains_key(&Slot::Current), "nothing is written to it");

    let memory = SharedMemory::default();
    let store = healthy(&memory);
    memory.lock().ignores_conditions = true;
    assert_eq!(store.version(), 1);
    let store = healthy(&memory);
    assert_eq!(add(&store, "x").unwrap_err().kind(), ErrorKind::PolicyUnconditional);
}

#[test]
fn refused_change_is_not_made_and_frees_the_lock() {
    let memory = SharedMemory::default();
    let store = healthy(&memory);
    let error = store.update(|entries| entries.extend([("x".to_owned(), 13)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyInvalid);
    let error = store.update_if(7, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyConflict);
    let other = open(&FaultyClient::new(&memory, Faults::None, 0), timing(LONG, Duration::ZERO));
    assert_eq!(add(&other.unwrap(), "x").unwrap().version(), 2);
}

#[test]
fn version_that_goes_back_is_reported_and_not_obeyed() {
    let memory = SharedMemory::default();
    let store = healthy(&memory);
    let first = memory.lock().slots[&Slot::Current].clone();
    add(&store, "x").unwrap();
    memory.lock().slots.insert(Slot::Current, first);
    let error = store.reload().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyCorrupt, "{error}");
    assert!(error.to_string().contains("went back from version 2 to 1"), "{error}");
    assert!(!store.reload().unwrap(), "each problem is reported once");
    assert!(store.problem().is_some() && store.verify().is_err());
    assert_eq!(add(&store, "y").unwrap_err().kind(), ErrorKind::PolicyCorrupt);
    assert_eq!((store.version(), store.current().len()), (2, 1));
    // Nor does it build on a version older than its own if the history is as old.
    let second = memory.lock().history.remove(&2).unwrap();
    assert_eq!(add(&store, "y").unwrap_err().kind(), ErrorKind::PolicyCorrupt);
    memory.lock().history.insert(2, second);
    // A process that starts now has only the history to compare with.
    let other = healthy(&memory);
    assert_eq!(add(&other, "y").unwrap_err().kind(), ErrorKind::PolicyCorrupt);

    assert!(store.repair().unwrap());
    assert_eq!(store.current().metadata().origin(), Origin::Rollback(2));
    assert!(store.version() == 3 && store.problem().is_none());
    assert!(other.reload().unwrap());
    assert_eq!(**other.current(), **store.current());
}

#[test]
fn machine_that_is_cut_off_keeps_its_version_and_its_copy() {
    let memory = SharedMemory::default();
    let dir = tempfile::tempdir().unwrap();
    let builder = builder().cache(dir.path().join("app.log.policy.cache"));
    let client = FaultyClient::new(&memory, Faults::None, 0);
    let timing = timing(LONG, Duration::ZERO);
    let open = || builder.start_with(Arc::clone(&client) as _, timing, None);
    let other = healthy(&memory);
    add(&other, "x").unwrap();
    let store = open().unwrap();

    *client.faults.lock() = Faults::Cut;
    assert_eq!(store.reload().unwrap_err().kind(), ErrorKind::PolicyUnreachable);
    assert_eq!(add(&store, "y").unwrap_err().kind(), ErrorKind::PolicyUnreachable);
    assert_eq!(store.version(), 2);
    // It starts again, without network.
    let store = open().unwrap();
    assert_eq!((store.version(), store.current().len()), (2, 1));
    assert_eq!(store.problem().unwrap().kind(), ErrorKind::PolicyUnreachable);

    *client.faults.lock() = Faults::None;
    add(&other, "y").unwrap();
    assert!(store.reload().unwrap() && store.version() == 3 && store.problem().is_none());
    // The version that this machine has seen holds after a restart, too.
    let second = memory.lock().history[&2].clone();
    memory.lock().slots.insert(Slot::Current, second);
    memory.lock().history.remove(&3);
    let store = open().unwrap();
    assert_eq!(store.version(), 3);
    assert_eq!(store.problem().unwrap().kind(), ErrorKind::PolicyCorrupt);
}

#[test]
fn copy_of_another_policy_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let cache = |url| super::PolicyCache::new(path.clone(), url, None).unwrap();
    cache("s3://b/p").save(1, "text").unwrap();
    assert_eq!(cache("s3://b/p").load().as_deref(), Some("text"));
    assert_eq!(cache("s3://b/q").load(), None);
}

#[test]
fn history_keeps_the_newest_versions_and_all_can_return() {
    let memory = SharedMemory::default();
    let client = FaultyClient::new(&memory, Faults::None, 0);
    let builder = builder().keep(1);
    let store = builder.start_with(client, patient(), Some(&Entries::new())).unwrap();
    for n in 2..=15 {
        add(&store, &n.to_string()).unwrap();
    }
    let versions = store.history().unwrap().into_iter().map(|entry| entry.version);
    assert_eq!(versions.collect::<Vec<_>>(), (6..=15).collect::<Vec<_>>());
    assert_eq!(store.diff(14, 15).unwrap().len(), 1);
    let policy = store.rollback(6).unwrap();
    assert_eq!((policy.version(), policy.len()), (16, 5));
    assert!(store.rollback(1).is_err());
}
