//! The drawings: throughput by threads, stalls by rival, losses by rival.

use crate::contestants::Standing;
use crate::scenarios::Scenario;
use crate::summary::{Figures, Table};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// Draws what `tables` hold figures for into `dir`; returns (title, file name) of each drawing.
pub fn draw(tables: &[Table], dir: &Path) -> Result<Vec<(String, String)>> {
    let mut drawn = Vec::new();
    let mut keep = |title: &str, file: &str, made: Result<bool>| -> Result<()> {
        if made? {
            drawn.push((title.to_owned(), file.to_owned()));
        }
        Ok(())
    };
    let throughput = "Records per second by threads, in memory";
    keep(throughput, "throughput.svg", lines(throughput, tables, &dir.join("throughput.svg")))?;
    for bars in BARS {
        keep(bars.title, bars.file, bars.draw(tables, dir))?;
    }
    Ok(drawn)
}

const SIZE: (u32, u32) = (900, 520);
const FONT: (&str, u32) = ("sans-serif", 14);
const TITLE_FONT: (&str, u32) = ("sans-serif", 18);

const OURS: RGBColor = RGBColor(0, 110, 60);

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn canvas(path: &Path) -> Result<Canvas<'_>> {
    let canvas = SVGBackend::new(path, SIZE).into_drawing_area();
    canvas.fill(&WHITE).map_err(failed)?;
    Ok(canvas)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// One line for each contestant: threads across, millions of records per second up.
fn lines(title: &str, tables: &[Table], path: &Path) -> Result<bool> {
    let series = series(tables);
    let threads: Vec<u32> = of(tables, Scenario::Memory).map(|t| t.case.threads).collect();
    if series.is_empty() || threads.len() < 2 {
        return Ok(false);
    }
    let canvas = canvas(path)?;
    let titled = canvas.titled(title, TITLE_FONT).map_err(failed)?;
    let (left, right) = titled.split_horizontally(NAMES_AT);
    chart(&left, &series, &threads)?;
    legend(&right, &series)?;
    canvas.present().map_err(failed)?;
    Ok(true)
}

/// Where the names of the lines begin.
const NAMES_AT: i32 = 640;

fn chart(area: &Canvas<'_>, series: &[Series], threads: &[u32]) -> Result<()> {
    let highest = series.iter().flat_map(|one| &one.points).map(|point| point.1);
    let highest = highest.fold(f64::MIN_POSITIVE, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0..threads.len() - 1, 0.0..highest * 1.05)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(threads.len())
        .x_desc("threads")
        .y_desc("million records per second, until in the kernel")
        .x_label_formatter(&|at| threads.get(*at).map(ToString::to_string).unwrap_or_default())
        .label_style(FONT)
        .draw()
        .map_err(failed)?;
    for (number, one) in series.iter().enumerate() {
        let at = |threads_of: u32| threads.iter().position(|&t| t == threads_of);
        let points = one.points.iter().filter_map(|&(t, value)| Some((at(t)?, value)));
        let line = LineSeries::new(points, one.style(number)).point_size(3);
        chart.draw_series(line).map_err(failed)?;
    }
    Ok(())
}

fn legend(area: &Canvas<'_>, series: &[Series]) -> Result<()> {
    for (number, one) in series.iter().enumerate() {
        let y = 24 + 24 * number as i32;
        let stroke = PathElement::new([(4, y + 7), (28, y + 7)], one.style(number));
        area.draw(&stroke).map_err(failed)?;
        area.draw(&Text::new(one.name, (36, y), FONT)).map_err(failed)?;
    }
    Ok(())
}

/// One contestant's throughput: (threads, million records per second).
struct Series {
    name: &'static str,
    standing: Standing,
    points: Vec<(u32, f64)>,
}

impl Series {
    fn style(&self, number: usize) -> ShapeStyle {
        match self.standing {
            // Adjacent in the list, so that one is even and one odd.
            Standing::Ours => OURS.mix(1.0 - 0.5 * (number % 2) as f64).stroke_width(4),
            Standing::Rival => Palette99::pick(number).stroke_width(2),
            Standing::Bound => BLACK.mix(0.7 / (number + 1) as f64).stroke_width(2),
        }
    }
}

fn series(tables: &[Table]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for table in of(tables, Scenario::Memory) {
        for row in &table.rows {
            // The null sink would flatten all other lines.
            let Some(figures) = row.figures.filter(|_| row.name != crate::summary::NULL_SINK)
            else {
                continue;
            };
            let point = (table.case.threads, figures.records_per_second() / 1e6);
            match all.iter_mut().find(|series| series.name == row.name) {
                Some(series) => series.points.push(point),
                None => {
                    all.push(Series { name: row.name, standing: row.standing, points: vec![point] })
                }
            }
        }
    }
    all
}

fn of(tables: &[Table], scenario: Scenario) -> impl Iterator<Item = &Table> {
    tables.iter().filter(move |table| table.case.scenario == scenario)
}

/// A drawing of one bar for each contestant, of one case.
struct Bars {
    title: &'static str,
    file: &'static str,
    scenario: Scenario,
    threads: u32,
    processes: u32,
    value: fn(&Figures) -> f64,
    /// Decades rather than equal steps; then nothing is shorter than this.
    log_from: Option<f64>,
    label: fn(&Figures) -> String,
}

const BARS: &[Bars] = &[
    Bars {
        title: "Longest log call while backups are compressed, 1 thread (ms)",
        file: "stall.svg",
        scenario: Scenario::Gzip,
        threads: 1,
        processes: 1,
        value: |figures| figures.max / 1e6,
        log_from: Some(0.01),
        label: |figures| format!("{:.2} ms", figures.max / 1e6),
    },
    Bars {
        title: "Records lost with 4 processes on one log (%)",
        file: "loss.svg",
        scenario: Scenario::Processes,
        threads: 1,
        processes: 4,
        value: Figures::lost_percent,
        log_from: None,
        label: |figures| format!("{:.2} %{}", figures.lost_percent(), excuse(figures)),
    },
];

/// Why a contestant that is not made for several processes may have lost nothing.
fn excuse(figures: &Figures) -> &'static str {
    match figures {
        figures if figures.panicked => ", but panicked",
        figures if figures.segments < 2.0 => ", but never rotated",
        _ => "",
    }
}

impl Bars {
    fn draw(&self, tables: &[Table], dir: &Path) -> Result<bool> {
        let bars = self.bars(tables);
        if bars.is_empty() {
            return Ok(false);
        }
        let path = dir.join(self.file);
        let canvas = canvas(&path)?;
        let titled = canvas.titled(self.title, TITLE_FONT).map_err(failed)?;
        let scale = Scale::of(self.log_from, &bars);
        let (_, height) = titled.dim_in_pixel();
        let step = height as i32 / bars.len() as i32;
        for (number, bar) in bars.iter().enumerate() {
            bar.draw(&titled, number as i32 * step, step, &scale)?;
        }
        canvas.present().map_err(failed)?;
        Ok(true)
    }

    fn bars(&self, tables: &[Table]) -> Vec<Bar> {
        let here = |table: &&Table| {
            table.case.threads == self.threads && table.case.processes == self.processes
        };
        let rows = of(tables, self.scenario).filter(here).flat_map(|table| &table.rows);
        let bars = rows.filter_map(|row| {
            let figures = row.figures.as_ref()?;
            let (value, label) = ((self.value)(figures), (self.label)(figures));
            Some(Bar { name: row.name, standing: row.standing, value, label })
        });
        bars.collect()
    }
}

/// One contestant's bar.
struct Bar {
    name: &'static str,
    standing: Standing,
    value: f64,
    label: String,
}

impl Bar {
    fn draw(&self, canvas: &Canvas<'_>, top: i32, step: i32, scale: &Scale) -> Result<()> {
        let end = NAMES_WIDTH + scale.pixels(self.value);
        let middle = top + step / 2 - 8;
        let corners = [(NAMES_WIDTH, top + step / 6), (end, top + step - step / 6)];
        let bar = Rectangle::new(corners, self.color().filled());
        canvas.draw(&bar).map_err(failed)?;
        canvas.draw(&Text::new(self.name, (12, middle), FONT)).map_err(failed)?;
        let label = Text::new(self.label.as_str(), (end + 6, middle), FONT);
        canvas.draw(&label).map_err(failed)
    }

    fn color(&self) -> RGBColor {
        match self.standing {
            Standing::Bound => RGBColor(160, 160, 160),
            Standing::Ours => OURS,
            Standing::Rival => RGBColor(70, 110, 180),
        }
    }
}

const NAMES_WIDTH: i32 = 240;
const BAR_WIDTH: f64 = 540.0;

/// From values to lengths.
struct Scale {
    log_from: Option<f64>,
    most: f64,
}

impl Scale {
    fn of(log_from: Option<f64>, bars: &[Bar]) -> Self {
        let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        Self { log_from, most }
    }

    fn pixels(&self, value: f64) -> i32 {
        let share = match self.log_from {
            Some(least) => {
                (value.max(least) / least).ln() / (self.most.max(least * 1.01) / least).ln()
            }
            None => value / self.most,
        };
        (share * BAR_WIDTH) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_with_their_values_up_to_the_width() {
        for log_from in [None, Some(0.01)] {
            let scale = Scale { log_from, most: 50.0 };
            assert_eq!(scale.pixels(0.0), 0);
            assert!(scale.pixels(1.0) < scale.pixels(10.0));
            assert_eq!(scale.pixels(50.0), BAR_WIDTH as i32);
        }
    }
}
