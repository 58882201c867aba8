//! `slog`: drains that own a writer.

use super::Plugged;
use crate::say;
use logrotor::RotatingFileWriter;
use slog::{Drain, Logger, Never, SendSyncRefUnwindSafeDrain, SendSyncUnwindSafeDrain, o};
use std::io::Write;
use std::panic::UnwindSafe;
use std::sync::Mutex;

fn plugged<D>(drain: D) -> Plugged
where
    D: SendSyncRefUnwindSafeDrain<Err = Never, Ok = ()>
        + SendSyncUnwindSafeDrain<Err = Never, Ok = ()>
        + 'static,
{
    let root = Logger::root(drain, o!());
    Plugged::new(move |event| say!(event, slog, root))
}

/// A drain with a writer of its own, behind a lock.
fn locked<D>(drain: D) -> Plugged
where
    D: Drain<Ok = ()> + Send + UnwindSafe + 'static,
    D::Err: std::fmt::Debug,
{
    plugged(Mutex::new(drain).map(slog::Fuse))
}

fn in_background<D>(drain: D) -> Plugged
where
    D: Drain<Ok = ()> + Send + 'static,
    D::Err: std::fmt::Debug,
{
    let (drain, guard) = slog_async::Async::new(drain.fuse())
        .chan_size(64)
        .overflow_strategy(slog_async::OverflowStrategy::Block)
        .build_with_guard();
    plugged(drain.fuse()).with_guard(guard)
}

pub(super) fn json(log: RotatingFileWriter) -> Plugged {
    locked(slog_json::Json::default(log))
}

pub(super) fn json_lines(log: RotatingFileWriter) -> Plugged {
    locked(slog_json::Json::default(log.lines()))
}

pub(super) fn json_async(log: RotatingFileWriter) -> Plugged {
    in_background(slog_json::Json::default(log))
}

pub(super) fn json_async_lines(log: RotatingFileWriter) -> Plugged {
    in_background(slog_json::Json::default(log.lines()))
}

pub(super) fn bunyan(log: RotatingFileWriter) -> Plugged {
    locked(slog_bunyan::with_name("app", log).build())
}

pub(super) fn bunyan_lines(log: RotatingFileWriter) -> Plugged {
    locked(slog_bunyan::with_name("app", log.lines()).build())
}

fn with_plain(output: impl Write + Send + UnwindSafe + 'static) -> Plugged {
    let decorator = slog_term::PlainDecorator::new(output);
    locked(slog_term::FullFormat::new(decorator).build())
}

pub(super) fn plain(log: RotatingFileWriter) -> Plugged {
    with_plain(log)
}

pub(super) fn plain_lines(log: RotatingFileWriter) -> Plugged {
    with_plain(log.lines())
}

pub(super) fn plain_sync(log: RotatingFileWriter) -> Plugged {
    use slog_term::PlainSyncDecorator;
    let decorator = PlainSyncDecorator::new(log);
    plugged(slog_term::FullFormat::new(decorator).build().fuse())
}
