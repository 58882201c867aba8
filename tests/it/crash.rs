//! Workers that die: at every file operation in turn, at random, inside gzip.

use crate::scenario::{COUNT, Variant, acknowledged, take_over};
use crate::support::{Dir, Job, check, eventually, is_long, record, seed};
use logrotor::{Compression, Naming};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// Plays the scenario and strikes the child at operation `at`; `false` if it ended before that.
fn struck_at(at: usize, effect: &str, variant: Variant, with_second: bool) -> bool {
    let dir = Dir::new();
    let acknowledgements = tempfile::NamedTempFile::new().unwrap();
    let second = with_second.then(|| {
        let mut second = variant.open(&dir);
        second.write_all(record(2, 0).as_bytes()).unwrap();
        second
    });
    let job = variant
        .job("play", &dir.log())
        .with("worker", 1)
        .with("acknowledged", acknowledgements.path().display())
        .env("LOGROTOR_FAULT", format!("{at}:{effect}"));
    let ended_well = job.spawn().end();
    let acknowledged = acknowledged(acknowledgements.path());
    let unacknowledged = if variant.buffered { COUNT - acknowledged } else { 1 };
    take_over(&dir, variant, second, acknowledged, unacknowledged);
    !ended_well
}

/// The short form kills at every second operation. With a second worker it kills at the others.
fn killed_at_every_operation(with_second: bool) {
    for (turn, variant) in Variant::all().into_iter().enumerate() {
        let step = if is_long() { 1 } else { 2 };
        let mut at = 1 + (turn + usize::from(with_second)) % step;
        while struck_at(at, "kill", variant, with_second) {
            at += step;
        }
        println!("{variant}: killed at operations up to {}", at - step);
        // A scenario of fewer operations would not be the one described.
        assert!(at > 60, "{at}");
    }
}

#[test]
fn worker_killed_at_any_operation_costs_nothing() {
    killed_at_every_operation(false);
}

#[test]
fn worker_killed_at_any_operation_costs_a_second_worker_nothing() {
    killed_at_every_operation(true);
}

/// The lines as they would be without a death in the middle of a `write`. That record, which was
/// never acknowledged, ends where the process did, and the next one, of another worker, may follow
/// on the same line.
fn without_beginnings(lines: &[String]) -> (Vec<String>, usize) {
    let is_record = |line: &str| check(&[line.to_owned()], &BTreeMap::new()).extra == 1;
    let mut beginnings = 0;
    let mut whole = Vec::new();
    for line in lines {
        let starts = line.match_indices('w').map(|(at, _)| at);
        match starts.map(|at| &line[at..]).find(|rest| is_record(rest)) {
            Some(rest) => {
                beginnings += usize::from(rest.len() < line.len());
                whole.push(rest.to_owned());
            }
            None => beginnings += 1,
        }
    }
    (whole, beginnings)
}

/// Kills one of `workers` processes after the other, each once it has written some records, and
/// starts another in its place.
fn random_kills(
    random: &mut fastrand::Rng,
    workers: usize,
    max_size: usize,
    numbered: bool,
    kills: usize,
) {
    let (dir, aside) = (Dir::new(), Dir::new());
    let mut job = Job::new("acknowledge", &dir.log())
        .with("count", usize::MAX)
        .with("max_size", max_size)
        .with("gzip", 1);
    if numbered {
        job = job.with("numbered", 1);
    }
    let file = |worker: usize| aside.file(&worker.to_string());
    let start = |worker: usize| {
        job.clone().with("worker", worker).with("acknowledged", file(worker).display()).spawn()
    };
    let mut running: Vec<_> = (0..workers).map(|worker| (worker, start(worker))).collect();
    for next in workers..workers + kills {
        let victim = random.usize(..workers);
        let (worker, process) = &mut running[victim];
        let enough = 1 + random.usize(..400);
        let path = file(*worker);
        eventually("the victim has written some", || acknowledged(&path) >= enough);
        process.kill();
        running[victim] = (next, start(next));
    }
    for (_, process) in &mut running {
        process.expect("ready");
        process.kill();
    }
    let mut builder = dir.writer().max_size(max_size as u64).compression(Compression::Gzip);
    if numbered {
        builder = builder.naming(Naming::Number);
    }
    let mut fresh = builder.clone().build().unwrap();
    let all = workers + kills;
    fresh.write_all(record(all, 0).as_bytes()).unwrap();
    fresh.rotate().unwrap();
    fresh.close().unwrap();
    eventually("all that was left half done is finished", || {
        builder.clone().build().unwrap().close().unwrap();
        dir.names().len() == dir.backups().len() + 1
            && dir.backups().iter().all(|name| name.ends_with(".gz"))
    });
    let mut expected: BTreeMap<_, _> =
        (0..all).map(|worker| (worker, acknowledged(&file(worker)))).collect();
    expected.insert(all, 1);
    let (lines, beginnings) = without_beginnings(&dir.all_lines());
    let verdict = check(&lines, &expected);
    println!(
        "{workers} workers, {max_size} bytes, {} backups, {kills} kills: {verdict}, {beginnings} torn",
        dir.backups().len()
    );
    assert!(verdict.is_clean() && verdict.extra <= all && beginnings <= all, "{verdict}");
}

#[test]
fn random_kills_of_many_workers_cost_nothing_acknowledged() {
    let mut random = fastrand::Rng::with_seed(seed());
    let deadline = Instant::now() + Duration::from_secs(600);
    let mut round = 0;
    loop {
        let (workers, kills) = if is_long() { (4 + random.usize(..13), 300) } else { (4, 30) };
        let max_size = [10 * 1024, 100 * 1024, 1024 * 1024][round % 3];
        random_kills(&mut random, workers, max_size, round % 2 == 1, kills);
        round += 1;
        if if is_long() { Instant::now() > deadline } else { round == 2 } {
            return;
        }
    }
}

/// Text that gzip makes about half as long.
fn text(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 17);
    while text.len() < len {
        text.extend_from_slice(format!("{:016x}\n", random.u64(..)).as_bytes());
    }
    text
}

#[test]
fn gzip_killed_at_random_offsets_is_done_again_by_the_next() {
    let mut random = fastrand::Rng::with_seed(seed());
    let text = text(&mut random, 512 * 1024);
    let dir = Dir::new();
    let mut deaths = 0;
    let rounds = if is_long() { 1000 } else { 24 };
    for round in 0..rounds {
        let name = if round % 2 == 0 { "app.log.1" } else { "app.log.2026-11-20T23-57-01.123456Z" };
        std::fs::write(dir.file(name), &text).unwrap();
        // A file that was put there just now may not be complete yet.
        let planted = std::fs::File::options().append(true).open(dir.file(name)).unwrap();
        planted.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
        drop(planted);
        let mut job = Job::new("obey", &dir.log()).with("gzip", 1).with("inline", 1);
        if round % 2 == 0 {
            job = job.with("numbered", 1);
        }
        // The encoder writes about every 32 KiB; half of the write at which it dies is done.
        let at = 1 + random.usize(..10);
        let struck = job.clone().env("LOGROTOR_FAULT", format!("{at}/write:torn")).spawn();
        deaths += u32::from(!struck.end());
        assert!(!dir.file(&format!("{name}.gz")).exists() || !dir.file(name).exists());
        job.spawn().finish();
        assert_eq!(dir.names(), ["app.log", &format!("{name}.gz")]);
        assert_eq!(dir.read(&format!("{name}.gz")), text);
        std::fs::remove_file(dir.file(&format!("{name}.gz"))).unwrap();
    }
    println!("{deaths} deaths");
    assert!(deaths >= rounds / 3);
}
