//! A value of any text for any setting is rejected, or keeps its meaning when written and read
//! again.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use logrotor::Config;

const SETTINGS: [&str; 8] = [
    "max_size",
    "max_age",
    "max_backups",
    "max_total_size",
    "min_free_space",
    "mode",
    "lock_timeout",
    "delivery",
];

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((&choice, value)) = data.split_first() else { return Corpus::Reject };
    let Ok(value) = std::str::from_utf8(value) else { return Corpus::Reject };
    let setting = SETTINGS[usize::from(choice) % SETTINGS.len()];
    let mut config = Config::default();
    match config.set(setting, value) {
        Ok(()) => {
            let text = config.to_json().expect("it can be written");
            let read: Config = serde_json::from_str(&text).expect("it can be read again");
            assert_eq!(read, config, "{setting} = {value:?}");
        }
        Err(error) => {
            assert_eq!(config, Config::default(), "what is refused changes nothing");
            drop(error.to_string());
        }
    }
    Corpus::Keep
});
