//! logrotor measured against other rotating log writers: one command, one report.

mod check;
mod contestants;
mod job;
mod line;
mod measure;
mod scenarios;
mod supervise;
mod worker;

fn main() {}
