//! Prints for each way how many of 4000 events are not whole: `cargo run`.
//!
//! As `WAY SHAPE LOG WORKER THREADS EVENTS MAX_SIZE` it is one of the processes that log, and
//! prints how many records its log counted.

use logrotor::RotatingFileWriter;
use logrotor_loggers::event::{Event, Shape};
use logrotor_loggers::run::{Size, run};
use logrotor_loggers::ways::WAYS;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args.len() == 7 { work(&args) } else { table(args.first().map_or("", |name| name)) }
}

/// Runs the ways whose names contain `name`.
fn table(name: &str) {
    let program = std::env::current_exe().expect("the path of this program");
    let size = Size { processes: 4, threads: 2, events: 500, max_size: 20 * 1024 };
    println!(
        "{:62} {:12} | one line | three lines, one argument | three lines, in pieces",
        "", "documented"
    );
    for (index, way) in WAYS.iter().enumerate().filter(|(_, way)| way.title().contains(name)) {
        let documented = if way.is_documented { "yes" } else { "no" };
        print!("{:62} {documented:12}", way.title());
        for shape in Shape::ALL {
            print!(" | {}", run(&program, index, shape, size));
        }
        println!();
    }
}

fn work(args: &[String]) {
    let number = |at: usize| args[at].parse::<u64>().expect("a number");
    let count = |at: usize| usize::try_from(number(at)).expect("a small number");
    let (way, shape) = (&WAYS[count(0)], Shape::named(&args[1]).expect("a shape"));
    let (worker, threads, events) = (count(3), count(4), count(5));
    let log = RotatingFileWriter::builder(&args[2]).max_size(number(6));
    let log = log.build().expect("the directory is there");
    let plugged = (way.plug)(log.clone());
    std::io::stdin().read_line(&mut String::new()).expect("the end of a pipe");
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let write = &plugged.write;
            let work = move || {
                (0..events).for_each(|number| write(&Event::new(shape, worker, thread, number)));
            };
            let name = format!("thread-{thread}");
            let thread = std::thread::Builder::new().name(name);
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    log::logger().flush();
    drop(plugged);
    println!("{}", log.stats().records);
    log.close().expect("nothing is wrong with the log");
}
