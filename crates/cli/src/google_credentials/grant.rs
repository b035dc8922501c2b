//! Asking a token endpoint of Google's: by a signed claim (RFC 7523) or by a refresh token (RFC 6749, section 6).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::StreamExt;
use oarlock_core::ids::Timestamp;
use oarlock_core::ports::clock::Clock;
use oarlock_models::without_secrets;
use oarlock_models::{HttpRequest, HttpResponse, KeyError, Method, Token, Transport};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::account::{Account, Proof};
use crate::terminal::safe;

/// What a token is good for: everything that whoever asks may do in Google's cloud.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long a signed claim holds, in seconds: the longest that Google takes.
const CLAIM_SECONDS: i64 = 3600;
/// A token is given to no request so long before its end, in milliseconds.
const MARGIN_MS: u64 = 60_000;
/// An answer may have this many bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Of an endpoint's words, so many characters are told.
const WORDS_MAX: usize = 300;

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

/// A token for this account.
///
/// # Errors
/// `Denied` when the endpoint refuses, or the account's key is none; `Unavailable` when the endpoint is not reached or has trouble.
pub(super) async fn token(
    account: &Account,
    transport: &dyn Transport,
    clock: &dyn Clock,
) -> Result<Token, KeyError> {
    let now = clock.now();
    let Question { form, secrets } = question(account, now)?;
    let kind = "application/x-www-form-urlencoded".to_owned();
    let request = HttpRequest {
        method: Method::Post,
        url: account.endpoint.clone(),
        headers: vec![("content-type".to_owned(), kind)],
        body: Bytes::from(form.expose_secret().to_owned()),
    };
    let answer = transport.send(request).await.map_err(|error| unreached(&error))?;
    granted(answer, "Google's token endpoint", now, &secrets).await
}

/// The token in an answer.
///
/// # Errors
/// As [`token`]; the words quote the endpoint's code and description alone, and of those no secret.
pub(super) async fn granted(
    answer: HttpResponse,
    who: &str,
    now: Timestamp,
    secrets: &[SecretString],
) -> Result<Token, KeyError> {
    let HttpResponse { status, mut body, .. } = answer;
    let mut read = Vec::new();
    while let Some(chunk) = body.next().await {
        read.extend_from_slice(&chunk.map_err(|error| unreached(&error))?);
        if read.len() > ANSWER_BYTES_MAX {
            return Err(KeyError::Unavailable(format!("{who} answers at too great a length")));
        }
    }
    if status != 200 {
        let refused: Option<Refused> = serde_json::from_slice(&read).ok();
        let said = refused.map_or_else(String::new, |refused| {
            let words =
                format!("{} {}", refused.error, refused.error_description.unwrap_or_default());
            // Before they are cut, which could cut a secret in two.
            let secrets = secrets.iter().map(ExposeSecret::expose_secret);
            format!(": {}", safe::line(&without_secrets(&words, secrets), WORDS_MAX))
        });
        let told = format!("{who} answers with HTTP {status}{said}");
        return Err(match status {
            408 | 429 | 500.. => KeyError::Unavailable(told),
            _ => KeyError::Denied(told),
        });
    }
    let granted: Granted = serde_json::from_slice(&read)
        .map_err(|_| KeyError::Unavailable(format!("{who} answers with no token")))?;
    let lasts_ms = granted.expires_in.saturating_mul(1000).saturating_sub(MARGIN_MS);
    Ok(Token { secret: granted.access_token.into(), ends: now.after(lasts_ms) })
}

pub(super) fn unreached(error: &oarlock_models::TransportError) -> KeyError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    KeyError::Unavailable(format!("Google gives no token: {error}{}", cause.unwrap_or_default()))
}

/// What is asked.
struct Question {
    form: SecretString,
    /// What of it no message may tell.
    secrets: Vec<SecretString>,
}

/// A secret, and what it is in a form: an endpoint may quote either.
fn both_forms(secret: &str) -> [SecretString; 2] {
    let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    [secret.into(), encoded.into()]
}

fn question(account: &Account, now: Timestamp) -> Result<Question, KeyError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    let secrets = match &account.proof {
        Proof::Service { email, key_id, key_pem } => {
            let mut head = json!({"alg": "RS256", "typ": "JWT"});
            if let Some(id) = key_id {
                head["kid"] = json!(id);
            }
            let second = now.unix_ms() / 1000;
            let claims = json!({
                "iss": email, "scope": SCOPE, "aud": account.endpoint,
                "iat": second, "exp": second + CLAIM_SECONDS,
            });
            let signed =
                signed(&head.to_string(), &claims.to_string(), key_pem).ok_or_else(|| {
                    KeyError::Denied(
                        "the `private_key` of Google's credentials is no RSA key in PKCS #8"
                            .to_owned(),
                    )
                })?;
            form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
            form.append_pair("assertion", &signed);
            vec![signed.into()]
        }
        Proof::User { client_id, client_secret, refresh_token } => {
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("client_id", client_id);
            form.append_pair("client_secret", client_secret.expose_secret());
            form.append_pair("refresh_token", refresh_token.expose_secret());
            let secrets = [client_secret, refresh_token].map(ExposeSecret::expose_secret);
            secrets.into_iter().flat_map(both_forms).collect()
        }
    };
    Ok(Question { form: form.finish().into(), secrets })
}

/// A JSON Web Token, signed with RS256 (RFC 7515, RFC 7518); none when the key is none.
fn signed(head: &str, claims: &str, key_pem: &SecretString) -> Option<String> {
    let body = key_pem.expose_secret().trim();
    let body = body.strip_prefix("-----BEGIN PRIVATE KEY-----")?;
    let body = body.strip_suffix("-----END PRIVATE KEY-----")?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    let key = RsaKeyPair::from_pkcs8(&der).ok()?;
    let words = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), words.as_bytes(), &mut signature).ok()?;
    Some(format!("{words}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
