//! File operations that fail: each in turn, once and for as long as it takes, with every errno.

use crate::scenario::{Variant, acknowledged, take_over};
use crate::support::{Dir, is_long};
use rustix::io::Errno;
use std::path::Path;

const ERRNOS: [Errno; 7] =
    [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::MFILE, Errno::INTR, Errno::STALE];

/// The child's account of its run.
#[derive(Debug)]
struct Account {
    refused: u64,
    returned: u64,
    failures: u64,
    torn: u64,
    closed: bool,
    /// The verb of the first operation that the fault struck; `None` if it struck none.
    struck: Option<String>,
}

/// Plays the scenario under the plan `which:effect`; all acknowledged records must exist at the
/// end.
fn play(at: usize, which: &str, effect: &str, variant: Variant) -> Account {
    let (dir, aside) = (Dir::new(), Dir::new());
    let (count, until, trace) = (aside.file("count"), aside.file("until"), aside.file("trace"));
    let job = variant
        .job("play", &dir.log())
        .with("worker", 1)
        .with("recover", 1)
        .with("acknowledged", count.display())
        .with("until", until.display())
        .env("LOGROTOR_FAULT_UNTIL", until.display())
        .env("LOGROTOR_FAULT_COUNT", trace.display())
        .env("LOGROTOR_FAULT", format!("{at}{which}:{effect}"));
    let mut child = job.spawn();
    let said = child.hear().unwrap_or_else(|| panic!("{at}{which}:{effect} {variant}: it died"));
    child.finish();
    let numbers: Vec<u64> = said.split(' ').map_while(|word| word.parse().ok()).collect();
    let [refused, returned, failures, torn] = numbers[..] else { panic!("{said}") };
    let closed = said.ends_with("closed");
    take_over(&dir, variant, None, acknowledged(&count), 0);
    Account { refused, returned, failures, torn, closed, struck: first_struck(&trace) }
}

fn first_struck(trace: &Path) -> Option<String> {
    let trace = std::fs::read_to_string(trace).unwrap();
    let struck = trace.lines().filter_map(|line| line.strip_suffix(" !")?.split_once(' '));
    // The lines of two threads may be in another order than their numbers.
    let first = struck.min_by_key(|(number, _)| number.parse::<usize>().unwrap());
    first.map(|(_, verb)| verb.to_owned())
}

/// Strikes at this operation with each errno. Returns whether the scenario has it.
fn struck_by(
    at: usize,
    which: &str,
    errnos: &[Errno],
    variant: Variant,
    check: &mut impl FnMut(&str, &Account),
) -> bool {
    let mut any = false;
    for errno in errnos {
        // A call that is always interrupted is retried without end.
        let some = format!("-{}{}", at + 20, which.trim_start_matches('+'));
        let is_endless = which.starts_with('+') && *errno == Errno::INTR;
        let which = if is_endless { &some } else { which };
        let effect = format!("errno={}", errno.raw_os_error());
        let account = play(at, which, &effect, variant);
        any |= account.struck.is_some();
        check(&format!("{at}{which}:{errno:?} {variant}: {account:?}"), &account);
    }
    any
}

/// Strikes at operation 1, 2, and so on, as long as the scenario has as many. Each operation fails
/// with one errno, the next with another; in the long form, one that fails once does so with
/// every errno. In the short form only every `stride`th is struck.
fn struck_at_every_operation(which: &str, stride: usize, mut check: impl FnMut(&str, &Account)) {
    for (turn, variant) in Variant::all().into_iter().enumerate() {
        let stride = if is_long() { 1 } else { stride };
        for at in (1 + turn % stride..).step_by(stride) {
            let chosen = (at / stride + turn) % ERRNOS.len();
            let is_every = is_long() && which.is_empty();
            let errnos = if is_every { &ERRNOS[..] } else { &ERRNOS[chosen..=chosen] };
            // A busy machine may leave a thread before its operation until the fault has ended.
            let any = (0..10).any(|_| struck_by(at, which, errnos, variant, &mut check));
            if !any {
                println!("{variant}: struck at operations 1 to {}", at - 1);
                assert!(at > 50, "{at}");
                break;
            }
        }
    }
}

/// Operations whose failure needs no report. The record was appended after all; or the operation
/// only helps (the true size, the owner's name in the lock file), or there is another way (a link,
/// a watch); or we may not remove the lock file, and it stays.
fn may_go_unreported(verb: Option<&str>) -> bool {
    const VERBS: [&str; 6] = ["append", "ask the offset of", "write", "remove", "link", "watch"];
    verb.is_none_or(|verb| VERBS.contains(&verb))
}

/// Whether the error is an answer and no failure: the file is not there any more, the lock is held
/// elsewhere, or a read that was interrupted is to be repeated.
fn is_answer(what: &str, verb: Option<&str>) -> bool {
    what.contains("StaleNetworkFileHandle")
        || (what.contains("Interrupted") && verb == Some("read"))
        || (what.contains("PermissionDenied") && verb.is_some_and(|verb| verb.ends_with("lock")))
}

#[test]
fn operation_that_fails_once_is_reported_and_costs_no_record() {
    struck_at_every_operation("", 2, |what, account| {
        let is_append = account.struck.as_deref() == Some("append");
        assert!(account.refused <= u64::from(is_append), "{what}");
        let all =
            account.refused + account.returned + account.failures + u64::from(!account.closed);
        let verb = account.struck.as_deref();
        assert!(all >= 1 || may_go_unreported(verb) || is_answer(what, verb), "{what}");
        // A failure returned by `rotate` or `close` may be counted as maintenance's as well.
        assert!(all <= 2, "{what}");
        assert_eq!(account.torn, 0, "{what}");
    });
}

#[test]
fn failing_operations_cost_no_record_and_few_reports() {
    // The records themselves are appended: all else fails, rotation first of all.
    struck_at_every_operation("+/!append", 3, |what, account| {
        assert_eq!(account.refused, 0, "{what}");
        assert!(
            account.returned + account.failures >= 1
                || may_go_unreported(account.struck.as_deref())
                || is_answer(what, account.struck.as_deref()),
            "{what}"
        );
        // Once per step of the delay, which doubles: a slow machine comes to a few more steps.
        assert!(account.returned + account.failures <= 16, "{what}");
        assert!(account.closed && account.torn == 0, "{what}");
    });
}

#[test]
fn refused_records_can_be_written_again_by_the_caller() {
    struck_at_every_operation("+", 3, |what, account| {
        assert!(account.returned + account.failures + account.refused <= 24, "{what}");
        assert!(account.closed && account.torn == 0, "{what}");
    });
}
