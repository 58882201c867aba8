//! Policies that machines share on real servers: etcd, PostgreSQL, SeaweedFS and Azurite, over a
//! bad network. `.ci/policy` starts the servers and sets the variables. Without them, the tests are
//! skipped. With `LOGROTOR_LONG=1`, there are many more changes and kills.

use crate::bad_network::{BadNetwork, Protocol};
use crate::policy_shared::{Site, kills, race};
use crate::support::{Dir, Worker, eventually, seed};
use crate::support_lock::rounds;
use std::time::Instant;

/// A server, as `.ci/policy` describes it.
struct Engine {
    name: &'static str,
    /// Up to the host.
    before: String,
    host: String,
    /// After the host, up to the name of the policy.
    after: String,
}

impl Engine {
    /// `None`, with a message, without a server.
    fn find(name: &'static str) -> Option<Self> {
        let variable = format!("LOGROTOR_{}", name.to_uppercase());
        let Ok(url) = std::env::var(&variable) else {
            println!("skipped: `{variable}` is not set; see .ci/policy");
            return None;
        };
        let at = url.find("//").unwrap() + 2;
        let at = url.rfind('@').map_or(at, |before| before + 1);
        let (before, rest) = url.split_at(at);
        let (host, after) = rest.split_once('/').unwrap_or((rest, ""));
        let after = if after.is_empty() { "/".to_owned() } else { format!("/{after}/") };
        Some(Self { name, before: before.to_owned(), host: host.to_owned(), after })
    }

    fn protocol(&self) -> Protocol {
        if self.name == "postgres" { Protocol::Bytes } else { Protocol::Http }
    }

    /// A policy, reached at this host.
    fn site(&self, host: &str, policy: &str) -> Site {
        let Self { before, after, .. } = self;
        match self.name {
            "etcd" | "postgres" => {
                let url = format!("{before}{host}{after}{policy}");
                Site { url, environment: Vec::new() }
            }
            "azurite" => {
                let emulator = [
                    ("AZURE_STORAGE_USE_EMULATOR", "true".to_owned()),
                    ("AZURITE_BLOB_STORAGE_URL", format!("http://{host}")),
                ];
                Site { url: format!("az://bucket/{policy}"), environment: emulator.to_vec() }
            }
            _ => Site::s3(&format!("http://{host}"), &format!("s3://bucket/{policy}")),
        }
    }
}

fn policy() -> String {
    format!("{:016x}.policy", fastrand::u64(..))
}

fn machines_lose_no_change(engine: &Engine) {
    let (seed, policy, started) = (seed(), policy(), Instant::now());
    let network = BadNetwork::start(engine.protocol(), &engine.host, 10, seed);
    let (direct, through) =
        (engine.site(&engine.host, &policy), engine.site(&network.host, &policy));
    let updates = rounds(2, 50) as usize;
    race(&direct, &through, updates, seed);
    println!("{}: 8 x {updates} in {:?}, {:?}", engine.name, started.elapsed(), network.fates());
}

fn kill_at_any_request_costs_others_nothing(engine: &Engine) {
    kills(&engine.site(&engine.host, &policy()), rounds(15, 1) as usize);
}

/// Sends a line, and returns the answer.
fn ask(machine: &mut Worker, line: &str) -> String {
    machine.tell(line);
    machine.hear().unwrap()
}

/// All that it sends and should receive is held for as long as its request lasts. No connection is
/// refused or closed.
fn machine_cut_off_writes_its_log_and_converges(engine: &Engine) {
    let (policy, dirs) = (policy(), [Dir::new(), Dir::new()]);
    let network = BadNetwork::start(engine.protocol(), &engine.host, 0, seed());
    let mut cut_off = engine.site(&network.host, &policy).job("shared-log", &dirs[0]).spawn();
    assert_eq!(cut_off.hear().as_deref(), Some("1"));
    let mut other = engine.site(&engine.host, &policy).job("shared-log", &dirs[1]).spawn();
    assert_eq!(other.hear().as_deref(), Some("1"));

    network.hold(true);
    let started = Instant::now();
    cut_off.tell("one");
    assert!(ask(&mut other, "x").starts_with("Ok(2)"));
    let said = cut_off.hear().unwrap();
    assert_eq!(said, "Err(PolicyUnreachable), version 1 in force", "{}", engine.name);
    println!("{}: failed after {:?}", engine.name, started.elapsed());
    for n in 0..100 {
        assert_eq!(ask(&mut cut_off, &format!("only {n}")), "1");
    }
    assert_eq!(dirs[0].active_lines().len(), 101);

    network.hold(false);
    eventually("it has the version of the others", || ask(&mut cut_off, "only more") == "2");
    assert!(ask(&mut cut_off, "two").starts_with("Ok(3)"));
    eventually("so do the others", || ask(&mut other, "only more") == "3");
}

/// Two servers of which it is known.
fn server_without_conditions_is_refused(engine: &Engine) {
    let policy = policy();
    let site = engine.site(&engine.host, &policy);
    let mut change = site.job("shared-create", &Dir::new()).spawn();
    let said = change.hear().unwrap();
    assert!(said.starts_with("PolicyUnconditional failed to use for policy"), "{said}");
}

macro_rules! engines {
    ($($test:ident: $($engine:ident)*;)*) => {
        $(mod $test {
            $(#[test]
            fn $engine() {
                if let Some(engine) = super::Engine::find(stringify!($engine)) {
                    super::$test(&engine);
                }
            })*
        })*
    };
}

/// The processes of one machine, over a file: as many as the machines above.
#[test]
fn processes_that_are_killed_lose_no_change_of_a_file() {
    let (seed, dir, started) = (seed(), Dir::new(), Instant::now());
    let url = dir.path().join("app.policy.toml").display().to_string();
    let site = Site { url, environment: Vec::new() };
    let updates = rounds(5, 50) as usize;
    race(&site, &site, updates, seed);
    println!("file: 8 x {updates} in {:?}", started.elapsed());
}

engines! {
    machines_lose_no_change: etcd postgres weed azurite;
    kill_at_any_request_costs_others_nothing: etcd postgres weed azurite;
    machine_cut_off_writes_its_log_and_converges: etcd postgres weed azurite;
    server_without_conditions_is_refused: s3rver rclone;
}
