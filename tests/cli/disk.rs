//! `logrotor write` on a disk that is really full.
#![cfg(target_os = "linux")]

use crate::support::{Dir, eventually};
use crate::write::Writer;
use logrotor::reader::LogReader;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

/// A small file system in memory.
struct Disk(Dir);

impl Disk {
    /// Returns `None` and prints a note if mounting is not permitted.
    fn new() -> Option<Self> {
        let dir = Dir::new();
        let mounted = mount(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"], &dir.file(""));
        if !mounted {
            println!("skipped: this user may not mount a file system");
        }
        mounted.then_some(Self(dir))
    }

    fn make_room(&self) {
        assert!(mount(&["-o", "remount,size=64m"], &self.0.file("")));
    }

    /// The whole lines. The line at which the disk became full may be torn.
    fn whole_lines(&self) -> Vec<String> {
        let mut log = LogReader::open(self.0.log()).unwrap();
        let lines = log.records().map(|record| record.unwrap().into_string_lossy());
        lines.filter(|line| line.len() == LEN).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.file("")).status();
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    let mounted = Command::new("mount").args(options).arg(at).output();
    mounted.is_ok_and(|mounted| mounted.status.success())
}

/// The length of a line without its line break.
const LEN: usize = 99;

fn lines(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{number:0LEN$}")).collect()
}

fn text_of(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Reads the next message of the writer.
fn said(writer: &mut Writer) -> String {
    let (mut said, mut byte) = (Vec::new(), [0]);
    let stderr = writer.child.stderr.as_mut().unwrap();
    while !said.ends_with(b"\n") {
        stderr.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    String::from_utf8(said).unwrap()
}

/// Reads the writer's standard error until the message that it waits for room. With a buffer, the
/// log's thread reports the failure too, before that or after.
fn said_to_wait(writer: &mut Writer) {
    let first = said(writer);
    assert!(first.contains("No space left on device"), "{first}");
    if !first.ends_with("waiting until it can be written\n") {
        assert!(said(writer).ends_with("waiting until it can be written\n"), "{first}");
    }
}

fn takes_more(pipe: &impl AsFd) -> bool {
    let mut ready = [PollFd::new(pipe, PollFlags::OUT)];
    poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn full_disk_delays_the_input_and_loses_no_line() {
    let Some(disk) = Disk::new() else { return };
    let mut writer = Writer::start(&disk.0, ["--max-size", "100kB"]);
    // More than the disk, the pipe and the writer's buffer hold.
    let lines = lines(0..80_000);
    let input = writer.input.take().unwrap();
    let held = input.as_fd().try_clone_to_owned().unwrap();
    std::thread::scope(|scope| {
        let lines = &lines;
        let feeder = scope.spawn(move || (&input).write_all(text_of(lines).as_bytes()).unwrap());
        let waits = said(&mut writer);
        assert!(waits.ends_with("waiting until it can be written\n"), "{waits}");
        eventually("the pipe is full", || !takes_more(&held));
        assert!(!feeder.is_finished() && disk.whole_lines().len() < 2700);
        disk.make_room();
        feeder.join().unwrap();
    });
    drop(held);
    writer.finish();
    assert!(disk.whole_lines() == lines);
}

#[test]
fn signal_to_end_waits_for_room_during_the_grace() {
    let Some(disk) = Disk::new() else { return };
    let mut writer = Writer::start(&disk.0, ["--grace", "1day"]);
    let lines = lines(0..5000);
    writer.send(&text_of(&lines));
    assert!(said(&mut writer).ends_with("waiting until it can be written\n"));
    writer.signal(Signal::TERM);
    // The writer handles the two signals in this order.
    writer.signal(Signal::USR1);
    eventually("it rotates", || disk.0.backups().len() == 1);
    disk.make_room();
    writer.finish();
    assert!(disk.whole_lines() == lines);
}

#[test]
fn signal_to_end_without_grace_drops_and_counts_lines() {
    let Some(disk) = Disk::new() else { return };
    let mut writer = Writer::start(&disk.0, ["--grace", "0s"]);
    writer.send(&text_of(&lines(0..5000)));
    assert!(said(&mut writer).ends_with("waiting until it can be written\n"));
    writer.signal(Signal::TERM);
    // The input stays open.
    let input = writer.input.take();
    let (status, _, said) = writer.wait();
    drop(input);
    let kept = disk.whole_lines();
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(said, format!("logrotor: {} lines were dropped\n", 5000 - kept.len()));
    assert!(kept.len() > 2000 && kept == lines(0..kept.len()));
}

#[test]
fn on_full_drop_keeps_reading_and_counts_dropped_lines() {
    let Some(disk) = Disk::new() else { return };
    let mut writer = Writer::start(&disk.0, ["--on-full", "drop", "--max-size", "100kB"]);
    // The writer reads all of them, though the disk has room for 2600.
    writer.send(&text_of(&lines(0..50_000)));
    assert!(said(&mut writer).ends_with("dropping lines until it can be written\n"));
    disk.make_room();
    let later = lines(50_000..60_000);
    writer.send(&text_of(&later));
    drop(writer.input.take());
    let (status, _, said) = writer.wait();
    let kept = disk.whole_lines();
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(said, format!("logrotor: {} lines were dropped\n", 60_000 - kept.len()));
    assert!(kept.len() < 60_000 && kept.is_sorted());
    assert!(kept.ends_with(&later[5000..]), "{:?}", kept.last());
}

#[test]
fn buffered_lines_wait_for_room_after_the_input_has_ended() {
    let Some(disk) = Disk::new() else { return };
    let mut writer = Writer::start(&disk.0, ["--buffered"]);
    // All are in the buffer when the input ends.
    let lines = lines(0..5000);
    writer.send(&text_of(&lines));
    drop(writer.input.take());
    said_to_wait(&mut writer);
    disk.make_room();
    let (status, _, said) = writer.wait();
    assert_eq!(status, Some(0), "{said}");
    // Nothing, or the failure as the log's thread reports it.
    assert!(said.lines().all(|line| line.contains("No space left on device")), "{said}");
    assert!(disk.whole_lines() == lines);
}

#[test]
fn buffered_lines_dropped_on_a_full_disk_are_counted() {
    for args in [
        ["--buffered", "--on-full=drop"],
        ["--buffered", "--grace=0s"],
        ["--buffered", "--grace=100ms"],
    ] {
        let Some(disk) = Disk::new() else { return };
        let mut writer = Writer::start(&disk.0, args);
        writer.send(&text_of(&lines(0..5000)));
        drop(writer.input.take());
        if args[1] != "--on-full=drop" {
            said_to_wait(&mut writer);
            writer.signal(Signal::TERM);
        }
        let (status, _, said) = writer.wait();
        let kept = disk.whole_lines();
        assert_eq!(status, Some(1), "{said}");
        let sum = format!("logrotor: {} lines were dropped\n", 5000 - kept.len());
        assert!(!said.contains("has not ended"), "its input has: {said}");
        assert!(said.contains(&sum), "{said} but {} are there", kept.len());
        assert!(kept.len() > 2000 && kept == lines(0..kept.len()));
    }
}
