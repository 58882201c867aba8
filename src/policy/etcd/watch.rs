//! The thread that watches a key.

use super::super::backend::Stop;
use super::gateway::{Gateway, GatewayFailure, is_about_token};
use crate::clock::{Deadline, Stopwatch};
use crate::fs;
use crate::sync::{Condvar, Mutex};
use serde_json::{Value, json};
use std::io::{self, BufRead};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

/// Watches a key, on a thread that the first wait starts.
pub(super) struct Watcher {
    gateway: Arc<Gateway>,
    key: String,
    board: Arc<Board>,
}

/// The news of the thread, for those who wait.
#[derive(Default)]
struct Board {
    news: Mutex<News>,
    changed: Condvar,
}

#[derive(Default)]
struct News {
    is_started: bool,
    is_closed: bool,
    /// The last known revision at which the key was changed, or may have been.
    latest: i64,
    /// The revision for which a wait ended early.
    reported: i64,
}

/// How long a stream lasts. A member that is cut off from the others sends nothing.
const STREAM: Duration = Duration::from_secs(20);
/// The pause after a failure. Polling goes on meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

impl Watcher {
    pub(super) fn new(gateway: Arc<Gateway>, key: String) -> Self {
        Self { gateway, key, board: Arc::default() }
    }

    /// Waits for a change after the revision `seen`.
    pub(super) fn wait(&self, seen: Option<i64>, at_most: Duration, stop: &Stop) {
        const LOOK: Duration = Duration::from_millis(500);
        let end = Deadline::after(at_most);
        let mut news = self.board.news.lock();
        if !news.is_started {
            if self.start().is_err() {
                // All depends on polling.
                drop(news);
                return stop.sleep(at_most);
            }
            news.is_started = true;
            news.latest = seen.unwrap_or(0);
        }
        // Our own changes, and what a request has found before the stream had it.
        news.latest = news.latest.max(seen.unwrap_or(0));
        let waiting = Stopwatch::start();
        while !stop.is_set() {
            let is_news = match seen {
                Some(seen) => news.latest > seen,
                None => news.latest > news.reported,
            };
            // The request after an early end may have failed. It is made again, but not at once.
            if is_news && (news.latest > news.reported || waiting.elapsed() >= PAUSE) {
                news.reported = news.latest;
                return;
            }
            let Some(left) = end.left() else { return };
            self.board.changed.wait_for(&mut news, left.min(LOOK));
        }
    }

    fn start(&self) -> io::Result<()> {
        let (gateway, key) = (Arc::clone(&self.gateway), self.key.clone());
        let board = Arc::clone(&self.board);
        let work = move || board.follow(&gateway, &key);
        let builder = Builder::new().name("logrotor-etcd".to_owned());
        fs::without_signals(|| builder.spawn(work)).map(drop)
    }
}

impl Drop for Watcher {
    /// The thread ends with its stream, without being waited for.
    fn drop(&mut self) {
        self.board.news.lock().is_closed = true;
        self.board.changed.notify_all();
    }
}

impl Board {
    fn follow(&self, gateway: &Gateway, key: &str) {
        loop {
            let opened = Stopwatch::start();
            let outcome = self.stream(gateway, key);
            let mut news = self.news.lock();
            if news.is_closed {
                return;
            }
            if outcome.is_err() && opened.elapsed() < STREAM {
                gateway.avoid_member();
                let end = Deadline::after(PAUSE);
                while let (false, Some(left)) = (news.is_closed, end.left()) {
                    self.changed.wait_for(&mut news, left);
                }
            }
        }
    }

    /// Reads one stream to its end.
    fn stream(&self, gateway: &Gateway, key: &str) -> Result<(), GatewayFailure> {
        let next = self.news.lock().latest + 1;
        // The cluster replays the changes since then.
        let body = json!({ "create_request": { "key": key, "start_revision": next.to_string() } });
        for line in gateway.stream("/v3/watch", &body, STREAM)?.lines() {
            let broken = |error: io::Error| GatewayFailure::Unanswered(error.to_string());
            let answer: Value = serde_json::from_str(&line.map_err(broken)?).unwrap_or_default();
            let result = &answer["result"];
            self.read(result);
            if result["canceled"] == true || answer["error"].is_object() {
                // Status 200 says nothing of permissions.
                let why = result["cancel_reason"].as_str().unwrap_or_default();
                if is_about_token(why) {
                    gateway.forget_token();
                }
                return Err(GatewayFailure::Unanswered(why.to_owned()));
            }
            if self.news.lock().is_closed {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Notes the changes in one answer.
    fn read(&self, result: &Value) {
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
        let events = result["events"].as_array().into_iter().flatten();
        let latest = events.filter_map(|event| number(&event["kv"]["mod_revision"])).max();
        // The changes before this revision are not kept any more.
        let compacted = number(&result["compact_revision"]).map(|revision| revision - 1);
        if let Some(latest) = latest.max(compacted) {
            let mut news = self.news.lock();
            if latest > news.latest {
                news.latest = latest;
                self.changed.notify_all();
            }
        }
    }
}
