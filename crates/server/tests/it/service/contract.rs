//! What each operation promises, whatever surface it is asked through.

use std::marker::PhantomData;
use std::time::Duration;

use oarlock_testkit::model::{Say, text};
use serde_json::{Value, json};

use super::http::Http;
use super::unknown::a_field_that_no_request_has_is_refused_wherever_it_stands;
use super::wired::Wired;
use super::{Direct, Surface, deferred, done, refused};
use crate::desk::Desk;
use crate::stored;

pub(super) const STRANGER: &str = "01a1ffa1-0c86-70c2-afd9-4e292c035691";

pub(super) fn says(words: &'static str) -> Vec<Say> {
    vec![Say::Delta(words), Say::Reply(text(words))]
}

/// A model that begins to answer, then takes a minute.
pub(super) fn dawdles(words: &'static str) -> Vec<Say> {
    vec![Say::Delta(words), Say::Wait(60_000), Say::Reply(text(words))]
}

pub(super) fn of(session: &str, more: Value) -> Value {
    let mut params = more;
    params["session_id"] = session.into();
    params
}

async fn a_session_is_made_with_its_first_turn_and_answers_with_its_result<P: Program>() {
    let desk = P::desk(vec![says("yes")]);
    let surface = P::Surface::open(&desk).await;
    let made = done(&surface, "session/create", json!({ "prompt": "is it?" })).await;
    assert_eq!(made["state"], "ended", "{made}");
    assert_eq!(made["stop_reason"]["reason"], "end_turn");
    assert_eq!(made["text"], "yes");
    assert_eq!(made["turns"], 1);
    let session = made["session_id"].as_str().unwrap();
    let read = done(&surface, "session/read", of(session, json!({}))).await;
    assert_eq!(read["last_assistant_text"], "yes");
    assert_eq!(read["cursor"], made["cursor"], "nothing happened since");
    let listed = done(&surface, "session/list", json!({})).await;
    assert_eq!(listed["sessions"][0]["session_id"], session);
}

async fn a_deferred_session_is_there_before_its_first_turn_and_takes_no_prompt<P: Program>() {
    let desk = P::desk(vec![says("now")]);
    let surface = P::Surface::open(&desk).await;
    let lost = json!({ "initial_turn": "defer", "prompt": "hello" });
    assert_eq!(refused(&surface, "session/create", lost).await, "INVALID_REQUEST");
    let session = deferred(&surface).await;
    let listed = done(&surface, "session/list", json!({})).await;
    assert_eq!(listed["sessions"][0]["session_id"], session.as_str());
    let turn = done(&surface, "turn/start", of(&session, json!({ "prompt": "go" }))).await;
    assert_eq!(turn["text"], "now");
}

async fn of_two_turns_at_a_time_one_is_refused_at_once<P: Program>() {
    let desk = P::desk(vec![dawdles("slowly")]);
    let surface = P::Surface::open(&desk).await;
    let session = deferred(&surface).await;
    let go = || of(&session, json!({ "prompt": "go", "wait_ms": 0 }));
    let first = done(&surface, "turn/start", go()).await;
    assert_eq!(refused(&surface, "turn/start", go()).await, "SESSION_BUSY");
    let waited = of(&session, json!({ "input": first["input"] }));
    let ended = done(&surface, "turn/wait", waited).await;
    assert_eq!(ended["text"], "slowly");
}

async fn an_interrupt_ends_the_turn_and_an_idle_session_has_none<P: Program>() {
    let desk = P::desk(vec![dawdles("slowly"), says("again")]);
    let surface = P::Surface::open(&desk).await;
    let session = deferred(&surface).await;
    let idle = refused(&surface, "turn/interrupt", of(&session, json!({}))).await;
    assert_eq!(idle, "SESSION_NOT_RUNNING");
    let go = of(&session, json!({ "prompt": "go", "wait_ms": 0 }));
    let started = done(&surface, "turn/start", go).await;
    done(&surface, "turn/interrupt", of(&session, json!({}))).await;
    let waited = of(&session, json!({ "input": started["input"] }));
    let ended = done(&surface, "turn/wait", waited).await;
    assert_eq!(ended["stop_reason"]["reason"], "cancelled", "{ended}");
    let next = done(&surface, "turn/start", of(&session, json!({ "prompt": "more" }))).await;
    assert_eq!(next["text"], "again", "the session stays usable");
}

async fn an_archived_session_is_read_and_refuses_turns_until_it_is_restored<P: Program>() {
    let desk = P::desk(vec![dawdles("slowly"), says("again")]);
    let surface = P::Surface::open(&desk).await;
    let session = deferred(&surface).await;
    let go = |words: &str| of(&session, json!({ "prompt": words, "wait_ms": 0 }));
    done(&surface, "turn/start", go("go")).await;
    for _ in 0..2 {
        done(&surface, "session/archive", of(&session, json!({}))).await;
    }
    let read = done(&surface, "session/read", of(&session, json!({}))).await;
    assert_eq!((&read["archived"], &read["is_active"]), (&json!(true), &json!(false)));
    assert_eq!(refused(&surface, "turn/start", go("more")).await, "SESSION_ARCHIVED");
    for _ in 0..2 {
        done(&surface, "session/restore", of(&session, json!({}))).await;
    }
    let next = done(&surface, "turn/start", of(&session, json!({ "prompt": "more" }))).await;
    assert_eq!(next["text"], "again");
}

async fn a_request_with_a_key_has_one_effect_and_one_answer<P: Program>() {
    let desk = P::desk(vec![says("once"), says("twice")]);
    let surface = P::Surface::open(&desk).await;
    let create = json!({ "prompt": "hello", "idempotency_key": "k1" });
    let first = done(&surface, "session/create", create.clone()).await;
    let second = done(&surface, "session/create", create).await;
    assert_eq!(first, second);
    let other = json!({ "prompt": "goodbye", "idempotency_key": "k1" });
    assert_eq!(refused(&surface, "session/create", other).await, "INVALID_REQUEST");
    let session = first["session_id"].as_str().unwrap();
    let go = of(session, json!({ "prompt": "and now", "idempotency_key": "k2" }));
    let first = done(&surface, "turn/start", go.clone()).await;
    let second = done(&surface, "turn/start", go).await;
    assert_eq!((&first["text"], &first), (&json!("twice"), &second));
}

async fn every_operation_on_a_session_says_that_there_is_none<P: Program>() {
    let desk = P::desk(vec![]);
    let surface = P::Surface::open(&desk).await;
    for operation in oarlock_server::operations::operations() {
        if !operation.path.contains("{session_id}") {
            continue;
        }
        let asked = match operation.name {
            "turn/start" => json!({ "prompt": "go" }),
            "session/input" => json!({ "prompt": "go", "delivery": "queue" }),
            "session/withdraw" => json!({ "input": 3 }),
            "session/answer" => {
                json!({ "kind": "permission", "call": "c1", "choice": "allow_once" })
            }
            _ => json!({}),
        };
        for id in [STRANGER, "../../etc/passwd", ""] {
            let code = refused(&surface, operation.name, of(id, asked.clone())).await;
            assert_eq!(code, "SESSION_NOT_FOUND", "{} {id}", operation.name);
        }
    }
}

async fn what_is_not_understood_is_refused_and_never_ignored<P: Program>() {
    let desk = P::desk(vec![says("yes")]);
    let surface = P::Surface::open(&desk).await;
    let session = deferred(&surface).await;
    for operation in oarlock_server::operations::operations() {
        let mut asked = json!({ "prompt": "go", "colour": "red" });
        if operation.path.contains("{session_id}") {
            asked["session_id"] = session.as_str().into();
        }
        let refusal = surface.call(operation.name, asked).await.unwrap_err();
        assert_eq!(refusal.code, "INVALID_REQUEST", "{}", operation.name);
    }
}

async fn closing_a_session_answers_whoever_waits_for_its_turn<P: Program>() {
    let desk = P::desk(vec![dawdles("slowly"), says("again")]);
    let surface = P::Surface::open(&desk).await;
    let session = deferred(&surface).await;
    let go = of(&session, json!({ "prompt": "go", "wait_ms": 0 }));
    done(&surface, "turn/start", go).await;
    let waiting = done(&surface, "turn/wait", of(&session, json!({})));
    let closing = async {
        done(&surface, "session/read", of(&session, json!({}))).await;
        done(&surface, "session/close", of(&session, json!({}))).await
    };
    let (waited, _) = futures::future::join(waiting, closing).await;
    assert_eq!(waited["stop_reason"]["reason"], "cancelled", "{waited}");
    let read = done(&surface, "session/read", of(&session, json!({}))).await;
    assert_eq!((&read["is_awake"], &read["is_active"]), (&json!(false), &json!(false)));
    let next = done(&surface, "turn/start", of(&session, json!({ "prompt": "more" }))).await;
    assert_eq!(next["text"], "again");
}

async fn a_fork_goes_on_by_itself_and_its_source_stays_as_it_was<P: Program>() {
    let desk = P::desk(vec![says("one"), says("two"), says("three")]);
    let surface = P::Surface::open(&desk).await;
    let made = done(&surface, "session/create", json!({ "prompt": "first" })).await;
    let session = made["session_id"].as_str().unwrap();
    let second = done(&surface, "turn/start", of(session, json!({ "prompt": "second" }))).await;
    let asked = of(session, json!({ "at": made["cursor"], "title": "another way" }));
    let fork = done(&surface, "session/fork", asked).await;
    assert_eq!((&fork["title"], &fork["parent"]), (&json!("another way"), &json!(session)));
    assert_eq!(
        (&fork["last_assistant_text"], &fork["billing"]["total_tokens"]),
        (&json!("one"), &json!(0))
    );
    let fork = fork["session_id"].as_str().unwrap();
    let turn = done(&surface, "turn/start", of(fork, json!({ "prompt": "other" }))).await;
    assert_eq!(turn["text"], "three");
    let source = done(&surface, "session/read", of(session, json!({}))).await;
    assert_eq!(
        (&source["cursor"], &source["last_assistant_text"]),
        (&second["cursor"], &json!("two"))
    );
    done(&surface, "session/purge", of(session, json!({}))).await;
    let read = done(&surface, "session/read", of(fork, json!({}))).await;
    assert_eq!(read["last_assistant_text"], "three", "it is whole by itself");
    let beyond = of(fork, json!({ "at": "4000" }));
    assert_eq!(refused(&surface, "session/fork", beyond).await, "INVALID_REQUEST");
}

/// A session with a name, and what else it is built with.
pub(super) async fn named(surface: &dyn Surface, name: &str, more: Value) -> String {
    let mut build = more;
    build["comms_name"] = name.into();
    let asked = json!({ "initial_turn": "defer", "build": build });
    let made = done(surface, "session/create", asked).await;
    made["session_id"].as_str().expect("it has an id").to_owned()
}

async fn a_message_is_an_input_of_whom_it_is_written_to_once_for_each_key<P: Program>() {
    let desk = P::desk(vec![says("aye"), says("aye aye"), says("done")]);
    let surface = P::Surface::open(&desk).await;
    let stroke = named(&surface, "stroke", json!({})).await;
    let cox = named(&surface, "cox", json!({})).await;
    done(&surface, "session/close", of(&cox, json!({}))).await;
    let message =
        json!({ "to": "cox", "from": "stroke", "text": "faster", "idempotency_key": "k" });
    let first = done(&surface, "session/send", message.clone()).await;
    assert_eq!(first["session_id"], cox.as_str());
    let waited = of(&cox, json!({ "input": first["input"] }));
    assert_eq!(done(&surface, "turn/wait", waited.clone()).await["text"], "aye", "it woke");
    assert_eq!(done(&surface, "session/send", message).await["input"], first["input"]);
    let said = serde_json::to_string(&desk.kit.model.requests()[0].messages).unwrap();
    assert!(said.contains("[message from session stroke]") && said.contains("faster"), "{said}");
    let entries = done(&surface, "session/entries", of(&cox, json!({}))).await;
    let entries = entries["entries"].as_array().unwrap();
    let inputs: Vec<&Value> =
        entries.iter().filter(|entry| entry["event"]["type"] == "input_admitted").collect();
    let [input] = &inputs[..] else { panic!("{inputs:?}") };
    let data = &input["event"]["data"];
    let peer = json!({ "session": stroke, "name": "stroke", "kind": "message" });
    assert_eq!((&data["source"], &data["peer"]), (&json!("external"), &peer));
    let by_id = of(&cox, json!({ "kind": "request", "intent": "pace", "text": "how fast?" }));
    let second = done(&surface, "session/send", by_id).await;
    let waited = of(&cox, json!({ "input": second["input"] }));
    assert_eq!(done(&surface, "turn/wait", waited).await["text"], "aye aye");
    let said = serde_json::to_string(&desk.kit.model.requests()[1].messages).unwrap();
    assert!(said.contains("[request, intent pace]"), "a program writes as nobody: {said}");
}

async fn a_message_that_cannot_be_given_is_refused_and_leaves_nothing<P: Program>() {
    let desk = P::desk(vec![]);
    let surface = P::Surface::open(&desk).await;
    let cox = named(&surface, "cox", json!({})).await;
    let long = "x".repeat(65);
    for (wrong, code) in [
        (json!({ "to": "bow", "text": "x" }), "SESSION_NOT_FOUND"),
        (json!({ "to": "a b \u{0}", "text": "x" }), "SESSION_NOT_FOUND"),
        (json!({ "to": long, "text": "x" }), "SESSION_NOT_FOUND"),
        (json!({ "session_id": STRANGER, "text": "x" }), "SESSION_NOT_FOUND"),
        (json!({ "to": "cox", "from": "bow", "text": "x" }), "INVALID_REQUEST"),
        (json!({ "to": "cox", "kind": "notice", "text": "x" }), "INVALID_REQUEST"),
        (json!({ "to": "cox", "intent": "i", "text": "x" }), "INVALID_REQUEST"),
        (
            json!({ "to": "cox", "kind": "request", "intent": "a]b", "text": "x" }),
            "INVALID_REQUEST",
        ),
        (json!({ "to": "cox", "text": " " }), "INVALID_REQUEST"),
        (json!({ "to": "cox", "session_id": cox, "text": "x" }), "INVALID_REQUEST"),
        (json!({ "text": "x" }), "INVALID_REQUEST"),
        (
            json!({ "to": "cox", "text": "x", "idempotency_key": "k".repeat(257) }),
            "INVALID_REQUEST",
        ),
    ] {
        assert_eq!(refused(&surface, "session/send", wrong.clone()).await, code, "{wrong}");
    }
    let read = done(&surface, "session/read", of(&cox, json!({}))).await;
    assert_eq!(read["waiting"].as_array().map_or(0, Vec::len), 0, "{read}");
    done(&surface, "session/archive", of(&cox, json!({}))).await;
    for (to, code) in [
        (json!({ "to": "cox", "text": "x" }), "SESSION_NOT_FOUND"),
        (json!({ "session_id": cox, "text": "x" }), "SESSION_ARCHIVED"),
    ] {
        assert_eq!(refused(&surface, "session/send", to.clone()).await, code, "{to}");
    }
}

async fn one_session_has_a_name_until_it_is_archived_or_removed<P: Program>() {
    let desk = P::desk(vec![says("aye")]);
    let surface = P::Surface::open(&desk).await;
    let again = || json!({ "initial_turn": "defer", "build": { "comms_name": "cox" } });
    let first = named(&surface, "cox", json!({})).await;
    let refusal = surface.call("session/create", again()).await.unwrap_err();
    assert_eq!(refusal.code, "INVALID_REQUEST");
    assert!(refusal.message.contains("the name `cox`"), "{}", refusal.message);
    let fork = done(&surface, "session/fork", of(&first, json!({}))).await;
    let fork = fork["session_id"].as_str().unwrap();
    done(&surface, "session/archive", of(&first, json!({}))).await;
    let second = named(&surface, "cox", json!({})).await;
    let refusal = surface.call("session/restore", of(&first, json!({}))).await.unwrap_err();
    assert_eq!(refusal.code, "INVALID_REQUEST");
    assert!(refusal.message.contains("the name `cox`"), "{}", refusal.message);
    let read = done(&surface, "session/read", of(&first, json!({}))).await;
    assert_eq!(read["archived"], true);
    for _ in 0..2 {
        done(&surface, "session/archive", of(fork, json!({}))).await;
        done(&surface, "session/restore", of(fork, json!({}))).await;
    }
    done(&surface, "session/purge", of(&second, json!({}))).await;
    done(&surface, "session/restore", of(&first, json!({}))).await;
    let sent = done(&surface, "session/send", json!({ "to": "cox", "text": "hello" })).await;
    assert_eq!(sent["session_id"], first.as_str(), "a fork has no name");
}

async fn what_is_silent_begins_no_turn_and_is_shown_with_the_next<P: Program>() {
    let desk = P::desk(vec![says("aye"), says("so so")]);
    let surface = P::Surface::open(&desk).await;
    let about = json!({ "description": "steers", "labels": { "seat": "stern" } });
    let build = json!({ "peer_meta": about, "silent_comms_intents": ["weather"] });
    let cox = named(&surface, "cox", build).await;
    let waits = async || {
        let read = done(&surface, "session/read", of(&cox, json!({}))).await;
        assert_eq!((&read["turns"], &read["is_active"]), (&json!(0), &json!(false)));
        read["waiting"].as_array().map_or(0, Vec::len)
    };
    let weather = json!({ "to": "cox", "kind": "request", "intent": "weather", "text": "rain" });
    let sent = done(&surface, "session/send", weather).await;
    assert_eq!(sent["state"], "queued", "{sent}");
    done(&surface, "session/send", json!({ "to": "cox", "kind": "response", "text": "it is" }))
        .await;
    let meta = json!({ "description": "rows first" });
    let stroke = named(&surface, "stroke", json!({ "peer_meta": meta })).await;
    assert_eq!(waits().await, 3, "its peer has come");
    let bow = named(&surface, "bow", json!({})).await;
    assert_eq!(waits().await, 4);
    done(&surface, "session/archive", of(&bow, json!({}))).await;
    assert_eq!(waits().await, 3, "who came and went was never there");
    done(&surface, "session/close", of(&cox, json!({}))).await;
    let an_hour = tokio::time::timeout(Duration::from_secs(3600), std::future::pending::<()>());
    assert!(an_hour.await.is_err());
    assert!(desk.kit.model.requests().is_empty(), "no turn was begun");
    let listed = done(&surface, "session/peers", json!({})).await;
    let peers = listed["peers"].as_array().unwrap();
    let cox_told = json!({ "name": "cox", "session_id": cox, "description": "steers", "labels": { "seat": "stern" }, "state": "idle" });
    assert!(peers.len() == 2 && peers.contains(&cox_told), "{listed}");
    let one = done(&surface, "session/peers", json!({ "name": "stroke" })).await;
    assert_eq!((&one["peers"][0]["session_id"], &one["peers"][1]), (&json!(stroke), &Value::Null));
    let first = done(&surface, "session/peers", json!({ "limit": 1 })).await;
    let rest = json!({ "limit": 1, "cursor": first["next"] });
    let rest = done(&surface, "session/peers", rest).await;
    assert!(first["peers"][0] != rest["peers"][0] && rest["next"].is_null(), "{first} {rest}");
    done(&surface, "turn/start", of(&cox, json!({ "prompt": "go" }))).await;
    let said = serde_json::to_string(&desk.kit.model.requests()[0].messages).unwrap();
    let told = [
        "[request, intent weather]",
        "rain",
        "[response]",
        "[notice from session stroke]",
        "session stroke is here: rows first",
    ];
    for words in told {
        assert!(said.contains(words), "{words}: {said}");
    }
    let pace = json!({ "to": "cox", "kind": "request", "intent": "pace", "text": "how fast?" });
    let sent = done(&surface, "session/send", pace).await;
    let waited = of(&cox, json!({ "input": sent["input"] }));
    assert_eq!(done(&surface, "turn/wait", waited).await["text"], "so so", "others begin one");
}

async fn sessions_are_listed_by_what_was_said_and_when<P: Program>() {
    let desk = P::desk(vec![says("a heron"), says("an ibis")]);
    let surface = P::Surface::open(&desk).await;
    let mut made = Vec::new();
    for _ in 0..2 {
        let answer = done(&surface, "session/create", json!({ "prompt": "which bird?" })).await;
        let read = done(&surface, "session/read", json!({ "session_id": answer["session_id"] }));
        made.push(read.await);
        let clock = &desk.kit.core.ports().clock;
        clock.sleep_until(clock.now().after(5_000)).await;
    }
    let (heron, ibis) = (&made[0], &made[1]);
    for (query, meant) in [
        (json!({ "text": "HERON" }), vec![heron]),
        (json!({ "text": "bird which" }), vec![ibis, heron]),
        (json!({ "text": "albatross" }), vec![]),
        (json!({ "updated_after": heron["updated_at"] }), vec![ibis]),
        (json!({ "updated_before": ibis["updated_at"] }), vec![heron]),
        (json!({ "created_after": heron["created_at"], "text": "bird" }), vec![ibis]),
        (json!({ "created_before": ibis["created_at"] }), vec![heron]),
    ] {
        let listed = done(&surface, "session/list", query.clone()).await;
        let ids: Vec<_> =
            listed["sessions"].as_array().unwrap().iter().map(|s| &s["session_id"]).collect();
        let meant: Vec<_> = meant.into_iter().map(|session| &session["session_id"]).collect();
        assert_eq!(ids, meant, "{query}");
    }
    for wrong in [json!({ "text": "?!" }), json!({ "updated_after": "yesterday" })] {
        assert_eq!(refused(&surface, "session/list", wrong).await, "INVALID_REQUEST");
    }
}

async fn whole_numbers_may_have_a_point_and_inputs_are_those_of_the_session<P: Program>() {
    let desk = P::desk(vec![says("one")]);
    let surface = P::Surface::open(&desk).await;
    let limits = json!({ "turn": { "steps": 3.0 } });
    let asked = json!({ "initial_turn": "defer", "limits": limits });
    let made = done(&surface, "session/create", asked).await;
    let session = made["session_id"].as_str().unwrap();
    let read = done(&surface, "session/read", of(session, json!({}))).await;
    assert_eq!(read["settings"]["limits"]["turn"]["steps"], 3);
    let run = done(&surface, "turn/start", of(session, json!({ "prompt": "go" }))).await;
    let input = run["input"].as_f64().unwrap();
    let waited = done(&surface, "turn/wait", of(session, json!({ "input": input }))).await;
    assert_eq!(waited["text"], "one");
    let listed = done(&surface, "session/list", json!({ "limit": 1.0 })).await;
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
    for other in [json!(0), json!(1), json!(input + 1.0), json!(4000), json!(input + 0.5)] {
        let asked = of(session, json!({ "input": other }));
        assert_eq!(refused(&surface, "turn/wait", asked).await, "INVALID_REQUEST", "{other}");
    }
    for key in ["", " a", "a\n", "é", &"k".repeat(257)] {
        let asked = of(session, json!({ "prompt": "go", "idempotency_key": key }));
        assert_eq!(refused(&surface, "turn/start", asked).await, "INVALID_REQUEST", "{key}");
    }
}

/// A surface of a program over some store.
pub(super) trait Program {
    /// How it is asked.
    type Surface: Surface;

    /// What it is made of, with a model that says this.
    fn desk(script: Vec<Vec<Say>>) -> Desk;
}

/// One whose sessions end with it.
struct InMemory<S>(PhantomData<S>);

impl<S: Surface> Program for InMemory<S> {
    type Surface = S;

    fn desk(script: Vec<Vec<Say>>) -> Desk {
        Desk::new(script, vec![])
    }
}

/// One whose sessions lie on the disk.
struct OnDisk<S>(PhantomData<S>);

impl<S: Surface> Program for OnDisk<S> {
    type Surface = S;

    fn desk(script: Vec<Vec<Say>>) -> Desk {
        stored::desk(script)
    }
}

/// Every promise on every surface, over every store.
macro_rules! surfaces {
    ($($surface:ident: $type:ty),+ $(,)?) => {
        $(mod $surface {
            use super::*;

            mod in_memory {
                use super::*;
                promises!(InMemory<$type>);
            }

            mod on_disk {
                use super::*;
                promises!(OnDisk<$type>);
            }
        })+
    };
}

macro_rules! promises {
    ($type:ty) => {
        promises!($type:
            a_session_is_made_with_its_first_turn_and_answers_with_its_result,
            a_deferred_session_is_there_before_its_first_turn_and_takes_no_prompt,
            of_two_turns_at_a_time_one_is_refused_at_once,
            an_interrupt_ends_the_turn_and_an_idle_session_has_none,
            an_archived_session_is_read_and_refuses_turns_until_it_is_restored,
            a_request_with_a_key_has_one_effect_and_one_answer,
            every_operation_on_a_session_says_that_there_is_none,
            what_is_not_understood_is_refused_and_never_ignored,
            closing_a_session_answers_whoever_waits_for_its_turn,
            a_fork_goes_on_by_itself_and_its_source_stays_as_it_was,
            a_message_is_an_input_of_whom_it_is_written_to_once_for_each_key,
            a_message_that_cannot_be_given_is_refused_and_leaves_nothing,
            one_session_has_a_name_until_it_is_archived_or_removed,
            what_is_silent_begins_no_turn_and_is_shown_with_the_next,
            a_field_that_no_request_has_is_refused_wherever_it_stands,
            sessions_are_listed_by_what_was_said_and_when,
            whole_numbers_may_have_a_point_and_inputs_are_those_of_the_session,
        );
    };
    ($type:ty: $($promise:ident),+ $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $promise() {
            super::super::$promise::<$type>().await;
        })+
    };
}

surfaces!(direct: Direct, http: Http, rpc: Wired);
