//! The same tests for every system that machines share, with real servers.
//!
//! `.ci/policy` starts the servers and sets the variables. Without them, the tests are skipped.

#[cfg(test)]
mod tests {
    use crate::ErrorKind;
    use crate::clock::Stopwatch;
    use crate::policy::PolicyStore;
    use crate::policy::backend::{self, Backend, Change, Kept, Loaded, Slot, Stop, Swap, Token};
    use std::collections::{BTreeMap, HashSet};
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier, Mutex};
    use std::thread;
    use std::time::Duration;

    /// A server, as `.ci/policy` describes it.
    #[derive(Clone)]
    struct Server {
        /// `etcd` or `postgres`.
        scheme: &'static str,
        /// Such as `user:password@`.
        login: String,
        /// Host and port.
        host: String,
        /// The first part of the path, with a slash.
        path: String,
    }

    impl Server {
        /// `None`, with a message, without a server.
        #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
        fn find(scheme: &'static str) -> Option<Self> {
            let name = format!("LOGROTOR_{}", scheme.to_uppercase());
            let Ok(url) = std::env::var(&name) else {
                eprintln!("skipped: `{name}` is not set; see .ci/policy");
                return None;
            };
            let rest = url.split_once("://").unwrap().1;
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            let login = if login.is_empty() { String::new() } else { format!("{login}@") };
            let path = if path.is_empty() { String::new() } else { format!("{path}/") };
            Some(Self { scheme, login, host: host.to_owned(), path })
        }

        fn url(&self, host: &str, name: &str) -> String {
            let Self { scheme, login, path, .. } = self;
            format!("{scheme}://{login}{host}/{path}{name}")
        }

        /// A policy at a host, with connections of its own.
        fn at(&self, host: &str, name: &str) -> Arc<dyn Backend> {
            backend::open(&self.url(host, name)).unwrap()
        }

        fn policy(&self) -> Arc<dyn Backend> {
            self.at(&self.host, &name())
        }

        /// Has the server killed and started again.
        fn restart(&self) {
            let name = format!("LOGROTOR_{}_RESTART", self.scheme.to_uppercase());
            let script = std::env::var(&name).unwrap();
            assert!(Command::new(script).status().unwrap().success());
        }
    }

    fn name() -> String {
        format!("test/{:016x}.policy", fastrand::u64(..))
    }

    fn won(swap: Swap) -> Token {
        match swap {
            Swap::Won(token) => token,
            other => panic!("{other:?}"),
        }
    }

    fn lost(swap: &Swap) -> bool {
        matches!(swap, Swap::Lost)
    }

    fn loaded(bytes: &[u8], token: &Token) -> Loaded {
        Loaded { bytes: bytes.to_vec(), token: token.clone() }
    }

    fn creation_loses_if_the_slot_is_there(server: &Server) {
        let policy = server.policy();
        for slot in [Slot::Current, Slot::Lock, Slot::Probe] {
            assert_eq!(policy.load(slot).unwrap(), None);
            let token = won(policy.compare_and_swap(slot, None, b"first"));
            assert!(lost(&policy.compare_and_swap(slot, None, b"second")));
            assert_eq!(policy.load(slot).unwrap(), Some(loaded(b"first", &token)));
        }
    }

    fn stale_token_loses(server: &Server) {
        let (policy, slot) = (server.policy(), Slot::Current);
        let one = won(policy.compare_and_swap(slot, None, b"1"));
        assert_eq!(policy.load_if_changed(slot, &one).unwrap(), Change::Same);
        let two = won(policy.compare_and_swap(slot, Some(&one), b"\0\xff2"));
        assert_ne!(one, two);
        assert!(lost(&policy.compare_and_swap(slot, Some(&one), b"3")));
        let change = policy.load_if_changed(slot, &one).unwrap();
        assert_eq!(change, Change::Other(loaded(b"\0\xff2", &two)));
        assert!(lost(&policy.compare_and_swap(Slot::Lock, Some(&two), b"4")), "another slot");
        assert_eq!(policy.load_if_changed(Slot::Lock, &two).unwrap(), Change::Missing);
        // Empty values are a special case of some encodings.
        let three = won(policy.compare_and_swap(slot, Some(&two), b""));
        assert_eq!(policy.load(slot).unwrap(), Some(loaded(b"", &three)));
    }

    fn one_of_several_racers_wins(server: &Server) {
        const RACERS: usize = 8;
        let name = name();
        for round in 0..10 {
            let seen = server.at(&server.host, &name).load(Slot::Current).unwrap().map(|l| l.token);
            let start = Barrier::new(RACERS);
            let race = |racer| {
                let policy = server.at(&server.host, &name);
                // The connection is there before the race.
                policy.load(Slot::Lock).unwrap();
                start.wait();
                let bytes = format!("{round} {racer}");
                match policy.compare_and_swap(Slot::Current, seen.as_ref(), bytes.as_bytes()) {
                    Swap::Won(token) => {
                        let found = policy.load(Slot::Current).unwrap();
                        assert_eq!(found, Some(loaded(bytes.as_bytes(), &token)));
                        true
                    }
                    Swap::Lost => false,
                    Swap::Unknown(error) => panic!("{error}"),
                }
            };
            let race = &race;
            let wins: Vec<bool> = thread::scope(|scope| {
                let racers: Vec<_> = (0..RACERS).map(|i| scope.spawn(move || race(i))).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).collect()
            });
            assert_eq!(wins.iter().filter(|won| **won).count(), 1);
        }
    }

    fn kept_text_is_never_replaced(server: &Server) {
        let policy = server.policy();
        assert_eq!(policy.kept_versions().unwrap(), [0; 0]);
        assert_eq!(policy.kept(1).unwrap(), None);
        assert_eq!(policy.keep(10, b"ten").unwrap(), Kept::Yes);
        assert_eq!(policy.keep(10, b"ten").unwrap(), Kept::Yes);
        assert_eq!(policy.keep(10, b"other").unwrap(), Kept::Other);
        assert_eq!(policy.kept(10).unwrap().unwrap(), b"ten");
        for version in (1..=105).rev() {
            assert_eq!(policy.keep(version, b"ten").unwrap(), Kept::Yes);
        }
        policy.discard(50).unwrap();
        policy.discard(50).unwrap();
        let versions: Vec<_> = (1..=105).filter(|version| *version != 50).collect();
        assert_eq!(policy.kept_versions().unwrap(), versions);
        let other = server.policy();
        assert_eq!(other.kept_versions().unwrap(), [0; 0]);
    }

    fn wait_ends_with_a_change(server: &Server) {
        const LONG: Duration = Duration::from_secs(600);
        let name = name();
        let (policy, other) = (server.at(&server.host, &name), server.at(&server.host, &name));
        let mut seen: Option<Token> = None;
        for change in 0..5 {
            let before = seen.as_ref();
            let found = thread::scope(|scope| {
                scope.spawn(|| {
                    let bytes = format!("change {change}");
                    won(other.compare_and_swap(Slot::Current, before, bytes.as_bytes()));
                });
                // It may return early, and for no reason.
                loop {
                    policy.wait(before, LONG, &Stop::default());
                    let found = policy.load(Slot::Current).unwrap().map(|found| found.token);
                    if found.as_ref() != before {
                        break found;
                    }
                }
            });
            seen = found;
        }
        let stop = Stop::default();
        stop.set();
        policy.wait(seen.as_ref(), LONG, &stop);
    }

    fn lost_answer_is_unknown(server: &Server) {
        let (proxy, name) = (Proxy::start(&server.host), name());
        let (through, direct) = (server.at(&proxy.host, &name), server.at(&server.host, &name));
        let token = won(through.compare_and_swap(Slot::Current, None, b"0"));
        proxy.faults.lock().unwrap().drop_next = true;
        let swap = through.compare_and_swap(Slot::Current, Some(&token), b"1");
        assert!(matches!(swap, Swap::Unknown(_)), "{swap:?}");
        let found = direct.load(Slot::Current).unwrap().unwrap();
        assert_eq!(found.bytes, b"1", "the server had got it");
        // Reads are repeated.
        proxy.faults.lock().unwrap().drop_next = true;
        assert_eq!(through.load(Slot::Current).unwrap(), Some(found.clone()));
        proxy.faults.lock().unwrap().drop_next = true;
        assert_eq!(through.keep(1, b"1").unwrap(), Kept::Yes);
        won(through.compare_and_swap(Slot::Current, Some(&found.token), b"2"));
    }

    fn silent_server_is_given_up(server: &Server) {
        let proxy = Proxy::start(&server.host);
        let policy = server.at(&proxy.host, &name());
        assert_eq!(policy.load(Slot::Current).unwrap(), None);
        proxy.faults.lock().unwrap().is_silent = true;
        // The test ends only if these do.
        let swap = policy.compare_and_swap(Slot::Current, None, b"1");
        assert!(matches!(&swap, Swap::Unknown(_)), "{swap:?}");
        let error = policy.load(Slot::Current).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyUnreachable, "{error}");
    }

    fn nothing_answers_there(server: &Server) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        drop(listener);
        let policy = server.at(&host, &name());
        let error = policy.load(Slot::Current).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyUnreachable, "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(error.to_string().contains(&host), "{error}");
        let swap = policy.compare_and_swap(Slot::Current, None, b"1");
        assert!(matches!(swap, Swap::Unknown(_)), "{swap:?}");
    }

    fn second_host_is_used_if_nothing_is_at_the_first(server: &Server) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = listener.local_addr().unwrap().to_string();
        drop(listener);
        let policy = server.at(&format!("{dead},{}", server.host), &name());
        let token = won(policy.compare_and_swap(Slot::Current, None, b"1"));
        assert_eq!(policy.load(Slot::Current).unwrap(), Some(loaded(b"1", &token)));
    }

    /// The outcomes of the changes of one worker.
    #[derive(Default)]
    struct Outcomes {
        won: Vec<(u64, String)>,
        lost: Vec<String>,
    }

    /// Changes a policy through a bad network, as the protocol does: it keeps what it replaces.
    fn work(policy: &dyn Backend, changes: usize) -> Outcomes {
        let mut outcomes = Outcomes::default();
        while outcomes.won.len() < changes {
            let Ok(found) = policy.load(Slot::Current) else { continue };
            let version = found.as_ref().map_or(0, |found| version_of(&found.bytes));
            if let Some(found) = &found {
                match policy.keep(version, &found.bytes) {
                    Ok(kept) => assert_eq!(kept, Kept::Yes, "version {version}"),
                    Err(_) => continue,
                }
            }
            let text = format!("{} {:016x}", version + 1, fastrand::u64(..));
            let seen = found.as_ref().map(|found| &found.token);
            match policy.compare_and_swap(Slot::Current, seen, text.as_bytes()) {
                Swap::Won(_) => outcomes.won.push((version + 1, text)),
                Swap::Lost => outcomes.lost.push(text),
                Swap::Unknown(_) => {}
            }
        }
        outcomes
    }

    fn version_of(bytes: &[u8]) -> u64 {
        std::str::from_utf8(bytes).unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    fn every_version_has_one_winner_whatever_breaks(server: &Server) {
        const WORKERS: usize = 4;
        const CHANGES: usize = 40;
        let (proxy, name) = (Proxy::start(&server.host), name());
        let policy = server.at(&server.host, &name);
        proxy.faults.lock().unwrap().percent = 10;
        let done = AtomicUsize::new(0);
        let all: Vec<Outcomes> = thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|_| {
                    scope.spawn(|| {
                        let outcomes = work(&*server.at(&proxy.host, &name), CHANGES);
                        done.fetch_add(1, Ordering::SeqCst);
                        outcomes
                    })
                })
                .collect();
            let mut restarts = 0;
            while done.load(Ordering::SeqCst) < WORKERS && restarts < 3 {
                server.restart();
                restarts += 1;
            }
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let last = policy.load(Slot::Current).unwrap().unwrap().bytes;
        let newest = version_of(&last);
        let mut history = BTreeMap::new();
        for version in policy.kept_versions().unwrap() {
            history.insert(
                version,
                String::from_utf8(policy.kept(version).unwrap().unwrap()).unwrap(),
            );
        }
        history.insert(newest, String::from_utf8(last).unwrap());
        assert!(history.keys().copied().eq(1..=newest), "there are gaps: {history:?}");
        let texts: HashSet<_> = history.values().collect();
        assert_eq!(texts.len(), history.len());
        for outcomes in &all {
            for (version, text) in &outcomes.won {
                assert_eq!(&history[version], text);
            }
            assert!(outcomes.lost.iter().all(|text| !texts.contains(text)));
        }
        assert!(newest >= (WORKERS * CHANGES) as u64);
    }

    /// Through the same bad network, with all that is above a backend.
    fn machines_lose_no_change(server: &Server) {
        const MACHINES: usize = 4;
        const CHANGES: usize = 3;
        let (proxy, name) = (Proxy::start(&server.host), name());
        proxy.faults.lock().unwrap().percent = 10;
        let open = |host: &str| {
            let builder = PolicyStore::builder(|_: &BTreeMap<String, u32>| Ok(()));
            let builder = builder.lock_timeout(Duration::from_secs(120));
            let url = server.url(host, &name);
            loop {
                match builder.open_or_create(&url, BTreeMap::new) {
                    Ok(store) => break store,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::PolicyUnreachable, "{error}"),
                }
            }
        };
        let reader = open(&server.host);
        thread::scope(|scope| {
            for machine in 0..MACHINES {
                let (open, host) = (&open, &proxy.host);
                scope.spawn(move || {
                    let store = open(host);
                    for change in 0..CHANGES {
                        let entry = format!("{machine} {change}");
                        let update = |entries: &mut BTreeMap<_, _>| {
                            *entries.entry(entry.clone()).or_insert(0_u32) += 1;
                        };
                        while let Err(error) = store.update(update) {
                            let kind = error.kind();
                            let is_passing =
                                [ErrorKind::PolicyConflict, ErrorKind::PolicyUnreachable];
                            assert!(is_passing.contains(&kind), "{error}");
                        }
                    }
                });
            }
        });
        // It gets the last version by itself.
        while reader.current().len() < MACHINES * CHANGES {
            thread::yield_now();
        }
        assert!(reader.current().values().all(|count| *count == 1));
        let first_and_changes = 1 + (MACHINES * CHANGES) as u64;
        assert_eq!(reader.version(), first_and_changes);
    }

    fn credentials_are_named_as_the_problem(server: &Server) {
        let cases: &[(&str, &str)] = match server.scheme {
            "etcd" => &[
                ("", "write `etcd://user:password@"),
                ("root:wrong@", "invalid user ID or password"),
                ("nobody:secret@", "needs a role"),
            ],
            _ => &[("postgres:wrong@", "password authentication failed"), ("nobody:x@", "nobody")],
        };
        for (login, why) in cases {
            let server = Server { login: (*login).to_owned(), ..server.clone() };
            let policy = server.policy();
            let error = policy.load(Slot::Current).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PolicyDenied, "{error}");
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.to_string().contains("wrong"), "{error}");
            match policy.compare_and_swap(Slot::Current, None, b"1") {
                Swap::Unknown(error) => {
                    assert_eq!(error.kind(), ErrorKind::PolicyDenied, "{error}");
                }
                other => panic!("{other:?}"),
            }
            let begun = Stopwatch::start();
            policy.wait(None, Duration::from_millis(50), &Stop::default());
            assert!(begun.elapsed() >= Duration::from_millis(50), "the caller would spin");
        }
    }

    fn certificate_is_checked_as_asked(server: &Server) {
        let authority = std::env::var("LOGROTOR_POLICY_CA").unwrap();
        let port = server.host.rsplit_once(':').unwrap().1;
        let tls = std::env::var("LOGROTOR_ETCD_TLS").unwrap_or_default();
        let known = format!("cacert={authority}");
        let root = |mode: &str| format!("sslmode={mode}&sslrootcert={authority}");
        // Host, parameters, and whether that is accepted. The certificate is for `localhost`.
        let cases = match server.scheme {
            "etcd" => vec![
                (format!("localhost:{tls}"), known.clone(), true),
                (format!("127.0.0.1:{tls}"), known, false),
                (format!("localhost:{tls}"), String::new(), false),
            ],
            _ => vec![
                (format!("localhost:{port}"), root("verify-full"), true),
                (format!("127.0.0.1:{port}"), root("verify-full"), false),
                (format!("127.0.0.1:{port}"), root("verify-ca"), true),
                (format!("127.0.0.1:{port}"), "sslmode=require".to_owned(), true),
                (format!("localhost:{port}"), "sslmode=verify-full".to_owned(), false),
                (format!("localhost:{port}"), "sslmode=disable".to_owned(), true),
            ],
        };
        let scheme = if server.scheme == "etcd" { "etcds" } else { "postgres" };
        for (host, parameters, is_accepted) in cases {
            let url = Server { scheme, ..server.clone() }.url(&host, &name());
            let loaded = backend::open(&format!("{url}?{parameters}")).unwrap().load(Slot::Current);
            match loaded {
                Ok(found) => assert!(is_accepted && found.is_none(), "{host} {parameters}"),
                Err(error) => {
                    assert!(!is_accepted, "{host} {parameters}: {error}");
                    assert!(error.to_string().contains("certificate"), "{error}");
                }
            }
        }
    }

    // ------------------------------------------------------------ a bad network

    #[derive(Default)]
    struct Faults {
        /// The next answer is dropped, and its connection broken.
        drop_next: bool,
        /// How many of a hundred answers are dropped, and as many delayed.
        percent: u8,
        /// No answer arrives any more.
        is_silent: bool,
    }

    /// A proxy that breaks connections.
    struct Proxy {
        host: String,
        faults: Arc<Mutex<Faults>>,
    }

    impl Proxy {
        fn start(target: &str) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let host = listener.local_addr().unwrap().to_string();
            let faults = Arc::new(Mutex::new(Faults::default()));
            let (state, target) = (Arc::clone(&faults), target.to_owned());
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let Ok(server) = TcpStream::connect(&target) else { continue };
                    let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    let state = Arc::clone(&state);
                    thread::spawn(move || pump(&client, &server, || true));
                    thread::spawn(move || pump(&pair.1, &pair.0, || passes(&state)));
                }
            });
            Self { host, faults }
        }
    }

    /// Decides about a piece of an answer.
    fn passes(faults: &Mutex<Faults>) -> bool {
        let mut faults = faults.lock().unwrap();
        let percent = faults.percent;
        if std::mem::take(&mut faults.drop_next) || fastrand::u8(..100) < percent {
            return false;
        }
        let is_silent = faults.is_silent;
        drop(faults);
        if is_silent {
            thread::park();
        } else if fastrand::u8(..100) < percent {
            thread::sleep(Duration::from_millis(fastrand::u64(..50)));
        }
        true
    }

    fn pump(mut from: &TcpStream, mut to: &TcpStream, passes: impl Fn() -> bool) {
        let mut buffer = [0; 1 << 16];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            if !passes() || to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    macro_rules! contract {
    ($module:ident, $feature:literal, [$($test:ident),* $(,)?]) => {
        #[cfg(feature = $feature)]
        mod $module {
            $(#[test]
            fn $test() {
                if let Some(server) = super::Server::find($feature) {
                    super::$test(&server);
                }
            })*
        }
    };
}

    macro_rules! contracts {
        ($tests:tt) => {
            contract!(etcd, "etcd", $tests);
            contract!(postgres, "postgres", $tests);
        };
    }

    contracts!([
        creation_loses_if_the_slot_is_there,
        stale_token_loses,
        one_of_several_racers_wins,
        kept_text_is_never_replaced,
        wait_ends_with_a_change,
        lost_answer_is_unknown,
        silent_server_is_given_up,
        machines_lose_no_change,
        credentials_are_named_as_the_problem,
        certificate_is_checked_as_asked,
        nothing_answers_there,
        second_host_is_used_if_nothing_is_at_the_first,
        every_version_has_one_winner_whatever_breaks,
    ]);
}
