//! Reading an archive in which objects are gone, in which there are many origins, or that takes
//! long.

use crate::archive_server::{Manners, Server};
use crate::support::{logrotor, text};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const LOG: &str = "s3://bucket/logs/app.log";

fn at(server: &Server, mut command: Command) -> Command {
    command.env("AWS_ENDPOINT", &server.endpoint).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

fn time(minute: usize) -> String {
    format!(
        "2026-01-{:02}T{:02}-{:02}-00.000000Z",
        1 + minute / 1440,
        minute / 60 % 24,
        minute % 60
    )
}

/// The path of an object.
fn path(origin: usize, minute: usize) -> String {
    format!("/bucket/logs/app.log/web-{origin}.k3v9q2mx/app.log.{}", time(minute))
}

/// Four segments, by turns of as many origins. The records are their minutes; one has no line end.
fn server_without(origins: usize, gone: &[usize]) -> Server {
    let gone = gone.iter().map(|minute| time(*minute)).collect();
    let server = Server::start(Manners { gone, ..Manners::default() });
    for (minute, record) in ["0\n", "1\n", "2", "3\n"].into_iter().enumerate() {
        server.put(&path(minute % origins, minute), record.as_bytes());
    }
    server
}

#[test]
fn object_that_is_gone_is_reported_once_and_skipped() {
    for (origins, gone) in
        [(1, &[0][..]), (1, &[3]), (1, &[1, 2]), (1, &[0, 1, 2, 3]), (2, &[0]), (2, &[3])]
    {
        let server = server_without(origins, gone);
        let cases =
            [("cat", "--lines"), ("cat", "--reverse"), ("tail", "--lines=9"), ("verify", "")];
        let run = |(verb, option): (&str, &str)| {
            let mut command = at(&server, logrotor([verb, LOG]));
            command.args(Some(option).filter(|option| !option.is_empty()));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for (case, process) in cases.into_iter().zip(cases.map(run)) {
            let output = process.wait_with_output().unwrap();
            let said = text(&output.stderr) + &text(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{case:?}: {said}");
            for minute in gone {
                let lines: Vec<_> =
                    said.lines().filter(|line| line.contains(&time(*minute))).collect();
                assert_eq!(lines.len(), 1, "{case:?} without {gone:?}: {said}");
                assert!(lines[0].contains("was removed before it was read"), "{said}");
            }
            if case.0 != "verify" {
                let mut left: Vec<_> = (0..4).filter(|minute| !gone.contains(minute)).collect();
                if case.1 == "--reverse" {
                    left.reverse();
                }
                let left: String = left.iter().map(usize::to_string).collect();
                let read = text(&output.stdout).replace('\n', "");
                assert_eq!(read, left, "{case:?} without {gone:?}");
            }
        }
    }
}

#[test]
fn many_origins_are_read_with_few_open_files() {
    const ORIGINS: usize = 150;
    let server = Server::start(Manners::default());
    let mut expected = String::new();
    for minute in 0..2 * ORIGINS {
        server.put(&path(minute % ORIGINS, minute), format!("{minute}\n").as_bytes());
        expected += &format!("{minute}\n");
    }
    let mut shell = Command::new("sh");
    let program = logrotor([]).get_program().to_owned();
    shell.args(["-c", "ulimit -S -n 100; exec \"$0\" cat \"$1\" --lines"]).arg(program).arg(LOG);
    let output = at(&server, shell).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert!(text(&output.stdout) == expected, "{output:?}");
}

#[test]
fn killed_reader_of_an_archive_leaves_no_file() {
    let (server, temporary) = (server_without(1, &[]), tempfile::tempdir().unwrap());
    server.put(&path(0, 0), "a record\n".repeat(100_000).as_bytes());
    let mut reader = at(&server, logrotor(["cat", LOG]));
    let mut reader = reader.env("TMPDIR", temporary.path()).stdout(Stdio::piped()).spawn().unwrap();
    // It waits for the pipe then.
    let mut line = String::new();
    BufReader::new(reader.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert_eq!(line, "a record\n");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
