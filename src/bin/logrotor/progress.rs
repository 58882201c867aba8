//! A progress bar on standard error, if it is a terminal and the work takes longer than 0.5 s.

use crate::output::{Color, printable, wants_color};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use logrotor::inspect::Inspection;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    is_shown: bool,
    shows: bool,
}

const DELAY: Duration = Duration::from_millis(500);

impl Progress {
    /// Starts a bar for this many bytes.
    pub(crate) fn new(total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        // The bar's own colors would depend on standard output.
        let bar_shown = "{bar:30}";
        let bar_shown =
            if wants_color() { Color::Cyan.paint(bar_shown) } else { bar_shown.to_owned() };
        let template =
            format!("{{msg}} {bar_shown} {{percent:>3}} % {{binary_bytes_per_sec}}, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self { bar, started: Instant::now(), is_shown: false, shows: stderr().is_terminal() }
    }

    /// Shows the number of bytes that are done, and the name of the work.
    pub(crate) fn at(&mut self, done: u64, what: &str) {
        if !self.shows {
            return;
        }
        if !self.is_shown && self.started.elapsed() >= DELAY {
            self.is_shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if self.bar.message() != printable(what) {
            self.bar.set_message(printable(what));
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Maps the position of a reader to the bytes of a log's files before it.
pub(crate) struct ReadProgress {
    /// The path, size, uncompressed size and bytes in earlier files of each segment, oldest first.
    segments: Vec<(PathBuf, u64, u64, u64)>,
    pub(crate) total: u64,
    at: usize,
}

impl ReadProgress {
    pub(crate) fn of(seen: &Inspection) -> Self {
        let mut total = 0_u64;
        let segments = seen.segments.iter().map(|segment| {
            let before = total;
            total = before.saturating_add(segment.bytes);
            (segment.path.clone(), segment.bytes, segment.uncompressed_bytes.unwrap_or(0), before)
        });
        let segments = segments.collect();
        Self { segments, total, at: 0 }
    }

    /// Returns the bytes that are done at a position, and the name of its segment.
    pub(crate) fn done(&mut self, segment: &Path, offset: u64) -> (u64, String) {
        // A segment that was renamed or compressed meanwhile counts as the previous one.
        let is_it = |at: &usize| self.segments[*at].0 == segment;
        // It is the present one or the next, mostly.
        let mut nearest_first = (self.at..self.segments.len()).chain(0..self.at);
        if let Some(at) = nearest_first.find(is_it) {
            self.at = at;
        }
        let Some((_, bytes, unpacked, before)) = self.segments.get(self.at) else {
            return (self.total, String::new());
        };
        let part = match unpacked {
            0 => 0,
            unpacked => {
                u128::from(*bytes) * u128::from(offset.min(*unpacked)) / u128::from(*unpacked)
            }
        };
        (before.saturating_add(u64::try_from(part).unwrap_or(*bytes)), name_of(segment))
    }
}

pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
