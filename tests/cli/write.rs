//! `logrotor write`: real pipes, real signals.
#![cfg(unix)]

use crate::support::{Dir, eventually, text};
use logrotor::reader::LogReader;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A running `logrotor write`.
pub(crate) struct Writer {
    pub(crate) child: Child,
    pub(crate) input: Option<ChildStdin>,
}

impl Writer {
    pub(crate) fn start<const N: usize>(dir: &Dir, args: [&str; N]) -> Self {
        Self::spawn(dir.command("write", args))
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        Self { child, input }
    }

    pub(crate) fn send(&mut self, bytes: &str) {
        self.input.as_mut().unwrap().write_all(bytes.as_bytes()).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Returns its exit status, standard output and standard error. Does not close its input.
    pub(crate) fn wait(mut self) -> (Option<i32>, String, String) {
        let status = self.child.wait().unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status.code(), stdout, stderr)
    }

    /// Closes its input. The writer must succeed without output.
    pub(crate) fn finish(mut self) {
        drop(self.input.take());
        assert_eq!(self.wait(), (Some(0), String::new(), String::new()));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The content of the active segment; empty if there is none.
fn active(dir: &Dir) -> String {
    std::fs::read_to_string(dir.log()).unwrap_or_default()
}

fn all(dir: &Dir) -> Vec<String> {
    BufReader::new(LogReader::open(dir.log()).unwrap()).lines().map(Result::unwrap).collect()
}

#[test]
fn last_line_without_a_line_break_gets_one() {
    let dir = Dir::new();
    let mut writer = Writer::start(&dir, []);
    writer.send("one\n\ntwo\nthr");
    eventually("whole lines are there", || active(&dir) == "one\n\ntwo\n");
    writer.send("ee");
    writer.finish();
    assert_eq!(active(&dir), "one\n\ntwo\nthree\n");
}

#[test]
fn log_is_rotated_between_lines_and_compressed() {
    let dir = Dir::new();
    let mut writer = Writer::start(&dir, ["--max-size", "10kB", "--gzip", "--number"]);
    let lines: Vec<_> = (0..20_000).map(|number| format!("line {number:06} of many")).collect();
    writer.send(&(lines.join("\n") + "\n"));
    writer.finish();
    assert_eq!(all(&dir), lines);
    assert!(std::fs::metadata(dir.log()).unwrap().len() <= 10_000);
    assert!(dir.file("app.log.1").exists() || dir.file("app.log.1.gz").exists());
}

#[test]
fn two_share_a_log() {
    let dir = Dir::new();
    let run =
        |name: &str| -> Vec<String> { (0..20_000).map(|at| format!("{name} {at:06}")).collect() };
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let (dir, lines) = (&dir, run(name));
            scope.spawn(move || {
                let mut writer = Writer::start(dir, ["--max-size", "20kB"]);
                lines.chunks(77).for_each(|lines| writer.send(&(lines.join("\n") + "\n")));
                writer.finish();
            });
        }
    });
    let all = all(&dir);
    assert_eq!(all.len(), 40_000);
    for name in ["a", "b"] {
        let found: Vec<_> = all.iter().filter(|line| line.starts_with(name)).cloned().collect();
        assert_eq!(found, run(name));
    }
}

#[test]
fn line_longer_than_1_mib_is_split_and_reported() {
    let dir = Dir::new();
    let mut writer = Writer::start(&dir, []);
    let long = "x".repeat((1 << 20) + 5);
    writer.send(&format!("before\n{long}\nafter\n"));
    drop(writer.input.take());
    let (status, _, said) = writer.wait();
    assert_eq!(status, Some(0));
    assert!(said.contains("1 lines were longer than 1048576 bytes"), "{said}");
    let lens: Vec<_> = all(&dir).iter().map(String::len).collect();
    assert_eq!(lens, [6, 1 << 20, 5, 5]);
}

#[test]
fn line_of_whole_mebibytes_is_split_without_an_empty_line() {
    const MIB: usize = 1 << 20;
    for (len, expected, split) in [
        (MIB - 1, &[MIB - 1][..], 0),
        (MIB, &[MIB], 0),
        (MIB + 1, &[MIB, 1], 1),
        (3 * MIB, &[MIB; 3], 1),
        (5 * MIB - 1, &[MIB, MIB, MIB, MIB, MIB - 1], 1),
    ] {
        let dir = Dir::new();
        let mut writer = Writer::start(&dir, []);
        writer.send(&format!("{}\nafter\n", "x".repeat(len)));
        drop(writer.input.take());
        let (status, _, said) = writer.wait();
        assert_eq!((status, said.is_empty()), (Some(0), split == 0), "{said}");
        assert!(split == 0 || said.contains(&format!(" {split} lines were longer")), "{said}");
        let lens: Vec<_> = all(&dir).iter().map(String::len).collect();
        assert_eq!(lens, [expected, &[5]].concat(), "{len}");
    }
}

#[test]
fn signal_to_end_in_mid_line_writes_the_beginning() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = Dir::new();
        let mut writer = Writer::start(&dir, ["--grace", "0s"]);
        writer.send("first\n");
        eventually("it reads", || active(&dir) == "first\n");
        writer.send("second\nthi");
        writer.signal(signal);
        // The input stays open.
        let input = writer.input.take();
        assert_eq!(writer.wait().0, Some(0));
        drop(input);
        assert_eq!(active(&dir), "first\nsecond\nthi\n");
    }
}

#[test]
fn rest_of_a_line_soon_after_the_signal_is_written() {
    let dir = Dir::new();
    let mut writer = Writer::start(&dir, ["--grace", "0s"]);
    writer.send("first\nsec");
    eventually("it reads", || active(&dir) == "first\n");
    writer.signal(Signal::TERM);
    writer.send("ond\n");
    let input = writer.input.take();
    assert_eq!(writer.wait().0, Some(0));
    drop(input);
    assert_eq!(active(&dir), "first\nsecond\n");
}

#[test]
fn signal_to_end_works_while_input_keeps_arriving() {
    for grace in ["0s", "100ms"] {
        let dir = Dir::new();
        let args = ["--max-size", "1MB", "--keep", "1", "--grace", grace];
        let mut writer = Writer::start(&dir, args);
        writer.send("first\n");
        eventually("it reads", || active(&dir) == "first\n");
        let mut input = writer.input.take().unwrap();
        // Until the writer has closed the pipe.
        let flood =
            std::thread::spawn(move || while input.write_all(b"more and more\n").is_ok() {});
        writer.signal(Signal::TERM);
        let (status, _, said) = writer.wait();
        assert_eq!(status, Some(0));
        assert_eq!(said.contains("has not ended within 100ms"), grace == "100ms", "{said}");
        flood.join().unwrap();
    }
}

#[test]
fn signal_to_end_reads_on_until_end_of_input() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = Dir::new();
        let mut writer = Writer::start(&dir, ["--grace", "1day"]);
        let mut sent = "first\n".to_owned();
        writer.send(&sent);
        eventually("it reads", || active(&dir) == sent);
        writer.signal(signal);
        // The writer has handled the signal before it reads the second line.
        for number in 0..10 {
            let line = format!("after the signal {number}\n");
            writer.send(&line);
            sent += &line;
            eventually("it reads on", || active(&dir) == sent);
        }
        writer.finish();
        assert_eq!(active(&dir), sent);
    }
}

#[test]
fn second_signal_ends_before_end_of_input() {
    let dir = Dir::new();
    let mut writer = Writer::start(&dir, ["--grace", "1day"]);
    writer.send("first\nsecond");
    eventually("it reads", || active(&dir) == "first\n");
    let input = writer.input.take();
    // Two signals at once may count as one.
    eventually("it ends", || {
        writer.signal(Signal::TERM);
        writer.child.try_wait().unwrap().is_some()
    });
    drop(input);
    assert_eq!(writer.wait().0, Some(0));
    assert_eq!(active(&dir), "first\nsecond\n");
}

#[test]
fn hangup_in_mid_line_reopens_the_log() {
    let dir = Dir::new();
    let mut writer = Writer::start(&dir, []);
    writer.send("first\nsec");
    eventually("it reads", || active(&dir) == "first\n");
    std::fs::rename(dir.log(), dir.file("moved")).unwrap();
    writer.signal(Signal::HUP);
    eventually("the log is recreated", || dir.log().exists());
    writer.send("ond\n");
    writer.finish();
    assert_eq!(active(&dir), "second\n");
    assert_eq!(std::fs::read_to_string(dir.file("moved")).unwrap(), "first\n");
}

#[test]
fn usr1_in_mid_line_rotates() {
    let dir = Dir::new();
    let mut writer = Writer::start(&dir, ["--number"]);
    writer.send("first\nsec");
    eventually("it reads", || active(&dir) == "first\n");
    writer.signal(Signal::USR1);
    eventually("it rotates", || dir.file("app.log.1").exists() && active(&dir).is_empty());
    writer.send("ond\n");
    writer.finish();
    assert_eq!(all(&dir), ["first", "second"]);
}

#[test]
fn lines_are_copied_and_stamped_on_request() {
    let dir = Dir::new();
    let mut writer = Writer::start(&dir, ["--tee", "--timestamp"]);
    writer.send("one\ntwo\n");
    drop(writer.input.take());
    let (status, copied, said) = writer.wait();
    assert_eq!((status, said.as_str()), (Some(0), ""));
    assert_eq!(active(&dir), copied);
    for (line, end) in copied.lines().zip(["one", "two"]) {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == 27 && time.ends_with('Z') && rest == end, "{line}");
    }
    assert_eq!(copied.lines().count(), 2);
}

#[test]
fn signal_to_end_works_while_the_copy_is_not_read() {
    for grace in ["0s", "100ms"] {
        let dir = Dir::new();
        let mut writer = Writer::start(&dir, ["--tee", "--grace", grace]);
        let lines: Vec<_> = (0..20_000).map(|number| format!("line {number:06}")).collect();
        writer.send(&(lines.join("\n") + "\n"));
        eventually("it reads", || !active(&dir).is_empty());
        writer.signal(Signal::TERM);
        let input = writer.input.take();
        let (status, copied, said) = writer.wait();
        drop(input);
        assert_eq!(status, Some(0), "{said}");
        assert!(
            said.contains(
                "failed to write to standard output: its reader does not read; the copy ends here"
            ),
            "{said}"
        );
        assert!(all(&dir) == lines && (lines.join("\n") + "\n").starts_with(&copied));
    }
}

#[test]
fn policy_is_applied_and_excludes_other_options() {
    let dir = Dir::new();
    let mut config = logrotor::Config::default();
    config.max_size = 1000;
    drop(logrotor::Config::policy().open_or_create(dir.file("policy.toml"), || config).unwrap());
    let mut writer = Writer::start(&dir, ["--policy", "policy.toml"]);
    let lines: Vec<_> = (0..200).map(|number| format!("line {number:06}")).collect();
    writer.send(&(lines.join("\n") + "\n"));
    writer.finish();
    assert_eq!(all(&dir), lines);
    assert!(std::fs::metadata(dir.log()).unwrap().len() <= 1000);
    let refused = dir.run("write", ["--policy", "policy.toml", "--keep", "7"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn invalid_option_is_an_error_and_creates_no_file() {
    let dir = Dir::new();
    let refused = dir.run("write", ["--max-size", "ten"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("max_size"), "{refused:?}");
    assert!(!dir.log().exists());
}

#[cfg(feature = "__test")]
#[test]
fn failed_rotation_loses_no_line_and_is_reported_once() {
    let dir = Dir::new();
    let mut command = dir.command("write", ["--max-size", "100"]);
    // The first file created is the log, and `over` ends the fault.
    command.env("LOGROTOR_FAULT", "2+/create:errno=13");
    command.env("LOGROTOR_FAULT_UNTIL", dir.file("over"));
    let mut writer = Writer::spawn(command);
    let lines: Vec<_> = (0..2000).map(|number| format!("line {number:04}")).collect();
    let (first, second) = lines.split_at(1000);
    writer.send(&(first.join("\n") + "\n"));
    let mut said = BufReader::new(writer.child.stderr.take().unwrap()).lines();
    let told = said.next().unwrap().unwrap();
    assert!(told.contains("failed to create") && told.contains("Permission denied"), "{told}");
    eventually("it writes on", || all(&dir) == first);
    std::fs::write(dir.file("over"), "").unwrap();
    writer.send(&(second.join("\n") + "\n"));
    drop(writer.input.take());
    assert_eq!(said.map(Result::unwrap).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(writer.child.wait().unwrap().code(), Some(0));
    assert_eq!(all(&dir), lines);
}

#[test]
fn options_space_rotations_and_keep_backups_uncompressed() {
    let dir = Dir::new();
    let options = ["--max-size", "100", "--min-interval", "1h", "--gzip"];
    let mut command = dir.command("write", options);
    command.args(["--keep-uncompressed", "2"]);
    let mut writer = Writer::spawn(command);
    let lines: Vec<_> = (0..200).map(|number| format!("{number:07}")).collect();
    writer.send(&(lines.join("\n") + "\n"));
    writer.finish();
    let backups = dir.backups();
    let is_plain = |name: &String| !name.ends_with(".gz");
    assert_eq!(backups.iter().map(is_plain).collect::<Vec<_>>(), [false, true, true]);
    let bytes = std::fs::metadata(dir.file(&backups[1])).unwrap().len();
    assert_eq!(bytes, 400, "4 times the maximum size");
    assert_eq!(all(&dir), lines);
}

/// A time of the day in UTC, so many minutes from now.
fn time_of_day(minutes: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let minutes = (i64::try_from(now.as_secs() / 60).unwrap() + minutes).rem_euclid(24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[test]
fn day_begins_at_the_time_that_an_option_gives() {
    for (minutes, period, rotations) in
        [(-2, "--daily", 1), (20, "--daily", 0), (-2, "--every=24h", 1)]
    {
        let dir = Dir::new();
        std::fs::write(dir.log(), "old\n").unwrap();
        let changed = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 60);
        let log = std::fs::File::options().append(true).open(dir.log()).unwrap();
        log.set_modified(changed).unwrap();
        drop(log);
        let mut writer = Writer::start(&dir, [period, "--at", &time_of_day(minutes)]);
        writer.send("new\n");
        writer.finish();
        assert_eq!(dir.backups().len(), rotations, "{period} {minutes}");
        assert_eq!(all(&dir), ["old", "new"]);
    }
}

#[test]
fn wrong_periods_are_rejected_with_their_options() {
    let dir = Dir::new();
    for (options, said) in [
        (&["--at", "03:00"][..], "`rotate_at` = 03:00: it needs a period"),
        (&["--at", "03:00"], "`rotate_at` is from --at"),
        (&["--daily", "--at", "25:00"], "`rotate_at` = 25:00: use hours and minutes"),
        (&["--every", "90min"], "`rotate_every` = 90min: use minutely, hourly"),
        (&["--every", "200h"], "`rotate_every` = 200 hours: use 1 to 168 hours"),
        (&["--every", "6h", "--daily"], "cannot be used with"),
    ] {
        let output = dir.command("write", []).args(options).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(said), "{output:?}");
    }
    let output = dir.command("write", []).env("LOGROTOR_ROTATE_EVERY", "dayly").output().unwrap();
    assert!(text(&output.stderr).contains("= dayly: use minutely, hourly, daily"), "{output:?}");
}

#[test]
fn no_value_of_tz_causes_a_panic() {
    let long = "A".repeat(5000);
    for zone in
        ["", "<", "AAA+9999", "XXX-24YYY,0/0,365/167", "EST5EDT,M13.6.7", "/dev/null", &long]
    {
        let dir = Dir::new();
        let mut command = dir.command("write", ["--daily", "--max-size", "1KiB"]);
        let command = command.env("TZ", zone).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut write = command.spawn().unwrap();
        write.stdin.take().unwrap().write_all(&b"a record\n".repeat(500)).unwrap();
        let output = write.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{zone:.20}: {output:?}");
        assert!(dir.ok("ls", []).lines().count() > 4);
    }
}
