//! SIGINT and SIGTERM end verbs that change files between two steps, with no file half done.

#[cfg(unix)]
pub(crate) use unix::{Ignored, Interrupt};

#[cfg(unix)]
mod unix {
    use crate::exit::CommandError;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::{flag, low_level};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// The signals that this process ignores. Only Linux reports them.
    pub(crate) struct Ignored(u64);

    impl Ignored {
        pub(crate) fn read() -> Self {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            Self(mask.unwrap_or(0))
        }

        pub(crate) fn has(&self, signal: i32) -> bool {
            u32::try_from(signal - 1).is_ok_and(|bit| self.0.checked_shr(bit).unwrap_or(0) & 1 == 1)
        }
    }

    /// Whether these signals have arrived. A second one ends the process at once.
    pub(crate) struct Interrupt([(i32, Arc<AtomicBool>); 2]);

    impl Interrupt {
        pub(crate) fn listen() -> Result<Self, CommandError> {
            let signals = [SIGINT, SIGTERM].map(|signal| (signal, Arc::default()));
            let ignored = Ignored::read();
            for (signal, has_arrived) in signals.iter().filter(|(signal, _)| !ignored.has(*signal))
            {
                flag::register_conditional_default(*signal, Arc::clone(has_arrived))
                    .and_then(|_| flag::register(*signal, Arc::clone(has_arrived)))
                    .map_err(|error| {
                        CommandError::Failed(format!("failed to register signal handlers: {error}"))
                    })?;
            }
            Ok(Self(signals))
        }

        pub(crate) fn has_arrived(&self) -> bool {
            self.0.iter().any(|(_, has_arrived)| has_arrived.load(Ordering::Relaxed))
        }

        /// Ends the process as the signal would have, if one has arrived.
        pub(crate) fn end_process(&self) {
            let come = self.0.iter().find(|(_, has_arrived)| has_arrived.load(Ordering::Relaxed));
            if let Some((signal, _)) = come {
                // If that fails, the verb ends as if it were complete.
                let _ = low_level::emulate_default_handler(*signal);
            }
        }
    }
}

/// On other systems the signals end the process at once. The next maintenance pass removes its
/// temporary files.
#[cfg(not(unix))]
pub(crate) struct Interrupt;

#[cfg(not(unix))]
#[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on Unix")]
impl Interrupt {
    pub(crate) fn listen() -> Result<Self, crate::exit::CommandError> {
        Ok(Self)
    }

    pub(crate) fn has_arrived(&self) -> bool {
        false
    }

    pub(crate) fn end_process(&self) {}
}
