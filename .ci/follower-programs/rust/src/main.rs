//! Prints the lines that a crate shows of a log: `followers CRATE LOG`.

use std::io::{self, Write};
use std::{env, thread, time::Duration};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, log] = arguments.as_slice() else {
        return Err("usage: followers CRATE LOG".into());
    };
    match name.as_str() {
        "chase" => chase(log),
        "linemux" => linemux(log).await,
        "logwatcher" => logwatcher(log),
        "staart" => staart(log),
        _ => Err(format!("unknown crate: {name}").into()),
    }
}

fn show(line: &str) {
    let mut out = io::stdout().lock();
    let shown = writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush());
    shown.expect("standard output is open");
}

fn chase(log: &str) -> Result {
    chase::Chaser::new(log).run(|line, _, _| {
        show(line);
        Ok(chase::Control::Continue)
    })?;
    Ok(())
}

async fn linemux(log: &str) -> Result {
    let mut lines = linemux::MuxedLines::new()?;
    lines.add_file(log).await?;
    while let Some(line) = lines.next_line().await? {
        show(line.line());
    }
    Ok(())
}

fn logwatcher(log: &str) -> Result {
    logwatcher::LogWatcher::register(log)?.watch(&mut |line: String| {
        show(&line);
        logwatcher::LogWatcherAction::None
    });
    Ok(())
}

/// As its documentation shows it.
fn staart(log: &str) -> Result {
    let mut file = staart::TailedFile::new(log)?;
    loop {
        let read = file.read_and(|data| {
            let mut out = io::stdout().lock();
            out.write_all(data).and_then(|()| out.flush()).expect("standard output is open");
        });
        if let Err(error) = read {
            eprintln!("{error}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}
