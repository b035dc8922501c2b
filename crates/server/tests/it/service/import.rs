//! Sessions that were exported elsewhere, taken over by tenants.

use oarlock_core::ids::{Hash, SessionId, Tenant};
use oarlock_core::ports::journal::{Frame, Journal, TenantFilter};
use oarlock_core::spec::Mode;
use oarlock_server::portable::{Line, VERSION};
use oarlock_server::service::Caller;
use oarlock_testkit::kit::{Kit, Parts};
use serde_json::{Value, json};

use super::contract::{of, says};
use super::{Direct, Surface, done, refused, sessions};
use crate::desk::{Desk, id};

/// A picture.
const THEIRS: &[u8] = b"\x89PNG\r\n\x1a\nof another!!";

fn of_tenant(desk: &Desk, name: &str) -> Direct {
    let tenant = Some(TenantFilter::Of(Tenant::parse(name).unwrap()));
    Direct(sessions(desk, Caller { tenant, ..Caller::trusted("test") }))
}

/// The lines of a session's export, without bodies.
async fn exported(kit: &Kit, session: &SessionId) -> Vec<Line> {
    let frames = Journal::read(&*kit.core.ports().journal, session, 0, usize::MAX).await.unwrap();
    let head = frames.last().map_or(Hash::default(), Frame::hash);
    let mut lines = vec![Line::Export { version: VERSION, session: session.clone() }];
    lines.extend(frames.into_iter().map(|frame| Line::Frame {
        id: frame.id,
        epoch: frame.epoch,
        first: frame.first,
        count: frame.count,
        prev: frame.prev,
        body: String::from_utf8(frame.body.to_vec()).unwrap(),
    }));
    lines.push(Line::End { head });
    lines
}

fn file(lines: &[Line]) -> Value {
    let lines: Vec<String> =
        lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    json!({ "journal": lines.join("\n") + "\n" })
}

/// A session with a name and a turn, in a program of its own; its export.
async fn elsewhere() -> Vec<Line> {
    let parts = Parts::new(vec![says("an answer of the heron")], vec![]);
    let desk = Desk::of(Parts { name: "elsewhere", ..parts }, Mode::OPEN);
    let surface = Direct::open(&desk).await;
    let create =
        json!({ "prompt": "go", "idempotency_key": "k", "build": { "comms_name": "cox" } });
    let made = done(&surface, "session/create", create).await;
    let session = id(made["session_id"].as_str().unwrap());
    done(&surface, "session/close", of(session.as_str(), json!({}))).await;
    exported(&desk.kit, &session).await
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_imported_is_its_tenants_has_its_past_and_goes_on() {
    let lines = elsewhere().await;
    let desk = Desk::new(vec![says("more")], vec![]);
    let (ours, theirs) = (of_tenant(&desk, "acme"), of_tenant(&desk, "other"));
    let view = done(&ours, "session/import", file(&lines)).await;
    let session = view["session_id"].as_str().unwrap();
    let Line::Export { session: there, .. } = &lines[0] else { panic!("it begins with a header") };
    assert_ne!(session, there.as_str(), "an id that is taken would tell of others");
    assert_eq!(refused(&theirs, "session/read", of(session, json!({}))).await, "SESSION_NOT_FOUND");
    let found = done(&ours, "session/search", json!({ "query": "heron" })).await;
    assert_eq!(found["hits"].as_array().unwrap().len(), 1, "{found}");
    let peers = done(&ours, "session/peers", json!({})).await;
    assert_eq!(peers["peers"][0]["name"], "cox", "{peers}");
    let turn = done(&ours, "turn/start", of(session, json!({ "prompt": "on" }))).await;
    assert_eq!((&turn["text"], &turn["turn"]), (&json!("more"), &json!(2)), "{turn}");
    let asked = format!("{:?}", desk.kit.model.requests()[0].messages);
    assert!(asked.contains("an answer of the heron"), "{asked}");
    let spec = desk.kit.core.state(&id(session)).await.unwrap().spec;
    assert_eq!(spec.request, None, "a key of elsewhere is none here");
    // Its name is taken by now; another tenant has its own.
    assert_eq!(refused(&ours, "session/import", file(&lines)).await, "INVALID_REQUEST");
    done(&theirs, "session/import", file(&lines)).await;
    assert_eq!(
        done(&ours, "session/list", json!({})).await["sessions"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_sees_all_sessions_gets_it_under_its_id_and_once() {
    let lines = elsewhere().await;
    let desk = Desk::new(vec![], vec![]);
    let surface = Direct::open(&desk).await;
    let view = done(&surface, "session/import", file(&lines)).await;
    let Line::Export { session, .. } = &lines[0] else { panic!("it begins with a header") };
    assert_eq!(view["session_id"], session.as_str());
    let again = surface.call("session/import", file(&lines)).await.unwrap_err();
    assert!(again.code == "INVALID_REQUEST" && again.message.contains("here already"), "{again:?}");
    assert_eq!(desk.kit.core.state(session).await.unwrap().turns, 1, "it stays as it was");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_whole_export_or_names_bodies_of_others_leaves_nothing() {
    let whole = elsewhere().await;
    let desk = Desk::new(vec![], vec![]);
    let secret = desk.kit.core.ports().blobs.put(THEIRS.into()).await.unwrap();
    let changed = |from: &str, to: &str| {
        let text = file(&whole)["journal"].as_str().unwrap().replace(from, to);
        json!({ "journal": text })
    };
    let named = {
        let kit = Kit::of(Parts::new(vec![], vec![]));
        let image =
            json!([{ "type": "image", "media_type": "image/png", "blob": secret, "bytes": 20 }]);
        let desk = Desk::with(kit, Mode::OPEN);
        desk.kit.core.ports().blobs.put(THEIRS.into()).await.unwrap();
        let surface = Direct::open(&desk).await;
        let made = done(&surface, "session/create", json!({ "prompt": image, "wait_ms": 0 })).await;
        let session = id(made["session_id"].as_str().unwrap());
        done(&surface, "session/close", of(session.as_str(), json!({}))).await;
        exported(&desk.kit, &session).await
    };
    let short = json!({ "journal": file(&whole)["journal"].as_str().unwrap().lines().take(3).collect::<Vec<_>>().join("\n") });
    let ours = of_tenant(&desk, "acme");
    for (journal, words) in [
        (file(&named), "which the file lacks"),
        (short, "not whole"),
        (changed("an answer of the heron", "an answer of the bittern"), "line"),
        (json!({ "journal": "{}" }), "does not begin"),
    ] {
        let refusal = ours.call("session/import", journal).await.unwrap_err();
        assert!(
            refusal.code == "INVALID_REQUEST" && refusal.message.contains(words),
            "{refusal:?}"
        );
        let left = done(&Direct::open(&desk).await, "session/list", json!({})).await;
        assert_eq!(left["sessions"].as_array().unwrap().len(), 0, "{words}");
    }
    let outside = Caller { within: Some(["/srv".into()].into()), ..Caller::trusted("test") };
    let outside = Direct(sessions(&desk, outside));
    assert_eq!(refused(&outside, "session/import", file(&whole)).await, "FORBIDDEN");
}
