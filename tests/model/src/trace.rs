//! A path through the states, for humans.

use crate::Event;
use crate::disk::{Flock, Name, Records};
use crate::protocol::{Model, PER_WORKER, Step, Task};
use crate::world::State;
use std::fmt::Write;

/// One line per event: the worker, the call and its outcome; then the directory, if it changed.
pub(crate) fn print(model: &Model, events: &[Event]) -> String {
    let mut state = State::first(model);
    let mut text = String::new();
    let mut shown = directory(&state);
    for &event in events {
        let (next, outcome) = model.after(&state, event);
        let mut before = state;
        let line = match event {
            Event::Begins(w, job) => {
                before.begin(model, w.into(), job);
                format!("worker {w}  {:<50}({job:?})", call(&before, w.into()))
            }
            Event::Goes(w) | Event::Fails(w) => {
                format!("worker {w}  {:<50}", call(&before, w.into()))
            }
            Event::Crashes(w) => format!("worker {w}  CRASHES; a fresh one takes its place"),
            Event::Intrudes => "other     creates app.log".to_owned(),
        };
        let line = if outcome.is_empty() { line } else { format!("{line} -> {outcome}") };
        writeln!(text, "  {}", line.trim_end()).expect("BUG: a string takes all");
        state = next;
        let now = directory(&state);
        if now != shown {
            writeln!(text, "            | {now}").expect("BUG: a string takes all");
            shown = now;
        }
    }
    text
}

fn call(state: &State, w: usize) -> String {
    let me = &state.workers[w];
    let held = me.segment.map(|s| s.file);
    let segment = match Name::all().find(|&n| held.is_some() && state.disk.stat(n) == held) {
        Some(n) => name(n),
        None => "a file that has no name".to_owned(),
    };
    let target = me.target.map_or_else(|| "-".to_owned(), name);
    let temp = me.temp_name().map_or_else(|| "-".to_owned(), name);
    let backup = match me.target {
        Some(Name::Plain(n)) => name(Name::Gz(n)),
        _ => "-".to_owned(),
    };
    match me.step {
        Step::Idle => "is idle".into(),
        Step::OpenLog => "open app.log".into(),
        Step::LeaseLog => "flock shared".into(),
        Step::CheckLog => "stat app.log: is it what we opened?".into(),
        Step::Append => format!("append {} to {segment}", record(state, w)),
        Step::OpenLock => "open app.log.lock, creating it".into(),
        Step::TryLock => "flock exclusive".into(),
        Step::CheckLock => "stat app.log.lock: is it what we locked?".into(),
        Step::CreateLog => "create app.log".into(),
        Step::SecondLook => "stat app.log: is it still our segment?".into(),
        Step::CreateTemp => "create a temporary".into(),
        Step::LeaseTemp => format!("flock shared {temp}"),
        Step::CheckTemp => format!("stat {temp}: is it ours?"),
        Step::ChooseName => "list: choose the backup's name".into(),
        Step::Shift => "rename a numbered backup, if 1 is taken".into(),
        Step::UndoLink => "unlink the backup's name of app.log".to_owned(),
        Step::LinkToBackup => format!("link app.log -> {target}"),
        Step::Exchange => format!("exchange {temp} <-> app.log"),
        Step::RemoveOld => format!("unlink {temp}"),
        Step::RenameToBackup => format!("rename app.log -> {target}"),
        Step::RenameToLog => format!("rename {temp} -> app.log"),
        Step::RenameBack => format!("rename {target} -> app.log"),
        Step::RemoveTemp => format!("unlink {temp}"),
        Step::RemoveLock => "unlink app.log.lock".into(),
        Step::CloseLock => match me.task {
            Task::Adopt => "close app.log.lock and the old segment".into(),
            _ => "close app.log.lock".into(),
        },
        Step::OpenTarget => format!("open {target}"),
        Step::TryTarget => "flock exclusive".into(),
        Step::CheckTarget => format!("stat {target}: is it what we locked?"),
        Step::LookForGz => format!("stat {backup}"),
        Step::WriteGz => format!("read what {target} was opened as, write {temp}"),
        Step::FindName => "list: find the backup's present name".into(),
        Step::RenameToGz => format!("rename {temp} -> {backup}"),
        Step::PickOldest => "list: find the oldest backup".into(),
        Step::Remove => format!("unlink {target}"),
        Step::Close => "close".into(),
    }
}

fn name(name: Name) -> String {
    match name {
        Name::Log => "app.log".into(),
        Name::Lock => "app.log.lock".into(),
        Name::Temp(k) => format!("temp{k}"),
        Name::Plain(n) => format!("app.log.{n}"),
        Name::Gz(n) => format!("app.log.{n}.gz"),
    }
}

/// The next record of a worker; `a1` is worker 0's first.
fn record(state: &State, w: usize) -> String {
    let own = (state.acknowledged & crate::protocol::of_worker(w)).count_ones() as usize;
    records(1 << (w * PER_WORKER + own))
}

fn records(set: Records) -> String {
    let letter = |r: usize| char::from(b"abcd"[r / PER_WORKER]);
    (0..16).filter(|r| set & (1 << r) != 0).fold(String::new(), |text, r| {
        let sep = if text.is_empty() { "" } else { " " };
        format!("{text}{sep}{}{}", letter(r), r % PER_WORKER + 1)
    })
}

/// Each name with its content, and the holders of its lease or lock.
fn directory(state: &State) -> String {
    let mut text = String::new();
    for n in Name::all() {
        let Some(file) = state.disk.stat(n) else { continue };
        let content = state.disk.file(file);
        let holders = state.workers.iter().enumerate().flat_map(|(w, worker)| {
            worker.handles().filter(move |h| h.file == file).filter_map(move |h| match h.flock {
                Flock::Unlocked => None,
                Flock::Shared => Some(format!(" shared:{w}")),
                Flock::Exclusive => Some(format!(" exclusive:{w}")),
            })
        });
        let holders: String = holders.collect();
        write!(text, "{}[{}]{holders}  ", name(n), records(content.records))
            .expect("BUG: a string takes all");
    }
    if state.pruned != 0 {
        write!(text, "pruned[{}]", records(state.pruned)).expect("BUG: a string takes all");
    }
    text.trim_end().to_owned()
}
