//! A file of Google's credentials, read.

use secrecy::SecretString;
use serde::Deserialize;

/// Google's token endpoint, where a file names none.
const ENDPOINT: &str = "https://oauth2.googleapis.com/token";

/// Who asks for tokens, and where.
pub(super) struct Account {
    /// `https`, or on this machine.
    pub(super) endpoint: String,
    pub(super) proof: Proof,
}

/// What stands for whoever asks.
pub(super) enum Proof {
    /// A key to sign with.
    Service { email: String, key_id: Option<String>, key_pem: SecretString },
    /// A token that gives tokens.
    User { client_id: String, client_secret: SecretString, refresh_token: SecretString },
}

#[derive(Deserialize)]
struct Written {
    r#type: Option<String>,
    token_uri: Option<String>,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

/// The account that a file describes.
///
/// # Errors
/// Why it describes none, in words that go on from "the credentials" and quote nothing of it but its type and its endpoint.
pub(super) fn parse(text: &str) -> Result<Account, String> {
    let written: Written = serde_json::from_str(text)
        .map_err(|error| format!("are not in Google's form (line {})", error.line()))?;
    let wanted = |value: Option<String>, name: &str| value.ok_or_else(|| format!("lack `{name}`"));
    let proof = match written.r#type.as_deref() {
        Some("service_account") => Proof::Service {
            email: wanted(written.client_email, "client_email")?,
            key_id: written.private_key_id,
            key_pem: wanted(written.private_key, "private_key")?.into(),
        },
        Some("authorized_user") => Proof::User {
            client_id: wanted(written.client_id, "client_id")?,
            client_secret: wanted(written.client_secret, "client_secret")?.into(),
            refresh_token: wanted(written.refresh_token, "refresh_token")?.into(),
        },
        Some(other) => {
            let other = crate::terminal::safe::line(other, 40);
            return Err(format!(
                "are of the type `{other}`, which is not taken here; use a service account or `gcloud auth application-default login`, or let `api_key_command` print the token"
            ));
        }
        None => return Err("lack `type`".to_owned()),
    };
    let endpoint = written.token_uri.unwrap_or_else(|| ENDPOINT.to_owned());
    match is_private(&endpoint) {
        true => Ok(Account { endpoint, proof }),
        false => Err("name a `token_uri` that is neither https nor on this machine".to_owned()),
    }
}

/// Whether nobody on the way reads what is sent there.
fn is_private(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let is_here = matches!(host, Some("127.0.0.1" | "::1" | "localhost"));
    let is_plain = !authority.is_empty() && !authority.contains('@');
    is_plain && (scheme == "https" || scheme == "http" && is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_https_or_to_this_machine_alone() {
        let table = [
            (ENDPOINT, true),
            ("http://127.0.0.1:1/token", true),
            ("http://[::1]:1/token", true),
            ("http://localhost", true),
            ("http://oauth2.googleapis.com/token", false),
            ("http://127.0.0.1@evil.com/", false),
            ("http://127.0.0.1.evil.com/", false),
            ("http://evil.com\\127.0.0.1/", false),
            ("ftp://127.0.0.1/", false),
            ("https://", false),
            ("oauth2.googleapis.com", false),
        ];
        for (address, expected) in table {
            assert_eq!(is_private(address), expected, "{address}");
        }
    }

    #[test]
    fn what_is_no_account_says_why_and_quotes_nothing() {
        let table = [
            ("{", "are not in Google's form (line 1)"),
            (r#"{"private_key": 5}"#, "are not in Google's form (line 1)"),
            ("{}", "lack `type`"),
            (r#"{"type": "service_account", "client_email": "e"}"#, "lack `private_key`"),
            (
                r#"{"type": "authorized_user", "client_id": "i", "client_secret": "s"}"#,
                "lack `refresh_token`",
            ),
            (
                r#"{"type": "external_account"}"#,
                "are of the type `external_account`, which is not taken here",
            ),
            (
                r#"{"type": "service_account", "client_email": "e", "private_key": "k", "token_uri": "http://evil.com"}"#,
                "name a `token_uri` that is neither https nor on this machine",
            ),
        ];
        for (text, expected) in table {
            let told = parse(text).err().unwrap();
            assert!(told.starts_with(expected), "{text}: {told}");
        }
    }
}
