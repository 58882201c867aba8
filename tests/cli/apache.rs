//! `logrotor write` as a piped logger of Apache httpd: each served request is one line in the log,
//! across restarts.
#![cfg(target_os = "linux")]

use crate::support::{Dir, eventually, text};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Read, Write, sink};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

const APACHE: &str = "/usr/sbin/apache2";
const AB: &str = "/usr/bin/ab";
const MODULES: &str = "/usr/lib/apache2/modules";
const REQUESTS: usize = 5000;
const SMALL: &str = "small\n";
/// More than the kernel buffers for a client that does not read.
const LARGE: u64 = 64 << 20;

/// An Apache httpd that logs through a pipe to the log of a directory.
struct Httpd {
    dir: Dir,
    child: Child,
    port: u16,
}

impl Httpd {
    /// Returns `None` and prints a note if Apache is not installed. `pipe` precedes the logger's
    /// command line.
    fn start(mpm: &str, pipe: &str, options: &str) -> Option<Self> {
        if ![APACHE, AB].iter().all(|program| Path::new(program).exists()) {
            println!(
                "skipped: Apache is not installed (apt-get install apache2-bin apache2-utils)"
            );
            return None;
        }
        let dir = Dir::new();
        std::fs::create_dir(dir.file("htdocs")).unwrap();
        std::fs::write(dir.file("htdocs/small"), SMALL).unwrap();
        std::fs::File::create(dir.file("htdocs/large")).unwrap().set_len(LARGE).unwrap();
        // If root starts Apache, it serves as another user.
        let open = std::fs::Permissions::from_mode(0o755);
        for name in ["", "htdocs", "htdocs/small", "htdocs/large"] {
            std::fs::set_permissions(dir.file(name), open.clone()).unwrap();
        }
        (0..5).find_map(|_| Self::try_start(&dir, mpm, pipe, options)).map(|(child, port)| {
            let httpd = Self { dir, child, port };
            // Apache reads its configuration twice, and closes the port in between.
            let mut first = String::new();
            eventually("Apache answers", || {
                httpd.try_get("small?first").map(|answer| first = answer).is_ok()
            });
            assert_eq!(first, SMALL);
            eventually("a logger", || httpd.dir.log().exists() && !httpd.loggers().is_empty());
            httpd
        })
    }

    /// Returns `None` if another process has taken the port.
    fn try_start(dir: &Dir, mpm: &str, pipe: &str, options: &str) -> Option<(Child, u16)> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(dir.file("httpd.conf"), config(dir, port, mpm, pipe, options)).unwrap();
        let mut child = Command::new(APACHE)
            .args(["-DFOREGROUND", "-f"])
            .arg(dir.file("httpd.conf"))
            .arg("-d")
            .arg(dir.file(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Apache signals its whole process group.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut ended = None;
        eventually("Apache listens", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        ended.is_none().then_some((child, port))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The processes that have the log open.
    fn loggers(&self) -> BTreeSet<u64> {
        let stat = self.dir.json("stat", []);
        // Null while none is visible: one that just ended may have hidden itself.
        let workers = stat["workers"].as_array().into_iter().flatten();
        workers.map(|worker| worker["pid"].as_u64().unwrap()).collect()
    }

    fn graceful(&self) {
        self.restart(Signal::USR1);
    }

    /// Returns when the former logger was signaled and the next one has the log open. A logger that
    /// is signaled earlier is killed.
    fn restart(&self, signal: Signal) {
        let before = self.loggers();
        self.signal(signal);
        eventually("another logger", || !self.loggers().is_subset(&before));
    }

    /// Requests a file and leaves the response unread.
    fn ask(&self, file: &str) -> TcpStream {
        self.try_ask(file).unwrap()
    }

    fn try_ask(&self, file: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(stream, "GET /{file} HTTP/1.0\r\n\r\n")?;
        Ok(stream)
    }

    fn get(&self, file: &str) -> String {
        self.try_get(file).unwrap()
    }

    fn try_get(&self, file: &str) -> io::Result<String> {
        let mut answer = String::new();
        self.try_ask(file)?.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        body.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Starts `ab`, which requests a small file over 20 connections.
    fn load(&self, options: &[&str]) -> Child {
        let mut ab = Command::new(AB);
        ab.args(["-q", "-c", "20", "-n"]).arg(REQUESTS.to_string()).args(options);
        ab.arg(format!("http://127.0.0.1:{}/small", self.port));
        ab.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits for Apache and its loggers to exit. Returns its status and the lines of the log.
    fn finish(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().unwrap();
        eventually("no logger is left", || self.loggers().is_empty());
        let log = self.dir.ok("cat", []);
        (status, log.lines().map(str::to_owned).collect())
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn config(dir: &Dir, port: u16, mpm: &str, pipe: &str, options: &str) -> String {
    let (home, logrotor) = (dir.file(""), env!("CARGO_BIN_EXE_logrotor"));
    let home = home.display();
    let mut config = String::new();
    for module in [&format!("mpm_{mpm}"), "authz_core", "unique_id"] {
        writeln!(config, "LoadModule {module}_module {MODULES}/mod_{module}.so").unwrap();
    }
    write!(
        config,
        r#"
Listen 127.0.0.1:{port}
ServerName localhost
User nobody
Group nogroup
DefaultRuntimeDir "{home}"
PidFile "{home}/httpd.pid"
DocumentRoot "{home}/htdocs"
ErrorLog "{home}/error.log"
StartServers 2
Timeout 600
LogFormat "%{{UNIQUE_ID}}e %>s %U%q" plain
CustomLog "{pipe}{logrotor} write {home}/app.log --max-size 20kB {options}" plain
"#
    )
    .unwrap();
    config
}

/// Returns the number of responses that `ab` received.
fn answers(ab: Child) -> usize {
    let output = ab.wait_with_output().unwrap();
    let report = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(figure(&report, "Complete requests:"), REQUESTS, "{report}");
    figure(&report, "HTML transferred:") / SMALL.len()
}

/// Returns a number from the report of `ab`.
fn figure(report: &str, name: &str) -> usize {
    let line = report.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name} {report}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Counts the requests of a path. Checks that each line is whole and no request is logged twice.
#[track_caller]
fn count(lines: &[String], path: &str) -> usize {
    let mut requests = BTreeSet::new();
    for line in lines {
        let [id, status, _] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(id.len() == lines[0].find(' ').unwrap() && status == "200", "{line}");
        assert!(requests.insert(id), "twice: {line}");
    }
    lines.iter().filter(|line| line.ends_with(&format!(" {path}"))).count()
}

/// Restarts Apache gracefully several times under load. Returns the number of responses.
fn restart_under_load(httpd: &Httpd, mut ab: Child) -> usize {
    for backups in [2, 4, 6] {
        eventually("some are served", || {
            httpd.dir.backups().len() >= backups || ab.try_wait().unwrap().is_some()
        });
        httpd.graceful();
    }
    let answers = answers(ab);
    assert!(httpd.dir.backups().len() >= 6);
    answers
}

fn graceful_restarts_lose_no_request(mpm: &str, pipe: &str) {
    let Some(httpd) = Httpd::start(mpm, pipe, "") else { return };
    let answers = restart_under_load(&httpd, httpd.load(&[]));
    httpd.signal(Signal::WINCH);
    let (status, lines) = httpd.finish();
    assert!(status.success());
    assert_eq!(count(&lines, "/small"), answers);
}

#[test]
fn graceful_restarts_of_event_lose_no_request() {
    graceful_restarts_lose_no_request("event", "|");
}

#[test]
fn graceful_restarts_of_worker_lose_no_request() {
    graceful_restarts_lose_no_request("worker", "|$");
}

#[test]
fn graceful_restarts_of_prefork_lose_no_request() {
    graceful_restarts_lose_no_request("prefork", "||");
}

#[test]
fn graceful_restarts_lose_no_request_of_lasting_connections() {
    let Some(httpd) = Httpd::start("event", "|", "") else { return };
    // A client may lose a response if its connection is closed between two requests.
    let answers = restart_under_load(&httpd, httpd.load(&["-k", "-r"]));
    httpd.signal(Signal::WINCH);
    let (_, lines) = httpd.finish();
    let found = count(&lines, "/small");
    assert!((answers..=REQUESTS).contains(&found), "{found} lines of {answers} answers");
}

#[test]
fn immediate_restart_and_stop_lose_no_request() {
    for mpm in ["event", "prefork"] {
        let Some(httpd) = Httpd::start(mpm, "|", "") else { return };
        let before = answers(httpd.load(&[]));
        httpd.restart(Signal::HUP);
        let after = answers(httpd.load(&[]));
        httpd.signal(Signal::TERM);
        let (_, lines) = httpd.finish();
        assert_eq!(count(&lines, "/small"), before + after);
    }
}

#[test]
fn request_that_outlasts_two_restarts_is_logged_at_its_end() {
    for mpm in ["event", "prefork"] {
        let Some(httpd) = Httpd::start(mpm, "|", "--grace 1day") else { return };
        let mut slow = httpd.ask("large?slow");
        read_some(&mut slow);
        for _ in 0..2 {
            httpd.graceful();
            assert_eq!(httpd.get("small?between"), SMALL);
        }
        let mut slower = httpd.ask("large?slower");
        read_some(&mut slower);
        httpd.signal(Signal::WINCH);
        let rest =
            [slow, slower].map(|mut stream| std::io::copy(&mut stream, &mut sink()).unwrap());
        assert!(rest.iter().all(|rest| *rest > LARGE / 2), "{rest:?}");
        let (_, lines) = httpd.finish();
        assert_eq!(count(&lines, "/small?between"), 2, "{mpm} {lines:#?}");
        for path in ["/large?slow", "/large?slower"] {
            assert_eq!(count(&lines, path), 1, "{lines:#?}");
        }
    }
}

/// Waits until Apache has accepted the request.
fn read_some(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 1000]).unwrap();
}
