//! The rows.

use oarlock_core::event::Entry;
use oarlock_core::ids::{SessionId, TaskId};
use oarlock_core::service::{
    CreateSessionRequest, Cursor, SearchHit, SearchRequest, SessionQuery, SessionService,
    StartTurnRequest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Done, Made, Row, Verb};
use crate::service::{Scope, Sessions};

/// Entries of a session after a cursor.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct EntriesRequest {
    /// The cursor; the beginning when absent.
    after: Cursor,
}

/// Entries, and where the next ones begin.
#[derive(Debug, Serialize, JsonSchema)]
struct Entries {
    /// The entries, in order; none at the end.
    entries: Vec<Entry>,
    /// The cursor behind them.
    cursor: Cursor,
}

/// Which background task.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TaskRequest {
    /// The task; all of them when absent.
    #[serde(default)]
    task: Option<TaskId>,
}

/// Places that a search found.
#[derive(Debug, Serialize, JsonSchema)]
struct Hits {
    /// The places, best first.
    hits: Vec<SearchHit>,
}

/// What a summary did.
#[derive(Debug, Serialize, JsonSchema)]
struct Compacted {
    /// Whether there was something to summarise.
    compacted: bool,
    /// Tokens of the next request before.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_before: Option<u64>,
    /// And after.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_after: Option<u64>,
}

pub(super) fn table<M: Made>() -> Vec<M> {
    let mut rows = making();
    rows.extend(turns());
    rows.extend(inputs());
    rows.extend(looking());
    rows.extend(settings());
    rows.extend(keeping());
    rows
}

fn row(name: &'static str, http: (Verb, &'static str), scope: Scope, summary: &'static str) -> Row {
    Row { name, http, command: None, scope, is_urgent: false, summary }
}

fn making<M: Made>() -> Vec<M> {
    vec![
        M::of_all(
            row(
                "session/create",
                (Verb::Post, "/v1/sessions"),
                Scope::Manage,
                "Make a session, and run its first turn unless that is deferred",
            ),
            |sessions: Sessions, request: CreateSessionRequest| async move {
                sessions.create_session(request).await
            },
        ),
        M::of_all(
            Row {
                command: Some("session list"),
                ..row(
                    "session/list",
                    (Verb::Get, "/v1/sessions"),
                    Scope::Read,
                    "List sessions, those that were used last first",
                )
            },
            |sessions: Sessions, query: SessionQuery| async move { sessions.list(query).await },
        ),
        M::of_all(
            Row {
                command: Some("session search"),
                ..row(
                    "session/search",
                    (Verb::Get, "/v1/search"),
                    Scope::Read,
                    "Find texts that have all the words of a query",
                )
            },
            |sessions: Sessions, request: SearchRequest| async move {
                Ok(Hits { hits: sessions.search(request).await? })
            },
        ),
    ]
}

fn turns<M: Made>() -> Vec<M> {
    vec![
        M::of_one(
            row(
                "turn/start",
                (Verb::Post, "/v1/sessions/{session_id}/turns"),
                Scope::Turn,
                "Run a turn; refused at once while another one runs",
            ),
            |sessions: Sessions, id: SessionId, request: StartTurnRequest| async move {
                sessions.start_turn(&id, request).await
            },
        ),
        M::of_one(
            Row {
                is_urgent: true,
                ..row(
                    "turn/interrupt",
                    (Verb::Post, "/v1/sessions/{session_id}/interrupt"),
                    Scope::Turn,
                    "End the running turn as cancelled",
                )
            },
            |sessions: Sessions, id: SessionId, request| async move {
                sessions.interrupt_turn(&id, request).await.map(|()| Done {})
            },
        ),
        M::of_one(
            row(
                "turn/wait",
                (Verb::Post, "/v1/sessions/{session_id}/wait"),
                Scope::Read,
                "Wait for the turn of an input",
            ),
            |sessions: Sessions, id: SessionId, request| async move {
                sessions.wait(&id, request).await
            },
        ),
    ]
}

fn inputs<M: Made>() -> Vec<M> {
    vec![
        M::of_one(
            Row {
                is_urgent: true,
                ..row(
                    "session/input",
                    (Verb::Post, "/v1/sessions/{session_id}/inputs"),
                    Scope::Turn,
                    "Give an input to the running turn, or queue one behind it",
                )
            },
            |sessions: Sessions, id: SessionId, request| async move {
                sessions.input(&id, request).await
            },
        ),
        M::of_all(
            Row {
                command: Some("session send"),
                ..row(
                    "session/send",
                    (Verb::Post, "/v1/comms/send"),
                    Scope::Turn,
                    "Write to a session by its name or id, as another session or as nobody",
                )
            },
            |sessions: Sessions, request| async move { sessions.send(request).await },
        ),
        M::of_one(
            row(
                "session/withdraw",
                (Verb::Delete, "/v1/sessions/{session_id}/inputs/{input}"),
                Scope::Turn,
                "Take back an input that no turn has taken",
            ),
            |sessions: Sessions, id: SessionId, request| async move {
                sessions.withdraw(&id, request).await.map(|()| Done {})
            },
        ),
        M::of_one(
            Row {
                is_urgent: true,
                ..row(
                    "session/answer",
                    (Verb::Post, "/v1/sessions/{session_id}/answers"),
                    Scope::Turn,
                    "Answer a permission, or give the result of a call that the client ran",
                )
            },
            |sessions: Sessions, id: SessionId, request| async move {
                sessions.answer(&id, request).await.map(|()| Done {})
            },
        ),
        M::of_one(
            row(
                "session/compact",
                (Verb::Post, "/v1/sessions/{session_id}/compact"),
                Scope::Turn,
                "Replace the beginning of what the model sees by a summary",
            ),
            |sessions: Sessions, id: SessionId, request| async move {
                let report = sessions.compact(&id, request).await?;
                Ok(Compacted {
                    compacted: report.is_some(),
                    tokens_before: report.map(|report| report.tokens_before),
                    tokens_after: report.map(|report| report.tokens_after),
                })
            },
        ),
    ]
}

fn looking<M: Made>() -> Vec<M> {
    vec![
        M::of_one(
            Row {
                command: Some("session show"),
                ..row(
                    "session/read",
                    (Verb::Get, "/v1/sessions/{session_id}"),
                    Scope::Read,
                    "How a session stands",
                )
            },
            |sessions: Sessions, id: SessionId, _: Done| async move { sessions.read(&id).await },
        ),
        M::of_one(
            row(
                "session/entries",
                (Verb::Get, "/v1/sessions/{session_id}/entries"),
                Scope::Read,
                "What happened in a session after a cursor, about a megabyte of it",
            ),
            |sessions: Sessions, id: SessionId, request: EntriesRequest| async move {
                let entries = sessions.entries(&id, request.after).await?;
                let cursor = entries.last().map_or(request.after, |entry| Cursor(entry.seq));
                Ok(Entries { entries, cursor })
            },
        ),
        M::of_all(
            Row {
                command: Some("session peers"),
                ..row(
                    "session/peers",
                    (Verb::Get, "/v1/comms/peers"),
                    Scope::Read,
                    "List sessions that others write to by name, those that were used last first",
                )
            },
            |sessions: Sessions, request| async move { sessions.peers(request).await },
        ),
        M::of_one(
            Row {
                command: Some("session why"),
                ..row(
                    "session/why",
                    (Verb::Get, "/v1/sessions/{session_id}/why"),
                    Scope::Read,
                    "What a session waits for, since when, until when, and what happens then",
                )
            },
            |sessions: Sessions, id: SessionId, _: Done| async move { sessions.why(&id).await },
        ),
        M::of_one(
            row(
                "session/tasks",
                (Verb::Get, "/v1/sessions/{session_id}/tasks"),
                Scope::Read,
                "What runs in the background of a session",
            ),
            |sessions: Sessions, id: SessionId, _: Done| async move { sessions.tasks(&id).await },
        ),
    ]
}

fn settings<M: Made>() -> Vec<M> {
    vec![
        M::of_one(
            row(
                "session/configure",
                (Verb::Patch, "/v1/sessions/{session_id}"),
                Scope::Manage,
                "Change settings from the next turn on",
            ),
            |sessions: Sessions, id: SessionId, request| async move {
                sessions.configure(&id, request).await
            },
        ),
        M::of_one(
            Row {
                is_urgent: true,
                command: Some("session archive"),
                ..row(
                    "session/archive",
                    (Verb::Post, "/v1/sessions/{session_id}/archive"),
                    Scope::Manage,
                    "Make a session refuse turns; a running one is cancelled",
                )
            },
            |sessions: Sessions, id: SessionId, _: Done| async move {
                sessions.archive(&id).await.map(|()| Done {})
            },
        ),
        M::of_one(
            Row {
                command: Some("session restore"),
                ..row(
                    "session/restore",
                    (Verb::Post, "/v1/sessions/{session_id}/restore"),
                    Scope::Manage,
                    "Make an archived session take turns again",
                )
            },
            |sessions: Sessions, id: SessionId, _: Done| async move {
                sessions.restore(&id).await.map(|()| Done {})
            },
        ),
    ]
}

fn keeping<M: Made>() -> Vec<M> {
    vec![
        M::of_one(
            Row {
                command: Some("session fork"),
                ..row(
                    "session/fork",
                    (Verb::Post, "/v1/sessions/{session_id}/fork"),
                    Scope::Manage,
                    "Begin a session as another one stood",
                )
            },
            |sessions: Sessions, id: SessionId, request| async move {
                sessions.fork(&id, request).await
            },
        ),
        M::of_all(
            Row {
                command: Some("session import"),
                ..row(
                    "session/import",
                    (Verb::Post, "/v1/import"),
                    Scope::Manage,
                    "Take a session over that was exported",
                )
            },
            |sessions: Sessions, request| async move { sessions.import(request).await },
        ),
        M::of_one(
            Row {
                is_urgent: true,
                ..row(
                    "session/close",
                    (Verb::Post, "/v1/sessions/{session_id}/close"),
                    Scope::Manage,
                    "Let a session go from memory; its running turn is cancelled",
                )
            },
            |sessions: Sessions, id: SessionId, _: Done| async move {
                sessions.close(&id).await.map(|()| Done {})
            },
        ),
        M::of_one(
            Row {
                command: Some("session delete"),
                ..row(
                    "session/purge",
                    (Verb::Delete, "/v1/sessions/{session_id}"),
                    Scope::Manage,
                    "Remove a session for good",
                )
            },
            |sessions: Sessions, id: SessionId, _: Done| async move {
                sessions.purge(&id).await.map(|()| Done {})
            },
        ),
        M::of_one(
            Row {
                is_urgent: true,
                ..row(
                    "task/cancel",
                    (Verb::Post, "/v1/sessions/{session_id}/tasks/cancel"),
                    Scope::Turn,
                    "Tell a background task to stop, or all of them",
                )
            },
            |sessions: Sessions, id: SessionId, request: TaskRequest| async move {
                sessions.cancel_task(&id, request.task).await.map(|()| Done {})
            },
        ),
    ]
}
