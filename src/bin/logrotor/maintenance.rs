//! `compress`, `prune` and `rotate`: maintenance by hand, safe beside running workers.

use crate::exit::{CommandError, Exit, VerbResult};
use crate::interrupt::Interrupt;
use crate::limits::{CodecOptions, LimitOptions};
use crate::number::number;
use crate::output::{self, Cell, Color, OutputOptions};
use crate::progress::{Progress, name_of};
use crate::remote::check_is_local;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use logrotor::inspect::{self, Inspection, Usage};
use logrotor::{
    Compression, Config, DeferralReason, Delivery, Event, Maintenance, MaintenanceMode, Naming,
    RotatingFileWriter, Stats, policy,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Compress the uncompressed backups of a log
///
/// Uses the compression of the log's policy, or gzip if it has none. Skips the newest backups that
/// the policy or an option keeps uncompressed, and those that a worker or a reader has open. If the
/// log has both timestamped and numbered backups, only those named like the newest are compressed.
///
/// SIGINT and SIGTERM discard the file in progress; the exit status is then 130 or 143.
#[derive(Args)]
pub(crate) struct Compress {
    #[command(flatten)]
    codec: CodecOptions,
    /// Compression level: 1 to 9 for gzip [default: 6], 1 to 22 for Zstandard [default: 3]
    #[arg(long, value_name = "N", value_parser = number::<u32>)]
    level: Option<u32>,
    #[command(flatten)]
    target: BackupOptions,
}

/// Remove the oldest backups of a log that exceed limits
///
/// Uses the limits of the log's policy if none are given. Several limits apply together. Skips
/// backups that a worker or a reader has open. If the log has both timestamped and numbered
/// backups, only those named like the newest are removed.
#[derive(Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    target: BackupOptions,
}

/// Rotate a log now: its active segment becomes a backup
///
/// Fails if the log does not exist, and does nothing if the active segment is empty. Running
/// workers switch to the new segment, and no record is lost. The first worker that switches writes
/// its header, if it has one.
#[derive(Args)]
pub(crate) struct Rotate {
    /// Path of the log
    log: PathBuf,
    /// Name of the backup [default: like the newest backup, then as in the policy, then timestamp]
    #[arg(long, value_name = "NAMES", value_parser = naming())]
    naming: Option<Naming>,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Args)]
struct BackupOptions {
    /// Path of the log
    log: PathBuf,
    /// Print the actions without doing them
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputOptions,
}

fn naming() -> impl TypedValueParser<Value = Naming> {
    let words = PossibleValuesParser::new(["timestamp", "timestamp-infix", "number"]);
    words.try_map(|word| word.replace('-', "_").parse())
}

/// The settings of a log's policy, or the defaults, with the naming that its backups have. Also
/// returns whether there is a policy.
fn settings(log: &Path) -> Result<(Config, bool), CommandError> {
    check_is_local(log)?;
    let naming = inspect::naming(log)?;
    let path = policy::path_beside(log);
    let has_policy = crate::policy::exists(&path)?;
    let mut config = Config::default();
    if has_policy {
        config.clone_from(&Config::policy().open(&path)?.current());
    }
    config.naming = naming.unwrap_or(config.naming);
    Ok((config, has_policy))
}

/// The settings without compression and limits.
pub(crate) fn without_maintenance(mut config: Config) -> Config {
    (config.compression, config.compression_level) = (Compression::None, None);
    config.keep_uncompressed = 0;
    (config.max_backups, config.max_total_size) = (None, None);
    (config.max_backup_age, config.min_free_space) = (None, None);
    config
}

impl Compress {
    pub(crate) fn run(self) -> VerbResult {
        let (settings, _) = settings(&self.target.log)?;
        let mut config = without_maintenance(settings.clone());
        (config.compression, config.compression_level) = match self.codec.chosen() {
            Some((codec, _)) => (codec, None),
            None if settings.compression == Compression::None => (Compression::Gzip, None),
            None => (settings.compression, settings.compression_level),
        };
        config.compression_level = self.level.or(config.compression_level);
        config.keep_uncompressed = settings.keep_uncompressed;
        if let Some((setting, _, value)) = self.codec.given() {
            config.set(setting, value)?;
        }
        self.target.maintain(&config)
    }
}

impl Prune {
    pub(crate) fn run(self) -> VerbResult {
        let (settings, has_policy) = settings(&self.target.log)?;
        let mut config = without_maintenance(settings.clone());
        if self.limits.given().next().is_none() {
            (config.max_backups, config.max_total_size) =
                (settings.max_backups, settings.max_total_size);
            config.max_backup_age = settings.max_backup_age;
            config.min_free_space = settings.min_free_space;
            if config == without_maintenance(settings) {
                let why = if has_policy { "its policy sets none" } else { "it has no policy" };
                return Err(CommandError::usage(format!(
                    "no limits to prune `{}`: {why}; use --keep N, --max-total SIZE, --max-backup-age SPAN or \
                     --min-free SIZE",
                    self.target.log.display()
                )));
            }
            return self.target.maintain(&config);
        }
        // Counts the active segment as it is, without the room to grow.
        (config.max_size, config.min_interval) = (1, None);
        for (setting, _, value) in self.limits.given() {
            config.set(setting, value)?;
        }
        self.target.maintain(&config)
    }
}

/// The actions so far, in order.
pub(crate) type Events = Arc<Mutex<Vec<Event>>>;

impl BackupOptions {
    fn maintain(&self, config: &Config) -> VerbResult {
        let events = Events::default();
        let noted = Arc::clone(&events);
        let note = move |event: &Event| lock(&noted).push(event.clone());
        let maintenance = Maintenance::new(&self.log, config, note)?;
        let plan = maintenance.plan()?;
        if self.dry_run {
            return self.print_plan(&plan.prune, &plan.compress);
        }
        let interrupt = Interrupt::listen()?;
        let sizes = plan.compress.iter().filter_map(|path| size_of(path));
        let total = sizes.fold(0, u64::saturating_add);
        let progress = Mutex::new(Progress::new(total));
        let done = maintenance.run(&|| {
            let compressed = |event: &Event| match event {
                Event::Compressed { bytes_before, .. } => *bytes_before,
                _ => 0,
            };
            let compressed = lock(&events).iter().map(compressed).fold(0, u64::saturating_add);
            lock(&progress).at(compressed, "compressing");
            !interrupt.has_arrived()
        });
        drop(progress);
        // An interrupted action counts as deferred.
        let stats = done.as_ref().ok().filter(|_| !interrupt.has_arrived());
        self.print_done(&lock(&events), stats)?;
        interrupt.check()?;
        done?;
        Ok(Exit::Success)
    }

    fn print_plan(&self, prune: &[PathBuf], compress: &[PathBuf]) -> VerbResult {
        let all = || {
            let prune = prune.iter().map(|path| ("prune", path));
            prune.chain(compress.iter().map(|path| ("compress", path)))
        };
        if self.output.json {
            let action = |(action, path): (&str, &PathBuf)| json!({ "action": action, "path": path.to_string_lossy(), "bytes": size_of(path) });
            output::print_json(&all().map(action).collect())?;
            return Ok(Exit::Success);
        }
        let row = |(action, path): (&str, &PathBuf)| {
            vec![
                Cell::text(format!("would {action}")).in_color(Color::Yellow),
                Cell::text(name_of(path)),
                size_of(path).map_or_else(Cell::none, Cell::bytes),
            ]
        };
        let columns = [("ACTION", false), ("BACKUP", false), ("SIZE", true)];
        output::print_rows(self.output, &columns, &all().map(row).collect::<Vec<_>>())?;
        Ok(Exit::Success)
    }

    fn print_done(&self, events: &[Event], done: Option<&Stats>) -> Result<(), CommandError> {
        let done_actions = events.iter().filter_map(|event| match event {
            Event::Pruned { path, bytes, .. } => Some(("prune", path, *bytes, None)),
            Event::Compressed { to, bytes_before, bytes_after, .. } => {
                Some(("compress", to, *bytes_before, Some(*bytes_after)))
            }
            _ => None,
        });
        let deferred = done.map_or(0, |stats| stats.deferrals);
        let deferrals = deferrals(events);
        if self.output.json {
            let action = |(action, path, bytes, after): (&str, &PathBuf, u64, Option<u64>)| json!({ "action": action, "path": path.to_string_lossy(), "bytes": bytes, "bytes_after": after });
            let actions: Vec<_> = done_actions.map(action).collect();
            return output::print_json(
                &json!({ "actions": actions, "deferred": deferred, "deferrals": deferrals_json(&deferrals) }),
            );
        }
        let row = |(action, path, bytes, after): (&str, &PathBuf, u64, Option<u64>)| {
            let action = if action == "prune" { "pruned" } else { "compressed" };
            let after = after.map_or_else(Cell::none, Cell::bytes);
            let path = Cell::text(name_of(path));
            vec![Cell::text(action).in_color(Color::Green), path, Cell::bytes(bytes), after]
        };
        let columns = [("ACTION", false), ("BACKUP", false), ("SIZE", true), ("NOW", true)];
        output::print_rows(self.output, &columns, &done_actions.map(row).collect::<Vec<_>>())?;
        for (reason, _, text) in REASONS {
            let count = deferrals.iter().filter(|(_, why)| *why == reason).count();
            if done.is_some() && count > 0 {
                crate::report::say(format!("skipped backups {text}: {count}; see `logrotor ls`"));
            }
        }
        Ok(())
    }
}

/// How long `rotate` waits for the rotation lock, if the policy allows no longer.
const ROTATE_TIMEOUT: Duration = Duration::from_secs(10);

/// The reasons for leaving a backup, as JSON has them and as a message has them.
const REASONS: [(DeferralReason, &str, &str); 5] = [
    (DeferralReason::InUse, "in_use", "in use"),
    (DeferralReason::BeingWritten, "being_written", "that another program is writing"),
    (DeferralReason::BeingCompressed, "being_compressed", "that are being compressed"),
    (DeferralReason::NoSpace, "no_space", "for lack of free space"),
    (DeferralReason::NotArchived, "not_archived", "that are not archived yet"),
];

/// The backups that were left, and why.
fn deferrals(events: &[Event]) -> Vec<(&PathBuf, DeferralReason)> {
    let deferral = |event| match event {
        &Event::Deferred { ref path, reason, .. } => Some((path, reason)),
        _ => None,
    };
    events.iter().filter_map(deferral).collect()
}

fn deferrals_json(deferrals: &[(&PathBuf, DeferralReason)]) -> serde_json::Value {
    let word =
        |reason| REASONS.iter().find(|(known, ..)| *known == reason).map(|(_, word, _)| word);
    let all = deferrals
        .iter()
        .map(|(path, reason)| json!({ "path": path.to_string_lossy(), "reason": word(*reason) }));
    all.collect()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rotate {
    #[cfg(feature = "archive")]
    pub(crate) fn of(log: &Path, output: OutputOptions) -> Self {
        Self { log: log.to_owned(), naming: None, output }
    }

    /// Returns the new backup; `None` if there was nothing to rotate.
    pub(crate) fn rotate_now(&self) -> Result<Option<PathBuf>, CommandError> {
        check_is_local(&self.log)?;
        if self.active_bytes()? == 0 { Ok(None) } else { self.rotate() }
    }

    pub(crate) fn run(self) -> VerbResult {
        let backup = self.rotate_now()?;
        if self.output.json {
            output::print_json(
                &json!({ "backup": backup.map(|path| path.to_string_lossy().into_owned()) }),
            )?;
        } else if let Some(backup) = backup {
            output::print_rows(
                self.output,
                &[("BACKUP", false)],
                &[vec![Cell::text(backup.to_string_lossy())]],
            )?;
        } else {
            let log = self.log.display();
            crate::report::say(format!(
                "nothing to rotate: the active segment of `{log}` is empty, or another process was first"
            ));
        }
        Ok(Exit::Success)
    }

    /// Returns the size of the active segment. During another process's rotation there may be none
    /// for a moment.
    fn active_bytes(&self) -> Result<u64, CommandError> {
        const LOOKS: usize = 3;
        if let Some(active) = self.log.metadata().ok().filter(std::fs::Metadata::is_file) {
            return Ok(active.len());
        }
        const TIMEOUT: Duration = Duration::from_secs(5);
        let (start, mut alone) = (Instant::now(), 0);
        loop {
            let seen = Inspection::of(&self.log)?;
            if let Some(active) = seen.segments.last().filter(|segment| segment.is_active()) {
                return Ok(active.bytes);
            }
            let is_rotating = seen.rotating.is_some_and(|holder| holder != Usage::Free);
            alone = if is_rotating { 0 } else { alone + 1 };
            if alone == LOOKS || start.elapsed() > TIMEOUT {
                return Err(CommandError::Failed(format!(
                    "failed to rotate `{}`: it has backups but no active segment; the next worker creates one",
                    self.log.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn rotate(&self) -> Result<Option<PathBuf>, CommandError> {
        let (settings, _) = settings(&self.log)?;
        let mut config = without_maintenance(settings);
        config.naming = self.naming.unwrap_or(config.naming);
        // Nothing but this rotation.
        (config.max_size, config.max_age) = (u64::MAX, None);
        (config.rotate_every, config.rotate_at) = (None, None);
        (config.rotate_on_open, config.delivery) = (false, Delivery::Direct);
        // No log call waits for it, and many workers may rotate at once.
        config.lock_timeout = config.lock_timeout.max(ROTATE_TIMEOUT);
        config.maintenance = MaintenanceMode::Inline;
        #[cfg(feature = "archive")]
        {
            config.archive = None;
        }
        let log = RotatingFileWriter::from_config(&self.log, config)?;
        let backup = log.rotate()?;
        // Of what comes with a rotation, the pass over the backups above all.
        if let Some(error) = log.stats().last_error {
            crate::report::say(error);
        }
        Ok(backup)
    }
}

/// The size in bytes of a file, unless it is gone.
pub(crate) fn size_of(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.len())
}
