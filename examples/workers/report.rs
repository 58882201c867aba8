//! The figures, as tables.

use crate::verify::{Account, Findings};
use crate::worker::Tally;
use logrotor::Compression;
use logrotor::inspect::Segment;

/// Prints what became of the records, then what was done to the log. `tallies` are those of the
/// workers and, last, of the parent.
pub(crate) fn print(tallies: &[Tally], findings: &Findings, segments: &[Segment]) {
    print_accounts(findings);
    println!();
    print_totals(tallies, findings, segments);
    println!();
    println!("{}", verdict(findings));
}

fn print_accounts(findings: &Findings) {
    println!();
    row("worker", &["written", "found", "retired", "lost", "doubled", "torn"]);
    let mut all = Account { torn: findings.torn, ..Account::default() };
    for (id, account) in findings.accounts.iter().enumerate() {
        row(&id.to_string(), &cells(account));
        all = sum(all, *account);
    }
    row("all", &cells(&all));
}

fn row(name: &str, cells: &[impl ToString; 6]) {
    let cells: String = cells.iter().map(|cell| format!("{:>10}", cell.to_string())).collect();
    println!("{name:>6}{cells}");
}

fn cells(account: &Account) -> [u64; 6] {
    let &Account { written, found, retired, lost, doubled, torn } = account;
    [written, found, retired, lost, doubled, torn]
}

fn sum(a: Account, b: Account) -> Account {
    Account {
        written: a.written + b.written,
        found: a.found + b.found,
        retired: a.retired + b.retired,
        lost: a.lost + b.lost,
        doubled: a.doubled + b.doubled,
        torn: a.torn + b.torn,
    }
}

fn print_totals(tallies: &[Tally], findings: &Findings, segments: &[Segment]) {
    let all = |part: fn(&Tally) -> u64| tallies.iter().map(part).sum::<u64>();
    let packed = segments.iter().filter(|segment| segment.compression != Compression::None).count();
    let on_disk: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let micros = tallies.iter().map(|tally| tally.micros).max().unwrap_or(0).max(1);
    let per_second = u128::from(all(|tally| tally.records)) * 1_000_000 / u128::from(micros);
    for (name, value) in [
        ("segments", format!("{}, {packed} of them compressed", segments.len())),
        ("rotations", all(|tally| tally.rotations).to_string()),
        ("skips", all(|tally| tally.skips).to_string()),
        ("compressions deferred", all(|tally| tally.deferrals).to_string()),
        ("compressions done", all(|tally| tally.compressions).to_string()),
        ("backups removed", all(|tally| tally.pruned).to_string()),
        ("failures", all(|tally| tally.failures).to_string()),
        ("bytes before", findings.bytes.to_string()),
        ("bytes after", on_disk.to_string()),
        ("records per second", format!("{per_second}, walking included")),
    ] {
        println!("{name:>22}  {value}");
    }
}

fn verdict(findings: &Findings) -> String {
    let retired: u64 = findings.accounts.iter().map(|account| account.retired).sum();
    match (findings.is_clean(), retired) {
        (true, 0) => "every record was found once and whole".to_owned(),
        (true, _) => format!(
            "every record was found once and whole, but for {retired} in backups that were removed, \
             as there were more than `--backups`"
        ),
        (false, _) => "FAILED: records are lost, doubled or torn".to_owned(),
    }
}
