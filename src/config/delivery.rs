//! The settings of delivery: when a record reaches the kernel, and what happens if it cannot.

use crate::error::{Error, Result};
use crate::keywords::keywords;
use crate::units;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When a record reaches the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Delivery {
    /// Before its log call returns, so that it survives the process. This is the default.
    #[default]
    Direct,
    /// Some time after its log call has returned, together with other records.
    ///
    /// Log calls are several times faster. The call that fills 32 KiB of the buffer writes them to
    /// the kernel; the others only copy their record. A thread of the log's own writes the rest
    /// after [`flush_interval`](Buffering::flush_interval), and everything while the disk is slow.
    /// It also does all rotations. So a slow disk stalls the records of no other log.
    ///
    /// Records in the buffer are lost if the process is killed.
    /// [`flush`](crate::RotatingFileWriter::flush), dropping the last handle, and
    /// [`close`](crate::RotatingFileWriter::close) wait until the buffer is written.
    ///
    /// A handle in a global logger or subscriber is never dropped, and the records of the last
    /// [`flush_interval`](Buffering::flush_interval) are lost when `main` returns. Keep a
    /// [`flush_guard`](crate::RotatingFileWriter::flush_guard) in `main`.
    ///
    /// A logger that flushes after each record (fern, env_logger) makes as many system calls as
    /// with `Direct`. [`ignore_flush`](crate::LineWriter::ignore_flush) avoids it.
    Buffered(Buffering),
}

/// Reads `"direct"`, `"buffered"`, or a table `buffered` with the settings of the buffer, which
/// have defaults.
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
            text.parse().map_err(|_| E::unknown_variant(text, &["direct", "buffered"]))
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

/// `direct` or `buffered`. Settings of the buffer that are not the default follow it:
/// `buffered,capacity=8 MiB,flush_interval=20ms,overflow=drop_newest`.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Buffered(buffering) = self else { return f.pad("direct") };
        let Buffering { capacity, flush_interval, overflow } = *buffering;
        let default = Buffering::default();
        let mut text = "buffered".to_owned();
        if capacity != default.capacity {
            text += &format!(",capacity={}", units::format_size(capacity as u64));
        }
        if flush_interval != default.flush_interval {
            text += &format!(",flush_interval={}", units::format_duration(flush_interval));
        }
        if overflow != default.overflow {
            text += &format!(",overflow={overflow}");
        }
        f.pad(&text)
    }
}

/// Reads the text that `Display` writes.
impl FromStr for Delivery {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',').map(str::trim);
        let mode = parts.next().unwrap_or_default();
        let mut buffering = Buffering::default();
        for part in parts.clone() {
            let (setting, value) = part.split_once('=').unwrap_or((part, ""));
            match setting.trim() {
                "capacity" => {
                    let bytes = units::parse_size(value)?;
                    buffering.capacity = usize::try_from(bytes)
                        .map_err(|_| Error::unreadable("capacity", value, "it is too large"))?;
                }
                "flush_interval" => buffering.flush_interval = units::parse_duration(value)?,
                "overflow" => buffering.overflow = value.trim().parse()?,
                other => {
                    let known = ["capacity", "flush_interval", "overflow"];
                    return Err(Error::unknown_word("setting of the buffer", other, &known));
                }
            }
        }
        match mode {
            "direct" if parts.next().is_none() => Ok(Self::Direct),
            "buffered" => Ok(Self::Buffered(buffering)),
            _ => Err(Error::unknown_word("delivery", text, &["direct", "buffered"])),
        }
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
    /// The log allocates twice that, and eight bytes per buffered record. A larger record is
    /// accepted while the buffer is empty. 0 is rejected when the log is opened.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// Sets how long a record stays in the buffer at most. Default: 100 ms.
    ///
    /// The log call that fills 32 KiB, or half of a smaller buffer, writes the buffer earlier. If a
    /// thread is writing then, records collect until it has finished, and the next log call writes
    /// them. After a write that took longer than 20 ms, log calls leave the writing to a thread of
    /// the log for 10 s. So a slow disk delays one log call, and then none while there is room.
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

/// The treatment of a record for which the buffer has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Overflow {
    /// The log call waits for room, so that no record is lost. This is the default.
    ///
    /// While the kernel refuses records, as on a full disk, the call fails with the kernel's error
    /// instead.
    #[default]
    Block,
    /// The record is dropped and its log call succeeds. If no thread is writing, the call writes
    /// the buffer instead.
    ///
    /// [`Stats::dropped`](crate::Stats::dropped) counts it. When there is room again, a line in the
    /// log states how many records are missing there.
    DropNewest,
    /// As `DropNewest`, without the line in the log.
    DropNewestSilently,
}

keywords!(Overflow, "overflow":
    Block => "block", DropNewest => "drop_newest", DropNewestSilently => "drop_newest_silently",
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delivery_is_read_from_text() {
        let read = |text: &str| text.parse::<Delivery>().map_err(|error| error.to_string());
        assert_eq!(read("direct"), Ok(Delivery::Direct));
        assert_eq!(read("buffered"), Ok(Delivery::buffered()));
        let small = Buffering::new().capacity(4096).overflow(Overflow::DropNewest);
        let text = "buffered,capacity=4 KiB,overflow=drop_newest";
        assert_eq!(read(text), Ok(Delivery::Buffered(small)));
        assert_eq!(Delivery::Buffered(small).to_string(), text);
        for wrong in ["", "direct,capacity=1", "buffered,", "buffered,capacity=x", "bufered"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn formatted_delivery_parses_to_the_same_value(
            capacity in any::<usize>(), millis in any::<u32>(), overflow in 0..3_usize,
        ) {
            let overflow = [Overflow::Block, Overflow::DropNewest, Overflow::DropNewestSilently][overflow];
            let flush_interval = Duration::from_millis(millis.into());
            let delivery = Delivery::Buffered(Buffering { capacity, flush_interval, overflow });
            prop_assert_eq!(delivery.to_string().parse::<Delivery>().ok(), Some(delivery));
        }

        #[test]
        fn no_delivery_text_panics(text in "(buffered)?[a-z,=0-9 _]{0,30}") {
            let _ = text.parse::<Delivery>();
        }
    }
}
