//! `logrotor-vm power DIR SEED RELIEFS CUTS [FILE SYSTEM|KIND..]` and
//! `logrotor-vm nfs DIR [COMMAND ARGUMENT..]`: see the library.

use logrotor_vm::kind::{Kind, Result};
use logrotor_vm::nfs::{self, HOLDS, serve, take_lock};
use logrotor_vm::power::{FILE_SYSTEMS, FileSystem, Plan, test};
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
        ["nfs", dir] => nfs(Path::new(dir)),
        ["nfs", dir, ref command @ ..] => {
            serve(Path::new(dir), |clients| nfs::run_on(&clients.one, command))
        }
        ["nfs-append", dir, notes, worker, first] => append(dir, notes, [worker, first]),
        ["nfs-lock", path] => take_lock(Path::new(path)),
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
    let mut broken = 0;
    for on in file_systems {
        for kind in &kinds {
            match test(&plan, on, *kind) {
                Ok(said) => println!("{said}"),
                Err(why) => {
                    broken += 1;
                    println!("BROKEN: {why}");
                }
            }
        }
    }
    if broken > 0 { Err(format!("{broken} promises broken").into()) } else { Ok(()) }
}

fn work(kind: &str, dir: &str, notes: &str, [process, first]: [&str; 2]) -> Result<()> {
    let kind = Kind::of(kind).ok_or("no such kind")?;
    kind.work(Path::new(dir), Path::new(notes), process.parse()?, first.parse()?)
}

fn nfs(dir: &Path) -> Result<()> {
    let mut broken = 0;
    serve(dir, |clients| {
        println!("{}", nfs::facts(&clients.one)?);
        for (number, (what, holds)) in HOLDS.iter().enumerate() {
            let dir = clients.one.join(number.to_string());
            std::fs::create_dir(&dir)?;
            match holds(&dir) {
                Ok(()) => println!("holds: {what}"),
                Err(why) => {
                    broken += 1;
                    println!("BROKEN: {what}: {why}");
                }
            }
        }
        println!("two machines, which is not supported: {}", nfs::two_machines(clients)?);
        Ok(())
    })?;
    if broken > 0 { Err(format!("{broken} of {} broken", HOLDS.len()).into()) } else { Ok(()) }
}

fn append(dir: &str, notes: &str, [worker, first]: [&str; 2]) -> Result<()> {
    nfs::append(Path::new(dir), Path::new(notes), worker.parse()?, first.parse()?)
}
