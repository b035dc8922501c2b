//! What a client may choose of a session: what it is told of that, what its choices do, and what it learns of those of others.

use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use oarlock_core::ports::model::{
    Accepts, Model, ModelCandidate, ModelError, ModelErrorKind, ModelEvent, ModelInfo,
    ModelRequest, Models, ProviderInfo,
};
use oarlock_core::spec::{Mode, ModelSelection};
use oarlock_testkit::kit::Parts;
use oarlock_testkit::model::{Say, ScriptedModel, info, text};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, kind, text_of};

/// Three models of two providers, of which one takes no effort. All say the same script.
#[derive(Debug)]
struct Three {
    script: Arc<ScriptedModel>,
    /// Which of them were called.
    called: Arc<Mutex<Vec<String>>>,
}

/// One of them.
#[derive(Debug)]
struct One(ModelInfo, Arc<ScriptedModel>, Arc<Mutex<Vec<String>>>);

impl Model for One {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        self.2.lock().expect("nobody panics with it").push(self.0.selection.to_string());
        self.1.call(request)
    }
}

impl Models for Three {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        let found = self.candidates().into_iter().find(|found| found.model.selection == *wanted);
        let message = format!("there is no model {wanted}");
        let unknown =
            ModelError { kind: ModelErrorKind::ModelNotFound, message, retry_after_ms: None };
        let model = found.ok_or(unknown)?.model;
        Ok(Arc::new(One(model, Arc::clone(&self.script), Arc::clone(&self.called))))
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        let named = |provider: &str, model: &str, effort| {
            let selection =
                ModelSelection { provider: provider.to_owned(), model: model.to_owned() };
            let accepts = Accepts { effort, ..Accepts::default() };
            let display_name = provider.to_uppercase();
            ModelCandidate {
                provider: ProviderInfo { name: provider.to_owned(), display_name },
                model: ModelInfo { selection, accepts, ..info() },
            }
        };
        vec![
            named("test", "scripted", true),
            named("other", "plain", false),
            named("test", "second", true),
        ]
    }
}

fn says(words: &'static str) -> Vec<Say> {
    vec![Say::Delta(words), Say::Reply(text(words))]
}

/// A program with the three models, in mode `ask-writes`.
fn desk(script: Vec<Vec<Say>>) -> Desk {
    desk_told(script, Arc::default())
}

/// The same, telling which models are called.
fn desk_told(script: Vec<Vec<Say>>, called: Arc<Mutex<Vec<String>>>) -> Desk {
    let models = Arc::new(Three { script: ScriptedModel::new(script.clone()), called });
    Desk::of(Parts { models: Some(models), ..Parts::new(script, vec![]) }, Mode::ASK_WRITES)
}

/// The options as `id=current`, in their order.
fn chosen(options: &Value) -> Vec<String> {
    let options = options.as_array().unwrap_or_else(|| panic!("{options}")).iter();
    let word = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    options.map(|o| format!("{}={}", word(&o["id"]), word(&o["currentValue"]))).collect()
}

/// What updates say of what is chosen, in their order; others are left out.
fn told(messages: &[Value]) -> Vec<String> {
    let mut told = Vec::new();
    for message in messages {
        let update = &message["params"]["update"];
        match kind(message) {
            "current_mode_update" => told.push(format!("now {}", update["currentModeId"])),
            "config_option_update" => told.push(chosen(&update["configOptions"]).join(" ")),
            _ => {}
        }
    }
    told
}

/// Everything that the client is told until nothing is left to tell: a prompt that is answered at once comes last.
async fn rest(client: &mut Client, session: &str) -> Vec<Value> {
    let id = client.prompt(session, "/usage").await;
    let (answer, mut before) = client.answer(id).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
    while let Some(message) = client.unread().await {
        before.push(message);
    }
    before
}

async fn choose(client: &mut Client, session: &str, option: &str, value: &str) -> Value {
    let params = json!({ "sessionId": session, "configId": option, "value": value });
    client.call("session/set_config_option", params).await.0
}

async fn mode(client: &mut Client, session: &str, mode: &str) -> Value {
    client.call("session/set_mode", json!({ "sessionId": session, "modeId": mode })).await.0
}

#[tokio::test(start_paused = true)]
async fn whoever_opens_a_session_is_told_what_may_be_chosen_of_it() {
    let desk = desk(vec![]);
    let mut client = desk.client().await;
    let (new, _) = client.call("session/new", json!({ "cwd": "/", "mcpServers": [] })).await;
    let result = &new["result"];
    let modes: Vec<&Value> =
        result["modes"]["availableModes"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
    assert_eq!(modes, ["read-only", "ask-writes", "open", "deny-all"]);
    assert_eq!(result["modes"]["currentModeId"], "ask-writes");
    let options = &result["configOptions"];
    assert_eq!(chosen(options), ["mode=ask-writes", "model=test/scripted", "effort=default"]);
    let categories: Vec<&Value> =
        options.as_array().unwrap().iter().map(|option| &option["category"]).collect();
    assert_eq!(categories, ["mode", "model", "thought_level"]);
    assert_eq!(
        options[1]["options"],
        json!([
            { "group": "test", "name": "TEST", "options": [
                { "value": "test/scripted", "name": "scripted" },
                { "value": "test/second", "name": "second" },
            ]},
            { "group": "other", "name": "OTHER", "options": [
                { "value": "other/plain", "name": "plain" },
            ]},
        ])
    );
    let session = result["sessionId"].as_str().unwrap().to_owned();
    mode(&mut client, &session, "open").await;
    for method in ["session/load", "session/resume"] {
        for client in [&mut client, &mut desk.client().await] {
            let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
            let (answer, _) = client.call(method, open).await;
            let result = &answer["result"];
            assert_eq!(result["modes"]["currentModeId"], "open", "{method}: {answer}");
            let now = ["mode=open", "model=test/scripted", "effort=default"];
            assert_eq!(chosen(&result["configOptions"]), now, "{method}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_choice_is_answered_and_then_told_in_the_other_form_once() {
    let desk = desk(vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let answer = mode(&mut client, &session, "open").await;
    assert_eq!(answer["result"], json!({}));
    let now = "mode=open model=test/scripted effort=default";
    assert_eq!(told(&rest(&mut client, &session).await), [now]);

    let answer = choose(&mut client, &session, "mode", "read-only").await;
    let now = ["mode=read-only", "model=test/scripted", "effort=default"];
    assert_eq!(chosen(&answer["result"]["configOptions"]), now, "the list is complete");
    assert_eq!(told(&rest(&mut client, &session).await), ["now \"read-only\""]);

    let answer = choose(&mut client, &session, "effort", "high").await;
    let now = ["mode=read-only", "model=test/scripted", "effort=high"];
    assert_eq!(chosen(&answer["result"]["configOptions"]), now);
    assert_eq!(told(&rest(&mut client, &session).await), Vec::<String>::new());

    // What is so already is answered, and nothing is told.
    choose(&mut client, &session, "mode", "read-only").await;
    mode(&mut client, &session, "read-only").await;
    assert_eq!(told(&rest(&mut client, &session).await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_chosen_is_refused_in_words() {
    let desk = desk(vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let table = [
        ("mode", json!("opne"), "did you mean `open`?"),
        ("model", json!("other/unheard"), "none of the models"),
        ("effort", json!("immense"), "none of the efforts"),
        ("colour", json!("blue"), "no option `colour`"),
        ("mode", json!(true), "from a list"),
    ];
    for (option, value, words) in table {
        let mut params = json!({ "sessionId": session, "configId": option, "value": value });
        if value.is_boolean() {
            params["type"] = json!("boolean");
        }
        let (answer, _) = client.call("session/set_config_option", params).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{answer}");
    }
    assert_eq!(mode(&mut client, &session, "").await["error"]["code"], -32602);
    let stranger = mode(&mut client, "01a1ffa1-0c86-70c2-afd9-4e292c035691", "open").await;
    assert_eq!(stranger["error"]["code"], -32002, "{stranger}");
    assert_eq!(told(&rest(&mut client, &session).await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_effort_is_offered_where_the_model_takes_one() {
    let desk = desk(vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let answer = choose(&mut client, &session, "model", "other/plain").await;
    let now = ["mode=ask-writes", "model=other/plain"];
    assert_eq!(chosen(&answer["result"]["configOptions"]), now);
    let answer = choose(&mut client, &session, "effort", "low").await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    choose(&mut client, &session, "model", "test/second").await;
    let answer = choose(&mut client, &session, "effort", "low").await;
    let low = ["mode=ask-writes", "model=test/second", "effort=low"];
    assert_eq!(chosen(&answer["result"]["configOptions"]), low);
    // The session itself refuses what does not go together, and says the remedy.
    let answer = choose(&mut client, &session, "model", "other/plain").await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("effort"), "{answer}");
    for effortless in ["none", "default"] {
        choose(&mut client, &session, "effort", effortless).await;
        let answer = choose(&mut client, &session, "model", "other/plain").await;
        assert_eq!(chosen(&answer["result"]["configOptions"]), now);
        choose(&mut client, &session, "model", "test/second").await;
        choose(&mut client, &session, "effort", "low").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_by_somebody_else_is_told_once_in_both_forms() {
    let desk = desk(vec![]);
    let (mut one, mut other) = (desk.client().await, desk.client().await);
    let session = one.session().await;
    let resume = json!({ "sessionId": session, "cwd": "/" });
    other.call("session/resume", resume).await;
    mode(&mut other, &session, "deny-all").await;
    let now = "mode=deny-all model=test/scripted effort=default";
    assert_eq!(told(&rest(&mut one, &session).await), ["now \"deny-all\"", now]);
    assert_eq!(told(&rest(&mut other, &session).await), [now]);
    // A slash command is not a choice of the client's own either.
    let id = one.prompt(&session, "/mode open").await;
    let (_, mut seen) = one.answer(id).await;
    seen.extend(rest(&mut one, &session).await);
    assert!(text_of(&seen, "agent_message_chunk").contains("open"), "{seen:?}");
    let now = "mode=open model=test/scripted effort=default";
    assert_eq!(told(&seen), ["now \"open\"", now]);
    assert_eq!(told(&rest(&mut other, &session).await), ["now \"open\"", now]);
}

#[tokio::test(start_paused = true)]
async fn a_choice_in_mid_turn_is_taken_and_counts_from_the_next_turn_on() {
    let slow = vec![Say::Delta("slow"), Say::Wait(60_000), Say::Reply(text("slow"))];
    let called = Arc::default();
    let desk = desk_told(vec![slow, says("quick")], Arc::clone(&called));
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "work").await;
    client.until(|m| kind(m) == "agent_message_chunk").await;
    let answer = choose(&mut client, &session, "model", "test/second").await;
    assert_eq!(chosen(&answer["result"]["configOptions"])[1], "model=test/second");
    let (answer, _) = client.answer(id).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
    let id = client.prompt(&session, "again").await;
    client.answer(id).await;
    assert_eq!(*called.lock().unwrap(), ["test/scripted", "test/second"]);
}
