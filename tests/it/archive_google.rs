//! A stub for Google Cloud Storage: as much of its XML API as the archive and its readers use, with
//! the condition `x-goog-if-generation-match: 0`. It is not Google's server, and checks no
//! signature: with `disable_oauth`, there is none.

use crate::archive::{archive_job, finished};
use crate::archive_server::{Headers, Request, answer, listen_with, receive};
use crate::support::{Dir, Job, listen, say};
use logrotor::reader::LogReader;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    /// By path, such as `/bucket/key`.
    objects: BTreeMap<String, (Vec<u8>, Headers)>,
    requests: Vec<Request>,
    /// How many of the next uploads are stored without an answer.
    lost_answers: usize,
}

struct Google {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Google {
    fn start(lost_answers: usize) -> Self {
        let state = Arc::new(Mutex::new(State { lost_answers, ..State::default() }));
        Self { endpoint: listen_with(&state, serve), state }
    }

    /// The credentials of a service account that leads to this server.
    fn account(&self) -> String {
        let key = [
            ("private_key", "none"),
            ("private_key_id", "none"),
            ("client_email", "none"),
            ("gcs_base_url", &self.endpoint),
        ];
        let key = key.map(|(name, value)| format!("\"{name}\": \"{value}\"")).join(", ");
        format!("{{{key}, \"disable_oauth\": true}}")
    }
}

/// Answers one request; `None` ends the connection.
fn serve(mut connection: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let (request, body) = receive(connection)?;
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let path = &decoded(path);
    let with_body = request.method != "HEAD";
    let answer = if request.method == "PUT" {
        put(&mut state, path, &request.headers, body)?
    } else if query.contains("list-type=2") {
        answer(200, &Headers::new(), list(&state, path, query).as_bytes(), with_body)
    } else {
        match state.objects.get(path) {
            Some((body, metadata)) => answer(200, metadata, body, with_body),
            None => answer(404, &Headers::new(), b"<Error/>", with_body),
        }
    };
    drop(state);
    connection.write_all(&answer).ok()
}

/// Creates an object, and replaces one only without the condition. `None` loses the answer.
fn put(state: &mut State, path: &str, headers: &Headers, body: Vec<u8>) -> Option<Vec<u8>> {
    let is_conditional = headers.get("x-goog-if-generation-match").is_some_and(|it| it == "0");
    if is_conditional && state.objects.contains_key(path) {
        let code = b"<Error><Code>PreconditionFailed</Code></Error>";
        return Some(answer(412, &Headers::new(), code, true));
    }
    let is_kept = |name: &&String| name.starts_with("x-goog-meta-");
    let metadata = headers.iter().filter(|(name, _)| is_kept(name));
    let metadata = metadata.map(|(name, value)| (name.clone(), value.clone())).collect();
    state.objects.insert(path.to_owned(), (body, metadata));
    if state.lost_answers > 0 {
        state.lost_answers -= 1;
        return None;
    }
    let generation = [("x-goog-generation".to_owned(), state.requests.len().to_string())];
    Some(answer(200, &generation.into(), b"", true))
}

/// Decodes `%2F` and its like. The client encodes all of a key.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        plain.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        plain.push_str(&part[2..]);
    }
    plain
}

/// A page with everything.
fn list(state: &State, bucket: &str, query: &str) -> String {
    let query: BTreeMap<_, _> = query.split('&').filter_map(|it| it.split_once('=')).collect();
    let text = |name| query.get(name).map(|it: &&str| decoded(it)).unwrap_or_default();
    let (prefix, after) = (text("prefix"), text("start-after"));
    let (mut contents, mut prefixes) = (String::new(), BTreeSet::new());
    for (path, (body, _)) in &state.objects {
        let key = path.trim_start_matches(bucket).trim_start_matches('/');
        let Some(rest) = key.strip_prefix(&prefix).filter(|_| *key > *after) else { continue };
        match rest.split_once('/').filter(|_| query.contains_key("delimiter")) {
            Some((part, _)) => {
                prefixes.insert(format!("{prefix}{part}/"));
            }
            None => contents.push_str(&format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><ETag>\"{}\"</ETag>\
                 <LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>",
                body.len(),
                body.len()
            )),
        }
    }
    let prefix = |it| format!("<CommonPrefixes><Prefix>{it}</Prefix></CommonPrefixes>");
    let prefixes: String = prefixes.into_iter().map(prefix).collect();
    format!("<ListBucketResult>{contents}{prefixes}</ListBucketResult>")
}

/// The child: reads an archive.
pub fn child(job: &Job) {
    let reader = LogReader::builder(format!("{}/app.log", job.text("archive"))).open();
    let mut reader = reader.unwrap();
    let lines = reader.records().map(|line| line.unwrap().into_string_lossy());
    say(lines.collect::<Vec<_>>().join(","));
    listen();
}

fn report(google: &Google, dir: &Dir, task: &str) -> String {
    let job = archive_job(task, dir, "gs://bucket/a/prefix")
        .env("GOOGLE_SERVICE_ACCOUNT_KEY", google.account());
    let mut child = job.spawn();
    let report = child.hear().unwrap();
    assert!(child.end());
    report
}

#[test]
fn google_gets_each_segment_once_and_reads_it_back() {
    // The origin's answer is lost, and that of a segment.
    let (dir, google) = (finished(), Google::start(2));
    let said = report(&google, &dir, "archive-at");
    assert!(said.starts_with("0 left"), "{said}");
    let before = google.state.lock().unwrap().objects.clone();
    assert_eq!(before.len(), 5, "4 segments and the origin");
    // Without its ledger, the log finds its objects again.
    std::fs::remove_file(dir.file("app.log.archive")).unwrap();
    assert_eq!(report(&google, &dir, "archive-at"), "0 left");
    let state = google.state.lock().unwrap();
    assert_eq!(state.objects, before);
    for Request { method, headers, .. } in &state.requests {
        if method == "PUT" {
            assert_eq!(headers["x-goog-if-generation-match"], "0");
            assert_eq!(headers["x-goog-meta-sha256"].len(), 64);
            assert!(!headers.contains_key("content-encoding"));
        }
    }
    drop(state);
    let expected: Vec<_> = dir.backups().iter().flat_map(|name| dir.lines_of(name)).collect();
    assert_eq!(report(&google, &dir, "archive-read"), expected.join(","));
}
