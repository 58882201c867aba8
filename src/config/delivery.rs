//! The settings of delivery: when a record reaches the kernel, and what happens if it cannot.

use std::time::Duration;

/// When a record reaches the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Delivery {
    /// Before its log call returns, so that it survives the process. The default.
    #[default]
    Direct,
    /// Some time after its log call has returned, by a thread of the log's own. Log calls are several
    /// times faster; what is still in the buffer when the process is killed is lost.
    /// [`flush`](std::io::Write::flush), dropping the last handle, and
    /// [`close`](crate::RotatingFileWriter::close) wait until the buffer is written.
    Buffered(Buffering),
}

/// Reading it: `"direct"`, `"buffered"`, or a table of the latter's settings, which have defaults.
#[cfg(feature = "serde")]
mod read {
    use super::{Buffering, Delivery};
    use serde::de::value::MapAccessDeserializer;
    use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
    use std::fmt;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        buffered: Buffering,
    }

    impl<'de> Deserialize<'de> for Delivery {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(DeliveryVisitor)
        }
    }

    struct DeliveryVisitor;

    impl<'de> Visitor<'de> for DeliveryVisitor {
        type Value = Delivery;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"direct\", \"buffered\", or a table `buffered`")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Delivery, E> {
            match text {
                "direct" => Ok(Delivery::Direct),
                "buffered" => Ok(Delivery::buffered()),
                other => Err(E::unknown_variant(other, &["direct", "buffered"])),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Delivery, A::Error> {
            let Table { buffered } = Table::deserialize(MapAccessDeserializer::new(map))?;
            Ok(Delivery::Buffered(buffered))
        }
    }
}

impl Delivery {
    /// Buffered delivery with the default [`Buffering`].
    #[must_use]
    pub fn buffered() -> Self {
        Self::Buffered(Buffering::new())
    }
}

/// The buffer of [`Delivery::Buffered`]: by default 1 MiB, 100 ms and [`Overflow::Block`].
///
/// # Examples
/// ```
/// use logrotor::{Buffering, Delivery, Overflow, RotatingFileWriter};
/// use std::time::Duration;
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// let buffering = Buffering::new()
///     .capacity(8 * 1024 * 1024)
///     .flush_interval(Duration::from_millis(20))
///     .overflow(Overflow::DropNewest);
/// let log = RotatingFileWriter::builder(dir.path().join("app.log"))
///     .delivery(Delivery::Buffered(buffering))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[must_use]
pub struct Buffering {
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::capacity"))]
    pub(crate) capacity: usize,
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::span"))]
    pub(crate) flush_interval: Duration,
    pub(crate) overflow: Overflow,
}

impl Default for Buffering {
    fn default() -> Self {
        Self {
            capacity: 1024 * 1024,
            flush_interval: Duration::from_millis(100),
            overflow: Overflow::Block,
        }
    }
}

impl Buffering {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum size of the records in the buffer, in bytes. Default: 1 MiB.
    ///
    /// The log allocates twice that, and eight bytes per buffered record. A larger record is accepted
    /// while the buffer is empty. 0 is rejected when the log is opened.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// Sets how long a record stays in the buffer at most. Default: 100 ms.
    ///
    /// The buffer is written earlier if it is half full, or if a call waits for it.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// Sets what happens to a record if the buffer is full. Default: [`Overflow::Block`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// What happens to a record for which the buffer has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Overflow {
    /// Its log call waits for room, so that none is lost. While the kernel refuses to take records
    /// (a full disk), it fails with the kernel's error instead. The default.
    #[default]
    Block,
    /// It is dropped, its log call succeeds at once, and `stats().dropped` counts it. When there is room
    /// again, a line in the log tells how many are missing there.
    DropNewest,
    /// As `DropNewest`, without that line.
    DropNewestSilently,
}
