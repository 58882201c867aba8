//! Enums as words: `Display` and `FromStr` of the settings, with the words of a settings file.

/// Implements `Display` and `FromStr` for an enum without fields.
///
/// The words are those that serde reads and writes, which a test compares.
macro_rules! keywords {
    ($type:ident, $what:literal: $($variant:ident => $word:literal),+ $(,)?) => {
        /// The word for it in a settings file.
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }

        /// Reads the word for it in a settings file.
        impl std::str::FromStr for $type {
            type Err = crate::Error;

            fn from_str(word: &str) -> Result<Self, crate::Error> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(crate::Error::unknown_word($what, word, &[$($word),+])),
                }
            }
        }
    };
}

pub(crate) use keywords;

#[cfg(all(test, feature = "serde"))]
mod tests {
    use crate::{
        Compression, Delivery, Durability, MaintenanceMode, Naming, Overflow, Period, Zone,
    };
    use serde::{Serialize, de::DeserializeOwned};
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    /// Every value is the same word for `Display`, `FromStr` and serde.
    fn agree<T>(values: &[T])
    where
        T: Copy + PartialEq + Debug + Display + FromStr<Err = crate::Error>,
        T: Serialize + DeserializeOwned,
    {
        for value in values {
            let word = value.to_string();
            assert_eq!(word.parse::<T>().ok().as_ref(), Some(value));
            assert_eq!(serde_json::to_value(value).ok(), Some(serde_json::json!(word)));
            let read = serde_json::from_value::<T>(serde_json::json!(word));
            assert_eq!(read.ok().as_ref(), Some(value));
        }
    }

    #[test]
    fn words_are_those_of_settings_files() {
        use Period::{Daily, Hourly, Minutely, Monthly, Weekly};
        agree(&[Minutely, Hourly, Period::Hours(6), Daily, Weekly, Monthly]);
        agree(&[Zone::Utc, Zone::Local]);
        agree(&[Naming::Timestamp, Naming::TimestampInfix, Naming::Number]);
        agree(&Compression::ALL);
        agree(&[MaintenanceMode::Thread, MaintenanceMode::Inline]);
        agree(&[Durability::None, Durability::OnRotate, Durability::EveryRecord]);
        agree(&[Overflow::Block, Overflow::DropNewest, Overflow::DropNewestSilently]);
        agree(&[Delivery::Direct]);
    }

    #[test]
    fn unknown_word_is_rejected_with_the_known_ones() {
        let error = "gzp".parse::<Compression>().unwrap_err().to_string();
        assert_eq!(error, "invalid compression `gzp`: use none, gzip or zstd");
        let error = "".parse::<Naming>().unwrap_err().to_string();
        assert_eq!(error, "invalid naming ``: use timestamp, timestamp_infix or number");
    }
}
