//! Whole numbers on the command line.

use std::str::FromStr;

pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().map_err(|_| match is_whole {
        true => "the number is too large".to_owned(),
        false => "use a whole number, such as 10".to_owned(),
    })
}
