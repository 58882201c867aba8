//! `compress`, `prune` and `rotate`: by hand what a log's workers do, safely beside them.

use crate::exit::{CommandError, Exit, VerbResult};
use crate::interrupt::Interrupt;
use crate::output::{self, Cell, Color, OutputOptions};
use crate::progress::{Progress, name_of};
use clap::{ArgGroup, Args, ValueEnum};
use logrotor::inspect::{Inspection, Usage};
use logrotor::{
    Compression, Config, Delivery, Event, Maintenance, MaintenanceMode, Naming, RotatingFileWriter,
    Segment, Stats, policy,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Compress a log's plain backups
///
/// By default as the log's policy says, or else with gzip. A backup that a writer or a reader has open is left
/// alone. If there are backups with names by time and by number, it is about those like the newest. SIGINT and SIGTERM
/// end it with what it is at undone, and are then its end, so that a shell sees 130 or 143.
#[derive(Args)]
#[command(group(ArgGroup::new("codec").args(["gzip", "zstd"])))]
pub(crate) struct Compress {
    /// Use gzip
    #[arg(long)]
    gzip: bool,
    /// Use Zstandard
    #[arg(long)]
    zstd: bool,
    /// How hard to try: 1 to 9 for gzip, 1 to 22 for Zstandard
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    #[command(flatten)]
    target: BackupOptions,
}

/// Remove a log's oldest backups, as limits say
///
/// Without limits, those of the log's policy hold. A backup that a writer or a reader has open is left alone. If there
/// are backups with names by time and by number, it is about those like the newest.
#[derive(Args)]
#[command(group(ArgGroup::new("limit").multiple(true).args(["keep", "max_total", "max_backup_age", "min_free"])))]
pub(crate) struct Prune {
    /// Keep this many backups
    #[arg(long, value_name = "N")]
    keep: Option<String>,
    /// Keep the log within this size, the active segment included: 1GiB
    #[arg(long, value_name = "SIZE")]
    max_total: Option<String>,
    /// Keep backups for this long: 30days
    #[arg(long, value_name = "SPAN")]
    max_backup_age: Option<String>,
    /// Leave so much free on the file system: 5GiB
    #[arg(long, value_name = "SIZE")]
    min_free: Option<String>,
    #[command(flatten)]
    target: BackupOptions,
}

/// End a log's active segment, and begin the next
///
/// Writers follow at once or with their next look, and no record is lost. A log that is not there is not made,
/// and a segment without a record is not ended. The next segment gets no header that its writers may have.
#[derive(Args)]
pub(crate) struct Rotate {
    /// The log, as its writers name it
    log: PathBuf,
    /// How the backup is named [default: as the newest one is, or else as the policy says, or else by time]
    #[arg(long, value_enum)]
    naming: Option<Names>,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Args)]
struct BackupOptions {
    /// The log, as its writers name it
    log: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Names {
    Timestamp,
    Number,
}

/// The settings of a log as they are known from outside: those of its policy, if it has one, with the naming
/// that its backups have.
fn settings(log: &Path, seen: &Inspection) -> Result<(Config, bool), CommandError> {
    let path = policy::path_beside(log);
    let has_policy = path.exists();
    let mut config = Config::default();
    if has_policy {
        config.clone_from(&Config::policy().open(&path)?.current());
    }
    config.naming = seen.naming().unwrap_or(config.naming);
    Ok((config, has_policy))
}

/// The same without anything that is done to backups.
fn without_maintenance(mut config: Config) -> Config {
    (config.compression, config.compression_level) = (Compression::None, None);
    (config.max_backups, config.max_total_size) = (None, None);
    (config.max_backup_age, config.min_free_space) = (None, None);
    config
}

impl Compress {
    pub(crate) fn run(self) -> VerbResult {
        let seen = Inspection::of(&self.target.log)?;
        let (settings, _) = settings(&self.target.log, &seen)?;
        let mut config = without_maintenance(settings.clone());
        (config.compression, config.compression_level) = match (self.gzip, self.zstd) {
            (true, _) => (Compression::Gzip, None),
            (_, true) => (Compression::Zstd, None),
            _ if settings.compression == Compression::None => (Compression::Gzip, None),
            _ => (settings.compression, settings.compression_level),
        };
        config.compression_level = self.level.or(config.compression_level);
        self.target.maintain(&config)
    }
}

impl Prune {
    pub(crate) fn run(self) -> VerbResult {
        let seen = Inspection::of(&self.target.log)?;
        let (settings, has_policy) = settings(&self.target.log, &seen)?;
        let limits = [
            ("max_backups", &self.keep),
            ("max_total_size", &self.max_total),
            ("max_backup_age", &self.max_backup_age),
            ("min_free_space", &self.min_free),
        ];
        let mut config = without_maintenance(settings.clone());
        if limits.iter().all(|(_, value)| value.is_none()) {
            (config.max_backups, config.max_total_size) =
                (settings.max_backups, settings.max_total_size);
            config.max_backup_age = settings.max_backup_age;
            config.min_free_space = settings.min_free_space;
            if config == without_maintenance(settings) {
                let why = if has_policy { "its policy sets none" } else { "it has no policy" };
                return Err(CommandError::usage(format!(
                    "no limit to prune `{}` to: {why}; use --keep N, --max-total SIZE, --max-backup-age SPAN or \
                     --min-free SIZE",
                    self.target.log.display()
                )));
            }
            return self.target.maintain(&config);
        }
        // What is there now counts, not what the active segment may grow to.
        config.max_size = 1;
        for (setting, value) in limits {
            if let Some(value) = value {
                config.set(setting, value)?;
            }
        }
        self.target.maintain(&config)
    }
}

/// What was done, in order.
type Events = Arc<Mutex<Vec<Event>>>;

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
        let total = plan.compress.iter().map(|segment| segment.bytes).sum();
        let progress = Mutex::new(Progress::new(total));
        let done = maintenance.run(&|| {
            let compressed = |event: &Event| match event {
                Event::Compressed { bytes_before, .. } => *bytes_before,
                _ => 0,
            };
            let compressed = lock(&events).iter().map(compressed).sum();
            lock(&progress).at(compressed, "compressing");
            !interrupt.has_come()
        });
        drop(progress);
        // What was given up counts as put off.
        let stats = done.as_ref().ok().filter(|_| !interrupt.has_come());
        self.print_done(&lock(&events), stats)?;
        interrupt.obey();
        done?;
        Ok(Exit::Success)
    }

    fn print_plan(&self, prune: &[Segment], compress: &[Segment]) -> VerbResult {
        let all = || {
            let prune = prune.iter().map(|segment| ("prune", segment));
            prune.chain(compress.iter().map(|segment| ("compress", segment)))
        };
        if self.output.json {
            let action = |(action, segment): (&str, &Segment)| json!({ "action": action, "path": segment.path.to_string_lossy(), "bytes": segment.bytes });
            output::print_json(&all().map(action).collect())?;
            return Ok(Exit::Success);
        }
        let row = |(action, segment): (&str, &Segment)| {
            vec![
                Cell::text(format!("would {action}")).in_color(Color::Yellow),
                Cell::text(name_of(&segment.path)),
                Cell::bytes(segment.bytes),
            ]
        };
        let columns = [("ACTION", false), ("BACKUP", false), ("SIZE", true)];
        output::print_rows(self.output, &columns, &all().map(row).collect::<Vec<_>>())?;
        Ok(Exit::Success)
    }

    fn print_done(&self, events: &[Event], done: Option<&Stats>) -> Result<(), CommandError> {
        let told = events.iter().filter_map(|event| match event {
            Event::Pruned { path, bytes, .. } => Some(("pruned", path, *bytes, None)),
            Event::Compressed { to, bytes_before, bytes_after, .. } => {
                Some(("compressed", to, *bytes_before, Some(*bytes_after)))
            }
            _ => None,
        });
        let deferred = done.map_or(0, |stats| stats.deferrals);
        if self.output.json {
            let action = |(action, path, bytes, after): (&str, &PathBuf, u64, Option<u64>)| json!({ "action": action, "path": path.to_string_lossy(), "bytes": bytes, "bytes_after": after });
            let actions: Vec<_> = told.map(action).collect();
            return output::print_json(&json!({ "actions": actions, "deferred": deferred }));
        }
        let row = |(action, path, bytes, after): (&str, &PathBuf, u64, Option<u64>)| {
            let (path, after) =
                (Cell::text(name_of(path)), after.map_or_else(Cell::none, Cell::bytes));
            vec![Cell::text(action).in_color(Color::Green), path, Cell::bytes(bytes), after]
        };
        let columns = [("ACTION", false), ("BACKUP", false), ("SIZE", true), ("NOW", true)];
        output::print_rows(self.output, &columns, &told.map(row).collect::<Vec<_>>())?;
        if deferred > 0 {
            crate::report::say(format!(
                "{deferred} left alone, as somebody has them open: see `logrotor ls`"
            ));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rotate {
    pub(crate) fn run(self) -> VerbResult {
        let (seen, bytes) = self.inspect()?;
        let backup = if bytes == 0 { None } else { self.rotate(&seen)? };
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
                "nothing to rotate: `{log}` has no record, or a writer was first"
            ));
        }
        Ok(Exit::Success)
    }

    /// The log, and the size of its active segment. While somebody else rotates, there is none for a moment.
    fn inspect(&self) -> Result<(Inspection, u64), CommandError> {
        const LOOKS: usize = 3;
        const PATIENCE: Duration = Duration::from_secs(5);
        let (start, mut alone) = (Instant::now(), 0);
        loop {
            let seen = Inspection::of(&self.log)?;
            if let Some(active) = seen.segments.last().filter(|segment| segment.is_active()) {
                let bytes = active.bytes;
                return Ok((seen, bytes));
            }
            let is_rotating = seen.rotating.is_some_and(|holder| holder != Usage::Free);
            alone = if is_rotating { 0 } else { alone + 1 };
            if alone == LOOKS || start.elapsed() > PATIENCE {
                return Err(CommandError::Failed(format!(
                    "failed to rotate `{}`: it has backups, but no active segment; its next writer makes one",
                    self.log.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn rotate(&self, seen: &Inspection) -> Result<Option<PathBuf>, CommandError> {
        let (settings, _) = settings(&self.log, seen)?;
        let mut config = without_maintenance(settings);
        config.naming = match self.naming {
            Some(Names::Timestamp) => Naming::Timestamp,
            Some(Names::Number) => Naming::Number,
            None => config.naming,
        };
        // Nothing but what is asked for.
        (config.max_size, config.max_age, config.rotate_every) = (u64::MAX, None, None);
        (config.rotate_on_open, config.delivery) = (false, Delivery::Direct);
        config.maintenance = MaintenanceMode::Inline;
        let log = RotatingFileWriter::from_config(&self.log, config)?;
        let backup = log.rotate()?;
        log.close()?;
        Ok(backup)
    }
}
