//! A stub that speaks as much of S3, and of Google's XML API, as a shared policy uses, and whose
//! answers are lost, late or doubled. `policy_machines.rs` uses real servers.

use crate::archive_server::{Headers, decoded, listen_with, receive};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct State {
    objects: BTreeMap<String, Vec<u8>>,
    requests: BTreeMap<&'static str, usize>,
    /// So many of a hundred answers are lost, late or doubled.
    faults: u8,
    random: fastrand::Rng,
    is_cut_off: bool,
    /// So many of the next requests have no answer.
    to_lose: usize,
    /// After so many requests, none is answered.
    to_answer: Option<usize>,
    ignores_conditions: bool,
}

/// A server on a port of its own. Its threads end with the process.
pub struct PolicyServer {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl PolicyServer {
    /// A server that answers.
    pub fn start() -> Self {
        Self::with_faults(0, 0)
    }

    /// A server of whose answers so many of a hundred are lost, late or doubled, by a seed.
    pub fn with_faults(faults: u8, seed: u64) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            requests: BTreeMap::new(),
            faults,
            random: fastrand::Rng::with_seed(seed),
            is_cut_off: false,
            to_lose: 0,
            to_answer: None,
            ignores_conditions: false,
        };
        let state = Arc::new(Mutex::new(state));
        Self { endpoint: listen_with(&state, serve), state }
    }

    /// From now on, conditions are ignored.
    pub fn ignore_conditions(&self) {
        self.state.lock().unwrap().ignores_conditions = true;
    }

    /// Whether connections are closed without an answer.
    pub fn cut_off(&self, is_cut_off: bool) {
        self.state.lock().unwrap().is_cut_off = is_cut_off;
    }

    /// The next requests are not answered.
    #[allow(dead_code, reason = "for the tests of the command")]
    pub fn lose(&self, requests: usize) {
        self.state.lock().unwrap().to_lose = requests;
    }

    /// After so many requests, none is answered any more.
    #[allow(dead_code, reason = "for the tests of the command")]
    pub fn answer_only(&self, requests: usize) {
        self.state.lock().unwrap().to_answer = Some(requests);
    }

    /// The content of an object, by the end of its path.
    pub fn object(&self, end: &str) -> Option<String> {
        let state = self.state.lock().unwrap();
        let found = state.objects.iter().find(|(path, _)| path.ends_with(end));
        found.map(|(_, body)| String::from_utf8(body.clone()).unwrap())
    }

    /// How many requests of each kind there were, since this was asked last.
    pub fn requests(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

/// Answers one request; `None` ends the connection.
fn serve(mut connection: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let (request, body) = receive(connection)?;
    let mut state = state.lock().unwrap();
    if state.is_cut_off {
        return None;
    }
    if state.to_lose > 0 {
        state.to_lose -= 1;
        return None;
    }
    if let Some(left) = &mut state.to_answer {
        *left = left.checked_sub(1)?;
    }
    let is_struck = state.random.u8(..100) < state.faults;
    let fault = is_struck.then(|| state.random.u8(..4));
    if fault == Some(0) {
        return None;
    }
    let mut answer = answer_to(&mut state, &request.method, &request.path, &request.headers, &body);
    if fault == Some(1) {
        answer = answer_to(&mut state, &request.method, &request.path, &request.headers, &body);
    }
    drop(state);
    match fault {
        Some(2) => return None,
        Some(3) => std::thread::sleep(Duration::from_millis(20)),
        _ => {}
    }
    connection.write_all(&answer).ok()
}

fn answer_to(
    state: &mut State,
    method: &str,
    path: &str,
    headers: &Headers,
    body: &[u8],
) -> Vec<u8> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    // The client for Google encodes the slashes of a key.
    let path = &*decoded(path);
    let kind = match (method, query) {
        ("PUT", _) => "PUT",
        ("GET", query) if query.contains("list-type=2") => "LIST",
        ("GET", _) => "GET",
        _ => "DELETE",
    };
    *state.requests.entry(kind).or_default() += 1;
    let there = state.objects.get(path).map(|body| e_tag(body));
    let header = |name: &str| headers.get(name).map(String::as_str);
    match kind {
        "PUT" => {
            let generation = header("x-goog-if-generation-match");
            let is_wanted = match (header("if-none-match"), header("if-match"), generation) {
                (Some("*"), ..) | (.., Some("0")) => there.is_none(),
                (_, Some(wanted), _) => there.as_deref() == Some(wanted),
                (.., Some(wanted)) => there.is_some_and(|there| generation_of(&there) == wanted),
                _ => false,
            };
            if !is_wanted && !state.ignores_conditions {
                return answer(412, None, b"<Error><Code>PreconditionFailed</Code></Error>");
            }
            state.objects.insert(path.to_owned(), body.to_vec());
            answer(200, Some(&e_tag(body)), b"")
        }
        "LIST" => answer(200, None, list(&state.objects, path, query).as_bytes()),
        "DELETE" if method == "DELETE" => {
            state.objects.remove(path);
            answer(204, None, b"")
        }
        "DELETE" => {
            let text = String::from_utf8_lossy(body);
            for part in text.split("<Key>").skip(1) {
                let key = part.split("</Key>").next().unwrap();
                state.objects.remove(&format!("{}/{key}", path.trim_end_matches('/')));
            }
            answer(200, None, b"<DeleteResult></DeleteResult>")
        }
        _ => match (state.objects.get(path), there) {
            (Some(_), Some(there)) if header("if-none-match") == Some(&there) => {
                answer(304, Some(&there), b"")
            }
            (Some(body), Some(there)) => answer(200, Some(&there), body),
            _ => answer(404, None, b"<Error><Code>NoSuchKey</Code></Error>"),
        },
    }
}

/// Another number for each content, of which no two are equal.
fn generation_of(e_tag: &str) -> String {
    u64::from_str_radix(e_tag.trim_matches('"'), 16).unwrap().to_string()
}

/// A digest, as that of S3 is.
fn e_tag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn list(objects: &BTreeMap<String, Vec<u8>>, bucket: &str, query: &str) -> String {
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
    let prefix = decoded(prefix);
    let bucket = format!("{}/", bucket.trim_end_matches('/'));
    let keys = objects.iter().filter_map(|(path, body)| {
        let key = path.strip_prefix(&bucket)?;
        key.starts_with(&prefix).then(|| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-30T00:00:00.000Z</LastModified>\
                 <ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                body.len()
            )
        })
    });
    format!("<ListBucketResult>{}</ListBucketResult>", keys.collect::<String>())
}

fn answer(status: u16, e_tag: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\
         Last-Modified: Mon, 30 Nov 2026 00:00:00 GMT\r\n",
        body.len()
    );
    if let Some(e_tag) = e_tag {
        let generation = generation_of(e_tag);
        text.push_str(&format!("ETag: {e_tag}\r\nx-goog-generation: {generation}\r\n"));
    }
    let mut answer = (text + "\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}
