//! Policies in etcd, by its JSON gateway.
//!
//! The keys of the policy `app.policy` are `app.policy/current`, `app.policy/lock`,
//! `app.policy/probe` and, for its history, `app.policy/history/` with numbers of 20 digits. The
//! token of a slot is the revision of the store in which it was changed last, which only goes up.

mod address;
mod gateway;
mod watch;

use super::backend::{Backend, Change, Kept, Loaded, Slot, Stop, Swap, Token};
use super::key::{number_of, numbered};
use crate::error::{Error, Result};
use address::EtcdAddress;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gateway::{Gateway, Repeat};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use watch::Watcher;

/// A policy in etcd.
pub(super) struct Etcd {
    gateway: Arc<Gateway>,
    name: String,
    watcher: Watcher,
}

const RANGE: &str = "/v3/kv/range";
const TXN: &str = "/v3/kv/txn";
const DELETE: &str = "/v3/kv/deleterange";

impl Etcd {
    /// Opens a policy. Sends nothing.
    pub(super) fn open(url: &str) -> Result<Arc<dyn Backend>> {
        let address = EtcdAddress::parse(url, &|name| std::env::var(name).ok())?;
        let gateway = Arc::new(Gateway::new(&address)?);
        let current = encoded(format!("{}/{}", address.name, Slot::Current.name()));
        let watcher = Watcher::new(Arc::clone(&gateway), current);
        Ok(Arc::new(Self { gateway, name: address.name, watcher }))
    }

    fn slot(&self, slot: Slot) -> String {
        encoded(format!("{}/{}", self.name, slot.name()))
    }

    fn version(&self, version: u64) -> String {
        encoded(format!("{}/history/{}", self.name, numbered(version)))
    }

    fn call(&self, action: &'static str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.gateway.call(path, body, Repeat::Yes);
        answer.map_err(|failure| failure.error(action, self.url()))
    }

    fn odd(&self, action: &'static str, answer: &Value) -> Error {
        let start: String = answer.to_string().chars().take(200).collect();
        Error::policy_unreachable(action, self.url(), format!("the answer is not etcd's: {start}"))
    }

    /// Reads the first of the keys and values in an answer; `None` if it has none.
    fn first(&self, action: &'static str, range: &Value) -> Result<Option<Loaded>> {
        let Some(found) = range["kvs"].get(0) else {
            // A proxy may answer anything.
            let is_answer = range["header"]["revision"].is_string();
            return if is_answer { Ok(None) } else { Err(self.odd(action, range)) };
        };
        let token = found["mod_revision"].as_str().map(str::to_owned).map(Token);
        // An empty value is left out.
        let bytes = BASE64_STANDARD.decode(found["value"].as_str().unwrap_or_default());
        match (token, bytes) {
            (Some(token), Ok(bytes)) => Ok(Some(Loaded { bytes, token })),
            _ => Err(self.odd(action, range)),
        }
    }

    /// Puts a value, if the key was changed last at a revision; 0 means that there must be no key.
    fn put_if(&self, key: &str, revision: &str, new: &[u8], repeat: Repeat) -> Put {
        let body = json!({
            "compare": [unchanged(key, revision)],
            "success": [{ "request_put": { "key": key, "value": BASE64_STANDARD.encode(new) } }],
            "failure": [{ "request_range": { "key": key } }],
        });
        let answer = match self.gateway.call(TXN, &body, repeat) {
            Ok(answer) => answer,
            Err(failure) => return Put::Failed(failure.error(WRITE, self.url())),
        };
        let (response, at) = (&answer["responses"][0], answer["header"]["revision"].as_str());
        // False is left out. A proxy may answer anything.
        let is_done = answer["succeeded"] == true && response["response_put"].is_object();
        if let (true, Some(at)) = (is_done, at) {
            return Put::Done(Token(at.to_owned()));
        }
        match self.first(WRITE, &response["response_range"]) {
            // Something between sent it twice. No two values of a slot are equal.
            Ok(Some(present)) if present.bytes == new => Put::Done(present.token),
            Ok(_) => Put::Refused,
            Err(error) => Put::Failed(error),
        }
    }
}

/// The outcome of a conditional put.
enum Put {
    Done(Token),
    Refused,
    Failed(Error),
}

impl Backend for Etcd {
    fn url(&self) -> &str {
        &self.gateway.shown
    }

    fn load(&self, slot: Slot) -> Result<Option<Loaded>> {
        let answer = self.call(READ, RANGE, &json!({ "key": self.slot(slot) }))?;
        self.first(READ, &answer)
    }

    fn load_if_changed(&self, slot: Slot, seen: &Token) -> Result<Change> {
        let key = self.slot(slot);
        let body = json!({
            "compare": [unchanged(&key, &seen.0)],
            "failure": [{ "request_range": { "key": key } }],
        });
        let answer = self.call(READ, TXN, &body)?;
        if answer["succeeded"] == true {
            return Ok(Change::Same);
        }
        let found = self.first(READ, &answer["responses"][0]["response_range"])?;
        Ok(found.map_or(Change::Missing, Change::Other))
    }

    fn compare_and_swap(&self, slot: Slot, seen: Option<&Token>, new: &[u8]) -> Swap {
        let revision = seen.map_or("0", |token| &token.0);
        match self.put_if(&self.slot(slot), revision, new, Repeat::No) {
            Put::Done(token) => Swap::Won(token),
            Put::Refused => Swap::Lost,
            Put::Failed(error) => Swap::Unknown(error),
        }
    }

    fn wait(&self, seen: Option<&Token>, at_most: Duration, stop: &Stop) {
        self.watcher.wait(seen.and_then(|token| token.0.parse().ok()), at_most, stop);
    }

    fn keep(&self, version: u64, bytes: &[u8]) -> Result<Kept> {
        match self.put_if(&self.version(version), "0", bytes, Repeat::Yes) {
            Put::Done(_) => Ok(Kept::Yes),
            Put::Refused => Ok(Kept::Other),
            Put::Failed(error) => Err(error),
        }
    }

    fn kept(&self, version: u64) -> Result<Option<Vec<u8>>> {
        let answer = self.call(READ, RANGE, &json!({ "key": self.version(version) }))?;
        Ok(self.first(READ, &answer)?.map(|found| found.bytes))
    }

    fn kept_versions(&self) -> Result<Vec<u64>> {
        const AT_A_TIME: u32 = 100;
        let prefix = format!("{}/history/", self.name);
        // The byte after the slash.
        let end = encoded(format!("{}/history0", self.name));
        let (mut from, mut versions) = (encoded(&prefix), Vec::new());
        loop {
            let body =
                json!({ "key": from, "range_end": end, "keys_only": true, "limit": AT_A_TIME });
            let answer = self.call(READ, RANGE, &body)?;
            // Rejects what is no answer of etcd.
            if self.first(READ, &answer)?.is_none() {
                return Ok(versions);
            }
            let before = from.clone();
            for found in answer["kvs"].as_array().into_iter().flatten() {
                let key = BASE64_STANDARD.decode(found["key"].as_str().unwrap_or_default());
                // Another program's key may be of any bytes.
                let mut key = key.map_err(|_| self.odd(READ, found))?;
                versions.extend(number_after(&prefix, &key));
                key.push(0);
                from = encoded(&key);
            }
            if answer["more"] != true {
                return Ok(versions);
            }
            // The next page would be the same one again.
            if from == before {
                return Err(self.odd(READ, &answer));
            }
        }
    }

    fn discard(&self, version: u64) -> Result<()> {
        self.call(WRITE, DELETE, &json!({ "key": self.version(version) })).map(drop)
    }
}

const READ: &str = "read";
const WRITE: &str = "write";

/// A comparison. If a field of it were misspelled, etcd would ignore that.
fn unchanged(key: &str, revision: &str) -> Value {
    json!({ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision })
}

fn encoded(key: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(key)
}

/// The number of a version in its key.
fn number_after(prefix: &str, key: &[u8]) -> Option<u64> {
    number_of(std::str::from_utf8(key.strip_prefix(prefix.as_bytes())?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread;

    /// A gateway that answers ranges of keys. Its thread ends with the process. Returns the host.
    fn serve(keys: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let (mut line, mut len) = (String::new(), 0);
                while reader.read_line(&mut line).unwrap() > 2 {
                    if let Some((name, value)) = line.split_once(':') {
                        if name.eq_ignore_ascii_case("content-length") {
                            len = value.trim().parse().unwrap();
                        }
                    }
                    line.clear();
                }
                let mut body = vec![0; len];
                reader.read_exact(&mut body).unwrap();
                let answer = range(&keys, &serde_json::from_slice(&body).unwrap()).to_string();
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
                write!(connection, "{head}: {}\r\n\r\n{answer}", answer.len()).unwrap();
            }
        });
        host
    }

    fn range(keys: &[Vec<u8>], request: &Value) -> Value {
        let key = |name: &str| BASE64_STANDARD.decode(request[name].as_str().unwrap()).unwrap();
        let (from, end) = (key("key"), key("range_end"));
        let limit = usize::try_from(request["limit"].as_u64().unwrap()).unwrap();
        let found: Vec<_> = keys.iter().filter(|key| (&from..&end).contains(key)).collect();
        let page = found.iter().take(limit);
        let page: Vec<_> =
            page.map(|key| json!({ "key": encoded(key), "mod_revision": "7" })).collect();
        json!({ "header": { "revision": "7" }, "kvs": page, "more": found.len() > limit })
    }

    #[test]
    fn history_has_a_second_page_after_any_key() {
        let version = |number| format!("app.policy/history/{}", numbered(number)).into_bytes();
        for end in [&b"\xff"[..], b"x"] {
            let mut keys: Vec<_> = (1..=150).map(version).collect();
            // The hundredth, after that of version 99.
            keys.insert(99, [&version(99), end].concat());
            let etcd = Etcd::open(&format!("etcd://{}/app.policy", serve(keys))).unwrap();
            assert_eq!(etcd.kept_versions().unwrap(), (1..=150).collect::<Vec<_>>());
        }
    }
}
