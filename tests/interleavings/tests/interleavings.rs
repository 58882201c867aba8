//! Every scenario under thousands of schedules: half of them drawn evenly at each step, half by PCT
//! (Burckhardt et al., ASPLOS 2010), which finds what needs few switches at rare places.
//! A failure prints its schedule; `SHUTTLE_RANDOM_SEED` repeats a run. `LOGROTOR_LONG=1` takes many more.

use logrotor_interleavings::scenarios::{
    Buffered, Committing, FAR, Overflow, RECORD, buffers_take_turns,
    wakeup_wakes_the_waiting_thread, written_unasked,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};
use std::time::Duration;

const SHORT: usize = 3000;
const LONG: usize = 400_000;

fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    let schedules = if std::env::var_os("LOGROTOR_LONG").is_some() { LONG } else { SHORT };
    let mut config = Config::new();
    config.silence_warnings = true;
    // Far more than any of them takes to end.
    config.max_steps = MaxSteps::FailAfter(50_000);
    Runner::new(RandomScheduler::new(schedules / 2), config.clone()).run(scenario.clone());
    Runner::new(PctScheduler::new(3, schedules / 2), config).run(scenario);
}

fn buffered(scenario: Buffered) {
    check(move || scenario.run());
}

const SOON: Duration = Duration::from_millis(20);

#[test]
fn nothing_is_lost_doubled_or_disordered_and_nobody_waits_for_ever() {
    buffered(Buffered { producers: 3, ..Buffered::default() });
    buffered(Buffered { capacity: 3 * RECORD, flush_interval: SOON, ..Buffered::default() });
    buffered(Buffered { capacity: 1, records: 3, ..Buffered::default() });
    buffered(Buffered { producers: 1, longer: 3, capacity: 8, ..Buffered::default() });
}

#[test]
fn lines_are_taken_as_many_as_there_is_room_for() {
    buffered(Buffered { lines: true, records: 4, capacity: 3 * RECORD, ..Buffered::default() });
    buffered(Buffered { lines: true, flushers: 1, ..Buffered::default() });
}

#[test]
fn flush_returns_when_all_before_is_written_and_not_later() {
    buffered(Buffered { flushers: 1, ..Buffered::default() });
    buffered(Buffered { producers: 1, flushers: 2, capacity: 100 * RECORD, ..Buffered::default() });
    let patience = Some(SOON);
    buffered(Buffered { flushers: 1, patience, flush_interval: SOON, ..Buffered::default() });
}

#[test]
fn dropped_records_are_counted_and_told_in_their_place() {
    for overflow in [Overflow::DropNewest, Overflow::DropNewestSilently] {
        buffered(Buffered { overflow, producers: 3, ..Buffered::default() });
        buffered(Buffered { overflow, records: 3, flushers: 1, ..Buffered::default() });
        buffered(Buffered { overflow, lines: true, records: 4, ..Buffered::default() });
    }
}

#[test]
fn kernel_that_refuses_for_a_while_costs_no_record_that_was_acknowledged() {
    for refused in [0..1, 0..3, 1..2] {
        buffered(Buffered { refused: refused.clone(), records: 3, ..Buffered::default() });
        let scenario =
            Buffered { refused, flushers: 1, capacity: 2 * RECORD, ..Buffered::default() };
        buffered(scenario.clone());
        buffered(Buffered { overflow: Overflow::DropNewest, ..scenario });
    }
}

#[test]
fn kernel_that_refuses_for_ever_does_not_keep_the_log_from_closing() {
    for start in 0..3 {
        let refused = start..usize::MAX;
        buffered(Buffered { refused: refused.clone(), flushers: 1, ..Buffered::default() });
        let capacity = 3 * RECORD;
        let overflow = Overflow::DropNewest;
        buffered(Buffered { refused, capacity, overflow, ..Buffered::default() });
    }
}

#[test]
fn record_is_written_when_the_interval_ends_or_half_of_the_buffer_is_full() {
    check(|| written_unasked(1, 100, SOON));
    check(|| written_unasked(4, 8, FAR));
}

// That the checks above can fail at all.
#[test]
#[should_panic(expected = "deadlock")]
fn record_that_nobody_waits_for_is_seen_to_stay() {
    check(|| written_unasked(1, 100, FAR));
}

#[test]
fn log_call_does_not_wait_for_the_kernel_while_there_is_room() {
    check(|| buffers_take_turns(2, 1));
    check(|| buffers_take_turns(4, 2));
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
fn signal_that_is_raised_is_seen_without_waiting_for_the_next_look() {
    for notifiers in 1..=3 {
        check(move || wakeup_wakes_the_waiting_thread(notifiers, None));
        check(move || wakeup_wakes_the_waiting_thread(notifiers, Some(SOON)));
    }
}
