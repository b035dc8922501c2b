//! The headers that sign a request (AWS, "Signature Version 4").

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use crate::key::KeyError;
use crate::transport::{HttpRequest, Method};

/// What a signature is good for.
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) now: SystemTime,
}

/// The headers to add; the others of the request, its address and its body are signed and must stay as they are.
///
/// # Errors
/// `Denied`: the request is none that can be signed.
pub(super) fn headers(
    request: &HttpRequest,
    credentials: Credentials,
    scope: &Scope<'_>,
) -> Result<Vec<(String, String)>, KeyError> {
    let failed = |error: &dyn fmt::Display| {
        KeyError::Denied(format!("the request cannot be signed: {error}"))
    };
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(scope.now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?;
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let given = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let body = SignableBody::Bytes(&request.body);
    let signable = SignableRequest::new(method, request.url.as_str(), given, body)
        .map_err(|error| failed(&error))?;
    let signed = sign(signable, &parameters.into()).map_err(|error| failed(&error))?;
    let (instructions, _) = signed.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

    /// The header `authorization` of AWS's test suite for Signature Version 4: its key, its scope, 2015-08-30T12:36:00Z.
    fn authorization(method: Method, path: &str, more: &[(&str, &str)], token: bool) -> String {
        let request = HttpRequest {
            method,
            url: format!("https://example.amazonaws.com{path}"),
            headers: more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            body: Bytes::new(),
        };
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            token.then(|| TOKEN.to_owned()),
            None,
            "test",
        );
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let scope = Scope { region: "us-east-1", service: "service", now };
        let headers = headers(&request, credentials, &scope).unwrap();
        let carried = headers.iter().any(|(n, v)| n == "x-amz-security-token" && v == TOKEN);
        assert_eq!(carried, token, "{path}");
        headers.into_iter().find(|(name, _)| name == "authorization").unwrap().1
    }

    #[test]
    fn signatures_are_those_that_aws_publishes() {
        use Method::{Get, Post};
        let table: [(_, _, &[_], _, _, _); 6] = [
            (
                Get,
                "/",
                &[],
                false,
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                Post,
                "/",
                &[],
                false,
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                Get,
                "/",
                &[],
                true,
                "host;x-amz-date;x-amz-security-token",
                "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            ),
            (
                Get,
                "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
                &[],
                false,
                "host;x-amz-date",
                "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
            ),
            (
                Get,
                "/",
                &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
                false,
                "host;my-header1;my-header2;x-amz-date",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                Post,
                "/",
                &[("My-Header1", "VALUE1")],
                false,
                "host;my-header1;x-amz-date",
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
        ];
        for (method, path, more, token, signed, signature) in table {
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, Signature={signature}"
            );
            assert_eq!(authorization(method, path, more, token), expected, "{path} {more:?}");
        }
    }
}
