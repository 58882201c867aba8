//! Reading, checking and writing a policy's file. The version in force is in the store.

use super::author::Origin;
use super::document::{self, Base, Document, Metadata};
use super::files::{DirListing, PolicyFiles, ResolvedFile, sealed};
use super::judge::Judge;
use super::unversioned::is_unwritable;
use super::{Policy, Settings};
use crate::clock::{self, Clock, Stopwatch, Timestamp, micros};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Entry;
use crate::lock::{FileLock, LockGuard, Wait};
use std::sync::Arc;
use std::time::Duration;

/// How long an unsealed file must stay unchanged before it is classified. An editor may still be
/// writing it, or may have removed the old file to put a new one in its place.
const DEBOUNCE: Duration = Duration::from_millis(100);

pub(crate) struct Engine<T> {
    pub(crate) files: PolicyFiles,
    pub(crate) judge: Arc<Judge<T>>,
    pub(crate) lock_timeout: Duration,
}

/// A policy file, parsed and validated.
pub(crate) enum Parsed<T> {
    Sealed(Arc<Policy<T>>),
    Edit(Edit),
}

/// An edit by hand with valid settings.
pub(crate) struct Edit {
    pub(super) base: Base,
    body: String,
    /// The whole file.
    pub(super) text: String,
}

/// The state of a change while it holds the lock.
pub(crate) struct Locked<'a> {
    file: ResolvedFile<'a>,
    guard: &'a LockGuard<'a>,
    pub(crate) listing: DirListing,
}

impl<T: Settings> Engine<T> {
    pub(crate) fn new(files: PolicyFiles, judge: Arc<Judge<T>>, lock_timeout: Duration) -> Self {
        Self { files, judge, lock_timeout }
    }

    // ------------------------------------------------------------ judging

    /// Classifies the bytes of a file. Settings are parsed and validated, whether a program or a
    /// hand wrote them.
    pub(crate) fn classify(
        &self,
        file: &ResolvedFile<'_>,
        bytes: Option<&[u8]>,
    ) -> Result<Parsed<T>> {
        let path = file.path();
        let bytes = bytes.ok_or_else(|| Error::policy_corrupt(path, "it is missing"))?;
        let text = || std::str::from_utf8(bytes).unwrap_or_default().to_owned();
        match document::parse(bytes) {
            Document::Damaged(damage) => Err(Error::policy_corrupt(path, damage)),
            Document::Sealed { metadata, .. } => {
                let value = self.judge.read(&text(), |diagnostic| {
                    Error::bad_text(ErrorKind::PolicyInvalid, path, diagnostic)
                })?;
                Ok(Parsed::Sealed(Arc::new(Policy { value, metadata, text: text() })))
            }
            Document::Edited { base, body } => {
                let (text, body) = (text(), body.to_owned());
                // Parsed unchanged, so that problems are reported with the line that the author
                // sees.
                self.judge.read(&text, |c| Error::bad_text(ErrorKind::PolicyInvalid, path, c))?;
                Ok(Parsed::Edit(Edit { base, body, text }))
            }
        }
    }

    /// The newest version kept beside the file that is whole and valid.
    pub(crate) fn newest_kept(
        &self,
        file: &ResolvedFile<'_>,
        listing: &DirListing,
    ) -> Option<Arc<Policy<T>>> {
        listing.versions.iter().rev().find_map(|version| self.kept(file, *version))
    }

    /// A version kept beside the file, if it is whole and valid.
    fn kept(&self, file: &ResolvedFile<'_>, version: u64) -> Option<Arc<Policy<T>>> {
        let bytes = file.read_version(version).ok()??;
        let (metadata, text) = sealed(&bytes, version).ok()?;
        let value = self.judge.read(text, |c| Error::policy_invalid(file.path(), c.why)).ok()?;
        Some(Arc::new(Policy { value, metadata, text: text.to_owned() }))
    }

    /// Reads the file, and again until an unsealed one has settled.
    fn look_closely(&self, file: ResolvedFile<'_>) -> (Option<Vec<u8>>, Result<Parsed<T>>) {
        let (mut file, mut missing) = (file, None);
        loop {
            let (bytes, parsed) = match file.read() {
                Ok(bytes) => {
                    let parsed = self.classify(&file, bytes.as_deref());
                    (bytes, parsed)
                }
                Err(error) => (None, Err(error)),
            };
            match debounce(file.entry, &mut missing) {
                Some(left) if !matches!(parsed, Ok(Parsed::Sealed(_))) => clock::sleep(left),
                _ => return (bytes, parsed),
            }
            match self.files.resolve() {
                Ok(there) => file = there,
                Err(error) => return (bytes, Err(error)),
            }
        }
    }

    // ------------------------------------------------------------ changing

    /// Calls `work` while the update lock is held.
    pub(crate) fn with_lock<R>(
        &self,
        wait: Wait,
        work: impl FnOnce(&mut Locked<'_>) -> Result<R>,
    ) -> Result<R> {
        let lock = self.files.lock()?;
        let guard = self.take(&lock, wait)?;
        let file = self.files.resolve()?;
        let listing = file.list()?;
        file.clear_temporaries(&listing);
        work(&mut Locked { file, guard: &guard, listing })
        // Dropping the guard releases the lock. The change stands whatever the result.
    }

    fn take<'a>(&self, lock: &'a FileLock, wait: Wait) -> Result<LockGuard<'a>> {
        match lock.exclusive(Wait::Never) {
            Err(error) if error.kind() == ErrorKind::LockTimeout && wait != Wait::Never => {
                self.judge.counters.lock_waits.increment();
                lock.exclusive(wait)
            }
            taken => taken,
        }
    }

    /// Returns the version in force on disk, which a change starts from. A pending edit by hand is
    /// accepted.
    ///
    /// # Errors
    /// The problem with the file. Nothing overwrites it.
    pub(crate) fn base(
        &self,
        locked: &mut Locked<'_>,
        known: Option<&Arc<Policy<T>>>,
    ) -> Result<Arc<Policy<T>>> {
        let (_, parsed) = self.look_closely(self.files.resolve()?);
        match parsed? {
            Parsed::Sealed(found) => {
                if let Some(known) = known {
                    self.judge.in_order(&found, known)?;
                }
                if locked.listing.versions.last().is_some_and(|newest| *newest > found.version()) {
                    // Read only for this check: usually the copy is of this very version.
                    if let Some(newest) = self.newest_kept(&locked.file, &locked.listing) {
                        self.judge.in_order(&found, &newest)?;
                    }
                }
                Ok(found)
            }
            Parsed::Edit(edit) => self.accept(locked, &edit, known),
        }
    }

    /// Gives an edit by hand a version.
    fn accept(
        &self,
        locked: &mut Locked<'_>,
        edit: &Edit,
        known: Option<&Arc<Policy<T>>>,
    ) -> Result<Arc<Policy<T>>> {
        let path = locked.file.path().to_owned();
        let kept = self.newest_kept(&locked.file, &locked.listing);
        let last =
            [known, kept.as_ref()].into_iter().flatten().max_by_key(|policy| policy.version());
        let at_least = last.map_or(0, |last| last.version());
        let version = match edit.base {
            Base::Version(base) if base < at_least => {
                self.judge.counters.conflicts.increment();
                return Err(Error::policy_edit_conflict(&path, base, at_least));
            }
            Base::Version(base) => base,
            Base::Any => at_least,
            Base::Unreadable => return Err(Error::policy_edit_baseless(&path)),
        };
        let metadata = self.judge.metadata(version, Origin::Edit, None)?;
        let accepted = self.write(
            locked,
            Some(edit.text.as_bytes()),
            last.map(|p| &**p),
            metadata,
            &edit.body,
        )?;
        self.judge.counters.edits.increment();
        Ok(accepted)
    }

    /// Writes the next version. `old` is what the file holds now, `base` the version before.
    ///
    /// | step | if the process dies after it |
    /// |---|---|
    /// | validate the new text | nothing was changed |
    /// | keep a copy of the version before, if there is none | nothing was changed |
    /// | write a temporary file | the next change removes it |
    /// | rename it to the policy's name | the new version is in force; the next change keeps its copy |
    /// | read it back; keep a copy; remove the oldest | done |
    pub(crate) fn write(
        &self,
        locked: &mut Locked<'_>,
        old: Option<&[u8]>,
        base: Option<&Policy<T>>,
        metadata: Metadata,
        body: &str,
    ) -> Result<Arc<Policy<T>>> {
        let policy = Arc::new(self.judge.seal(metadata, body, locked.file.path())?);
        if let Some(base) = base {
            self.keep(locked, base)?;
        }
        locked.file.replace(policy.text.as_bytes(), locked.guard)?;
        self.read_back(locked, old, &policy)?;
        if self.keep(locked, &policy).and_then(|()| locked.file.prune(&mut locked.listing)).is_err()
        {
            // The version is in force nevertheless, and the next change keeps a copy.
            self.judge.counters.unkept.increment();
        }
        Ok(policy)
    }

    /// Keeps a copy of a version, unless there is one.
    fn keep(&self, locked: &mut Locked<'_>, policy: &Policy<T>) -> Result<()> {
        let Err(at) = locked.listing.versions.binary_search(&policy.version()) else {
            return Ok(());
        };
        locked.file.keep_version(policy.version(), policy.text.as_bytes())?;
        locked.listing.versions.insert(at, policy.version());
        Ok(())
    }

    /// Checks that the written text can be read. Otherwise restores the old content.
    fn read_back(&self, locked: &Locked<'_>, old: Option<&[u8]>, new: &Policy<T>) -> Result<()> {
        let found = locked.file.read()?;
        if found.as_deref() == Some(new.text.as_bytes()) {
            return Ok(());
        }
        let what = match document::parse(found.as_deref().unwrap_or_default()) {
            Document::Damaged(damage) => {
                if let Some(old) = old {
                    locked.file.replace(old, locked.guard)?;
                }
                damage.to_string()
            }
            // A program that takes no lock wrote to it meanwhile. The next check handles that.
            Document::Sealed { .. } | Document::Edited { .. } => {
                "another program wrote to it".to_owned()
            }
        };
        let why = format!("version {} did not read back as it was written: {what}", new.version());
        Err(Error::policy_corrupt(locked.file.path(), why))
    }

    /// Restores the last good version in the file. The flag is `false` if the file is good or its
    /// edit was accepted.
    pub(crate) fn restore(
        &self,
        locked: &mut Locked<'_>,
        known: Option<&Arc<Policy<T>>>,
    ) -> Result<(Arc<Policy<T>>, bool)> {
        let problem = match self.base(locked, known) {
            Ok(policy) => return Ok((policy, false)),
            Err(error) if is_about_content(&error) => error,
            Err(error) => return Err(error),
        };
        let kept = self.newest_kept(&locked.file, &locked.listing);
        let good =
            [known, kept.as_ref()].into_iter().flatten().max_by_key(|policy| policy.version());
        let path = locked.file.path();
        let Some(good) = good.cloned() else { return Err(problem.policy_lost(path)) };
        let found = locked.file.read()?;
        if let Some(found) = found.as_deref().filter(|found| !found.is_empty()) {
            locked.file.quarantine(found)?;
        }
        locked.file.replace(good.text.as_bytes(), locked.guard)?;
        self.read_back(locked, None, &good)?;
        self.keep(locked, &good)?;
        self.judge.counters.repairs.increment();
        Ok((good, true))
    }
}

impl<T: Settings> Engine<T> {
    /// Returns the first version of a store, and the problem with the file if there is one.
    pub(crate) fn start(&self, initial: Option<T>) -> Result<(Arc<Policy<T>>, Option<Error>)> {
        let file = self.files.resolve()?;
        let listing = file.list()?;
        if file.entry.is_none() && listing.versions.is_empty() {
            let initial = initial.ok_or_else(|| Error::policy_missing(self.files.path()))?;
            return Ok((self.create(&initial)?, None));
        }
        let kept = self.newest_kept(&file, &listing);
        let found = match self.look_closely(file).1 {
            Ok(Parsed::Sealed(found)) => match &kept {
                // Copies of one version differ only if the policy was created again. The file wins.
                Some(kept) if kept.version() > found.version() => {
                    self.judge.in_order(&found, kept).map(|()| found)
                }
                _ => Ok(found),
            },
            Ok(Parsed::Edit(edit)) => match self.settle_edit(kept.as_ref()) {
                Err(error) if is_unwritable(&error) => {
                    let policy = self.unversioned(edit, kept.as_deref())?;
                    return Ok((
                        policy,
                        Some(Error::policy_unversioned(self.files.path(), &error)),
                    ));
                }
                settled => settled,
            },
            Err(error) => Err(error),
        };
        match (found, kept) {
            (Ok(found), _) => Ok((found, None)),
            (Err(error), Some(kept)) => Ok((kept, Some(error))),
            (Err(error), None) => Err(error),
        }
    }

    /// Takes the lock to accept an edit that was found without it.
    pub(crate) fn settle_edit(&self, known: Option<&Arc<Policy<T>>>) -> Result<Arc<Policy<T>>> {
        self.with_lock(Wait::AtMost(self.lock_timeout), |locked| self.base(locked, known))
    }

    fn create(&self, initial: &T) -> Result<Arc<Policy<T>>> {
        self.with_lock(Wait::AtMost(self.lock_timeout), |locked| {
            if locked.file.entry.is_some() || !locked.listing.versions.is_empty() {
                // Another process was first.
                return self.base(locked, None);
            }
            let metadata = self.judge.metadata(0, Origin::Creation, None)?;
            let body = self.judge.body(initial)?;
            self.write(locked, None, None, metadata, &body)
        })
    }
}

/// Whether a failure concerns the content of the file, rather than access to it.
pub(crate) fn is_about_content(error: &Error) -> bool {
    use ErrorKind::{PolicyConflict, PolicyCorrupt, PolicyInvalid};
    matches!(error.kind(), PolicyConflict | PolicyCorrupt | PolicyInvalid)
}

/// Returns how much longer an unsealed file must settle. `None` if it has settled, or if the clocks
/// disagree. `missing` records since when there has been no file.
pub(crate) fn debounce(entry: Option<Entry>, missing: &mut Option<Stopwatch>) -> Option<Duration> {
    let age = match entry {
        None => missing.get_or_insert_with(Stopwatch::start).elapsed(),
        Some(entry) => {
            *missing = None;
            let age = Clock::system().now().micros() - Timestamp::from(entry.modified).micros();
            Duration::from_micros(u64::try_from(age).unwrap_or(u64::MAX))
        }
    };
    DEBOUNCE.checked_sub(age).filter(|left| left.as_micros() > 0)
}

/// The identity, size and time of a file, to detect a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fingerprint(Option<(crate::fs::FileId, u64, std::time::SystemTime)>);

impl Fingerprint {
    pub(crate) fn of(entry: Option<Entry>) -> Self {
        Self(entry.map(|entry| (entry.id, entry.len, entry.modified)))
    }

    /// Whether any later change would show.
    ///
    /// A change within the same tick of the file system's clock would not: the number of a removed
    /// file is reused.
    pub(crate) fn is_reliable(&self) -> bool {
        const COARSEST: Duration = Duration::from_secs(2);
        let Some((_, _, modified)) = self.0 else { return true };
        let age = Clock::system().now().micros() - Timestamp::from(modified).micros();
        age > micros(COARSEST)
    }
}
