//! Watching a policy's file: when it is read, and what of it takes effect.

use super::engine::{Engine, Fingerprint, Parsed, debounce, is_about_content};
use super::store::PolicyStore;
use super::unversioned::{is_unversioned, is_unwritable};
use super::{Policy, Settings};
use crate::clock::{self, Stopwatch};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Wait;
use parking_lot::Mutex;
use std::sync::Arc;

/// A policy in a file, as a store has it.
pub(super) struct FileSource<T> {
    pub(super) engine: Engine<T>,
    /// Held while the file is looked at.
    watch: Mutex<Watch>,
}

impl<T> FileSource<T> {
    pub(super) fn new(engine: Engine<T>) -> Self {
        Self { engine, watch: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct Watch {
    /// The last file that was checked, if a change of it would show.
    fingerprint: Option<Fingerprint>,
    /// Since when there has been no file.
    missing: Option<Stopwatch>,
}

impl<T: Settings> PolicyStore<T> {
    /// Looks at the file, and puts a newer version in force. Returns whether there was one.
    pub(super) fn look_at_file(&self, source: &FileSource<T>, may_wait: bool) -> Result<bool> {
        let (engine, judge) = (&source.engine, &self.0.judge);
        let mut watch = source.watch.lock();
        loop {
            let file = match engine.files.resolve() {
                Ok(file) => file,
                Err(error) => return judge.report(error),
            };
            let fingerprint = Fingerprint::of(file.entry);
            if watch.fingerprint == Some(fingerprint) {
                return Ok(false);
            }
            let known = self.0.current.load_full();
            let parsed = file.read().and_then(|bytes| engine.classify(&file, bytes.as_deref()));
            let settled = match &parsed {
                Ok(Parsed::Sealed(_)) => None,
                _ => debounce(file.entry, &mut watch.missing),
            };
            match settled {
                Some(_) if !may_wait => return Ok(false),
                Some(left) => clock::sleep(left),
                None => {
                    let outcome =
                        parsed.and_then(|parsed| self.follow(engine, parsed, &known, may_wait));
                    let keeps = !matches!(&outcome, Err(error) if !is_about_content(error));
                    watch.fingerprint = (keeps && fingerprint.is_reliable()).then_some(fingerprint);
                    return match outcome {
                        Err(error) if is_busy(&error, may_wait) => Ok(false),
                        Err(error) => judge.report(error),
                        Ok((newer, Some(notice))) => judge.report(notice).map(|_| newer),
                        Ok((newer, None)) => {
                            judge.clear_problem();
                            Ok(newer)
                        }
                    };
                }
            }
        }
    }

    /// Puts a parsed version in force, if it is newer. Also returns the notice that it is in force
    /// without a version, if it is.
    fn follow(
        &self,
        engine: &Engine<T>,
        parsed: Parsed<T>,
        known: &Arc<Policy<T>>,
        may_wait: bool,
    ) -> Result<(bool, Option<Error>)> {
        let newer = match parsed {
            Parsed::Sealed(found) => {
                if !is_unversioned(known) {
                    engine.judge.in_order(&found, known)?;
                }
                self.publish(found)
            }
            // It is in force as it is.
            Parsed::Edit(edit) if is_unversioned(known) && edit.is(known.text()) => {
                return Ok((false, engine.judge.problem().1));
            }
            Parsed::Edit(edit) => {
                let wait = if may_wait { Wait::AtMost(engine.lock_timeout) } else { Wait::Never };
                let known = Some(known).filter(|known| !is_unversioned(known));
                match engine.with_lock(wait, |locked| engine.base(locked, known)) {
                    Ok(accepted) => return Ok((self.publish(accepted), None)),
                    Err(error) if is_unwritable(&error) => {
                        let present = self.0.current.load_full();
                        let newer = self.publish(engine.unversioned(edit, Some(&present))?);
                        let notice = Error::policy_unversioned(self.path(), &error);
                        return Ok((newer, Some(notice)));
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        if newer {
            engine.judge.counters.reloads.increment();
        }
        Ok((newer, None))
    }
}

/// Whether a failure only means that the lock is held elsewhere, and the call was not to wait.
fn is_busy(error: &Error, may_wait: bool) -> bool {
    !may_wait && error.kind() == ErrorKind::LockTimeout
}
