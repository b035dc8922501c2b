//! The defects of a service that others built: each must stay impossible here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join, join_all};
use oarlock_core::SessionId;
use oarlock_core::event::Effect;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Content, Message, ReplyStop};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::service::{
    CreateSessionRequest, Cursor, ErrorCode, SessionService, StartTurnRequest,
};
use oarlock_core::spec::Mode;
use oarlock_testkit::gated::{Asked, GatedJournal, stuck, through};
use oarlock_testkit::kit::{Parts, node};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::contract::{dawdles, of, says};
use super::{Direct, Surface, deferred, done, refused};
use crate::desk::{Desk, Folders, id};

/// A program whose store takes no entries, or gives none, while the test says so.
fn hanging(script: Vec<Vec<Say>>) -> (Desk, Arc<AtomicBool>, Arc<AtomicBool>) {
    let (no_append, no_read) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (appends, reads) = (Arc::clone(&no_append), Arc::clone(&no_read));
    let parts = Parts::on(MemoryStore::new(node("a")), script, vec![]);
    let journal = GatedJournal::new(parts.store.clone(), move |asked, _| match asked {
        Asked::Append if appends.load(SeqCst) => stuck(),
        Asked::Read if reads.load(SeqCst) => stuck(),
        _ => through(),
    });
    (Desk::of(Parts { journal, ..parts }, Mode::OPEN), no_append, no_read)
}

#[tokio::test(start_paused = true)]
async fn d01_reading_waits_for_no_turn_and_for_no_write() {
    let (desk, no_append, _) = hanging(vec![vec![Say::Wait(5_000), Say::Reply(text("late"))]]);
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    let go = of(&session, json!({ "prompt": "go", "wait_ms": 0 }));
    done(&surface, "turn/start", go).await;
    no_append.store(true, SeqCst);
    // The next entry is never taken: the model's answer, or the end by this interrupt.
    let meant = id(&session);
    let interrupting = surface.0.interrupt(&meant).map(drop);
    let looking = async {
        let begun = Instant::now();
        for _ in 0..100 {
            let read = done(&surface, "session/read", of(&session, json!({}))).await;
            assert_eq!(read["is_active"], true);
            done(&surface, "session/list", json!({})).await;
            done(&surface, "session/entries", of(&session, json!({}))).await;
        }
        begun.elapsed()
    };
    let ((), took) = join(interrupting, looking).await;
    assert!(took < Duration::from_secs(60), "{took:?}");
    no_append.store(false, SeqCst);
    let next = done(&surface, "turn/start", of(&session, json!({ "prompt": "go on" }))).await;
    assert_eq!(next["stop_reason"]["reason"], "end_turn", "{next}");
}

#[tokio::test(start_paused = true)]
async fn d01_a_store_that_does_not_answer_is_an_error_in_time() {
    let (desk, _, no_read) = hanging(vec![]);
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    no_read.store(true, SeqCst);
    for name in ["session/read", "session/entries", "session/why", "session/tasks", "turn/wait"] {
        let asked = refused(&surface, name, of(&session, json!({})));
        let code = timeout(Duration::from_secs(15), asked).await.expect(name);
        assert_eq!(code, "SESSION_STORE_ERROR", "{name}");
    }
    no_read.store(false, SeqCst);
    done(&surface, "session/read", of(&session, json!({}))).await;
}

#[tokio::test(start_paused = true)]
async fn d02_a_sink_that_nobody_drains_holds_no_turn_up() {
    let desk = Desk::new(vec![says("one"), dawdles("two"), says("three")], vec![]);
    let surface = Direct::open(&desk).await;
    let session = id(&deferred(&surface).await);
    let (full, kept) = mpsc::channel(1);
    let start = |event_tx| StartTurnRequest {
        prompt: "go".into(),
        event_tx: Some(event_tx),
        ..StartTurnRequest::default()
    };
    let begun = Instant::now();
    let ended = surface.0.start_turn(&session, start(full.clone())).await.unwrap();
    assert_eq!(ended.text, "one");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // An interrupt is no slower for it.
    let (turn, ()) = join(surface.0.start_turn(&session, start(full)), async {
        while desk.kit.core.state(&session).await.unwrap().turn.is_none() {
            tokio::task::yield_now().await;
        }
        surface.0.interrupt(&session).await.unwrap();
    })
    .await;
    assert_eq!(json!(turn.unwrap().stop_reason)["reason"], "cancelled");
    // One whose reader has gone, neither.
    let (gone, _) = mpsc::channel(1);
    assert_eq!(surface.0.start_turn(&session, start(gone)).await.unwrap().text, "three");
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn d03_an_interrupt_is_never_lost_and_hits_no_later_turn() {
    let desk = Desk::new(vec![dawdles("one"), says("two")], vec![]);
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    let go = of(&session, json!({ "prompt": "go", "wait_ms": 0 }));
    let first = done(&surface, "turn/start", go).await;
    // At once after it was admitted, before anything else of it has happened.
    done(&surface, "turn/interrupt", of(&session, json!({}))).await;
    let asked = of(&session, json!({ "input": first["input"] }));
    let ended = done(&surface, "turn/wait", asked).await;
    assert_eq!(ended["stop_reason"]["reason"], "cancelled");
    let late = of(&session, json!({ "turn": ended["turn"] }));
    let (next, late) = join(
        done(&surface, "turn/start", of(&session, json!({ "prompt": "on" }))),
        refused(&surface, "turn/interrupt", late),
    )
    .await;
    assert_eq!((next["text"].as_str(), late.as_str()), (Some("two"), "SESSION_NOT_RUNNING"));
}

#[tokio::test(start_paused = true)]
async fn d04_archiving_stops_the_running_turn_and_its_tools() {
    let tool = TestTool::new("work", Effect::Idempotent, Act::After(60_000, "done"));
    let ask = calls(&[("c1", "work", "{}")]);
    let desk = Desk::new(vec![vec![Say::Reply(ask)]], vec![Arc::clone(&tool)]);
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    let go = of(&session, json!({ "prompt": "go" }));
    let (turn, archived_within) = join(done(&surface, "turn/start", go), async {
        while tool.runs() == 0 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        done(&surface, "session/archive", of(&session, json!({}))).await;
        begun.elapsed()
    })
    .await;
    assert_eq!(turn["stop_reason"]["reason"], "cancelled");
    assert!(archived_within < Duration::from_millis(500), "{archived_within:?}");
    let before = done(&surface, "session/entries", of(&session, json!({}))).await;
    pass(120_000).await;
    let after = done(&surface, "session/entries", of(&session, json!({}))).await;
    let of_work = |entries: &Value| {
        let all = entries["entries"].as_array().unwrap().clone();
        all.into_iter().filter(|entry| entry["turn"].is_number()).count()
    };
    assert_eq!(of_work(&before), of_work(&after), "nothing of the turn happens any more");
}

/// Lets time pass.
async fn pass(ms: u64) {
    drop(timeout(Duration::from_millis(ms), std::future::pending::<()>()).await);
}

#[tokio::test(start_paused = true)]
async fn d05_a_turn_is_saved_whoever_waits_for_it_and_however_it_ends() {
    let fails = vec![Say::Fail(ModelErrorKind::InvalidRequest, None)];
    let slow = || vec![Say::Delta("half"), Say::Wait(60_000), Say::Reply(text("whole"))];
    let desk = Desk::new(vec![slow(), fails, slow()], vec![]);
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    // Whoever asked goes away in the middle.
    let asked = surface.0.clone();
    let of_session = id(&session);
    let start = async move {
        let request = StartTurnRequest { prompt: "go".into(), ..StartTurnRequest::default() };
        asked.start_turn(&of_session, request).await
    };
    assert!(timeout(Duration::from_secs(1), start).await.is_err());
    let ended = done(&surface, "turn/wait", of(&session, json!({}))).await;
    assert_eq!(ended["text"], "whole");
    // It fails.
    let failed = refused(&surface, "turn/start", of(&session, json!({ "prompt": "go" }))).await;
    assert_eq!(failed, "AGENT_ERROR");
    // It is interrupted.
    done(&surface, "turn/start", of(&session, json!({ "prompt": "go", "wait_ms": 100 }))).await;
    done(&surface, "turn/interrupt", of(&session, json!({}))).await;
    done(&surface, "turn/wait", of(&session, json!({}))).await;
    let entries = done(&surface, "session/entries", of(&session, json!({}))).await;
    let of_type = |kind: &str| {
        let all = entries["entries"].as_array().unwrap().iter();
        all.filter(|e| e["event"]["type"] == kind).cloned().collect::<Vec<_>>()
    };
    let stops: Vec<Value> = of_type("turn_ended")
        .iter()
        .map(|e| e["event"]["data"]["stop"]["reason"].clone())
        .collect();
    assert_eq!(stops, ["end_turn", "failed", "cancelled"], "{entries}");
    let last = of_type("assistant_message").pop().unwrap();
    assert_eq!(
        last["event"]["data"]["blocks"][0]["content"]["text"], "half",
        "what was said is kept: {last}"
    );
}

#[tokio::test(start_paused = true)]
async fn d06_a_first_turn_that_fails_names_its_session_which_goes_on() {
    let fails = vec![Say::Fail(ModelErrorKind::Auth, None)];
    let desk = Desk::new(vec![fails, says("better")], vec![]);
    let surface = Direct::open(&desk).await;
    let request = CreateSessionRequest { prompt: "go".into(), ..CreateSessionRequest::default() };
    let error = surface.0.create_session(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorCode::ProviderError);
    let details = error.details.unwrap();
    let session = details["session_id"].as_str().unwrap();
    let next = done(&surface, "turn/start", of(session, json!({ "prompt": "again" }))).await;
    assert_eq!(next["text"], "better");
    // What cannot be made leaves nothing.
    let before = done(&surface, "session/list", json!({})).await;
    refused(&surface, "session/create", json!({ "prompt": "go", "model": "no/such" })).await;
    refused(&surface, "session/create", json!({ "prompt": "go", "cwd": "not/absolute" })).await;
    assert_eq!(done(&surface, "session/list", json!({})).await, before);
}

#[tokio::test(start_paused = true)]
async fn d07_sessions_leave_memory_when_they_are_closed_or_idle_and_are_there_all_the_same() {
    let desk = Desk::new(vec![], vec![]);
    let surface = Direct::open(&desk).await;
    let made = (0..300).map(|_| done(&surface, "session/create", json!({ "prompt": "go" })));
    let made = join_all(made).await;
    assert_eq!(desk.kit.core.all_awake().len(), 300);
    for session in made.iter().take(100) {
        let session = session["session_id"].as_str().unwrap();
        done(&surface, "session/close", of(session, json!({}))).await;
    }
    assert_eq!(desk.kit.core.all_awake().len(), 200);
    pass(24 * 3_600_000).await;
    assert_eq!(desk.kit.core.all_awake().len(), 0, "none is kept for nothing");
    for session in [&made[0], &made[299]] {
        let go = of(session["session_id"].as_str().unwrap(), json!({ "prompt": "on" }));
        assert_eq!(done(&surface, "turn/start", go).await["text"], "done");
    }
}

#[tokio::test(start_paused = true)]
async fn d08_what_a_model_is_shown_after_an_interrupt_has_a_result_for_each_call() {
    let tools = [("a", Act::After(60_000, "done")), ("b", Act::Hang)];
    let tools = tools.map(|(name, act)| TestTool::new(name, Effect::Idempotent, act));
    let ask = calls(&[("c1", "a", "{}"), ("c2", "b", "{}")]);
    let desk = Desk::new(vec![vec![Say::Reply(ask)], says("on")], tools.to_vec());
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    let go = of(&session, json!({ "prompt": "go", "wait_ms": 100 }));
    done(&surface, "turn/start", go).await;
    done(&surface, "turn/interrupt", of(&session, json!({}))).await;
    done(&surface, "turn/wait", of(&session, json!({}))).await;
    done(&surface, "turn/start", of(&session, json!({ "prompt": "go on" }))).await;
    let request = desk.kit.model.requests().pop().unwrap();
    let mut open: Vec<String> = Vec::new();
    for message in request.messages.iter() {
        match message {
            Message::Assistant { blocks } => {
                assert_eq!(open, Vec::<String>::new(), "an answer follows the results");
                open.extend(blocks.iter().filter_map(|block| match &block.content {
                    Content::ToolCall { id, .. } => Some(id.to_string()),
                    _ => None,
                }));
            }
            Message::Tool { results } => {
                open.retain(|open| results.iter().all(|result| *open != result.call.to_string()));
            }
            Message::User { .. } => assert_eq!(open, Vec::<String>::new(), "results come first"),
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn d09_a_limit_that_is_reached_is_said() {
    let tool = TestTool::new("work", Effect::Pure, Act::Give("done".into()));
    let ask = |id| vec![Say::Reply(calls(&[(id, "work", "{}")]))];
    let mut cut = text("and so");
    cut.stop = ReplyStop::MaxTokens;
    let desk = Desk::new(vec![ask("c1"), ask("c2"), vec![Say::Reply(cut)]], vec![tool]);
    let surface = Direct::open(&desk).await;
    let steps = json!({ "prompt": "go", "limits": { "turn": { "steps": 2 } } });
    let ended = done(&surface, "session/create", steps).await;
    assert_eq!(ended["stop_reason"], json!({ "reason": "limit", "class": "steps" }), "{ended}");
    let go = of(ended["session_id"].as_str().unwrap(), json!({ "prompt": "on" }));
    let ended = done(&surface, "turn/start", go).await;
    assert_eq!(ended["stop_reason"]["reason"], "max_tokens", "{ended}");
}

#[tokio::test(start_paused = true)]
async fn d10_pages_neither_repeat_nor_leave_out_a_session_while_others_come_and_go() {
    let desk = Desk::new(vec![], vec![]);
    let surface = Direct::open(&desk).await;
    let mut made = Vec::new();
    for _ in 0..9 {
        made.push(deferred(&surface).await);
        pass(10).await;
    }
    let mut seen = Vec::new();
    let mut page = json!({ "limit": 2 });
    for turn in 0.. {
        let listed = done(&surface, "session/list", page).await;
        let names = listed["sessions"].as_array().unwrap().iter();
        seen.extend(names.map(|s| s["session_id"].as_str().unwrap().to_owned()));
        // One that was seen goes, one that was not is used, and a new one comes.
        if turn == 0 {
            done(&surface, "session/purge", of(&made[8], json!({}))).await;
            done(&surface, "session/purge", of(&made[4], json!({}))).await;
            deferred(&surface).await;
        }
        match listed["next"].as_str() {
            Some(next) => page = json!({ "limit": 2, "cursor": next }),
            None => break,
        }
    }
    let expected: Vec<String> = [8, 7, 6, 5, 3, 2, 1, 0].map(|at| made[at].clone()).to_vec();
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn d12_of_two_who_wake_a_session_one_has_its_turn_and_the_other_is_told_that_it_is_busy() {
    let desk = Desk::new(vec![says("one"), dawdles("two")], vec![]);
    let surface = Direct::open(&desk).await;
    let made = done(&surface, "session/create", json!({ "prompt": "go" })).await;
    let session = made["session_id"].as_str().unwrap();
    done(&surface, "session/close", of(session, json!({}))).await;
    let go = || surface.call("turn/start", of(session, json!({ "prompt": "go on" })));
    let (first, second) = join(go(), go()).await;
    let (won, lost) = if first.is_ok() { (first, second) } else { (second, first) };
    assert_eq!(won.unwrap()["text"], "two");
    assert_eq!(lost.unwrap_err().code, "SESSION_BUSY");
    assert_eq!(desk.kit.core.state(&id(session)).await.unwrap().epoch, 2, "it was opened once");
}

#[tokio::test(start_paused = true)]
async fn d13_what_is_asked_otherwise_holds_awake_or_asleep_or_is_refused() {
    let desk = Desk::new(vec![], vec![]);
    let surface = Direct::open(&desk).await;
    for is_awake in [true, false] {
        let session = deferred(&surface).await;
        if !is_awake {
            done(&surface, "session/close", of(&session, json!({}))).await;
        }
        let change = json!({ "title": "new", "limits": { "turn": { "steps": 1 } } });
        let view = done(&surface, "session/configure", of(&session, change)).await;
        assert_eq!(
            (&view["title"], &view["settings"]["limits"]["turn"]["steps"]),
            (&json!("new"), &json!(1))
        );
        done(&surface, "turn/start", of(&session, json!({ "prompt": "go" }))).await;
        let state = desk.kit.core.state(&id(&session)).await.unwrap();
        assert_eq!(state.spec.settings.limits.turn.steps, Some(1));
        // A turn takes no settings of its own; saying some is refused, not ignored.
        for more in ["model", "limits", "max_tokens", "output_schemas"] {
            let mut go = of(&session, json!({ "prompt": "go" }));
            go[more] = json!("x");
            assert_eq!(refused(&surface, "turn/start", go).await, "INVALID_REQUEST", "{more}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn d14_a_retry_waits_for_as_long_as_the_provider_asks_and_is_an_entry() {
    let fails = vec![Say::Fail(ModelErrorKind::RateLimited, Some(30_000))];
    let desk = Desk::new(vec![fails, says("at last")], vec![]);
    let surface = Direct::open(&desk).await;
    let begun = Instant::now();
    let made = done(&surface, "session/create", json!({ "prompt": "go" })).await;
    assert_eq!(made["text"], "at last");
    assert!(begun.elapsed() >= Duration::from_secs(30), "{:?}", begun.elapsed());
    let session = made["session_id"].as_str().unwrap();
    let entries = done(&surface, "session/entries", of(session, json!({}))).await;
    let failed = entries["entries"].as_array().unwrap().iter();
    let failed = failed.filter(|entry| entry["event"]["type"] == "model_failed").count();
    assert_eq!(failed, 1, "{entries}");
}

#[tokio::test(start_paused = true)]
async fn d15_a_failure_is_told_by_its_kind_and_not_by_its_words() {
    let kinds = [
        (ModelErrorKind::Auth, "auth"),
        (ModelErrorKind::QuotaExhausted, "quota_exhausted"),
        (ModelErrorKind::InvalidRequest, "invalid_request"),
        (ModelErrorKind::ModelNotFound, "model_not_found"),
    ];
    let script = kinds.iter().map(|(kind, _)| vec![Say::Fail(*kind, None)]).collect();
    let surface = Direct::open(&Desk::new(script, vec![])).await;
    for (_, class) in kinds {
        let refusal = surface.call("session/create", json!({ "prompt": "go" })).await.unwrap_err();
        assert_eq!((&*refusal.code, &refusal.details["class"]), ("AGENT_ERROR", &json!(class)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_broken_or_silent_keeps_nobody_from_reading_closing_and_removing() {
    let desk = Desk::new(vec![], vec![]);
    let direct = Direct::open(&desk).await;
    for folders in [Folders::Broken, Folders::Hung] {
        *desk.folders.lock().unwrap() = Folders::Fine;
        let session = deferred(&direct).await;
        let named = json!({ "session_id": session });
        done(&direct, "session/close", named.clone()).await;
        *desk.folders.lock().unwrap() = folders;
        for name in ["session/read", "session/why", "session/tasks", "session/entries"] {
            done(&direct, name, named.clone()).await;
        }
        let id = SessionId::parse(session.as_str()).unwrap();
        direct.0.subscribe_session_events(&id, Cursor(0)).await.unwrap();
        let go = json!({ "session_id": session, "prompt": "go" });
        let begun = Instant::now();
        assert_eq!(refused(&direct, "turn/start", go).await, "AGENT_ERROR");
        assert!(begun.elapsed() <= Duration::from_secs(11), "{:?}", begun.elapsed());
        for name in ["session/archive", "session/close", "session/purge"] {
            done(&direct, name, named.clone()).await;
        }
        assert_eq!(refused(&direct, "session/read", named).await, "SESSION_NOT_FOUND");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_with_another_input_is_refused_and_so_is_an_empty_one() {
    let surface = Direct::open(&Desk::new(vec![says("once"), says("twice")], vec![])).await;
    let session = deferred(&surface).await;
    let ask =
        |prompt: &str, key: &str| of(&session, json!({ "prompt": prompt, "idempotency_key": key }));
    let first = done(&surface, "turn/start", ask("go", "k")).await;
    assert_eq!(done(&surface, "turn/start", ask("go", "k")).await["input"], first["input"]);
    assert_eq!(refused(&surface, "turn/start", ask("come", "k")).await, "INVALID_REQUEST");
    let mut queued = ask("go", "k");
    queued["delivery"] = json!("queue");
    assert_eq!(refused(&surface, "session/input", queued).await, "INVALID_REQUEST");
    assert_eq!(refused(&surface, "turn/start", ask("go", "")).await, "INVALID_REQUEST");
    let other = done(&surface, "turn/start", ask("come", "other")).await;
    assert_ne!(other["input"], first["input"]);
}
