//! `tracing`: the log is a `MakeWriter`.

use super::Plugged;
use crate::event::Event;
use crate::say;
use logrotor::RotatingFileWriter;
use std::io::Write;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::Registry;

fn write(event: &Event) {
    say!(event, tracing);
}

fn plugged(subscriber: impl Subscriber + Send + Sync) -> Plugged {
    tracing::subscriber::set_global_default(subscriber).expect("it is the only one");
    Plugged::new(write)
}

pub(super) fn full(log: RotatingFileWriter) -> Plugged {
    plugged(tracing_subscriber::fmt().with_writer(log).with_ansi(false).finish())
}

pub(super) fn full_lines(log: RotatingFileWriter) -> Plugged {
    plugged(tracing_subscriber::fmt().with_writer(log.lines()).finish())
}

pub(super) fn compact(log: RotatingFileWriter) -> Plugged {
    plugged(tracing_subscriber::fmt().compact().with_writer(log).finish())
}

pub(super) fn pretty(log: RotatingFileWriter) -> Plugged {
    plugged(tracing_subscriber::fmt().pretty().with_writer(log).finish())
}

pub(super) fn json(log: RotatingFileWriter) -> Plugged {
    plugged(tracing_subscriber::fmt().json().with_writer(log).finish())
}

pub(super) fn non_blocking(log: RotatingFileWriter) -> Plugged {
    use tracing_appender::non_blocking::NonBlockingBuilder;
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(log);
    plugged(tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish())
        .with_guard(guard)
}

pub(super) fn bunyan(log: RotatingFileWriter) -> Plugged {
    use tracing_bunyan_formatter::{BunyanFormattingLayer, JsonStorageLayer};
    let layer = BunyanFormattingLayer::new("app".into(), log);
    plugged(Registry::default().with(JsonStorageLayer).with(layer))
}

pub(super) fn tree(log: RotatingFileWriter) -> Plugged {
    use tracing_tree::HierarchicalLayer;
    let layer = HierarchicalLayer::new(2).with_ansi(false).with_writer(log);
    plugged(Registry::default().with(layer))
}

pub(super) fn forest(log: RotatingFileWriter) -> Plugged {
    use tracing_forest::{ForestLayer, printer::PrettyPrinter};
    plugged(Registry::default().with(ForestLayer::from(PrettyPrinter::new().writer(log))))
}

pub(super) fn logfmt(log: RotatingFileWriter) -> Plugged {
    let layer = tracing_subscriber::fmt::layer()
        .event_format(tracing_logfmt::EventsFormatter::default())
        .fmt_fields(tracing_logfmt::FieldsFormatter::default());
    plugged(Registry::default().with(layer.with_writer(log)))
}

pub(super) fn stackdriver(log: RotatingFileWriter) -> Plugged {
    let layer = tracing_stackdriver::layer();
    plugged(Registry::default().with(layer.with_writer(log)))
}

pub(super) fn glog(log: RotatingFileWriter) -> Plugged {
    let layer = tracing_subscriber::fmt::layer()
        .event_format(tracing_glog::Glog::default())
        .fmt_fields(tracing_glog::GlogFields::default())
        .with_ansi(false);
    plugged(Registry::default().with(layer.with_writer(log)))
}

pub(super) fn json_subscriber(log: RotatingFileWriter) -> Plugged {
    let layer = json_subscriber::fmt::layer();
    plugged(Registry::default().with(layer.with_writer(log)))
}

/// A layer such as users write: it formats right into the writer.
struct Pieces<W>(W);

struct Message<'a>(&'a mut dyn Write);

impl tracing::field::Visit for Message<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl<S: Subscriber, W: for<'a> MakeWriter<'a> + 'static> Layer<S> for Pieces<W> {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut writer = self.0.make_writer_for(event.metadata());
        let _ = write!(writer, "{}", event.metadata().level());
        event.record(&mut Message(&mut writer));
        let _ = writer.write_all(b"\n");
    }
}

pub(super) fn pieces(log: RotatingFileWriter) -> Plugged {
    plugged(Registry::default().with(Pieces(log)))
}
