//! Every documented way to plug the log into a logger, with several processes, threads and
//! rotations.

use logrotor_loggers::event::Shape;
use logrotor_loggers::run::{Size, run};
use logrotor_loggers::ways::{Given, WAYS, Way};
use std::path::Path;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_logrotor-loggers"))
}

/// `LOGROTOR_LONG` asks for the long form.
fn size() -> Size {
    let events = if std::env::var_os("LOGROTOR_LONG").is_some() { 500 } else { 40 };
    Size { processes: 4, threads: 2, events, max_size: 20 * 1024 }
}

#[test]
fn every_documented_way_makes_each_event_one_record() {
    let mut wrong = Vec::new();
    for (index, way) in WAYS.iter().enumerate().filter(|(_, way)| way.is_documented) {
        for shape in Shape::ALL {
            let verdict = run(program(), index, shape, size());
            if !verdict.is_clean() {
                wrong.push(format!("{}, {shape:?}: {verdict}", way.title()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pieces_written_to_the_log_itself_are_detected() {
    for name in ["simplelog", "log4rs json", "flexi_logger", "slog-json", "serde_json pretty"] {
        let is_it = |way: &Way| way.name == name && way.given == Given::Log;
        let way = WAYS.iter().position(is_it).expect("it is in the list");
        let verdict = run(program(), way, Shape::Line, size());
        assert!(verdict.surplus > 0, "{name}: {verdict}");
    }
}
