//! A policy that machines share in an object store: processes over a stub of S3, and SeaweedFS.

use crate::policy_server::PolicyServer;
use crate::support::{Dir, Job, Worker, eventually, listen, say, seed};
use crate::support_lock::rounds;
use logrotor::policy::{PolicyStore, PolicyStoreBuilder};
use logrotor::{Config, ErrorKind, RotatingFileWriter};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Entries = BTreeMap<String, u32>;

const URL: &str = "s3://bucket/fleet/app.policy";

fn job(task: &str, endpoint: &str, dir: &Dir) -> Job {
    Job::new(task, &dir.log())
        .env("AWS_ENDPOINT", endpoint)
        .env("AWS_ALLOW_HTTP", true)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
}

fn builder(job: &Job) -> PolicyStoreBuilder<Entries> {
    let builder = PolicyStore::builder(|_: &Entries| Ok(())).keep(10_000);
    let builder = builder.cache_beside(job.text("log"));
    builder.interval(Duration::from_millis(100)).lock_ttl(Duration::from_millis(500))
}

/// The tasks of worker processes.
pub fn child(job: &Job) {
    match job.text("task") {
        "shared-add" => add(job),
        "shared-follow" => follow(job),
        "shared-update" => update(job),
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
    let store = loop {
        match builder(job).open_or_create(URL, Entries::new) {
            Ok(store) => break store,
            Err(error) => assert!(is_passing(&error), "{error}"),
        }
    };
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
    let store = builder(job).open(URL).unwrap();
    say(store.version());
    while let Some(wanted) = listen() {
        let wanted: u64 = wanted.parse().unwrap();
        eventually("the version is in force", || store.version() >= wanted);
        say(store.version());
    }
}

/// Changes the policy once. Says the version, and how many entries it has.
fn update(job: &Job) {
    let opened = builder(job).lock_timeout(Duration::from_secs(20)).open(URL);
    let updated = opened.and_then(|store| {
        let key = job.text("key").to_owned();
        store.update(|entries| assert!(entries.insert(key, 1).is_none()))
    });
    match updated {
        Ok(policy) => say(format!("ok {} {}", policy.version(), policy.len())),
        Err(error) => say(format!("{:?} {error}", error.kind())),
    }
}

/// Writes a log under the policy, a record for each line that it hears.
fn log(job: &Job) {
    let builder = Config::policy().cache_beside(job.text("log"));
    let builder = builder.interval(Duration::from_millis(100)).lock_timeout(Duration::ZERO);
    let store = builder.open_or_create("s3://bucket/log.policy", Config::default).unwrap();
    let mut log =
        RotatingFileWriter::builder(job.text("log")).policy(store.clone()).build().unwrap();
    say(store.version());
    while let Some(line) = listen() {
        writeln!(log, "{line}").unwrap();
        let changed = store.update(|config| config.max_backups = Some(7));
        let changed = changed.map(|policy| policy.version()).map_err(|error| error.kind());
        say(format!("{changed:?}, version {} in force", log.stats().policy.unwrap().version));
    }
}

/// The number of a policy, and how many entries it has, after a change by a process of its own.
fn look(endpoint: &str, dir: &Dir) -> (u64, usize) {
    let mut child = job("shared-update", endpoint, dir).with("key", "last").spawn();
    let said = child.hear().unwrap();
    assert!(child.end());
    let numbers = said.strip_prefix("ok ").and_then(|numbers| numbers.split_once(' '));
    let (version, entries) = numbers.unwrap_or_else(|| panic!("{said}"));
    (version.parse().unwrap(), entries.parse().unwrap())
}

/// Eight machines add entries; one of them is killed again and again. Nothing is lost or doubled.
fn race(endpoint: &str, updates: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let dirs: Vec<_> = (0..8).map(|_| Dir::new()).collect();
    let start = |worker: usize| {
        let job = job("shared-add", endpoint, &dirs[worker]).with("count", updates);
        job.with("worker", worker).spawn()
    };
    let mut workers: Vec<Worker> = (0..8).map(start).collect();
    for _ in 0..updates.min(10) {
        std::thread::sleep(Duration::from_millis(random.u64(..300)));
        workers[0].kill();
        workers[0] = start(0);
    }
    for worker in &mut workers {
        assert_eq!(worker.hear().as_deref(), Some("done"));
    }
    let (version, entries) = look(endpoint, &Dir::new());
    assert_eq!((version, entries), (8 * updates as u64 + 2, 8 * updates + 1));
}

#[test]
fn eight_machines_over_a_bad_network_lose_no_change() {
    let seed = seed();
    let server = PolicyServer::with_faults(10, seed);
    race(&server.endpoint, rounds(3, 50) as usize, seed);
}

#[test]
fn machine_killed_at_any_operation_costs_others_nothing() {
    let (server, dir) = (PolicyServer::start(), Dir::new());
    let first = job("shared-add", &server.endpoint, &dir).with("count", 1).with("worker", 0);
    assert_eq!(first.spawn().hear().as_deref(), Some("done"));
    let step = rounds(6, 1) as usize;
    for at in (1..).step_by(step) {
        let mut child = job("shared-update", &server.endpoint, &dir)
            .with("key", format!("killed-{at}"))
            .env("LOGROTOR_FAULT", format!("{at}:kill"))
            .spawn();
        let is_killed = child.hear().is_none();
        let mut next = job("shared-update", &server.endpoint, &Dir::new())
            .with("key", format!("next-{at}"))
            .spawn();
        let said = next.hear().unwrap();
        assert!(said.starts_with("ok "), "after a kill at operation {at}: {said}");
        if !is_killed {
            break;
        }
    }
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
    let start = || job("shared-log", &server.endpoint, &dir).spawn();
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

// ---------------------------------------------------------------- SeaweedFS

struct Weed {
    child: std::process::Child,
    endpoint: String,
    _dir: Dir,
}

impl Drop for Weed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server of `.ci/archive`, if it is installed.
fn weed() -> Option<PathBuf> {
    let target = std::env::current_exe().unwrap();
    let target = target.ancestors().nth(3)?.join("platforms");
    let tools = std::env::var_os("LOGROTOR_TOOLS").map_or(target, PathBuf::from);
    let program = tools.join("archive/python/bin/weed");
    program.exists().then_some(program)
}

impl Weed {
    fn start(program: PathBuf) -> Self {
        let dir = Dir::new();
        let ports = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports: Vec<_> = ports.take(4).map(|it| it.local_addr().unwrap().port()).collect();
        // It takes the port plus 10000 for each port as well.
        let ports = ports.iter().map(|port| if *port > 55_000 { port - 20_000 } else { *port });
        let ports: Vec<_> = ports.collect();
        let child = Command::new(program)
            .args(["server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"])
            .arg(format!("-s3.port={}", ports[0]))
            .arg(format!("-master.port={}", ports[1]))
            .arg(format!("-volume.port={}", ports[2]))
            .arg(format!("-filer.port={}", ports[3]))
            .args(["-master.volumeSizeLimitMB=64"])
            .arg(format!("-dir={}", dir.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let weed = Self { child, endpoint: format!("http://127.0.0.1:{}", ports[0]), _dir: dir };
        eventually("SeaweedFS has a bucket", || put_bucket(ports[0]).is_some());
        weed
    }
}

/// Creates the bucket; without accounts, the server asks for no signature.
fn put_bucket(port: u16) -> Option<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request =
        "PUT /bucket HTTP/1.1\r\nHost: s3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).ok()?;
    answer.ends_with(b"200").then_some(())
}

#[test]
fn eight_machines_on_seaweedfs_lose_no_change() {
    let Some(program) = weed() else {
        println!("skipped: SeaweedFS is not installed; `.ci/archive --prepare` does that");
        return;
    };
    let weed = Weed::start(program);
    let started = Instant::now();
    race(&weed.endpoint, rounds(2, 50) as usize, seed());
    println!("{:?}", started.elapsed());
}
