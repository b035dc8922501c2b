//! What a client adds to the system prompt of its sessions, and what it is told of their tokens: parts of the protocol that are not stable yet.

use oarlock_core::message::Usage;
use oarlock_core::ports::model::Reply;
use oarlock_testkit::model::{Say, text};
use serde_json::{Value, json};

use crate::desk::{Client, Desk};

fn spent(words: &str, usage: Usage) -> Vec<Say> {
    vec![Say::Reply(Reply { usage, ..text(words) })]
}

fn told(words: &str) -> Value {
    json!({ "mode": "append", "content": [{ "type": "text", "text": words }] })
}

async fn prompted(client: &mut Client, session: &str) -> Value {
    let id = client.prompt(session, "well?").await;
    client.answer(id).await.0["result"].clone()
}

#[tokio::test(start_paused = true)]
async fn the_model_is_told_what_the_client_adds_and_the_session_keeps_it() {
    let words = ["one", "two", "three"];
    let desk = Desk::new(words.map(|one| vec![Say::Reply(text(one))]).into(), vec![]);
    let mut client = desk.client().await;
    let blocks =
        ["Never push.", "Talk like a sailor."].map(|text| json!({ "type": "text", "text": text }));
    let added = json!({ "mode": "append", "content": blocks });
    let new = json!({ "cwd": "/", "mcpServers": [], "systemPrompt": added });
    let (made, _) = client.call("session/new", new).await;
    let session = made["result"]["sessionId"].as_str().unwrap_or_else(|| panic!("{made}"));
    assert_eq!(prompted(&mut client, session).await["stopReason"], "end_turn");
    let system = desk.kit.model.requests()[0].system.clone();
    assert!(
        system.ends_with(
            "# Session instructions\n\nFrom the editor:\n\nNever push.\n\nTalk like a sailor."
        ),
        "{system}"
    );

    let table = [
        (Value::Null, true),
        (added, true),
        (told(" Never push.\n\nTalk like a sailor.\n"), true),
        (told("Talk like a sailor."), false),
        (told("like a sailor."), false),
        (told("Talk like a pirate."), false),
    ];
    let ways = ["session/load", "session/resume", "session/fork"];
    // Where it is open, and where it is taken from the store.
    let ways = ways.map(|method| [(method, true), (method, false)]).concat();
    for ((method, is_open), (system, is_taken)) in
        ways.iter().flat_map(|way| table.iter().map(move |row| (way, row)))
    {
        if !is_open {
            client.call("session/close", json!({ "sessionId": session })).await;
        }
        let open =
            json!({ "sessionId": session, "cwd": "/", "mcpServers": [], "systemPrompt": system });
        let (answer, _) = client.call(method, open).await;
        let refused = (!is_taken).then_some(-32602);
        let code = answer["error"]["code"].as_i64();
        assert_eq!(code, refused, "{method} {system} {is_open}: {answer}");
    }
    let fork = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let (forked, _) = client.call("session/fork", fork).await;
    prompted(&mut client, forked["result"]["sessionId"].as_str().unwrap()).await;
    assert_eq!(desk.kit.model.requests()[1].system, system, "a fork says the same");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_added_to_a_system_prompt_makes_no_session() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let picture = json!({ "type": "image", "data": "AA==", "mimeType": "image/png" });
    let table = [
        json!({ "mode": "override", "content": [{ "type": "text", "text": "You are a duck." }] }),
        json!({ "mode": "_whisper", "content": [{ "type": "text", "text": "psst" }] }),
        json!({ "mode": "append", "content": [picture] }),
        json!({ "mode": "append", "content": [] }),
        json!({ "mode": "append", "content": "words" }),
        told(" \n"),
        told(&"x".repeat(1 << 20)),
    ];
    for system in table {
        let new = json!({ "cwd": "/", "mcpServers": [], "systemPrompt": system });
        let (answer, _) = client.call("session/new", new).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() < 200, "{answer}");
    }
    let (listed, _) = client.call("session/list", json!({})).await;
    assert_eq!(listed["result"]["sessions"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_answered_with_the_tokens_of_the_session_so_far() {
    let first = Usage { input: 100, output: 20, cache_read: 7, cache_write: 3, reasoning: 5 };
    let second = Usage { input: 10, output: 2, ..Usage::default() };
    let script = [first, second, second, second, second, second];
    let script = script.map(|usage| spent("well", usage)).into();
    let desk = Desk::new(script, vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let of_first = json!({
        "totalTokens": 130, "inputTokens": 100, "outputTokens": 20, "thoughtTokens": 5,
        "cachedReadTokens": 7, "cachedWriteTokens": 3
    });
    assert_eq!(prompted(&mut client, &session).await["usage"], of_first);
    let both = json!({
        "totalTokens": 142, "inputTokens": 110, "outputTokens": 22, "thoughtTokens": 5,
        "cachedReadTokens": 7, "cachedWriteTokens": 3
    });
    assert_eq!(prompted(&mut client, &session).await["usage"], both);
    let fork = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let forked = client.call("session/fork", fork).await.0["result"]["sessionId"].clone();
    let id = client.prompt(&session, "/usage").await;
    assert_eq!(client.answer(id).await.0["result"].get("usage"), None, "no turn, no tokens");
    // Who comes later is told of all of it, whether the past was told or not; of a fork what it used itself.
    for method in ["session/resume", "session/load"] {
        for (session, so_far) in [(json!(session), 142), (forked.clone(), 0)] {
            let mut other = desk.client().await;
            let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
            other.call(method, open).await;
            let answer = prompted(&mut other, session.as_str().unwrap()).await;
            let more = if method == "session/load" { 24 } else { 12 };
            assert_eq!(answer["usage"]["totalTokens"], so_far + more, "{method} {answer}");
        }
    }
    let desk = Desk::new(vec![spent("four", Usage::default())], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    assert_eq!(prompted(&mut client, &session).await.get("usage"), None, "none were counted");
}
