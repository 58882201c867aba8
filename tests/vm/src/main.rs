//! `logrotor-vm power DIR SEED RELIEFS CUTS [FILE SYSTEM|KIND|PART/PARTS..]` and
//! `logrotor-vm network NAME DIR TIMES [COMMAND ARGUMENT..]`: see the library.

use logrotor_vm::kind::{Kind, Result};
use logrotor_vm::network::{self, HOLDS, take_lock};
use logrotor_vm::power::{FILE_SYSTEMS, FileSystem, Plan, test};
use logrotor_vm::server::{NETWORKS, Network};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["power", dir, seed, reliefs, cuts, ref only @ ..] => {
            power(dir, [seed, reliefs, cuts], only)
        }
        ["work", kind, dir, notes, process, first] => work(kind, dir, notes, [process, first]),
        ["network", name, dir, times] => promises_on(name, Path::new(dir), times),
        ["network", name, dir, _, ref command @ ..] => network_named(name).and_then(|network| {
            network.serve(Path::new(dir), |clients| network::run_on(&clients.one, command))
        }),
        ["append", dir, notes, worker, first] => append(dir, notes, [worker, first]),
        ["lock", path] => take_lock(Path::new(path)),
        _ => Err("see the head of src/main.rs".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn power(dir: &str, [seed, reliefs, cuts]: [&str; 3], only: &[&str]) -> Result<()> {
    let plan = Plan {
        dir: dir.into(),
        seed: seed.parse()?,
        reliefs: reliefs.parse()?,
        cuts: cuts.parse()?,
    };
    let is_meant = |name| only.is_empty() || only.contains(&name);
    let file_systems: Vec<FileSystem> =
        match FILE_SYSTEMS.into_iter().filter(|on| is_meant(on.name)) {
            some if some.clone().count() > 0 => some.collect(),
            _ => FILE_SYSTEMS.into(),
        };
    let kinds: Vec<_> = match Kind::ALL.into_iter().filter(|kind| is_meant(kind.name())) {
        some if some.clone().count() > 0 => some.collect(),
        _ => Kind::ALL.into(),
    };
    let all = file_systems.into_iter().flat_map(|on| kinds.iter().map(move |kind| (on, *kind)));
    let mut broken = 0;
    for (on, kind) in part_of(all, only)? {
        match test(&plan, on, kind) {
            Ok(said) => println!("{said}"),
            Err(why) => {
                broken += 1;
                println!("BROKEN: {why}");
            }
        }
    }
    if broken > 0 { Err(format!("{broken} promises broken").into()) } else { Ok(()) }
}

/// The tests that an argument such as `2/7` selects: the second of seven parts of all.
fn part_of<T>(all: impl Iterator<Item = T>, only: &[&str]) -> Result<Vec<T>> {
    let Some((part, parts)) = only.iter().find_map(|word| word.split_once('/')) else {
        return Ok(all.collect());
    };
    let (part, parts): (usize, usize) = (part.parse()?, parts.parse()?);
    let first = part.checked_sub(1).filter(|first| *first < parts).ok_or("no such part")?;
    Ok(all.skip(first).step_by(parts).collect())
}

fn work(kind: &str, dir: &str, notes: &str, [process, first]: [&str; 2]) -> Result<()> {
    let kind = Kind::of(kind).ok_or("no such kind")?;
    kind.work(Path::new(dir), Path::new(notes), process.parse()?, first.parse()?)
}

fn network_named(name: &str) -> Result<&'static Network> {
    Ok(NETWORKS.iter().find(|network| network.name == name).ok_or("no such network")?)
}

/// Checks each promise so many times.
fn promises_on(name: &str, dir: &Path, times: &str) -> Result<()> {
    let (network, times) = (network_named(name)?, times.parse()?);
    let mut broken = 0;
    network.serve(dir, |clients| {
        println!("{}", network::facts(&clients.one)?);
        for (number, (what, holds)) in HOLDS.iter().enumerate() {
            let mut failures = Vec::new();
            for time in 0..times {
                let dir = clients.one.join(format!("{number}-{time}"));
                std::fs::create_dir(&dir)?;
                failures.extend(holds(network, &dir).err());
            }
            match failures.first() {
                None => println!("holds: {what}"),
                Some(why) => {
                    broken += 1;
                    println!("BROKEN, {} of {times} times: {what}: {why}", failures.len());
                }
            }
        }
        let two = [&clients.one, &clients.other].map(|client| client.join("two"));
        let said = network::share_beyond_promise(&[&two[0], &two[1]])?;
        println!("two machines, which is not supported: {said}");
        if network.workers == 1 {
            let said = network::share_beyond_promise(&[clients.one.join("several").as_path(); 4])?;
            println!("several workers, which is not supported: {said}");
        }
        Ok(())
    })?;
    if broken > 0 { Err(format!("{broken} of {} broken", HOLDS.len()).into()) } else { Ok(()) }
}

fn append(dir: &str, notes: &str, [worker, first]: [&str; 2]) -> Result<()> {
    network::append(Path::new(dir), Path::new(notes), worker.parse()?, first.parse()?)
}
