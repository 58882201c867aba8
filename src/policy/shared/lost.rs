//! Calls and changes whose answers are lost.

use super::commit::{Commit, Next, settle};
use super::lock::LockRecord;
use super::memory::{Faults, FaultyClient, token};
use super::tests::{Entries, EntryStore, LONG, Scene, SharedMemory, add, builder, healthy, open};
use super::tests::{patient, prepare, timing};
use crate::error::{ErrorKind, Result};
use crate::policy::backend::{Loaded, Slot};
use crate::policy::document::{self, Metadata};
use std::sync::Arc;
use std::time::Duration;

/// A call of a store that waits for answers.
type Call = fn(&EntryStore);

#[test]
fn no_call_fails_by_one_lost_answer() {
    let calls: [(&str, Scene, Call); 8] = [
        ("create", Scene::Create, |_| {}),
        ("open", Scene::Update, |_| {}),
        ("open damaged", Scene::Repair, |store| assert_eq!(store.version(), 3)),
        ("history", Scene::Update, |store| assert_eq!(store.history().unwrap().len(), 3)),
        ("diff", Scene::Update, |store| assert_eq!(store.diff(1, 2).unwrap().len(), 1)),
        ("verify", Scene::Update, |store| assert_eq!(store.verify().unwrap(), 3)),
        ("rollback", Scene::Update, |store| assert_eq!(store.rollback(2).unwrap().len(), 1)),
        ("repair", Scene::Repair, |store| assert!(store.repair().unwrap())),
    ];
    for (name, scene, call) in calls {
        for is_carried_out in [false, true] {
            let fails_at = |at: &u64| {
                let memory = prepare(scene);
                let client = FaultyClient::new(&memory, Faults::LosesOne(*at, is_carried_out), 0);
                println!("{name}, request {at}");
                // None waits until a lock is taken over, not even one of its own.
                let timing = timing(LONG, Duration::from_secs(60));
                call(&open(&client, timing).unwrap());
                let lock = memory.lock().slots.get(&Slot::Lock).cloned();
                let record = lock.and_then(|lock| LockRecord::parse(&lock));
                assert!(record.is_none_or(|record| record.holder.is_none()), "it is held");
                *client.requests.lock() >= *at
            };
            let asked = (1..).take_while(fails_at).count();
            assert!(asked > 0, "{name}");
        }
    }
}

#[test]
fn error_tells_how_long_an_answer_was_waited_for() {
    let memory = SharedMemory::default();
    let client = FaultyClient::new(&memory, Faults::None, 0);
    let timing = timing(LONG, Duration::from_millis(20));
    let store = open(&client, timing).unwrap();
    *client.faults.lock() = Faults::Cut;
    let calls: [&dyn Fn() -> Result<()>; 7] = [
        &|| open(&client, timing).map(drop),
        &|| store.history().map(drop),
        &|| store.diff(2, 3).map(drop),
        &|| store.verify().map(drop),
        &|| store.rollback(2).map(drop),
        &|| store.repair().map(drop),
        &|| add(&store, "x").map(drop),
    ];
    for call in calls {
        // On a busy machine, the timeout may pass before the second attempt.
        let mut errors = (0..100).map(|_| call().unwrap_err());
        let error = errors.find(|error| error.to_string().contains("gave up")).unwrap();
        assert_eq!(error.kind(), ErrorKind::PolicyUnreachable);
        let text = error.to_string();
        let (failure, tried) = text.split_once("; gave up after ").unwrap();
        assert_eq!(failure, "failed to reach policy `memory://app.policy`: the answer is lost");
        assert!(tried.contains(" attempts in ") && tried.ends_with(" s"), "{text}");
    }
    // A change may have a timeout of its own.
    let change = || store.begin_update().lock_timeout(Duration::ZERO);
    assert!(!change().rollback(2).unwrap_err().to_string().contains("gave up"));
}

#[test]
fn policy_with_a_copy_is_opened_without_a_second_attempt() {
    let memory = SharedMemory::default();
    let dir = tempfile::tempdir().unwrap();
    let builder = builder().cache(dir.path().join("app.log.policy.cache"));
    let client = FaultyClient::new(&memory, Faults::None, 0);
    let open = || builder.start_with(Arc::clone(&client) as _, patient(), Some(&Entries::new()));
    open().unwrap();
    *client.faults.lock() = Faults::Cut;
    *client.requests.lock() = 0;
    let store = open().unwrap();
    assert_eq!((store.version(), *client.requests.lock()), (1, 1));
    let problem = store.problem().unwrap().to_string();
    assert!(problem.ends_with("the answer is lost"), "{problem}");
}

/// The table of the module `commit`.
#[test]
fn fate_of_a_change_is_found_by_its_id() {
    let memory = SharedMemory::default();
    let store = healthy(&memory);
    let of_first = store.current().metadata().clone();
    let text = |version, change: &str| {
        let change = Some(change.to_owned());
        document::seal(&Metadata { version, change, ..of_first.clone() }, "")
    };
    let (before, ours, others) = (text(1, "first"), text(2, "ours"), text(2, "others"));
    let later = text(4, "later");
    let next = Next { version: 2, change: "ours", text: &ours };
    let (made, overtaken) = (Ok(Some(Commit::Made)), |at| Ok(Some(Commit::Overtaken(at))));
    let rows = [
        (Some(&ours), None, made.clone()),
        (Some(&before), None, Ok(None)),
        (Some(&others), None, overtaken(2)),
        (Some(&later), Some(&ours), made.clone()),
        (Some(&later), Some(&others), overtaken(4)),
        (Some(&later), None, Err(ErrorKind::PolicyUnsettled)),
        (None, Some(&ours), made),
        (None, Some(&others), overtaken(2)),
        (None, None, Err(ErrorKind::PolicyUnsettled)),
    ];
    let loaded = |text: &str| Loaded { bytes: text.into(), token: token(text.as_bytes()) };
    for (number, (present, kept, expected)) in rows.into_iter().enumerate() {
        let bytes = |text: &String| text.clone().into_bytes();
        let memory = SharedMemory::default();
        memory.lock().slots.extend(present.map(|text| (Slot::Current, bytes(text))));
        memory.lock().history.extend(kept.map(|text| (2, bytes(text))));
        let client = FaultyClient::new(&memory, Faults::None, 0);
        let found = settle(&*client, Some(&loaded(&before)), &next);
        assert_eq!(found.map_err(|error| error.kind()), expected, "row {number}");
    }
    // The first version of all.
    let client = FaultyClient::new(&SharedMemory::default(), Faults::None, 0);
    assert_eq!(settle(&*client, None, &next).unwrap(), None);
}
