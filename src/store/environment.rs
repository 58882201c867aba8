//! The needs of a request: settings of the environment, and the clock.
//!
//! `object_store` and what it brings panic where some of this is missing or odd.

use crate::clock::Timestamp;
use crate::units::redacted;
use object_store::ClientConfigKey;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::signer::Url;
use std::path::Path;
use std::time::Duration;

/// The settings of S3 that name another server than Amazon's.
pub(super) const ENDPOINTS: [AmazonS3ConfigKey; 2] =
    [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint];

/// Rejects a setting that is to be in a header and cannot be.
fn check_header(name: &str, value: Option<String>) -> Result<(), String> {
    let is_allowed = |c: char| c == ' ' || c.is_ascii_graphic();
    match value.is_none_or(|value| value.chars().all(is_allowed)) {
        true => Ok(()),
        // Without the value, which may be secret.
        false => Err(format!("{name} has a character that it must not have: a line break?")),
    }
}

/// Rejects a setting that is to be a part of a host or path and cannot be.
fn check_part(name: &str, value: Option<String>) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    match value.filter(|value| !value.chars().all(is_allowed)) {
        None => Ok(()),
        Some(value) => Err(format!("{name} has a character that no URL may have there: {value:?}")),
    }
}

/// Rejects a setting that is to be the URL of a server, or its beginning, and cannot be.
fn check_address(name: &str, value: Option<String>) -> Result<(), String> {
    match value.filter(|value| !is_address(value)) {
        None => Ok(()),
        Some(value) => {
            let value = redacted(&value);
            Err(format!("the endpoint `{value}` is no URL such as https://host:9000 ({name})"))
        }
    }
}

/// Whether a text is a URL for both libraries that a request passes, of which each accepts what the
/// other does not.
fn is_address(text: &str) -> bool {
    const OTHERS: &str = "-._~:/?#[]@!$&'()*+,;=%";
    let is_plain = |c: char| c.is_ascii_alphanumeric() || OTHERS.contains(c);
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let (user, host) = authority.split_once('@').unwrap_or(("", authority));
    !(host.is_empty() || host.contains(['%', '@']) || user.contains(['[', ']']))
        && text.chars().all(is_plain)
        && Url::parse(text).is_ok()
}

/// Rejects settings of HTTP at which a connection panics.
fn check_client(set: impl Fn(ClientConfigKey) -> Option<String>) -> Result<(), String> {
    use ClientConfigKey::{Http2KeepAliveInterval, Http2KeepAliveTimeout, Http2MaxFrameSize};
    const SIZES: std::ops::RangeInclusive<u32> = 1 << 14..=(1 << 24) - 1;
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
    // A text that is no number or duration is rejected by `object_store`.
    let size = set(Http2MaxFrameSize).and_then(|size| size.parse().ok());
    if let Some(size) = size.filter(|size| !SIZES.contains(size)) {
        return Err(format!("http2_max_frame_size is {size}, and must be 16384 to 16777215"));
    }
    for key in [Http2KeepAliveInterval, Http2KeepAliveTimeout] {
        let name = key.as_ref().to_owned();
        let time = set(key).and_then(|time| humantime::parse_duration(&time).ok());
        if time.is_some_and(|time| time > LONGEST) {
            return Err(format!("{name} is longer than a year"));
        }
    }
    Ok(())
}

/// Rejects settings for S3 that a request cannot have.
pub(super) fn check_amazon(
    set: impl Fn(&AmazonS3ConfigKey) -> Option<String>,
) -> Result<(), String> {
    use AmazonS3ConfigKey::{
        AccessKeyId, Client, ContainerAuthorizationTokenFile, ContainerCredentialsFullUri,
        ContainerCredentialsRelativeUri, DefaultRegion, Endpoint, MetadataEndpoint, Region,
        S3Endpoint, StsEndpoint, Token,
    };
    for key in [AccessKeyId, Token] {
        check_header(key.as_ref(), set(&key))?;
    }
    for key in [Region, DefaultRegion] {
        check_part(key.as_ref(), set(&key))?;
    }
    for key in [Endpoint, S3Endpoint, StsEndpoint, MetadataEndpoint, ContainerCredentialsFullUri] {
        check_address(key.as_ref(), set(&key))?;
    }
    let path = set(&ContainerCredentialsRelativeUri);
    // As `object_store` completes it.
    let address = path.map(|path| format!("http://169.254.170.2{path}"));
    check_address(ContainerCredentialsRelativeUri.as_ref(), address)?;
    // The token may change, but what writes it seldom does: a line break stays one.
    let file = set(&ContainerAuthorizationTokenFile);
    let token = file.and_then(|file| crate::fs::read_whole(Path::new(&file)).ok()?);
    let token = token.map(|token| String::from_utf8_lossy(&token).into_owned());
    check_header(ContainerAuthorizationTokenFile.as_ref(), token)?;
    check_client(|key| set(&Client(key)))
}

/// Rejects settings for Azure that a request cannot have. `variable` reads the environment.
pub(super) fn check_azure(
    set: impl Fn(&AzureConfigKey) -> Option<String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    use AzureConfigKey::{
        AccountName, AuthorityHost, AuthorityId, Client, Endpoint, FabricTokenServiceUrl,
        MsiEndpoint, Token,
    };
    check_header(Token.as_ref(), set(&Token))?;
    check_header("IDENTITY_HEADER", variable("IDENTITY_HEADER"))?;
    // Of the emulator.
    check_address("AZURITE_BLOB_STORAGE_URL", variable("AZURITE_BLOB_STORAGE_URL"))?;
    for key in [AccountName, AuthorityId] {
        check_part(key.as_ref(), set(&key))?;
    }
    for key in [Endpoint, MsiEndpoint, AuthorityHost, FabricTokenServiceUrl] {
        check_address(key.as_ref(), set(&key))?;
    }
    check_client(|key| set(&Client(key)))
}

/// Rejects settings for Google that a request cannot have. `variable` reads the environment.
pub(super) fn check_google(
    set: impl Fn(&GoogleConfigKey) -> Option<String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    use GoogleConfigKey::{BaseUrl, BearerToken, Client};
    check_header(BearerToken.as_ref(), set(&BearerToken))?;
    check_address(BaseUrl.as_ref(), set(&BaseUrl))?;
    // The servers of tokens, without a scheme.
    for name in ["GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"] {
        check_address(name, variable(name).map(|host| format!("http://{host}")))?;
    }
    check_client(|key| set(&Client(key)))
}

/// Rejects a time that no request can have: signatures and certificates need one after 1970.
pub(super) fn check_time(now: Timestamp) -> Result<(), String> {
    if now == Timestamp::MIN { Err("the clock is before 1970".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::client::{HttpRequest, HttpRequestBody};

    #[test]
    fn no_request_is_made_before_1970() {
        assert!(check_time(Timestamp::MIN).unwrap_err().contains("1970"));
        assert_eq!(check_time(Timestamp::MIN.next()), Ok(()));
    }

    #[test]
    fn settings_that_no_request_can_have_are_rejected() {
        use AmazonS3ConfigKey::{
            AccessKeyId, Client, ContainerAuthorizationTokenFile, ContainerCredentialsFullUri,
            ContainerCredentialsRelativeUri, DefaultRegion, Endpoint, MetadataEndpoint, Region,
            S3Endpoint, StsEndpoint, Token,
        };
        let check = |key: AmazonS3ConfigKey, value: &str| {
            check_amazon(|asked| (*asked == key).then(|| value.to_owned()))
        };
        for key in [AccessKeyId, Token] {
            let why = check(key, "one\ttwo").unwrap_err();
            assert!(why.starts_with(key.as_ref()) && !why.contains("two"), "{why}");
        }
        for key in [Region, DefaultRegion] {
            let why = check(key, "one/two").unwrap_err();
            assert!(why.starts_with(key.as_ref()), "{why}");
        }
        for key in
            [Endpoint, S3Endpoint, StsEndpoint, MetadataEndpoint, ContainerCredentialsFullUri]
        {
            let why = check(key, "ftp://user:secret@host").unwrap_err();
            assert!(why.contains("ftp") && !why.contains("secret"), "{why}");
        }
        assert!(check(ContainerCredentialsRelativeUri, "/a^b").is_err());
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "one\ttwo").unwrap();
        let file = token.path().to_str().unwrap();
        assert!(check(ContainerAuthorizationTokenFile, file).unwrap_err().contains("line break"));
        std::fs::write(token.path(), "token").unwrap();
        assert_eq!(check(ContainerAuthorizationTokenFile, file), Ok(()));
        let interval = Client(ClientConfigKey::Http2KeepAliveInterval);
        assert!(check(interval, "2 years").unwrap_err().contains("a year"));
        for (key, value) in [
            (AccessKeyId, "AKIA/+="),
            (Region, "us-east-1"),
            (Endpoint, "http://[::1]:9000"),
            (S3Endpoint, "https://host/path"),
            (ContainerCredentialsRelativeUri, "/v2/credentials/12?a=b"),
            (Client(ClientConfigKey::Http2MaxFrameSize), "16384"),
            (Client(ClientConfigKey::Http2KeepAliveTimeout), "30 s"),
        ] {
            assert_eq!(check(key, value), Ok(()), "{value}");
        }
        let nothing = |_: &str| None;
        for (key, value) in [
            (AzureConfigKey::AccountName, "one/two"),
            (AzureConfigKey::AuthorityId, "one/two"),
            (AzureConfigKey::Endpoint, "http://host/a^b"),
            (AzureConfigKey::MsiEndpoint, "http://host/a^b"),
        ] {
            let set = |asked: &AzureConfigKey| (*asked == key).then(|| value.to_owned());
            assert!(check_azure(set, nothing).is_err(), "{value}");
        }
        let base = |asked: &GoogleConfigKey| {
            (*asked == GoogleConfigKey::BaseUrl).then(|| "http://host/a^b".to_owned())
        };
        assert!(check_google(base, nothing).is_err());
        let host = |name: &str| (name == "GCE_METADATA_HOST").then(|| "host/a^b".to_owned());
        assert!(check_google(|_| None, host).unwrap_err().contains("GCE_METADATA_HOST"));
    }

    /// Each library that a request passes must accept every accepted address.
    #[test]
    fn accepted_address_is_one_for_every_library() {
        const PARTS: [&str; 28] = [
            "http", "a:b@", "://", ":", "/", "@", "[", "]", "[::1]", "host", "1.2.3.4", "256",
            "80", "99999", "%41", "%zz", "?", "#", ".", "-", "_", "xn--a", "{", "ü", " ", "*", "~",
            "\t",
        ];
        let mut accepted = 0;
        for _ in 0..20_000 {
            let parts = || PARTS[fastrand::usize(..PARTS.len())];
            let rest: String = std::iter::repeat_with(parts).take(fastrand::usize(1..6)).collect();
            let text = format!("http://{rest}");
            if is_address(&text) {
                accepted += 1;
                assert!(Url::parse(&format!("{text}/bucket")).is_ok(), "{text}");
                let mut request = HttpRequest::new(HttpRequestBody::empty());
                match format!("{text}/bucket").parse() {
                    Ok(uri) => *request.uri_mut() = uri,
                    Err(error) => panic!("{text}: {error}"),
                }
            }
        }
        assert!(accepted > 100, "{accepted}");
        for text in ["ftp://host", "HTTP://host", "http://host/a^b"] {
            assert!(!is_address(text), "{text}");
        }
    }
}
