//! Tools by which the model of a session that has a name writes to others of its tenant: what it sends is admitted as a program's message is.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use oarlock_core::agent::registry::{PEERS, SEND_MESSAGE};
use oarlock_core::event::{Effect, PeerKind};
use oarlock_core::ids::SessionId;
use oarlock_core::ports::journal::TenantFilter;
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use oarlock_core::service::{ErrorCode, PeersRequest, SendRequest, SessionError};
use oarlock_core::spec::Comms;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Caller, Scope, Sessions, in_time};
use crate::host::Host;
use crate::quote::cut;

/// What a call may take: the other session may have to be woken.
const TIMEOUT_MS: u64 = 60_000;
/// Bytes of a message; a longer one is refused.
const TEXT_BYTES: usize = 64 * 1024;
/// Peers that one call lists.
const LISTED: u32 = 100;

/// `send_message` and `peers`, for the sessions of this program. Sessions without a name are not offered them. With folders in `within`, sessions that
/// lie elsewhere are none to them: a program that keeps its callers to folders keeps its models to them, too.
#[must_use]
pub fn peer_tools(host: &Weak<dyn Host>, within: Option<&Arc<[PathBuf]>>) -> Vec<Arc<dyn Tool>> {
    let door = Door { host: Weak::clone(host), within: within.map(Arc::clone) };
    vec![Arc::new(SendMessage::new(door.clone())), Arc::new(Peers::new(door))]
}

/// What leads to the sessions that can be written to.
#[derive(Debug, Clone)]
struct Door {
    host: Weak<dyn Host>,
    within: Option<Arc<[PathBuf]>>,
}

/// The session of a call, as its peers know it.
struct Own {
    sessions: Sessions,
    session: SessionId,
    comms: Comms,
}

impl Door {
    async fn own(&self, session: &SessionId) -> Result<Own, ToolError> {
        let host = self.host.upgrade().ok_or_else(|| ToolError::failed("the program is ending"))?;
        let state = in_time(host.core().state(session)).await.map_err(told)?;
        let none = || ToolError::failed("this session has no name, so that nobody could answer");
        let comms = state.comms.filter(|_| !state.archived).ok_or_else(none)?;
        let tenant = state.spec.tenant.clone().map_or(TenantFilter::Nobody, TenantFilter::Of);
        let caller = Caller {
            surface: "tool",
            scopes: vec![Scope::Read, Scope::Turn],
            tenant: Some(tenant),
            within: self.within.clone(),
        };
        let sessions = Sessions::new(host, PathBuf::from("/"), caller);
        Ok(Own { sessions, session: session.clone(), comms: *comms })
    }
}

/// An error of the service in words for the model.
fn told(error: SessionError) -> ToolError {
    let words = match error.kind {
        ErrorCode::SessionNotFound => {
            format!("{}; `{PEERS}` lists those that there are", error.message)
        }
        _ => error.message,
    };
    ToolError::failed(words)
}

fn schema(name: &str, description: &str, input: Value) -> ToolSchema {
    let (name, description) = (name.to_owned(), description.to_owned());
    ToolSchema { name, description, input, runs: Runs::Here }
}

fn parsed<A: DeserializeOwned>(arguments: &Value) -> Result<A, String> {
    A::deserialize(arguments).map_err(|error| error.to_string())
}

/// What a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Message,
    Request,
    Response,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Letter {
    to: String,
    text: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    intent: Option<String>,
}

impl Letter {
    fn of(arguments: &Value) -> Result<Self, String> {
        let letter: Self = parsed(arguments)?;
        if letter.text.trim().is_empty() {
            return Err("`text` is empty".to_owned());
        }
        if letter.text.len() > TEXT_BYTES {
            let bytes = letter.text.len();
            return Err(format!(
                "`text` has {bytes} bytes and may have {TEXT_BYTES}; put it into a file and name the file"
            ));
        }
        match (letter.kind, &letter.intent) {
            (Kind::Message | Kind::Response, Some(_)) => {
                Err("`intent` goes with a `request` alone".to_owned())
            }
            _ => Ok(letter),
        }
    }
}

/// Writes to another session.
#[derive(Debug)]
struct SendMessage {
    schema: ToolSchema,
    door: Door,
}

impl SendMessage {
    fn new(door: Door) -> Self {
        let description = "Write to another session by its name. It gets your words with your own name, when it comes to them; you go on at once, and an answer \
            comes as a message of its own. Answer a request with a `response`. Write only what the other needs: each message that is not a response costs it a step.";
        let input = json!({
            "type": "object",
            "properties": {
                "to": {"type": "string", "description": "the name of the session"},
                "text": {"type": "string", "description": "what you want to tell it"},
                "kind": {"type": "string", "enum": ["message", "request", "response"], "default": "message", "description": "a `message` is taken by its running turn, a `request` has a turn of its own, a `response` begins none"},
                "intent": {"type": "string", "description": "what a request is about, in one word"}
            },
            "required": ["to", "text"],
            "additionalProperties": false
        });
        Self { schema: schema(SEND_MESSAGE, description, input), door }
    }
}

impl Tool for SendMessage {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _: &Place) -> Result<Assessment, String> {
        let letter = Letter::of(arguments)?;
        Ok(Assessment {
            // The call's key is the message's: sent again it is there once.
            effect: Effect::Idempotent,
            title: format!("write to {}", cut(&letter.to)),
            subject: Subject { parts: vec![letter.to], complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        let words = match Letter::of(arguments) {
            Ok(letter) => format!("write to session {}:\n\n{}", cut(&letter.to), letter.text),
            Err(why) => why,
        };
        ready(words).boxed()
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        async move {
            let Letter { to, text, kind, intent } =
                Letter::of(&arguments).map_err(ToolError::Arguments)?;
            let own = self.door.own(&cx.session).await?;
            if to == own.comms.name {
                return Err(ToolError::Arguments("`to` is this session itself".to_owned()));
            }
            let call = format!("{}\0{}", own.session, cx.call.0);
            let request = SendRequest {
                to: Some(to.clone()),
                session_id: None,
                from: Some(own.comms.name),
                kind: match kind {
                    Kind::Message => PeerKind::Message,
                    Kind::Request => PeerKind::Request,
                    Kind::Response => PeerKind::Response,
                },
                intent,
                text,
                idempotency_key: Some(format!("call-{}", blake3::hash(call.as_bytes()).to_hex())),
            };
            let sent = own.sessions.send(request).await.map_err(told)?;
            let mut detail = Map::new();
            detail.insert("session".to_owned(), json!(sent.session_id));
            detail.insert("input".to_owned(), json!(sent.input));
            Ok(ToolOutput { detail, ..ToolOutput::text(format!("{} has it.", cut(&to))) })
        }
        .boxed()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Lists the others.
#[derive(Debug)]
struct Peers {
    schema: ToolSchema,
    door: Door,
}

impl Peers {
    fn new(door: Door) -> Self {
        let description = "List the sessions that you can write to by `send_message`: their names, what they are for, and whether they are busy.";
        let input = json!({"type": "object", "properties": {}, "additionalProperties": false});
        Self { schema: schema(PEERS, description, input), door }
    }
}

impl Tool for Peers {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _: &Place) -> Result<Assessment, String> {
        let Nothing {} = parsed(arguments)?;
        Ok(Assessment {
            effect: Effect::Pure,
            title: "list the sessions that have names".to_owned(),
            subject: Subject { parts: Vec::new(), complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, _: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        ready("list the sessions that have names".to_owned()).boxed()
    }

    fn execute(
        self: Arc<Self>,
        _: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        async move {
            let own = self.door.own(&cx.session).await?;
            let request = PeersRequest { limit: Some(LISTED), ..PeersRequest::default() };
            let page = own.sessions.peers(request).await.map_err(told)?;
            let others = page.peers.iter().filter(|peer| peer.session_id != own.session);
            let mut lines: Vec<String> = others
                .map(|peer| {
                    let about = peer.meta.description.as_deref().map(cut).unwrap_or_default();
                    let state = json!(peer.state);
                    format!("{} ({}) {about}", peer.name, state.as_str().unwrap_or_default())
                })
                .collect();
            if page.next.is_some() {
                lines.push(format!("and more than {LISTED} others"));
            }
            if lines.is_empty() {
                lines.push("no other session has a name".to_owned());
            }
            Ok(ToolOutput::text(lines.join("\n")))
        }
        .boxed()
    }
}
