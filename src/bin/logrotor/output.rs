//! Output formats: a table on a terminal, columns with tabs for scripts, JSON for programs.

use crate::exit::CommandError;
use crate::local_zone::LocalZone;
use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The format of the output.
#[derive(Args, Clone, Copy)]
pub(crate) struct OutputOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// When to use colors; auto uses them on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

impl OutputOptions {
    /// Whether to print for people rather than for scripts.
    pub(crate) fn is_table(self) -> bool {
        self.color == ColorChoice::Always || io::stdout().is_terminal()
    }

    pub(crate) fn is_colored(self) -> bool {
        self.color.is_on()
    }
}

impl ColorChoice {
    pub(crate) fn is_on(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => io::stdout().is_terminal() && wants_color(),
        }
    }
}

/// Whether the environment allows colors: <https://no-color.org>.
pub(crate) fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Standard output, buffered.
pub(crate) type Out = BufWriter<StdoutLock<'static>>;

pub(crate) fn out() -> Out {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Waits until the reader of standard output closes it, or for `timeout`. Returns `false` after
/// that, and if it cannot be detected.
#[cfg(unix)]
pub(crate) fn is_pipe_closed(timeout: Option<Duration>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    let stdout = io::stdout();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    loop {
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) => return watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn is_pipe_closed(timeout: Option<Duration>) -> bool {
    timeout.into_iter().for_each(std::thread::sleep);
    false
}

/// Prints one JSON document.
pub(crate) fn print_json(value: &Value) -> Result<(), CommandError> {
    let mut out = out();
    writeln!(out, "{value:#}")?;
    Ok(out.flush()?)
}

/// A style of text. Source: ECMA-48, section 8.3.117.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    None,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Color {
    fn code(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "1;31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }

    pub(crate) fn paint(self, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            color => {
                let [before, after] = color.around();
                before + text + &after
            }
        }
    }

    /// The escape sequences before and after a text in this color.
    pub(crate) fn around(self) -> [String; 2] {
        [format!("\x1b[{}m", self.code()), "\x1b[0m".to_owned()]
    }
}

/// One value, for tables and for scripts.
pub(crate) struct Cell {
    shown: String,
    plain: String,
    color: Color,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let text = printable(&text.into());
        Self { shown: text.clone(), plain: text, color: Color::None }
    }

    pub(crate) fn new(shown: impl Into<String>, plain: &impl ToString) -> Self {
        Self { shown: shown.into(), plain: plain.to_string(), color: Color::None }
    }

    /// An unknown value.
    pub(crate) fn none() -> Self {
        Self::text("-").in_color(Color::Dim)
    }

    pub(crate) fn bytes(bytes: u64) -> Self {
        Self::new(size(bytes), &bytes)
    }

    pub(crate) fn time(time: SystemTime) -> Self {
        let Some(utc) = utc(time) else { return Self::none() };
        let local = utc.with_timezone(&LocalZone).format("%Y-%m-%d %H:%M");
        Self::new(local.to_string(), &formatted(utc))
    }

    pub(crate) fn in_color(self, color: Color) -> Self {
        Self { color, ..self }
    }
}

/// A column: its title, and whether it is aligned to the right.
pub(crate) type Column = (&'static str, bool);

/// Prints rows as a table with titles, or as lines with tabs between the columns.
pub(crate) fn print_rows(
    options: OutputOptions,
    columns: &[Column],
    rows: &[Vec<Cell>],
) -> Result<(), CommandError> {
    let mut out = out();
    if !options.is_table() {
        for row in rows {
            let row: Vec<_> = row.iter().map(|cell| &*cell.plain).collect();
            writeln!(out, "{}", row.join("\t"))?;
        }
        return Ok(out.flush()?);
    }
    let titles = columns.iter().map(|(title, _)| Cell::text(*title).in_color(Color::Bold));
    let titles: Vec<_> = titles.collect();
    let all = || std::iter::once(&titles).chain(rows);
    let width = |at: usize| all().map(|row| row[at].shown.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    for row in all() {
        let cells = row.iter().zip(columns).zip(&widths);
        let aligned =
            cells.map(|((cell, (_, is_right)), width)| aligned(options, cell, *is_right, *width));
        writeln!(out, "{}", aligned.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(out.flush()?)
}

fn aligned(options: OutputOptions, cell: &Cell, is_right: bool, width: usize) -> String {
    let space = " ".repeat(width.saturating_sub(cell.shown.chars().count()));
    let text =
        if options.is_colored() { cell.color.paint(&cell.shown) } else { cell.shown.clone() };
    if is_right { space + &text } else { text + &space }
}

/// Replaces control characters, which terminals and scripts would interpret, and those that turn
/// the direction of text. Names of files and programs may contain any.
pub(crate) fn printable(text: &str) -> String {
    let replace = |c: char| match c {
        '\n' => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' => '?',
        '\u{2066}'..='\u{2069}' => '?',
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(replace).collect()
}

/// Formats a size for people.
pub(crate) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Formats a time as RFC 3339; `None` outside of the years 0 to 9999, for which that has no form.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    utc(time).map(formatted)
}

/// The inverse of [`rfc3339`].
pub(crate) fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    DateTime::parse_from_rfc3339(text).ok().map(SystemTime::from)
}

fn formatted(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Converts any time that a file may have. The conversions of chrono and humantime panic for some.
pub(crate) fn utc(time: SystemTime) -> Option<DateTime<Utc>> {
    const SECOND: u32 = 1_000_000_000;
    let seconds = |span: Duration| i64::try_from(span.as_secs()).ok();
    let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (seconds(after)?, after.subsec_nanos()),
        Err(error) => match (seconds(error.duration())?, error.duration().subsec_nanos()) {
            (before, 0) => (-before, 0),
            (before, nanos) => (-before - 1, SECOND - nanos),
        },
    };
    DateTime::from_timestamp(seconds, nanos).filter(|time| (0..=9999).contains(&time.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_formatted_or_unknown() {
        let at = |seconds: i64, nanos| {
            let span = Duration::new(seconds.unsigned_abs(), 0);
            let whole = if seconds < 0 {
                UNIX_EPOCH.checked_sub(span)
            } else {
                UNIX_EPOCH.checked_add(span)
            };
            whole.and_then(|whole| whole.checked_add(Duration::from_nanos(nanos)))
        };
        for (seconds, nanos, expected) in [
            (0, 0, Some("1970-01-01T00:00:00.000000Z")),
            (-1, 0, Some("1969-12-31T23:59:59.000000Z")),
            (-1, 999_999_999, Some("1969-12-31T23:59:59.999999Z")),
            (-62_167_219_200, 0, Some("0000-01-01T00:00:00.000000Z")),
            (-62_167_219_201, 0, None),
            (253_402_300_799, 0, Some("9999-12-31T23:59:59.000000Z")),
            (253_402_300_800, 0, None),
            (i64::MAX, 0, None),
            (i64::MIN, 0, None),
        ] {
            // Windows has no times before 1601.
            let Some(time) = at(seconds, nanos) else { continue };
            assert_eq!(rfc3339(time).as_deref(), expected, "{seconds}");
            assert_eq!(Cell::time(time).plain, expected.unwrap_or("-"), "{seconds}");
        }
    }

    #[test]
    fn characters_that_act_on_a_terminal_are_replaced() {
        assert_eq!(printable("a\nb\x1b[31m\u{9b}2J\u{202e}gol.é"), "a b?[31m?2J?gol.é");
    }
}
