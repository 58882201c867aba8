//! The part of every policy, wherever it is: parsing and validating, the order of versions, the
//! problem that is reported, and the counters.

use super::author::{Author, Origin};
use super::document::{self, Document, Metadata};
use super::stats::PolicyCounters;
use super::{Policy, Settings};
use crate::clock::Clock;
use crate::diagnostic;
use crate::error::{Diagnostic, Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Returns the reason why a value cannot be in force.
pub(crate) type Validator<T> =
    Arc<dyn Fn(&T) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

pub(crate) struct Judge<T> {
    /// The policy's path, or its URL without secrets.
    pub(crate) path: PathBuf,
    validate: Validator<T>,
    pub(crate) counters: PolicyCounters,
    /// The current problem, and its number.
    problem: Mutex<(u64, Option<Error>)>,
}

impl<T: Settings> Judge<T> {
    pub(crate) fn new(path: PathBuf, validate: Validator<T>) -> Self {
        let (counters, problem) = (PolicyCounters::default(), Mutex::default());
        Self { path, validate, counters, problem }
    }

    /// Parses settings and validates them.
    pub(crate) fn read(&self, text: &str, refuse: impl Fn(Diagnostic) -> Error) -> Result<T> {
        self.counters.validations.increment();
        let value = diagnostic::read_toml(text).map_err(&refuse)?;
        match (self.validate)(&value) {
            Ok(()) => Ok(value),
            Err(error) => Err(refuse(diagnostic::of_validator(text, &*error))),
        }
    }

    /// Parses a document of a policy that machines share, and validates its settings.
    pub(crate) fn parse(&self, bytes: &[u8]) -> Result<Policy<T>> {
        let path = &self.path;
        match document::parse(bytes) {
            Document::Sealed { metadata, .. } => {
                let text = std::str::from_utf8(bytes).unwrap_or_default().to_owned();
                let refuse = |why| Error::bad_text(ErrorKind::PolicyInvalid, path, why);
                let value = self.read(&text, refuse)?;
                Ok(Policy { value, metadata, text })
            }
            Document::Edited { .. } => Err(Error::policy_corrupt(
                path,
                "it was edited by hand, which only files allow; use `logrotor policy edit`",
            )),
            Document::Damaged(damage) => Err(Error::policy_corrupt(path, damage)),
        }
    }

    /// A new version as it is written, validated. `path` is for messages.
    pub(crate) fn seal(&self, metadata: Metadata, body: &str, path: &Path) -> Result<Policy<T>> {
        let text = document::seal(&metadata, body);
        let value = self.read(&text, |diagnostic| {
            let diagnostic = Diagnostic { line: None, ..diagnostic };
            Error::bad_text(ErrorKind::PolicyInvalid, path, diagnostic)
        })?;
        Ok(Policy { value, metadata, text })
    }

    /// Returns the body of the version after `base`, which must have the number `expected`, if one
    /// is. The inner error is that of the change itself.
    pub(crate) fn body_after<E>(
        &self,
        base: &Policy<T>,
        expected: Option<u64>,
        body: impl FnOnce(&Policy<T>) -> Result<Result<String, E>>,
    ) -> Result<Result<String, E>> {
        if let Some(expected) = expected.filter(|expected| *expected != base.version()) {
            return Err(self.conflict(expected, base.version()));
        }
        let body = body(base)?;
        if body.is_err() {
            self.counters.refused.increment();
        }
        Ok(body)
    }

    /// Counts a change that found another version than it expected.
    pub(crate) fn conflict(&self, expected: u64, found: u64) -> Error {
        self.counters.conflicts.increment();
        Error::policy_conflict(&self.path, expected, found)
    }

    /// Rejects a version that is older than a known one, or the same with other content.
    pub(crate) fn in_order(&self, found: &Policy<T>, known: &Policy<T>) -> Result<()> {
        let (from, to) = (known.version(), found.version());
        if to < from || (to == from && found.text != known.text) {
            return Err(Error::policy_went_back(&self.path, from, to));
        }
        Ok(())
    }

    /// The metadata of the version after `version`.
    pub(crate) fn metadata(
        &self,
        version: u64,
        origin: Origin,
        comment: Option<String>,
    ) -> Result<Metadata> {
        let Some(version) = version.checked_add(1) else {
            return Err(Error::policy_invalid(&self.path, "there is no version number left"));
        };
        let written = Clock::system().now();
        Ok(Metadata { version, written, author: Author::this(), origin, comment, change: None })
    }

    /// A value as TOML.
    pub(crate) fn body(&self, value: &T) -> Result<String> {
        toml::to_string_pretty(value)
            .map_err(|error| Error::policy_invalid(&self.path, error.to_string()))
    }

    /// Records the problem with the file, and returns it as an error once.
    pub(crate) fn report(&self, error: Error) -> Result<bool> {
        let mut problem = self.problem.lock();
        if problem.1.as_ref().is_some_and(|known| known.to_string() == error.to_string()) {
            return Ok(false);
        }
        *problem = (problem.0 + 1, Some(error.clone()));
        match error.kind() {
            ErrorKind::PolicyInvalid => self.counters.refused.increment(),
            _ => self.counters.problems.increment(),
        }
        Err(error)
    }

    pub(crate) fn clear_problem(&self) {
        self.problem.lock().1 = None;
    }

    /// Returns the problem with the file, and its number.
    pub(crate) fn problem(&self) -> (u64, Option<Error>) {
        self.problem.lock().clone()
    }
}
