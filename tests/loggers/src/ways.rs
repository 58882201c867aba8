//! The ways to plug the log into a logger, one function each.

mod log_crate;
mod slog_crate;
mod tracing_crate;
mod values;

use crate::event::Event;
use logrotor::RotatingFileWriter;
use std::any::Any;

/// The writer that a logger is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// The log itself.
    Log,
    /// `log.lines()`.
    Lines,
    /// `log.record()` for each event.
    Record,
}

/// One way to plug the log into a logger.
pub struct Way {
    pub name: &'static str,
    pub given: Given,
    /// Whether the documentation names it, so that each event must be one record.
    pub is_documented: bool,
    pub plug: fn(RotatingFileWriter) -> Plugged,
}

impl Way {
    pub fn title(&self) -> String {
        let given = match self.given {
            Given::Log => "log",
            Given::Lines => "lines",
            Given::Record => "record",
        };
        format!("{} ({given})", self.name)
    }
}

/// A logger that writes to the log.
pub struct Plugged {
    pub write: Box<dyn Fn(&Event) + Send + Sync>,
    /// Waits for what the logger holds back when it is dropped.
    pub guard: Box<dyn Any>,
}

impl Plugged {
    fn new(write: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self { write: Box::new(write), guard: Box::new(()) }
    }

    fn with_guard(self, guard: impl Any) -> Self {
        Self { guard: Box::new(guard), ..self }
    }
}

macro_rules! ways {
    ($($name:literal $given:ident $documented:ident $plug:path;)+) => {
        pub const WAYS: &[Way] = &[$(Way {
            name: $name,
            given: Given::$given,
            is_documented: stringify!($documented).len() == "yes".len(),
            plug: $plug,
        },)+];
    };
}

ways! {
    "tracing-subscriber full" Log yes tracing_crate::full;
    "tracing-subscriber compact" Log yes tracing_crate::compact;
    "tracing-subscriber pretty" Log yes tracing_crate::pretty;
    "tracing-subscriber json" Log yes tracing_crate::json;
    "tracing-subscriber full" Lines yes tracing_crate::full_lines;
    "tracing-appender non_blocking" Log yes tracing_crate::non_blocking;
    "tracing-bunyan-formatter" Log yes tracing_crate::bunyan;
    "tracing-tree" Log yes tracing_crate::tree;
    "tracing-forest" Log yes tracing_crate::forest;
    "tracing-logfmt" Log yes tracing_crate::logfmt;
    "tracing-stackdriver" Log yes tracing_crate::stackdriver;
    "tracing-glog" Log yes tracing_crate::glog;
    "json-subscriber" Log yes tracing_crate::json_subscriber;
    "tracing, a layer of its own that writes in pieces" Log yes tracing_crate::pieces;
    "env_logger" Log yes log_crate::env_logger;
    "env_logger" Lines no log_crate::env_logger_lines;
    "pretty_env_logger" Log yes log_crate::pretty_env_logger;
    "fern" Log yes log_crate::fern;
    "fern" Lines no log_crate::fern_lines;
    "structured-logger" Log yes log_crate::structured;
    "ftlog" Log yes log_crate::ftlog;
    "logforth" Log yes log_crate::logforth;
    "fast_log" Log yes log_crate::fast_log;
    "simplelog" Log no log_crate::simplelog;
    "simplelog" Lines yes log_crate::simplelog_lines;
    "log4rs pattern" Log no log_crate::log4rs_pattern;
    "log4rs pattern" Lines no log_crate::log4rs_pattern_lines;
    "log4rs pattern" Record yes log_crate::log4rs_pattern_record;
    "log4rs json" Log no log_crate::log4rs_json;
    "log4rs json" Lines no log_crate::log4rs_json_lines;
    "log4rs json" Record yes log_crate::log4rs_json_record;
    "flexi_logger" Log no log_crate::flexi;
    "flexi_logger" Lines no log_crate::flexi_lines;
    "flexi_logger" Record yes log_crate::flexi_record;
    "slog-json" Log no slog_crate::json;
    "slog-json" Lines yes slog_crate::json_lines;
    "slog-json with slog-async" Log no slog_crate::json_async;
    "slog-json with slog-async" Lines yes slog_crate::json_async_lines;
    "slog-bunyan" Log no slog_crate::bunyan;
    "slog-bunyan" Lines yes slog_crate::bunyan_lines;
    "slog-term PlainDecorator" Log no slog_crate::plain;
    "slog-term PlainDecorator" Lines no slog_crate::plain_lines;
    "slog-term PlainSyncDecorator" Log yes slog_crate::plain_sync;
    "serde_json" Log no values::json;
    "serde_json" Lines yes values::json_lines;
    "serde_json pretty" Log no values::pretty;
    "serde_json pretty" Lines no values::pretty_lines;
    "serde_json pretty" Record yes values::pretty_record;
    "csv" Log no values::csv;
    "csv, flushed after each row" Log no values::csv_flushed;
    "csv, flushed after each row" Lines yes values::csv_lines;
    "csv" Record yes values::csv_record;
    "frames of bytes" Record yes values::frames_record;
}
