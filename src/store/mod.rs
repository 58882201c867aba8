//! An object store: URLs and keys, and the requests that are made.

mod answers;
mod blocking;
mod digests;
mod download;
mod environment;
mod listing;
mod reading;
mod requests;
mod threads;
mod url;
#[cfg(feature = "policy")]
mod values;

pub(crate) use blocking::Blocking;
pub(crate) use listing::{Listed, Names};
pub(crate) use reading::Reading;
pub(crate) use requests::{ArchiveStore, Created, ObjectState, Wanted};
pub(crate) use threads::on_joined_thread;
pub(crate) use url::{ArchiveUrl, ORIGIN_FILE, Scheme, is_log_name, is_url};
#[cfg(feature = "policy")]
pub(crate) use values::{FetchedValue, Stored, StoredValue, ValueState};

/// Formats bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes a runtime for requests. It uses the thread that blocks on it, and its pool no thread at
/// all: see the module `threads`.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
