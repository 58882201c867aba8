//! Maintenance: threads that say there is work, and the one that does it.

use crate::clock::FAR;
use crate::maintenance::signal::Signal;
use shuttle::sync::mpsc::channel;
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Each of `raisers` threads makes work and says so; all is done though no time passes that would have the
/// other thread look by itself, which rests after work or does not. Then it is over.
pub fn signal_wakes_whoever_waits(raisers: usize, rest: Option<Duration>) {
    let signal = Arc::new(Signal::default());
    let made = Arc::new(AtomicUsize::new(0));
    let (tell, done) = channel();
    let keeper = thread::spawn({
        let (signal, made) = (Arc::clone(&signal), Arc::clone(&made));
        move || {
            while !signal.is_over() {
                if signal.take() {
                    tell.send(made.load(SeqCst)).unwrap();
                }
                if let Some(rest) = rest {
                    signal.rest(rest);
                }
                signal.wait(FAR);
            }
        }
    });
    for _ in 0..raisers {
        let (signal, made) = (Arc::clone(&signal), Arc::clone(&made));
        thread::spawn(move || {
            made.fetch_add(1, SeqCst);
            signal.raise();
        });
    }
    while done.recv().unwrap() < raisers {}
    signal.end();
    keeper.join().unwrap();
}
