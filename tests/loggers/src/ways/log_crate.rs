//! Loggers for the `log` crate.

use super::Plugged;
use crate::event::Event;
use crate::say;
use log::{LevelFilter, Record};
use logrotor::RotatingFileWriter;
use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;

fn write(event: &Event) {
    say!(event, log);
}

fn plugged() -> Plugged {
    Plugged::new(write)
}

pub(super) fn env_logger(log: RotatingFileWriter) -> Plugged {
    use env_logger::{Builder, Target};
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Info).target(Target::Pipe(Box::new(log))).init();
    plugged()
}

pub(super) fn env_logger_lines(log: RotatingFileWriter) -> Plugged {
    use env_logger::{Builder, Target};
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Info).target(Target::Pipe(Box::new(log.lines()))).init();
    plugged()
}

pub(super) fn pretty_env_logger(log: RotatingFileWriter) -> Plugged {
    // It has an `env_logger` of its own, of another version.
    use pretty_env_logger::env_logger::Target;
    let mut builder = pretty_env_logger::formatted_timed_builder();
    builder.filter_level(LevelFilter::Info).target(Target::Pipe(Box::new(log))).init();
    plugged()
}

fn fern_dispatch() -> fern::Dispatch {
    fern::Dispatch::new()
        .format(|out, message, record| {
            out.finish(format_args!("[{} {}] {message}", record.level(), record.target()));
        })
        .level(LevelFilter::Info)
}

pub(super) fn fern(log: RotatingFileWriter) -> Plugged {
    let dispatch = fern_dispatch();
    let dispatch = dispatch.chain(Box::new(log) as Box<dyn Write + Send>);
    dispatch.apply().expect("it is the only one");
    plugged()
}

pub(super) fn fern_lines(log: RotatingFileWriter) -> Plugged {
    let dispatch = fern_dispatch();
    let dispatch = dispatch.chain(Box::new(log.lines()) as Box<dyn Write + Send>);
    dispatch.apply().expect("it is the only one");
    plugged()
}

pub(super) fn structured(log: RotatingFileWriter) -> Plugged {
    structured_logger::Builder::with_level("info")
        .with_target_writer("*", structured_logger::json::new_writer(log))
        .init();
    plugged()
}

pub(super) fn ftlog(log: RotatingFileWriter) -> Plugged {
    let builder = ftlog::builder().root(log).bounded(100_000, true);
    let builder = builder.max_log_level(ftlog::LevelFilter::Info);
    let guard = builder.try_init().expect("it is the only one");
    plugged().with_guard(guard)
}

/// An appender of logforth's: a layout, and the log that its output goes to.
#[derive(Debug)]
struct LogforthAppender {
    log: RotatingFileWriter,
    layout: Box<dyn logforth::Layout>,
}

impl logforth::Append for LogforthAppender {
    fn append(
        &self,
        record: &logforth::record::Record<'_>,
        diagnostics: &[Box<dyn logforth::Diagnostic>],
    ) -> Result<(), logforth::Error> {
        let mut line = self.layout.format(record, diagnostics)?;
        line.push(b'\n');
        self.log.write_record(&line).map_err(logforth::Error::from_io_error)
    }

    fn flush(&self) -> Result<(), logforth::Error> {
        Ok(())
    }
}

pub(super) fn logforth(log: RotatingFileWriter) -> Plugged {
    let layout = Box::new(logforth::layout::JsonLayout::default());
    let logger = logforth::core::builder()
        .dispatch(|dispatch| dispatch.append(LogforthAppender { log, layout }))
        .build();
    log::set_boxed_logger(Box::new(logforth::bridge::log::LogBridge::new(logger)))
        .expect("it is the only one");
    log::set_max_level(LevelFilter::Info);
    plugged()
}

struct FastLogAppender {
    log: RotatingFileWriter,
}

impl fast_log::appender::LogAppender for FastLogAppender {
    fn do_logs(&mut self, records: &[fast_log::appender::FastLogRecord]) {
        for record in records {
            let _ = self.log.write_record(record.formated.as_bytes());
        }
    }
}

/// Waits for fast_log's thread.
struct FastLogGuard;

impl Drop for FastLogGuard {
    fn drop(&mut self) {
        fast_log::flush().expect("it was set up").wait();
    }
}

pub(super) fn fast_log(log: RotatingFileWriter) -> Plugged {
    let config = fast_log::Config::new().level(LevelFilter::Info).custom(FastLogAppender { log });
    fast_log::init(config).expect("it is the only one");
    plugged().with_guard(FastLogGuard)
}

pub(super) fn simplelog(log: RotatingFileWriter) -> Plugged {
    use simplelog::{Config, WriteLogger};
    WriteLogger::init(LevelFilter::Info, Config::default(), log).expect("it is the only one");
    plugged()
}

pub(super) fn simplelog_lines(log: RotatingFileWriter) -> Plugged {
    use simplelog::{Config, WriteLogger};
    let done = WriteLogger::init(LevelFilter::Info, Config::default(), log.lines());
    done.expect("it is the only one");
    plugged()
}

/// An appender of log4rs's that hands the writer to an encoder, as its own do.
struct Log4rsAppender<W> {
    encoder: Box<dyn log4rs::encode::Encode>,
    writer: Mutex<log4rs::encode::writer::simple::SimpleWriter<W>>,
}

impl<W> fmt::Debug for Log4rsAppender<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log4rsAppender")
    }
}

impl<W: Write + Send + 'static> log4rs::append::Append for Log4rsAppender<W> {
    fn append(&self, record: &Record<'_>) -> anyhow::Result<()> {
        let mut writer = self.writer.lock().expect("no panic");
        self.encoder.encode(&mut *writer, record)?;
        Ok(writer.flush()?)
    }

    fn flush(&self) {}
}

/// An appender of log4rs's that makes each event one record.
#[derive(Debug)]
struct Log4rsRecords {
    encoder: Box<dyn log4rs::encode::Encode>,
    log: RotatingFileWriter,
}

impl log4rs::append::Append for Log4rsRecords {
    fn append(&self, record: &Record<'_>) -> anyhow::Result<()> {
        use log4rs::encode::writer::simple::SimpleWriter;
        let (log, encoder) = (&self.log, &self.encoder);
        let mut event = SimpleWriter(log.record());
        encoder.encode(&mut event, record)?;
        Ok(event.0.commit()?)
    }

    fn flush(&self) {
        let _ = self.log.flush();
    }
}

fn with_log4rs(appender: impl log4rs::append::Append) -> Plugged {
    use log4rs::config::{Appender, Config, Root};
    let config = Config::builder()
        .appender(Appender::builder().build("log", Box::new(appender)))
        .build(Root::builder().appender("log").build(LevelFilter::Info))
        .expect("the appender is there");
    log4rs::init_config(config).expect("it is the only one");
    plugged()
}

fn log4rs_appender(
    encoder: impl log4rs::encode::Encode,
    output: impl Write + Send + 'static,
) -> Plugged {
    let writer = Mutex::new(log4rs::encode::writer::simple::SimpleWriter(output));
    with_log4rs(Log4rsAppender { encoder: Box::new(encoder), writer })
}

fn pattern() -> log4rs::encode::pattern::PatternEncoder {
    log4rs::encode::pattern::PatternEncoder::default()
}

fn json() -> log4rs::encode::json::JsonEncoder {
    log4rs::encode::json::JsonEncoder::new()
}

pub(super) fn log4rs_pattern(log: RotatingFileWriter) -> Plugged {
    log4rs_appender(pattern(), log)
}

pub(super) fn log4rs_pattern_lines(log: RotatingFileWriter) -> Plugged {
    log4rs_appender(pattern(), log.lines())
}

pub(super) fn log4rs_json(log: RotatingFileWriter) -> Plugged {
    log4rs_appender(json(), log)
}

pub(super) fn log4rs_json_lines(log: RotatingFileWriter) -> Plugged {
    log4rs_appender(json(), log.lines())
}

pub(super) fn log4rs_pattern_record(log: RotatingFileWriter) -> Plugged {
    with_log4rs(Log4rsRecords { encoder: Box::new(pattern()), log })
}

pub(super) fn log4rs_json_record(log: RotatingFileWriter) -> Plugged {
    with_log4rs(Log4rsRecords { encoder: Box::new(json()), log })
}

/// A writer of flexi_logger's that makes each event one record.
struct FlexiRecords {
    log: RotatingFileWriter,
    format: flexi_logger::FormatFunction,
}

impl flexi_logger::writers::LogWriter for FlexiRecords {
    fn write(&self, now: &mut flexi_logger::DeferredNow, record: &Record<'_>) -> io::Result<()> {
        let (log, format) = (&self.log, self.format);
        let mut event = log.record();
        format(&mut event, now, record)?;
        event.write_all(b"\n")?;
        event.commit()
    }

    fn flush(&self) -> io::Result<()> {
        self.log.flush()
    }
}

struct FlexiWriter<W>(Mutex<W>);

impl<W: Write + Send + 'static> flexi_logger::writers::LogWriter for FlexiWriter<W> {
    fn write(&self, now: &mut flexi_logger::DeferredNow, record: &Record<'_>) -> io::Result<()> {
        let mut writer = self.0.lock().expect("no panic");
        flexi_logger::detailed_format(&mut *writer, now, record)?;
        writer.write_all(b"\n")
    }

    fn flush(&self) -> io::Result<()> {
        self.0.lock().expect("no panic").flush()
    }
}

fn with_flexi(writer: impl flexi_logger::writers::LogWriter + 'static) -> Plugged {
    let logger = flexi_logger::Logger::with(LevelFilter::Info);
    let handle = logger.log_to_writer(Box::new(writer)).start().expect("it is the only one");
    plugged().with_guard(handle)
}

pub(super) fn flexi(log: RotatingFileWriter) -> Plugged {
    with_flexi(FlexiWriter(Mutex::new(log)))
}

pub(super) fn flexi_lines(log: RotatingFileWriter) -> Plugged {
    with_flexi(FlexiWriter(Mutex::new(log.lines())))
}

pub(super) fn flexi_record(log: RotatingFileWriter) -> Plugged {
    with_flexi(FlexiRecords { log, format: flexi_logger::detailed_format })
}
