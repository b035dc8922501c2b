//! The session service by its operations, as every surface calls them.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod bodies;
mod contract;
mod defects;
mod described;
mod errors;
mod fields;
mod guarded;
pub(crate) mod http;
mod import;
mod mail;
mod parts;
mod peers;
mod races;
mod rpc;
mod scopes;
mod socket;
mod unknown;
mod wire;
mod wired;

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::service::SessionError;
use oarlock_server::operations::{Params, named};
use oarlock_server::service::{Caller, Sessions};
use serde_json::{Value, json};

use crate::desk::Desk;

/// Somewhere operations can be asked for. What they answer is the same on all of them.
pub(crate) trait Surface: Send + Sync + 'static {
    /// The surface of a program.
    fn open(desk: &Desk) -> BoxFuture<'_, Self>
    where
        Self: Sized;

    /// Does an operation; a refusal is its error as the surface tells it.
    fn call<'a>(&'a self, name: &'a str, params: Value) -> BoxFuture<'a, Result<Value, Refusal>>;
}

/// A refusal, by what every surface tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    /// The stable code.
    pub(crate) code: String,
    /// One line for a person.
    pub(crate) message: String,
    /// What a program may want to know.
    pub(crate) details: Value,
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        let details = error.details.clone().unwrap_or(Value::Null);
        Self { code: error.code().to_owned(), message: error.message, details }
    }
}

/// The operations themselves, without a wire.
pub(crate) struct Direct(pub(crate) Sessions);

/// The sessions of a program.
pub(crate) fn sessions(desk: &Desk, caller: Caller) -> Sessions {
    Sessions::new(Arc::new(desk.clone()), PathBuf::from("/"), caller)
}

impl Surface for Direct {
    fn open(desk: &Desk) -> BoxFuture<'_, Self> {
        Box::pin(async { Self(sessions(desk, Caller::trusted("library"))) })
    }

    fn call<'a>(&'a self, name: &'a str, params: Value) -> BoxFuture<'a, Result<Value, Refusal>> {
        Box::pin(async move {
            let operation = named(name).unwrap_or_else(|| panic!("there is no operation {name}"));
            let Value::Object(params): Value = params else { panic!("{params} is no object") };
            let answer = operation.call(self.0.clone(), Params::from_iter(params)).await?;
            Ok(serde_json::from_slice(&answer).expect("an answer is JSON"))
        })
    }
}

/// Does an operation that must work.
pub(crate) async fn done(surface: &dyn Surface, name: &str, params: Value) -> Value {
    match surface.call(name, params.clone()).await {
        Ok(answer) => answer,
        Err(refusal) => panic!("{name} {params}: {refusal:?}"),
    }
}

/// The code with which an operation is refused.
pub(crate) async fn refused(surface: &dyn Surface, name: &str, params: Value) -> String {
    match surface.call(name, params.clone()).await {
        Ok(answer) => panic!("{name} {params}: {answer}"),
        Err(refusal) => refusal.code,
    }
}

/// A session that waits for its first input.
pub(crate) async fn deferred(surface: &dyn Surface) -> String {
    let made = done(surface, "session/create", json!({ "initial_turn": "defer" })).await;
    made["session_id"].as_str().expect("it has an id").to_owned()
}
