//! The last good copy of a shared policy on this machine, for a start without network.

use crate::atomic::AtomicFile;
use crate::error::{Error, Result};
use crate::fs;
use parking_lot::Mutex;
use std::io::Write;
use std::path::PathBuf;

/// A file with a document of a policy, below a line that says of which.
pub(crate) struct PolicyCache {
    path: PathBuf,
    url: String,
    mode: Option<u32>,
    /// The newest version that this process has saved.
    saved: Mutex<u64>,
}

/// The first line begins with it.
const OF: &str = "logrotor: a copy of the policy ";

impl PolicyCache {
    pub(crate) fn new(path: PathBuf, url: &str, mode: Option<u32>) -> Result<Self> {
        let path = std::path::absolute(&path).map_err(|error| Error::io("resolve", path, error))?;
        Ok(Self { path, url: url.to_owned(), mode, saved: Mutex::default() })
    }

    /// The document, if there is one of this policy. A copy is never needed, so a file that cannot
    /// be read is none.
    pub(crate) fn load(&self) -> Option<String> {
        let text = String::from_utf8(fs::read_whole(&self.path).ok()??).ok()?;
        let (url, document) = split(&text)?;
        (url == self.url).then(|| document.to_owned())
    }

    /// Saves a document, unless a newer one of this process is there.
    pub(crate) fn save(&self, version: u64, document: &str) -> Result<()> {
        let mut saved = self.saved.lock();
        if version <= *saved || self.load().as_deref() == Some(document) {
            return Ok(());
        }
        let builder = AtomicFile::builder();
        let builder = self.mode.map_or(builder.clone(), |mode| builder.mode(mode));
        let mut file = builder.open(&self.path)?;
        let text = format!("{OF}{}\n{document}", self.url);
        file.write_all(text.as_bytes()).map_err(|error| Error::io("write", &self.path, error))?;
        file.commit()?;
        *saved = version;
        Ok(())
    }
}

/// The URL and the document of a copy.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(OF)?.split_once('\n')
}
