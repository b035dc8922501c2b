//! Events under the names of whoever they are of.

use oarlock_core::event::{AgentEvent, Event};
use oarlock_core::ids::CallId;
use oarlock_core::service::{ScopedEventStream, Scopes};
use oarlock_core::{ScopedAgentEvent, SessionId, StreamScopeFrame};
use oarlock_testkit::kit::{journal, tag, tags};
use oarlock_testkit::tool::order;

use crate::subagents::{answer, go, kit_with, opened, tools};

/// What is told until the turn of the followed session ends.
async fn told(mut events: ScopedEventStream, session: &SessionId) -> Vec<ScopedAgentEvent> {
    let mut told = Vec::new();
    loop {
        let scoped = events.next().await.unwrap();
        let is_own = scoped.scope_path.iter().all(|frame| match frame {
            StreamScopeFrame::Primary { session_id } => session_id == session,
            StreamScopeFrame::SubAgent { .. } => false,
        });
        let is_end = matches!(&scoped.event, AgentEvent::Entry(entry) if matches!(entry.event, Event::TurnEnded(_)));
        told.push(scoped);
        if is_own && is_end {
            return told;
        }
    }
}

/// The tags of the entries of a scope.
fn of(told: &[ScopedAgentEvent], scope: &str) -> Vec<String> {
    let own = told.iter().filter(|scoped| scoped.scope_id == scope);
    own.filter_map(|scoped| match &scoped.event {
        AgentEvent::Entry(entry) => Some(tag(&entry.event)),
        AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. } => None,
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn events_of_subagents_come_under_their_path_with_call_and_profile() {
    let kit = kit_with(answer, tools(order()));
    let session = kit.open().await;
    let id = session.id().clone();
    let stream =
        || ScopedEventStream { events: session.events(0), scopes: Scopes::new(&id, vec![]) };
    let (live, _) = tokio::join!(told(stream(), &id), session.run_turn(go()));
    let late = told(stream(), &id).await;
    let own = journal(&kit.core, &session).await;
    let child = opened(&own).remove(0);
    let childs = tags(&journal(&kit.core, &kit.core.handle(child.child.clone())).await);
    let scope = format!("primary/sub:{}", child.child);
    for told in [&live, &late] {
        assert_eq!(of(told, "primary").last().unwrap(), "turn_ended");
        assert_eq!(of(told, &scope), childs, "all of it, under its own name");
        let path = [
            StreamScopeFrame::Primary { session_id: id.clone() },
            StreamScopeFrame::SubAgent {
                agent_id: child.child.clone(),
                tool_call_id: Some(CallId("s".into())),
                label: Some(child.profile.clone()),
            },
        ];
        let mut below = told.iter().filter(|scoped| scoped.scope_id == scope);
        assert!(below.all(|scoped| scoped.scope_path == path));
        assert!(told.iter().all(|scoped| !matches!(scoped.event, AgentEvent::Scoped { .. })));
    }
}

#[test]
fn a_path_is_put_before_those_of_subagents() {
    let id = |name: &str| SessionId::parse(name).unwrap();
    let sub = |name: &str| StreamScopeFrame::SubAgent {
        agent_id: id(name),
        tool_call_id: None,
        label: None,
    };
    let here = || Box::new(AgentEvent::CaughtUp { seq: 3 });
    let primary = StreamScopeFrame::Primary { session_id: id("root") };
    let deep = AgentEvent::Scoped { scope: vec![id("a"), id("b")], event: here() };
    for (base, event, name) in [
        (vec![], *here(), "primary"),
        (vec![], deep.clone(), "primary/sub:a/sub:b"),
        (vec![primary.clone()], *here(), "primary"),
        (vec![primary.clone()], deep.clone(), "primary/sub:a/sub:b"),
        (vec![primary.clone(), sub("x")], *here(), "primary/sub:x"),
        (vec![primary.clone(), sub("x")], deep.clone(), "primary/sub:x/sub:a/sub:b"),
    ] {
        let scoped = Scopes::new(&id("root"), base.clone()).place(event);
        assert_eq!((scoped.scope_id.as_str(), &scoped.event), (name, &*here()));
        assert_eq!(scoped.scope_path[..base.len()], base);
    }
    let scoped = ScopedAgentEvent::new(vec![primary, sub("x")], *here());
    assert_eq!(
        serde_json::to_value(&scoped).unwrap(),
        serde_json::json!({
            "scope_id": "primary/sub:x",
            "scope_path": [
                { "scope": "primary", "session_id": "root" },
                { "scope": "sub_agent", "agent_id": "x" },
            ],
            "event": { "caught_up": { "seq": 3 } },
        })
    );
}
