//! [`MakeWriter`] for `tracing-subscriber`.

use crate::writer::RotatingFileWriter;
use tracing_subscriber::fmt::MakeWriter;

/// One event is one record. Nothing is allocated or cloned per event.
///
/// # Examples
/// ```
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// let log = logrotor::RotatingFileWriter::builder(dir.path().join("app.log")).build()?;
/// let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
/// tracing::subscriber::with_default(subscriber, || tracing::info!(port = 80, "listening"));
/// assert_eq!(log.stats().records, 1);
/// # Ok(()) }
/// ```
impl<'a> MakeWriter<'a> for RotatingFileWriter {
    type Writer = &'a RotatingFileWriter;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}
