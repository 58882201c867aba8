//! A progress bar on standard error, for what takes longer than half a second, if that is a terminal.

use crate::output::{Color, wants_color};
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

const PATIENCE: Duration = Duration::from_millis(500);

impl Progress {
    /// For work of so many bytes.
    pub(crate) fn new(total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        // The bar's own colors would go by standard output.
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

    /// Says how many bytes are done, and of what.
    pub(crate) fn at(&mut self, done: u64, what: &str) {
        if !self.shows {
            return;
        }
        if !self.is_shown && self.started.elapsed() >= PATIENCE {
            self.is_shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if self.bar.message() != what {
            self.bar.set_message(what.to_owned());
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How far through a log's files a reader is, from the place it has reached.
pub(crate) struct ReadProgress {
    /// Of each segment, oldest first: its path, its size, how long its content is, and how many bytes the
    /// files before it have.
    segments: Vec<(PathBuf, u64, u64, u64)>,
    pub(crate) total: u64,
    at: usize,
}

impl ReadProgress {
    pub(crate) fn of(seen: &Inspection) -> Self {
        let mut total = 0;
        let segments = seen.segments.iter().map(|segment| {
            let before = total;
            total += segment.bytes;
            (segment.path.clone(), segment.bytes, segment.uncompressed_bytes.unwrap_or(0), before)
        });
        let segments = segments.collect();
        Self { segments, total, at: 0 }
    }

    /// The bytes done, and the name of the segment, at a place in it.
    pub(crate) fn done(&mut self, segment: &Path, offset: u64) -> (u64, String) {
        // It may have been renamed or packed since; then it is the one that was reached before.
        if let Some(at) = self.segments.iter().position(|(path, ..)| path == segment) {
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
        (before + u64::try_from(part).unwrap_or(*bytes), name_of(segment))
    }
}

pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
