//! The fault hook: makes file operation number N fail, write short, pause or kill the process.
//!
//! Under feature `fault` (tests only) every operation of [`fs`](crate::fs) is counted from 1, per
//! process. `LOGROTOR_FAULT` picks one, or with a `+` all from it on, and what happens there:
//!
//! | value | effect |
//! |---|---|
//! | `7:errno=28` | operation 7 fails with errno 28 |
//! | `7+:errno=28` | so does every one after it |
//! | `7:short` | if operation 7 is a write, it takes half of the bytes |
//! | `7:pause=FILE` | operation 7 waits until FILE exists; `FILE.reached` is made first |
//! | `7:kill` | the process dies before operation 7, as by `kill -9` |
//!
//! `LOGROTOR_FAULT_COUNT=FILE` appends each operation's number and verb to FILE.
//! Without the feature the functions are empty and are compiled away.

#[cfg(not(feature = "fault"))]
use std::io;

/// Counts an operation that is about to happen, and injects the fault if it is the one.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub(crate) fn step(_verb: &'static str) -> io::Result<()> {
    Ok(())
}

/// As [`step`], for a write of `len` bytes: returns how many it may take.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub(crate) fn write_step(len: usize) -> io::Result<usize> {
    Ok(len)
}

#[cfg(feature = "fault")]
pub(crate) use on::{step, write_step};

#[cfg(feature = "fault")]
mod on {
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static COUNT: AtomicU64 = AtomicU64::new(0);
    static PLAN: LazyLock<Option<Plan>> =
        LazyLock::new(|| std::env::var("LOGROTOR_FAULT").ok().map(|text| Plan::parse(&text)));
    static TRACE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("LOGROTOR_FAULT_COUNT").map(PathBuf::from));

    struct Plan {
        first: u64,
        last: u64,
        fault: Fault,
    }

    enum Fault {
        Errno(i32),
        Short,
        Pause(PathBuf),
        Kill,
    }

    impl Plan {
        /// A wrong plan would make a test pass for nothing, so it ends the process.
        #[allow(clippy::panic, reason = "tests only: a plan that cannot be read must not pass")]
        fn parse(text: &str) -> Self {
            let read = || {
                let (at, what) = text.split_once(':')?;
                let first = at.trim_end_matches('+').parse().ok()?;
                let last = if at.ends_with('+') { u64::MAX } else { first };
                let fault = match what.split_once('=') {
                    Some(("errno", code)) => Fault::Errno(code.parse().ok()?),
                    Some(("pause", path)) => Fault::Pause(path.into()),
                    None if what == "short" => Fault::Short,
                    None if what == "kill" => Fault::Kill,
                    _ => return None,
                };
                Some(Self { first, last, fault })
            };
            read().unwrap_or_else(|| panic!("LOGROTOR_FAULT={text} is not N[+]:FAULT"))
        }
    }

    pub(crate) fn step(verb: &'static str) -> io::Result<()> {
        match due(verb) {
            Some(Fault::Errno(code)) => Err(io::Error::from_raw_os_error(*code)),
            Some(Fault::Pause(gate)) => pause(gate),
            Some(Fault::Kill) => crate::sys::kill_self(),
            Some(Fault::Short) | None => Ok(()),
        }
    }

    pub(crate) fn write_step(len: usize) -> io::Result<usize> {
        match due("write") {
            Some(Fault::Short) => Ok(len / 2),
            Some(Fault::Errno(code)) => Err(io::Error::from_raw_os_error(*code)),
            Some(Fault::Pause(gate)) => pause(gate).map(|()| len),
            Some(Fault::Kill) => crate::sys::kill_self(),
            None => Ok(len),
        }
    }

    fn due(verb: &'static str) -> Option<&'static Fault> {
        let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        trace(number, verb);
        let plan = PLAN.as_ref()?;
        (plan.first..=plan.last).contains(&number).then_some(&plan.fault)
    }

    fn trace(number: u64, verb: &str) {
        if let Some(path) = TRACE.as_ref() {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let _ =
                file.and_then(|mut file| file.write_all(format!("{number} {verb}\n").as_bytes()));
        }
    }

    fn pause(gate: &Path) -> io::Result<()> {
        let mut reached = gate.as_os_str().to_owned();
        reached.push(".reached");
        std::fs::write(reached, b"")?;
        while !gate.exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }
}
