//! The fault hook: makes file operation number N fail, write short, pause or kill the process.
//!
//! Under the private feature `__test` every operation of [`fs`](crate::fs) is counted from 1, per
//! process. `LOGROTOR_FAULT` is a plan, `WHICH:EFFECT`:
//!
//! | which | operations |
//! |---|---|
//! | `7` | the seventh |
//! | `7+` | the seventh and every one after it |
//! | `7-9` | the seventh to the ninth |
//! | `7+/rename` | of the operations with this verb, which alone are counted, the seventh and every one after it |
//! | `7+/!append` | likewise, of the operations with any other verb |
//!
//! | effect | what happens there |
//! |---|---|
//! | `errno=28` | it fails with this errno |
//! | `short` | if it is a write, it takes half of the bytes |
//! | `torn` | if it is a write, it takes half of the bytes, and the process dies |
//! | `pause=FILE` | it creates `FILE.reached`, then waits until FILE exists |
//! | `kill` | the process dies before it, as by `kill -9` |
//!
//! Several plans are separated by `;`. They count the same operations, those of the first. All
//! faults end as soon as the file named by `LOGROTOR_FAULT_UNTIL` exists.
//! `LOGROTOR_FAULT_COUNT=FILE` appends a line to FILE for each operation counted: its number, its
//! verb, and ` !` if the plan struck it. Without the feature the functions are empty and are
//! compiled away.

#[cfg(not(feature = "__test"))]
use std::io;

/// Counts an operation that is about to happen, and injects its fault if there is one.
#[cfg(not(feature = "__test"))]
#[inline(always)]
pub(crate) fn step(_verb: &'static str) -> io::Result<()> {
    Ok(())
}

/// Like [`step`], for a write of `len` bytes; `write` gets the number of bytes to write.
#[cfg(not(feature = "__test"))]
#[inline(always)]
pub(crate) fn write_step(
    _verb: &'static str,
    len: usize,
    write: impl FnOnce(usize) -> io::Result<usize>,
) -> io::Result<usize> {
    write(len)
}

#[cfg(feature = "__test")]
pub(crate) use on::{step, write_step};

#[cfg(feature = "__test")]
mod on {
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static COUNT: AtomicU64 = AtomicU64::new(0);
    static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
        let plans = std::env::var("LOGROTOR_FAULT").unwrap_or_default();
        plans.split(';').filter(|text| !text.is_empty()).map(Plan::parse).collect()
    });
    static UNTIL: LazyLock<Option<PathBuf>> = LazyLock::new(|| path("LOGROTOR_FAULT_UNTIL"));
    static TRACE: LazyLock<Option<PathBuf>> = LazyLock::new(|| path("LOGROTOR_FAULT_COUNT"));

    fn path(variable: &str) -> Option<PathBuf> {
        std::env::var_os(variable).map(PathBuf::from)
    }

    struct Plan {
        verbs: Verbs,
        first: u64,
        last: u64,
        effect: Effect,
    }

    enum Verbs {
        All,
        Only(String),
        AllBut(String),
    }

    enum Effect {
        Errno(i32),
        Short,
        Torn,
        Pause(PathBuf),
        Kill,
    }

    impl Plan {
        /// A wrong plan would make a test pass without testing anything, so it ends the process.
        #[allow(clippy::panic, reason = "tests only: a plan that cannot be read must not pass")]
        fn parse(text: &str) -> Self {
            Self::read(text).unwrap_or_else(|| panic!("LOGROTOR_FAULT={text} is not WHICH:EFFECT"))
        }

        fn read(text: &str) -> Option<Self> {
            let (which, effect) = text.split_once(':')?;
            let (range, verbs) = match which.split_once('/') {
                None => (which, Verbs::All),
                Some((range, verb)) => match verb.strip_prefix('!') {
                    Some(verb) => (range, Verbs::AllBut(verb.to_owned())),
                    None => (range, Verbs::Only(verb.to_owned())),
                },
            };
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
                None => {
                    let first = range.trim_end_matches('+').parse().ok()?;
                    (first, if range.ends_with('+') { u64::MAX } else { first })
                }
            };
            let effect = match effect.split_once('=') {
                Some(("errno", code)) => Effect::Errno(code.parse().ok()?),
                Some(("pause", path)) => Effect::Pause(path.into()),
                None if effect == "short" => Effect::Short,
                None if effect == "torn" => Effect::Torn,
                None if effect == "kill" => Effect::Kill,
                _ => return None,
            };
            Some(Self { verbs, first, last, effect })
        }

        fn counts(&self, verb: &str) -> bool {
            match &self.verbs {
                Verbs::All => true,
                Verbs::Only(only) => verb == only,
                Verbs::AllBut(but) => verb != but,
            }
        }
    }

    pub(crate) fn step(verb: &'static str) -> io::Result<()> {
        match due(verb) {
            Some(Effect::Errno(code)) => Err(io::Error::from_raw_os_error(*code)),
            Some(Effect::Pause(gate)) => pause(gate),
            Some(Effect::Kill) => crate::sys::kill_self(),
            Some(Effect::Short | Effect::Torn) | None => Ok(()),
        }
    }

    pub(crate) fn write_step(
        verb: &'static str,
        len: usize,
        write: impl FnOnce(usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match due(verb) {
            Some(Effect::Errno(code)) => return Err(io::Error::from_raw_os_error(*code)),
            Some(Effect::Pause(gate)) => pause(gate)?,
            Some(Effect::Kill) => crate::sys::kill_self(),
            Some(Effect::Short) => return write(len / 2),
            Some(Effect::Torn) => {
                write(len / 2)?;
                crate::sys::kill_self();
            }
            None => {}
        }
        write(len)
    }

    fn due(verb: &'static str) -> Option<&'static Effect> {
        if !PLANS.first().is_none_or(|plan| plan.counts(verb)) {
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        let is_over = || UNTIL.as_ref().is_some_and(|until| until.exists());
        let is_struck = |plan: &&Plan| (plan.first..=plan.last).contains(&number);
        let struck = PLANS.iter().find(is_struck).filter(|_| !is_over());
        trace(number, verb, if struck.is_some() { " !" } else { "" });
        Some(&struck?.effect)
    }

    fn trace(number: u64, verb: &str, mark: &str) {
        if let Some(path) = TRACE.as_ref() {
            // Only here: without a trace, a record allocates nothing under this feature either.
            let line = format!("{number} {verb}{mark}\n");
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
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
