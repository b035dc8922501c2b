//! What a command printed, read as a key, and when that key ends if it says so itself.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oarlock_core::ids::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::config::credentials::{self, NoKey};
use crate::config::secret::KEY_BYTES_MAX;

/// A token that says when it ends is replaced so long before, in milliseconds: a request under way should still be taken.
const MARGIN_MS: i64 = 10_000;
/// A claim of more seconds means for ever.
const EXP_MAX: f64 = 1e12;

/// The key on the first line; spaces around it are left out.
///
/// # Errors
/// Why it is none, in words that go on from "the command".
pub(super) fn key(said: &[u8]) -> Result<SecretString, String> {
    let line = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).trim().to_owned();
    credentials::parse(line).map_err(|no_key| {
        let why = match no_key {
            NoKey::Empty => "is empty".to_owned(),
            NoKey::Blank => "has a space in it".to_owned(),
            NoKey::Strange => "has a character that is not printable ASCII".to_owned(),
            NoKey::Long => format!("is longer than {KEY_BYTES_MAX} bytes"),
        };
        format!("printed no key: its first line {why}")
    })
}

/// When a JSON Web Token ends by its claim `exp` (RFC 7519, section 4.1.4), less a margin. Nothing for a key of another form.
pub(super) fn end(secret: &SecretString) -> Option<Timestamp> {
    let mut parts = secret.expose_secret().split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let exp = claims.get("exp")?.as_f64()?;
    let since_1970 = Duration::try_from_secs_f64(exp.clamp(0.0, EXP_MAX)).ok()?;
    let ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
    Some(Timestamp::from_unix_ms(ms.saturating_sub(MARGIN_MS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_key() {
        let long = "x".repeat(usize::try_from(KEY_BYTES_MAX).unwrap() + 1);
        let table = [
            ("key\n", Ok("key")),
            ("key", Ok("key")),
            (" key \r\nmore words\n", Ok("key")),
            ("", Err("is empty")),
            ("\nkey\n", Err("is empty")),
            ("a key\n", Err("has a space in it")),
            ("schlüssel\n", Err("not printable ASCII")),
            (&long, Err("is longer than 16384 bytes")),
        ];
        for (said, expected) in table {
            match (key(said.as_bytes()), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.expose_secret(), expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => panic!("{said:?}: {found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_web_token_says_when_it_ends() {
        let web = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let table = [
            (web(r#"{"exp":2000000000}"#), Some(1_999_999_990_000)),
            (web(r#"{"exp":2000000000.5}"#), Some(1_999_999_990_500)),
            (web(r#"{"exp":-1e300}"#), Some(-10_000)),
            (web(r#"{"exp":1e300}"#), Some(253_402_207_200_000)),
            (web(r#"{"exp":"soon"}"#), None),
            (web("{}"), None),
            ("e30.!!.c2ln".to_owned(), None),
            ("e30.e30".to_owned(), None),
            ("e30.e30.e30.e30.e30".to_owned(), None),
            ("sk-key".to_owned(), None),
        ];
        for (token, expected) in table {
            let found = end(&SecretString::from(token.clone())).map(Timestamp::unix_ms);
            assert_eq!(found, expected, "{token}");
        }
    }
}
