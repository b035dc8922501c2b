//! The greeting of a client, logging in and out, and what a person may type instead of a prompt.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::DefaultAgentCore;
use oarlock_core::ids::SessionId;
use oarlock_server::{Audience, Host, HostError, Workspace};
use oarlock_testkit::model::{Say, text};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, kind, text_of};

/// A program in which nobody has logged in.
#[derive(Debug)]
struct LoggedOut(Desk);

impl LoggedOut {
    fn words<T>() -> Result<T, HostError> {
        let words = "no key for provider `acme`;\n  set ACME_KEY or run `oarlock login acme`";
        Err(HostError::Unauthenticated(words.to_owned()))
    }
}

impl Host for LoggedOut {
    fn workspace<'a>(
        &'a self,
        _: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Workspace>, HostError>> {
        async { Self::words() }.boxed()
    }

    fn awake(&self, _: &SessionId) -> Option<Arc<dyn Workspace>> {
        None
    }

    fn store_name(&self) -> &'static str {
        "memory"
    }

    fn audience(&self) -> &Audience {
        self.0.audience()
    }

    fn core(&self) -> &DefaultAgentCore {
        Host::core(&self.0)
    }

    fn authenticate(&self) -> BoxFuture<'_, Result<(), HostError>> {
        async { Self::words() }.boxed()
    }

    fn logout(&self) -> BoxFuture<'_, Result<(), HostError>> {
        async { Ok(()) }.boxed()
    }
}

fn methods(answer: &Value) -> Vec<(&str, Option<&str>)> {
    let methods = answer["result"]["authMethods"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let method = |m| (text_at(m, "id").expect("it has an id"), text_at(m, "type"));
    methods.iter().map(method).collect()
}

fn text_at<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

#[tokio::test(start_paused = true)]
async fn every_version_is_answered_with_the_first() {
    let desk = Desk::new(vec![], vec![]);
    for version in [0, 1, 2, 65_535] {
        let mut client = Client::connect(Arc::new(desk.clone()));
        let (answer, _) = client.call("initialize", json!({ "protocolVersion": version })).await;
        assert_eq!(answer["result"]["protocolVersion"], 1, "{version}: {answer}");
        let result = &answer["result"];
        assert_eq!(result["agentInfo"]["name"], "oarlock");
        assert_eq!(
            result["agentCapabilities"],
            json!({
                "loadSession": true,
                "promptCapabilities": { "image": true, "audio": false, "embeddedContext": true },
                "mcpCapabilities": { "http": false, "sse": false },
                "sessionCapabilities": {
                    "list": {}, "delete": {}, "additionalDirectories": {}, "resume": {}, "close": {},
                    "fork": {}, "archive": {}, "status": {}, "title": {}, "systemPrompt": {}
                },
                "auth": { "logout": {}, "status": {} },
            })
        );
        assert!(client.session().await.len() > 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_capability_that_cannot_be_read_is_one_that_is_not_there() {
    let desk = Desk::new(vec![], vec![]);
    let setup = ("setup", None);
    let login = ("login", Some("terminal"));
    let table = [
        (json!({}), vec![setup]),
        (json!(null), vec![setup]),
        (json!(7), vec![setup]),
        (json!({ "auth": { "terminal": true } }), vec![setup, login]),
        (json!({ "auth": { "terminal": "yes" } }), vec![setup]),
        (json!({ "auth": [], "fs": 3, "terminal": "x", "session": false }), vec![setup]),
        (
            json!({ "auth": { "terminal": true }, "fs": { "readTextFile": 1 }, "unheard": {} }),
            vec![setup, login],
        ),
    ];
    for (capabilities, expected) in table {
        let mut client = Client::connect(Arc::new(desk.clone()));
        let hello = json!({ "protocolVersion": 1, "clientCapabilities": capabilities });
        let (answer, _) = client.call("initialize", hello).await;
        assert_eq!(methods(&answer), expected, "{capabilities}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_for_a_client_that_has_not_greeted() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = Client::connect(Arc::new(desk.clone()));
    let requests = [
        ("session/new", json!({ "cwd": "/", "mcpServers": [] })),
        ("session/list", json!({})),
        ("authenticate", json!({ "methodId": "setup" })),
    ];
    for (method, params) in requests {
        let (answer, _) = client.call(method, params).await;
        assert_eq!(answer["error"]["code"], -32600, "{answer}");
    }
    let (answer, _) = client.call("initialize", json!({ "protocolVersion": 1 })).await;
    assert!(answer["result"].is_object(), "{answer}");
    let (answer, _) = client.call("session/list", json!({})).await;
    assert_eq!(answer["result"]["sessions"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_client_logs_in_by_the_method_that_asks_nothing_and_out() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client_with(json!({ "auth": { "terminal": true } })).await;
    let (answer, _) = client.call("authenticate", json!({ "methodId": "setup" })).await;
    assert_eq!(answer["result"], json!({}));
    for other in ["login", "magic", ""] {
        let (answer, _) = client.call("authenticate", json!({ "methodId": other })).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    assert_eq!(client.call("logout", json!({})).await.0["result"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_model_is_refused_with_the_remedy() {
    let mut client = Client::connect(Arc::new(LoggedOut(Desk::new(vec![], vec![]))));
    client.call("initialize", json!({ "protocolVersion": 1 })).await;
    let requests = [
        ("session/new", json!({ "cwd": "/", "mcpServers": [] })),
        ("authenticate", json!({ "methodId": "setup" })),
    ];
    for (method, params) in requests {
        let (answer, _) = client.call(method, params).await;
        assert_eq!(answer["error"]["code"], -32000, "{answer}");
        let words = "no key for provider `acme`; set ACME_KEY or run `oarlock login acme`";
        assert_eq!(answer["error"]["message"], words, "one line");
    }
    assert!(client.call("session/list", json!({})).await.0["result"].is_object());
}

#[tokio::test(start_paused = true)]
async fn commands_are_listed_whenever_a_session_is_opened() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    for method in ["session/load", "session/resume"] {
        let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
        let (_, before) = client.call(method, open).await;
        assert!(before.iter().all(|m| kind(m) != "available_commands_update"), "{before:?}");
        let told = client.until(|m| kind(m) == "available_commands_update").await;
        let commands = &told.last().unwrap()["params"]["update"]["availableCommands"];
        let named = |name: &str| {
            let found = commands.as_array().unwrap().iter().find(|c| c["name"] == name);
            found.unwrap_or_else(|| panic!("{commands}")).clone()
        };
        assert_eq!(named("model")["input"]["hint"], "[PROVIDER/MODEL]");
        assert_eq!(named("usage").get("input"), None);
        assert!(client.is_silent().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_answered_without_a_turn_also_one_that_there_is_not() {
    let desk = Desk::new(vec![vec![Say::Reply(text("a turn"))]], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    for (typed, words) in [
        ("/usage", "0 turns"),
        ("/mode deny-all", "deny-all"),
        ("/compct", "did you mean /compact?"),
        ("/frobnicate it", "no command /frobnicate"),
        ("/usage of what", "/usage"),
    ] {
        let id = client.prompt(&session, typed).await;
        let (answer, mut before) = client.answer(id).await;
        assert_eq!(answer["result"]["stopReason"], "end_turn", "{typed}: {answer}");
        while let Some(message) = client.unread().await {
            before.push(message);
        }
        let said = text_of(&before, "agent_message_chunk");
        assert!(said.contains(words), "{typed}: {said}");
    }
    let state = desk.kit.core.state(&SessionId::parse(session.as_str()).unwrap()).await.unwrap();
    assert_eq!(state.turns, 0);
}

#[tokio::test(start_paused = true)]
async fn servers_that_a_client_brings_are_told_of_and_delay_nothing() {
    let desk = Desk::new(vec![], vec![]);
    let servers =
        json!([{ "name": "broken", "command": "/no/such/server", "args": [], "env": [] }]);
    for (capabilities, notices) in [(json!({ "session": { "notices": {} } }), 1), (json!({}), 0)] {
        let mut client = desk.client_with(capabilities).await;
        let new = json!({ "cwd": "/", "mcpServers": servers });
        let (answer, before) = client.call("session/new", new).await;
        assert!(answer["result"]["sessionId"].is_string(), "{answer}");
        assert_eq!(before, Vec::<Value>::new());
        let told = client.until(|m| kind(m) == "available_commands_update").await;
        assert_eq!(told.iter().filter(|m| kind(m) == "notice").count(), notices, "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_of_any_transport_fails_no_session_and_no_error_repeats_parameters() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client_with(json!({ "session": { "notices": {} } })).await;
    let headers = json!([{ "name": "Authorization", "value": "Bearer token-of-a-server" }]);
    let servers = json!([{ "type": "ws", "name": "odd", "headers": headers }, "nonsense"]);
    let new = json!({ "cwd": "/", "mcpServers": servers });
    let (answer, _) = client.call("session/new", new).await;
    let session = answer["result"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let told = client.until(|m| kind(m) == "available_commands_update").await;
    assert_eq!(told.iter().filter(|m| kind(m) == "notice").count(), 1, "{told:?}");

    let prompt =
        json!({ "sessionId": session, "prompt": [{ "type": "text" }, "token-of-a-server"] });
    for (method, params, words) in [
        ("session/new", json!({ "mcpServers": servers }), "missing field `cwd`"),
        ("session/load", json!({ "cwd": "/", "mcpServers": servers }), "missing field `sessionId`"),
        ("session/prompt", prompt, "missing field `text`"),
        (
            "session/prompt",
            json!({ "sessionId": session, "prompt": "token-of-a-server" }),
            "expected a sequence",
        ),
    ] {
        let (answer, _) = client.call(method, params).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{answer}");
        assert!(!answer.to_string().contains("token-of-a-server"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_answers_a_command_is_a_message_of_its_own_also_in_a_turn() {
    let slow = vec![Say::Delta("one "), Say::Wait(60_000), Say::Reply(text("one two"))];
    let desk = Desk::new(vec![slow], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let turn = client.prompt(&session, "count").await;
    let mut told = client.until(|m| kind(m) == "agent_message_chunk").await;
    for command in ["/help", "/usage"] {
        let id = client.prompt(&session, command).await;
        told.append(&mut client.answer(id).await.1);
    }
    told.append(&mut client.answer(turn).await.1);
    let chunks: Vec<(&str, &str)> = told
        .iter()
        .filter(|message| kind(message) == "agent_message_chunk")
        .map(|message| &message["params"]["update"])
        .map(|u| (u["messageId"].as_str().unwrap(), u["content"]["text"].as_str().unwrap()))
        .collect();
    let ids: HashSet<&str> = chunks.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), 3, "{chunks:?}");
    let of_the_model = chunks.iter().filter(|(id, _)| *id == chunks[0].0);
    assert_eq!(of_the_model.map(|(_, words)| *words).collect::<String>(), "one two");
}
