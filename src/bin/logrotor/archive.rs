//! `archive`: finished segments to an object store, by hand; and the options of `write` and `run`.

use crate::exit::{CommandError, Exit, VerbResult};
use crate::interrupt::Interrupt;
use crate::maintenance::{Events, Rotate, lock, size_of, without_maintenance};
use crate::output::{self, Cell, Color, OutputOptions};
use crate::progress::{Progress, name_of};
use crate::remote::check_is_local;
use crate::report::say;
use clap::Args;
use logrotor::inspect::Inspection;
use logrotor::{
    Archive, ArchivePlan, Archiver, Compression, Config, Event, Maintenance, policy, units,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The archive of a log that is written.
#[derive(Args)]
pub(crate) struct ArchiveOptions {
    /// Copy finished segments to a store before they are removed, e.g. s3://bucket/prefix
    ///
    /// Also gs://bucket/prefix, az://container/prefix and file:///directory. The limits on backups
    /// leave what is not archived yet. Credentials come from the environment.
    #[arg(long, value_name = "URL", conflicts_with = "policy")]
    archive: Option<String>,
    /// Maximum rate of sending to the archive per second, e.g. 10MiB [default: no limit]
    #[arg(long, value_name = "SIZE", conflicts_with = "policy", value_parser = units::parse_size)]
    max_rate: Option<u64>,
}

impl ArchiveOptions {
    pub(crate) fn put_into(&self, config: &mut Config) {
        if let Some(url) = &self.archive {
            config.archive = Some(Archive::to(url));
        }
        if let (Some(archive), Some(rate)) = (&mut config.archive, self.max_rate) {
            archive.max_rate = Some(rate);
        }
    }
}

/// Copy the finished segments of a log to an object store
///
/// Sends every backup that is not in the archive yet, oldest first, and verifies it. Each becomes
/// exactly one object, which is never overwritten. Running workers that archive the log share the
/// work. If the log has compressed backups, or its policy compresses, the others are compressed
/// first.
///
/// A backup that is archived under another URL is not sent again. It is reported, and with --to the
/// exit status is 1.
///
/// Run it with --rotate --wait when a machine is shut down, so that the last segment is archived
/// too. Credentials come from the environment.
#[derive(Args)]
pub(crate) struct ArchiveCommand {
    /// Path of the log
    log: PathBuf,
    /// Where to, e.g. s3://bucket/prefix [default: as in the policy, then LOGROTOR_ARCHIVE]
    ///
    /// Also gs://bucket/prefix, az://container/prefix and file:///directory.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Rotate the log first, so that its active segment is sent too
    #[arg(long)]
    rotate: bool,
    /// Try until everything is archived, whatever fails
    #[arg(long)]
    wait: bool,
    /// Maximum rate of sending per second, e.g. 10MiB [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    max_rate: Option<u64>,
    /// Print the segments that would be sent, without sending them
    #[arg(short = 'n', long, conflicts_with = "rotate")]
    dry_run: bool,
    #[command(flatten)]
    output: OutputOptions,
}

impl ArchiveCommand {
    pub(crate) fn run(self) -> VerbResult {
        let config = self.config()?;
        let events = Events::default();
        let noted = Arc::clone(&events);
        let note = move |event: &Event| lock(&noted).push(event.clone());
        let archiver = Archiver::new(&self.log, &config, note)?;
        if self.dry_run {
            let plan = archiver.plan()?;
            self.print_plan(&plan)?;
            return Ok(self.report_elsewhere(&plan));
        }
        let interrupt = Interrupt::listen()?;
        if self.rotate {
            Rotate::of(&self.log, self.output).rotate_now()?;
        }
        let total = archiver.plan()?.bytes;
        let progress = Mutex::new(Progress::new(total));
        let go_on = || {
            let sent = lock(&events).iter().map(bytes_of).fold(0, u64::saturating_add);
            lock(&progress).at(sent, "archiving");
            !interrupt.has_arrived()
        };
        let done = self.send(&archiver, &config, &go_on);
        drop(progress);
        let left = archiver.plan()?;
        self.print_done(&lock(&events), &left)?;
        interrupt.check()?;
        let failed = done?;
        let is_complete = left.segments.is_empty();
        let elsewhere = self.report_elsewhere(&left);
        Ok(if failed || (self.wait && !is_complete) { Exit::Found } else { elsewhere })
    }

    /// Reports the backups that are archived under another URL. If one was asked for, it does not
    /// have what it should.
    fn report_elsewhere(&self, plan: &ArchivePlan) -> Exit {
        let Some(first) = plan.elsewhere.first() else { return Exit::Success };
        say(format!(
            "not sent: {} backups that are archived elsewhere, such as `{first}`; a segment is \
             archived once, so copy the objects with the store's own tools",
            plan.elsewhere.len()
        ));
        if self.to.is_some() { Exit::Found } else { Exit::Success }
    }

    /// Sends what is there, once or until everything is archived. Returns whether a segment cannot
    /// be archived.
    fn send(
        &self,
        archiver: &Archiver,
        config: &Config,
        go_on: &dyn Fn() -> bool,
    ) -> Result<bool, CommandError> {
        const LONGEST: Duration = Duration::from_secs(60);
        let mut delay = Duration::from_secs(1);
        loop {
            let sent = self.compress(config, go_on).and_then(|()| archiver.run(go_on));
            let conflicts = match sent {
                Ok(stats) => stats.archive.map_or(0, |archive| archive.conflicts),
                Err(error) if self.wait && go_on() => {
                    say(&error);
                    0
                }
                Err(error) => return Err(error.into()),
            };
            let is_complete = archiver.plan()?.segments.is_empty();
            if !self.wait || is_complete || !go_on() {
                return Ok(conflicts > 0 && !is_complete);
            }
            let slept = std::time::Instant::now();
            while slept.elapsed() < delay && go_on() {
                std::thread::sleep(Duration::from_millis(50));
            }
            delay = LONGEST.min(2 * delay);
        }
    }

    fn compress(&self, config: &Config, go_on: &dyn Fn() -> bool) -> logrotor::Result<()> {
        if config.compression == Compression::None {
            return Ok(());
        }
        let mut only_compress = without_maintenance(config.clone());
        only_compress.compression = config.compression;
        only_compress.compression_level = config.compression_level;
        only_compress.keep_uncompressed = 0;
        Maintenance::new(&self.log, &only_compress, |_| {})?.run(go_on).map(|_| ())
    }

    /// The settings of the policy, or the environment's, and what the options say.
    fn config(&self) -> Result<Config, CommandError> {
        check_is_local(&self.log)?;
        let path = policy::path_beside(&self.log);
        let mut config = match crate::policy::exists(&path)? {
            true => Config::clone(&Config::policy().open(&path)?.current()),
            false => followed(Config::default().with_env()?, &self.log)?,
        };
        let seen = Inspection::of(&self.log)?;
        if config.compression == Compression::None {
            let forms = seen.segments.iter().rev().map(|segment| segment.compression);
            config.compression =
                forms.into_iter().find(|form| *form != Compression::None).unwrap_or_default();
        }
        config.naming = seen.naming().unwrap_or(config.naming);
        config.maintenance = logrotor::MaintenanceMode::Thread;
        let options = ArchiveOptions { archive: self.to.clone(), max_rate: self.max_rate };
        options.put_into(&mut config);
        if config.archive.is_none() {
            return Err(CommandError::usage(format!(
                "no archive for `{}`; use --to URL, such as s3://bucket/prefix",
                self.log.display()
            )));
        }
        Ok(config)
    }

    fn print_plan(&self, plan: &ArchivePlan) -> Result<(), CommandError> {
        if self.output.json {
            let segment =
                |path: &PathBuf| json!({ "path": path.to_string_lossy(), "bytes": size_of(path) });
            return output::print_json(&plan.segments.iter().map(segment).collect());
        }
        let row = |path: &PathBuf| {
            vec![
                Cell::text("would archive").in_color(Color::Yellow),
                Cell::text(name_of(path)),
                size_of(path).map_or_else(Cell::none, Cell::bytes),
            ]
        };
        let columns = [("ACTION", false), ("BACKUP", false), ("SIZE", true)];
        let rows: Vec<_> = plan.segments.iter().map(row).collect();
        output::print_rows(self.output, &columns, &rows)
    }

    fn print_done(&self, events: &[Event], left: &ArchivePlan) -> Result<(), CommandError> {
        let sent = || {
            events.iter().filter_map(|event| match event {
                Event::Archived { path, object, bytes, .. } => Some((path, object, *bytes)),
                _ => None,
            })
        };
        for event in events {
            if let Event::Failed { error, .. } = event {
                say(error);
            }
        }
        if self.output.json {
            let segment = |(path, object, bytes): (&PathBuf, &String, u64)| json!({ "path": path.to_string_lossy(), "object": object, "bytes": bytes });
            let archived = sent().map(segment).collect::<Vec<_>>();
            let (left, elsewhere) = (left.segments.len(), &left.elsewhere);
            return output::print_json(
                &json!({ "archived": archived, "left": left, "elsewhere": elsewhere }),
            );
        }
        let row = |(_, object, bytes): (&PathBuf, &String, u64)| {
            let action = Cell::text("archived").in_color(Color::Green);
            vec![action, Cell::text(object), Cell::bytes(bytes)]
        };
        let columns = [("ACTION", false), ("OBJECT", false), ("SIZE", true)];
        output::print_rows(self.output, &columns, &sent().map(row).collect::<Vec<_>>())?;
        if !left.segments.is_empty() {
            say(format!("not archived yet: {} backups; see `logrotor ls`", left.segments.len()));
        }
        Ok(())
    }
}

fn bytes_of(event: &Event) -> u64 {
    match event {
        Event::Archived { bytes, .. } => *bytes,
        _ => 0,
    }
}

/// The settings of the policy that these name, or else these.
fn followed(config: Config, log: &Path) -> Result<Config, CommandError> {
    Ok(match &config.policy {
        Some(path) => Config::clone(&Config::policy().cache_beside(log).open(path)?.current()),
        None => config,
    })
}
