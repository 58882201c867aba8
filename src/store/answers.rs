//! The answers of servers, before `object_store` reads them.
//!
//! It keeps neither the checksum that a server answers with, nor a page of a listing in which one
//! key is none of its own.

use super::threads::Addresses;
use futures_util::future::BoxFuture;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use std::fmt::Write;
use std::sync::Arc;

/// The word of a server on the content that it received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Its SHA-256 is the one that was sent with it.
    Same,
    Other,
}

const CHECKSUM: &str = "x-amz-checksum-sha256";

/// Connects as `object_store` does by itself, and looks up addresses on our own threads.
#[derive(Debug, Default)]
pub(super) struct AnswersConnector(ReqwestConnector);

impl HttpConnector for AnswersConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let options = options.clone().with_dns_resolver(Arc::new(Addresses));
        Ok(HttpClient::new(Answers(self.0.connect(&options)?)))
    }
}

#[derive(Debug)]
struct Answers(HttpClient);

impl HttpService for Answers {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let sent = request.headers().get(CHECKSUM).cloned();
            let lists = is_listing(request.uri().query().unwrap_or_default());
            let mut answer = self.0.execute(request).await?;
            if let Some((sent, received)) = sent.zip(answer.headers().get(CHECKSUM)) {
                let is_same = sent == received;
                let received = if is_same { Received::Same } else { Received::Other };
                answer.extensions_mut().insert(received);
            }
            if lists && answer.status().is_success() { respelled(answer).await } else { Ok(answer) }
        })
    }
}

/// Whether a query is that of a listing: of S3 and Google, or of Azure.
fn is_listing(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "list-type=2" | "comp=list"))
}

async fn respelled(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = answer.into_parts();
    let body = body.bytes().await?;
    let body = match std::str::from_utf8(&body).ok().and_then(respell_keys) {
        Some(text) => text.into_bytes(),
        None => body.into(),
    };
    Ok(HttpResponse::from_parts(parts, body.into()))
}

/// Respells the keys of a listing that `object_store` would refuse; `None` if there are none. They
/// are no segments, so only messages have them.
fn respell_keys(xml: &str) -> Option<String> {
    // Of objects, of what they have in common, and of both in Azure.
    let tags = [("<Key>", "</Key>"), ("<Prefix>", "</Prefix>"), ("<Name>", "</Name>")];
    let (mut text, mut rest, mut is_changed) = (String::new(), xml, false);
    // In one pass: a tag that does not come again would be looked for to the end at each key.
    let next = |rest: &str| {
        rest.match_indices('<').find_map(|(at, _)| {
            let (open, close) = tags.iter().find(|(open, _)| rest[at..].starts_with(open))?;
            Some((at + open.len(), *close))
        })
    };
    while let Some((at, close)) = next(rest) {
        let (before, after) = rest.split_at(at);
        let end = after.find(close)?;
        let key = respell(&after[..end]);
        is_changed |= key != after[..end];
        text.push_str(before);
        text.push_str(&key);
        rest = &after[end..];
    }
    is_changed.then(|| text + rest)
}

/// Writes as in a URL whatever `object_store` takes for no part of a key: control characters, empty
/// parts, `.` and `..`.
pub(super) fn respell(key: &str) -> String {
    let mut spelled = String::new();
    let end = if key.ends_with('/') { "/" } else { "" };
    let mut is_joined = true;
    for part in key[..key.len() - end.len()].split('/') {
        if !is_joined {
            spelled.push('/');
        }
        is_joined = part.is_empty() && !key.is_empty();
        match part {
            // The slash after it.
            "" if is_joined => spelled.push_str("%2F"),
            "." | ".." => spelled.push_str(&part.replace('.', "%2E")),
            _ => spell_controls(part, &mut spelled),
        }
    }
    spelled + end
}

fn spell_controls(mut part: &str, spelled: &mut String) {
    while let Some(first) = part.chars().next() {
        let (control, len) = match reference(part) {
            Some((code, len)) => (u8::try_from(code).ok(), len),
            None => (u8::try_from(first).ok(), first.len_utf8()),
        };
        match control.filter(u8::is_ascii_control) {
            // Writing to a string cannot fail.
            Some(control) => _ = write!(spelled, "%{control:02X}"),
            None => spelled.push_str(&part[..len]),
        }
        part = &part[len..];
    }
}

/// The character that a text begins with as a number, such as `&#x1;`, and the length of that.
fn reference(text: &str) -> Option<(u32, usize)> {
    let (number, _) = text.strip_prefix("&#")?.split_once(';')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    Some((code.ok()?, number.len() + "&#;".len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::path::Path as Key;

    #[test]
    fn key_is_respelled_only_if_it_would_be_refused() {
        for (key, spelled) in [
            ("p/app.log/h.1/app.log.x", "p/app.log/h.1/app.log.x"),
            ("p/app.log/h.1/", "p/app.log/h.1/"),
            ("a&amp;b/%2F\u{e4}&#228;", "a&amp;b/%2F\u{e4}&#228;"),
            ("", ""),
            ("p//x", "p/%2Fx"),
            ("p///x", "p/%2F%2Fx"),
            ("p//", "p/%2F/"),
            ("p/./../x", "p/%2E/%2E%2E/x"),
            ("p/a\u{1}b\tc", "p/a%01b%09c"),
            ("p/a&#x1;b&#9;\u{7f}", "p/a%01b%09%7F"),
        ] {
            assert_eq!(respell(key), spelled);
            assert!(Key::parse(spelled).is_ok(), "{spelled}");
            assert_eq!(
                Key::parse(key).is_ok() || key.contains("&#"),
                key == spelled || key.contains("&#")
            );
        }
    }

    #[test]
    fn listing_keeps_all_but_the_keys_that_would_be_refused() {
        let xml = "<R><Name>b</Name><Prefix>p/</Prefix><Contents><Key>p//x</Key><Size>1</Size>\
                   </Contents><CommonPrefixes><Prefix>p//</Prefix></CommonPrefixes></R>";
        let expected = xml.replace("p//x", "p/%2Fx").replace("p//<", "p/%2F/<");
        assert_eq!(respell_keys(xml), Some(expected));
        assert_eq!(respell_keys("<R><Key>p/x</Key></R>"), None);
        assert_eq!(respell_keys("<R><Key>p//x"), None, "cut");
    }

    #[test]
    fn listings_are_known_by_their_queries() {
        assert!(is_listing("delimiter=%2F&list-type=2&prefix=p"));
        assert!(is_listing("restype=container&comp=list"));
        assert!(!is_listing("comp=block&prefix=list-type=2"));
    }
}
