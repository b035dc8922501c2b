//! JSON-RPC as a client meets it: what the standard asks, requests at the same time, events, and the end.

use std::io::{BufRead, BufReader, PipeReader, Write, pipe};

use oarlock_core::service::ErrorCode;
use oarlock_server::Streams;
use oarlock_server::rpc::serve;
use oarlock_server::service::Caller;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::contract::{dawdles, says};
use super::sessions;
use super::wired::{Raw, request};
use crate::desk::{Desk, Folders};

/// A session whose first turn runs.
async fn begun(client: &mut Raw) -> String {
    let session = client.deferred().await;
    let go = json!({ "session_id": session, "prompt": "go", "wait_ms": 0 });
    client.call(-1, "turn/start", go).await;
    session
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused_as_the_standard_says() {
    let mut client = Raw::to(&Desk::new(vec![], vec![]));
    let cases = [
        ("{", json!(null), -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\u{fffd}", json!(null), -32700),
        ("[]", json!(null), -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"session/list"}]"#, json!(null), -32600),
        ("7", json!(null), -32600),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"session/list"}"#, json!(null), -32600),
        (r#"{"id":1,"method":"session/list"}"#, json!(1), -32600),
        (r#"{"jsonrpc":"1.0","id":"a","method":"session/list"}"#, json!("a"), -32600),
        (r#"{"jsonrpc":"2.0","id":2}"#, json!(2), -32600),
        (r#"{"jsonrpc":"2.0","id":2,"method":7}"#, json!(2), -32600),
        (r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, json!(2), -32600),
        (r#"{"jsonrpc":"2.0","id":3,"method":"session/list","more":1}"#, json!(3), -32600),
        (r#"{"jsonrpc":"2.0","id":4,"method":"session/lost"}"#, json!(4), -32601),
        (r#"{"jsonrpc":"2.0","id":5,"method":"session/list","params":[]}"#, json!(5), -32602),
        (r#"{"jsonrpc":"2.0","id":5,"method":"session/list","params":null}"#, json!(5), -32602),
        (r#"{"jsonrpc":"2.0","id":6,"method":"session/list","params":{"a":1}}"#, json!(6), -32602),
    ];
    for (line, id, code) in cases {
        let answer = client.told(line).await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{line}");
        assert_eq!(answer["error"]["data"]["code"], "INVALID_REQUEST", "{line}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    // The id comes back as it was written, and what has none is not answered.
    for id in ["12345678901234567890123", "1.50", "\"\\u00e9\"", "null", "-1"] {
        client.line(r#"{"jsonrpc":"2.0","method":"session/lost"}"#).await;
        client.line(r#"{"jsonrpc":"2.0","method":"session/list"}"#).await;
        client.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"session/list"}}"#)).await;
        let line = client.from.recv().await.unwrap();
        assert!(line.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#)), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_for_http_is_too_large_here() {
    let mut client = Raw::to(&Desk::new(vec![], vec![]));
    let session = client.deferred().await;
    let long = json!({ "session_id": session, "prompt": "x".repeat(4 << 20) });
    client.ask(1, "turn/start", long).await;
    let (answer, _) = client.answer(1).await;
    assert_eq!(answer["error"]["data"]["code"], "TOO_LARGE", "{answer}");
    let read = client.call(2, "session/read", json!({ "session_id": session })).await;
    assert_eq!(read["turns"], 0, "{read}");
}

#[test]
fn the_page_about_rpc_names_every_method_and_every_error() {
    let page = include_str!("../../../../../docs/rpc.md");
    for operation in oarlock_server::operations::operations() {
        assert!(page.contains(&format!("`{}`", operation.name)), "{}", operation.name);
    }
    for kind in ErrorCode::ALL {
        let row = kind.row();
        assert!(page.contains(&row.rpc.to_string()) && page.contains(row.code), "{}", row.code);
    }
}

#[tokio::test(start_paused = true)]
async fn every_method_of_the_table_is_answered() {
    let mut client = Raw::to(&Desk::new(vec![], vec![]));
    for (id, operation) in (1..).zip(oarlock_server::operations::operations()) {
        client.ask(id, operation.name, json!({ "session_id": "none", "colour": 1 })).await;
        let (answer, before) = client.answer(id).await;
        assert_eq!(before, Vec::<Value>::new());
        assert_ne!(answer["error"]["code"], -32601, "{}", operation.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_turn_keeps_nobody_waiting_and_is_interrupted_while_it_is_waited_for() {
    let mut client = Raw::to(&Desk::new(vec![dawdles("slowly")], vec![]));
    let session = begun(&mut client).await;
    client.ask(1, "turn/wait", json!({ "session_id": session })).await;
    let read = client.call(2, "session/read", json!({ "session_id": session })).await;
    assert_eq!(read["is_active"], true);
    client.ask(3, "turn/interrupt", json!({ "session_id": session })).await;
    let both = [client.next().await.unwrap(), client.next().await.unwrap()];
    let turn = both.iter().find(|answer| answer["id"] == 1).expect("the turn is answered");
    assert_eq!(turn["result"]["stop_reason"]["reason"], "cancelled", "{turn}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_answered_at_once_and_its_turn_goes_on() {
    let mut client = Raw::to(&Desk::new(vec![dawdles("to the end")], vec![]));
    let session = begun(&mut client).await;
    client.ask(1, "turn/wait", json!({ "session_id": session })).await;
    client.call(2, "session/read", json!({ "session_id": session })).await;
    client.ask(3, "rpc/cancel", json!({ "id": 1 })).await;
    let (answer, before) = client.answer(1).await;
    assert_eq!(answer["error"]["code"], -32800, "{answer}");
    if before.is_empty() {
        assert_eq!(client.answer(3).await.0["result"], json!({ "cancelled": true }));
    }
    let again = client.call(4, "rpc/cancel", json!({ "id": 1 })).await;
    assert_eq!(again, json!({ "cancelled": false }));
    let ended = client.call(5, "turn/wait", json!({ "session_id": session })).await;
    assert_eq!(ended["text"], "to the end");
}

#[tokio::test(start_paused = true)]
async fn an_id_under_way_is_not_taken_twice() {
    let mut client = Raw::to(&Desk::new(vec![dawdles("slowly")], vec![]));
    let session = client.deferred().await;
    client.ask(1, "turn/start", json!({ "session_id": session, "prompt": "go" })).await;
    client.ask(1, "session/read", json!({ "session_id": session })).await;
    let (answer, _) = client.answer(1).await;
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    let (answer, _) = client.answer(1).await;
    assert_eq!(answer["result"]["text"], "slowly");
}

#[tokio::test(start_paused = true)]
async fn one_request_too_many_is_refused_and_an_interrupt_never() {
    let mut client = Raw::to(&Desk::new(vec![dawdles("slowly")], vec![]));
    let session = begun(&mut client).await;
    client.ask(1, "turn/wait", json!({ "session_id": session })).await;
    client.call(2, "session/read", json!({ "session_id": session })).await;
    for id in 3..=65 {
        client.ask(id, "turn/wait", json!({ "session_id": session })).await;
    }
    client.ask(66, "turn/wait", json!({ "session_id": session })).await;
    let (answer, before) = client.answer(66).await;
    assert_eq!(before, Vec::<Value>::new());
    assert_eq!(answer["error"]["code"], -32008, "{answer}");
    assert_eq!(answer["error"]["data"]["code"], "OVERLOADED");
    assert!(answer["error"]["data"]["retry_after_ms"].is_u64());
    client.ask(67, "turn/interrupt", json!({ "session_id": session })).await;
    let mut ids: Vec<i64> = Vec::new();
    for _ in 0..65 {
        let answer = client.next().await.unwrap();
        assert_eq!(answer.get("error"), None);
        ids.push(answer["id"].as_i64().unwrap());
    }
    ids.sort_unstable();
    let others = (3..=65).chain([67]);
    assert_eq!(ids, [1].into_iter().chain(others).collect::<Vec<_>>());
    client.call(70, "session/read", json!({ "session_id": session })).await;
}

fn event(line: &Value) -> &Value {
    assert_eq!(line["method"], "session/event", "{line}");
    &line["params"]["event"]
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_told_every_entry_once_in_order_from_its_cursor_on() {
    let mut client = Raw::to(&Desk::new(vec![says("one"), says("two")], vec![]));
    let session = client.deferred().await;
    let all = client.call(1, "events/subscribe", json!({ "session_id": session })).await;
    client.call(2, "turn/start", json!({ "session_id": session, "prompt": "go" })).await;
    let read = client.call(3, "session/read", json!({ "session_id": session })).await;
    let cursor = read["cursor"].as_str().unwrap();
    let params = json!({ "session_id": session, "after": cursor });
    let later = client.call(4, "events/subscribe", params).await;
    assert_ne!(all, later, "each has a number of its own");
    client.ask(5, "turn/start", json!({ "session_id": session, "prompt": "go" })).await;
    let (_, seen) = client.answer(5).await;
    let mut seqs = Vec::new();
    for line in seen.iter().filter(|line| line["params"]["subscription"] == later["subscription"]) {
        assert_eq!(line["params"]["session_id"], session.as_str());
        seqs.extend(event(line)["entry"]["seq"].as_u64());
    }
    let first: u64 = cursor.parse().unwrap();
    let expected: Vec<u64> = (first + 1..).take(seqs.len()).collect();
    assert_eq!(seqs, expected);
    // Nothing follows the answer to whoever wants no more.
    client.ask(6, "events/unsubscribe", later.clone()).await;
    client.answer(6).await;
    client.ask(7, "turn/start", json!({ "session_id": session, "prompt": "go" })).await;
    let (_, seen) = client.answer(7).await;
    assert!(seen.iter().all(|l| l["params"]["subscription"] == all["subscription"]), "{seen:?}");
    client.ask(8, "events/unsubscribe", later).await;
    assert_eq!(client.answer(8).await.0["error"]["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_be_is_refused_with_the_errors_of_the_table() {
    let mut client = Raw::to(&Desk::new(vec![], vec![]));
    let session = client.deferred().await;
    let stranger = "01a1ffa1-0c86-70c2-afd9-4e292c035691";
    let cases = [
        (json!({ "session_id": stranger }), -32001),
        (json!({ "session_id": "../etc" }), -32001),
        (json!({ "session_id": session, "after": "99" }), -32602),
        (json!({ "session_id": session, "after": "+1" }), -32602),
        (json!({ "session_id": session, "since": "1" }), -32602),
        (json!({}), -32602),
    ];
    for (id, (params, code)) in (1..).zip(cases) {
        client.ask(id, "events/subscribe", params.clone()).await;
        assert_eq!(client.answer(id).await.0["error"]["code"], code, "{params}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_at_the_end_is_answered_first_and_no_turn_is_left_open() {
    for by_signal in [false, true] {
        let desk = Desk::new(vec![dawdles("slowly")], vec![]);
        let mut client = Raw::to(&desk);
        let session = begun(&mut client).await;
        client.ask(1, "turn/wait", json!({ "session_id": session })).await;
        client.call(2, "session/read", json!({ "session_id": session })).await;
        client.ask(3, "session/list", json!({})).await;
        match by_signal {
            false => client.to = None,
            true => {
                client.answer(3).await;
                client.stop.take().unwrap().send(()).unwrap();
            }
        }
        let (took, said) = client.end().await;
        assert!(took.as_millis() < 2_000, "{took:?}");
        let turn = said.iter().find(|answer| answer["id"] == 1);
        let turn = turn.unwrap_or_else(|| panic!("{by_signal} {took:?} {said:?}"));
        assert_eq!(turn["result"]["stop_reason"]["reason"], "cancelled", "{turn}");
        assert_eq!(said.iter().any(|answer| answer["id"] == 3), !by_signal);
        assert!(desk.kit.core.all_awake().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_ends_in_time_and_takes_bounded_memory() {
    // One that goes without reading.
    let mut client = Raw::to(&Desk::new(vec![], vec![]));
    for id in 0..100 {
        client.ask(id, "session/list", json!({})).await;
    }
    let begun = tokio::time::Instant::now();
    client.to = None;
    let served = client.served.join_next().await.unwrap().unwrap();
    assert!(begun.elapsed().as_millis() < 2_000, "{served:?}");
    // One that asks and asks.
    let mut client = Raw::to(&Desk::new(vec![], vec![]));
    let to = client.to.take().unwrap();
    let mut asked = 0;
    while to.send(Ok(request(asked, "session/list", &json!({})))).await.is_ok() {
        asked += 1;
    }
    assert!(asked < 500, "{asked} requests were taken");
    let ended = client.served.join_next().await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

/// Serves what comes in through a pipe in these pieces, one after the other, and gives the lines that come out.
fn served_in_pieces(bytes: &[u8], pieces: &[usize]) -> Vec<String> {
    let desk = Desk::new(vec![], vec![]);
    let (from, mut to) = pipe().expect("there are pipes");
    let (out, answers): (PipeReader, _) = pipe().expect("there are pipes");
    let (bytes, pieces) = (bytes.to_vec(), pieces.to_vec());
    let writing = std::thread::spawn(move || {
        let mut rest = &bytes[..];
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                return;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            to.write_all(now).expect("it is read");
            rest = later;
            std::thread::yield_now();
        }
    });
    let reading = std::thread::spawn(move || {
        BufReader::new(out).lines().map(|line| line.expect("it is UTF-8")).collect::<Vec<_>>()
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts");
    runtime.block_on(async {
        let streams = Streams::new(from, answers).expect("there are threads");
        let served =
            serve(sessions(&desk, Caller::trusted("rpc")), streams, std::future::pending()).await;
        served.expect("it ends in good order");
    });
    writing.join().expect("it wrote");
    reading.join().expect("it read")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn d11_a_request_that_arrives_in_pieces_is_whole(
        pieces in prop::collection::vec(1_usize..60, 1..40),
        words in prop::collection::vec("[a-z\u{e4}\u{1f6a3}\"\\\\]{0,40}", 1..24),
    ) {
        let mut sent = String::new();
        for (id, words) in words.iter().enumerate() {
            let params = json!({ "session_id": words });
            sent += &request(i64::try_from(id).unwrap(), "session/read", &params);
            sent += if id % 2 == 0 { "\n" } else { "\r\n\n" };
        }
        let lines = served_in_pieces(sent.as_bytes(), &pieces);
        prop_assert_eq!(lines.len(), words.len());
        for line in lines {
            let answer: Value = serde_json::from_str(&line).unwrap();
            let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
            let words = format!("there is no session {}", words[id]);
            prop_assert_eq!(answer["error"]["message"].as_str(), Some(&*words));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_panics_is_answered_and_leaves_its_id_and_its_place() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = Raw::to(&desk);
    let session = client.deferred().await;
    *desk.folders.lock().unwrap() = Folders::Cursed;
    for _ in 0..100 {
        client.ask(1, "session/create", json!({ "initial_turn": "defer" })).await;
        assert_eq!(client.answer(1).await.0["error"]["data"]["code"], "AGENT_ERROR");
    }
    *desk.folders.lock().unwrap() = Folders::Fine;
    client.call(1, "session/read", json!({ "session_id": session })).await;
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_subscription_that_never_began_is_answered() {
    let mut client = Raw::to(&Desk::new(vec![], vec![]));
    client.ask(1, "events/subscribe", json!({ "session_id": "none" })).await;
    client.ask(2, "events/unsubscribe", json!({ "subscription": 1 })).await;
    let (one, two) = (client.next().await.unwrap(), client.next().await.unwrap());
    assert_eq!(
        (&one["id"], &one["error"]["data"]["code"]),
        (&json!(1), &json!("SESSION_NOT_FOUND"))
    );
    assert_eq!((&two["id"], &two["error"]["data"]["code"]), (&json!(2), &json!("INVALID_REQUEST")));
}
