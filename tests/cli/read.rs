//! `cat` and `tail`.

use crate::support::{Dir, Worker, log_of_numbers, text, work};
use logrotor::Compression;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

fn lines(numbers: impl Iterator<Item = u32>) -> String {
    numbers.map(|number| format!("{number}\n")).collect()
}

#[test]
fn cat_prints_all_segments_in_either_direction() {
    let dir = log_of_numbers(Compression::Gzip);
    assert_eq!(dir.ok("cat", []), lines(0..3005));
    assert_eq!(dir.ok("cat", ["--reverse"]), lines((0..3005).rev()));
    let dir = log_of_numbers(Compression::Zstd);
    assert_eq!(dir.ok("cat", []), lines(0..3005));
}

#[test]
fn cat_selects_by_the_times_of_records() {
    let dir = Dir::new();
    let ten = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_763_632_800);
    for (start, name) in [(0, "app.log.2025-11-20T10-20-00.000000Z"), (20, "app.log")] {
        let mut file = std::fs::File::create(dir.file(name)).unwrap();
        for minute in start..start + 20 {
            let record = format!("2025-11-20T10:{minute:02}:00Z at {minute}\n  more of {minute}\n");
            file.write_all(record.as_bytes()).unwrap();
        }
        file.set_modified(ten + std::time::Duration::from_secs(60 * (start + 19))).unwrap();
    }
    let expected =
        "2025-11-20T10:19:00Z at 19\n  more of 19\n2025-11-20T10:20:00Z at 20\n  more of 20\n";
    let between = ["--since", "2025-11-20T10:19:00Z", "--until", "2025-11-20T11:20:59+01:00"];
    assert_eq!(dir.ok("cat", between), expected);
    assert_eq!(dir.ok("cat", ["--since", "2025-11-20 10:30"]).lines().count(), 20);
    assert_eq!(dir.ok("cat", ["--since", "1h"]), "");
    assert_eq!(dir.ok("cat", ["--from", "1h"]), "", "the older name of the option");
    let output = dir.run("cat", ["--since", "tea time"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("2026-11-20T23:57:01Z"), "{output:?}");
}

#[test]
fn lines_without_time_belong_to_record_before_them() {
    let dir = Dir::new();
    let event = |minute: u32| {
        format!("2025-11-20T10:{minute}:00Z at\n  more of {minute}\nlast of {minute}\n")
    };
    let lines: String = (18..22).map(event).collect();
    std::fs::write(dir.log(), format!("of a record before\n{lines}")).unwrap();
    let between = ["--since=2025-11-20T10:19:00Z", "--until=2025-11-20T10:20:00Z"];
    let forward = dir.ok("cat", between);
    assert_eq!(forward, format!("of a record before\n{}{}", event(19), event(20)));
    let reverse = dir.ok("cat", [between[0], between[1], "--reverse"]);
    assert_eq!(reverse, format!("{}{}of a record before\n", event(20), event(19)));
    let by_line = dir.ok("cat", [between[0], between[1], "--reverse", "--lines"]);
    assert_eq!(by_line.lines().rev().collect::<Vec<_>>(), forward.lines().collect::<Vec<_>>());
}

#[test]
fn record_of_several_lines_is_printed_whole() {
    let dir = Dir::new();
    let event = |n: u32| format!("2025-11-20T10:{n}:00Z ERROR failed\nmore of {n}\n\n  at {n}\n");
    let all: String = (10..40).map(event).collect();
    std::fs::write(dir.file("app.log.1"), &all[..event(10).len() * 25]).unwrap();
    std::fs::write(dir.log(), &all[event(10).len() * 25..]).unwrap();
    assert_eq!(dir.ok("cat", ["--grep", "more of 12"]), event(12));
    assert_eq!(dir.ok("cat", ["--grep", "more of 12", "--lines"]), "more of 12\n");
    let reversed: String = (10..40).rev().map(event).collect();
    assert_eq!(dir.ok("cat", ["--reverse"]), reversed);
    let last: String = (33..40).map(event).collect();
    assert_eq!(dir.ok("tail", ["-n", "7"]), last);
    assert_eq!(dir.ok("tail", ["-n", "7", "--lines"]).lines().count(), 7);
    assert_eq!(dir.ok("tail", ["--lines=3"]), "more of 39\n\n  at 39\n");
    assert_eq!(dir.ok("tail", ["-n", "100"]), all);
    assert_eq!(dir.ok("tail", ["-n", "7", "--grep", "at 35"]), event(35));
    let json = dir.ok("tail", ["-n", "1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["record"], event(39).trim_end());
}

#[test]
fn records_without_times_are_grouped_by_indentation() {
    let dir = Dir::new();
    let event = |n: u32| format!("{{\n  \"n\": {n},\n  \"list\": [\n    1\n  ]\n}}\n");
    std::fs::write(dir.log(), (0..5).map(event).collect::<String>()).unwrap();
    assert_eq!(dir.ok("tail", ["-n", "2"]), event(3) + &event(4));
    assert_eq!(dir.ok("cat", ["--grep", "n.: 2"]), event(2));
    assert_eq!(dir.ok("cat", ["--reverse"]), (0..5).rev().map(event).collect::<String>());
}

#[test]
fn padded_levels_begin_records() {
    let dir = Dir::new();
    let event = |n: u32| format!(" INFO app: at {n}\n    more of {n}\n");
    std::fs::write(dir.log(), (0..5).map(event).collect::<String>()).unwrap();
    assert_eq!(dir.ok("tail", ["-n", "2"]), event(3) + &event(4));
    assert_eq!(dir.ok("cat", ["--grep", "more of 2"]), event(2));
    assert_eq!(dir.ok("cat", ["--reverse"]), (0..5).rev().map(event).collect::<String>());
}

#[test]
fn time_in_the_text_of_one_line_joins_no_others() {
    let dir = Dir::new();
    let line = |n: u32| format!("user {n} logged in\n");
    let (before, after): (String, String) =
        ((0..5).map(line).collect(), (5..9).map(line).collect());
    std::fs::write(dir.log(), format!("{before}backup of 2025-11-20 10:00:00\n{after}")).unwrap();
    assert_eq!(dir.ok("tail", ["-n", "2"]), line(7) + &line(8));
    assert_eq!(dir.ok("cat", ["--grep", "user 6"]), line(6));
    let access = |n: u32| format!("::1 - joe [20/Nov/2025:10:00:0{n} +0000] \"GET /\" 200\n");
    std::fs::write(dir.log(), (0..5).map(|n| access(n) + "more\n").collect::<String>()).unwrap();
    assert_eq!(dir.ok("tail", ["-n", "1"]), access(4) + "more\n");
}

#[test]
fn tail_of_indented_lines_alone_prints_them() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "  one\n  two\n").unwrap();
    assert_eq!(dir.ok("tail", []), "  one\n  two\n");
}

#[test]
fn record_of_thousands_of_lines_is_printed_whole() {
    let dir = Dir::new();
    let frames: String = (0..5000).map(|n| format!("frame {n}\n")).collect();
    let last = format!("2025-11-20T10:10:01Z failed\n{frames}");
    std::fs::write(dir.log(), format!("2025-11-20T10:10:00Z first\n{last}")).unwrap();
    assert!(dir.ok("tail", ["-n", "1"]) == last);
    assert!(dir.ok("cat", ["--grep", "frame 77$"]) == last);
}

#[test]
fn followed_record_of_several_lines_is_one_json_object() {
    let dir = Dir::new();
    let mut log = dir.writer();
    let (first, second) = ("2025-11-20T10:10:00Z first\n  at 1", "2025-11-20T10:10:01Z second");
    writeln!(log, "{first}").unwrap();
    for (options, expected) in [
        (["--json", "--color=never"], vec![first, second]),
        (["--json", "--lines"], first.lines().chain([second]).collect()),
    ] {
        let mut tail = dir.command("tail", ["-F"]);
        tail.args(options).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut tail = Follower(tail.spawn().unwrap());
        let mut printed = BufReader::new(tail.0.stdout.take().unwrap()).lines();
        let mut next = || {
            let line = printed.next().unwrap().unwrap();
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            object["record"].as_str().unwrap().to_owned()
        };
        let (last, before) = expected.split_last().unwrap();
        // The last one is written once those before it are printed.
        before.iter().for_each(|record| assert_eq!(next(), *record));
        writeln!(log, "{last}").unwrap();
        assert_eq!(next(), *last);
        log.rotate().unwrap();
        for name in dir.backups() {
            std::fs::remove_file(dir.file(&name)).unwrap();
        }
        writeln!(log, "{first}").unwrap();
    }
}

#[test]
fn followed_record_of_several_lines_is_printed_from_its_start() {
    let dir = Dir::new();
    let mut log = dir.writer();
    writeln!(log, "2025-11-20T10:10:00Z first").unwrap();
    let mut tail = dir.command("tail", ["-F", "--grep", "wanted"]);
    let mut tail = Follower(tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut printed = BufReader::new(tail.0.stdout.take().unwrap()).lines();
    writeln!(log, "2025-11-20T10:10:01Z second\n  wanted").unwrap();
    for expected in ["2025-11-20T10:10:01Z second", "  wanted"] {
        assert_eq!(printed.next().unwrap().unwrap(), expected);
    }
    // The rest is printed as it comes, and not before the next record.
    writeln!(log, "rest").unwrap();
    assert_eq!(printed.next().unwrap().unwrap(), "rest");
    writeln!(log, "2025-11-20T10:10:02Z third\n2025-11-20T10:10:03Z wanted").unwrap();
    assert_eq!(printed.next().unwrap().unwrap(), "2025-11-20T10:10:03Z wanted");
}

/// Records of one minute each, as a logger writes them, in an active segment of now.
#[track_caller]
fn assert_range_is_cut(record: impl Fn(u32) -> String, options: &[&str]) {
    let dir = Dir::new();
    let all: Vec<_> = (10..20).map(record).collect();
    std::fs::write(dir.log(), all.concat()).unwrap();
    let range = ["--since=2025-11-20T10:12:00Z", "--until=2025-11-20T10:15:30Z"];
    let output = dir.command("cat", range).args(options).env("TZ", "UTC").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(text(&output.stdout), all[2..6].concat());
}

#[test]
fn times_are_found_as_loggers_write_them() {
    let ansi = "\x1b[2m2025-11-20T10:{}:00.5Z\x1b[0m \x1b[32m INFO\x1b[0m app: a {\n";
    let pretty = "  2025-11-20T10:{}:00.5Z  INFO app: text\n    at src/main.rs:1\n\n";
    let nested = "{\"meta\":{\"@timestamp\":\"2025-11-20T10:{}:00.5Z\"},\"n\":1}\n";
    for form in [
        "{\"timestamp\":\"2025-11-20T10:{}:00.5Z\",\"level\":\"INFO\"}\n",
        ansi,
        pretty,
        nested,
        "{\n  \"ts\": \"2025-11-20T10:{}:00.5Z\",\n  \"n\": 1\n}\n",
        "level=info msg=text ts=2025-11-20T10:{}:00.5Z\n",
        "2025-11-20 10:{}:00.500+00 0ms INFO main [src/main.rs:1] text\n",
        "[2025-11-20 10:{}:00.500000 +00:00] INFO [src/main.rs:1] text\n  more\n",
        "127.0.0.1 - - [20/Nov/2025:10:{}:00 +0000] \"GET / HTTP/1.1\" 200 1\n",
        "2025/11/20 10:{}:00 [error] 1#1: text\n",
    ] {
        assert_range_is_cut(|minute| form.replacen("{}", &minute.to_string(), 1), &[]);
    }
    let unix = |minute: u32| 1_763_632_800 + u64::from(minute) * 60;
    assert_range_is_cut(|minute| format!("{}.250 text\n", unix(minute)), &[]);
    assert_range_is_cut(|minute| format!("{{\"ts\":{}250}}\n", unix(minute)), &[]);
}

#[test]
fn times_are_found_in_format_and_field_of_the_user() {
    let form = |minute| format!("INFO 20.11.2025 10:{minute}:00 text\n");
    assert_range_is_cut(form, &["--time-format=%d.%m.%Y %H:%M:%S"]);
    let form = |minute| format!("{{\"at\":{{\"utc\":\"2025-11-20T10:{minute}:00Z\"}},\"ts\":1}}\n");
    assert_range_is_cut(form, &["--time-field=at.utc"]);
    let dir = log_of_numbers(Compression::None);
    let output = dir.run("cat", ["--since", "1h", "--time-format", "%Q"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn log_without_times_is_reported_once() {
    let dir = log_of_numbers(Compression::None);
    for direction in [&[][..], &["--reverse"]] {
        let output = dir.command("cat", ["--since=1h"]).args(direction).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.starts_with("logrotor: no time was found in 3005 records"), "{said}");
        assert!(said.contains("RFC 3339") && said.contains("--time-field"), "{said}");
        assert_eq!((said.lines().count(), text(&output.stdout).lines().count()), (1, 3005));
    }
}

#[test]
fn format_and_field_that_were_looked_for_are_reported() {
    let dir = log_of_numbers(Compression::None);
    for (options, expected) in [
        (&["--time-format=%d.%m.%Y"][..], "looked for `%d.%m.%Y` in the first 64 bytes"),
        (&["--time-format=%s", "--time-field=at"], "looked for `%s` in the field `at`;"),
    ] {
        let output = dir.command("cat", ["--since=1h"]).args(options).output().unwrap();
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
}

#[test]
fn times_do_not_skip_records_of_a_copied_log() {
    let dir = Dir::new();
    for (day, name) in
        [(21, "app.log.2025-11-21T11-00-00.000000Z"), (22, "app.log.2025-11-22T11-00-00.000000Z")]
    {
        let record = |hour| format!("2025-11-{day}T{hour:02}:00:00Z\n");
        std::fs::write(dir.file(name), (0..10).map(record).collect::<String>()).unwrap();
    }
    std::fs::write(dir.log(), "2025-11-22T12:00:00Z\n").unwrap();
    for keeps_times in [false, true] {
        if keeps_times {
            for (name, hour) in dir.names().iter().zip([36, 9, 33]) {
                let file = std::fs::File::options().append(true).open(dir.file(name)).unwrap();
                let at = 1_763_683_200 + hour * 3600;
                file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(at))
                    .unwrap();
            }
        }
        for day in [21, 22] {
            let (from, until) = (
                format!("--since=2025-11-{day}T02:00:00Z"),
                format!("--until=2025-11-{day}T05:00:00Z"),
            );
            let expected: String =
                (2..6).map(|hour| format!("2025-11-{day}T{hour:02}:00:00Z\n")).collect();
            assert_eq!(dir.ok("cat", [&*from, &*until]), expected, "{keeps_times}");
        }
        assert_eq!(dir.ok("cat", ["--until", "2025-11-21T02:00:00Z"]).lines().count(), 3);
    }
}

#[test]
fn grep_prints_matches_and_exits_with_1_without_any() {
    let dir = log_of_numbers(Compression::Gzip);
    assert_eq!(
        dir.ok("cat", ["--grep", "^.00.$"]),
        lines((1000..1010).chain(2000..2010).chain(3000..3005))
    );
    assert_eq!(dir.ok("tail", ["-n", "1500", "--grep", "99$"]), lines((1599..3000).step_by(100)));
    let output = dir.run("cat", ["--grep", "x"]);
    assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(1), 0, 0));
    let output = dir.run("cat", ["--grep", "("]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("unclosed group"), "{output:?}");

    let mut log = dir.writer();
    writeln!(log, "an Error and an error").unwrap();
    let red = dir.ok("cat", ["--grep", "error", "-i", "--color", "always"]);
    assert_eq!(red, "an \x1b[1;31mError\x1b[0m and an \x1b[1;31merror\x1b[0m\n");
    assert_eq!(dir.ok("cat", ["--grep", "error"]), "an Error and an error\n");
}

#[test]
fn tail_prints_the_last_records_of_several_segments() {
    let dir = log_of_numbers(Compression::Gzip);
    assert_eq!(dir.ok("tail", []), lines(2995..3005));
    assert_eq!(dir.ok("tail", ["-n", "2"]), lines(3003..3005));
    assert_eq!(dir.ok("tail", ["-n", "2000"]), lines(1005..3005));
    assert_eq!(dir.ok("tail", ["-n", "0"]), "");
}

#[test]
fn unfinished_line_of_a_segment_is_not_glued_to_the_next() {
    let dir = Dir::new();
    std::fs::write(dir.file("app.log.2"), "one\ntorn").unwrap();
    std::fs::write(dir.file("app.log.1"), "two\n").unwrap();
    let hole = [b"three".as_slice(), &[0; 64], b"four"].concat();
    std::fs::write(dir.log(), hole).unwrap();
    assert_eq!(text(&dir.run("cat", []).stdout), "one\ntorn\ntwo\nthree\nfour");
    assert_eq!(text(&dir.run("cat", ["--grep", ""]).stdout), "one\ntorn\ntwo\nthree\nfour\n");
    std::fs::write(dir.log(), "three").unwrap();
    assert_eq!(dir.ok("tail", ["-n", "3"]), "torn\ntwo\nthree");
    // A long line arrives in several pieces.
    let long = "x".repeat(1_000_000);
    std::fs::write(dir.log(), &long).unwrap();
    assert!(dir.ok("tail", ["-n", "1"]) == long);
}

#[test]
fn json_has_a_record_and_its_position_on_each_line() {
    let dir = log_of_numbers(Compression::Gzip);
    let last = dir.ok("tail", ["-n", "1", "--json"]);
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let log = std::fs::canonicalize(dir.log()).unwrap();
    assert_eq!(last, serde_json::json!({ "segment": log, "offset": 20, "record": "3004" }));
    let all = dir.ok("cat", ["--json"]);
    assert_eq!(all.lines().count(), 3005);
    assert!(all.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn damage_is_reported_and_skipped() {
    let dir = log_of_numbers(Compression::Gzip);
    let backup = dir.file(&dir.backups()[1]);
    let compressed = std::fs::read(&backup).unwrap();
    std::fs::write(&backup, &compressed[..compressed.len() / 2]).unwrap();
    let output = dir.run("cat", []);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("logrotor: `") && said.ends_with("the compressed content is cut off\n"),
        "{said}"
    );
    let printed = text(&output.stdout);
    assert!(printed.starts_with(&lines(0..1000)) && printed.ends_with(&lines(2000..3005)));
}

#[test]
fn missing_log_is_an_error_and_is_not_created() {
    let dir = Dir::new();
    for verb in ["cat", "tail", "ls", "stat", "verify", "rotate", "compress"] {
        let output = dir.run(verb, []);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let said = text(&output.stderr);
        assert!(
            said.ends_with("there is neither such a file nor a backup of it\n"),
            "{verb}: {said}"
        );
    }
    for args in [["--since", "1h"], ["--until", "1h"], ["--reverse", "--since=1h"]] {
        let output = dir.run("cat", args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains("neither such a file nor a backup"), "{output:?}");
    }
    assert_eq!(dir.names(), [""; 0]);
}

// Windows has only the zone of the system.
#[cfg(unix)]
#[test]
fn range_covers_a_repeated_hour_and_moves_a_skipped_one() {
    const ZONE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
    let dir = Dir::new();
    // The clock goes back from 03:00 to 02:00 at 01:00 UTC.
    let records: Vec<_> = ["00:10", "00:40", "01:10", "01:40", "02:10"]
        .map(|time| format!("2026-10-25T{time}:00Z"))
        .into();
    std::fs::write(dir.log(), records.join("\n") + "\n").unwrap();
    let printed = |arg: &str| -> Vec<String> {
        let output = dir.command("cat", [arg]).env("TZ", ZONE).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        text(&output.stdout).lines().map(str::to_owned).collect()
    };
    assert_eq!(printed("--since=2026-10-25 02:30"), records[1..]);
    assert_eq!(printed("--until=2026-10-25 02:30"), records[..3]);
    // The clock shows this time once.
    assert_eq!(printed("--since=2026-10-25 03:00"), records[4..]);
    assert_eq!(printed("--until=2026-10-25 03:00"), records[..4]);
    std::fs::write(dir.log(), "2026-03-29T00:59:00Z\n2026-03-29T01:30:00Z\n").unwrap();
    assert_eq!(printed("--since=2026-03-29 02:30"), ["2026-03-29T01:30:00Z"]);
}

#[test]
fn range_that_ends_before_it_begins_is_rejected() {
    let dir = log_of_numbers(Compression::None);
    let output = dir.run("cat", ["--since", "2026-10-26", "--until", "2026-10-25"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(text(&output.stderr).contains("--since is after --until"), "{output:?}");
}

#[cfg(unix)]
#[test]
fn closed_pipe_ends_cat_and_tail_silently() {
    use std::os::unix::process::ExitStatusExt;
    let dir = Dir::new();
    let mut log = dir.writer();
    for _ in 0..1000 {
        log.write_all(&[b'x'; 1024]).unwrap();
    }
    writeln!(log).unwrap();
    for verb in ["cat", "tail"] {
        let mut command = dir.command(verb, []);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(13), "{verb}: {output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[cfg(unix)]
#[test]
fn closed_pipe_ends_a_following_tail_of_an_idle_log() {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    let dir = Dir::new();
    writeln!(dir.writer(), "one").unwrap();
    let mut command = dir.command("tail", ["-F"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 4]).unwrap();
    drop(output);
    crate::support::eventually("it ends", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(13), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// Kills a process at the end of a test, even if the test fails.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn tail_follows_rotations_of_four_workers_without_loss() {
    const WORKERS: u32 = 4;
    const RECORDS: u32 = 5000;
    let dir = Dir::new();
    // Starts before the log exists.
    let mut tail = dir.command("tail", ["-F", "-n", "1000000"]);
    let mut tail = Follower(tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let output = BufReader::new(tail.0.stdout.take().unwrap());
    let workers: Vec<_> =
        (0..WORKERS).map(|name| Worker::start(&dir.log(), name, RECORDS)).collect();
    let mut printed = output.lines().map(Result::unwrap);
    let mut seen: Vec<_> = printed.by_ref().take((WORKERS * RECORDS) as usize).collect();
    workers.into_iter().for_each(Worker::finish);
    // The number depends on the load: a segment also gets the records of workers that follow late.
    assert!(dir.backups().len() > 300, "{}", dir.backups().len());
    writeln!(dir.writer(), "the end").unwrap();
    assert_eq!(printed.next().unwrap(), "the end", "nothing came twice");
    for name in 0..WORKERS {
        let prefix = format!("{name} ");
        let numbers =
            seen.iter().filter_map(|line| line.strip_prefix(&prefix)?.parse::<u32>().ok());
        assert!(numbers.eq(0..RECORDS), "records of worker {name} are in order");
    }
    seen.sort();
    assert_eq!(seen, work(0..WORKERS, RECORDS));
}

#[cfg(target_os = "linux")]
#[test]
fn tail_follows_without_inotify() {
    let dir = Dir::new();
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let without = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-Ur", "sh", "-c", script, "sh"]).args(program).current_dir(dir.file("."));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    if !without(&["true"]).status().is_ok_and(|status| status.success()) {
        return println!("skipped: this user may not create a namespace");
    }
    let mut tail = without(&[env!("CARGO_BIN_EXE_logrotor"), "tail", "-F", "app.log"]);
    let mut tail = Follower(tail.spawn().unwrap());
    let mut printed = BufReader::new(tail.0.stdout.take().unwrap()).lines();
    let mut log = dir.writer();
    for number in 0..20 {
        writeln!(log, "{number}").unwrap();
        assert_eq!(printed.next().unwrap().unwrap(), number.to_string());
        if number % 5 == 0 {
            log.rotate().unwrap();
        }
    }
    let opened = std::fs::read_dir(format!("/proc/{}/fd", tail.0.id())).unwrap();
    let mut links = opened.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    assert!(!links.any(|link| link.to_string_lossy().contains("inotify")));
}

/// Reads the output of `cat` slowly until a progress bar appears. Returns the terminal's output.
#[cfg(target_os = "linux")]
fn watched(dir: &Dir, no_color: bool) -> String {
    use std::io::Read;
    use std::sync::mpsc;
    let fifo = dir.file("fifo");
    let _ = std::fs::remove_file(&fifo);
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let line = format!("{} cat app.log > fifo", env!("CARGO_BIN_EXE_logrotor"));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(dir.file(".")).env("TERM", "xterm");
    command.env_remove("NO_COLOR").stdin(Stdio::null()).stdout(Stdio::piped());
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let mut script = Follower(command.spawn().unwrap());
    let mut terminal = script.0.stdout.take().unwrap();
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(len @ 1..) = terminal.read(&mut block) {
            said.send(block[..len].to_vec()).unwrap();
        }
    });
    let mut pipe = std::fs::File::open(&fifo).unwrap();
    let (mut shown, mut bytes) = (Vec::new(), 0);
    while !String::from_utf8_lossy(&shown).contains('%') {
        let len = pipe.read(&mut [0; 4096]).unwrap();
        assert!(len > 0, "all was read before there was a bar");
        bytes += len;
        if let Ok(more) = heard.recv_timeout(std::time::Duration::from_millis(5)) {
            shown.extend(more);
        }
    }
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest).unwrap();
    assert_eq!((bytes + rest.len()) as u64, std::fs::metadata(dir.log()).unwrap().len());
    shown.extend(heard.iter().flatten());
    text(&shown)
}

#[cfg(feature = "__test")]
#[test]
fn cat_without_a_terminal_does_not_inspect_the_log() {
    let dir = log_of_numbers(Compression::Gzip);
    let mut command = dir.command("cat", []);
    command.env("LOGROTOR_FAULT_COUNT", dir.file("trace"));
    assert!(command.output().unwrap().status.success());
    let trace = std::fs::read_to_string(dir.file("trace")).unwrap();
    assert!(trace.contains(" open") && !trace.contains("free space"), "{trace}");
}

#[cfg(target_os = "linux")]
#[test]
fn progress_bar_is_shown_on_a_terminal() {
    let dir = Dir::new();
    dir.writer().write_all("a line of some length\n".repeat(1_000_000).as_bytes()).unwrap();
    let shown = watched(&dir, false);
    assert!(shown.contains("app.log ") && shown.contains("\x1b[36m"), "{shown:?}");
    let plain = watched(&dir, true);
    assert!(plain.contains("app.log ") && !plain.contains("\x1b[36m"), "{plain:?}");
    // The bar is cleared at the end.
    assert!(plain.ends_with("\x1b[2K"), "{plain:?}");
}

// GNU tail goes over to the new target too, but repeats nothing of it only by chance.
#[cfg(unix)]
#[test]
fn tail_goes_over_to_the_new_target_of_a_link() {
    let dir = Dir::new();
    let append = |target: &str, line: &str| {
        let file = std::fs::File::options().create(true).append(true).open(dir.file(target));
        writeln!(file.unwrap(), "{line}").unwrap();
    };
    let turn = |target: &str| {
        std::os::unix::fs::symlink(target, dir.file("turning")).unwrap();
        std::fs::rename(dir.file("turning"), dir.log()).unwrap();
    };
    for disk in ["disk1", "disk2"] {
        std::fs::create_dir(dir.file(disk)).unwrap();
    }
    append("disk1/app.log", "one");
    turn("disk1/app.log");
    let mut tail = dir.command("tail", ["-F"]);
    let mut tail = Follower(tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut printed = BufReader::new(tail.0.stdout.take().unwrap()).lines();
    let mut next = || printed.next().unwrap().unwrap();
    assert_eq!(next(), "one");
    turn("disk2/app.log");
    append("disk2/app.log", "two");
    assert_eq!(next(), "two");
    // A late worker.
    append("disk1/app.log", "three");
    assert_eq!(next(), "three");
    turn("disk1/app.log");
    append("disk1/app.log", "four");
    assert_eq!(next(), "four");
}

/// Each operation with this verb fails, from the `number`th on or alone.
#[cfg(feature = "__test")]
fn with_fault(mut command: std::process::Command, plan: &str) -> (std::process::Output, bool) {
    let trace = tempfile::NamedTempFile::new().unwrap();
    command.env("LOGROTOR_FAULT", plan).env("LOGROTOR_FAULT_COUNT", trace.path());
    let output = command.output().unwrap();
    (output, std::fs::read_to_string(trace.path()).unwrap().contains(" !"))
}

// It printed the whole log.
#[cfg(feature = "__test")]
#[test]
fn regression_tail_after_a_failure_does_not_print_the_whole_log() {
    let dir = log_of_numbers(Compression::None);
    for number in 1.. {
        let plan = format!("{number}/list:errno=5");
        let (output, is_struck) = with_fault(dir.command("tail", ["-n", "1500"]), &plan);
        if !is_struck {
            assert!(number > 3);
            break;
        }
        let printed = text(&output.stdout);
        assert!(printed.lines().count() <= 1500, "{number}: {printed}");
        assert!(!output.status.success() || printed == lines(1505..3005), "{number}: {output:?}");
    }
}

// The failure was taken for the end of the damaged backup.
#[cfg(feature = "__test")]
#[test]
fn regression_failure_after_damage_is_reported_too() {
    let dir = log_of_numbers(Compression::Gzip);
    let path = dir.file(&dir.backups()[1]);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for number in (1..).step_by(2) {
        let plan = format!("{number}+/read:errno=5");
        let (output, is_struck) = with_fault(dir.command("cat", []), &plan);
        if !is_struck {
            assert!(number > 3);
            break;
        }
        let said = text(&output.stderr);
        assert!(said.contains("(os error 5)"), "{number}: {said}");
    }
}

// Error 4 is another one on Windows.
#[cfg(all(unix, feature = "__test"))]
#[test]
fn interrupted_read_is_repeated() {
    let dir = log_of_numbers(Compression::Gzip);
    for verb in ["cat", "tail"] {
        let (output, is_struck) = with_fault(dir.command(verb, []), "1-9/read:errno=4");
        assert!(is_struck && output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

// Up to 10 000 of them were held, however long.
#[test]
fn reversed_records_without_a_time_are_not_held_without_limit() {
    const MIB: usize = 1 << 20;
    let dir = Dir::new();
    let long = "x".repeat(4 * MIB);
    let mut log = dir.writer();
    writeln!(log, "{{\"ts\":\"2025-11-20T10:10:00Z\"}}").unwrap();
    (0..10).for_each(|_| writeln!(log, "{{\"text\":\"{long}\"}}").unwrap());
    let printed = dir.run("cat", ["--reverse", "--since=2025-11-21"]).stdout;
    // The last of them belong to the record with a time.
    assert!((32 * MIB..40 * MIB).contains(&printed.len()), "{}", printed.len());
}
