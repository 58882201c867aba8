//! logrotor measured against other rotating log writers: one command, one report.

mod check;
mod contestants;
mod line;
mod measure;
mod scenarios;

fn main() {}
