//! A reader that follows a log by looking at intervals, without reports by the system.

use crate::support::Dir;
use logrotor::Compression;
use logrotor::reader::LogReader;
use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn polling_follower_gets_each_line_once_across_rotations() {
    let dir = Dir::new();
    let builder = LogReader::builder(dir.log()).follow().poll_interval(Duration::from_millis(1));
    // Opened before the log exists.
    let mut reader = builder.open().unwrap();
    let (sender, lines) = channel();
    let stopper = reader.stopper();
    let thread = std::thread::spawn(move || {
        reader.records().for_each(|record| sender.send(record.unwrap()).unwrap());
    });
    let mut log = dir.writer().max_size(50).compression(Compression::Gzip).build().unwrap();
    for n in 0..100 {
        writeln!(log, "line {n:04}").unwrap();
        assert_eq!(lines.recv().unwrap().into_string_lossy(), format!("line {n:04}"));
    }
    assert!(dir.backups().len() >= 10);
    stopper.stop();
    thread.join().unwrap();
    assert_eq!(lines.iter().count(), 0);
}
