//! Settings as text: files in TOML and JSON, environment variables, single values.

use super::Config;
use crate::diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
#[cfg(feature = "policy")]
use crate::policy;
use serde::Deserialize;
use std::path::Path;

/// The name of every setting, in a file and, after [`PREFIX`] and in capitals, in the environment.
const SETTINGS: &[&str] = &[
    "max_size",
    "min_interval",
    "max_age",
    "rotate_every",
    "rotate_at",
    "zone",
    "rotate_on_open",
    "max_backups",
    "max_total_size",
    "max_backup_age",
    "min_free_space",
    "compression",
    "compression_level",
    "keep_uncompressed",
    "naming",
    "mode",
    "lock_timeout",
    "check_interval",
    "maintenance",
    "delivery",
    "durability",
    #[cfg(feature = "archive")]
    "archive",
    #[cfg(feature = "policy")]
    "policy",
];

const PREFIX: &str = "LOGROTOR_";

/// Stands for an optional setting that has no value.
const NONE: &str = "none";

/// Settings as text. Feature `serde`.
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl Config {
    /// Reads settings from a file: JSON if its name ends in `.json`, else TOML.
    ///
    /// | setting | written as |
    /// |---|---|
    /// | `max_size`, `max_total_size`, `min_free_space` | `"64 MiB"`, `"10 MB"`, or a number of bytes |
    /// | `min_interval`, `max_age`, `max_backup_age`, `lock_timeout`, `check_interval` | `"1 day"`, `"1h 30min"`, `"250 ms"` |
    /// | `rotate_every` | `"minutely"`, `"hourly"`, `"daily"`, `"weekly"`, `"monthly"`, or hours: `"6 hours"` |
    /// | `rotate_at` | `"03:00"` |
    /// | `zone` | `"utc"`, `"local"` |
    /// | `rotate_on_open` | `true`, `false` |
    /// | `max_backups`, `compression_level`, `keep_uncompressed` | a number |
    /// | `compression` | `"none"`, `"gzip"`, `"zstd"` (feature `zstd`) |
    /// | `naming` | `"timestamp"`, `"timestamp_infix"`, `"number"` |
    /// | `mode` | `"0o640"`, octal and in quotes; a bare number is rejected |
    /// | `maintenance` | `"thread"`, `"inline"` |
    /// | `delivery` | `"direct"`, `"buffered"`, or a table `buffered` with `capacity`, `flush_interval`, and `overflow` (`"block"`, `"drop_newest"`, `"drop_newest_silently"`) |
    /// | `durability` | `"none"`, `"on_rotate"`, `"every_record"` |
    /// | `archive` (feature `archive`) | a URL such as `"s3://bucket/prefix"`, or a table `archive` with `url`, `host`, `max_rate` (a size per second), `when_full` (`"keep"`, `"drop"`) and `verify` (`"auto"`, `"checksum"`, `"read"`) |
    /// | `policy` (feature `policy`) | a path, or a URL such as `"s3://bucket/prefix/app.policy"`; all other settings come from there |
    ///
    /// Omitted settings take their defaults.
    ///
    /// [`ErrorKind::InvalidConfig`] for an unknown setting, an unreadable value, and anything that
    /// [`validate`](Config::validate) rejects: with the setting, its value, its line, and what is
    /// valid. [`ErrorKind::Io`] if the file cannot be read.
    ///
    /// # Examples
    /// ```
    /// use logrotor::{Compression, Config};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("logging.toml");
    /// let text = "max_size = \"10 MiB\"\nmax_backups = 7\ncompression = \"gzip\"\n";
    /// std::fs::write(&path, text).unwrap();
    /// let config = Config::from_file(&path)?;
    /// assert_eq!((config.max_size, config.compression), (10 << 20, Compression::Gzip));
    ///
    /// std::fs::write(&path, "max_backups = 7\nmax_sise = \"10 MiB\"\n").unwrap();
    /// let error = Config::from_file(&path).unwrap_err().to_string();
    /// assert!(error.contains("`max_sise` = \"10 MiB\" on line 2 of"));
    /// assert!(error.ends_with("did you mean `max_size`?"));
    /// # Ok::<(), logrotor::Error>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let refuse = |diagnostic| Error::bad_text(ErrorKind::InvalidConfig, path, diagnostic);
        let Some(bytes) = fs::read_whole(path)? else {
            return Err(Error::io("read", path, std::io::ErrorKind::NotFound.into()));
        };
        let text = diagnostic::text_of(&bytes).map_err(refuse)?;
        let is_json =
            path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let config: Self =
            if is_json { diagnostic::read_json(text) } else { diagnostic::read_toml(text) }
                .map_err(refuse)?;
        config.validate().map_err(|error| refuse(diagnostic::of_validator(text, &error)))?;
        Ok(config)
    }

    /// Replaces settings with the values of environment variables, such as `LOGROTOR_MAX_SIZE="64
    /// MiB"`.
    ///
    /// Every setting has a variable: `LOGROTOR_` and its name in capitals, with a value that
    /// [`set`](Config::set) accepts. `none` removes an optional one: `LOGROTOR_MAX_AGE=none`. Empty
    /// variables are ignored.
    ///
    /// Each value is checked alone, because code may change other settings afterwards. Opening a
    /// log and [`validate`](Config::validate) check the settings together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a value that is unreadable or that no other setting makes
    /// valid, with the name of the variable.
    ///
    /// # Examples
    /// ```
    /// # use logrotor::Config;
    /// let config = Config::default().with_env()?;
    /// # Ok::<(), logrotor::Error>(())
    /// ```
    pub fn with_env(self) -> Result<Self> {
        // A value that is not Unicode is rejected as unreadable.
        self.overridden(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    fn overridden(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        for setting in SETTINGS.iter().copied() {
            let name = format!("{PREFIX}{}", setting.to_uppercase());
            let Some(value) = variable(&name).filter(|value| !value.trim().is_empty()) else {
                continue;
            };
            let refuse = |why| Error::config(&name, &value, why);
            self.put(setting, &value).map_err(refuse)?;
            // A rejected value was not set before: each variable is checked as it is set.
            self.check_each().map_err(|error| refuse(error.cause_text()))?;
        }
        Ok(self)
    }

    /// Sets one setting by its name to a value as in a file, without quotes: `set("max_size", "64
    /// MiB")`.
    ///
    /// `none` removes an optional setting.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an unknown setting or an unreadable value.
    /// [`validate`](Config::validate) checks the settings together.
    ///
    /// # Examples
    /// ```
    /// # use logrotor::Config;
    /// let mut config = Config::default();
    /// config.set("max_backups", "7")?;
    /// assert_eq!(config.max_backups, Some(7));
    /// config.set("max_backups", "none")?;
    /// assert_eq!(config, Config::default());
    /// assert!(config.set("max_size", "none").is_err());
    /// # Ok::<(), logrotor::Error>(())
    /// ```
    pub fn set(&mut self, setting: &str, value: &str) -> Result<()> {
        self.put(setting, value).map_err(|why| Error::config(setting, value, why))
    }

    fn put(&mut self, setting: &str, value: &str) -> Result<(), String> {
        let table =
            |config: &Self| toml::Table::try_from(config).map_err(|error| error.to_string());
        let mut settings = table(self)?;
        if value.trim() == NONE && !table(&Self::default())?.contains_key(setting) {
            settings.remove(setting);
            // An unknown name must not pass.
            if SETTINGS.contains(&setting) {
                *self = Self::deserialize(settings)
                    .map_err(|error| diagnostic::suggestion(error.message()))?;
                return Ok(());
            }
        }
        settings.insert(setting.to_owned(), value_of(setting, value));
        *self =
            Self::deserialize(settings).map_err(|error| diagnostic::suggestion(error.message()))?;
        Ok(())
    }

    /// Returns these settings as TOML: every one that has a value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a number that TOML cannot hold, beyond 9223372036854775807.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self)
            .map_err(|error| Error::config("settings", "..", error.to_string()))
    }

    /// Returns these settings as JSON.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Error::config("settings", "..", error.to_string()))
    }

    /// Returns the builder of a policy with these settings as its content.
    ///
    /// [`validate`](Config::validate) is its validator. See [`policy`].
    ///
    /// # Examples
    /// ```
    /// use logrotor::{Config, RotatingFileWriter, policy};
    /// # fn main() -> logrotor::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("app.log");
    /// let policy = Config::policy().open_or_create(policy::path_beside(&path), Config::default)?;
    /// let log = RotatingFileWriter::builder(&path).policy(policy.clone()).build()?;
    /// policy.update(|config| config.max_size = 1024 * 1024)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "policy")]
    #[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
    pub fn policy() -> policy::PolicyStoreBuilder<Self> {
        policy::PolicyStore::builder(|config: &Self| {
            if let Some(other) = &config.policy {
                let other = crate::units::redacted(&other.to_string_lossy());
                return Err(Error::config("policy", other, "a policy cannot name another").into());
            }
            Ok(config.validate()?)
        })
    }
}

/// Reads a value that was written without quotes. The digits of a mode are octal.
fn value_of(setting: &str, text: &str) -> toml::Value {
    let is_text = |value: &toml::Value| match value {
        toml::Value::Datetime(_) => true,
        toml::Value::String(_) => false,
        _ => setting == "mode",
    };
    let parsed = text.trim().parse::<toml::Value>().ok().filter(|value| !is_text(value));
    parsed.unwrap_or_else(|| toml::Value::String(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Buffering, Delivery, Durability, Overflow};
    use crate::maintenance::MaintenanceMode;
    use crate::rotation::{Period, Zone};
    use crate::segment::name::{Compression, Naming};
    use proptest::prelude::*;
    use std::time::Duration;

    #[cfg(not(feature = "archive"))]
    fn archives() -> Just<()> {
        Just(())
    }

    #[cfg(feature = "archive")]
    fn archives() -> impl Strategy<Value = Option<crate::archive::Archive>> {
        use crate::archive::{Archive, Verification, WhenFull};
        let of = ("[a-z]{2}://[a-z]{1,9}", any::<bool>(), any::<u64>(), 0..3);
        prop::option::of(of.prop_map(|(url, is_full, rate, verify)| {
            let verifications = [Verification::Auto, Verification::Checksum, Verification::Read];
            let archive = Archive::to(url).verify(verifications[verify as usize]);
            match is_full {
                true => archive.host("web").max_rate(rate).when_full(WhenFull::Drop),
                false => archive,
            }
        }))
    }

    fn configs() -> impl Strategy<Value = Config> {
        let span = || (0..u64::MAX, 0_u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n));
        let delivery = prop_oneof![
            Just(Delivery::Direct),
            (1..usize::MAX, span(), 0..3).prop_map(|(capacity, flush_interval, overflow)| {
                let all = [Overflow::Block, Overflow::DropNewest, Overflow::DropNewestSilently];
                let buffering =
                    Buffering { capacity, flush_interval, overflow: all[overflow as usize] };
                Delivery::Buffered(buffering)
            }),
        ];
        let periods = [Period::Minutely, Period::Hours(6), Period::Daily, Period::Weekly];
        let minutes = (0_u64..24 * 60).prop_map(|minutes| Duration::from_secs(minutes * 60));
        let limits = (
            1..=u64::MAX,
            prop::option::of(span()),
            prop::option::of(prop::sample::select(periods.to_vec())),
            prop::option::of(0..=(i64::MAX as usize)),
            prop::option::of(any::<u64>()),
            prop::option::of(span()),
            prop::option::of(any::<u64>()),
            prop::option::of(span()),
            0..=(i64::MAX as usize),
            prop::option::of(minutes),
        );
        let rest = (
            any::<[bool; 6]>(),
            prop::option::of(any::<u32>()),
            prop::option::of(0_u32..0o1000),
            span(),
            span(),
            delivery,
            0..3,
            archives(),
        );
        (limits, rest).prop_map(
            |(limits, (flags, level, mode, lock, check, delivery, durability, archive))| {
                #[cfg(not(feature = "archive"))]
                let () = archive;
                let durabilities =
                    [Durability::None, Durability::OnRotate, Durability::EveryRecord];
                Config {
                    max_size: limits.0,
                    min_interval: limits.7,
                    max_age: limits.1,
                    rotate_every: limits.2,
                    rotate_at: limits.9,
                    zone: if flags[0] { Zone::Local } else { Zone::Utc },
                    rotate_on_open: flags[1],
                    max_backups: limits.3,
                    max_total_size: limits.4,
                    max_backup_age: limits.5,
                    min_free_space: limits.6,
                    compression: if flags[2] { Compression::Gzip } else { Compression::None },
                    compression_level: level,
                    keep_uncompressed: limits.8,
                    naming: match flags {
                        [_, _, _, true, ..] => Naming::Number,
                        [.., true] => Naming::TimestampInfix,
                        _ => Naming::Timestamp,
                    },
                    mode,
                    lock_timeout: lock,
                    check_interval: check,
                    maintenance: if flags[4] {
                        MaintenanceMode::Inline
                    } else {
                        MaintenanceMode::Thread
                    },
                    delivery,
                    durability: durabilities[durability as usize],
                    #[cfg(feature = "archive")]
                    archive,
                    #[cfg(feature = "policy")]
                    policy: flags[5].then(|| "s3://bucket/app.policy".into()),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn settings_read_back_as_they_were_written(config in configs()) {
            let toml = config.to_toml().unwrap();
            prop_assert_eq!(diagnostic::read_toml::<Config>(&toml), Ok(config.clone()), "{}", toml);
            let json = config.to_json().unwrap();
            prop_assert_eq!(diagnostic::read_json::<Config>(&json), Ok(config), "{}", json);
        }

        #[test]
        fn every_setting_can_be_set_from_any_to_any(from in configs(), to in configs()) {
            let table = toml::Table::try_from(&to).unwrap();
            let mut config = from;
            for setting in SETTINGS.iter().copied() {
                let text = match table.get(setting) {
                    None => NONE.to_owned(),
                    Some(toml::Value::String(text)) => text.clone(),
                    Some(toml::Value::Table(table)) => inline(table),
                    Some(value) => value.to_string(),
                };
                config.set(setting, &text).unwrap();
            }
            prop_assert_eq!(config, to);
        }

        #[test]
        fn no_value_panics(setting in prop::sample::select(SETTINGS.to_vec()), value in "\\PC{0,20}") {
            let _ = Config::default().set(setting, &value);
        }
    }

    /// A table on one line, as it is written in an environment variable.
    fn inline(table: &toml::Table) -> String {
        let pairs = table.iter().map(|(key, value)| match value {
            toml::Value::Table(table) => format!("{key} = {}", inline(table)),
            value => format!("{key} = {value}"),
        });
        format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn every_setting_has_a_name() {
        let full = Config {
            min_interval: Some(Duration::from_secs(1)),
            max_age: Some(Duration::from_secs(1)),
            rotate_every: Some(Period::Daily),
            rotate_at: Some(Duration::ZERO),
            max_backups: Some(1),
            max_total_size: Some(1),
            max_backup_age: Some(Duration::from_secs(1)),
            min_free_space: Some(1),
            compression_level: Some(1),
            mode: Some(0o640),
            #[cfg(feature = "archive")]
            archive: Some(crate::archive::Archive::to("s3://bucket")),
            #[cfg(feature = "policy")]
            policy: Some("app.policy.toml".into()),
            ..Config::default()
        };
        let table = toml::Table::try_from(&full).unwrap();
        let mut names: Vec<_> = table.keys().map(String::as_str).collect();
        let mut expected = SETTINGS.to_vec();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn defaults_are_written_for_humans() {
        let text = Config::default().to_toml().unwrap();
        assert!(text.contains("max_size = \"64 MiB\"\n"), "{text}");
        assert!(text.contains("lock_timeout = \"1s\"\n"), "{text}");
        assert!(!text.contains("max_age"), "{text}");
    }

    #[test]
    fn buffered_delivery_has_defaults() {
        for text in
            ["delivery = \"buffered\"", "[delivery.buffered]", "delivery = { buffered = {} }"]
        {
            let config: Config = diagnostic::read_toml(text).unwrap();
            assert_eq!(config.delivery, Delivery::buffered(), "{text}");
        }
        let text = "[delivery.buffered]\ncapacity = \"4 KiB\"\noverflow = \"drop_newest\"\n";
        let Delivery::Buffered(Buffering { capacity, overflow, .. }) =
            diagnostic::read_toml::<Config>(text).unwrap().delivery
        else {
            unreachable!("it says buffered")
        };
        assert_eq!((capacity, overflow), (4096, Overflow::DropNewest));
        let wrong = "[delivery.buffered]\ncapacty = 1\n";
        assert_eq!(diagnostic::read_toml::<Config>(wrong).unwrap_err().line, Some(2));
    }

    #[test]
    fn variables_override_and_name_themselves_when_wrong() {
        let env = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.to_vec();
            let find =
                move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into());
            Config::default().overridden(find)
        };
        let config = env(&[
            ("LOGROTOR_MAX_SIZE", "10 MiB"),
            ("LOGROTOR_MAX_BACKUPS", "7"),
            ("LOGROTOR_ROTATE_EVERY", "daily"),
            ("LOGROTOR_MODE", "0640"),
            ("LOGROTOR_ROTATE_ON_OPEN", "true"),
            ("LOGROTOR_MAX_AGE", ""),
            ("LOGROTOR_SEED", "1"),
        ])
        .unwrap();
        let expected = Config {
            max_size: 10 << 20,
            max_backups: Some(7),
            rotate_every: Some(Period::Daily),
            mode: Some(0o640),
            rotate_on_open: true,
            ..Config::default()
        };
        assert_eq!(config, expected);
        let wrong = env(&[("LOGROTOR_MAX_SIZE", "10 Mub")]).unwrap_err().to_string();
        assert!(wrong.starts_with("invalid `LOGROTOR_MAX_SIZE` = 10 Mub: use a number"), "{wrong}");
        let wrong = env(&[("LOGROTOR_MAX_SIZE", "0")]).unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::InvalidConfig);
        assert!(wrong.to_string().starts_with("invalid `LOGROTOR_MAX_SIZE` = 0: "), "{wrong}");
    }

    #[test]
    fn variables_may_need_a_setting_that_code_adds() {
        let total = |name: &str| (name == "LOGROTOR_MAX_TOTAL_SIZE").then(|| "10MiB".to_owned());
        let mut config = Config::default().overridden(total).unwrap();
        assert!(config.validate().unwrap_err().to_string().contains("`max_size` = 67108864"));
        config.max_size = 1 << 20;
        config.validate().unwrap();
    }

    #[test]
    fn mode_as_text_is_octal_with_and_without_a_prefix() {
        for text in ["640", "0640", "0o640", " 640 ", "\"640\"", "\"0o640\""] {
            let mut config = Config::default();
            config.set("mode", text).unwrap();
            assert_eq!(config.mode, Some(0o640), "{text}");
        }
        for wrong in ["648", "0x1a0", "6_40", "416.0", "rw-r-----", "true", "-640"] {
            let error = Config::default().set("mode", wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("`mode` = {wrong}: use octal digits")), "{error}");
        }
    }

    #[test]
    fn bare_number_in_a_file_is_no_mode() {
        for text in ["mode = 440", "mode = 0o640", "mode = 0"] {
            let wrong = diagnostic::read_toml::<Config>(text).unwrap_err();
            assert_eq!((wrong.line, wrong.setting.as_deref()), (Some(1), Some("mode")));
            assert!(wrong.why.contains("such as \"0o640\""), "{}", wrong.why);
        }
        let wrong = diagnostic::read_json::<Config>("{\n\"mode\": 440}").unwrap_err();
        assert!(wrong.line == Some(2) && wrong.why.contains("\"0o640\""), "{wrong:?}");
        for text in ["{\"mode\": \"640\"}", "{\"mode\": \"0o640\"}"] {
            assert_eq!(diagnostic::read_json::<Config>(text).unwrap().mode, Some(0o640));
        }
    }

    #[test]
    fn settings_file_may_begin_with_a_byte_order_mark() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a.json", "{\"max_backups\": 7}"), ("a.toml", "max_backups = 7\n")] {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
            assert_eq!(Config::from_file(&path).unwrap().max_backups, Some(7), "{name}");
            std::fs::write(&path, format!("\u{feff}{}", text.replace('7', "-7"))).unwrap();
            let error = Config::from_file(&path).unwrap_err().to_string();
            assert!(error.contains("`max_backups` = -7 on line 1 of"), "{error}");
            let utf16: Vec<_> = "\u{feff}x".encode_utf16().flat_map(u16::to_le_bytes).collect();
            std::fs::write(&path, utf16).unwrap();
            let error = Config::from_file(&path).unwrap_err().to_string();
            assert!(error.ends_with("it is UTF-16 text; save it as UTF-8"), "{error}");
        }
    }

    #[test]
    fn unknown_names_are_rejected() {
        let error = Config::default().set("maxsize", "1").unwrap_err().to_string();
        assert!(error.ends_with("did you mean `max_size`?"), "{error}");
        for value in ["none", "1"] {
            assert!(Config::default().set("max_sise", value).is_err());
        }
    }
}
