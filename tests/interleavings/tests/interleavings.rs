//! Runs every scenario under thousands of schedules. Half of them choose evenly at each step, half
//! by PCT (Burckhardt et al., ASPLOS 2010), which finds faults that need few switches at rare
//! places. A failure prints its schedule, and `SHUTTLE_RANDOM_SEED` repeats a run.
//! `LOGROTOR_LONG=1` runs many more.

use logrotor_interleavings::scenarios::{
    Buffered, Committing, Direct, FAR, Overflow, RECORD, another_thread_waits_during_a_job,
    buffers_take_turns, job_closes_its_own_log, late_beside_a_write,
    logs_are_maintained_on_request, rotations_are_seen, two_requests_are_served_beside_each_other,
    who_writes, written_unasked,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};
use std::time::Duration;

const SHORT: usize = 3000;
const LONG: usize = 40_000;

fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    let schedules = if std::env::var_os("LOGROTOR_LONG").is_some() { LONG } else { SHORT };
    let mut config = Config::new();
    config.silence_warnings = true;
    // Far more steps than any scenario takes.
    config.max_steps = MaxSteps::FailAfter(50_000);
    Runner::new(RandomScheduler::new(schedules / 2), config.clone()).run(scenario.clone());
    Runner::new(PctScheduler::new(3, schedules / 2), config).run(scenario);
}

fn buffered(scenario: Buffered) {
    check(move || scenario.run());
}

const SOON: Duration = Duration::from_millis(20);

#[test]
fn records_are_neither_lost_nor_doubled_nor_disordered() {
    buffered(Buffered { producers: 3, ..Buffered::default() });
    buffered(Buffered { capacity: 3 * RECORD, flush_interval: SOON, ..Buffered::default() });
    buffered(Buffered { capacity: 1, records: 3, ..Buffered::default() });
    buffered(Buffered { producers: 1, longer: 3, capacity: 8, ..Buffered::default() });
}

#[test]
fn log_that_is_locked_leaves_the_writing_to_the_flusher() {
    let busy = Buffered { busy: true, records: 3, ..Buffered::default() };
    buffered(busy.clone());
    buffered(Buffered { capacity: 3 * RECORD, flushers: 1, ..busy.clone() });
    buffered(Buffered { overflow: Overflow::DropNewest, producers: 3, ..busy.clone() });
    for refused in [0..1, 1..2] {
        buffered(Buffered { refused, flushers: 1, ..busy.clone() });
    }
}

#[test]
fn lines_are_accepted_as_far_as_there_is_room() {
    buffered(Buffered { lines: true, records: 4, capacity: 3 * RECORD, ..Buffered::default() });
    buffered(Buffered { lines: true, flushers: 1, ..Buffered::default() });
}

#[test]
fn flush_returns_as_soon_as_all_before_it_is_written() {
    buffered(Buffered { flushers: 1, ..Buffered::default() });
    buffered(Buffered { producers: 1, flushers: 2, capacity: 100 * RECORD, ..Buffered::default() });
    let patience = Some(SOON);
    buffered(Buffered { flushers: 1, patience, flush_interval: SOON, ..Buffered::default() });
}

#[test]
fn dropped_records_are_counted_and_stated_in_their_place() {
    for overflow in [Overflow::DropNewest, Overflow::DropNewestSilently] {
        buffered(Buffered { overflow, producers: 3, ..Buffered::default() });
        buffered(Buffered { overflow, records: 3, flushers: 1, ..Buffered::default() });
        buffered(Buffered { overflow, lines: true, records: 4, ..Buffered::default() });
    }
}

#[test]
fn kernel_that_refuses_for_a_while_loses_no_accepted_record() {
    for refused in [0..1, 0..3, 1..2] {
        buffered(Buffered { refused: refused.clone(), records: 3, ..Buffered::default() });
        let scenario =
            Buffered { refused, flushers: 1, capacity: 2 * RECORD, ..Buffered::default() };
        buffered(scenario.clone());
        buffered(Buffered { overflow: Overflow::DropNewest, ..scenario });
    }
}

#[test]
fn kernel_that_always_refuses_does_not_keep_the_log_open() {
    for start in 0..3 {
        let refused = start..usize::MAX;
        buffered(Buffered { refused: refused.clone(), flushers: 1, ..Buffered::default() });
        let capacity = 3 * RECORD;
        let overflow = Overflow::DropNewest;
        buffered(Buffered { refused, capacity, overflow, ..Buffered::default() });
    }
}

#[test]
fn record_is_written_after_the_interval_or_at_half_a_buffer() {
    check(|| written_unasked(1, 100, SOON));
    check(|| written_unasked(4, 8, FAR));
    check(late_beside_a_write);
}

// Shows that the checks above can fail.
#[test]
#[should_panic(expected = "deadlock")]
fn record_that_no_thread_waits_for_stays() {
    check(|| written_unasked(1, 100, FAR));
}

#[test]
fn log_call_with_room_does_not_wait_for_the_kernel() {
    check(|| buffers_take_turns(2, 1));
    check(|| buffers_take_turns(4, 2));
}

fn direct(scenario: Direct) {
    check(move || scenario.run());
}

#[test]
fn records_beside_each_other_never_exceed_a_segment() {
    direct(Direct { writers: 3, records: 2, ..Direct::default() });
    direct(Direct { max_size: 3, ..Direct::default() });
    direct(Direct { max_size: 100, checks: true, ..Direct::default() });
    direct(Direct { checks: true, ..Direct::default() });
}

#[test]
fn record_that_is_torn_beside_others_is_completed() {
    for short in [&[0][..], &[1], &[1, 2], &[2, 3, 4]] {
        for max_size in [8, 100] {
            direct(Direct { short, max_size, ..Direct::default() });
            direct(Direct { short, max_size, refused: &[3], ..Direct::default() });
        }
    }
    direct(Direct { refused: &[0, 2, 3], checks: true, ..Direct::default() });
}

#[test]
fn record_beside_others_is_on_the_disk_once_it_is_committed() {
    for failing in [&[][..], &[0], &[1], &[0, 2]] {
        for max_size in [6, 100] {
            let (syncs, records) = (Some(failing), 2);
            direct(Direct { writers: 3, records, max_size, syncs, ..Direct::default() });
        }
    }
}

#[test]
fn slow_kernel_holds_up_one_log_call() {
    check(|| who_writes(2, Duration::from_millis(21)));
    check(|| who_writes(3, Duration::from_secs(2)));
}

#[test]
fn fast_kernel_needs_no_flusher() {
    check(|| who_writes(1, Duration::ZERO));
    check(|| who_writes(3, Duration::ZERO));
}

#[test]
fn record_that_is_committed_is_on_the_disk() {
    for failing in [&[][..], &[0], &[1], &[0, 1], &[0, 2]] {
        for rotations in [&[][..], &[2], &[3]] {
            let scenario = Committing { writers: 3, records: 2, rotations, failing };
            check(move || scenario.run());
        }
    }
}

#[test]
fn request_is_served_without_waiting_for_the_next_check() {
    for (logs, requests) in [(1, 1), (1, 3), (2, 1), (3, 2)] {
        check(move || logs_are_maintained_on_request(logs, requests));
    }
}

#[test]
fn requests_at_the_same_time_are_served_beside_each_other() {
    check(two_requests_are_served_beside_each_other);
}

#[test]
fn job_that_closes_its_own_log_ends_it_once() {
    for logs in 1..=2 {
        check(move || job_closes_its_own_log(logs));
    }
}

#[test]
fn record_after_a_report_is_in_the_new_segment() {
    for rotations in 1..=3 {
        check(move || rotations_are_seen(rotations));
    }
}

#[test]
fn reports_are_waited_for_while_the_only_thread_works() {
    check(another_thread_waits_during_a_job);
}
