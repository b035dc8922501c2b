//! Answers over HTTP: JSON, and refusals by the one table of errors.

use crate::quote::cut;
use axum::body::Body;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use oarlock_core::service::{ErrorCode, SessionError};
use serde::Serialize;
use serde_json::Value;

/// A refusal with its status, which is that of the table unless HTTP has a closer word.
#[derive(Debug)]
pub(super) struct Refused {
    error: Box<SessionError>,
    status: u16,
    allow: Option<HeaderValue>,
}

impl From<SessionError> for Refused {
    fn from(error: SessionError) -> Self {
        Self { status: error.kind.row().http, error: Box::new(error), allow: None }
    }
}

impl Refused {
    /// There is nothing at this path.
    pub(super) fn no_such_path(path: &str) -> Self {
        let path = cut(path);
        let words = format!("there is nothing at {path}; /v1/openapi.json says what there is");
        Self { status: 404, ..SessionError::invalid(words).into() }
    }

    /// The path does other things.
    pub(super) fn no_such_method(path: &str, allow: &str) -> Self {
        let path = cut(path);
        let words = format!("{path} takes {allow}");
        let allow = HeaderValue::from_str(allow).ok();
        Self { status: 405, allow, ..SessionError::invalid(words).into() }
    }

    /// The path speaks another protocol.
    pub(super) fn no_upgrade(why: &str) -> Self {
        let words = format!("this path takes a WebSocket: {why}");
        Self { status: 426, ..SessionError::invalid(words).into() }
    }

    /// The body is in another form.
    pub(super) fn not_json() -> Self {
        let words = "the body is to be JSON; send it as `content-type: application/json`";
        Self { status: 415, ..SessionError::invalid(words).into() }
    }

    /// The range lies outside of the body.
    pub(super) fn beyond(bytes: u64) -> Self {
        let words = format!("the range lies outside of the {bytes} bytes");
        Self { status: 416, ..SessionError::invalid(words).into() }
    }

    /// There is no such body, or none that this session names.
    pub(super) fn no_such_blob(blob: &str) -> Self {
        let words = format!("the session names no stored body {blob}");
        Self { status: 404, ..SessionError::invalid(words).into() }
    }
}

/// The body of a refusal on every wire.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Refusal<'a> {
    /// What went wrong.
    error: Wrong<'a>,
}

/// What went wrong.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct Wrong<'a> {
    /// The stable code, for example `SESSION_BUSY`.
    code: &'a str,
    /// One line for a person.
    message: &'a str,
    /// What a program may want to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
    /// When trying again makes sense, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl<'a> Refusal<'a> {
    /// As every wire tells it.
    pub(super) fn of(error: &'a SessionError) -> Self {
        Self {
            error: Wrong {
                code: error.code(),
                message: &error.message,
                details: error.details.as_ref(),
                retry_after_ms: error.retry_after_ms,
            },
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has strings for keys")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self { error, status, allow } = self;
        let body = Refusal::of(&error).json();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(ms) = error.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        }
        if error.kind == ErrorCode::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = allow {
            headers.insert(ALLOW, allow);
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        // Whoever counts requests wants to know it by the table's code.
        response.extensions_mut().insert(Coded(error.code()));
        response
    }
}

/// The code of a refusal, beside its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coded(pub(super) &'static str);

/// A JSON answer that nobody in between keeps.
pub(super) fn json(body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
