//! The protocol keeps its promises in every state, and each part of it is needed.
//!
//! A part is needed if the protocol without it breaks a promise; the way there is printed.

use logrotor_model::check::check;
use logrotor_model::promises::*;
use logrotor_model::protocol::{Guard, Model, Naming};

/// Two workers that write 2 and 1 records of which each fills a segment; one backup is kept.
const TWO: Model = Model {
    naming: Naming::Timestamp,
    exchanges: true,
    writes: &[2, 1],
    maintainers: 0,
    full_at: 1,
    keep: 1,
    crashes: 0,
    faults: 0,
    without: None,
};
/// The same without links and exchange.
const RENAMES: Model = Model { exchanges: false, ..TWO };
/// The same, and a third that only maintains.
const THREE: Model = Model { writes: &[2, 1, 0], maintainers: 2, ..TWO };
/// One that writes, and another that maintains.
const APART: Model = Model { writes: &[3, 0], maintainers: 1, ..TWO };

const SMALL: [(&str, Model); 9] = [
    ("two workers, a fault", Model { faults: 1, ..TWO }),
    ("two workers, a crash", Model { crashes: 1, ..TWO }),
    (
        "two workers, a record each, a crash and a fault",
        Model { writes: &[1, 1], crashes: 1, faults: 1, ..TWO },
    ),
    ("two workers, larger segments", Model { writes: &[3, 2], full_at: 2, ..TWO }),
    ("two workers, no backup kept", Model { keep: 0, ..TWO }),
    ("two writers and a maintainer, a crash", Model { crashes: 1, ..THREE }),
    (
        "three writers, a crash and a fault",
        Model { writes: &[1, 1, 1], maintainers: 3, crashes: 1, faults: 1, ..TWO },
    ),
    ("a writer and two maintainers, a crash", Model { writes: &[2, 0, 0], crashes: 1, ..APART }),
    (
        "a writer and a maintainer, two crashes and a fault",
        Model { crashes: 2, faults: 1, ..APART },
    ),
];

const LARGE: [(&str, Model); 3] = [
    ("two workers, two crashes", Model { crashes: 2, ..TWO }),
    ("two workers, a crash and a fault", Model { crashes: 1, faults: 1, ..TWO }),
    ("three workers that do everything", Model { writes: &[1, 1, 1], ..TWO }),
];

fn holds(naming: Naming, exchanges: bool, worlds: &[(&str, Model)]) {
    let mut states = 0;
    for (name, model) in worlds {
        let report = check(&Model { naming, exchanges, ..*model }, None);
        println!("{naming:?}, exchanges: {exchanges}: {name}: {report}");
        assert!(report.broken.is_empty());
        states += report.states;
    }
    println!("{naming:?}, exchanges: {exchanges}: {states} states in all");
}

fn breaks(promise: &str, naming: Naming, guard: Guard, model: Model) {
    let report = check(&Model { naming, without: Some(guard), ..model }, Some(promise));
    let trace =
        report.trace(promise).unwrap_or_else(|| panic!("{guard:?} is not needed: {report}"));
    println!(
        "without {guard:?} ({naming:?}), after {} states, broken: {promise}\n{trace}",
        report.states
    );
}

// Each half by itself, so that two processors share them.

#[test]
fn protocol_holds_with_time_stamps() {
    holds(Naming::Timestamp, true, &SMALL);
}

#[test]
fn protocol_holds_with_time_stamps_without_exchange() {
    holds(Naming::Timestamp, false, &SMALL);
}

#[test]
fn protocol_holds_with_numbers() {
    holds(Naming::Number, true, &SMALL);
}

#[test]
fn protocol_holds_with_numbers_without_exchange() {
    holds(Naming::Number, false, &SMALL);
}

#[test]
#[ignore = "some minutes and 1.5 GB"]
fn protocol_holds_in_larger_worlds() {
    holds(Naming::Timestamp, true, &LARGE);
    holds(Naming::Timestamp, false, &LARGE);
}

#[test]
fn without_lease_a_record_is_appended_to_a_removed_backup() {
    breaks(LOST, Naming::Timestamp, Guard::Lease, TWO);
    breaks(LOST, Naming::Number, Guard::Lease, TWO);
}

#[test]
fn without_check_of_the_lease_a_record_goes_to_a_removed_backup() {
    breaks(LOST, Naming::Timestamp, Guard::OpenIdentity, Model { crashes: 1, ..RENAMES });
}

#[test]
fn without_look_after_locking_two_hold_the_lock() {
    breaks(ONE_HOLDER, Naming::Timestamp, Guard::LockIdentity, TWO);
    breaks(ONE_ROTATION, Naming::Timestamp, Guard::LockIdentity, TWO);
    breaks(LOST, Naming::Number, Guard::LockIdentity, TWO);
}

#[test]
fn without_second_look_a_new_segment_is_rotated_away() {
    breaks(ONE_ROTATION, Naming::Timestamp, Guard::SecondLook, TWO);
}

#[test]
fn without_second_look_a_worker_never_finds_a_log_that_is_gone() {
    breaks(LIVE, Naming::Timestamp, Guard::SecondLook, Model { crashes: 1, ..RENAMES });
}

#[test]
fn active_segment_that_is_a_backup_too_must_not_be_compressed() {
    for naming in [Naming::Timestamp, Naming::Number] {
        breaks(DOUBLED, naming, Guard::ActiveStays, Model { crashes: 1, ..TWO });
    }
}

#[test]
fn second_name_of_the_active_segment_goes_before_it_is_rotated() {
    breaks(DOUBLED, Naming::Timestamp, Guard::UndoLink, Model { crashes: 1, ..TWO });
    breaks(DOUBLED, Naming::Number, Guard::UndoLink, Model { crashes: 1, ..TWO });
}

#[test]
fn without_rename_back_a_failed_rotation_leaves_no_log() {
    breaks(PATH, Naming::Timestamp, Guard::RenameBack, Model { faults: 1, ..RENAMES });
}

#[test]
fn without_check_of_the_temporary_a_rotation_uses_a_removed_one() {
    breaks(PATH, Naming::Timestamp, Guard::TempIdentity, Model { faults: 1, ..RENAMES });
}

#[test]
fn without_look_after_locking_a_backup_a_pruned_one_comes_back() {
    breaks(DOUBLED, Naming::Timestamp, Guard::BackupIdentity, TWO);
}

#[test]
fn numbers_need_pairs_resolved_before_they_shift() {
    breaks(DOUBLED, Naming::Number, Guard::PairsFirst, Model { crashes: 1, ..TWO });
}

#[test]
fn numbers_need_the_lock_for_the_last_step_of_compression() {
    breaks(LOST, Naming::Number, Guard::CompressLocked, TWO);
}

#[test]
fn numbers_need_the_lock_to_discard_a_plain_backup() {
    breaks(LOST, Naming::Number, Guard::DiscardLocked, Model { crashes: 1, ..APART });
}

#[test]
fn numbers_need_the_lock_to_prune() {
    breaks(ONLY_FINISHED, Naming::Number, Guard::PruneLocked, Model { keep: 0, ..TWO });
}
