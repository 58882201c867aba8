//! A program with buffered delivery and a global subscriber, which is never dropped: `end_of_main
//! LOG [guard]`. It ends as programs do, by returning from `main`.

use logrotor::{Buffering, Delivery, RotatingFileWriter};
use std::time::Duration;

fn main() {
    let args: Vec<_> = std::env::args().collect();
    // Longer than the program runs.
    let buffering = Buffering::new().flush_interval(Duration::from_secs(3600));
    let log = RotatingFileWriter::builder(&args[1]).delivery(Delivery::Buffered(buffering));
    let log = log.build().expect("the directory is there");
    let _guard = (args.get(2).map(String::as_str) == Some("guard")).then(|| log.flush_guard());
    tracing_subscriber::fmt().with_writer(log).init();
    for number in 0..100 {
        tracing::info!(number, "an event of the last moment");
    }
}
