//! Asking the person at the client whether a call may run.

use agent_client_protocol::v1::schema::{
    PermissionOption, PermissionOptionKind, RequestPermissionOutcome, RequestPermissionRequest,
    SessionId, ToolCallUpdate, ToolCallUpdateFields,
};
use oarlock_core::event::{PermissionAsked, PermissionKind};
use oarlock_core::session::gate::PermissionResolution;

use super::outbound::Outbound;

/// Asks, and waits for the answer. Dropping the future withdraws the question.
///
/// An error, a client that has gone and an option that was not offered are a refusal of this call.
pub(super) async fn ask(
    out: Outbound,
    session: SessionId,
    call: String,
    asked: PermissionAsked,
) -> PermissionResolution {
    let options = asked.options.iter().map(|option| {
        PermissionOption::new(id_of(option.kind), option.label.clone(), kind_of(option.kind))
    });
    let call = ToolCallUpdate::new(call, ToolCallUpdateFields::new());
    let request = RequestPermissionRequest::new(session, call, options.collect());
    let answer = out.connection.send_request(request).block_task().await;
    let refused = PermissionResolution::Selected(PermissionKind::RejectOnce);
    match answer.map(|answer| answer.outcome) {
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
