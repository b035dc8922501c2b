//! Messages that models write to other sessions.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use oarlock_core::event::{Entry, Event};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::tool::{SessionToolFactory, SessionTools, SessionToolsError};
use oarlock_core::spec::{Mode, SessionSpec};
use oarlock_core::{
    DefaultAgentCore, LoadSession, Nowhere, Origin, Ports, Recovery, StaticToolRegistry,
};
use oarlock_server::Host;
use oarlock_server::service::peer_tools;
use oarlock_testkit::kit::{Kit, Parts, node};
use oarlock_testkit::model::{Say, calls};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use serde_json::{Value, json};

use super::contract::{of, says};
use super::peers::waiting;
use super::{Direct, Surface, deferred, done};
use crate::desk::{Desk, id};

/// The tools by which sessions write to each other, for every session of the program.
#[derive(Debug)]
struct Post(Weak<dyn Host>, Option<Arc<[PathBuf]>>);

impl SessionToolFactory for Post {
    fn build<'a>(
        &'a self,
        _: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        let tools = Arc::new(StaticToolRegistry::new(peer_tools(&self.0, self.1.as_ref())));
        ready(Ok(SessionTools { tools, files: Arc::new(Nowhere), shell: Arc::new(Nowhere) }))
            .boxed()
    }
}

/// A program of these parts whose sessions write to each other.
fn posted(parts: Parts, mode: Mode) -> Arc<Desk> {
    posted_within(parts, mode, None)
}

/// One whose models are kept to these folders.
fn posted_within(parts: Parts, mode: Mode, within: Option<Arc<[PathBuf]>>) -> Arc<Desk> {
    Arc::new_cyclic(|desk: &Weak<Desk>| {
        let name = parts.name;
        let Kit { core, model } = Kit::of(parts);
        let tools = Arc::new(Post(Weak::clone(desk) as Weak<dyn Host>, within));
        let ports = Ports { tools, ..core.ports().clone() };
        let core = DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node(name));
        Desk::with(Kit { core, model }, mode)
    })
}

/// A call that writes to `bow`, and the end.
fn writes() -> Vec<Vec<Say>> {
    let letter = json!({ "to": "bow", "text": "slow down", "kind": "response" }).to_string();
    vec![vec![Say::Reply(calls(&[("c", "send_message", &letter)]))], says("sent")]
}

fn named_as(name: &str) -> Value {
    json!({ "initial_turn": "defer", "build": { "comms_name": name, "max_inline_peer_notifications": 0 } })
}

#[tokio::test(start_paused = true)]
async fn a_model_writes_to_others_as_its_session_may_and_is_told_who_there_is() {
    let asks = |call: &str, arguments: &str| vec![Say::Reply(calls(&[("c", call, arguments)]))];
    let script = vec![
        asks("peers", "{}"),
        asks("send_message", r#"{"to":"cox","text":"hm"}"#),
        asks("send_message", r#"{"to":"stroke","text":"hm"}"#),
        asks("send_message", r#"{"to":"bow","text":"slow down","kind":"response"}"#),
        says("done"),
        asks("send_message", r#"{"to":"bow","text":"hm"}"#),
        says("no"),
    ];
    let desk = posted(Parts::new(script, vec![]), Mode::OPEN);
    let surface = Direct::open(&desk).await;
    let stroke = done(&surface, "session/create", named_as("stroke")).await;
    let bow = done(&surface, "session/create", named_as("bow")).await;
    let stroke = stroke["session_id"].as_str().unwrap();
    let bow = bow["session_id"].as_str().unwrap();
    let turn = done(&surface, "turn/start", of(stroke, json!({ "prompt": "go" }))).await;
    assert_eq!(turn["text"], "done", "{turn}");
    let results = format!("{:?}", desk.kit.model.requests().last().unwrap().messages);
    for words in ["bow (idle)", "no session with the name cox", "this session itself", "bow has it"]
    {
        assert!(results.contains(words), "{words}: {results}");
    }
    let inputs = waiting(&surface, bow).await;
    assert_eq!(inputs.len(), 1, "{inputs:?}");
    let wrote =
        desk.kit.core.state(&id(bow)).await.unwrap().pending.remove(0).admitted.peer.unwrap();
    assert_eq!((wrote.name.as_deref(), wrote.session), (Some("stroke"), Some(id(stroke))));
    // Whoever has no name is not offered it.
    let nameless = deferred(&surface).await;
    let turn = done(&surface, "turn/start", of(&nameless, json!({ "prompt": "go" }))).await;
    assert_eq!(turn["text"], "no", "{turn}");
    let offered = |at: usize| desk.kit.model.requests()[at].tools.len();
    assert_eq!((offered(0), offered(5)), (2, 0));
    assert_eq!(waiting(&surface, bow).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn writing_to_others_is_asked_for_as_other_changes_are() {
    let desk = posted(Parts::new(writes(), vec![]), Mode::ASK_WRITES);
    let surface = Direct::open(&desk).await;
    let stroke = done(&surface, "session/create", named_as("stroke")).await;
    done(&surface, "session/create", named_as("bow")).await;
    let go = of(stroke["session_id"].as_str().unwrap(), json!({ "prompt": "go" }));
    let turn = done(&surface, "turn/start", go).await;
    assert_eq!(
        (&turn["state"], &turn["pending"][0]["tool"]),
        (&json!("awaiting_input"), &json!("send_message"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_kept_to_folders_neither_sees_nor_reaches_sessions_elsewhere() {
    let mut script = writes();
    script.insert(1, vec![Say::Reply(calls(&[("p", "peers", "{}")]))]);
    let roots = Arc::from([PathBuf::from("/usr")]);
    let desk = posted_within(Parts::new(script, vec![]), Mode::OPEN, Some(roots));
    let surface = Direct::open(&desk).await;
    let at = |name: &str, cwd: &str| {
        let mut create = named_as(name);
        create["cwd"] = cwd.into();
        create
    };
    let stroke = done(&surface, "session/create", at("stroke", "/usr")).await;
    let bow = done(&surface, "session/create", at("bow", "/etc")).await;
    let go = of(stroke["session_id"].as_str().unwrap(), json!({ "prompt": "go" }));
    assert_eq!(done(&surface, "turn/start", go).await["text"], "sent");
    let results = format!("{:?}", desk.kit.model.requests().last().unwrap().messages);
    for words in ["no session with the name bow", "no other session has a name"] {
        assert!(results.contains(words), "{words}: {results}");
    }
    assert_eq!(waiting(&surface, bow["session_id"].as_str().unwrap()).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_model_sends_is_there_once_wherever_its_process_dies() {
    let (mut is_whole, mut again) = (false, 0);
    for (writes_left, last) in (0..14).flat_map(|n| [(n, LastWrite::Stored), (n, LastWrite::Lost)])
    {
        let store = MemoryStore::new(node("b"));
        let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 0, 0));
        let parts = Parts::on(store.clone(), writes(), vec![]);
        let desk = posted(Parts { journal: mortal.clone(), ..parts }, Mode::OPEN);
        let surface = Direct::open(&desk).await;
        let stroke = done(&surface, "session/create", named_as("stroke")).await;
        let bow = done(&surface, "session/create", named_as("bow")).await;
        let [stroke, bow] = [stroke, bow].map(|made| id(made["session_id"].as_str().unwrap()));
        mortal.doom(writes_left, last);
        let go = of(stroke.as_str(), json!({ "prompt": "go", "idempotency_key": "k" }));
        // It fails when the process dies meanwhile.
        drop(surface.call("turn/start", go.clone()).await);
        is_whole = !mortal.is_dead();
        mortal.die();
        let reader = Kit::of(Parts::on(store.clone(), vec![], vec![])).core;
        let was_sent = reader.state(&bow).await.unwrap().pending.len() == 1;
        let entries = reader.entries(&stroke, 0).await.unwrap();
        let has_asked = |entry: &Entry| matches!(entry.event, Event::AssistantMessage(_));
        let script = match entries.iter().any(has_asked) {
            true => vec![says("sent")],
            false => writes(),
        };
        let parts = Parts { name: "b", ..Parts::on(store, script, vec![]) };
        let next = posted(parts, Mode::OPEN);
        let load = LoadSession::new(stroke.clone(), Recovery::Continue);
        next.kit.core.open(Origin::Resume(load)).await.unwrap();
        let surface = Direct::open(&next).await;
        let turn = done(&surface, "turn/start", go).await;
        assert_eq!(turn["text"], "sent", "{writes_left} {last:?}: {turn}");
        let inputs = next.kit.core.state(&bow).await.unwrap().pending.len();
        assert_eq!(inputs, 1, "{writes_left} {last:?}");
        again += usize::from(!is_whole && was_sent);
    }
    assert!(is_whole && again > 0, "{again} had been sent when the process died");
}
