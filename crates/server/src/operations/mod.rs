//! The one table of operations: REST, JSON-RPC and the command line are mappings of it, and so is what describes them.

mod described;
pub mod shapes;
mod table;
mod whole;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ids::SessionId;
use oarlock_core::service::{ErrorCode, SessionError};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::quote::cut;
use crate::service::{Scope, Sessions};
pub use described::{Described, described};
pub(crate) use whole::without_point;

/// HTTP methods that operations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Does something that may differ the second time.
    Post,
    /// Changes what is named.
    Patch,
    /// Removes.
    Delete,
}

/// Something that can be done with sessions, on every surface.
pub struct Operation {
    /// Its JSON-RPC method, for example `session/create`.
    pub name: &'static str,
    /// How REST says it.
    pub verb: Verb,
    /// Its path below the service's root; `{session_id}` and other names in braces are fields of the request.
    pub path: &'static str,
    /// What the command line calls it, where a person would want it there.
    pub command: Option<&'static str>,
    /// What a caller needs.
    pub scope: Scope,
    /// Whether it stops a turn or lets one go on: it finds a place, however many requests wait for turns.
    pub is_urgent: bool,
    /// One sentence for whoever reads the description.
    pub summary: &'static str,
    call: Call,
}

type Call = Arc<dyn Fn(Sessions, Params) -> Answer + Send + Sync>;
type Answer = BoxFuture<'static, Result<Bytes, SessionError>>;

/// Bytes of a request's JSON on any wire; a longer one is refused as `TOO_LARGE`. 4 MiB.
pub const REQUEST_BYTES: usize = 4 << 20;

/// What is asked of an operation: one JSON object, the fields of the path among the others.
pub type Params = Map<String, Value>;

impl Verb {
    /// Its name in a request.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?} {})", self.name, self.verb, self.path)
    }
}

/// The answer of operations that have nothing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Done {}

/// How operations are found.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    http: (Verb, &'static str),
    command: Option<&'static str>,
    scope: Scope,
    is_urgent: bool,
    summary: &'static str,
}

impl Operation {
    /// Does it. The answer is JSON.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for parameters that are not understood, `AGENT_ERROR` when it panics, and what the operation itself says.
    pub fn call(&self, sessions: Sessions, params: Params) -> Answer {
        contained((self.call)(sessions, params)).boxed()
    }

    fn new(row: Row, call: Call) -> Self {
        let Row { name, http: (verb, path), command, scope, is_urgent, summary } = row;
        Self { name, verb, path, command, scope, is_urgent, summary, call }
    }
}

/// What a row of the table is made into: something to be done, or something to be described.
trait Made: Sized {
    /// One that concerns no session in particular.
    fn of_all<R, A, F>(row: Row, act: fn(Sessions, R) -> F) -> Self
    where
        R: DeserializeOwned + JsonSchema + Send + 'static,
        A: Serialize + JsonSchema,
        F: Future<Output = Result<A, SessionError>> + Send + 'static;

    /// One that concerns a session.
    fn of_one<R, A, F>(row: Row, act: fn(Sessions, SessionId, R) -> F) -> Self
    where
        R: DeserializeOwned + JsonSchema + Send + 'static,
        A: Serialize + JsonSchema,
        F: Future<Output = Result<A, SessionError>> + Send + 'static;
}

impl Made for Operation {
    fn of_all<R, A, F>(row: Row, act: fn(Sessions, R) -> F) -> Self
    where
        R: DeserializeOwned + JsonSchema + Send + 'static,
        A: Serialize + JsonSchema,
        F: Future<Output = Result<A, SessionError>> + Send + 'static,
    {
        let call: Call = Arc::new(move |sessions, params| {
            Box::pin(async move {
                let asked = read(whole::settled(row.name, params)?)?;
                json(&act(sessions, asked).await?)
            })
        });
        Self::new(row, call)
    }

    fn of_one<R, A, F>(row: Row, act: fn(Sessions, SessionId, R) -> F) -> Self
    where
        R: DeserializeOwned + JsonSchema + Send + 'static,
        A: Serialize + JsonSchema,
        F: Future<Output = Result<A, SessionError>> + Send + 'static,
    {
        let call: Call = Arc::new(move |sessions, mut params| {
            Box::pin(async move {
                let id = session_id(&mut params)?;
                let asked = read(whole::settled(row.name, params)?)?;
                json(&act(sessions, id, asked).await?)
            })
        });
        Self::new(row, call)
    }
}

/// What work comes to. A panic in it ends nothing but that work: its request is answered like others.
pub(crate) async fn contained<T>(
    work: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        let words = "the operation broke off by a fault in this program; its log tells where";
        Err(SessionError::new(ErrorCode::AgentError, words))
    })
}

/// The session that a request is about.
///
/// # Errors
/// `INVALID_REQUEST` when it names none; a name that none can have is one that none has.
pub fn session_id(params: &mut Params) -> Result<SessionId, SessionError> {
    match params.remove("session_id") {
        Some(Value::String(id)) => {
            SessionId::parse(id.as_str()).map_err(|_| SessionError::not_found(&cut(&id)))
        }
        _ => Err(SessionError::invalid("`session_id` is missing; name the session")),
    }
}

/// What is asked, from its parameters.
///
/// # Errors
/// `INVALID_REQUEST` when they are not understood.
pub(crate) fn read<R: DeserializeOwned>(params: Params) -> Result<R, SessionError> {
    serde_json::from_value(Value::Object(params))
        .map_err(|error| SessionError::invalid(cut_error(&error.to_string())))
}

/// What is wrong with parameters, without the whole of what was sent.
fn cut_error(words: &str) -> String {
    words.chars().take(400).collect()
}

fn json(answer: &impl Serialize) -> Result<Bytes, SessionError> {
    let json = serde_json::to_vec(answer).map_err(|error| {
        SessionError::new(ErrorCode::AgentError, format!("the answer is no JSON: {error}"))
    })?;
    Ok(json.into())
}

/// All operations, in the order in which they are described.
#[must_use]
pub fn operations() -> &'static [Operation] {
    static TABLE: LazyLock<Vec<Operation>> = LazyLock::new(table::table);
    &TABLE
}

/// The operation of this JSON-RPC method.
#[must_use]
pub fn named(name: &str) -> Option<&'static Operation> {
    operations().iter().find(|operation| operation.name == name)
}
