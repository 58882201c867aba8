//! A stub that speaks as much of S3 as the archive uses, and misbehaves on request. It is no S3:
//! `.ci/archive` runs real servers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

/// How a server misbehaves.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// It replaces an object that it was asked to create only if there is none.
    pub ignores_conditions: bool,
    /// How many of the first uploads it stores without an answer.
    pub lost_answers: usize,
    /// Its answer to the first requests: how many, the status, and the code.
    pub refusals: (usize, u16, &'static str),
    /// It stores something else than it was sent.
    pub corrupts: bool,
    /// It refuses objects with this text in their names as too large, unless it is empty.
    pub too_large: String,
    /// It lists objects with one of these in their paths, and has none of them.
    pub gone: Vec<String>,
    /// It answers an upload with the checksum that it was sent, or with another one.
    pub confirms: Option<bool>,
    /// It sends this much of an object and then ends the connection, unless it is 0.
    pub breaks_after: usize,
    /// It appends to an object that it has sent a part of.
    pub replaces: bool,
}

pub type Headers = BTreeMap<String, String>;

/// A request: its method, path and headers.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Headers,
}

#[derive(Default)]
struct State {
    manners: Manners,
    objects: BTreeMap<String, (Vec<u8>, Headers)>,
    requests: Vec<Request>,
}

/// A server on a port of its own. Its threads end with the process.
pub struct Server {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(manners: Manners) -> Self {
        let state = Arc::new(Mutex::new(State { manners, ..State::default() }));
        Self { endpoint: listen_with(&state, serve), state }
    }

    /// The content of the objects, by path.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.lock().unwrap();
        state.objects.iter().map(|(path, (body, _))| (path.clone(), body.clone())).collect()
    }

    /// Stores an object, by path.
    pub fn put(&self, path: &str, body: &[u8]) {
        let object = (body.to_vec(), Headers::new());
        self.state.lock().unwrap().objects.insert(path.to_owned(), object);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }
}

/// Listens on a port of its own, and has each request answered by `serve`, until that returns
/// `None`. Returns the URL.
pub fn listen_with<T: Send + 'static>(
    state: &Arc<Mutex<T>>,
    serve: fn(&TcpStream, &Mutex<T>) -> Option<()>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            std::thread::spawn(move || while serve(&connection, &state).is_some() {});
        }
    });
    endpoint
}

/// Answers one request; `None` ends the connection.
fn serve(mut connection: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let (request, body) = receive(connection)?;
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    let (left, status, code) = state.manners.refusals;
    let answer = if left > 0 {
        state.manners.refusals.0 -= 1;
        let text = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
        answer(status, &Headers::new(), text.as_bytes(), true)
    } else {
        answer_to(&mut state, &request, body)?
    };
    let breaks = state.manners.breaks_after > 0 && request.method == "GET";
    drop(state);
    connection.write_all(&answer).ok()?;
    (!breaks).then_some(())
}

fn answer_to(state: &mut State, request: &Request, mut body: Vec<u8>) -> Option<Vec<u8>> {
    let none = Headers::new();
    if request.method == "PUT" {
        let too_large = &state.manners.too_large;
        if !too_large.is_empty() && request.path.contains(too_large) {
            return Some(answer(413, &none, b"<Error><Code>EntityTooLarge</Code></Error>", true));
        }
        let is_new = !state.objects.contains_key(&request.path);
        let is_conditional = request.headers.get("if-none-match").is_some_and(|etag| etag == "*");
        if is_conditional && !is_new && !state.manners.ignores_conditions {
            return Some(answer(
                412,
                &none,
                b"<Error><Code>PreconditionFailed</Code></Error>",
                true,
            ));
        }
        if state.manners.corrupts && !request.path.ends_with(".origin") {
            body[0] ^= 1;
        }
        let metadata = request.headers.iter().filter(|(name, _)| name.starts_with("x-amz-meta-"));
        let metadata = metadata.map(|(name, value)| (name.clone(), value.clone())).collect();
        state.objects.insert(request.path.clone(), (body, metadata));
        if state.manners.lost_answers > 0 {
            state.manners.lost_answers -= 1;
            return None;
        }
        let sent = request.headers.get("x-amz-checksum-sha256").cloned().unwrap_or_default();
        let received =
            state.manners.confirms.map(|confirms| if confirms { sent } else { "?".into() });
        let headers = received.map(|received| ("x-amz-checksum-sha256".to_owned(), received));
        return Some(answer(200, &headers.into_iter().collect(), b"", true));
    }
    let with_body = request.method == "GET";
    if let Some((bucket, query)) = request.path.split_once('?') {
        return Some(answer(200, &none, list(&state.objects, bucket, query).as_bytes(), true));
    }
    let is_gone = state.manners.gone.iter().any(|part| request.path.contains(part));
    let Some((body, metadata)) = state.objects.get(&request.path).filter(|_| !is_gone) else {
        return Some(answer(404, &none, b"<Error><Code>NoSuchKey</Code></Error>", with_body));
    };
    if !with_body {
        return Some(answer(200, metadata, body, false));
    }
    let sent = download(request, body, metadata, state.manners.breaks_after);
    if state.manners.replaces {
        state.objects.entry(request.path.clone()).and_modify(|(body, _)| body.extend(b"more\n"));
    }
    Some(sent)
}

/// The answer to a `GET`: whole or from an offset, and perhaps cut.
fn download(request: &Request, body: &[u8], metadata: &Headers, breaks_after: usize) -> Vec<u8> {
    let etag = format!("\"{}\"", body.len());
    if request.headers.get("if-match").is_some_and(|wanted| *wanted != etag) {
        return answer(
            412,
            &Headers::new(),
            b"<Error><Code>PreconditionFailed</Code></Error>",
            true,
        );
    }
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let from = range.and_then(|range| range.split_once('-')).map(|(from, _)| from.parse().unwrap());
    let (mut headers, status) = (metadata.clone(), if from.is_some() { 206 } else { 200 });
    let from: usize = from.unwrap_or_default();
    if status == 206 {
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        headers.insert("Content-Range".to_owned(), range);
    }
    headers.insert("ETag".to_owned(), etag);
    let mut answer = answer(status, &headers, &body[from..], true);
    let left = body.len() - from;
    if breaks_after > 0 && left > breaks_after {
        answer.truncate(answer.len() - (left - breaks_after));
    }
    answer
}

/// Lists objects as version 2 of S3's `ListObjects` does, up to 1000 at a time.
fn list(objects: &BTreeMap<String, (Vec<u8>, Headers)>, bucket: &str, query: &str) -> String {
    let parameters: BTreeMap<_, _> =
        query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let value = |name| parameters.get(name).map_or(String::new(), |value| decoded(value));
    let bucket = format!("{}/", bucket.trim_end_matches('/'));
    let (prefix, by) = (value("prefix"), value("delimiter"));
    let after = value("start-after").max(value("continuation-token"));
    let most = parameters.get("max-keys").map_or(1000, |most| most.parse().unwrap());
    let mut found = BTreeMap::new();
    for (path, (body, _)) in objects {
        let Some(key) = path.strip_prefix(&bucket).filter(|key| key.starts_with(&prefix)) else {
            continue;
        };
        let end = key[prefix.len()..].find(&by).filter(|_| !by.is_empty());
        match end.map(|end| &key[..=prefix.len() + end]) {
            Some(common) => found.insert(common, None),
            None => found.insert(key, Some(body.len())),
        };
    }
    let mut text = "<ListBucketResult>".to_owned();
    let found = found.range::<str, _>((Bound::Excluded(&*after), Bound::Unbounded));
    for (at, (key, size)) in found.enumerate().take(most) {
        text.push_str(&match size {
            None => format!("<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"),
            Some(size) => format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-30T00:00:00.000Z</LastModified>\
                 <ETag>\"1\"</ETag><Size>{size}</Size></Contents>"
            ),
        });
        if at + 1 == most {
            text.push_str(&format!("<NextContinuationToken>{key}</NextContinuationToken>"));
        }
    }
    text + "</ListBucketResult>"
}

pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        let code = if *first == b'%' { others.get(..2) } else { None };
        let code = code.map(|code| std::str::from_utf8(code).unwrap());
        bytes.push(code.map_or(*first, |code| u8::from_str_radix(code, 16).unwrap()));
        rest = if code.is_some() { &others[2..] } else { rest };
    }
    String::from_utf8(bytes).unwrap()
}

/// Receives a request and its body; `None` at the end of the connection.
pub fn receive(connection: &TcpStream) -> Option<(Request, Vec<u8>)> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Headers::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some((Request { method, path, headers }, body))
}

/// Writes an answer down.
pub fn answer(status: u16, headers: &Headers, body: &[u8], with_body: bool) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\
         Last-Modified: Mon, 30 Nov 2026 00:00:00 GMT\r\n",
        body.len()
    );
    if !headers.contains_key("ETag") {
        text.push_str(&format!("ETag: \"{}\"\r\n", body.len()));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut answer = (text + "\r\n").into_bytes();
    if with_body {
        answer.extend_from_slice(body);
    }
    answer
}
