//! logrotor measured against other rotating log writers: one command, one report.

mod check;
mod line;
mod measure;

fn main() {}
