//! A fleet that shares a policy: the time from a change on one machine until eight obey it, and the
//! cost of many readers. The servers are those of `.ci/policy`:
//!
//! ```text
//! .ci/policy -- cargo bench --all-features --bench fleet -- latency
//! .ci/policy -- cargo bench --all-features --bench fleet -- readers
//! ```
//!
//! `LOGROTOR_ROUNDS`, `LOGROTOR_READERS` and `LOGROTOR_SECONDS` change the numbers.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use logrotor::policy::{PolicyStore, PolicyStoreBuilder};
use logrotor::{Config, RotatingFileWriter};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const MACHINES: usize = 8;
/// The task of a child process: `log`, `change`, or a number of readers.
const TASK: &str = "LOGROTOR_FLEET_TASK";
const URL: &str = "LOGROTOR_FLEET_URL";
const INTERVAL: &str = "LOGROTOR_FLEET_INTERVAL";

fn main() {
    let url = std::env::var(URL).unwrap_or_default();
    match std::env::var(TASK).as_deref() {
        Ok("log") => return obey(&url),
        Ok("change") => return change(&url),
        Ok(readers) => return read(&url, readers.parse().unwrap()),
        Err(_) => {}
    }
    let arguments: Vec<_> = std::env::args().collect();
    let is_asked = |task: &str| arguments.iter().any(|argument| argument == task);
    if is_asked("latency") {
        latency();
    }
    if is_asked("readers") {
        readers();
    }
    if !is_asked("latency") && !is_asked("readers") {
        println!("name `latency` or `readers`; see the head of benches/fleet.rs");
    }
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |number| number.parse().unwrap())
}

fn builder() -> PolicyStoreBuilder<Config> {
    Config::policy().interval(Duration::from_secs(number(INTERVAL, 10) as u64))
}

// ---------------------------------------------------------------- child processes

/// Says each version once the process has it, and again once its log obeys it.
fn obey(url: &str) {
    let dir = tempfile::tempdir().unwrap();
    let store = builder().open(url).unwrap();
    let path = dir.path().join("app.log");
    let log = RotatingFileWriter::builder(path).policy(store.clone()).build().unwrap();
    end_with_the_parent();
    let (mut had, mut obeyed) = (0, 0);
    loop {
        let (has, obeys) = (store.version(), log.stats().policy.unwrap().version);
        if has > had {
            had = has;
            println!("has {has}");
        }
        if obeys > obeyed {
            obeyed = obeys;
            println!("obeys {obeys}");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Creates the policy, and changes it for each line. Says each version once it is acknowledged.
fn change(url: &str) {
    let store = builder().open_or_create(url, Config::default).unwrap();
    println!("made {}", store.version());
    for line in std::io::stdin().lines() {
        assert_eq!(line.unwrap(), "change");
        let policy = store.update(|config| config.max_size += 1).unwrap();
        println!("made {}", policy.version());
    }
}

/// Holds readers. Says each version once all of them have it.
fn read(url: &str, readers: usize) {
    let stores: Vec<_> = (0..readers).map(|_| builder().open(url).unwrap()).collect();
    end_with_the_parent();
    let mut had = 0;
    loop {
        let have = stores.iter().map(PolicyStore::version).min().unwrap_or(0);
        if have > had {
            had = have;
            println!("has {have}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn end_with_the_parent() {
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}

// ---------------------------------------------------------------- engines

struct Engine {
    name: &'static str,
    /// Up to the host, the host, and the rest.
    url: [String; 3],
}

impl Engine {
    fn all() -> Vec<Self> {
        let found = ["etcd", "postgres", "weed", "azurite"].into_iter().filter_map(|name| {
            let url = std::env::var(format!("LOGROTOR_{}", name.to_uppercase())).ok()?;
            let at = url.rfind('@').map_or_else(|| url.find("//").unwrap() + 2, |at| at + 1);
            let (before, rest) = url.split_at(at);
            let (host, after) = rest.split_once('/').unwrap_or((rest, ""));
            let slash = if after.is_empty() { "" } else { "/" };
            Some(Self { name, url: [before.into(), host.into(), format!("/{after}{slash}")] })
        });
        found.collect()
    }

    /// The URL of a policy that is reached at a host, and the environment to get there.
    fn policy(&self, host: &str, name: &str) -> Place {
        let endpoint = format!("http://{host}");
        match self.name {
            "weed" => {
                let environment = vec![
                    ("AWS_ENDPOINT", endpoint),
                    ("AWS_ALLOW_HTTP", "true".to_owned()),
                    ("AWS_REGION", "us-east-1".to_owned()),
                    ("AWS_ACCESS_KEY_ID", "key".to_owned()),
                    ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
                ];
                (format!("s3://bucket/{name}"), environment)
            }
            "azurite" => {
                let emulator = "AZURE_STORAGE_USE_EMULATOR";
                let environment =
                    vec![(emulator, "true".to_owned()), ("AZURITE_BLOB_STORAGE_URL", endpoint)];
                (format!("az://bucket/{name}"), environment)
            }
            _ => (format!("{}{host}{}{name}", self.url[0], self.url[2]), Vec::new()),
        }
    }
}

/// The URL of a policy, and the environment to get there.
type Place = (String, Vec<(&'static str, String)>);

/// A child process, whose lines arrive on a channel with the time at which they came.
struct Process {
    child: Child,
    input: ChildStdin,
}

/// The number of a process, the line, and when it came.
type Said = (usize, String, Instant);

impl Process {
    fn start(
        number: usize,
        task: &str,
        policy: &Place,
        interval: usize,
        to: &mpsc::Sender<Said>,
    ) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(TASK, task)
            .env(URL, &policy.0)
            .env(INTERVAL, interval.to_string())
            .envs(policy.1.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let to = to.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if to.send((number, line, Instant::now())).is_err() {
                    return;
                }
            }
        });
        Self { child, input }
    }

    fn change(&mut self) -> Instant {
        let start = Instant::now();
        self.input.write_all(b"change\n").unwrap();
        start
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Waits until so many lines like this came. Returns when the last one did.
fn wait_for(
    said: &mpsc::Receiver<Said>,
    kept: &mut Vec<Said>,
    line: &str,
    times: usize,
) -> Instant {
    loop {
        let found: Vec<_> = kept.iter().filter(|(_, said, _)| said == line).collect();
        if found.len() >= times {
            return found.iter().map(|(.., at)| *at).max().unwrap();
        }
        kept.push(said.recv_timeout(Duration::from_secs(120)).unwrap());
    }
}

// ---------------------------------------------------------------- latency

/// Median and maximum.
fn show(mut spans: Vec<Duration>) -> String {
    spans.sort();
    let ms = |span: Duration| format!("{:.1}", span.as_secs_f64() * 1000.0);
    format!("{} ({})", ms(spans[spans.len() / 2]), ms(*spans.last().unwrap()))
}

fn latency() {
    println!(
        "ms from the call on one machine, median (maximum); {MACHINES} machines, each a process"
    );
    println!(
        "| engine | rounds | acknowledged | the last machine has it | the last log obeys it |"
    );
    println!("|---|---|---|---|---|");
    let rounds = number("LOGROTOR_ROUNDS", 20);
    let engines = Engine::all();
    if let Some(etcd) = engines.iter().find(|engine| engine.name == "etcd") {
        plain_watch(&etcd.url, rounds * 5);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.policy.toml").display().to_string();
    time_changes("file", &(path, Vec::new()), 10, rounds);
    for engine in &engines {
        let name = format!("{:016x}.policy", fastrand::u64(..));
        let policy = engine.policy(&engine.url[1], &name);
        let polls = matches!(engine.name, "weed" | "azurite");
        if polls {
            time_changes(&format!("{}, 1 s", engine.name), &policy, 1, rounds);
        }
        let rounds = if polls { rounds.div_ceil(4) } else { rounds };
        time_changes(&format!("{}, 10 s", engine.name), &policy, 10, rounds);
    }
}

/// Times changes by another process, each once all have obeyed the one before for a while.
fn time_changes(name: &str, policy: &Place, interval: usize, rounds: usize) {
    let (to, said) = mpsc::channel();
    let mut kept = Vec::new();
    let mut changing = Process::start(0, "change", policy, interval, &to);
    kept.push(said.recv().unwrap());
    let first: u64 = kept[0].1.strip_prefix("made ").unwrap().parse().unwrap();
    let start = |number| Process::start(number, "log", policy, interval, &to);
    let _machines: Vec<_> = (1..=MACHINES).map(start).collect();
    wait_for(&said, &mut kept, &format!("obeys {first}"), MACHINES);
    let mut spans = [const { Vec::new() }; 3];
    for version in first + 1..=first + rounds as u64 {
        kept.clear();
        // At another moment of the intervals each time.
        thread::sleep(Duration::from_millis(300 + fastrand::u64(..700)));
        let start = changing.change();
        let times = [("made", 1), ("has", MACHINES), ("obeys", MACHINES)];
        for (spans, (verb, times)) in spans.iter_mut().zip(times) {
            // A file's policy is only looked at by its log.
            let verb = if name == "file" && verb == "has" { "obeys" } else { verb };
            let end = wait_for(&said, &mut kept, &format!("{verb} {version}"), times);
            spans.push(end - start);
        }
    }
    let [made, has, obeys] = spans.map(show);
    println!("| {name} | {rounds} | {made} | {has} | {obeys} |");
}

/// As many watches of etcd, without a policy: the reference.
fn plain_watch([login, host, _]: &[String; 3], rounds: usize) {
    let login = login.trim_start_matches("etcd://").trim_end_matches('@');
    let (user, password) = login.split_once(':').unwrap_or_default();
    let login = format!("{{\"name\":\"{user}\",\"password\":\"{password}\"}}");
    let answer = post(host, "", "/v3/auth/authenticate", &login);
    let token = answer.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = token.unwrap_or_default();
    // `plain` in base64.
    const KEY: &str = "cGxhaW4=";
    let (to, seen) = mpsc::channel();
    for _ in 0..MACHINES {
        let watch = format!("{{\"create_request\":{{\"key\":\"{KEY}\"}}}}");
        let stream = request(host, token, "/v3/watch", &watch);
        let to = to.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if line.contains("\"created\":true") || line.contains("\"events\"") {
                    let _ = to.send(Instant::now());
                }
            }
        });
    }
    let all = || (0..MACHINES).map(|_| seen.recv().unwrap()).max().unwrap();
    all();
    let mut spans = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        post(host, token, "/v3/kv/put", &format!("{{\"key\":\"{KEY}\",\"value\":\"MQ==\"}}"));
        spans[0].push(start.elapsed());
        spans[1].push(all() - start);
    }
    let [made, has] = spans.map(show);
    println!("| etcd's put and watch alone | {rounds} | {made} | {has} | |");
}

fn request(host: &str, token: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host).unwrap();
    let authorization =
        if token.is_empty() { String::new() } else { format!("Authorization: {token}\r\n") };
    let len = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}");
    let rest = format!("Connection: close\r\nContent-Length: {len}\r\n\r\n{body}");
    stream.write_all((head + &rest).as_bytes()).unwrap();
    stream
}

fn post(host: &str, token: &str, path: &str, body: &str) -> String {
    let mut answer = String::new();
    request(host, token, path, body).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

// ---------------------------------------------------------------- readers

fn readers() {
    let (readers, seconds) = (number("LOGROTOR_READERS", 200), number("LOGROTOR_SECONDS", 60));
    println!("{readers} readers in one process, an interval of 10 s, {seconds} s without a change");
    println!(
        "| engine | requests per reader and minute | for a change | memory | CPU per minute | threads |"
    );
    println!("|---|---|---|---|---|---|");
    for engine in Engine::all() {
        let counter = Counter::start(&engine.url[1], engine.name == "postgres");
        let name = format!("{:016x}.policy", fastrand::u64(..));
        let direct = engine.policy(&engine.url[1], &name);
        let counted = engine.policy(&counter.host, &name);
        let (to, said) = mpsc::channel();
        let mut kept = Vec::new();
        let mut changing = Process::start(0, "change", &direct, 10, &to);
        kept.push(said.recv().unwrap());
        let cost_of = |count: usize, kept: &mut Vec<Said>| {
            kept.retain(|(number, ..)| *number == 0);
            let process = Process::start(count, &count.to_string(), &counted, 10, &to);
            wait_for(&said, kept, "has 1", 1);
            // Until the watches are there.
            thread::sleep(Duration::from_secs(5));
            let memory = field(process.child.id(), "VmRSS:");
            (process, memory)
        };
        let one = cost_of(1, &mut kept).1;
        let (process, all) = cost_of(readers, &mut kept);
        let (cpu, _) = (cpu_ms(process.child.id()), counter.take());
        thread::sleep(Duration::from_secs(seconds as u64));
        let idle = counter.take() as f64 * 60.0 / seconds as f64 / readers as f64;
        let used = (cpu_ms(process.child.id()) - cpu) as f64 * 60.0 / seconds as f64;
        changing.change();
        wait_for(&said, &mut kept, "has 2", 1);
        let change = counter.take() as f64 / readers as f64;
        println!(
            "| {} | {idle:.1} | {change:.1} | {:.0} KiB each, beside {one} KiB of the process | {:.1} ms each | {} |",
            engine.name,
            (all - one) as f64 / (readers - 1) as f64,
            used / readers as f64,
            field(process.child.id(), "Threads:"),
        );
    }
}

/// A number in the state of a process, on Linux.
fn field(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The time that a process has had, in ms: its clock has 100 ticks a second.
fn cpu_ms(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

/// A proxy that counts requests. A request to PostgreSQL is sent at once.
struct Counter {
    host: String,
    requests: Arc<AtomicUsize>,
}

impl Counter {
    fn start(server: &str, counts_all: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let (counted, server) = (Arc::clone(&requests), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&server).unwrap();
                let (back, there) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let counted = Arc::clone(&counted);
                let is_request = move |bytes: &[u8]| {
                    counts_all
                        || [b"GET ", b"PUT ", b"POST"].iter().any(|it| bytes.starts_with(*it))
                };
                thread::spawn(move || {
                    pump(&client, &server, |bytes| {
                        counted.fetch_add(usize::from(is_request(bytes)), Ordering::Relaxed);
                    });
                });
                thread::spawn(move || pump(&there, &back, |_| {}));
            }
        });
        Self { host, requests }
    }

    fn take(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, seen: impl Fn(&[u8])) {
    let mut buffer = [0; 1 << 14];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        seen(&buffer[..len]);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
