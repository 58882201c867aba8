//! `ls` and `stat`: the state of a log.

use crate::exit::{CommandError, Exit, VerbResult};
use crate::output::{self, Cell, Color, Column, OutputOptions, parse_rfc3339, rfc3339};
use crate::progress::name_of;
use crate::remote::{LOG, OriginOptions};
use crate::when;
use clap::Args;
use logrotor::inspect::{
    ArchiveState, Holder, Inspection, InspectionBuilder, LeftoverKind, Role, Segment, Usage,
};
use logrotor::{Compression, Config, policy};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// List a log's segments, oldest first
///
/// Prints a table on a terminal or with --color always. Otherwise each segment is one line, with
/// tabs between its name, state, size, uncompressed size, compression ratio, times of creation and
/// last change (RFC 3339), and the processes that have it open. Unknown values are `-`.
#[cfg_attr(feature = "archive", doc = "")]
#[cfg_attr(
    feature = "archive",
    doc = "The segments of an archived log are listed with their origins, and the times at which they were archived."
)]
#[derive(Args)]
pub(crate) struct Ls {
    #[arg(help = LOG)]
    log: PathBuf,
    /// List the segments that may have records since this time, e.g. 2026-11-20T23:57:01Z or "2h"
    #[arg(long, alias = "from", value_name = "TIME", value_parser = when::since)]
    since: Option<SystemTime>,
    /// List the segments that may have records up to this time, in the same formats
    #[arg(long, value_name = "TIME", value_parser = when::until)]
    until: Option<SystemTime>,
    #[command(flatten)]
    origin: OriginOptions,
    #[command(flatten)]
    output: OutputOptions,
}

const COLUMNS: [Column; 8] = [
    ("SEGMENT", false),
    ("STATE", false),
    ("SIZE", true),
    ("UNCOMPRESSED", true),
    ("RATIO", true),
    ("CREATED", false),
    ("MODIFIED", false),
    ("IN USE BY", false),
];

impl Ls {
    pub(crate) fn run(self) -> VerbResult {
        let mut builder = self.origin.inspect(&self.log);
        builder = self.since.into_iter().fold(builder, InspectionBuilder::since);
        let seen = self.until.into_iter().fold(builder, InspectionBuilder::until).build()?;
        if self.output.json {
            output::print_json(&seen.segments.iter().map(segment_json).collect())?;
        } else {
            let rows: Vec<_> = seen.segments.iter().map(row).collect();
            output::print_rows(self.output, &COLUMNS, &rows)?;
        }
        Ok(Exit::Success)
    }
}

fn row(segment: &Segment) -> Vec<Cell> {
    let state = state(segment);
    let color = match state {
        "active" => Color::Green,
        "uncompressed" => Color::None,
        _ => Color::Cyan,
    };
    vec![
        Cell::text(shown_name(segment)),
        Cell::text(state).in_color(color),
        Cell::bytes(segment.bytes),
        segment.uncompressed_bytes.map_or_else(Cell::none, Cell::bytes),
        ratio(segment).map_or_else(Cell::none, |ratio| Cell::text(format!("{ratio:.1}"))),
        segment.created.map_or_else(Cell::none, Cell::time),
        Cell::time(segment.modified),
        lease_cell(&segment.usage),
    ]
}

/// The name of a segment; that of an archived one begins with its origin.
fn shown_name(segment: &Segment) -> String {
    let name = name_of(&segment.path);
    segment.origin.as_ref().map_or(name.clone(), |origin| format!("{origin}/{name}"))
}

fn state(segment: &Segment) -> &'static str {
    match segment.compression {
        _ if segment.origin.is_some() => "archived",
        _ if segment.is_active() => "active",
        Compression::None => "uncompressed",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
        _ => "compressed",
    }
}

/// The uncompressed size divided by the compressed size.
fn ratio(segment: &Segment) -> Option<f64> {
    let unpacked =
        segment.uncompressed_bytes.filter(|_| segment.compression != Compression::None)?;
    #[allow(clippy::cast_precision_loss, reason = "one digit is shown")]
    (segment.bytes > 0).then(|| unpacked as f64 / segment.bytes as f64)
}

fn lease_cell(lease: &Usage) -> Cell {
    match lease {
        Usage::Free => Cell::none(),
        Usage::InUse(holders) if !holders.is_empty() => {
            let shown: Vec<_> = holders.iter().map(shown).collect();
            Cell::text(shown.join(", ")).in_color(Color::Yellow)
        }
        Usage::InUse(_) => Cell::text("in use").in_color(Color::Yellow),
        _ => Cell::text("?").in_color(Color::Dim),
    }
}

fn shown(holder: &Holder) -> String {
    let program = holder.program.as_deref().unwrap_or("pid");
    let role = match role(holder) {
        "worker" | "unknown" => "",
        "reader" => " reads",
        _ => " maintains",
    };
    format!("{program}[{}]{role}", holder.pid)
}

fn role(holder: &Holder) -> &'static str {
    match holder.role {
        Role::Worker => "worker",
        Role::Reader => "reader",
        Role::Maintenance => "maintenance",
        _ => "unknown",
    }
}

fn holder_json(holder: &Holder) -> Value {
    json!({ "pid": holder.pid, "program": holder.program, "role": role(holder) })
}

fn lease_json(lease: &Usage) -> Value {
    match lease {
        Usage::Free => json!("free"),
        Usage::InUse(holders) => holders.iter().map(holder_json).collect(),
        _ => json!("unknown"),
    }
}

fn segment_json(segment: &Segment) -> Value {
    json!({
        "path": segment.path.to_string_lossy(),
        "origin": segment.origin,
        "state": state(segment),
        "bytes": segment.bytes,
        "uncompressed_bytes": segment.uncompressed_bytes,
        "ratio": ratio(segment),
        "created": segment.created.and_then(rfc3339),
        "modified": rfc3339(segment.modified),
        "rotated_at": segment.rotated_at.and_then(rfc3339),
        "usage": lease_json(&segment.usage),
    })
}

/// Show the workers, disk use and limits of a log
#[derive(Args)]
pub(crate) struct Stat {
    #[arg(help = LOG)]
    log: PathBuf,
    #[command(flatten)]
    origin: OriginOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Stat {
    pub(crate) fn run(self) -> VerbResult {
        let seen = self.origin.inspect(&self.log).build()?;
        let policy = policy_json(&self.log)?;
        if self.output.json {
            output::print_json(&stat_json(&seen, &policy)?)?;
        } else {
            let rows: Vec<_> = facts(&seen, &policy)?
                .into_iter()
                .map(|(name, cell)| vec![Cell::text(name).in_color(Color::Bold), cell])
                .collect();
            output::print_rows(self.output, &[("FACT", false), ("VALUE", false)], &rows)?;
        }
        Ok(Exit::Success)
    }
}

/// Returns the version and settings of a log's policy, or its problem; null if there is no policy.
fn policy_json(log: &Path) -> Result<Value, CommandError> {
    let path = policy::path_beside(log);
    let opened = match crate::policy::exists(&path) {
        Ok(false) => {
            let cached = Config::policy().cache_beside(log).cached();
            let Some((policy, url)) = cached else { return Ok(Value::Null) };
            let mut all = version_json(&policy)?;
            all["url"] = json!(url);
            return Ok(all);
        }
        Ok(true) => Config::policy().open(&path).map_err(|error| error.to_string()),
        Err(CommandError::Failed(problem)) => Err(problem),
        Err(other) => return Err(other),
    };
    match opened {
        Ok(store) => {
            let mut all = version_json(&store.current())?;
            all["problem"] = json!(store.problem().map(|error| error.to_string()));
            Ok(all)
        }
        Err(problem) => Ok(json!({
            "url": null, "version": null, "written": null, "problem": problem, "settings": null,
        })),
    }
}

fn version_json(policy: &policy::Policy<Config>) -> Result<Value, CommandError> {
    let settings: Value = serde_json::from_str(&policy.to_json()?)
        .map_err(|error| CommandError::Failed(error.to_string()))?;
    let written = rfc3339(policy.metadata().written());
    let version = policy.version();
    Ok(json!({
        "url": null, "version": version, "written": written, "problem": null, "settings": settings,
    }))
}

fn stat_json(seen: &Inspection, policy: &Value) -> Result<Value, CommandError> {
    Ok(json!({
        "path": seen.path.to_string_lossy(),
        "segments": seen.segments.len(),
        "compressed": compressed(seen),
        "bytes": seen.bytes()?,
        "uncompressed_bytes": uncompressed_bytes(seen),
        "free_bytes": seen.free_bytes,
        "network_file_system": seen.network_file_system,
        "created": created(seen).and_then(rfc3339),
        "modified": seen.segments.last().and_then(|segment| rfc3339(segment.modified)),
        "workers": workers_json(seen),
        "rotating": seen.rotating.as_ref().map(lease_json),
        "temporaries": paths(&seen.temporaries),
        "leftovers": leftovers_json(seen),
        "strays": paths(&seen.strays),
        "archive": seen.archive.as_ref().map(archive_json),
        "origins": origins(seen),
        "policy": policy,
    }))
}

fn archive_json(archive: &ArchiveState) -> Value {
    let failure = archive
        .failure
        .as_ref()
        .map(|(time, message)| json!({ "time": rfc3339(*time), "message": message }));
    json!({
        "url": archive.url,
        "origin": archive.origin,
        "archived": archive.archived,
        "backlog": archive.backlog,
        "backlog_bytes": archive.backlog_bytes,
        "oldest": archive.oldest.and_then(rfc3339),
        "failure": failure,
    })
}

/// The state of an archive, if there is one.
fn archive_facts(archive: Option<&ArchiveState>) -> Vec<(&'static str, Cell)> {
    let Some(archive) = archive else { return Vec::new() };
    let color = if archive.failure.is_some() { Color::Red } else { Color::None };
    let origin = archive.origin.as_ref().map_or_else(Cell::none, Cell::text);
    let url = archive.url.as_ref().map_or_else(Cell::none, Cell::text);
    let mut facts = vec![
        ("archive", url),
        ("origin", origin),
        ("archived", Cell::text(archive.archived.to_string())),
        ("backlog", Cell::text(archive.backlog.to_string()).in_color(color)),
        ("backlog size", Cell::bytes(archive.backlog_bytes)),
        ("oldest", archive.oldest.map_or_else(Cell::none, Cell::time)),
    ];
    if let Some((_, message)) = &archive.failure {
        facts.push(("last failure", Cell::text(message).in_color(Color::Red)));
    }
    facts
}

/// The workers; null if none is visible and there may be some.
fn workers_json(seen: &Inspection) -> Value {
    match seen.workers().as_slice() {
        [] if may_have_hidden_workers(seen) => Value::Null,
        workers => workers.iter().map(holder_json).collect(),
    }
}

/// Whether processes that this one may not see may append to the log.
fn may_have_hidden_workers(seen: &Inspection) -> bool {
    seen.segments.iter().any(|segment| match &segment.usage {
        Usage::Free => false,
        Usage::InUse(holders) => {
            holders.is_empty() || holders.iter().any(|holder| holder.role == Role::Unknown)
        }
        _ => true,
    })
}

pub(crate) fn paths(paths: &[PathBuf]) -> Value {
    paths.iter().map(|path| path.to_string_lossy()).collect()
}

pub(crate) fn leftovers_json(seen: &Inspection) -> Value {
    let leftover = |left: &logrotor::inspect::Leftover| json!({ "path": left.path.to_string_lossy(), "bytes": left.bytes, "kind": kind(left.kind) });
    seen.leftovers.iter().map(leftover).collect()
}

pub(crate) fn kind(kind: LeftoverKind) -> &'static str {
    match kind {
        LeftoverKind::Temporary => "temporary",
        LeftoverKind::Superseded => "superseded",
        LeftoverKind::LockFile => "lock file",
        _ => "other",
    }
}

fn compressed(seen: &Inspection) -> usize {
    seen.segments.iter().filter(|segment| segment.compression != Compression::None).count()
}

/// The uncompressed size of the log; `None` if that of a segment is unknown.
fn uncompressed_bytes(seen: &Inspection) -> Option<u64> {
    let mut sizes = seen.segments.iter().map(|segment| segment.uncompressed_bytes);
    sizes.try_fold(0_u64, |sum, size| sum.checked_add(size?))
}

/// The origins of an archived log, by name.
fn origins(seen: &Inspection) -> BTreeSet<&str> {
    seen.segments.iter().filter_map(|segment| segment.origin.as_deref()).collect()
}

fn created(seen: &Inspection) -> Option<std::time::SystemTime> {
    seen.segments.first()?.created
}

fn facts(seen: &Inspection, policy: &Value) -> Result<Vec<(&'static str, Cell)>, CommandError> {
    let workers = seen.workers();
    let mut names: Vec<_> = workers.iter().map(shown).collect();
    if may_have_hidden_workers(seen) {
        names.push("?".to_owned());
    }
    let mut facts = vec![
        ("log", Cell::text(seen.path.to_string_lossy())),
        ("segments", Cell::text(seen.segments.len().to_string())),
        ("compressed", Cell::text(compressed(seen).to_string())),
        ("disk use", Cell::bytes(seen.bytes()?)),
        ("uncompressed", uncompressed_bytes(seen).map_or_else(Cell::none, Cell::bytes)),
        ("free space", seen.free_bytes.map_or_else(Cell::none, Cell::bytes)),
        (
            "network",
            seen.network_file_system
                .as_ref()
                .map_or_else(Cell::none, |kind| Cell::text(kind).in_color(Color::Red)),
        ),
        ("created", created(seen).map_or_else(Cell::none, Cell::time)),
        (
            "modified",
            seen.segments.last().map_or_else(Cell::none, |last| Cell::time(last.modified)),
        ),
        (
            "workers",
            match names.as_slice() {
                [] => Cell::none(),
                names => Cell::text(names.join(", ")).in_color(Color::Yellow),
            },
        ),
        ("rotating", seen.rotating.as_ref().map_or_else(Cell::none, lease_cell)),
        ("temporaries", Cell::text(seen.temporaries.len().to_string())),
        ("leftovers", count(seen.leftovers.len())),
        ("strays", count(seen.strays.len())),
    ];
    let origins = origins(seen);
    if !origins.is_empty() {
        facts.push(("origins", Cell::text(origins.len().to_string())));
    }
    facts.extend(archive_facts(seen.archive.as_ref()));
    facts.extend(policy_facts(policy));
    Ok(facts)
}

/// The version, problem and limits of a policy, if there is one.
fn policy_facts(policy: &Value) -> Vec<(&'static str, Cell)> {
    if policy.is_null() {
        return Vec::new();
    }
    let version = policy["version"].as_u64();
    let written = policy["written"].as_str().and_then(parse_rfc3339);
    let age = written.and_then(|written| written.elapsed().ok()).map(age).unwrap_or_default();
    let version = version
        .map_or_else(Cell::none, |version| Cell::new(format!("version {version}{age}"), &version));
    let url = policy["url"].as_str().map(|url| ("policy URL", Cell::text(url)));
    let problem = policy["problem"].as_str();
    let problem = problem.map(|problem| ("problem", Cell::text(problem).in_color(Color::Red)));
    let limits = LIMITS.iter().map(|limit| {
        let value = &policy["settings"][limit];
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (*limit, if value.is_null() { Cell::none() } else { Cell::text(text) })
    });
    std::iter::once(("policy", version)).chain(url).chain(problem).chain(limits).collect()
}

/// How long ago a version was written, by the clock of its author.
fn age(age: Duration) -> String {
    let (seconds, of) = match age.as_secs() {
        seconds @ 0..60 => (seconds, "s"),
        seconds @ 60..3600 => (seconds / 60, "min"),
        seconds @ 3600..86_400 => (seconds / 3600, "h"),
        seconds => (seconds / 86_400, "d"),
    };
    format!(", {seconds} {of} old")
}

const LIMITS: [&str; 11] = [
    "max_size",
    "min_interval",
    "max_age",
    "rotate_every",
    "rotate_at",
    "max_backups",
    "max_total_size",
    "max_backup_age",
    "min_free_space",
    "compression",
    "keep_uncompressed",
];

fn count(number: usize) -> Cell {
    let color = if number == 0 { Color::None } else { Color::Red };
    Cell::text(number.to_string()).in_color(color)
}
