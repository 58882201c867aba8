//! Systems that do not report, at a low cost, that a file was renamed.

use std::io;
use std::path::Path;
use std::time::Duration;

/// There is none.
#[derive(Debug)]
pub(crate) enum MoveWatch {}

impl MoveWatch {
    pub(crate) fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn add(&self, _: &Path) -> io::Result<i32> {
        match *self {}
    }

    pub(crate) fn refuses_all(_: &io::Error) -> bool {
        true
    }

    pub(crate) fn remove(&self, _: i32) {
        match *self {}
    }

    pub(crate) fn wait(&self, _: Duration, _: impl FnMut(Option<i32>)) {
        match *self {}
    }

    pub(crate) fn wake(&self) {
        match *self {}
    }
}
