//! Output formats: a table on a terminal, columns with tabs for scripts, JSON for programs.

use crate::exit::CommandError;
use chrono::{DateTime, Local};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::SystemTime;

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

/// Waits until the reader of standard output closes it. Returns `false` if that cannot be detected.
#[cfg(unix)]
pub(crate) fn is_pipe_closed() -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    let stdout = io::stdout();
    loop {
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut watched, None) {
            Ok(_) => return watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn is_pipe_closed() -> bool {
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
        let local = DateTime::<Local>::from(time).format("%Y-%m-%d %H:%M").to_string();
        Self::new(local, &rfc3339(time))
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

/// Replaces control characters, which terminals and scripts would interpret. Names of files and
/// programs may contain any.
pub(crate) fn printable(text: &str) -> String {
    let replace = |c: char| match c {
        '\n' => ' ',
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(replace).collect()
}

/// Formats a size for people.
pub(crate) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}
