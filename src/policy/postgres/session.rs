//! Connections to PostgreSQL, for callers that wait.

use super::address::PostgresAddress;
use super::tls::Tls;
use crate::error::{Error, Result};
use crate::fs::{self, fault};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Row};

/// The parameters of a statement with their types, which saves a request for these.
pub(super) type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// Makes connections, one at a time, and runs what needs them.
pub(super) struct Sessions {
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
    config: Config,
    tls: Tls,
    /// For messages.
    pub(super) shown: String,
    /// Its notifications are about this policy.
    name: Arc<str>,
    present: Mutex<Option<Arc<Session>>>,
    /// Notified by changes, and by the end of a connection.
    pub(super) changed: Arc<Notify>,
}

/// A connection.
pub(super) struct Session {
    client: Client,
    /// Whether notifications arrive on it.
    listens: AtomicBool,
}

/// Why a statement has no result.
#[derive(Debug)]
pub(super) enum StatementFailure {
    /// No connection was made.
    Unconnected(tokio_postgres::Error),
    /// The server that has answered takes no changes.
    Standby,
    /// The statement was sent, perhaps.
    Statement(tokio_postgres::Error),
    /// No answer came in time.
    Silent,
}

/// The time for one call.
const CALL: Duration = Duration::from_secs(8);
/// For each address of a host.
const CONNECT: Duration = Duration::from_secs(3);
/// The channel of notifications in a database. The payload is the name of the policy.
pub(super) const CHANNEL: &str = "logrotor_policy";

impl Sessions {
    pub(super) fn new(address: &PostgresAddress) -> Result<Self> {
        let mut config = address.config.clone();
        config.connect_timeout(CONNECT);
        config.keepalives_idle(Duration::from_secs(60));
        if config.get_hosts().len() > 1 {
            // Skips standbys.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        // Drives the requests of all threads that wait, on one of them.
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
        let runtime =
            runtime.map_err(|error| Error::io("start a runtime for", &address.shown, error))?;
        Ok(Self {
            runtime: Some(runtime),
            config,
            tls: Tls::new(address)?,
            shown: address.shown.clone(),
            name: address.name.as_str().into(),
            present: Mutex::default(),
            changed: Arc::default(),
        })
    }

    /// Runs work to its end. The caller may be on a thread of another runtime, which does not
    /// allow that one.
    pub(super) fn block_on<T: Send>(&self, work: impl Future<Output = T> + Send) -> Option<T> {
        let runtime = self.runtime.as_ref()?;
        if Handle::try_current().is_err() {
            return Some(runtime.block_on(work));
        }
        thread::scope(|scope| {
            let builder = thread::Builder::new().name("logrotor-postgres".to_owned());
            let spawn = || builder.spawn_scoped(scope, || runtime.block_on(work));
            fs::without_signals(spawn).ok()?.join().ok()
        })
    }

    /// Limits the time for work. A connection that does not answer is given up.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, StatementFailure>>,
    ) -> Result<T, StatementFailure> {
        match timeout(CALL, work).await {
            Ok(result) => result,
            Err(_) => {
                if let Ok(mut present) = self.present.try_lock() {
                    *present = None;
                }
                Err(StatementFailure::Silent)
            }
        }
    }

    /// Runs a statement that may be repeated, and repeats it if the connection broke.
    pub(super) async fn repeat(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StatementFailure> {
        const ATTEMPTS: usize = 3;
        let mut attempt = 1;
        loop {
            match self.once(sql, parameters).await {
                Err(StatementFailure::Unconnected(error) | StatementFailure::Statement(error))
                    if error.code().is_none() && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Sends a statement at most once.
    pub(super) async fn once(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StatementFailure> {
        let session = self.session().await?;
        fault::step("send statement").map_err(|_| StatementFailure::Silent)?;
        let result = session.client.query_typed(sql, parameters).await;
        fault::step("receive rows").map_err(|_| StatementFailure::Silent)?;
        self.checked(&session, result).await
    }

    /// Runs statements without parameters, in one transaction.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), StatementFailure> {
        let session = self.session().await?;
        let result = session.client.batch_execute(sql).await;
        self.checked(&session, result).await
    }

    /// Has notifications arrive. Returns whether they did not before: changes may have been missed.
    pub(super) async fn listen(&self) -> Result<bool, StatementFailure> {
        let session = self.session().await?;
        if session.listens.load(Ordering::Acquire) {
            return Ok(false);
        }
        let result = session.client.batch_execute(&format!("listen {CHANNEL}")).await;
        self.checked(&session, result).await?;
        session.listens.store(true, Ordering::Release);
        Ok(true)
    }

    /// Gives a connection up that is broken, or whose server has turned into another.
    async fn checked<T>(
        &self,
        session: &Arc<Session>,
        result: Result<T, tokio_postgres::Error>,
    ) -> Result<T, StatementFailure> {
        let Err(error) = result else { return result.map_err(StatementFailure::Statement) };
        // An answer of the server leaves the connection as it was.
        let is_usable =
            error.code().is_some_and(|code| *code != SqlState::READ_ONLY_SQL_TRANSACTION);
        if !is_usable {
            let mut present = self.present.lock().await;
            if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, session)) {
                *present = None;
            }
        }
        Err(StatementFailure::Statement(error))
    }

    /// The connection, or a new one.
    async fn session(&self) -> Result<Arc<Session>, StatementFailure> {
        let mut present = self.present.lock().await;
        if let Some(session) = present.as_ref().filter(|session| !session.client.is_closed()) {
            return Ok(Arc::clone(session));
        }
        *present = None;
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, mut connection) = connected.map_err(StatementFailure::Unconnected)?;
        let (changed, name) = (Arc::clone(&self.changed), Arc::clone(&self.name));
        // It ends with the client, or with the connection.
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(about) = message {
                    if about.payload() == &*name {
                        changed.notify_one();
                    }
                }
            }
            changed.notify_one();
        });
        // A standby may lag behind, so that it shows old versions.
        let rows = client.query_typed("select pg_is_in_recovery()", &[]).await;
        let is_standby =
            rows.map_err(StatementFailure::Unconnected)?.first().is_some_and(|row| row.get(0));
        if is_standby {
            return Err(StatementFailure::Standby);
        }
        let session = Arc::new(Session { client, listens: AtomicBool::new(false) });
        *present = Some(Arc::clone(&session));
        Ok(session)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        // Its own drop would wait, which another runtime forbids.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl StatementFailure {
    pub(super) fn is_missing_table(&self) -> bool {
        matches!(self, Self::Statement(e) if e.code() == Some(&SqlState::UNDEFINED_TABLE))
    }

    pub(super) fn error(self, action: &'static str, url: &str) -> Error {
        let error = match &self {
            Self::Standby => return Error::policy_unreachable(action, url, STANDBY),
            Self::Silent => {
                let why = format!("there was no answer within {} s", CALL.as_secs());
                return Error::policy_unreachable(action, url, why);
            }
            Self::Unconnected(error) | Self::Statement(error) => error,
        };
        let Some(code) = error.code() else {
            return Error::policy_unreachable(action, url, causes(error));
        };
        let text = error.as_db_error().map_or_else(String::new, |error| error.message().to_owned());
        let is_denied = code.code().starts_with("28") || *code == SqlState::INSUFFICIENT_PRIVILEGE;
        if is_denied {
            return Error::policy_denied(action, url, text + advice(code));
        }
        Error::policy_unreachable(action, url, text + advice(code))
    }
}

const STANDBY: &str = "the server is a standby, which may lag behind: name the primary";

/// Advice for an operator.
fn advice(code: &SqlState) -> &'static str {
    match code.code() {
        "42501" => {
            "; the documentation of `policy` has the tables to create and the rights to grant"
        }
        "3D000" => "; the first part of the path is the database, the rest the name of the policy",
        _ => "",
    }
}

/// The message of an error and those of its causes.
fn causes(error: &tokio_postgres::Error) -> String {
    let (mut text, mut next) = (error.to_string(), std::error::Error::source(error));
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
