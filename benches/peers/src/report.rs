//! `RESULTS.md`.

use crate::contestants::{Entry, Launch, Standing, python};
use crate::machine;
use crate::scenarios::{Case, Scenario};
use crate::summary::{Figures, Row, Table};
use std::fmt::Write;

/// The report's head.
pub struct Preface {
    /// The command of the run, to repeat it.
    pub command: String,
    pub date: String,
    pub rounds: u32,
    pub neighbors: u32,
    pub seed: u64,
    pub seconds: u64,
    /// (name, value).
    pub machine: Vec<(&'static str, String)>,
    pub think_micros: u128,
}

/// The whole document. `plots` are (title, path relative to the document).
pub fn markdown(
    preface: &Preface,
    entries: &[&Entry],
    tables: &[Table],
    plots: &[(String, String)],
) -> String {
    let mut text = String::from("# logrotor among its peers\n\n");
    text += INTRODUCTION;
    text += &facts(preface);
    text += &versions(entries);
    for (title, path) in plots {
        let _ = writeln!(text, "![{title}]({path})\n");
    }
    text += COLUMNS;
    for (number, table) in tables.iter().enumerate() {
        let opens = number == 0 || tables[number - 1].case.scenario != table.case.scenario;
        if opens {
            text += &heading(table, preface);
        }
        text += &section(table);
    }
    text
}

const INTRODUCTION: &str = "\
Written by the harness in `benches/peers`; `benches/README.md` describes the measurements. All
figures are from the run described here, except (h), which names its own.\n\n";

const COLUMNS: &str = "\
## How to read the tables

*call*: ns per record until the last log call returned, all threads and processes together;
*in kernel*: the same until every record was in the kernel; *CPU*: processor time per record,
background work included; *records/s* follows from *in kernel*. *mean* to *max*: single calls.
*segments*: files of the log in the end. Each figure is the median over the rounds. *lost*,
*doubled* and *torn* count over all rounds. Bounds are in italics: they show the cost of the harness
or of the system itself.\n\n";

fn facts(preface: &Preface) -> String {
    let run = [
        ("Date", preface.date.clone()),
        ("Command", format!("`{}`", preface.command)),
        ("Rounds", format!("{}, order shuffled by seed {}", preface.rounds, preface.seed)),
        ("Busy neighbors", preface.neighbors.to_string()),
        ("Took", format!("{} s", preface.seconds)),
    ];
    let mut text = String::from("| | |\n|---|---|\n");
    for (name, value) in run.iter().chain(&preface.machine) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text + "\n"
}

fn versions(entries: &[&Entry]) -> String {
    let known = machine::versions();
    let mut named: Vec<String> = Vec::new();
    for entry in entries {
        let version = match (entry.package, entry.launch) {
            (Some(package), _) => {
                format!("{package} {}", known.get(package).copied().unwrap_or("unknown"))
            }
            (None, Launch::Python) => format!("{} {}", python::PACKAGE, python::VERSION),
            (None, Launch::Native(_)) => continue,
        };
        if !named.contains(&version) {
            named.push(version);
        }
    }
    format!("Versions: {}.\n\n", named.join(", "))
}

fn heading(table: &Table, preface: &Preface) -> String {
    let case = &table.case;
    let letter = case.scenario.letter();
    let mut text = format!("## ({letter}) {}\n\n", case.scenario.title());
    let _ = write!(text, "{} records of 128 bytes, ", case.records);
    let _ = write!(text, "a new segment every {}", bytes(case.segment_bytes));
    if case.gzip {
        text += ", gzip";
    }
    if !case.think.is_zero() {
        let _ = write!(text, ", {} µs of work before each", preface.think_micros);
    }
    text + ".\n\n"
}

fn bytes(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b => format!("{b} bytes"),
    }
}

fn section(table: &Table) -> String {
    let columns = columns(&table.case);
    let mut notes = Notes::default();
    let mut text = format!("### ({}) {}\n\n| |", table.case.scenario.letter(), table.case.title());
    for column in &columns {
        let _ = write!(text, " {} |", column.title);
    }
    text += "\n|---|";
    text += &"--:|".repeat(columns.len());
    text += "\n";
    for rows in alike(&table.rows) {
        text += &line(&rows, &columns, &mut notes);
    }
    text + "\n" + &notes.list()
}

/// The rows, those in one group that have no figures for the same reason.
fn alike(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let same = |group: &&mut Vec<&Row>| {
            row.figures.is_none() && group[0].figures.is_none() && group[0].remarks == row.remarks
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// One line of a table, for rows that are alike.
fn line(rows: &[&Row], columns: &[Column], notes: &mut Notes) -> String {
    let names: Vec<String> = rows.iter().map(|row| name(row)).collect();
    let mut text = format!("| {}{} |", names.join(", "), marks(&rows[0].remarks, notes));
    for column in columns {
        let cell = rows[0].figures.as_ref().map_or_else(|| "-".to_owned(), column.cell);
        let _ = write!(text, " {cell} |");
    }
    text + "\n"
}

fn marks(remarks: &[String], notes: &mut Notes) -> String {
    if remarks.is_empty() {
        return String::new();
    }
    let numbers: Vec<String> = remarks.iter().map(|r| notes.number(r).to_string()).collect();
    format!(" <sup>{}</sup>", numbers.join(","))
}

fn name(row: &Row) -> String {
    match row.standing {
        Standing::Bound => format!("*{}*", row.name),
        Standing::Ours => format!("**{}**", row.name),
        Standing::Rival => row.name.to_owned(),
    }
}

/// A column of a table.
struct Column {
    title: &'static str,
    cell: fn(&Figures) -> String,
}

fn columns(case: &Case) -> Vec<Column> {
    let column = |title, cell| Column { title, cell };
    let mut columns = vec![
        column("records/s", |f| grouped(f.records_per_second())),
        column("call", |f| nanos(f.called)),
        column("in kernel", |f| nanos(f.drained)),
        column("CPU", |f| nanos(f.cpu)),
        column("mean", |f| nanos(f.mean)),
        column("p50", |f| nanos(f.p50)),
        column("p99", |f| nanos(f.p99)),
        column("p99.99", |f| nanos(f.p9999)),
        column("max", |f| nanos(f.max)),
        column("segments", |f| grouped(f.segments)),
    ];
    if case.scenario == Scenario::Processes {
        columns.extend([
            column("lost", |f| share(f.lost, f.lost_percent())),
            column("doubled", |f| share(f.doubled, f.doubled_percent())),
            column("torn", |f| grouped(f.torn as f64)),
        ]);
    }
    columns
}

/// Remarks below a table, each once.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, remark: &str) -> usize {
        let known = self.0.iter().position(|note| note == remark);
        known.unwrap_or_else(|| {
            self.0.push(remark.to_owned());
            self.0.len() - 1
        }) + 1
    }

    fn list(&self) -> String {
        let mut text = String::new();
        for (number, note) in self.0.iter().enumerate() {
            let note: String = note.replace(['\n', '|'], " ").chars().take(300).collect();
            let _ = writeln!(text, "<sup>{}</sup> {note}  ", number + 1);
        }
        if text.is_empty() { text } else { text + "\n" }
    }
}

/// A duration in three digits and a unit.
fn nanos(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n < 9_999.5 => (n, "ns"),
        n if n < 9_999_500.0 => (n / 1e3, "µs"),
        n => (n / 1e6, "ms"),
    };
    let digits = usize::from(value < 99.5);
    format!("{value:.digits$} {unit}")
}

/// A count with its digits in groups of three.
fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn share(count: u64, percent: f64) -> String {
    if count == 0 { "0".to_owned() } else { format!("{} ({percent:.2} %)", grouped(count as f64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_change_their_unit_with_their_size() {
        assert_eq!(nanos(3.16), "3.2 ns");
        assert_eq!(nanos(373.4), "373 ns");
        assert_eq!(nanos(9_999.0), "9999 ns");
        assert_eq!(nanos(22_300.0), "22.3 µs");
        assert_eq!(nanos(223_000_000.0), "223 ms");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(grouped(0.0), "0");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1_234_567.0), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn rows_without_figures_for_one_reason_share_a_line() {
        let row = |name, reason: &str| Row {
            name,
            standing: Standing::Rival,
            figures: None,
            remarks: vec![reason.to_owned()],
        };
        let rows = [row("a", "cannot"), row("b", "will not"), row("c", "cannot")];
        let lines: Vec<String> =
            alike(&rows).iter().map(|group| line(group, &[], &mut Notes::default())).collect();
        assert_eq!(lines, ["| a, c <sup>1</sup> |\n", "| b <sup>1</sup> |\n"]);
    }

    #[test]
    fn a_remark_made_twice_is_one_note() {
        let mut notes = Notes::default();
        assert_eq!([notes.number("a"), notes.number("b"), notes.number("a")], [1, 2, 1]);
        assert_eq!(notes.list().lines().filter(|line| !line.is_empty()).count(), 2);
    }
}
