//! Maintenance: threads that announce work, and the thread that does it.

use crate::clock::FAR;
use crate::maintenance::wakeup::Wakeup;
use shuttle::sync::mpsc::channel;
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Each of `notifiers` threads creates work and announces it. Checks that all is done although no
/// time passes after which the other thread would check by itself. That thread rests after work, or
/// does not.
pub fn wakeup_wakes_the_waiting_thread(notifiers: usize, rest: Option<Duration>) {
    let wakeup = Arc::new(Wakeup::default());
    let made = Arc::new(AtomicUsize::new(0));
    let (tell, done) = channel();
    let maintainer = thread::spawn({
        let (wakeup, made) = (Arc::clone(&wakeup), Arc::clone(&made));
        move || {
            while !wakeup.is_over() {
                if wakeup.take() {
                    tell.send(made.load(SeqCst)).unwrap();
                }
                if let Some(rest) = rest {
                    wakeup.rest(rest);
                }
                wakeup.wait(FAR);
            }
        }
    });
    for _ in 0..notifiers {
        let (wakeup, made) = (Arc::clone(&wakeup), Arc::clone(&made));
        thread::spawn(move || {
            made.fetch_add(1, SeqCst);
            wakeup.notify();
        });
    }
    while done.recv().unwrap() < notifiers {}
    wakeup.end();
    maintainer.join().unwrap();
}
