//! Requests to the JSON gateway of etcd.

use super::super::pem;
use super::address::EtcdAddress;
use crate::clock::{self, Deadline};
use crate::error::{Error, Result};
use crate::fs::fault;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Timeout};

/// The members of a cluster, and the token for them.
pub(super) struct Gateway {
    agent: Agent,
    endpoints: Vec<String>,
    /// The number of the member that has answered last.
    preferred: AtomicUsize,
    login: Option<(String, String)>,
    token: Mutex<Option<String>>,
    /// For messages.
    pub(super) shown: String,
}

/// Whether a request that may have been sent may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Yes,
    No,
}

/// A request without the answer that was asked for.
#[derive(Debug)]
pub(super) enum GatewayFailure {
    /// It was certainly not sent.
    Unsent(String),
    /// It may have been sent, and no answer came.
    Unanswered(String),
    /// The answer is an error: its code in gRPC, or else that of HTTP, and its text.
    Refused(i64, String),
}

/// The time for one call, with all attempts. It is a little less than what callers may wait.
const CALL: Duration = Duration::from_secs(8);
/// The time in which a member answers or the next one is asked. Without a quorum, a member
/// answers after 7 s that it has none.
const MEMBER: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);
/// How often all members are asked.
const ROUNDS: usize = 2;
/// The longest answer: etcd takes 1.5 MiB by default in a request.
const LONGEST: u64 = 64 << 20;

/// Codes of gRPC.
const INVALID_ARGUMENT: i64 = 3;
const DEADLINE_EXCEEDED: i64 = 4;
const PERMISSION_DENIED: i64 = 7;
const FAILED_PRECONDITION: i64 = 9;
const UNAVAILABLE: i64 = 14;
const UNAUTHENTICATED: i64 = 16;

impl Gateway {
    pub(super) fn new(address: &EtcdAddress) -> Result<Self> {
        let [authority, certificate, key] = &address.files;
        let mut tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ));
        if let Some(path) = authority {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(path)?));
        }
        if let (Some(certificate), Some(key)) = (certificate, key) {
            let key = PrivateKey::from_pem(&pem::read(key)?).map_err(|e| pem::refuse(key, &e))?;
            tls =
                tls.client_cert(Some(ClientCert::new_with_certs(&certificates(certificate)?, key)));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // The proxy of a machine is for the world outside.
            .proxy(None)
            .tls_config(tls.build())
            .build();
        Ok(Self {
            agent: Agent::new_with_config(config),
            endpoints: address.endpoints.clone(),
            preferred: AtomicUsize::new(0),
            login: address.login.clone(),
            token: Mutex::default(),
            shown: address.shown.clone(),
        })
    }

    /// Makes a request to the member that has answered last or, while that is of use, to another.
    ///
    /// `Repeat::No` ensures that at most one member gets the request.
    pub(super) fn call(
        &self,
        path: &str,
        body: &Value,
        repeat: Repeat,
    ) -> Result<Value, GatewayFailure> {
        let end = Deadline::after(CALL);
        let (first, members) = (self.preferred.load(Ordering::Relaxed), self.endpoints.len());
        let (mut failure, mut is_renewed) = (None, false);
        let mut attempt = 0;
        while attempt < ROUNDS * members {
            let Some(left) = end.left() else { break };
            let member = (first + attempt) % members;
            let is_only_try = members == 1 || repeat == Repeat::No;
            let time = if is_only_try { left } else { left.min(MEMBER) };
            match self.ask(member, path, body, time) {
                Ok(answer) => {
                    self.preferred.store(member, Ordering::Relaxed);
                    return Ok(answer);
                }
                // It was not executed.
                Err(refused) if refused.is_about_token() && !is_renewed && self.login.is_some() => {
                    is_renewed = true;
                    *self.token.lock() = None;
                    continue;
                }
                Err(other) if !other.allows(repeat) => return Err(other),
                Err(other) => failure = Some(other),
            }
            self.preferred.store((member + 1) % members, Ordering::Relaxed);
            attempt += 1;
            if attempt % members == 0 {
                clock::sleep(PAUSE);
            }
        }
        Err(failure.unwrap_or_else(|| GatewayFailure::Unsent("there was no time left".to_owned())))
    }

    /// Opens a stream of answers. It ends after `time`, with an error.
    pub(super) fn stream(
        &self,
        path: &str,
        body: &Value,
        time: Duration,
    ) -> Result<impl BufRead + use<>, GatewayFailure> {
        let member = self.preferred.load(Ordering::Relaxed);
        let sent = self.send(member, path, body, CALL.min(time), Some(time))?;
        if sent.status() == 200 {
            return Ok(BufReader::new(sent.into_body().into_reader()));
        }
        let refused = read(sent).err();
        if refused.as_ref().is_some_and(GatewayFailure::is_about_token) {
            *self.token.lock() = None;
        }
        Err(refused
            .unwrap_or_else(|| GatewayFailure::Unanswered("the answer is no stream".to_owned())))
    }

    /// The next member is asked first from now on.
    pub(super) fn avoid_member(&self) {
        let next = self.preferred.load(Ordering::Relaxed) + 1;
        self.preferred.store(next % self.endpoints.len(), Ordering::Relaxed);
    }

    /// The next request asks for a token.
    pub(super) fn forget_token(&self) {
        *self.token.lock() = None;
    }

    fn ask(
        &self,
        member: usize,
        path: &str,
        body: &Value,
        time: Duration,
    ) -> Result<Value, GatewayFailure> {
        fault::step("send request").map_err(|e| GatewayFailure::Unsent(e.to_string()))?;
        let answer = read(self.send(member, path, body, time, None)?);
        fault::step("receive answer").map_err(|e| GatewayFailure::Unanswered(e.to_string()))?;
        answer
    }

    /// Sends a request with the token, for which the member is asked if there is none. The time
    /// for the body of the answer is limited by `streams` if that is given.
    fn send(
        &self,
        member: usize,
        path: &str,
        body: &Value,
        time: Duration,
        streams: Option<Duration>,
    ) -> Result<ureq::http::Response<ureq::Body>, GatewayFailure> {
        let mut token = self.token.lock().clone();
        if let (None, Some((name, password))) = (&token, &self.login) {
            let login = json!({ "name": name, "password": password });
            let answer = self.post(member, "/v3/auth/authenticate", &login, None, time, None);
            // The request itself was not sent.
            let answer = answer.and_then(read).map_err(GatewayFailure::of_login)?;
            token = answer["token"].as_str().map(str::to_owned);
            self.token.lock().clone_from(&token);
        }
        self.post(member, path, body, token.as_deref(), time, streams)
    }

    fn post(
        &self,
        member: usize,
        path: &str,
        body: &Value,
        token: Option<&str>,
        time: Duration,
        streams: Option<Duration>,
    ) -> Result<ureq::http::Response<ureq::Body>, GatewayFailure> {
        let endpoint = &self.endpoints[member];
        let mut request = self.agent.post(format!("{endpoint}{path}"));
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let config = request.config().timeout_connect(Some(CONNECT.min(time)));
        let config = match streams {
            Some(streams) => {
                config.timeout_recv_response(Some(time)).timeout_recv_body(Some(streams))
            }
            None => config.timeout_global(Some(time)),
        };
        let sent = config.build().send_json(body);
        sent.map_err(|error| failure(&error, &format!("`{endpoint}`: {error}")))
    }
}

/// Reads an answer.
fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<Value, GatewayFailure> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(LONGEST).read_to_vec();
    let body =
        body.map_err(|error| GatewayFailure::Unanswered(format!("the answer broke off: {error}")))?;
    let value: Option<Value> = serde_json::from_slice(&body).ok();
    match value {
        Some(value) if status == 200 => Ok(value),
        Some(Value::Object(error)) if error.get("code").is_some_and(Value::is_i64) => {
            let text = error.get("error").and_then(Value::as_str).unwrap_or_default();
            let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
            Err(GatewayFailure::Refused(code, text.to_owned()))
        }
        _ if status == 404 => {
            let text = "there is no `/v3`: it is no etcd of version 3.4 or newer";
            Err(GatewayFailure::Refused(404, text.to_owned()))
        }
        _ if status == 200 => Err(GatewayFailure::Unanswered("the answer is no JSON".to_owned())),
        _ => Err(GatewayFailure::Refused(status.into(), format!("HTTP status {status}"))),
    }
}

/// Tells whether a request that failed was sent.
fn failure(error: &ureq::Error, text: &str) -> GatewayFailure {
    let is_unsent = match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::Tls(_)
        | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            IoErrorKind::ConnectionRefused
                | IoErrorKind::HostUnreachable
                | IoErrorKind::NetworkUnreachable
                | IoErrorKind::AddrNotAvailable
        ),
        _ => false,
    };
    if is_unsent {
        GatewayFailure::Unsent(text.to_owned())
    } else {
        GatewayFailure::Unanswered(text.to_owned())
    }
}

impl GatewayFailure {
    /// Whether another attempt may be made, and is of use.
    fn allows(&self, repeat: Repeat) -> bool {
        match self {
            Self::Unsent(_) => true,
            Self::Unanswered(_) => repeat == Repeat::Yes,
            Self::Refused(code, _) => {
                let is_passing = matches!(*code, DEADLINE_EXCEEDED | UNAVAILABLE | 500..=599);
                is_passing && repeat == Repeat::Yes
            }
        }
    }

    /// A failure of a request for a token.
    fn of_login(self) -> Self {
        match self {
            Self::Unanswered(text) => Self::Unsent(text),
            Self::Refused(FAILED_PRECONDITION, text) => {
                Self::Refused(UNAUTHENTICATED, format!("{text}; leave user and password out"))
            }
            other => other,
        }
    }

    /// Whether the token has expired, or users and roles were changed since it was given.
    fn is_about_token(&self) -> bool {
        matches!(self, Self::Refused(_, text) if is_about_token(text))
    }

    pub(super) fn error(self, action: &'static str, url: &str) -> Error {
        match self {
            Self::Unsent(text) | Self::Unanswered(text) => {
                Error::policy_unreachable(action, url, text)
            }
            Self::Refused(code, text) if is_about_login(code, &text) => {
                Error::policy_denied(action, url, format!("{text}{}", advice(code, &text)))
            }
            Self::Refused(_, text) => Error::policy_unreachable(action, url, text),
        }
    }
}

pub(super) fn is_about_token(text: &str) -> bool {
    text.contains("invalid auth token") || text.contains("auth store is old")
}

/// Version 3.4 answers a request without a token with "invalid argument", and status 400.
fn is_about_login(code: i64, text: &str) -> bool {
    let is_login = text.contains("user name is empty") || text.contains("authentication failed");
    matches!(code, PERMISSION_DENIED | UNAUTHENTICATED) || (code == INVALID_ARGUMENT && is_login)
}

fn advice(code: i64, text: &str) -> &'static str {
    if text.contains("user name is empty") {
        return "; write `etcd://user:password@..`, or set `ETCDCTL_USER`";
    }
    match code {
        PERMISSION_DENIED => "; the user needs a role that may read and write the keys below it",
        _ => "",
    }
}

fn certificates(path: &str) -> Result<Vec<Certificate<'static>>> {
    let bytes = pem::read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| pem::refuse(path, &error))?
        {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(pem::refuse(path, &"it has no certificate"));
    }
    Ok(found)
}
