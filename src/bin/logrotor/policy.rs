//! `policy`: the settings file that all workers of a log share.

use crate::editor::{edited, keep};
use crate::exit::{CommandError, Exit, VerbResult};
use crate::number::number;
use crate::output::{self, Cell, Color, OutputOptions, printable, rfc3339};
use crate::remote::is_url;
use crate::report;
use clap::{Args, Subcommand};
use logrotor::policy::{self, HistoryEntry, Policy, PolicyStore, PolicyStoreBuilder};
use logrotor::{Config, Error, ErrorKind, units};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Show or change the settings that all workers of a log share
///
/// The policy is a file beside the log, `<LOG>.policy.toml`, with a version number and a checksum.
/// Older versions are kept. Workers that use the policy reload it within a second of a change.
///
/// Machines can share a policy in an object store, etcd or PostgreSQL, named by its URL, e.g.
/// s3://bucket/prefix/app.policy, etcd://host:2379/app.policy or
/// postgres://user@host/database/app.policy. Their workers reload it within 10 s of a change, or at
/// once from etcd and PostgreSQL.
#[derive(Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Subcommand)]
enum PolicyVerb {
    /// Print the current policy
    Show(ShowPolicy),
    /// Change settings
    Set(SetPolicy),
    /// Change the policy in an editor: $VISUAL, $EDITOR or vi
    ///
    /// An invalid text is rejected with the line number, and kept in a file.
    Edit(EditPolicy),
    /// List the kept versions and their authors
    History(ShowPolicy),
    /// Show the settings that differ between two versions
    Diff(DiffPolicy),
    /// Publish an older version again, as a new version
    Rollback(RollbackPolicy),
    /// Check the policy. Exits with status 1 if it is damaged
    Verify(VerifyPolicy),
}

#[derive(Args)]
struct PolicyTarget {
    /// Path of the log, or the URL of a policy that machines share, e.g.
    /// s3://bucket/prefix/app.policy
    log: PathBuf,
    /// Path of the policy file [default: <LOG>.policy.toml]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How long to wait for other processes that change the policy, and for a system that does not
    /// answer [default: 5s for a file, 30s for a URL]
    #[arg(long, value_name = "SPAN", value_parser = units::parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Args)]
struct ShowPolicy {
    #[command(flatten)]
    target: PolicyTarget,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Args)]
struct SetPolicy {
    #[command(flatten)]
    target: PolicyTarget,
    /// Settings, e.g. max_size=64MiB max_backups=7 compression=gzip; `none` removes an optional one
    #[arg(value_name = "SETTING=VALUE", required = true, value_parser = assignment)]
    settings: Vec<(String, String)>,
    /// Reason of the change, for the history
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Fail unless this is the current version
    #[arg(long, value_name = "N", value_parser = number::<u64>)]
    if_version: Option<u64>,
    /// Create the policy if it does not exist
    #[arg(long)]
    create: bool,
}

#[derive(Args)]
struct EditPolicy {
    #[command(flatten)]
    target: PolicyTarget,
    /// Reason of the change, for the history
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

#[derive(Args)]
struct DiffPolicy {
    #[command(flatten)]
    target: PolicyTarget,
    /// The first version
    #[arg(value_parser = number::<u64>)]
    before: u64,
    /// The second version [default: the current one]
    #[arg(value_parser = number::<u64>)]
    after: Option<u64>,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Args)]
struct RollbackPolicy {
    #[command(flatten)]
    target: PolicyTarget,
    /// The version to publish again
    #[arg(value_parser = number::<u64>)]
    version: u64,
    /// Reason of the change, for the history
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

#[derive(Args)]
struct VerifyPolicy {
    #[command(flatten)]
    target: PolicyTarget,
    /// Restore the last intact version and keep the damaged file beside it
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    output: OutputOptions,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (setting, value) =
        text.split_once('=').ok_or("use SETTING=VALUE, such as max_backups=7")?;
    Ok((setting.trim().to_owned(), value.trim().to_owned()))
}

type Store = PolicyStore<Config>;

impl PolicyCommand {
    pub(crate) fn run(self) -> VerbResult {
        match self.verb {
            PolicyVerb::Show(verb) => verb.show(),
            PolicyVerb::Set(verb) => verb.run(),
            PolicyVerb::Edit(verb) => verb.run(),
            PolicyVerb::History(verb) => verb.history(),
            PolicyVerb::Diff(verb) => verb.run(),
            PolicyVerb::Rollback(verb) => verb.run(),
            PolicyVerb::Verify(verb) => verb.run(),
        }
    }
}

impl PolicyTarget {
    fn path(&self) -> PathBuf {
        if let Some(file) = &self.file {
            return file.clone();
        }
        if is_url(&self.log) { self.log.clone() } else { policy::path_beside(&self.log) }
    }

    fn builder(&self) -> PolicyStoreBuilder<Config> {
        match self.timeout {
            Some(timeout) => Config::policy().lock_timeout(timeout),
            None => Config::policy(),
        }
    }

    fn open(&self) -> Result<Store, CommandError> {
        let path = self.path();
        self.builder().open(&path).map_err(|error| {
            if error.kind() == ErrorKind::Io && matches!(path.try_exists(), Ok(false)) {
                let (path, log) = (path.display(), self.log.display());
                return CommandError::Failed(format!(
                    "policy `{path}` does not exist; create it with `logrotor policy set {log} SETTING=VALUE --create`"
                ));
            }
            error.into()
        })
    }
}

/// Whether there is a policy. If the system does not say, it is not taken for none.
pub(crate) fn exists(path: &Path) -> Result<bool, CommandError> {
    path.try_exists().map_err(|error| {
        CommandError::Failed(format!("failed to look at policy `{}`: {error}", path.display()))
    })
}

/// Opens the policy to show it, and reports problems of the file.
fn open_to_show(target: &PolicyTarget) -> Result<(Store, Exit), CommandError> {
    let store = target.open()?;
    let exit = match store.problem() {
        None => Exit::Success,
        Some(problem) => {
            report::say(format!("{problem}; version {} stays in use", store.version()));
            Exit::Found
        }
    };
    Ok((store, exit))
}

impl ShowPolicy {
    fn show(self) -> VerbResult {
        let (store, exit) = open_to_show(&self.target)?;
        let policy = store.current();
        if self.output.json {
            output::print_json(&policy_json(&policy)?)?;
        } else {
            let mut out = output::out();
            for line in policy.text().lines() {
                let is_header = line.starts_with('#') && self.output.is_colored();
                let line = if is_header { Color::Dim.paint(line) } else { line.to_owned() };
                writeln!(out, "{line}")?;
            }
            out.flush()?;
        }
        Ok(exit)
    }

    fn history(self) -> VerbResult {
        let (store, mut exit) = open_to_show(&self.target)?;
        let history = store.history()?;
        if history.iter().any(|entry| entry.metadata.is_err()) {
            exit = Exit::Found;
        }
        if self.output.json {
            output::print_json(&history.iter().map(entry_json).collect())?;
            return Ok(exit);
        }
        let columns = [
            ("VERSION", true),
            ("WRITTEN", false),
            ("BY", false),
            ("HOW", false),
            ("COMMENT", false),
        ];
        let rows: Vec<_> = history.iter().map(entry_row).collect();
        output::print_rows(self.output, &columns, &rows)?;
        Ok(exit)
    }
}

fn policy_json(policy: &Policy<Config>) -> Result<Value, CommandError> {
    let settings: Value = serde_json::from_str(&policy.to_json()?)
        .map_err(|error| CommandError::Failed(error.to_string()))?;
    let mut all = metadata_json(policy.metadata());
    all["settings"] = settings;
    Ok(all)
}

fn metadata_json(metadata: &policy::Metadata) -> Value {
    json!({
        "version": metadata.version(),
        "written": rfc3339(metadata.written()),
        "pid": metadata.author().pid(),
        "host": metadata.author().host(),
        "user": metadata.author().user(),
        "origin": metadata.origin().to_string(),
        "comment": metadata.comment(),
    })
}

fn entry_json(entry: &HistoryEntry) -> Value {
    match &entry.metadata {
        Ok(metadata) => metadata_json(metadata),
        Err(error) => json!({ "version": entry.version, "damage": error.to_string() }),
    }
}

fn entry_row(entry: &HistoryEntry) -> Vec<Cell> {
    let version = Cell::text(entry.version.to_string());
    match &entry.metadata {
        Ok(metadata) => vec![
            version,
            Cell::time(metadata.written()),
            Cell::text(metadata.author().to_string()),
            Cell::text(metadata.origin().to_string()),
            metadata.comment().map_or_else(Cell::none, Cell::text),
        ],
        Err(error) => {
            let damage = Cell::text(error.to_string()).in_color(Color::Red);
            vec![version, Cell::none(), Cell::none(), Cell::none(), damage]
        }
    }
}

impl SetPolicy {
    fn run(self) -> VerbResult {
        let store = if self.create {
            self.target.builder().open_or_create(self.target.path(), Config::default)?
        } else {
            self.target.open()?
        };
        let set = |config: &mut Config| {
            self.settings.iter().try_for_each(|(setting, value)| config.set(setting, value))
        };
        let mut change = store.begin_update();
        if let Some(comment) = &self.comment {
            change = change.comment(comment);
        }
        if let Some(version) = self.if_version {
            change = change.if_version(version);
        }
        let before = store.version();
        let policy = change.try_apply(set)??;
        print_change(&store, before.min(policy.version() - 1), &policy)
    }
}

/// Prints the result of a change.
fn print_change(store: &Store, before: u64, policy: &Policy<Config>) -> VerbResult {
    let mut out = output::out();
    writeln!(out, "version {}", policy.version())?;
    // The change is made, whether or not the system goes on answering.
    out.flush()?;
    // The older version may have been removed.
    for difference in store.diff(before, policy.version()).unwrap_or_default() {
        writeln!(out, "{difference}")?;
    }
    out.flush()?;
    Ok(Exit::Success)
}

impl EditPolicy {
    fn run(self) -> VerbResult {
        let store = self.target.open()?;
        let before = store.current().into_arc();
        let (copy, text) = edited(before.text())?;
        if text == before.text() {
            report::say("the policy is unchanged");
            return Ok(Exit::Success);
        }
        let mut change = store.begin_update().if_version(before.version());
        if let Some(comment) = &self.comment {
            change = change.comment(comment);
        }
        match change.import(&text) {
            Ok(policy) => print_change(&store, before.version(), &policy),
            Err(error) => Err(keep(copy, &error)),
        }
    }
}

/// Adds the versions that are kept to a failure, if one that was asked for is not.
fn with_versions(store: &Store, asked: &[u64], error: Error) -> CommandError {
    if error.kind() != ErrorKind::Io {
        return error.into();
    }
    let Ok(history) = store.history() else { return error.into() };
    let mut kept: Vec<_> = history.iter().map(|entry| entry.version).collect();
    kept.sort_unstable();
    if asked.iter().all(|version| kept.contains(version)) {
        return error.into();
    }
    let runs = kept.chunk_by(|before, after| before + 1 == *after);
    let runs = runs.filter_map(|run| match run {
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first} to {last}")),
        [] => None,
    });
    CommandError::Failed(format!("{error}; kept versions: {}", runs.collect::<Vec<_>>().join(", ")))
}

impl DiffPolicy {
    fn run(self) -> VerbResult {
        let (store, exit) = open_to_show(&self.target)?;
        let after = self.after.unwrap_or_else(|| store.version());
        let differences = store.diff(self.before, after);
        let differences =
            differences.map_err(|error| with_versions(&store, &[self.before, after], error))?;
        if self.output.json {
            let one = |difference: &policy::Difference| {
                json!({
                    "setting": difference.setting,
                    "before": difference.before,
                    "after": difference.after,
                })
            };
            output::print_json(&differences.iter().map(one).collect())?;
            return Ok(exit);
        }
        let value = |value: &Option<String>, color| {
            value.as_ref().map_or_else(Cell::none, |value| Cell::text(value).in_color(color))
        };
        let row = |difference: &policy::Difference| {
            vec![
                Cell::text(&difference.setting),
                value(&difference.before, Color::Red),
                value(&difference.after, Color::Green),
            ]
        };
        let columns = [("SETTING", false), ("BEFORE", false), ("AFTER", false)];
        output::print_rows(
            self.output,
            &columns,
            &differences.iter().map(row).collect::<Vec<_>>(),
        )?;
        Ok(exit)
    }
}

impl RollbackPolicy {
    fn run(self) -> VerbResult {
        let store = self.target.open()?;
        let before = store.version();
        let mut change = store.begin_update();
        if let Some(comment) = &self.comment {
            change = change.comment(comment);
        }
        let policy = change.rollback(self.version);
        let policy = policy.map_err(|error| with_versions(&store, &[self.version], error))?;
        print_change(&store, before, &policy)
    }
}

/// Whether a failure says nothing about the content.
fn is_silence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::PolicyUnreachable | ErrorKind::PolicyDenied)
}

impl VerifyPolicy {
    fn run(self) -> VerbResult {
        let store = self.target.open()?;
        if self.repair {
            let repaired = store.repair()?;
            return self.say(store.version(), None, Some(repaired));
        }
        match store.verify() {
            Ok(version) => self.say(version, None, None),
            Err(error) if is_silence(&error) => Err(error.into()),
            Err(error) => self.say(store.version(), Some(&error), None),
        }
    }

    /// Prints the result; `good` is the current version.
    fn say(&self, good: u64, problem: Option<&Error>, repaired: Option<bool>) -> VerbResult {
        let exit = if problem.is_some() { Exit::Found } else { Exit::Success };
        if self.output.json {
            let problem = problem.map(ToString::to_string);
            output::print_json(
                &json!({ "version": good, "problem": problem, "repaired": repaired }),
            )?;
            return Ok(exit);
        }
        let mut out = output::out();
        let paint = |color: Color, text: &str| {
            if self.output.is_colored() { color.paint(text) } else { text.to_owned() }
        };
        match (problem, repaired) {
            (Some(error), _) => {
                let error = printable(&error.to_string());
                writeln!(out, "{} {error}", paint(Color::Red, "damage:"))?;
                let kept = match is_url(&self.target.path()) {
                    true => "publishes it again",
                    false => "restores it and keeps the damaged file as `<policy>.damaged`",
                };
                writeln!(out, "version {good} stays in use; --repair {kept}")?;
            }
            (None, Some(true)) => {
                writeln!(out, "version {good}: {}", paint(Color::Green, "repaired"))?;
            }
            (None, _) => writeln!(out, "version {good}: {}", paint(Color::Green, "sound"))?,
        }
        out.flush()?;
        Ok(exit)
    }
}
