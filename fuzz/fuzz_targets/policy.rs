//! A policy file of any content is rejected with an error, or read as valid settings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logrotor::Config;
use std::time::SystemTime;

fuzz_target!(|data: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policy.toml");
    std::fs::write(&path, data).expect("a file");
    // A file that was just written gets a moment to be finished.
    let file = std::fs::File::options().write(true).open(&path).expect("the file");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("its time");
    let config = Config::from_file(&path);
    match Config::policy().open(&path) {
        Ok(store) => {
            let policy = store.current();
            policy.validate().expect("what cannot work is refused");
            assert!(policy.version() >= 1);
            // Its settings are those of the text, whatever the header says.
            assert_eq!(config.expect("it is TOML"), **policy);
            store.update(|config| config.max_size = 4096).expect("it can be changed");
            assert_eq!(store.current().max_size, 4096);
            store.verify().expect("what was written is sealed");
        }
        Err(error) => drop(error.to_string()),
    }
});
