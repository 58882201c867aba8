//! Policies in PostgreSQL.
//!
//! Two tables hold all policies of a database: the slots, and the history. Each change of a slot is
//! one statement, and so one transaction. The token of a slot is a number from a sequence, which is
//! given to no other state. A change notifies those who listen in the same transaction.

mod address;
mod session;
mod tls;

use super::backend::{Backend, Change, Kept, Loaded, Slot, Stop, Swap, Token};
use crate::clock::Deadline;
use crate::error::{Error, Result};
use address::PostgresAddress;
use session::{CHANNEL, Parameters, Sessions, StatementFailure};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// A policy in PostgreSQL.
pub(super) struct Postgres {
    sessions: Sessions,
    name: String,
}

/// Created by the first change. The lock keeps two creators apart, which `if not exists` does not.
const TABLES: &str = "
begin;
select pg_advisory_xact_lock(5137206813974012);
create table if not exists logrotor_policies (
    name text not null,
    slot text not null,
    revision bigint not null generated always as identity,
    bytes bytea not null,
    changed timestamptz not null default now(),
    primary key (name, slot)
);
create table if not exists logrotor_policy_history (
    name text not null,
    version bigint not null,
    bytes bytea not null,
    kept timestamptz not null default now(),
    primary key (name, version)
);
commit;";

const LOAD: &str = "select revision, bytes from logrotor_policies where name = $1 and slot = $2";

const LOAD_IF_CHANGED: &str = "select revision, case when revision <> $3 then bytes end \
                               from logrotor_policies where name = $1 and slot = $2";

/// True; and the transaction is durable before it is acknowledged, whatever the database's
/// default is. A stronger setting stays.
const DURABLE: &str = "set_config('synchronous_commit', \
                       case current_setting('synchronous_commit') when 'off' then 'on' \
                       else current_setting('synchronous_commit') end, true) is not null";

const KEEP: &str = "insert into logrotor_policy_history (name, version, bytes) \
                    values ($1, $2, $3) on conflict do nothing";

const IS_KEPT: &str =
    "select bytes = $3 from logrotor_policy_history where name = $1 and version = $2";

const KEPT: &str = "select bytes from logrotor_policy_history where name = $1 and version = $2";

const KEPT_VERSIONS: &str =
    "select version from logrotor_policy_history where name = $1 order by version";

const DISCARD: &str = "delete from logrotor_policy_history where name = $1 and version = $2";

const READ: &str = "read";
const WRITE: &str = "write";

impl Postgres {
    /// Opens a policy. Sends nothing.
    pub(super) fn open(url: &str) -> Result<Arc<dyn Backend>> {
        let address = PostgresAddress::parse(url, &|name| std::env::var(name).ok())?;
        let sessions = Sessions::new(&address)?;
        Ok(Arc::new(Self { sessions, name: address.name }))
    }

    /// Waits for work, within the time of a call.
    fn call<T: Send>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T, StatementFailure>> + Send,
    ) -> Result<T> {
        match self.sessions.block_on(self.sessions.within(work)) {
            Some(result) => result.map_err(|failure| failure.error(action, self.url())),
            None => {
                Err(Error::policy_unreachable(action, self.url(), "no thread could be started"))
            }
        }
    }

    /// Reads rows; none if the tables were never created.
    fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        self.call(READ, async {
            match self.sessions.repeat(sql, parameters).await {
                Err(failure) if failure.is_missing_table() => Ok(Vec::new()),
                result => result,
            }
        })
    }

    /// The number of a version in a column, whose type has a sign.
    fn number(&self, version: u64) -> Result<i64> {
        i64::try_from(version)
            .map_err(|_| Error::policy_unreachable(READ, self.url(), "the version is too large"))
    }

    fn odd(&self, action: &'static str, error: &tokio_postgres::Error) -> Error {
        let why = format!("the tables are not those of this version: {error}");
        Error::policy_unreachable(action, self.url(), why)
    }

    fn loaded(&self, row: &Row) -> Result<Loaded> {
        let odd = |error| self.odd(READ, &error);
        let (revision, bytes) =
            (row.try_get::<_, i64>(0).map_err(odd)?, row.try_get::<_, Vec<u8>>(1).map_err(odd)?);
        Ok(Loaded { bytes, token: Token(revision.to_string()) })
    }

    /// Waits for a notification until `end`, and no longer than a second, so that `stop` is looked
    /// at. Returns whether there may be a change.
    async fn notified(&self, end: Deadline) -> bool {
        const LOOK: Duration = Duration::from_millis(500);
        const PAUSE: Duration = Duration::from_secs(1);
        match tokio::time::timeout(PAUSE, self.sessions.listen()).await {
            // Changes before it were not notified.
            Ok(Ok(true)) => true,
            Ok(Ok(false)) => {
                let left = end.left().unwrap_or_default().min(LOOK);
                tokio::time::timeout(left, self.sessions.changed.notified()).await.is_ok()
            }
            Ok(Err(_)) => {
                tokio::time::sleep(end.left().unwrap_or_default().min(PAUSE)).await;
                false
            }
            Err(_) => false,
        }
    }
}

/// The statement for a change of a slot: with `$4` the revision that is expected, or without one.
fn swap(slot: Slot, is_new: bool) -> String {
    let change = if is_new {
        format!(
            "insert into logrotor_policies (name, slot, bytes) \
             select $1, $2, $3 where {DURABLE} on conflict do nothing"
        )
    } else {
        format!(
            "update logrotor_policies set bytes = $3, revision = default, changed = now() \
             where name = $1 and slot = $2 and revision = $4 and {DURABLE}"
        )
    };
    // No process waits for the other slots.
    let notice = match slot {
        Slot::Current => format!(", pg_notify('{CHANNEL}', $1)"),
        Slot::Lock | Slot::Probe => String::new(),
    };
    format!("{change} returning revision{notice}")
}

impl Backend for Postgres {
    fn url(&self) -> &str {
        &self.sessions.shown
    }

    fn load(&self, slot: Slot) -> Result<Option<Loaded>> {
        let parameters: Parameters<'_> = &[(&self.name, Type::TEXT), (&slot.name(), Type::TEXT)];
        self.rows(LOAD, parameters)?.first().map(|row| self.loaded(row)).transpose()
    }

    fn load_if_changed(&self, slot: Slot, seen: &Token) -> Result<Change> {
        let revision: i64 = seen.0.parse().unwrap_or_default();
        let parameters: Parameters<'_> =
            &[(&self.name, Type::TEXT), (&slot.name(), Type::TEXT), (&revision, Type::INT8)];
        let rows = self.rows(LOAD_IF_CHANGED, parameters)?;
        let Some(row) = rows.first() else { return Ok(Change::Missing) };
        match row.try_get::<_, Option<&[u8]>>(1).map_err(|error| self.odd(READ, &error))? {
            None => Ok(Change::Same),
            Some(_) => Ok(Change::Other(self.loaded(row)?)),
        }
    }

    fn compare_and_swap(&self, slot: Slot, seen: Option<&Token>, new: &[u8]) -> Swap {
        let sql = swap(slot, seen.is_none());
        let revision: i64 = seen.and_then(|token| token.0.parse().ok()).unwrap_or_default();
        let parameters: Parameters<'_> = &[
            (&self.name, Type::TEXT),
            (&slot.name(), Type::TEXT),
            (&new, Type::BYTEA),
            (&revision, Type::INT8),
        ];
        let parameters = if seen.is_none() { &parameters[..3] } else { parameters };
        let rows = self.call(WRITE, async {
            match self.sessions.once(&sql, parameters).await {
                // The server has answered that nothing was done.
                Err(failure) if failure.is_missing_table() => {
                    self.sessions.batch(TABLES).await?;
                    self.sessions.once(&sql, parameters).await
                }
                result => result,
            }
        });
        match rows.map(|rows| rows.first().map(|row| row.try_get::<_, i64>(0))) {
            Ok(None) => Swap::Lost,
            Ok(Some(Ok(revision))) => Swap::Won(Token(revision.to_string())),
            Ok(Some(Err(error))) => Swap::Unknown(self.odd(WRITE, &error)),
            Err(error) => Swap::Unknown(error),
        }
    }

    fn wait(&self, _: Option<&Token>, at_most: Duration, stop: &Stop) {
        let end = Deadline::after(at_most);
        while !stop.is_set() && end.left().is_some() {
            match self.sessions.block_on(self.notified(end)) {
                Some(true) => return,
                Some(false) => {}
                None => return stop.sleep(at_most),
            }
        }
    }

    fn keep(&self, version: u64, bytes: &[u8]) -> Result<Kept> {
        let version = self.number(version)?;
        let parameters: Parameters<'_> =
            &[(&self.name, Type::TEXT), (&version, Type::INT8), (&bytes, Type::BYTEA)];
        let rows = self.call(WRITE, async {
            match self.sessions.repeat(KEEP, parameters).await {
                Err(failure) if failure.is_missing_table() => {
                    self.sessions.batch(TABLES).await?;
                    self.sessions.repeat(KEEP, parameters).await?
                }
                result => result?,
            };
            self.sessions.repeat(IS_KEPT, parameters).await
        })?;
        match rows.first().map(|row| row.try_get(0)) {
            Some(Ok(true)) => Ok(Kept::Yes),
            Some(Ok(false)) => Ok(Kept::Other),
            Some(Err(error)) => Err(self.odd(WRITE, &error)),
            None => Err(Error::policy_unreachable(WRITE, self.url(), "a copy was removed at once")),
        }
    }

    fn kept(&self, version: u64) -> Result<Option<Vec<u8>>> {
        let version = self.number(version)?;
        let rows = self.rows(KEPT, &[(&self.name, Type::TEXT), (&version, Type::INT8)])?;
        let bytes = rows.first().map(|row| row.try_get(0)).transpose();
        bytes.map_err(|error| self.odd(READ, &error))
    }

    fn kept_versions(&self) -> Result<Vec<u64>> {
        let rows = self.rows(KEPT_VERSIONS, &[(&self.name, Type::TEXT)])?;
        let versions: Result<Vec<i64>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let versions = versions.map_err(|error| self.odd(READ, &error))?;
        Ok(versions.into_iter().filter_map(|version| version.try_into().ok()).collect())
    }

    fn discard(&self, version: u64) -> Result<()> {
        let version = self.number(version)?;
        self.rows(DISCARD, &[(&self.name, Type::TEXT), (&version, Type::INT8)]).map(drop)
    }
}
