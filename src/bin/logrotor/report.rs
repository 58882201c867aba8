//! Messages on standard error.

use crate::output::printable;
use std::fmt::Display;
use std::io::Write;

/// Prints one line, after the command's name. A path in the message may contain any characters.
pub(crate) fn say(message: impl Display) {
    let message = without_credentials(&message.to_string());
    let line = format!("logrotor: {}\n", printable(&message));
    // A failure has nowhere to be reported.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Leaves out of a message the URLs that have credentials, such as a path that was meant for an
/// archive. Messages end up in the logs of other programs.
pub(crate) fn without_credentials(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || "`'\",".contains(c);
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("://") {
        let (start, after) = rest.split_at(at + "://".len());
        let (url, next) = after.split_at(after.find(is_end).unwrap_or(after.len()));
        let is_secret = !start.ends_with("file://") && has_credentials(url);
        shown.push_str(start);
        shown.push_str(if is_secret { "..." } else { url });
        rest = next;
    }
    shown + rest
}

/// Whether a URL without its scheme seems to have credentials. A port is none.
fn has_credentials(url: &str) -> bool {
    let root = url.split('/').next().unwrap_or_default();
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_shown = root.starts_with("...@");
    let has_query = |name: &str| url.to_lowercase().contains(name);
    (!is_shown && root.contains('@'))
        || root.split_once(':').is_some_and(|(_, after)| !is_port(after))
        || ["sig=", "signature=", "token="].into_iter().any(has_query)
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn message_has_no_credentials_of_a_url() {
        for (text, shown) in [
            ("`s3://KEY:SECRET@b/x`: no", "`s3://...`: no"),
            ("`s3://KEY:SEC/RET@b/x`: no", "`s3://...`: no"),
            ("s3://KEY@b 'az://c/l?sv=1&sig=S' end", "s3://... 'az://...' end"),
            ("url (http://127.0.0.1:80/b?list-type=2)", "url (http://127.0.0.1:80/b?list-type=2)"),
            ("`s3://b/a@b.log/x` s3://...@b", "`s3://b/a@b.log/x` s3://...@b"),
            ("`file:///a:b@c`", "`file:///a:b@c`"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
