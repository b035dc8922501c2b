//! Messages between sessions at their bounds: whose names are whose, how much may wait, and who is told of whom.

use oarlock_core::ids::Tenant;
use oarlock_core::ports::journal::TenantFilter;
use oarlock_server::service::Caller;
use oarlock_testkit::model::text;
use serde_json::{Value, json};

use super::contract::{dawdles, named, of};
use super::{Direct, Surface, done, refused, sessions};
use crate::desk::Desk;

fn caller(tenant: Option<&str>) -> Caller {
    let tenant = match tenant {
        Some(name) => TenantFilter::Of(Tenant::parse(name).unwrap()),
        None => TenantFilter::Nobody,
    };
    Caller { tenant: Some(tenant), ..Caller::trusted("library") }
}

pub(super) async fn waiting(surface: &dyn Surface, session: &str) -> Vec<Value> {
    let read = done(surface, "session/read", of(session, json!({}))).await;
    read["waiting"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_its_own_names_and_learns_nothing_of_others() {
    let desk = Desk::new(vec![], vec![]);
    let of_tenant = |tenant: Option<&str>| Direct(sessions(&desk, caller(tenant)));
    let (ours, theirs, nobodys) = (of_tenant(Some("a")), of_tenant(Some("b")), of_tenant(None));
    let all = Direct::open(&desk).await;
    let quiet = || json!({ "silent_comms_intents": ["i"] });
    let our_cox = named(&ours, "cox", quiet()).await;
    let their_cox = named(&theirs, "cox", quiet()).await;
    let nobodys_cox = named(&nobodys, "cox", quiet()).await;
    named(&theirs, "stroke", json!({ "peer_meta": { "description": "ours alone" } })).await;
    assert!(waiting(&ours, &our_cox).await.is_empty(), "others are told nothing");
    assert_eq!(waiting(&theirs, &their_cox).await.len(), 1);
    let hello = || json!({ "to": "cox", "kind": "request", "intent": "i", "text": "hello" });
    for (surface, cox) in
        [(&ours, &our_cox), (&theirs, &their_cox), (&nobodys, &nobodys_cox), (&all, &nobodys_cox)]
    {
        assert_eq!(done(surface, "session/send", hello()).await["session_id"], cox.as_str());
    }
    let there = ours.call("session/send", json!({ "to": "stroke", "text": "x" })).await;
    let nowhere = ours.call("session/send", json!({ "to": "strike", "text": "x" })).await;
    let words = |answer: Result<Value, super::Refusal>| answer.unwrap_err().message;
    assert_eq!(words(there), words(nowhere).replace("strike", "stroke"));
    let by_id = of(&their_cox, json!({ "text": "x" }));
    assert_eq!(refused(&ours, "session/send", by_id).await, "SESSION_NOT_FOUND");
    let as_them = json!({ "to": "cox", "from": "stroke", "text": "x" });
    assert_eq!(refused(&ours, "session/send", as_them).await, "INVALID_REQUEST");
    let listed = done(&ours, "session/peers", json!({})).await;
    assert_eq!(listed["peers"][0]["session_id"], our_cox.as_str());
    assert_eq!(listed["peers"].as_array().unwrap().len(), 1);
    done(&ours, "session/archive", of(&our_cox, json!({}))).await;
    named(&ours, "stroke", json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_what_is_silent_takes_the_place_of_nothing_else() {
    let desk = Desk::new(vec![dawdles("slowly")], vec![]);
    let surface = Direct::open(&desk).await;
    let cox = named(&surface, "cox", json!({ "silent_comms_intents": ["i"] })).await;
    let silent = || json!({ "to": "cox", "kind": "request", "intent": "i", "text": "x" });
    for _ in 0..256 {
        done(&surface, "session/send", silent()).await;
    }
    assert_eq!(refused(&surface, "session/send", silent()).await, "OVERLOADED");
    let go = of(&cox, json!({ "prompt": "go", "wait_ms": 0 }));
    done(&surface, "turn/start", go).await;
    assert!(waiting(&surface, &cox).await.is_empty(), "the turn has taken them");
    let loud = || json!({ "to": "cox", "kind": "request", "text": "x" });
    for _ in 0..256 {
        done(&surface, "session/send", loud()).await;
    }
    assert_eq!(refused(&surface, "session/send", loud()).await, "OVERLOADED");
    done(&surface, "session/send", silent()).await;
    let long = json!({ "to": "cox", "text": "x".repeat(2 << 20) });
    assert_eq!(refused(&surface, "session/send", long).await, "TOO_LARGE");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_told_of_its_peers_while_they_are_as_few_as_it_says() {
    let desk = Desk::new(vec![], vec![]);
    let surface = Direct::open(&desk).await;
    let inline = |max: i32| json!({ "max_inline_peer_notifications": max });
    let never = named(&surface, "never", inline(0)).await;
    let few = named(&surface, "few", inline(2)).await;
    let always = named(&surface, "always", inline(-1)).await;
    let usual = named(&surface, "usual", json!({})).await;
    named(&surface, "last", inline(0)).await;
    let mut told = Vec::new();
    for session in [&never, &few, &always, &usual] {
        told.push(waiting(&surface, session).await.len());
    }
    assert_eq!(told, [0, 1, 2, 1], "one of three peers, two of four, one of one");
    done(&surface, "session/purge", of(&never, json!({}))).await;
    assert_eq!(waiting(&surface, &always).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_silent_message_keeps_no_turn_going_and_is_taken_by_a_step_that_comes() {
    let reply = oarlock_testkit::model::Say::Reply(text("done"));
    let wait = oarlock_testkit::model::Say::Wait(60_000);
    let desk = Desk::new(vec![vec![wait, reply]], vec![]);
    let surface = Direct::open(&desk).await;
    let cox = named(&surface, "cox", json!({})).await;
    let go = of(&cox, json!({ "prompt": "go", "wait_ms": 0 }));
    let turn = done(&surface, "turn/start", go).await;
    done(&surface, "session/send", json!({ "to": "cox", "kind": "response", "text": "it is" }))
        .await;
    let waited = of(&cox, json!({ "input": turn["input"] }));
    assert_eq!(done(&surface, "turn/wait", waited).await["text"], "done");
    assert_eq!(desk.kit.model.requests().len(), 1, "the model had stopped");
    assert_eq!(waiting(&surface, &cox).await.len(), 1, "it waits for the next turn");
}
