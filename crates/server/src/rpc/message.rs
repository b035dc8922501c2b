//! Lines and what they mean: requests as the standard has them, answers, errors and notifications. Pure.

use std::collections::BTreeMap;

use oarlock_core::service::{ErrorCode, SessionError};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::operations::{Params, REQUEST_BYTES};
use crate::quote::cut;

/// The line is no JSON.
const PARSE_ERROR: i32 = -32700;
/// The line is JSON and no request.
const INVALID_REQUEST: i32 = -32600;
/// There is no such method.
const METHOD_NOT_FOUND: i32 = -32601;
/// The client did not want the answer any longer.
const CANCELLED: i32 = -32800;

/// The id of a request, as the client wrote it: two ids are the same when their text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Id(String);

impl Id {
    /// The id of a request that cannot be told.
    pub(super) fn null() -> Self {
        Self("null".to_owned())
    }

    /// A string, a number or null.
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let is_id = text == "null" || text.starts_with(|c: char| "\"-0123456789".contains(c));
        is_id.then(|| Self(text.to_owned()))
    }
}

/// A request, or a notification when it has no id.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) id: Option<Id>,
    pub(super) method: String,
    pub(super) params: Params,
}

/// Why there is no result.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    code: i32,
    error: Box<SessionError>,
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        Self { code: error.kind.row().rpc, error: Box::new(error) }
    }
}

impl Fault {
    fn of(code: i32, message: impl Into<String>) -> Self {
        Self { code, error: Box::new(SessionError::invalid(message)) }
    }

    /// There is no such method.
    pub(super) fn no_method(name: &str) -> Self {
        let name = cut(name);
        Self::of(METHOD_NOT_FOUND, format!("there is no method `{name}`; see docs/rpc.md"))
    }

    /// Another request of this id is under way.
    pub(super) fn same_id(Id(id): &Id) -> Self {
        let id = cut(id);
        Self::of(
            INVALID_REQUEST,
            format!("a request with the id {id} is under way; use another id"),
        )
    }

    /// Too much is under way.
    pub(super) fn overloaded(max: usize, what: &str) -> Self {
        let words = format!("{max} {what} are under way, as many as may be; wait for one to end");
        let error = SessionError::new(ErrorCode::Overloaded, words);
        SessionError { retry_after_ms: Some(1_000), ..error }.into()
    }

    /// More than any request needs: it is not kept while others are worked on.
    pub(super) fn too_large(bytes: usize) -> Self {
        let words = format!("the request has {bytes} bytes and at most {REQUEST_BYTES} are taken");
        SessionError::new(ErrorCode::TooLarge, words).into()
    }

    /// An unsubscription that has nothing to end.
    pub(super) fn no_subscription(number: u64) -> Self {
        SessionError::invalid(format!("there is no subscription {number}")).into()
    }

    /// The client did not want to wait any longer.
    pub(super) fn cancelled() -> Self {
        Self::of(CANCELLED, "the request was cancelled; a turn that it began goes on")
    }
}

/// Reads a line.
///
/// # Errors
/// What is to be answered, and to which id.
pub(super) fn read(line: &str) -> Result<Call, (Id, Fault)> {
    let unknown = |fault| (Id::null(), fault);
    let mut members: BTreeMap<String, &RawValue> = match serde_json::from_str(line) {
        Ok(members) => members,
        Err(_) if line.starts_with('[') && is_json(line) => {
            let words = "batches are not taken; send each request on a line of its own, they are worked on at the same time";
            return Err(unknown(Fault::of(INVALID_REQUEST, words)));
        }
        Err(error) if is_json(line) => {
            let words = format!("the line is no request: {error}");
            return Err(unknown(Fault::of(INVALID_REQUEST, words)));
        }
        Err(error) => {
            return Err(unknown(Fault::of(PARSE_ERROR, format!("the line is no JSON: {error}"))));
        }
    };
    let id = match members.remove("id") {
        None => None,
        Some(raw) => match Id::read(raw) {
            Some(id) => Some(id),
            None => {
                let words = "`id` is neither a string, a number nor null";
                return Err(unknown(Fault::of(INVALID_REQUEST, words)));
            }
        },
    };
    match call(id.clone(), members) {
        Ok(call) => Ok(call),
        Err(fault) => Err((id.unwrap_or_else(Id::null), fault)),
    }
}

fn is_json(line: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(line).is_ok()
}

/// A request from its members, the id aside.
fn call(id: Option<Id>, mut members: BTreeMap<String, &RawValue>) -> Result<Call, Fault> {
    let version = members.remove("jsonrpc").map(RawValue::get);
    if version != Some("\"2.0\"") {
        return Err(Fault::of(INVALID_REQUEST, "`jsonrpc` has to be \"2.0\""));
    }
    let method = members.remove("method").map(RawValue::get).map(serde_json::from_str::<String>);
    let Some(Ok(method)) = method else {
        return Err(Fault::of(INVALID_REQUEST, "`method` has to be the name of one"));
    };
    let params = members.remove("params").map(RawValue::get);
    if let Some(name) = members.keys().next() {
        let name = cut(name);
        return Err(Fault::of(INVALID_REQUEST, format!("a request has no member `{name}`")));
    }
    let params = match params {
        None => Params::new(),
        Some(json) if json.starts_with('{') => serde_json::from_str(json)
            .map_err(|error| SessionError::invalid(format!("`params`: {error}")))?,
        Some(_) => {
            let words = "`params` has to be an object; parameters are told by their names";
            return Err(SessionError::invalid(words).into());
        }
    };
    Ok(Call { id, method, params })
}

/// An error as it is told.
#[derive(Debug, Serialize)]
struct Told<'a> {
    code: i32,
    message: &'a str,
    data: Data<'a>,
}

/// What programs may want to know of an error.
#[derive(Debug, Serialize)]
struct Data<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Fault {
    /// The error as JSON.
    pub(super) fn json(&self) -> String {
        let error = &self.error;
        let code = if self.code == CANCELLED { "CANCELLED" } else { error.code() };
        let data =
            Data { code, details: error.details.as_ref(), retry_after_ms: error.retry_after_ms };
        let told = Told { code: self.code, message: &error.message, data };
        serde_json::to_string(&told).expect("an error has string keys")
    }
}

/// The line of an answer.
pub(super) fn answer(Id(id): &Id, answer: Result<&str, &Fault>) -> String {
    let (name, json) = match answer {
        Ok(result) => ("result", result.to_owned()),
        Err(fault) => ("error", fault.json()),
    };
    one_line(format!(r#"{{"jsonrpc":"2.0","id":{id},"{name}":{json}}}"#))
}

/// The line of a notification; `params` is JSON.
pub(super) fn notification(method: &str, params: &str) -> String {
    one_line(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#))
}

/// JSON without line ends. What models and clients wrote is kept as it was, with line ends between its parts; inside of strings there are none.
fn one_line(json: String) -> String {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ") } else { json }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_row_of_the_error_table_is_told_with_its_code() {
        for kind in ErrorCode::ALL {
            let error = SessionError {
                retry_after_ms: Some(7),
                ..SessionError::new(kind, "it was so").with_details(json!({ "a": 1 }))
            };
            let line = answer(&Id::null(), Err(&error.into()));
            let told: Value = serde_json::from_str(&line).unwrap();
            let row = kind.row();
            let data = json!({ "code": row.code, "details": { "a": 1 }, "retry_after_ms": 7 });
            let error = json!({ "code": row.rpc, "message": "it was so", "data": data });
            assert_eq!(told, json!({ "jsonrpc": "2.0", "id": null, "error": error }));
        }
    }

    #[test]
    fn an_answer_is_one_line_whatever_is_in_it() {
        let kept = answer(&Id::null(), Ok("{\"a\":\n\r\n[1,\"b\\nc\"]}"));
        assert!(!kept.contains(['\n', '\r']));
        let told: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(told["result"], json!({ "a": [1, "b\nc"] }));
    }
}
