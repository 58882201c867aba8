//! `compress`, `prune` and `rotate`, alone and beside running workers.

use crate::support::{Dir, Worker, eventually, log_of_numbers, text, work};
use logrotor::{Compression, Config, Naming, RotatingFileWriter, policy};
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn compress_compresses_backups_and_dry_run_only_lists_them() {
    let dir = log_of_numbers(Compression::None);
    let (plain, before) = (dir.backups(), dir.ok("cat", []));
    let said = dir.ok("compress", ["--dry-run"]);
    assert_eq!(said.lines().count(), 3);
    assert!(said.starts_with(&format!("would compress\t{}\t3890\n", plain[0])), "{said}");
    assert_eq!(dir.backups(), plain);

    let said = dir.ok("compress", ["--zstd", "--level", "19"]);
    assert!(said.starts_with(&format!("compressed\t{}.zst\t3890\t", plain[0])), "{said}");
    let compressed: Vec<_> = plain.iter().map(|name| format!("{name}.zst")).collect();
    assert_eq!((dir.backups(), dir.ok("cat", [])), (compressed, before));
    assert_eq!(dir.ok("compress", []), "");
    let output = dir.run("compress", ["--gzip", "--level", "22"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("levels 1 to 9"), "{output:?}");
}

#[test]
fn compress_leaves_the_newest_backups_uncompressed() {
    let dir = log_of_numbers(Compression::None);
    let plain = dir.backups();
    let store = Config::policy().open_or_create(policy::path_beside(dir.log()), Config::default);
    store.unwrap().update(|config| config.keep_uncompressed = 2).unwrap();
    let said = dir.ok("compress", ["--dry-run"]);
    assert_eq!(said, format!("would compress\t{}\t3890\n", plain[0]), "as in the policy");
    let said = dir.ok("compress", ["--dry-run", "--keep-uncompressed", "3"]);
    assert_eq!(said, "", "the option goes before the policy");
    let expected = [format!("{}.gz", plain[0]), format!("{}.gz", plain[1]), plain[2].clone()];
    // At once, unless a process that another test is just starting has a copy of a lease.
    eventually("all but the newest are compressed", || {
        dir.run("compress", ["--keep-uncompressed", "1"]);
        dir.backups() == expected
    });
    let output = dir.run("compress", ["--keep-uncompressed", "x"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("`keep_uncompressed` = x"), "{output:?}");
    let seen = dir.json("stat", []);
    assert_eq!(seen["policy"]["settings"]["keep_uncompressed"], 2);
    assert!(dir.ok("stat", []).contains("keep_uncompressed\t2\n"));
}

#[test]
fn verbs_know_backups_with_the_time_before_the_extension() {
    let dir = Dir::new();
    let mut log = dir.writer();
    writeln!(log, "first").unwrap();
    let output = dir.json("rotate", ["--naming", "timestamp-infix"]);
    let backup = output["backup"].as_str().unwrap().rsplit(['/', '\\']).next().unwrap().to_owned();
    assert!(backup.starts_with("app.2") && backup.ends_with("Z.log"), "{backup}");
    log.reopen().unwrap();
    writeln!(log, "second").unwrap();
    let second = dir.json("rotate", []);
    assert!(second["backup"].as_str().unwrap().ends_with("Z.log"), "named like the newest");
    log.reopen().unwrap();
    writeln!(log, "third").unwrap();
    assert_eq!(dir.ok("cat", []), "first\nsecond\nthird\n");
    assert_eq!(dir.ok("ls", []).lines().count(), 3);
    // At once, unless a process that another test is just starting has a copy of a lease.
    eventually("both are compressed", || {
        dir.run("compress", []);
        dir.file(&format!("{backup}.gz")).exists() && !dir.file(&backup).exists()
    });
    eventually("the first is removed", || {
        dir.run("prune", ["--keep", "1"]);
        !dir.file(&format!("{backup}.gz")).exists()
    });
    assert_eq!(dir.ok("cat", []), "second\nthird\n");
    assert_eq!(dir.json("verify", [])["strays"], serde_json::json!([]));
    let output = dir.command("write", ["--infix", "--number"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "one form of names");
}

#[test]
fn prune_applies_limits_and_dry_run_only_lists_backups() {
    let dir = log_of_numbers(Compression::None);
    let all = dir.backups();
    let plan = dir.json("prune", ["--keep", "1", "-n"]);
    let planned: Vec<_> =
        plan.as_array().unwrap().iter().map(|action| action["path"].as_str().unwrap()).collect();
    assert!(planned.len() == 2 && planned[1].ends_with(&all[1]), "{plan}");
    assert_eq!(dir.backups(), all);
    // The active segment has 25 bytes.
    dir.ok("prune", ["--max-total", "10025 B"]);
    assert_eq!(dir.backups(), all[1..]);
    dir.ok("prune", ["--max-backup-age", "1 day"]);
    assert_eq!(dir.backups(), all[1..]);
    let done = dir.json("prune", ["--keep", "0"]);
    assert_eq!((done["actions"].as_array().unwrap().len(), dir.backups().len()), (2, 0));
}

// A file system that does not say how much room it has lost every backup.
#[cfg(all(unix, feature = "__test"))]
#[test]
fn regression_unknown_free_space_removes_no_backup() {
    let dir = log_of_numbers(Compression::None);
    let backups = dir.backups();
    let run = |verb, args: &[&str]| {
        let mut command = dir.command(verb, []);
        command.args(args).env("LOGROTOR_FAULT", "1+/ask the free space of:errno=38");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    assert!(run("stat", &[]).contains("free space\t-\n"));
    assert!(run("stat", &["--json"]).contains("\"free_bytes\": null"));
    assert_eq!(run("prune", &["--min-free", "1PiB"]), "");
    assert_eq!(dir.backups(), backups);
    run("compress", &[]);
    assert!(dir.backups().iter().all(|name| name.ends_with(".gz")), "{:?}", dir.backups());
}

#[test]
fn prune_takes_limits_from_the_policy_and_fails_without() {
    let dir = log_of_numbers(Compression::None);
    let output = dir.run("prune", []);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("it has no policy; use --keep N"), "{said}");
    let open = || Config::policy().open_or_create(policy::path_beside(dir.log()), Config::default);
    let store = open().unwrap();
    assert!(text(&dir.run("prune", []).stderr).contains("its policy sets none"));
    store.update(|config| config.max_backups = Some(2)).unwrap();
    let kept = dir.backups()[1..].to_vec();
    dir.ok("prune", []);
    assert_eq!(dir.backups(), kept);
    let wrong = dir.run("prune", ["--keep", "few"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn backups_in_use_are_skipped_and_reported() {
    let dir = log_of_numbers(Compression::None);
    let mut reader = logrotor::reader::LogReader::open(dir.log()).unwrap();
    reader.records().next().unwrap().unwrap();
    let output = dir.run("prune", ["--keep", "0"]);
    assert!(output.status.success());
    let said = text(&output.stderr);
    assert_eq!(said, "logrotor: skipped backups in use: 1; see `logrotor ls`\n");
    assert_eq!(dir.backups().len(), 1);
}

#[test]
fn rotate_names_the_backup_like_the_others() {
    for (naming, name) in [(Naming::Number, "app.log.1"), (Naming::Timestamp, "app.log.2")] {
        let dir = Dir::new();
        let mut log = RotatingFileWriter::builder(dir.log()).naming(naming).build().unwrap();
        writeln!(log, "one").unwrap();
        log.rotate().unwrap();
        writeln!(log, "two").unwrap();
        let said = dir.ok("rotate", []);
        assert!(said.contains(name), "{said}");
        let again = dir.run("rotate", []);
        assert!(again.status.success() && again.stdout.is_empty(), "{again:?}");
        assert!(text(&again.stderr).contains("is empty"), "{again:?}");
        writeln!(log, "three").unwrap();
        log.reopen().unwrap();
        writeln!(log, "four").unwrap();
        assert_eq!(dir.ok("cat", []), "one\ntwo\nthree\nfour\n");
        assert_eq!(dir.json("ls", []).as_array().unwrap().len(), 3);
    }
}

#[cfg(feature = "__test")]
#[test]
fn rotate_reports_that_it_cannot_maintain_the_backups() {
    let dir = Dir::new();
    writeln!(dir.writer(), "one").unwrap();
    // The first listing is for the naming, the second for what a crash has left.
    let mut command = dir.command("rotate", []);
    let output = command.env("LOGROTOR_FAULT", "3+/list:errno=5").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains(&dir.backups()[0]), "{output:?}");
    assert!(text(&output.stderr).contains("failed to list"), "{output:?}");
    assert_eq!((dir.backups().len(), dir.ok("cat", []).as_str()), (1, "one\n"));
}

#[test]
fn rotate_creates_no_log_where_only_backups_exist() {
    let dir = log_of_numbers(Compression::None);
    std::fs::remove_file(dir.log()).unwrap();
    let before = dir.names();
    let output = dir.run("rotate", []);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no active segment"), "{output:?}");
    assert_eq!(dir.names(), before);
}

#[test]
fn maintenance_by_hand_beside_workers_loses_no_record() {
    const WORKERS: u32 = 3;
    const RECORDS: u32 = 2000;
    let dir = Dir::new();
    writeln!(dir.writer(), "the first").unwrap();
    let workers: Vec<_> =
        (0..WORKERS).map(|name| Worker::start(&dir.log(), name, RECORDS)).collect();
    for round in 0..30 {
        for (verb, arg) in
            [("rotate", "--json"), ("compress", "--zstd"), ("prune", "--keep=100000")]
        {
            let output = dir.run(verb, [arg]);
            assert!(output.status.success(), "{round} {verb}: {output:?}");
        }
    }
    workers.into_iter().for_each(Worker::finish);
    let all = dir.ok("cat", []);
    let mut lines: Vec<_> = all.lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, work(0..WORKERS, RECORDS));
    dir.writer().close().unwrap();
    assert!(dir.ok("verify", []).ends_with("sound\n"));
}

/// The writes with which `compress` compresses three backups.
#[cfg(all(unix, feature = "__test"))]
fn writes_of_compress() -> usize {
    let dir = log_of_numbers(Compression::None);
    let mut command = dir.command("compress", []);
    command.env("LOGROTOR_FAULT_COUNT", dir.file("trace"));
    assert!(command.output().unwrap().status.success());
    let trace = std::fs::read_to_string(dir.file("trace")).unwrap();
    trace.lines().filter(|line| line.split(' ').nth(1) == Some("write")).count()
}

/// The signal arrives during the second of three backups.
#[cfg(all(unix, feature = "__test"))]
#[test]
fn interrupted_compress_leaves_no_partial_file() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::os::unix::process::ExitStatusExt;
    for signal in [Signal::INT, Signal::TERM] {
        let (dir, gates) = (log_of_numbers(Compression::None), Dir::new());
        let (plain, all) = (dir.backups(), dir.ok("cat", []));
        let second = writes_of_compress() / 3 + 1;
        let pause = format!("{second}/write:pause={}", gates.file("gate").display());
        let mut command = dir.command("compress", []);
        command.env("LOGROTOR_FAULT", pause).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        eventually("it compresses", || gates.file("gate.reached").exists());
        let first = format!("{}.gz", plain[0]);
        let mut after = plain.clone();
        after[0].clone_from(&first);
        let named = |name: &String| !name.contains(".tmp");
        let during: Vec<_> = dir.backups().into_iter().filter(named).collect();
        assert_eq!(during, after);
        kill_process(Pid::from_child(&child), signal).unwrap();
        std::fs::write(gates.file("gate"), "").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(signal.as_raw()), "{output:?}");
        assert!(text(&output.stdout).starts_with(&format!("compressed\t{first}\t3890\t")));
        assert_eq!((text(&output.stdout).lines().count(), output.stderr.len()), (1, 0));
        let names = [&["app.log".to_owned()], &after[..]].concat();
        assert_eq!((dir.names(), dir.ok("cat", [])), (names, all));
        assert!(dir.ok("verify", []).ends_with("sound\n"));
    }
}

#[test]
fn two_rotations_at_once_end_one_segment() {
    let dir = Dir::new();
    for round in 0..20 {
        writeln!(dir.writer(), "{round}").unwrap();
        let mut rotate = dir.command("rotate", []);
        rotate.stdout(Stdio::piped()).stderr(Stdio::piped());
        let both = [(); 2].map(|()| rotate.spawn().unwrap());
        let outputs = both.map(|child| child.wait_with_output().unwrap());
        let said = outputs.each_ref().map(|output| text(&output.stdout));
        assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
        assert_eq!(said.iter().filter(|said| said.is_empty()).count(), 1, "{outputs:?}");
        assert_eq!(dir.backups().len(), round + 1);
    }
    let all: String = (0..20).map(|round| format!("{round}\n")).collect();
    assert_eq!(dir.ok("cat", []), all);
}

#[test]
fn two_rotations_at_once_beside_a_writer_lose_no_record() {
    let dir = Dir::new();
    let is_over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writes = || {
            let builder = RotatingFileWriter::builder(dir.log()).check_interval(Duration::ZERO);
            let mut log = builder.build().unwrap();
            let numbers = (0..).take_while(|_| !is_over.load(Ordering::Relaxed));
            numbers.map(|number: usize| writeln!(log, "{number}").unwrap()).count()
        };
        let writer = scope.spawn(writes);
        eventually("it writes", || dir.log().exists());
        let rotate = || {
            let mut rotate = dir.command("rotate", []);
            rotate.stdout(Stdio::null()).stderr(Stdio::piped());
            let both = [(); 2].map(|()| rotate.spawn().unwrap());
            both.map(|child| child.wait_with_output().unwrap())
        };
        let outputs: Vec<_> = (0..20).flat_map(|_| rotate()).collect();
        // Before the first assertion, as the scope waits for the writer.
        is_over.store(true, Ordering::Relaxed);
        assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
        writer.join().unwrap()
    });
    let expected: String = (0..written).map(|number| format!("{number}\n")).collect();
    assert!(dir.ok("cat", []) == expected);
    let backups = dir.backups();
    assert!(backups.len() > 1, "{backups:?}");
    assert!(backups.iter().all(|name| std::fs::metadata(dir.file(name)).unwrap().len() > 0));
}
