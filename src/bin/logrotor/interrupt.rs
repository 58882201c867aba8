//! Signals that end this process.
//!
//! SIGINT and SIGTERM end verbs that change files between two steps, with no file half done. In a
//! container this may be process 1, for which the kernel ignores the default action of signals.
//! There they end it too, with the exit status that a shell reports.

#[cfg(unix)]
pub(crate) use unix::{Ignored, Interrupt, end_by, prepare, take_over};

#[cfg(unix)]
mod unix {
    use crate::exit::CommandError;
    use signal_hook::consts::{
        SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ,
    };
    use signal_hook::{SigId, flag, low_level};
    use std::io;
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    /// The handlers that stand for default actions, which end the process.
    static DEFAULTS: Mutex<Vec<(i32, SigId)>> = Mutex::new(Vec::new());

    /// Sets the dispositions of signals for all verbs. Programs that this one starts inherit none.
    pub(crate) fn prepare() -> Result<(), CommandError> {
        let prepared = ignore_file_size_signal().and_then(|()| match std::process::id() {
            1 => end_by_default_signals(),
            _ => Ok(()),
        });
        prepared.map_err(|error| register_failed(&error))
    }

    /// A write beyond the limit of file sizes (`ulimit -f`) fails, and the failure is reported.
    fn ignore_file_size_signal() -> io::Result<()> {
        if !Ignored::read().has(SIGXFSZ) {
            // A handler that does nothing, as another program would inherit the ignored signal.
            flag::register(SIGXFSZ, Arc::default())?;
        }
        Ok(())
    }

    fn end_by_default_signals() -> io::Result<()> {
        let ignored = Ignored::read();
        let mut defaults = DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
            if !ignored.has(signal) {
                let always = Arc::new(AtomicBool::new(true));
                let handler = flag::register_conditional_shutdown(signal, 128 + signal, always)?;
                defaults.push((signal, handler));
            }
        }
        Ok(())
    }

    /// Leaves a signal to the verb, which has a handler of its own.
    pub(crate) fn take_over(signal: i32) {
        let mut defaults = DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner);
        defaults.retain(|(of, handler)| *of != signal || !low_level::unregister(*handler));
    }

    /// Ends the process as the signal would.
    pub(crate) fn end_by(signal: i32) -> ExitCode {
        if std::process::id() != 1 {
            // If that fails, the exit status names the signal.
            let _ = low_level::emulate_default_handler(signal);
        }
        u8::try_from(128 + signal).unwrap_or(u8::MAX).into()
    }

    fn register_failed(error: &io::Error) -> CommandError {
        CommandError::Failed(format!("failed to register signal handlers: {error}"))
    }

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
                end_at_second(*signal, has_arrived)
                    .and_then(|_| flag::register(*signal, Arc::clone(has_arrived)))
                    .map_err(|error| register_failed(&error))?;
                take_over(*signal);
            }
            Ok(Self(signals))
        }

        pub(crate) fn has_arrived(&self) -> bool {
            self.0.iter().any(|(_, has_arrived)| has_arrived.load(Ordering::Relaxed))
        }

        /// Fails if a signal has arrived, so that the process ends as the signal would have ended
        /// it.
        pub(crate) fn check(&self) -> Result<(), CommandError> {
            let come = self.0.iter().find(|(_, has_arrived)| has_arrived.load(Ordering::Relaxed));
            come.map_or(Ok(()), |(signal, _)| Err(CommandError::Signal(*signal)))
        }
    }

    fn end_at_second(signal: i32, has_arrived: &Arc<AtomicBool>) -> io::Result<SigId> {
        let has_arrived = Arc::clone(has_arrived);
        match std::process::id() {
            1 => flag::register_conditional_shutdown(signal, 128 + signal, has_arrived),
            _ => flag::register_conditional_default(signal, has_arrived),
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

    pub(crate) fn check(&self) -> Result<(), crate::exit::CommandError> {
        Ok(())
    }
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "as on Unix")]
pub(crate) fn prepare() -> Result<(), crate::exit::CommandError> {
    Ok(())
}
