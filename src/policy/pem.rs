//! Files of certificates and keys.

use crate::error::{Error, Result};
use crate::fs;
use std::fmt::Display;
use std::path::Path;

/// Reads a file of PEM, whose content is not checked.
pub(super) fn read(path: &str) -> Result<Vec<u8>> {
    fs::read_whole(Path::new(path))?
        .ok_or_else(|| Error::config("policy", path, "there is no such file of certificates"))
}

/// An error about the content.
pub(super) fn refuse(path: &str, why: &dyn Display) -> Error {
    Error::config("policy", path, format!("it is no file of PEM: {why}"))
}
