//! The parts of a URL of a system that machines share.

use crate::error::{Error, Result};
use crate::units::redacted;

/// `<scheme>://[<user>[:<password>]@]<host>[,<host>..]/<path>[?<name>=<value>[&..]]`, with all but
/// the hosts decoded.
pub(super) struct RemoteUrl {
    pub(super) scheme: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// Separated by commas, each perhaps with a port.
    pub(super) hosts: String,
    /// Without its first slash.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// For messages.
    redacted: String,
}

impl RemoteUrl {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::config("policy", redacted(text), why);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("it is no URL"))?;
        if rest.contains('#') {
            return Err(refuse("write `%23` for a `#`"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let decode = |part: &str| decoded(part).ok_or_else(|| refuse(ENCODING));
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            Some(Ok((user, password))) => (Some(decode(user)?), Some(decode(password)?)),
            Some(Err(user)) => (Some(decode(user)?), None),
            None => (None, None),
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self {
            scheme: scheme.to_owned(),
            user: user.filter(|user| !user.is_empty()),
            password,
            hosts: hosts.to_owned(),
            path: decode(path)?,
            query: query.collect::<Result<_>>()?,
            redacted: redacted(text),
        })
    }

    /// An error about this URL.
    pub(super) fn refuse(&self, why: impl Into<String>) -> Error {
        Error::config("policy", &self.redacted, why)
    }

    /// The URL for messages: with the user and without password and query.
    pub(super) fn shown(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{}://{user}{}/{}", self.scheme, self.hosts, self.path)
    }

    /// The hosts, each with its port. An address of IPv6 is in brackets.
    pub(super) fn hosts<'a>(
        &'a self,
        usual_port: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.hosts.split(',').map(move |host| match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (host, usual_port),
        })
    }

    /// A parameter, or a variable without it. An empty one is none.
    pub(super) fn parameter(&self, name: &str, or: &str, variable: Variable<'_>) -> Option<String> {
        let given = self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        given.or_else(|| variable(or)).filter(|value| !value.is_empty())
    }

    /// Rejects a parameter that is not among these.
    pub(super) fn check_parameters(&self, known: &[&str], advice: &str) -> Result<()> {
        match self.query.iter().find(|(name, _)| !known.contains(&&**name)) {
            Some((name, _)) => {
                Err(self.refuse(format!("there is no parameter `{name}`; {advice}")))
            }
            None => Ok(()),
        }
    }

    /// Checks the name of a policy, or the rest of a path that is one.
    pub(super) fn check_name(&self, name: &str) -> Result<()> {
        const LONGEST: usize = 1024;
        if name.is_empty() || name.ends_with('/') {
            return Err(self.refuse("it ends without the name of a policy, such as `app.policy`"));
        }
        if name.len() > LONGEST || name.contains(char::is_control) {
            return Err(self.refuse("the name of a policy has at most 1024 printable bytes"));
        }
        Ok(())
    }
}

/// Returns a variable of the environment.
pub(super) type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

const ENCODING: &str = "`%` must be followed by two hexadecimal digits of UTF-8; \
                        write `%25` for a `%`, `%40` for an `@` and `%2F` for a `/` in a password";

/// Decodes `%2F` and the like; `None` if that gives no UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        (rest, _) = match first {
            b'%' => {
                let digits = std::str::from_utf8(others.get(..2)?).ok()?;
                let digits = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
                (&others[2..], bytes.push(u8::from_str_radix(digits, 16).ok()?))
            }
            other => (others, bytes.push(*other)),
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decoded_and_secrets_not_shown() {
        let text = "etcd://us%40er:p%3A%2Fw@a:1,[::1]:2/dir/app%20x.policy?cacert=%2Fca.pem&x";
        let url = RemoteUrl::parse(text).unwrap();
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("us@er"), Some("p:/w")));
        assert_eq!((&*url.hosts, &*url.path), ("a:1,[::1]:2", "dir/app x.policy"));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(url.query, [pair("cacert", "/ca.pem"), pair("x", "")]);
        assert_eq!(url.shown(), "etcd://us@er@a:1,[::1]:2/dir/app x.policy");
        assert!(!url.refuse("no").to_string().contains("p%3A"));
    }

    #[test]
    fn bad_encoding_is_refused() {
        for text in
            ["etcd://h/a%", "etcd://h/a%2", "etcd://h/a%zz", "etcd://h/a%+1", "etcd://h/%ff"]
        {
            assert!(RemoteUrl::parse(text).is_err(), "{text}");
        }
    }
}
