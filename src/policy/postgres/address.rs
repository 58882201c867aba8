//! The URL of a policy in PostgreSQL.

use super::super::remote_url::{RemoteUrl, Variable, decoded};
use crate::error::{Error, Result};
use crate::fs;
use std::path::Path;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

/// Where a policy is in PostgreSQL, and how to get there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PostgresAddress {
    /// For messages.
    pub(super) shown: String,
    pub(super) config: Config,
    pub(super) verify: CertificateCheck,
    /// Of the certificate authority, the client's certificate and its key, in PEM.
    pub(super) files: [Option<String>; 3],
    /// The first column of the primary keys.
    pub(super) name: String,
}

/// The checks of the server's certificate, as for `psql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CertificateCheck {
    /// Nothing: the connection is encrypted against listeners only.
    Nothing,
    /// Its authority.
    Authority,
    /// Its authority and the name of the host.
    Host,
}

const PARAMETERS: [&str; 7] =
    ["application_name", "options", "passfile", "sslcert", "sslkey", "sslmode", "sslrootcert"];

impl PostgresAddress {
    pub(super) fn parse(text: &str, variable: Variable<'_>) -> Result<Self> {
        let url = RemoteUrl::parse(text)?;
        let (database, name) = names(&url)?;
        let parameter = |name: &str, or: &str| url.parameter(name, or, variable);
        let mut config = Config::new();
        config.dbname(database);
        let (host, port) = set_hosts(&mut config, &url)?;
        let user = url.user.clone().or_else(|| variable("PGUSER"));
        if let Some(user) = &user {
            config.user(user);
        }
        let given = url.password.clone().or_else(|| variable("PGPASSWORD"));
        let password = match given {
            Some(password) => Some(password),
            None => {
                let file = parameter("passfile", "PGPASSFILE");
                let user = user.unwrap_or_else(crate::sys::user_name);
                of_passfile(file, variable, &[&host, &port, database, &user])?
            }
        };
        if let Some(password) = password {
            config.password(password);
        }
        config.application_name(
            parameter("application_name", "PGAPPNAME").unwrap_or_else(|| "logrotor".to_owned()),
        );
        if let Some(options) = parameter("options", "PGOPTIONS") {
            config.options(options);
        }
        let files = [
            parameter("sslrootcert", "PGSSLROOTCERT"),
            parameter("sslcert", "PGSSLCERT"),
            parameter("sslkey", "PGSSLKEY"),
        ];
        let (mode, verify) =
            mode_of(parameter("sslmode", "PGSSLMODE").as_deref(), files[0].is_some())
                .ok_or_else(|| url.refuse(MODES))?;
        config.ssl_mode(mode);
        if files[1].is_some() != files[2].is_some() {
            return Err(url.refuse("a client's certificate needs both `sslcert` and `sslkey`"));
        }
        let name = name.to_owned();
        Ok(Self { shown: url.shown(), config, verify, files, name })
    }
}

/// The database and the policy. Rejects unknown parameters.
fn names(url: &RemoteUrl) -> Result<(&str, &str)> {
    let (database, name) = match url.path.split_once('/') {
        Some((database, name)) if !database.is_empty() => (database, name),
        _ => return Err(url.refuse(FORM)),
    };
    url.check_name(name)?;
    url.check_parameters(&PARAMETERS, &format!("use `{}`", PARAMETERS.join("`, `")))?;
    Ok((database, name))
}

/// How `sslmode` is understood by `psql`; `None` if it is not known.
fn mode_of(mode: Option<&str>, has_authority: bool) -> Option<(SslMode, CertificateCheck)> {
    Some(match mode {
        Some("disable") => (SslMode::Disable, CertificateCheck::Nothing),
        None | Some("prefer") => (SslMode::Prefer, CertificateCheck::Nothing),
        Some("require") if has_authority => (SslMode::Require, CertificateCheck::Authority),
        Some("require") => (SslMode::Require, CertificateCheck::Nothing),
        Some("verify-ca") => (SslMode::Require, CertificateCheck::Authority),
        Some("verify-full") => (SslMode::Require, CertificateCheck::Host),
        Some(_) => return None,
    })
}

const FORM: &str = "use `postgres://user@host[:port][,host..]/database/name`";
const MODES: &str = "`sslmode` is `disable`, `prefer`, `require`, `verify-ca` or `verify-full`";

/// Adds the hosts, and returns the first one and its port.
fn set_hosts(config: &mut Config, url: &RemoteUrl) -> Result<(String, String)> {
    let mut first = None;
    for (host, port) in url.hosts("5432") {
        let host = decoded(host.trim_start_matches('[').trim_end_matches(']'));
        let (Some(host), Ok(number)) = (host.filter(|h| !h.is_empty()), port.parse()) else {
            return Err(url.refuse(FORM));
        };
        config.host(&host).port(number);
        first.get_or_insert((host, port.to_owned()));
    }
    first.ok_or_else(|| url.refuse(FORM))
}

/// The password in a file as `psql` has it: lines of `host:port:database:user:password`.
fn of_passfile(
    file: Option<String>,
    variable: Variable<'_>,
    login: &[&str; 4],
) -> Result<Option<String>> {
    let file = match file {
        Some(file) => file,
        None => match variable("HOME") {
            Some(home) => format!("{home}/.pgpass"),
            None => return Ok(None),
        },
    };
    let Some(bytes) = fs::read_whole(Path::new(&file))? else { return Ok(None) };
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::config("policy", file, "the file of passwords is not UTF-8"))?;
    Ok(text.lines().find_map(|line| password_for(line, login)))
}

fn password_for(line: &str, login: &[&str; 4]) -> Option<String> {
    let fields = fields(line.strip_suffix('\r').unwrap_or(line));
    let [names @ .., password] = &fields[..] else { return None };
    let matches = |(name, wanted): (&String, &&str)| name == "*" || name == wanted;
    let is_it = names.len() == login.len() && names.iter().zip(login).all(matches);
    is_it.then(|| password.clone())
}

/// Splits a line at colons that have no backslash before them.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut chars) = (vec![String::new()], line.chars());
    while let Some(c) = chars.next() {
        let c = match c {
            ':' => {
                fields.push(String::new());
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            c => c,
        };
        if let Some(field) = fields.last_mut() {
            field.push(c);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<PostgresAddress> {
        PostgresAddress::parse(text, &|name| {
            environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn database_is_the_first_part_and_secrets_are_not_shown() {
        let url = "postgres://me:S%3A@a:1,b,[::1]:2/db/prod/app.policy\
                   ?sslmode=verify-full&options=-cx%3Dy";
        let address = parse(url, &[]).unwrap();
        assert_eq!(address.shown, "postgres://me@a:1,b,[::1]:2/db/prod/app.policy");
        assert_eq!((&*address.name, address.config.get_dbname()), ("prod/app.policy", Some("db")));
        assert_eq!(address.config.get_password(), Some(&b"S:"[..]));
        assert_eq!(address.config.get_ports(), [1, 5432, 2]);
        assert_eq!(address.config.get_options(), Some("-cx=y"));
        assert_eq!(
            (address.config.get_ssl_mode(), address.verify),
            (SslMode::Require, CertificateCheck::Host)
        );
    }

    #[test]
    fn password_comes_from_the_environment_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pass");
        let lines = "# host\nb:*:*:*:wrong\na:5432:db:me:\\:in\\\\file:\n*:*:*:you:yours\n";
        std::fs::write(&file, lines).unwrap();
        let file = file.to_str().unwrap();
        let password = |url: &str, environment: &[(&str, &str)]| {
            let password =
                parse(url, environment).unwrap().config.get_password().map(<[u8]>::to_vec);
            password.map(|password| String::from_utf8(password).unwrap())
        };
        let (is, variable) = (|text: &str| Some(text.to_owned()), ("PGPASSFILE", file));
        let both = [("PGPASSWORD", "P"), variable];
        assert_eq!(password("postgres://me:U@a/db/p", &both), is("U"));
        assert_eq!(password("postgres://me@a/db/p", &both), is("P"));
        assert_eq!(password("postgres://you@c/x/p", &[variable]), is("yours"));
        assert_eq!(password("postgres://me@c/x/p", &[variable]), None);
        assert_eq!(password_for("a:1:d:u:p\\:w\\\\", &["a", "1", "d", "u"]), is("p:w\\"));
        assert_eq!(password_for("a:1:d:u", &["a", "1", "d", "u"]), None);
    }

    #[test]
    fn wrong_urls_are_refused_with_what_to_write() {
        for (url, why) in [
            ("postgres://h/app.policy", "/database/name"),
            ("postgres://h//app.policy", "/database/name"),
            ("postgres://h/db/", "the name of a policy"),
            ("postgres:///db/p", "/database/name"),
            ("postgres://h:x/db/p", "/database/name"),
            ("postgres://h/db/p?sslmode=allow", "`verify-full`"),
            ("postgres://h/db/p?ssl=1", "no parameter `ssl`"),
            ("postgres://h/db/p?sslcert=/x", "both `sslcert` and `sslkey`"),
        ] {
            let message = parse(url, &[]).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
    }
}
