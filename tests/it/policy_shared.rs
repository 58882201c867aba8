//! A policy that machines share in an object store: processes over stubs of S3 and of Google's API.
//! `policy_machines.rs` has real servers.

use crate::policy_server::PolicyServer;
use crate::support::{Dir, Job, Worker, eventually, listen, say, seed};
use crate::support_lock::rounds;
use logrotor::policy::{PolicyStore, PolicyStoreBuilder};
use logrotor::{Config, ErrorKind, RotatingFileWriter};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

type Entries = BTreeMap<String, u32>;

/// Longer than any call takes that is meant to succeed.
const PATIENCE: Duration = Duration::from_secs(120);

const URL: &str = "s3://bucket/fleet/app.policy";

fn job(task: &str, endpoint: &str, dir: &Dir) -> Job {
    Site::s3(endpoint, URL).job(task, dir)
}

/// Where a policy is, and the environment to get there.
#[derive(Debug, Clone)]
pub struct Site {
    pub url: String,
    pub environment: Vec<(&'static str, String)>,
}

impl Site {
    pub fn s3(endpoint: &str, url: &str) -> Self {
        let fixed = [
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "S3RVER"),
            ("AWS_SECRET_ACCESS_KEY", "S3RVER"),
            ("AWS_ENDPOINT", endpoint),
        ];
        let environment = fixed.map(|(name, value)| (name, value.to_owned())).to_vec();
        Self { url: url.to_owned(), environment }
    }

    /// A service account leads to the server.
    fn google(endpoint: &str) -> Self {
        let account = format!(
            "{{\"private_key\": \"none\", \"private_key_id\": \"none\", \"client_email\": \"none\", \
             \"gcs_base_url\": \"{endpoint}\", \"disable_oauth\": true}}"
        );
        let environment = vec![("GOOGLE_SERVICE_ACCOUNT_KEY", account)];
        Self { url: URL.replace("s3://", "gs://"), environment }
    }

    pub fn job(&self, task: &str, dir: &Dir) -> Job {
        let job = Job::new(task, &dir.log()).with("url", &self.url);
        self.environment.iter().fold(job, |job, (name, value)| job.env(name, value))
    }
}

fn builder(job: &Job) -> PolicyStoreBuilder<Entries> {
    let builder = PolicyStore::builder(|_: &Entries| Ok(())).keep(10_000);
    let builder = builder.cache_beside(job.text("log"));
    let ttl = if job.has("ttl") { job.number("ttl") as u64 } else { 500 };
    builder.interval(Duration::from_millis(100)).lock_ttl(Duration::from_millis(ttl))
}

/// The tasks of worker processes.
pub fn child(job: &Job) {
    match job.text("task") {
        "shared-add" => add(job),
        "shared-follow" => follow(job),
        "shared-update" => update(job),
        "shared-create" => create(job),
        "shared-rollback" => rollback(job),
        "shared-abandon" => abandon(job),
        "shared-check" => check(job),
        "shared-log" => log(job),
        other => panic!("no such task: {other}"),
    }
}

fn own<'a>(entries: &'a Entries, worker: &'a str) -> usize {
    entries.keys().filter(|key| key.starts_with(worker)).count()
}

/// Whether the change was surely not made, and may be tried again.
fn is_passing(error: &logrotor::Error) -> bool {
    use ErrorKind::{LockTimeout, PolicyConflict, PolicyUnreachable};
    matches!(error.kind(), LockTimeout | PolicyConflict | PolicyUnreachable)
}

/// Adds entries of its own, until there are enough.
fn add(job: &Job) {
    let (worker, count) = (format!("{}-", job.text("worker")), job.number("count"));
    let patient = builder(job).lock_timeout(PATIENCE);
    let store = patient.open_or_create(job.text("url"), Entries::new).unwrap();
    let mut last = store.version();
    while own(&store.current(), &worker) < count {
        let changed = store.try_update(|entries| match own(entries, &worker) {
            done if done < count => {
                entries.insert(format!("{worker}{done}"), 1);
                Ok(())
            }
            _ => Err(()),
        });
        match changed {
            Ok(_) => {}
            Err(error) => assert!(is_passing(&error), "{error}"),
        }
        assert!(store.version() >= last);
        last = store.version();
    }
    let problem = store.problem().filter(|error| error.kind() == ErrorKind::PolicyCorrupt);
    assert!(problem.is_none(), "{problem:?}");
    say("done");
}

/// Says each version that comes into force, until its input ends.
fn follow(job: &Job) {
    let store = builder(job).open(job.text("url")).unwrap();
    say(store.version());
    while let Some(wanted) = listen() {
        let wanted: u64 = wanted.parse().unwrap();
        eventually("the version is in force", || store.version() >= wanted);
        say(store.version());
    }
}

/// Opens a policy that is there. Its changes wait long for the lock.
fn open(job: &Job) -> PolicyStore<Entries> {
    builder(job).lock_timeout(PATIENCE).open(job.text("url")).unwrap()
}

/// Changes the policy once. Says the version, and how many entries it has.
fn update(job: &Job) {
    let store = open(job);
    let key = job.text("key").to_owned();
    match store.update(|entries| assert!(entries.insert(key, 1).is_none())) {
        Ok(policy) => say(format!("ok {} {}", policy.version(), policy.len())),
        Err(error) => say(format!("{:?} {error}", error.kind())),
    }
}

/// Creates the policy. Says its version.
fn create(job: &Job) {
    match builder(job).open_or_create(job.text("url"), Entries::new) {
        Ok(store) => say(format!("ok {}", store.version())),
        Err(error) => say(format!("{:?} {error}", error.kind())),
    }
}

/// Publishes the first version again.
fn rollback(job: &Job) {
    match open(job).rollback(1) {
        Ok(policy) => say(format!("ok {} {}", policy.version(), policy.len())),
        Err(error) => say(format!("{:?} {error}", error.kind())),
    }
}

/// Dies with the update lock.
fn abandon(job: &Job) {
    let store = builder(job).open(job.text("url")).unwrap();
    let changed = store.update(|_| std::process::exit(0));
    panic!("it was to die: {changed:?}");
}

/// Reads every version, which checks its checksum. Says how many there are, and the entries of the
/// last one.
fn check(job: &Job) {
    let store = open(job);
    let history = store.history().unwrap();
    let mut versions: Vec<_> = history.iter().map(|it| it.version).collect();
    versions.sort_unstable();
    assert!(versions.iter().copied().eq(1..=store.version()), "gaps: {versions:?}");
    let largest = if job.has("singly") { 1 } else { usize::MAX };
    for version in 2..=store.version() {
        assert!(store.diff(version - 1, version).unwrap().len() <= largest);
    }
    store.verify().unwrap();
    say(format!("ok {} {}", store.version(), store.current().len()));
}

/// Writes a log under the policy, a record for each line that it hears. Changes the policy, unless
/// the line is only to be written.
fn log(job: &Job) {
    let builder = Config::policy().cache_beside(job.text("log"));
    let builder = builder.interval(Duration::from_millis(100)).lock_timeout(Duration::ZERO);
    let store = builder.open_or_create(job.text("url"), Config::default).unwrap();
    let mut log =
        RotatingFileWriter::builder(job.text("log")).policy(store.clone()).build().unwrap();
    say(store.version());
    while let Some(line) = listen() {
        writeln!(log, "{line}").unwrap();
        if line.starts_with("only") {
            say(log.stats().policy.unwrap().version);
            continue;
        }
        let changed = store.update(|config| config.max_backups = Some(7));
        let changed = changed.map(|policy| policy.version()).map_err(|error| error.kind());
        say(format!("{changed:?}, version {} in force", log.stats().policy.unwrap().version));
    }
}

/// Runs a job to its end. Returns a version, and how many entries it has.
fn run(job: &Job) -> (u64, usize) {
    let mut child = job.spawn();
    let said = child.hear().unwrap();
    assert!(child.end());
    let numbers = said.strip_prefix("ok ").and_then(|numbers| numbers.split_once(' '));
    let (version, entries) = numbers.unwrap_or_else(|| panic!("{said}"));
    (version.parse().unwrap(), entries.parse().unwrap())
}

/// Eight machines add entries, some of them through another site; they are killed at random.
/// Nothing is lost or doubled, and no version is missing or damaged.
pub fn race(site: &Site, through: &Site, updates: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let dirs: Vec<_> = (0..8).map(|_| Dir::new()).collect();
    let start = |worker: usize| {
        let job = through.job("shared-add", &dirs[worker]).with("count", updates);
        job.with("worker", worker).spawn()
    };
    let mut workers: Vec<Worker> = (0..8).map(start).collect();
    for _ in 0..updates.min(10) {
        std::thread::sleep(Duration::from_millis(random.u64(..300)));
        let at = random.usize(..8);
        workers[at].kill();
        workers[at] = start(at);
    }
    for worker in &mut workers {
        assert_eq!(worker.hear().as_deref(), Some("done"));
    }
    let last = run(&site.job("shared-update", &Dir::new()).with("key", "last"));
    assert_eq!(last, (8 * updates as u64 + 2, 8 * updates + 1));
    let found = run(&site.job("shared-check", &Dir::new()).with("singly", 1));
    assert_eq!(found, last);
}

/// Kills a process at each operation of an update, a rollback, and an update that takes the lock of
/// a dead process over, at every `step`th of them. The next change is made all the same.
pub fn kills(site: &Site, step: usize) {
    run_quietly(site, "shared-add");
    for task in ["shared-update", "shared-rollback", "shared-takeover"] {
        let mut at = 1;
        loop {
            let is_takeover = task == "shared-takeover";
            if is_takeover {
                assert!(site.job("shared-abandon", &Dir::new()).spawn().end());
            }
            let change = if is_takeover { "shared-update" } else { task };
            let child = site.job(change, &Dir::new()).with("key", format!("killed {task} {at}"));
            let child = child.with("ttl", 100).env("LOGROTOR_FAULT", format!("{at}:kill"));
            let is_killed = child.spawn().hear().is_none();
            let next = site.job("shared-update", &Dir::new()).with("ttl", 100);
            run(&next.with("key", format!("next {task} {at}")));
            if !is_killed {
                println!("{task}: {at} is beyond its last operation");
                break;
            }
            at += step;
        }
    }
    run(&site.job("shared-check", &Dir::new()));
}

fn run_quietly(site: &Site, task: &str) {
    let first = site.job(task, &Dir::new()).with("count", 1).with("worker", 0);
    assert_eq!(first.spawn().hear().as_deref(), Some("done"));
}

#[test]
fn eight_machines_over_a_bad_network_lose_no_change() {
    let seed = seed();
    let server = PolicyServer::with_faults(10, seed);
    let site = Site::s3(&server.endpoint, URL);
    race(&site, &site, rounds(3, 50) as usize, seed);
}

#[test]
fn generations_of_google_are_compared_for_a_policy() {
    let seed = seed();
    let server = PolicyServer::with_faults(10, seed);
    let site = Site::google(&server.endpoint);
    race(&site, &site, rounds(1, 50) as usize, seed);
}

#[test]
fn machine_killed_at_any_operation_costs_others_nothing() {
    let server = PolicyServer::start();
    kills(&Site::s3(&server.endpoint, URL), rounds(12, 1) as usize);
}

#[test]
fn change_is_in_force_on_other_machines_by_itself() {
    let (server, dirs) = (PolicyServer::start(), [Dir::new(), Dir::new()]);
    let first = job("shared-add", &server.endpoint, &dirs[0]).with("count", 1).with("worker", 0);
    assert_eq!(first.spawn().hear().as_deref(), Some("done"));
    let mut followers: Vec<_> =
        dirs.iter().map(|dir| job("shared-follow", &server.endpoint, dir).spawn()).collect();
    for follower in &mut followers {
        assert_eq!(follower.hear().as_deref(), Some("2"));
    }
    let mut change = job("shared-update", &server.endpoint, &Dir::new()).with("key", "x").spawn();
    assert_eq!(change.hear().as_deref(), Some("ok 3 2"));
    for follower in &mut followers {
        follower.tell("3");
        assert_eq!(follower.hear().as_deref(), Some("3"));
    }
    // A machine that does nothing asks for one object, under a condition.
    server.requests();
    eventually("it asks", || server.requests().get("GET").is_some_and(|asked| *asked > 0));
    assert_eq!(server.requests().keys().filter(|kind| **kind != "GET").count(), 0);
}

#[test]
fn log_of_a_machine_that_is_cut_off_goes_on() {
    let (server, dir) = (PolicyServer::start(), Dir::new());
    let site = Site::s3(&server.endpoint, "s3://bucket/log.policy");
    let start = || site.job("shared-log", &dir).spawn();
    let mut machine = start();
    assert_eq!(machine.hear().as_deref(), Some("1"));
    server.cut_off(true);
    machine.tell("one");
    let said = machine.hear().unwrap();
    assert_eq!(said, "Err(PolicyUnreachable), version 1 in force");
    assert!(machine.end());
    // It starts without network.
    let mut machine = start();
    assert_eq!(machine.hear().as_deref(), Some("1"));
    server.cut_off(false);
    machine.tell("two");
    assert!(machine.hear().unwrap().starts_with("Ok(2)"));
    assert!(machine.end());
    assert_eq!(dir.active_lines(), ["one", "two"]);
    let current = server.object("/current").unwrap();
    assert!(current.contains("\n#: version 2\n") && current.contains("\n#: change "), "{current}");
}

#[test]
fn server_that_ignores_conditions_is_refused_for_a_policy() {
    let (server, dir) = (PolicyServer::start(), Dir::new());
    let first = job("shared-add", &server.endpoint, &dir).with("count", 1).with("worker", 0);
    assert_eq!(first.spawn().hear().as_deref(), Some("done"));
    server.ignore_conditions();
    let mut child = job("shared-update", &server.endpoint, &dir).with("key", "x").spawn();
    let said = child.hear().unwrap();
    assert!(
        said.starts_with("PolicyUnconditional failed to use for policy `s3://bucket/"),
        "{said}"
    );
    assert!(server.object("/current").unwrap().contains("\n#: version 2\n"));
}
