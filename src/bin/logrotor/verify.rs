//! `verify`: checks that all of a log can be read back.

use crate::exit::{CommandError, Exit, VerbResult};
use crate::ls::{kind, leftovers_json, paths};
use crate::memory::MemoryOptions;
use crate::output::{self, Color, OutputOptions, printable};
use crate::progress::{Progress, ReadProgress};
use crate::remote::{LOG, OriginOptions, is_remote};
use clap::Args;
use logrotor::inspect::{self, Inspection};
use logrotor::reader::{Damage, DamageKind, LogReader};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::PathBuf;

/// Decode every segment and report damage, unfinished lines, strays and leftovers
///
/// A compressed backup is checked against its digest; uncompressed records carry no checksum. A
/// segment is unreadable if it has another format or is not accessible.
///
/// A backup that does not end with a line break has an unfinished line: its last record is torn, or
/// was written in pieces between which the log was rotated.
///
/// A stray is a file that resembles a backup but is not one; it is neither read nor removed. A
/// leftover is a file of a killed process; the next worker removes it. The exit status is 1 if
/// there is any of these, or damage. Nothing is changed. A backup that a running worker removes
/// before it is read counts as damage.
#[derive(Args)]
pub(crate) struct Verify {
    #[arg(help = LOG)]
    log: PathBuf,
    #[command(flatten)]
    origin: OriginOptions,
    #[command(flatten)]
    memory: MemoryOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// The result of reading a log.
#[derive(Default)]
struct Findings {
    bytes: u64,
    damages: Vec<Damage>,
    /// Finished segments that do not end with a line break, and where they end.
    unfinished: Vec<(PathBuf, u64)>,
}

/// How a segment ends, as far as it was read.
struct End {
    offset: u64,
    is_line: bool,
}

impl Verify {
    pub(crate) fn run(self) -> VerbResult {
        let seen = self.origin.inspect(&self.log).build()?;
        let findings = self.read(&seen)?;
        if self.output.json {
            output::print_json(&report_json(&seen, &findings))?;
        } else {
            self.print(&seen, &findings)?;
        }
        let Findings { damages, unfinished, .. } = &findings;
        let is_sound = [damages.len(), unfinished.len(), seen.leftovers.len(), seen.strays.len()]
            .iter()
            .all(|&count| count == 0);
        Ok(if is_sound { Exit::Success } else { Exit::Found })
    }

    /// Reads the whole log.
    fn read(&self, seen: &Inspection) -> Result<Findings, CommandError> {
        let builder = self.origin.apply(LogReader::builder(&self.log));
        let mut reader = self.memory.apply(builder).open()?;
        let mut read_progress = ReadProgress::of(seen);
        let mut progress = Progress::new(read_progress.total);
        let mut findings = Findings::default();
        let mut ends = BTreeMap::new();
        loop {
            let (len, last) = match reader.fill_buf() {
                Ok([]) => break,
                Ok(ready) => (ready.len(), ready.last().copied()),
                Err(error) => {
                    findings.damages.push(
                        error
                            .downcast::<Damage>()
                            .map_err(|error| CommandError::Failed(error.to_string()))?,
                    );
                    continue;
                }
            };
            let (segment, offset) = reader.position();
            let end = End { offset: offset + len as u64, is_line: last == Some(b'\n') };
            match ends.get_mut(segment) {
                Some(known) => *known = end,
                None => drop(ends.insert(segment.to_owned(), end)),
            }
            reader.consume(len);
            findings.bytes += len as u64;
            let (segment, offset) = reader.position();
            let (done, name) = read_progress.done(segment, offset);
            progress.at(done, &name);
        }
        // The active segment may be in the middle of a record.
        ends.remove(&seen.path);
        for damage in &findings.damages {
            ends.remove(damage.segment());
        }
        findings.unfinished = ends
            .into_iter()
            .filter(|(_, end)| !end.is_line)
            .map(|(segment, end)| (segment, end.offset))
            .collect();
        Ok(findings)
    }

    fn print(&self, seen: &Inspection, findings: &Findings) -> Result<(), CommandError> {
        let Findings { bytes, damages, unfinished } = findings;
        let mut out = output::out();
        let paint = |color: Color, text: &str| {
            if self.output.is_colored() { color.paint(text) } else { text.to_owned() }
        };
        for damage in damages {
            let label = if is_unreadable(damage) { "unreadable:" } else { "damage:" };
            let damage = printable(&damage.to_string());
            writeln!(out, "{} {damage}", paint(Color::Red, label))?;
        }
        for (segment, end) in unfinished {
            let segment = printable(&segment.to_string_lossy());
            let unfinished = paint(Color::Red, "unfinished line:");
            writeln!(out, "{unfinished} `{segment}` ends without a line break at byte {end}")?;
        }
        for left in &seen.leftovers {
            let (path, what) = (printable(&left.path.to_string_lossy()), kind(left.kind));
            writeln!(out, "{} `{path}`: {what}", paint(Color::Yellow, "leftover:"))?;
        }
        for (path, advice) in self.strays(seen)? {
            writeln!(out, "{} `{path}`{advice}", paint(Color::Yellow, "stray:"))?;
        }
        let unreadable = damages.iter().filter(|damage| is_unreadable(damage)).count();
        let counts = [
            (damages.len() - unreadable, "damage"),
            (unreadable, "unreadable"),
            (unfinished.len(), "unfinished lines"),
            (seen.leftovers.len(), "leftovers"),
            (seen.strays.len(), "strays"),
        ];
        let found: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{what}: {count}"))
            .collect();
        let verdict = match found.is_empty() {
            true => paint(Color::Green, "sound"),
            false => paint(Color::Red, &found.join(", ")),
        };
        let segments = seen.segments.len();
        writeln!(out, "{segments} segments, {} of records; {verdict}", output::size(*bytes))?;
        Ok(out.flush()?)
    }
}

impl Verify {
    /// Returns the strays, and the advice for each.
    fn strays(&self, seen: &Inspection) -> Result<Vec<(String, String)>, CommandError> {
        let renamed = match is_remote(&self.log) {
            true => Vec::new(),
            false => inspect::renamed_backups(&self.log)?,
        };
        let advice = |path: &PathBuf| {
            let advice = renamed.iter().find(|(now, _)| now == path).map(|(_, original)| {
                let original = printable(&original.to_string_lossy());
                format!(": a renamed backup; rename it back to `{original}`")
            });
            (printable(&path.to_string_lossy()), advice.unwrap_or_default())
        };
        Ok(seen.strays.iter().map(advice).collect())
    }
}

fn report_json(seen: &Inspection, findings: &Findings) -> Value {
    let damage = |damage: &Damage| {
        json!({
            "kind": damage_kind(damage.kind()),
            "segment": damage.segment().to_string_lossy(),
            "offset": damage.offset(),
            "bytes": damage.bytes(),
            "message": damage.to_string(),
        })
    };
    let unfinished = |(segment, end): &(PathBuf, u64)| json!({ "segment": segment.to_string_lossy(), "offset": end });
    json!({
        "path": seen.path.to_string_lossy(),
        "segments": seen.segments.len(),
        "bytes": findings.bytes,
        "damage": findings.damages.iter().map(damage).collect::<Value>(),
        "unfinished": findings.unfinished.iter().map(unfinished).collect::<Value>(),
        "leftovers": leftovers_json(seen),
        "strays": paths(&seen.strays),
    })
}

/// Whether a segment may be sound, but not for us: another format, or missing permissions.
fn is_unreadable(damage: &Damage) -> bool {
    damage.kind() == DamageKind::Unreadable
}

fn damage_kind(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::Corrupt => "corrupt",
        DamageKind::Hole => "hole",
        DamageKind::Misplaced => "misplaced",
        DamageKind::Missing => "missing",
        DamageKind::CutShort => "cut short",
        DamageKind::Unreadable => "unreadable",
        _ => "other",
    }
}
