//! Values in a settings file as people write them: "64 MiB", "1 day", "0o640".

use crate::units;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;
use std::fmt;
use std::time::Duration;

/// A value that is written as text with a unit.
pub(crate) trait Human: Sized {
    /// A description of a valid value, for messages.
    const EXPECTED: &'static str;

    fn write(&self) -> String;
    fn read(text: &str) -> Result<Self, String>;

    /// The value of a number without a unit.
    fn of_number(number: u64) -> Result<Self, String>;
}

/// A number of bytes.
pub(crate) struct Size(pub(crate) u64);

impl Human for Size {
    const EXPECTED: &'static str = "a size such as \"64 MiB\"";

    fn write(&self) -> String {
        units::format_size(self.0)
    }

    fn read(text: &str) -> Result<Self, String> {
        units::read_size(text).map(Self).map_err(str::to_owned)
    }

    fn of_number(bytes: u64) -> Result<Self, String> {
        Ok(Self(bytes))
    }
}

impl Human for Duration {
    const EXPECTED: &'static str = "a time span such as \"1 day\"";

    fn write(&self) -> String {
        units::format_duration(*self)
    }

    fn read(text: &str) -> Result<Self, String> {
        units::read_duration(text).map_err(str::to_owned)
    }

    fn of_number(number: u64) -> Result<Self, String> {
        match number {
            0 => Ok(Self::ZERO),
            _ => Err(format!("a time span needs a unit; use \"{number} s\", if seconds are meant")),
        }
    }
}

/// Permission bits.
pub(crate) struct OctalMode(pub(crate) u32);

impl Human for OctalMode {
    const EXPECTED: &'static str = "permission bits such as \"0o640\"";

    fn write(&self) -> String {
        format!("{:#o}", self.0)
    }

    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal = !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let bits = is_octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
        bits.map(Self).ok_or_else(|| "use octal digits, such as \"0o640\"".to_owned())
    }

    // A parser has turned `440` and `0o670` into the same number.
    fn of_number(_: u64) -> Result<Self, String> {
        Err("a number may be decimal; use octal digits in quotes, such as \"0o640\"".to_owned())
    }
}

/// A time of the day, since midnight.
pub(crate) struct TimeOfDay(pub(crate) Duration);

impl Human for TimeOfDay {
    const EXPECTED: &'static str = "a time of the day such as \"03:00\"";

    fn write(&self) -> String {
        units::format_time_of_day(self.0)
    }

    fn read(text: &str) -> Result<Self, String> {
        units::read_time_of_day(text).map(Self).map_err(str::to_owned)
    }

    fn of_number(number: u64) -> Result<Self, String> {
        Err(format!("use hours and minutes; \"{number:02}:00\", if hours are meant"))
    }
}

struct HumanVisitor<T>(std::marker::PhantomData<T>);

impl<T: Human> Visitor<'_> for HumanVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::of_number(number).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let number = u64::try_from(number).map_err(|_| E::custom("it must not be negative"))?;
        self.visit_u64(number)
    }
}

fn read<'de, T: Human, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(HumanVisitor(std::marker::PhantomData))
}

/// For `serde(with = ..)`: a plain field and an optional one, each through a [`Human`] form.
macro_rules! through {
    ($name:ident, $optional:ident, $field:ty, $human:ty, $wrap:expr, $unwrap:expr) => {
        pub(crate) mod $name {
            use super::*;

            pub(crate) fn serialize<S: Serializer>(
                value: &$field,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                let human: $human = $wrap(*value);
                to.serialize_str(&human.write())
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<$field, D::Error> {
                read::<$human, D>(from).map($unwrap)
            }
        }

        pub(crate) mod $optional {
            use super::*;

            pub(crate) fn serialize<S: Serializer>(
                value: &Option<$field>,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                match value {
                    Some(value) => super::$name::serialize(value, to),
                    None => to.serialize_none(),
                }
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<Option<$field>, D::Error> {
                struct Optional;

                impl<'de> Visitor<'de> for Optional {
                    type Value = Option<$field>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(<$human>::EXPECTED)
                    }

                    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
                        Ok(None)
                    }

                    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                        Ok(None)
                    }

                    fn visit_some<D: Deserializer<'de>>(
                        self,
                        from: D,
                    ) -> Result<Self::Value, D::Error> {
                        super::$name::deserialize(from).map(Some)
                    }
                }
                from.deserialize_option(Optional)
            }
        }
    };
}

through!(size, optional_size, u64, Size, Size, |size: Size| size.0);
through!(span, optional_span, Duration, Duration, |span| span, |span| span);
through!(mode, optional_mode, u32, OctalMode, OctalMode, |mode: OctalMode| mode.0);

through!(time_of_day, optional_time_of_day, Duration, TimeOfDay, TimeOfDay, |time: TimeOfDay| time
    .0);

/// A size that is a `usize` in memory.
pub(crate) mod capacity {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &usize, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Size(*value as u64).write())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        let size = read::<Size, D>(from)?;
        usize::try_from(size.0).map_err(|_| D::Error::custom("it is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn number_without_a_unit_is_no_span() {
        assert!(Duration::of_number(90).unwrap_err().contains("\"90 s\""));
    }

    #[test]
    fn number_without_quotes_is_no_mode() {
        for bits in [0, 0o640, 440, 640, u64::MAX] {
            let why = OctalMode::of_number(bits).err().unwrap();
            assert!(why.contains("octal digits in quotes, such as \"0o640\""), "{why}");
        }
    }

    #[test]
    fn modes_are_octal() {
        let mode = |text| OctalMode::read(text).ok().map(|mode| mode.0);
        assert_eq!(mode("0o640"), Some(0o640));
        assert_eq!(mode("640"), Some(0o640));
        assert_eq!(mode("0640"), Some(0o640));
        for wrong in ["", "0o", "0x1a0", "648", "rw-r-----", "+640", "77777777777777"] {
            assert_eq!(mode(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn formatted_mode_parses_to_the_same_bits(bits in any::<u32>()) {
            prop_assert_eq!(OctalMode::read(&OctalMode(bits).write()).ok().map(|mode| mode.0), Some(bits));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = OctalMode::read(&text);
        }
    }
}
