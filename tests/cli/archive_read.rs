//! Verbs that take the URL of an archived log.

use crate::archive_server::{Manners, Request, Server};
use crate::support::{Dir, log_of_numbers, logrotor, text};
use logrotor::Compression;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory as a store.
struct Store(tempfile::TempDir);

impl Store {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("file://{}", self.0.path().display())
    }

    fn log(&self) -> String {
        format!("{}/app.log", self.url())
    }

    fn dir(&self, origin: &str) -> PathBuf {
        self.0.path().join("app.log").join(origin)
    }

    /// A log of numbers whose backups are archived here, and their origin.
    fn archived(&self) -> (Dir, String) {
        let dir = log_of_numbers(Compression::Gzip);
        dir.ok("archive", ["--to", &self.url(), "--wait"]);
        let origin = dir.json("stat", [])["archive"]["origin"].as_str().unwrap().to_owned();
        (dir, origin)
    }
}

/// Runs a verb on a log by its URL.
fn run<const N: usize>(verb: &str, log: &str, args: [&str; N]) -> Output {
    logrotor([verb, log]).args(args).output().unwrap()
}

#[track_caller]
fn ok<const N: usize>(verb: &str, log: &str, args: [&str; N]) -> String {
    let output = run(verb, log, args);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text(&output.stdout)
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

#[test]
fn ls_stat_and_verify_show_an_archived_log() {
    let store = Store::new();
    let (dir, origin) = store.archived();
    let backups = dir.backups();
    let listed = ok("ls", &store.log(), []);
    let lines: Vec<Vec<_>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    for (line, name) in lines.iter().zip(&backups) {
        let bytes = std::fs::metadata(dir.file(name)).unwrap().len().to_string();
        assert_eq!(line[..3], [&*format!("{origin}/{name}"), "archived", &*bytes]);
        assert_eq!((line[5], line[7]), ("-", "-"));
    }
    assert_eq!(lines.len(), 3);
    let seen: serde_json::Value =
        serde_json::from_str(&ok("stat", &store.log(), ["--json"])).unwrap();
    assert_eq!(seen["origins"], serde_json::json!([origin]));
    assert_eq!((&seen["segments"], &seen["compressed"]), (&3.into(), &3.into()));
    assert!(seen["bytes"].as_u64() > Some(0));
    assert!(ok("stat", &store.log(), []).contains("\norigins\t1\n"));
    assert_eq!(ok("verify", &store.log(), []), "3 segments, 13.6 KiB of records; sound\n");
    assert_eq!(ok("cat", &store.log(), []), numbers(0..3000));
}

#[test]
fn verify_reports_damaged_objects_and_strays_by_url() {
    let store = Store::new();
    let (dir, origin) = store.archived();
    let backups = dir.backups();
    let object = |name: &str| store.dir(&origin).join(name);
    std::fs::write(object(&backups[0]), "").unwrap();
    let whole = std::fs::read(object(&backups[1])).unwrap();
    std::fs::write(object(&backups[1]), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(object("notes.txt"), "not ours").unwrap();
    let output = run("verify", &store.log(), []);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for name in [&*backups[0], &*backups[1]] {
        let url = format!("`{}/{origin}/{name}`", store.log());
        assert!(said.lines().any(|line| line.contains(&url)), "{said}");
    }
    assert!(said.contains(&format!("stray: `{}/{origin}/notes.txt`", store.log())), "{said}");
    let output = run("cat", &store.log(), []);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).ends_with(&numbers(2000..3000)));
}

#[test]
fn origin_chooses_among_several_and_tail_merges_them() {
    let store = Store::new();
    let (first, second) = (store.archived(), store.archived());
    assert_eq!(ok("ls", &store.log(), []).lines().count(), 6);
    for (_, origin) in [&first, &second] {
        let listed = ok("ls", &store.log(), ["--origin", origin]);
        assert!(listed.lines().all(|line| line.starts_with(&**origin)), "{listed}");
        assert_eq!(listed.lines().count(), 3);
        assert_eq!(ok("cat", &store.log(), ["--origin", origin]), numbers(0..3000));
        ok("verify", &store.log(), ["--origin", origin]);
        assert!(ok("stat", &store.log(), ["--origin", origin]).contains("\nsegments\t3\n"));
    }
    let merged = ok("cat", &store.log(), []);
    assert_eq!(merged, numbers(0..3000) + &numbers(0..3000), "one was finished before the other");
    let mut newest: Vec<_> = merged.lines().rev().collect();
    let reversed = ok("cat", &store.log(), ["--reverse"]);
    assert_eq!(reversed.lines().collect::<Vec<_>>(), newest);
    newest.truncate(3002);
    newest.reverse();
    let last = ok("tail", &store.log(), ["--lines=3002"]);
    assert_eq!(last.lines().collect::<Vec<_>>(), newest);
    assert_eq!(ok("tail", &store.log(), ["-n", "2"]), "2998\n2999\n");
    let output = run("cat", &store.log(), ["--origin", "none.1"]);
    assert!(text(&output.stderr).contains("is archived there by `none.1`"), "{output:?}");
    let output = first.0.run("cat", ["--origin", "x.1"]);
    assert!(text(&output.stderr).contains("use the URL of an archived log"), "{output:?}");
}

#[test]
fn cat_archive_prints_local_and_archived_records_once() {
    let store = Store::new();
    let (dir, origin) = store.archived();
    let backups = dir.backups();
    // A segment that is here is not fetched.
    std::fs::write(store.dir(&origin).join(&backups[2]), "damaged").unwrap();
    for name in &backups[..2] {
        std::fs::remove_file(dir.file(name)).unwrap();
    }
    assert_eq!(dir.ok("cat", []), numbers(2000..3005));
    assert_eq!(dir.ok("cat", ["--archive"]), numbers(0..3005));
    let url = format!("--archive={}", store.url());
    assert_eq!(dir.ok("cat", [&url, "--lines"]), numbers(0..3005));
    let mut reversed: Vec<_> = numbers(0..3005).lines().map(str::to_owned).collect();
    reversed.reverse();
    assert_eq!(dir.ok("cat", ["--archive", "--reverse"]).lines().collect::<Vec<_>>(), reversed);
    assert_eq!(dir.ok("cat", ["--archive", "--since", "2099-01-01"]), "");
    std::fs::remove_file(dir.file("app.log.archive")).unwrap();
    let output = dir.run("cat", ["--archive"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("use --archive=URL"), "{output:?}");
    assert_eq!(dir.ok("cat", [&url]), numbers(0..3005), "it has one origin");
}

#[test]
fn local_log_without_origin_asks_for_one_of_several() {
    let store = Store::new();
    let ((dir, first), (_other, second)) = (store.archived(), store.archived());
    std::fs::remove_file(dir.file("app.log.archive")).unwrap();
    let url = format!("--archive={}", store.url());
    // The records of another machine would be taken for ours if it alone has some of this time.
    for since in ["2000-01-01", "2099-01-01"] {
        let output = dir.run("cat", [&url, "--since", since]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = text(&output.stderr);
        for words in [&*first, &*second, &*store.log(), "(--origin)"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(output.stdout.is_empty());
    }
    assert_eq!(dir.ok("cat", [&url, "--origin", &first]), numbers(0..3005));
}

#[test]
fn mistyped_log_origin_or_archive_is_an_error_at_any_time() {
    let (store, other) = (Store::new(), Store::new());
    let (dir, _) = store.archived();
    let (log, typo) = (store.log(), format!("{}/typo.log", store.url()));
    let late = ["--since", "2099-01-01"];
    for verb in ["ls", "cat"] {
        let outputs = [
            run(verb, &typo, late),
            run(verb, &log, ["--since", "2099-01-01", "--origin", "typo.1"]),
        ];
        for output in outputs {
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(text(&output.stderr).contains("no segment of it is archived"), "{output:?}");
        }
        assert_eq!(ok(verb, &log, late), "");
    }
    let [given, other] = [&store, &other].map(|store| format!("--archive={}", store.url()));
    for args in [[&*given, "--origin=typo.1"], [&*other, "--lines"]] {
        let output = dir.run("cat", args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains("no segment of it is archived"), "{output:?}");
    }
    std::fs::remove_dir_all(store.0.path().join("app.log")).unwrap();
    assert_eq!(dir.ok("cat", ["--archive"]), numbers(0..3005), "as before the first segment");
}

#[test]
fn url_of_an_archive_is_rejected_by_verbs_that_write() {
    let dir = Dir::new();
    let verbs: [&[&str]; 7] = [
        &["write"],
        &["rotate"],
        &["compress"],
        &["prune", "--keep", "1"],
        &["archive", "--to", "s3://bucket"],
        &["run", "--", "true"],
        &["run", "err.log", "--stderr"],
    ];
    for words in verbs {
        let mut words: Vec<_> = words.to_vec();
        let at = match words[..] {
            ["run", "err.log", ..] => 3,
            _ => 1,
        };
        words.insert(at, "s3://bucket/app.log");
        if at == 3 {
            words.extend(["--", "true"]);
        }
        let output = logrotor([]).args(&words).current_dir(dir.file(".")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        assert!(text(&output.stderr).contains("an archive is not written to"), "{output:?}");
        assert!(!dir.file("s3:").exists(), "{words:?}");
    }
}

#[test]
fn unknown_scheme_is_rejected_with_the_valid_ones() {
    for verb in ["ls", "stat", "verify", "cat", "tail"] {
        for url in ["S3://bucket/app.log", "gcs://app.log", "https://host/app.log"] {
            let output = run(verb, url, []);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert!(said.contains(url) && said.contains("use `s3://bucket/prefix`"), "{said}");
        }
    }
}

#[test]
fn archive_without_equals_sign_is_answered_with_advice() {
    let output = logrotor(["cat", "--archive", "s3://bucket/logs", "app.log"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("use '--archive=URL'"), "{output:?}");
}

#[test]
fn archived_log_that_is_not_there_is_an_error_with_its_url() {
    let store = Store::new();
    let nowhere = format!("file://{}/none/app.log", store.0.path().display());
    for verb in ["ls", "stat", "verify", "cat", "tail"] {
        for (log, status, words) in [
            (&*store.log(), 1, "no segment of it is archived there"),
            (&*nowhere, 1, "failed to open the archive"),
            ("s3://bucket", 2, "add a slash and the name of the log"),
            ("s3:///app.log", 2, "use `s3://bucket/prefix`"),
            ("file://app.log", 2, "invalid `archive`"),
        ] {
            let output = run(verb, log, []);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(status), "{verb} {log}: {output:?}");
            assert!(said.contains(words), "{verb} {log}: {said}");
        }
    }
}

#[test]
fn regression_settings_that_no_request_can_have_are_errors() {
    let server = Server::start(Manners::default());
    let mut command = logrotor(["ls", "az://bucket/logs/app.log"]);
    let output = command.env("AZURE_STORAGE_ACCOUNT_NAME", "one\ttwo").output().unwrap();
    assert!(text(&output.stderr).contains("account_name has a character"), "{output:?}");
    for (name, value, words) in [
        ("AWS_SESSION_TOKEN", "one\ttwo", "aws_session_token has a character"),
        ("AWS_ACCESS_KEY_ID", "one\ttwo", "aws_access_key_id has a character"),
        ("AWS_REGION", "one\ttwo", "aws_region has a character"),
        ("AWS_REGION", "one/two", "aws_region has a character"),
        ("AWS_ENDPOINT", "ftp://localhost:9000", "the endpoint `ftp://...` is no URL"),
        ("AWS_ENDPOINT", "http://localhost/a^b", "is no URL"),
        ("AWS_ENDPOINT_URL_STS", "http://localhost/a^b", "is no URL"),
        ("AWS_METADATA_ENDPOINT", "http://localhost/a^b", "is no URL"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/a^b", "is no URL"),
    ] {
        let mut command = logrotor(["ls", "s3://bucket/logs/app.log"]);
        let output = with_server(&mut command, &server).env(name, value).output().unwrap();
        let said = text(&output.stderr);
        assert!(said.contains(words) && !said.contains("panicked"), "{name}: {said}");
        assert_ne!(output.status.code(), Some(0), "{name}");
    }
}

/// Runs a verb on the log of a server.
fn run_at<const N: usize>(server: &Server, verb: &str, args: [&str; N]) -> Output {
    let mut command = logrotor([verb, "s3://bucket/logs/app.log"]);
    with_server(command.args(args), server).output().unwrap()
}

fn with_server<'a>(command: &'a mut Command, server: &Server) -> &'a mut Command {
    command.env("AWS_ENDPOINT", &server.endpoint).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret")
}

/// A server with segments of `hours` hours from `origins` machines.
fn server(origins: usize, hours: usize) -> Server {
    server_of_names(origins, hours, |_, time| format!("app.log.{time}"))
}

/// A server with segments whose names are made of their number and their time.
fn server_of_names(origins: usize, hours: usize, name: impl Fn(usize, &str) -> String) -> Server {
    let server = Server::start(Manners::default());
    for origin in 0..origins {
        let dir = format!("/bucket/logs/app.log/web-{origin}.k3v9q2mx");
        server.put(&format!("{dir}/.origin"), b"f\n");
        for number in 0..hours {
            let (day, hour) = (1 + number / 24, number % 24);
            let (month, day) = (1 + day / 28, 1 + day % 28);
            let time = format!("2026-{month:02}-{day:02}T{hour:02}-30-00.000000Z");
            let path = format!("{dir}/{}", name(number, &time));
            server.put(&path, format!("{origin} {time}\n").as_bytes());
        }
    }
    server
}

/// The requests since the start: the listings, and the objects that were read.
fn requests(server: &Server) -> (Vec<String>, Vec<String>) {
    let is_list = |request: &Request| request.path.contains('?');
    let paths = |requests: Vec<Request>| requests.into_iter().map(|it| it.path).collect();
    let (lists, others): (Vec<_>, Vec<_>) = server.requests().into_iter().partition(is_list);
    (paths(lists), paths(others))
}

#[test]
fn since_and_until_list_from_their_time_and_read_no_other() {
    let (since, until) = ("2026-01-03T05:00:00Z", "2026-01-03T05:59:59Z");
    let server_of_ls = server(3, 100);
    let output = run_at(&server_of_ls, "ls", ["--since", since, "--until", until]);
    assert!(output.status.success(), "{output:?}");
    let names: Vec<_> =
        text(&output.stdout).lines().map(|line| line.split('\t').next().unwrap().len()).collect();
    assert_eq!(names.len(), 6, "one was finished within, and one was begun: {output:?}");
    let (lists, reads) = requests(&server_of_ls);
    assert_eq!((lists.len(), reads.len()), (4, 0), "{lists:?}");
    let begins =
        |list: &&String| list.contains("start-after=") && list.contains("T04-59-57.999999");
    assert_eq!(lists.iter().filter(begins).count(), 3, "{lists:?}");
    let server = server(3, 100);
    let output = run_at(&server, "cat", ["--since", since, "--until", until, "--lines"]);
    assert!(output.status.success(), "{output:?}");
    let (lists, mut reads) = requests(&server);
    assert_eq!(lists.len(), 4, "{lists:?}");
    // The newest are read before, to learn how the log's records begin.
    assert!(reads.len() <= 10, "{reads:?}");
    reads.sort();
    reads.dedup();
    assert_eq!(reads.len(), 6, "{reads:?}");
    assert!(reads.iter().all(|path| path.contains("T05-30-00") || path.contains("T06-30-00")));
}

#[test]
fn local_and_archived_log_reads_no_object_of_another_time() {
    let (dir, server) = (Dir::new(), server(1, 100));
    std::fs::write(dir.log(), "local\n").unwrap();
    let args = [
        "--archive=s3://bucket/logs",
        "--origin=web-0.k3v9q2mx",
        "--since=2026-01-03T05:00:00Z",
        "--until=2026-01-03T05:59:59Z",
    ];
    let output = with_server(&mut dir.command("cat", args), &server).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (_, reads) = requests(&server);
    assert!(!reads.is_empty());
    let is_wanted = |path: &String| path.contains("T05-30-00") || path.contains("T06-30-00");
    assert!(reads.iter().all(is_wanted), "{reads:?}");
}

#[test]
fn uncompressed_object_is_compared_with_its_digest() {
    let server = server(1, 3);
    let path = |hour| {
        let time = format!("2026-01-02T0{hour}-30-00.000000Z");
        format!("/bucket/logs/app.log/web-0.k3v9q2mx/app.log.{time}")
    };
    let digest = "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806";
    for (hour, body) in [(0, "one\n"), (1, "two\n")] {
        let (path, mut connection) =
            (path(hour), TcpStream::connect(&server.endpoint[7..]).unwrap());
        let head = format!("PUT {path} HTTP/1.1\r\nx-amz-meta-SHA256: {digest}\r\n");
        write!(connection, "{head}Content-Length: 4\r\n\r\n{body}").unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    let output = run_at(&server, "verify", []);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let damaged = format!("damage: failed to read `s3:/{}`: it is damaged: its SHA-256", path(1));
    assert!(said.contains(&damaged) && said.ends_with("; damage: 1\n"), "{said}");
    let printed = text(&run_at(&server, "cat", ["--lines"]).stdout);
    assert!(printed.starts_with("one\n0 2026") && printed.lines().count() == 2, "{printed}");
}

#[test]
fn listing_begins_after_thousands_of_older_names() {
    // With the time after the name, before the extension, or either.
    for endings in [["", ""], [".log", ".log"], ["", ".log"]] {
        let name = |number: usize, time: &str| format!("app.log.{time}{}", endings[number % 2]);
        let server = server_of_names(2, 2500, name);
        let since = ["--since", "2026-04-20T00:00:00Z"];
        for verb in ["ls", "cat"] {
            let before = requests(&server).0.len();
            let output = run_at(&server, verb, since);
            assert!(output.status.success(), "{output:?}");
            // An hour is a segment.
            assert_eq!(text(&output.stdout).lines().count(), 2 * 52, "{verb}");
            let lists = &requests(&server).0[before..];
            // The origins, and one for each of them.
            assert_eq!(lists.len(), 3, "{verb} {lists:?}");
        }
    }
}

#[test]
fn listing_with_an_end_asks_for_few_names_at_first() {
    let server = server(2, 2500);
    let ls = |until| {
        let before = requests(&server).0.len();
        let output = run_at(&server, "ls", ["--since", "2026-02-01T00:00:00Z", "--until", until]);
        assert!(output.status.success(), "{output:?}");
        let lists = requests(&server).0.split_off(before);
        let few = lists.iter().filter(|list| list.ends_with("max-keys=100")).count();
        (text(&output.stdout).lines().count(), lists.len(), few)
    };
    assert_eq!(ls("2026-02-01T01:00:00Z"), (2 * 2, 3, 2));
    assert_eq!(ls("2026-02-09T00:00:00Z"), (2 * (8 * 24 + 1), 5, 2), "and the next thousand");
}

#[test]
fn missing_credentials_and_refusals_are_reported_once() {
    let refusals = (usize::MAX, 403, "AccessDenied");
    let server = Server::start(Manners { refusals, ..Manners::default() });
    for verb in ["ls", "stat", "verify", "cat", "tail"] {
        let output = run_at(&server, verb, []);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {output:?}");
        assert!(said.contains("failed to list") && said.contains("AccessDenied"), "{said}");
        assert_eq!(said.lines().count(), 1, "{verb}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[cfg(feature = "__test")]
#[test]
fn request_that_fails_is_reported_and_no_line_is_torn() {
    let store = Store::new();
    let _dir = store.archived();
    // Two objects are read first to learn how the log's records begin.
    let listing = [("1-9", "list objects", 0), ("1-9", "receive list", 0)];
    let reading = [("4", "ask for object", 2000), ("4", "receive object", 2000)];
    for (at, verb, lines) in listing.into_iter().chain(reading) {
        let mut command = logrotor(["cat", &store.log(), "--lines"]);
        let output =
            command.env("LOGROTOR_FAULT", format!("{at}/{verb}:errno=104")).output().unwrap();
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{verb}: {output:?}");
        assert!(said.contains(&store.log()) && said.contains("reset by peer"), "{verb}: {said}");
        assert_eq!(printed.lines().count(), lines, "{verb}");
        let is_whole = |line: &str| line.parse::<u32>().is_ok_and(|number| number < 3000);
        assert!(printed.lines().all(is_whole));
    }
}

#[test]
fn log_name_with_unusual_characters_is_archived_and_read() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::new());
    let name = "a b#1[x]~%41.log";
    let log = dir.path().join(name);
    let writer = logrotor::RotatingFileWriter::builder(&log).build().unwrap();
    writer.write_record(b"one\n").unwrap();
    writer.rotate().unwrap();
    writer.close().unwrap();
    let log = log.to_str().unwrap();
    ok("archive", log, ["--to", &store.url(), "--wait"]);
    assert!(store.0.path().join(name).is_dir(), "its name is that of the log");
    let url = format!("{}/{name}", store.url());
    assert_eq!(ok("cat", &url, []), "one\n");
    assert_eq!(ok("ls", &url, []).lines().count(), 1);
    assert!(Path::new(log).exists());
}

/// The path of a segment of the first origin that `server` makes.
fn first_segment() -> &'static str {
    "/bucket/logs/app.log/web-0.k3v9q2mx/app.log.2026-01-02T00-30-00.000000Z"
}

#[test]
fn download_that_breaks_again_and_again_is_resumed() {
    let server = Server::start(Manners { breaks_after: 9000, ..Manners::default() });
    let records = numbers(0..10_000);
    server.put(first_segment(), records.as_bytes());
    for verb in ["cat", "verify"] {
        let output = run_at(&server, verb, []);
        assert!(output.status.success() && output.stderr.is_empty(), "{verb}: {output:?}");
        assert!(verb == "verify" || text(&output.stdout) == records);
    }
    let parts =
        server.requests().into_iter().filter(|request| request.headers.contains_key("range"));
    assert!(parts.count() >= 2 * records.len() / 9000, "each part once");
}

#[test]
fn object_that_is_replaced_while_it_is_read_is_reported() {
    let server =
        Server::start(Manners { breaks_after: 9000, replaces: true, ..Manners::default() });
    server.put(first_segment(), numbers(0..10_000).as_bytes());
    let output = run_at(&server, "cat", ["--lines"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        said.contains(first_segment()) && said.contains("replaced while it was read"),
        "{said}"
    );
    assert!(output.stdout.is_empty(), "the parts of two versions are no segment");
}

#[test]
fn odd_keys_are_strays_and_the_log_is_read() {
    let server = server(2, 3);
    let odd = ["web-0.k3v9q2mx//x", "web-0.k3v9q2mx/a\u{1}b", "web-1.k3v9q2mx/..", "/x", "./x"];
    for key in odd {
        server.put(&format!("/bucket/logs/app.log/{key}"), b"not ours");
    }
    for (verb, args) in [("cat", ["--lines"]), ("ls", ["--json"]), ("tail", ["--lines=100"])] {
        let output = run_at(&server, verb, args);
        assert!(output.status.success() && output.stderr.is_empty(), "{verb}: {output:?}");
        assert_eq!(text(&output.stdout).matches("-30-00.000000Z").count(), 6, "{verb}: {output:?}");
    }
    let said = text(&run_at(&server, "verify", []).stdout);
    let strays: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("stray: ")).collect();
    let spelled =
        ["%2F", "%2E", "web-0.k3v9q2mx/%2Fx", "web-0.k3v9q2mx/a%01b", "web-1.k3v9q2mx/%2E%2E"];
    assert_eq!(strays.len(), spelled.len(), "{said}");
    for key in spelled {
        let url = format!("`s3://bucket/logs/app.log/{key}`");
        assert!(strays.iter().any(|stray| stray.starts_with(&url)), "{url}: {said}");
    }
}

#[test]
#[cfg(unix)]
fn odd_names_in_a_directory_are_strays_and_the_log_is_read() {
    let store = Store::new();
    let (_dir, origin) = store.archived();
    std::fs::write(store.dir(&origin).join("a\u{1}b"), "not ours").unwrap();
    std::fs::write(store.dir(&origin).join("app.log.x#1"), "unfinished").unwrap();
    std::fs::create_dir(store.dir("c\td")).unwrap();
    std::os::unix::fs::symlink("nowhere", store.dir(&origin).join("link")).unwrap();
    assert_eq!(ok("cat", &store.log(), []), numbers(0..3000));
    assert_eq!(ok("ls", &store.log(), []).lines().count(), 3);
    let said = text(&run("verify", &store.log(), []).stdout);
    assert_eq!(said.matches("stray: ").count(), 2, "{said}");
    for key in [format!("{origin}/a%01b"), "c%09d".to_owned()] {
        assert!(said.contains(&format!("stray: `{}/{key}`", store.log())), "{said}");
    }
}

#[test]
fn former_origin_counts_up_to_what_the_log_archived_there() {
    let store = Store::new();
    let (dir, former) = store.archived();
    let copy = Dir::new();
    let others = dir.names().into_iter().filter(|name| name != "app.log");
    for name in others.chain(["app.log".to_owned()]) {
        std::fs::copy(dir.file(&name), copy.file(&name)).unwrap();
    }
    // From here on, each is a log of its own.
    for (log, record) in [(&dir, "another log\n"), (&copy, "after the copy\n")] {
        let file = std::fs::File::options().append(true).open(log.log());
        file.unwrap().write_all(record.as_bytes()).unwrap();
        log.ok("archive", ["--to", &store.url(), "--rotate", "--wait"]);
        log.ok("prune", ["--keep", "0"]);
        assert_eq!(log.backups(), [""; 0]);
    }
    assert_eq!(std::fs::read_dir(store.dir("")).unwrap().count(), 2, "an origin of its own");
    assert_eq!(dir.ok("cat", ["--archive"]), numbers(0..3005) + "another log\n");
    assert_eq!(copy.ok("cat", ["--archive"]), numbers(0..3005) + "after the copy\n");
    let mut reversed: Vec<_> =
        (numbers(0..3005) + "after the copy").lines().map(str::to_owned).collect();
    reversed.reverse();
    let printed = copy.ok("cat", ["--archive", "--reverse"]);
    assert_eq!(printed.lines().collect::<Vec<_>>(), reversed);
    assert_eq!(copy.ok("cat", ["--archive", "--origin", &former]).lines().count(), 3006);
    // A former origin that is gone altogether has no segments.
    std::fs::remove_dir_all(store.dir(&former)).unwrap();
    assert_eq!(copy.ok("cat", ["--archive"]), numbers(3000..3005) + "after the copy\n");
}

#[test]
fn message_about_a_url_has_no_credentials() {
    let dir = Dir::new();
    let verbs: [&[&str]; 12] = [
        &["write", "URL"],
        &["run", "URL", "--", "true"],
        &["rotate", "URL"],
        &["prune", "URL", "--keep", "1"],
        &["archive", "URL", "--to", "s3://b"],
        &["archive", "app.log", "--to", "URL"],
        &["write", "app.log", "--archive", "URL"],
        &["cat", "URL"],
        &["ls", "URL"],
        &["verify", "app.log", "URL"],
        &["cat", "app.log", "--archive=URL"],
        &["policy", "set", "app.log", "archive=\"URL\"", "--create"],
    ];
    for url in ["s3://KEY:SECRET@b/x", "s3://KEY:SEC/RET@b/x", "az://c/x?sv=1&sig=SECRET"] {
        for words in verbs {
            let words = words.iter().map(|word| word.replace("URL", url));
            let mut command = logrotor([]);
            let output = command.args(words.clone()).current_dir(dir.file(".")).output().unwrap();
            let said = text(&output.stderr) + &text(&output.stdout);
            assert!(!output.status.success() && !said.is_empty(), "{words:?}");
            assert!(!said.contains("SEC") && !said.contains("RET@"), "{words:?}: {said}");
        }
    }
}
