//! The URL of a policy in etcd.

use super::super::remote_url::{RemoteUrl, Variable};
use crate::error::Result;

/// Where a policy is in etcd, and how to get there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EtcdAddress {
    /// For messages.
    pub(super) shown: String,
    /// URLs without a path.
    pub(super) endpoints: Vec<String>,
    /// Name and password.
    pub(super) login: Option<(String, String)>,
    /// Of the certificate authority, the client's certificate and its key, in PEM.
    pub(super) files: [Option<String>; 3],
    /// The first part of all keys.
    pub(super) name: String,
}

/// The parameters for files, and the variables of `etcdctl` that are used without them.
pub(super) const FILES: [(&str, &str); 3] =
    [("cacert", "ETCDCTL_CACERT"), ("cert", "ETCDCTL_CERT"), ("key", "ETCDCTL_KEY")];

impl EtcdAddress {
    pub(super) fn parse(text: &str, variable: Variable<'_>) -> Result<Self> {
        let url = RemoteUrl::parse(text)?;
        url.check_name(&url.path)?;
        let is_secure = url.scheme == "etcds";
        let scheme = if is_secure { "https" } else { "http" };
        let mut endpoints = Vec::new();
        for (host, port) in url.hosts("2379") {
            if host.is_empty() || port.parse::<u16>().is_err() {
                return Err(url.refuse(HOSTS));
            }
            endpoints.push(format!("{scheme}://{host}:{port}"));
        }
        url.check_parameters(&FILES.map(|(name, _)| name), PARAMETERS)?;
        if !is_secure && !url.query.is_empty() {
            return Err(url.refuse("certificates are for TLS: write `etcds://`"));
        }
        let files = FILES.map(|(name, of_etcdctl)| {
            url.parameter(name, of_etcdctl, variable).filter(|_| is_secure)
        });
        if files[1].is_some() != files[2].is_some() {
            return Err(url.refuse("a client's certificate needs both `cert` and `key`"));
        }
        let login = login(&url, variable)?;
        Ok(Self { shown: url.shown(), endpoints, login, files, name: url.path })
    }
}

const HOSTS: &str = "use `etcd://host[:port][,host[:port]..]/name`, or `etcds://` for TLS";
const PARAMETERS: &str = "use `cacert`, `cert` and `key`, each with the path of a PEM file";

/// Name and password: of the URL or, as for `etcdctl`, of the environment.
fn login(url: &RemoteUrl, variable: Variable<'_>) -> Result<Option<(String, String)>> {
    let of_etcdctl = || variable("ETCDCTL_USER").filter(|user| !user.is_empty());
    let (user, password) = match (&url.user, &url.password) {
        (Some(user), password) => (user.clone(), password.clone()),
        (None, _) => match of_etcdctl() {
            None => return Ok(None),
            Some(both) => match both.split_once(':') {
                Some((user, password)) => (user.to_owned(), Some(password.to_owned())),
                None => (both, None),
            },
        },
    };
    match password.or_else(|| variable("ETCDCTL_PASSWORD")) {
        Some(password) => Ok(Some((user, password))),
        None => Err(url.refuse("the user has no password: set `ETCDCTL_PASSWORD`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<EtcdAddress> {
        EtcdAddress::parse(text, &|name| {
            environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn hosts_have_the_usual_port_and_secrets_are_not_shown() {
        let address =
            parse("etcds://u:S@a,b:1,[::1],[::1]:2/x/app.policy?cacert=/ca", &[]).unwrap();
        let endpoints = ["https://a:2379", "https://b:1", "https://[::1]:2379", "https://[::1]:2"];
        assert_eq!(address.endpoints, endpoints);
        assert_eq!(address.shown, "etcds://u@a,b:1,[::1],[::1]:2/x/app.policy");
        assert_eq!(address.name, "x/app.policy");
        assert_eq!(address.login, Some(("u".to_owned(), "S".to_owned())));
        assert_eq!(address.files, [Some("/ca".to_owned()), None, None]);
        assert_eq!(parse("etcd://a//x", &[]).unwrap().name, "/x");
    }

    #[test]
    fn variables_of_etcdctl_fill_in() {
        let of = |url, environment| parse(url, environment).map(|a| a.login);
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("etcd://h/p", &[("ETCDCTL_USER", "u:x:y")]).unwrap(), login("u", "x:y"));
        assert_eq!(of("etcd://v@h/p", &[("ETCDCTL_PASSWORD", "x")]).unwrap(), login("v", "x"));
        assert_eq!(of("etcd://h/p", &[("ETCDCTL_PASSWORD", "x")]).unwrap(), None);
        let why = of("etcd://h/p", &[("ETCDCTL_USER", "u")]).unwrap_err().to_string();
        assert!(why.contains("set `ETCDCTL_PASSWORD`"), "{why}");
        let files = [("ETCDCTL_CERT", "/c"), ("ETCDCTL_KEY", "/k")];
        let files_of = |url| parse(url, &files).unwrap().files;
        assert_eq!(files_of("etcds://h/p"), [None, Some("/c".to_owned()), Some("/k".to_owned())]);
        assert_eq!(files_of("etcd://h/p"), [None, None, None]);
    }

    #[test]
    fn wrong_urls_are_refused_with_what_to_write() {
        for (url, why) in [
            ("etcd://h", "the name of a policy"),
            ("etcd://h/p/", "the name of a policy"),
            ("etcd:///p", "etcd://host"),
            ("etcd://h,/p", "etcd://host"),
            ("etcd://h:x/p", "etcd://host"),
            ("etcd://u@h/p", "ETCDCTL_PASSWORD"),
            ("etcd://h/p?cacert=/x", "etcds://"),
            ("etcds://h/p?ca=/x", "`cacert`, `cert` and `key`"),
            ("etcds://h/p?cert=/x", "both `cert` and `key`"),
        ] {
            let message = parse(url, &[]).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
    }
}
