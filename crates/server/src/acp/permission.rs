//! Asking the person at the client whether a call may run.

use std::sync::Arc;

use agent_client_protocol::v1::schema::{
    Content, PermissionOption, PermissionOptionKind, RequestPermissionOutcome,
    RequestPermissionRequest, SessionId, ToolCall, ToolCallContent, ToolCallStatus, ToolCallUpdate,
    ToolCallUpdateFields,
};
use agent_client_protocol::{Error, is_incoming_transport_closed};
use oarlock_core::event::{PermissionAsked, PermissionKind};
use oarlock_core::session::gate::PermissionResolution;

use super::content::text;
use super::outbound::Outbound;

/// Asks, and waits for the answer; nothing when the connection ended before. Dropping the future withdraws the question.
///
/// `call` is the call as it was announced. An error and an option that was not offered are a refusal of this call.
pub(super) async fn ask(
    out: Arc<Outbound>,
    session: SessionId,
    call: ToolCall,
    asked: PermissionAsked,
) -> Option<PermissionResolution> {
    let request = request(session, call, &asked);
    let answer = out.connection.send_request(request).block_task().await;
    match answer {
        Err(error) if is_incoming_transport_closed(&error) => None,
        answer => Some(resolution(answer.map(|answer| answer.outcome), &asked)),
    }
}

/// The question, with all that a client needs to show it: what the call is, and what it would do.
fn request(
    session: SessionId,
    call: ToolCall,
    asked: &PermissionAsked,
) -> RequestPermissionRequest {
    let options = asked.options.iter().map(|option| {
        PermissionOption::new(id_of(option.kind), option.label.clone(), kind_of(option.kind))
    });
    let fields = ToolCallUpdateFields::new()
        .title(call.title)
        .kind(call.kind)
        .status(ToolCallStatus::Pending)
        .raw_input(call.raw_input)
        .locations(Some(call.locations).filter(|locations| !locations.is_empty()))
        .content(vec![ToolCallContent::Content(Content::new(text(shown(&asked.detail))))]);
    let call = ToolCallUpdate::new(call.tool_call_id, fields);
    RequestPermissionRequest::new(session, call, options.collect())
}

/// What the call would do, as a block of Markdown, so that none of it is taken for markup.
fn shown(detail: &str) -> String {
    let is_difference = detail.lines().any(|line| line.starts_with("@@ "));
    let language = if is_difference { "diff" } else { "" };
    // The fence is longer than any in the text, so that no line of it ends the block.
    let longest = detail.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}", detail.trim_end_matches('\n'))
}

fn resolution(
    answer: Result<RequestPermissionOutcome, Error>,
    asked: &PermissionAsked,
) -> PermissionResolution {
    let refused = PermissionResolution::Selected(PermissionKind::RejectOnce);
    match answer {
        Ok(RequestPermissionOutcome::Cancelled) => PermissionResolution::Cancelled,
        Ok(RequestPermissionOutcome::Selected(selected)) => {
            let offered = asked.options.iter().map(|option| option.kind);
            let chosen = offered.into_iter().find(|kind| id_of(*kind) == &*selected.option_id.0);
            chosen.map_or(refused, PermissionResolution::Selected)
        }
        Ok(_) => refused,
        Err(error) => {
            tracing::debug!(%error, call = %asked.call.0, "the client did not answer a question");
            refused
        }
    }
}

fn id_of(kind: PermissionKind) -> &'static str {
    match kind {
        PermissionKind::AllowOnce => "allow_once",
        PermissionKind::AllowAlways => "allow_always",
        PermissionKind::AllowSaved => "allow_saved",
        PermissionKind::RejectOnce => "reject_once",
        PermissionKind::RejectAlways => "reject_always",
    }
}

fn kind_of(kind: PermissionKind) -> PermissionOptionKind {
    match kind {
        PermissionKind::AllowOnce => PermissionOptionKind::AllowOnce,
        PermissionKind::AllowAlways | PermissionKind::AllowSaved => {
            PermissionOptionKind::AllowAlways
        }
        PermissionKind::RejectOnce => PermissionOptionKind::RejectOnce,
        PermissionKind::RejectAlways => PermissionOptionKind::RejectAlways,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_core::event::PermissionOption as Offered;
    use oarlock_core::ids::{CallId, Timestamp};
    use serde_json::{Value, json};

    fn question(detail: &str) -> PermissionAsked {
        let offered = |kind, label: &str, grants: &[&str]| Offered {
            kind,
            label: label.to_owned(),
            grants: grants.iter().map(|&grant| grant.to_owned()).collect(),
        };
        PermissionAsked {
            call: CallId("c1".into()),
            detail: detail.to_owned(),
            options: vec![
                offered(PermissionKind::AllowOnce, "allow this once", &[]),
                offered(PermissionKind::AllowAlways, "always: bash(ls)", &["bash(ls)"]),
                offered(PermissionKind::RejectOnce, "refuse this once", &[]),
            ],
            deadline: Timestamp::from_unix_ms(0),
            default: PermissionKind::RejectOnce,
        }
    }

    #[test]
    fn a_question_can_be_drawn_from_its_request_alone() {
        let call = ToolCall::new("child/c1", "bash: ls").raw_input(json!({ "command": "ls" }));
        let request = request(SessionId::new("s"), call, &question("ls"));
        let expected = json!({
            "sessionId": "s",
            "toolCall": {
                "toolCallId": "child/c1", "title": "bash: ls", "kind": "other", "status": "pending",
                "rawInput": { "command": "ls" },
                "content": [{ "type": "content", "content": { "type": "text", "text": "```\nls\n```" } }],
            },
            "options": [
                { "optionId": "allow_once", "name": "allow this once", "kind": "allow_once" },
                { "optionId": "allow_always", "name": "always: bash(ls)", "kind": "allow_always" },
                { "optionId": "reject_once", "name": "refuse this once", "kind": "reject_once" },
            ],
        });
        assert_eq!(serde_json::to_value(request).unwrap(), expected);
    }

    #[test]
    fn what_a_call_would_do_is_a_block_that_nothing_in_it_ends() {
        let cases = [
            ("ls *", "```\nls *\n```"),
            ("a\nb\n", "```\na\nb\n```"),
            (
                "--- a\n+++ a\n@@ -1 +1 @@\n-x\n+y",
                "```diff\n--- a\n+++ a\n@@ -1 +1 @@\n-x\n+y\n```",
            ),
            ("say\n````", "`````\nsay\n````\n`````"),
        ];
        for (detail, expected) in cases {
            assert_eq!(shown(detail), expected);
        }
    }

    #[test]
    fn only_what_was_offered_allows_anything() {
        let refused = PermissionResolution::Selected(PermissionKind::RejectOnce);
        let chosen = |id: &str| json!({ "outcome": "selected", "optionId": id });
        let cases: [(Value, PermissionResolution); 5] = [
            (chosen("allow_once"), PermissionResolution::Selected(PermissionKind::AllowOnce)),
            (chosen("allow_always"), PermissionResolution::Selected(PermissionKind::AllowAlways)),
            (chosen("allow_saved"), refused),
            (chosen("yes"), refused),
            (json!({ "outcome": "cancelled" }), PermissionResolution::Cancelled),
        ];
        for (answer, expected) in cases {
            let outcome = serde_json::from_value(answer.clone()).unwrap();
            assert_eq!(resolution(Ok(outcome), &question("ls")), expected, "{answer}");
        }
        assert_eq!(resolution(Err(Error::method_not_found()), &question("ls")), refused);
    }
}
