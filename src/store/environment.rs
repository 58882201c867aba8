//! The needs of a request: settings of the environment, and the clock.
//!
//! `object_store` and what it brings panic where some of this is missing or odd.

use crate::clock::Timestamp;
use crate::units::redacted;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;

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

/// Rejects settings for S3 that a request cannot have.
pub(super) fn check_amazon(
    set: impl Fn(&AmazonS3ConfigKey) -> Option<String>,
) -> Result<(), String> {
    use AmazonS3ConfigKey::{AccessKeyId, DefaultRegion, Region, Token};
    for key in [AccessKeyId, Token, Region, DefaultRegion] {
        check_header(key.as_ref(), set(&key))?;
    }
    for endpoint in ENDPOINTS.iter().filter_map(set) {
        let rest = ["http://", "https://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme));
        if !rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '[')) {
            let endpoint = redacted(&endpoint);
            return Err(format!("the endpoint `{endpoint}` is no URL such as https://host:9000"));
        }
    }
    Ok(())
}

/// Rejects settings for Azure that a request cannot have.
pub(super) fn check_azure(set: impl Fn(&AzureConfigKey) -> Option<String>) -> Result<(), String> {
    use AzureConfigKey::{AccountName, Token};
    [AccountName, Token].iter().try_for_each(|key| check_header(key.as_ref(), set(key)))
}

/// Rejects a time that no request can have: signatures and certificates need one after 1970.
pub(super) fn check_time(now: Timestamp) -> Result<(), String> {
    if now == Timestamp::MIN { Err("the clock is before 1970".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_is_made_before_1970() {
        assert!(check_time(Timestamp::MIN).unwrap_err().contains("1970"));
        assert_eq!(check_time(Timestamp::MIN.next()), Ok(()));
    }

    #[test]
    fn settings_that_no_request_can_have_are_rejected() {
        use AmazonS3ConfigKey::{AccessKeyId, DefaultRegion, Endpoint, Region, S3Endpoint, Token};
        let check = |key: AmazonS3ConfigKey, value: &str| {
            check_amazon(|asked| (*asked == key).then(|| value.to_owned()))
        };
        for key in [AccessKeyId, Token, Region, DefaultRegion] {
            let why = check(key, "one\ttwo").unwrap_err();
            assert!(why.starts_with(key.as_ref()) && !why.contains("two"), "{why}");
        }
        for key in [Endpoint, S3Endpoint] {
            let why = check(key, "ftp://user:secret@host").unwrap_err();
            assert!(why.contains("ftp") && !why.contains("secret"), "{why}");
        }
        for (key, value) in [
            (AccessKeyId, "AKIA/+="),
            (Region, "us-east-1"),
            (Endpoint, "http://[::1]:9000"),
            (S3Endpoint, "https://host/path"),
        ] {
            assert_eq!(check(key, value), Ok(()), "{value}");
        }
        let azure = |asked: &AzureConfigKey| {
            (*asked == AzureConfigKey::AccountName).then(|| "one\ttwo".to_owned())
        };
        assert!(check_azure(azure).is_err());
    }
}
