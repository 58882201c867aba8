//! The suite passes wherever it is started: in the background of a script, under `nohup`, in CI.
#![cfg(unix)]

use crate::support::eventually;
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::Once;

/// Sets the signal dispositions and limits that the tests rely on, once for this process.
///
/// A shell starts background jobs with SIGINT ignored and `nohup` ignores SIGHUP. Children inherit
/// an ignored signal, but not a handled one: `exec` resets that to its default action. A handler
/// that does nothing therefore ignores the signal here and in no child.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD, SIGUSR1, SIGUSR2, SIGXFSZ] {
            if is_ignored(signal) {
                signal_hook::flag::register(signal, Arc::default()).unwrap();
            }
        }
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    });
}

/// Whether this process ignores a signal. Only Linux reports it.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    mask >> (signal - 1) & 1 == 1
}

/// Runs tests of this binary in a shell that has run `setup`.
#[cfg(target_os = "linux")]
fn pass_after(setup: &str, tests: &[&str]) {
    let script = format!("{setup}\nexec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
    command.args(tests).arg("--exact").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut status = None;
    eventually("the tests end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let output = child.wait_with_output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(status.unwrap().success(), "{setup}: {report}");
    assert!(report.contains(&format!("{} passed", tests.len())), "{setup}: {report}");
}

#[cfg(target_os = "linux")]
#[test]
fn tests_of_signals_pass_where_signals_are_ignored() {
    pass_after(
        "trap '' HUP INT QUIT TERM CHLD USR1 USR2 XFSZ",
        &[
            "run::signals_are_forwarded",
            "run::signals_ignored_at_the_start_stay_ignored",
            "write::signal_to_end_in_mid_line_writes_the_beginning",
            "write::hangup_in_mid_line_reopens_the_log",
        ],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn tests_pass_with_few_files_closed_input_and_no_home() {
    pass_after(
        "ulimit -S -n 64; umask 077; export HOME=/nonexistent TZ=Pacific/Kiritimati; exec <&-",
        &[
            "run::both_outputs_go_to_one_log_in_order",
            "write::two_share_a_log",
            "ls::terminal_gets_a_table_and_colors_unless_declined",
            "maintenance::compress_compresses_backups_and_dry_run_only_lists_them",
            "policy::edit_publishes_valid_text_and_keeps_invalid_text",
        ],
    );
}
