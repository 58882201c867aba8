//! Reloading a policy: which of its settings take effect while the log is open, and when.
//!
//! | setting | effect of a new version |
//! |---|---|
//! | limits, minimum interval, check interval, lock timeout, mode | from the next record on |
//! | compression, retention, number of uncompressed backups | from the next step of maintenance on, for old backups as well |
//! | durability | from the next record on, and for segments that are left from then on |
//! | rotate on open | for workers that start later |
//! | the archive's settings | from the next segment on |
//! | naming, delivery, maintenance, with or without an archive | rejected and reported; for workers that start later |

/// Watches the policy of a log, if it has one.
pub(super) struct PolicyWatcher {
    #[cfg(feature = "policy")]
    watched: Option<on::Watched>,
}

#[cfg(not(feature = "policy"))]
mod off {
    use super::PolicyWatcher;
    use crate::config::{Callbacks, Config};
    use crate::stats::Journal;
    use crate::writer::log::Log;

    impl PolicyWatcher {
        pub(in crate::writer) fn new(_: &Callbacks, _: &Config, _: u64, _: &Journal) -> Self {
            Self {}
        }

        pub(in crate::writer) fn disk(&self) -> Option<u64> {
            None
        }
    }

    impl Log {
        #[inline(always)]
        pub(in crate::writer) fn check_policy(&self) {}
    }
}

#[cfg(feature = "policy")]
mod on {
    use super::PolicyWatcher;
    use crate::clock::{Clock, micros};
    use crate::config::{Callbacks, Config, Durability};
    use crate::error::{Error, Result};
    use crate::fs;
    use crate::policy::{Origin, Policy, PolicyStore};
    use crate::segment::Location;
    use crate::stats::{Event, Journal};
    use crate::writer::appender::Appender;
    use crate::writer::log::Log;
    use crate::writer::schedule::Timeouts;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
    use std::time::Duration;

    /// The interval of checks, so that a new version takes effect well within a second.
    const INTERVAL: Duration = Duration::from_millis(250);

    pub(super) struct Watched {
        store: PolicyStore<Config>,
        /// The length of a segment's header.
        header_len: u64,
        /// The time of the next check, in microseconds of the coarse clock.
        next: AtomicI64,
        state: Mutex<WatchState>,
    }

    struct WatchState {
        /// The last version that was applied or rejected.
        version: u64,
        /// Its settings.
        settings: Config,
        /// The number of the last problem that was reported.
        trouble: u64,
    }

    impl PolicyWatcher {
        pub(in crate::writer) fn new(
            callbacks: &Callbacks,
            config: &Config,
            header_len: u64,
            journal: &Journal,
        ) -> Self {
            let Some(bound) = &callbacks.policy else { return Self { watched: None } };
            let counters = &journal.counters;
            counters.policy_version.set(bound.version);
            counters.policy_overrides.add(u64::from(bound.overrides));
            let watched = Watched {
                store: bound.store.clone(),
                header_len,
                next: AtomicI64::new(0),
                state: Mutex::new(WatchState {
                    version: bound.version,
                    settings: config.clone(),
                    trouble: 0,
                }),
            };
            Self { watched: Some(watched) }
        }

        /// The volume that holds the policy, if there is one.
        pub(in crate::writer) fn disk(&self) -> Option<u64> {
            let watched = self.watched.as_ref()?;
            // The file may be missing for a moment.
            Some(fs::stat(watched.store.path()).ok().flatten().map_or(0, |file| file.id.volume))
        }
    }

    impl Watched {
        /// Whether a check is due. If so, the next one is scheduled.
        fn is_due(&self) -> bool {
            // The system's clock even if the log has another one: it only says when the file is
            // checked.
            let (now, next) = (Clock::system().coarse(), self.next.load(Relaxed));
            // `next` is far ahead if the clock was set back.
            let is_due = now >= next || next - now > 2 * micros(INTERVAL);
            if is_due {
                // A little less than the wait of the thread, which may wake early.
                self.next.store(now + micros(INTERVAL) * 9 / 10, Relaxed);
            }
            is_due
        }
    }

    impl Log {
        /// Checks the policy if that is due, and applies a new version.
        #[inline]
        pub(in crate::writer) fn check_policy(&self) {
            if let Some(watched) = &self.policy_watcher.watched {
                if watched.is_due() {
                    self.reload_policy(watched);
                }
            }
        }

        #[cold]
        fn reload_policy(&self, watched: &Watched) {
            // Another thread of this process does it now.
            let Some(mut state) = watched.state.try_lock() else { return };
            // Reported below, to each log that shares this store.
            let _ = watched.store.poll();
            let (number, trouble) = watched.store.numbered_problem();
            if number != state.trouble {
                state.trouble = number;
                if let Some(error) = trouble {
                    self.journal.failed(error);
                }
            }
            let policy = watched.store.current();
            // A file that cannot be changed gets numbers of this process's own.
            if policy.version() != state.version || **policy != state.settings {
                self.apply_version(watched, &state, &policy);
                state.version = policy.version();
                state.settings = Config::clone(&policy);
            }
        }

        /// Applies a new version, or reports why it is rejected.
        fn apply_version(&self, watched: &Watched, state: &WatchState, policy: &Policy<Config>) {
            let mut appender = self.appender.exclusive();
            let possible = self.possible(policy);
            let location = Arc::clone(appender.location());
            let done = validate(&possible, watched.header_len)
                .and_then(|()| self.apply(&possible, &mut appender, &location));
            drop(appender);
            match done {
                Ok(()) => {
                    if state.settings.durability == Durability::None {
                        self.sync_log_name(possible.durability, &location);
                    }
                    self.report_change(policy);
                }
                Err(error) => self.journal.failed(Error::policy_refused(
                    watched.store.path(),
                    policy.version(),
                    &error,
                )),
            }
            for setting in fixed_changes(&state.settings, policy) {
                let (path, version) = (watched.store.path(), policy.version());
                self.journal.failed(Error::policy_setting_fixed(path, version, setting));
            }
        }

        /// Returns the settings of a version, except those that are fixed while the log is open.
        fn possible(&self, policy: &Config) -> Config {
            Config {
                naming: self.config.naming,
                delivery: self.config.delivery,
                maintenance: self.config.maintenance,
                #[cfg(feature = "archive")]
                archive: match &self.config.archive {
                    Some(own) => policy.archive.clone().or_else(|| Some(own.clone())),
                    None => None,
                },
                ..policy.clone()
            }
        }

        fn apply(
            &self,
            config: &Config,
            appender: &mut Appender,
            location: &Location,
        ) -> Result<()> {
            let settings = config.maintenance_config()?;
            let Config { check_interval, lock_timeout, durability, .. } = *config;
            appender.apply(
                config.trigger(),
                Timeouts { check_interval, lock_timeout },
                config.mode,
            )?;
            let (records, lease) = (appender.records(), appender.active().lease.clone());
            self.sync_queue.apply(durability, records, &lease, location.dir());
            self.maintainer.apply(settings);
            #[cfg(feature = "archive")]
            self.archive.apply(config);
            // The new limits may call for pruning.
            self.wakeup.notify();
            Ok(())
        }

        /// Makes the name of the active segment durable, as when a log is opened.
        fn sync_log_name(&self, durability: Durability, location: &Location) {
            if durability != Durability::None {
                if let Err(error) = fs::sync_dir(location.dir()) {
                    self.journal.failed(error);
                }
            }
        }

        fn report_change(&self, policy: &Policy<Config>) {
            let (counters, metadata) = (&self.journal.counters, policy.metadata());
            counters.policy_version.set(policy.version());
            counters.policy_reloads.increment();
            self.journal.note(Event::PolicyChanged {
                version: policy.version(),
                by_hand: metadata.origin() == Origin::Edit,
                made_by: format!("{}: {}", metadata.author(), metadata.origin()),
                comment: metadata.comment().map(str::to_owned),
            });
        }
    }

    fn validate(config: &Config, header: u64) -> Result<()> {
        config.validate()?;
        config.check_header(header)
    }

    /// Returns the fixed settings that differ between two versions.
    fn fixed_changes(before: &Config, after: &Config) -> impl Iterator<Item = &'static str> {
        [
            ("naming", before.naming != after.naming),
            ("delivery", before.delivery != after.delivery),
            ("maintenance", before.maintenance != after.maintenance),
            #[cfg(feature = "archive")]
            ("archive", before.archive.is_some() != after.archive.is_some()),
        ]
        .into_iter()
        .filter_map(|(setting, changed)| changed.then_some(setting))
    }
}
