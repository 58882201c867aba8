//! The settings of delivery: when a record reaches the kernel, and what happens if it cannot.

use std::time::Duration;

/// When a record reaches the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "policy", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Delivery {
    /// Before its log call returns, so that it survives the process. The default.
    #[default]
    Direct,
    /// Some time after its log call has returned, by a thread of the log's own. Log calls are several
    /// times faster; what is still in the buffer when the process is killed is lost.
    /// [`flush`](std::io::Write::flush), dropping the last handle, and
    /// [`close`](crate::RotatingFileWriter::close) wait until the buffer is written.
    Buffered {
        /// How many bytes of records are held at most; twice that is allocated, and eight bytes for
        /// each record held. A larger record is taken when nothing else is held.
        #[cfg_attr(feature = "policy", serde(with = "crate::config::units::capacity"))]
        capacity: usize,
        /// How long a record waits at most before it is written, if the buffer does not fill up first.
        #[cfg_attr(feature = "policy", serde(with = "crate::config::units::span"))]
        flush_interval: Duration,
        /// What happens to a record for which there is no room.
        overflow: Overflow,
    },
}

/// Reading it: `"direct"`, `"buffered"`, or a table of the latter's settings, which have defaults.
#[cfg(feature = "policy")]
mod read {
    use super::{Delivery, Overflow};
    use crate::config::units;
    use serde::de::value::MapAccessDeserializer;
    use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
    use std::fmt;
    use std::time::Duration;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        buffered: Buffered,
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Buffered {
        #[serde(with = "units::capacity", default = "capacity")]
        capacity: usize,
        #[serde(with = "units::span", default = "flush_interval")]
        flush_interval: Duration,
        #[serde(default)]
        overflow: Overflow,
    }

    fn capacity() -> usize {
        super::CAPACITY
    }

    fn flush_interval() -> Duration {
        super::FLUSH_INTERVAL
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
            let Buffered { capacity, flush_interval, overflow } = buffered;
            Ok(Delivery::Buffered { capacity, flush_interval, overflow })
        }
    }
}

const CAPACITY: usize = 1024 * 1024;
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

impl Delivery {
    /// Buffered, with 1 MiB, 100 ms, and [`Overflow::Block`].
    #[must_use]
    pub fn buffered() -> Self {
        Self::Buffered {
            capacity: CAPACITY,
            flush_interval: FLUSH_INTERVAL,
            overflow: Overflow::Block,
        }
    }
}

/// What happens to a record for which the buffer has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "policy",
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
