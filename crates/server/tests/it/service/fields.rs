//! Every field of the requests does something or is refused with its reason, on sessions that are awake and on those that sleep.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use oarlock_core::event::Effect;
use oarlock_core::ids::Tenant;
use oarlock_core::ports::journal::TenantFilter;
use oarlock_core::ports::model::{ModelErrorKind, ModelInfo};
use oarlock_core::registry::{ModelSource, ProviderRegistry};
use oarlock_core::service::{
    AnswerRequest, ConfigureRequest, CreateSessionRequest, InputRequest, SendRequest,
    StartTurnRequest,
};
use oarlock_core::spec::{Mode, ModelSelection};
use oarlock_server::service::Caller;
use oarlock_testkit::kit::Parts;
use oarlock_testkit::model::{Say, ScriptedModel, calls, info, text};
use oarlock_testkit::tool::{Act, TestTool};
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

use super::{Direct, Surface, deferred, done, refused, sessions};
use crate::desk::Desk;

fn says(words: &'static str) -> Vec<Say> {
    vec![Say::Reply(text(words))]
}

fn asks() -> Vec<Say> {
    vec![Say::Reply(calls(&[("c1", "lookup", r#"{"what":"x"}"#)]))]
}

fn lookup() -> Value {
    let input_schema = json!({ "type": "object" });
    json!([{ "name": "lookup", "description": "looks it up", "input_schema": input_schema }])
}

fn of(session: &str, more: Value) -> Value {
    let mut params = more;
    params["session_id"] = session.into();
    params
}

/// The names of a request's fields, those of `build` among them.
fn fields<R: JsonSchema>(request: &str) -> BTreeSet<String> {
    let schema = schema_for!(R).to_value();
    let names = |of: &Value, under: &str| {
        let properties = of["properties"].as_object().into_iter().flat_map(|all| all.keys());
        properties.map(|name| format!("{under}.{name}")).collect::<Vec<_>>()
    };
    let mut found = BTreeSet::from_iter(names(&schema, request));
    if found.contains(&format!("{request}.build")) {
        found.extend(names(&schema["$defs"]["SessionBuildOptions"], "build"));
    }
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        found.extend(names(variant, request));
    }
    found
}

#[test]
fn every_field_has_a_row_and_every_row_a_field_and_a_test() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/service.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Fields")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<Vec<&str>> =
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let told: BTreeSet<String> =
        rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let there: BTreeSet<String> = [
        fields::<CreateSessionRequest>("create"),
        fields::<StartTurnRequest>("turn"),
        fields::<InputRequest>("input"),
        fields::<SendRequest>("send"),
        fields::<AnswerRequest>("answer"),
        fields::<ConfigureRequest>("configure"),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert_eq!(told, there);
    let tests =
        [include_str!("fields.rs"), include_str!("contract.rs"), include_str!("peers.rs")].concat();
    for row in rows {
        let test = row[2].trim_matches('`').rsplit("::").next().unwrap();
        let is_there = ["(", "<"].iter().any(|end| tests.contains(&format!("fn {test}{end}")));
        assert!(is_there, "{}: there is no test {test}", row[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_had_is_refused_and_says_why() {
    let desk = Desk::new(vec![], vec![]);
    let surface = Direct::open(&desk).await;
    for (build, why) in [
        (json!({ "provider_params": {} }), "one provider"),
        (json!({ "provider": "acme" }), "`model` names none"),
        (json!({ "hooks_override": { "entries": [{ "command": "x" }] } }), "hooks are commands"),
        (json!({ "override_memory": true }), "session/search"),
        (json!({ "override_mob": true }), "no mobs"),
        (json!({ "override_builtins": true }), "gives sessions in / none"),
        (json!({ "override_shell": true }), "gives sessions in / none"),
        (json!({ "override_subagents": true }), "gives sessions in / none"),
        (json!({ "override_shell": true, "override_builtins": false }), "leave one of them out"),
        (json!({ "preload_skills": ["sailing"] }), "no skill `sailing`"),
        (json!({ "realm_id": "theirs" }), "`build.realm_id`"),
        (json!({ "instance_id": "b" }), "here it is `node-a`"),
        (json!({ "backend": "jsonl" }), "here it is `memory`"),
        (json!({ "config_generation": 3 }), "it is 0"),
        (
            json!({ "external_tools": [{ "name": "a b", "description": "", "input_schema": {} }] }),
            "cannot name",
        ),
        (json!({ "external_tools": [{ "name": "a" }] }), "missing field"),
        (json!({ "external_tools": "mine" }), "expected a sequence"),
        (json!({ "llm_client_override": {} }), "which no wire carries"),
        (json!({ "checkpointer": "mine" }), "which no wire carries"),
        (json!({ "scoped_event_tx": true }), "subscribe_scoped_events"),
        (json!({ "scoped_event_path": [] }), "subscribe_scoped_events"),
        (json!({ "comms_name": "a b" }), "`comms_name`"),
        (json!({ "peer_meta": {} }), "give it a `build.comms_name`"),
        (json!({ "silent_comms_intents": ["x"] }), "give it a `build.comms_name`"),
        (json!({ "max_inline_peer_notifications": 1 }), "give it a `build.comms_name`"),
        (
            json!({ "comms_name": "a", "max_inline_peer_notifications": -2 }),
            "`max_inline_peer_notifications`",
        ),
        (json!({ "comms_name": "a", "silent_comms_intents": ["a b"] }), "`silent_comms_intents`"),
        (json!({ "comms_name": "a", "peer_meta": { "name": "b" } }), "unknown field"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        let asked = json!({ "initial_turn": "defer", "build": build });
        let refusal = surface.call("session/create", asked).await.unwrap_err();
        assert_eq!(refusal.code, "INVALID_REQUEST", "{build}");
        assert!(refusal.message.contains(why), "{build}: {}", refusal.message);
    }
    let lost = json!({ "initial_turn": "defer", "skill_references": ["rowing"] });
    assert_eq!(refused(&surface, "session/create", lost).await, "INVALID_REQUEST");
    let unknown = json!({ "prompt": "go", "skill_references": ["sailing"] });
    assert_eq!(refused(&surface, "session/create", unknown).await, "INVALID_REQUEST");
    let listed = done(&surface, "session/list", json!({})).await;
    assert_eq!(listed["sessions"], json!([]), "nothing was made");
}

#[tokio::test(start_paused = true)]
async fn the_realm_of_a_session_is_its_callers_tenant_and_no_other() {
    let desk = Desk::new(vec![says("aye")], vec![]);
    let acme = Tenant::parse("acme").unwrap();
    let create = |realm: &str| json!({ "prompt": "go", "build": { "realm_id": realm } });
    let of = |tenant| Direct(sessions(&desk, Caller { tenant, ..Caller::trusted("test") }));
    let surface = of(Some(TenantFilter::Of(acme)));
    let made = done(&surface, "session/create", create("acme")).await;
    let session = self::of(made["session_id"].as_str().unwrap(), json!({}));
    assert_eq!(made["text"], "aye");
    let view = done(&surface, "session/read", session.clone()).await;
    assert_eq!(view["realm_id"], "acme", "{view}");
    assert_eq!(refused(&surface, "session/create", create("best")).await, "INVALID_REQUEST");
    // Whoever is of no tenant has no realm, and whoever sees all tenants makes sessions of none.
    for nobody in [of(Some(TenantFilter::Nobody)), of(None)] {
        assert_eq!(refused(&nobody, "session/create", create("acme")).await, "INVALID_REQUEST");
    }
    let unseen = refused(&of(Some(TenantFilter::Nobody)), "session/read", session).await;
    assert_eq!(unseen, "SESSION_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn what_says_what_is_so_anyway_changes_nothing() {
    let desk = Desk::new(vec![says("aye")], vec![]);
    let build = json!({
        "override_memory": false, "override_mob": false, "override_builtins": false,
        "instance_id": "node-a", "backend": "memory", "config_generation": 0, "provider": "test",
    });
    let asked = json!({ "prompt": "go", "model": "scripted", "host_mode": true, "build": build });
    let made = done(&Direct::open(&desk).await, "session/create", asked).await;
    assert_eq!(made["text"], "aye");
}

#[tokio::test(start_paused = true)]
async fn tools_are_taken_away_by_name() {
    let tool = |name: &str| TestTool::new(name, Effect::Pure, Act::Echo);
    let desk = Desk::new(
        (0..4).map(|_| says("aye")).collect(),
        vec![tool("read_file"), tool("bash"), tool("spawn_agent")],
    );
    let surface = Direct::open(&desk).await;
    for (build, left) in [
        (json!({ "override_shell": false }), &["read_file", "spawn_agent"][..]),
        (json!({ "override_subagents": false, "override_shell": true }), &["read_file", "bash"]),
        (json!({ "override_builtins": false, "external_tools": lookup() }), &["lookup"]),
        (json!({ "override_builtins": true }), &["read_file", "bash", "spawn_agent"]),
    ] {
        desk.kit.model.forget();
        done(&surface, "session/create", json!({ "prompt": "go", "build": build })).await;
        let offered = desk.kit.model.requests()[0].tools.clone();
        assert_eq!(offered.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn skills_go_with_the_input_or_stand_in_the_system_prompt() {
    let desk = Desk::new(vec![says("aye"), says("aye")], vec![]);
    let surface = Direct::open(&desk).await;
    let asked = json!({ "prompt": "go", "build": { "preload_skills": ["rowing"] } });
    let made = done(&surface, "session/create", asked).await;
    let session = made["session_id"].as_str().unwrap();
    assert!(desk.kit.model.requests()[0].system.contains("Pull with the legs."));
    for is_asleep in [false, true] {
        if is_asleep {
            done(&surface, "session/close", of(session, json!({}))).await;
        }
        let unknown = json!({ "prompt": "go", "skill_references": ["sailing"] });
        let code = refused(&surface, "turn/start", of(session, unknown)).await;
        assert_eq!(code, "INVALID_REQUEST");
    }
    let named = json!({ "prompt": "faster", "skill_references": ["rowing", "rowing"] });
    done(&surface, "turn/start", of(session, named)).await;
    let said =
        serde_json::to_string(desk.kit.model.requests()[1].messages.last().unwrap()).unwrap();
    assert_eq!(said.matches("Pull with the legs.").count(), 1, "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_an_external_tool_is_answered_by_the_client() {
    let desk = Desk::new(vec![asks(), says("found it")], vec![]);
    let surface = Direct::open(&desk).await;
    let asked = json!({ "prompt": "go", "build": { "external_tools": lookup() } });
    let made = done(&surface, "session/create", asked).await;
    assert_eq!(made["state"], "awaiting_input", "{made}");
    let session = made["session_id"].as_str().unwrap();
    let read = done(&surface, "session/read", of(session, json!({}))).await;
    assert_eq!(read["pending"], made["pending"]);
    let pending = &read["pending"][0];
    assert_eq!((&pending["kind"], &pending["tool"]), (&json!("external_tool"), &json!("lookup")));
    assert_eq!(pending["arguments"], r#"{"what":"x"}"#);
    let answer = |outcome: &str| {
        let call = &pending["call"];
        let answer =
            json!({ "kind": "external_tool", "call": call, "outcome": outcome, "content": "it" });
        of(session, answer)
    };
    for wrong in ["denied", "indeterminate", "eaten"] {
        assert_eq!(refused(&surface, "session/answer", answer(wrong)).await, "INVALID_REQUEST");
    }
    done(&surface, "session/answer", answer("completed")).await;
    assert_eq!(refused(&surface, "session/answer", answer("completed")).await, "INVALID_REQUEST");
    let waited = done(&surface, "turn/wait", of(session, json!({}))).await;
    assert_eq!((&waited["state"], &waited["text"]), (&json!("ended"), &json!("found it")));
}

#[tokio::test(start_paused = true)]
async fn the_mode_asks_before_the_client_is_asked() {
    let desk = Desk::with(
        oarlock_testkit::kit::Kit::new(vec![asks(), says("found it")], vec![]),
        Mode::ASK_WRITES,
    );
    let surface = Direct::open(&desk).await;
    let asked = json!({ "prompt": "go", "build": { "external_tools": lookup() } });
    let made = done(&surface, "session/create", asked).await;
    assert_eq!(made["pending"][0]["kind"], "permission", "{made}");
    let session = made["session_id"].as_str().unwrap();
    let call = made["pending"][0]["call"].clone();
    let allow = json!({ "kind": "permission", "call": call, "choice": "allow_once" });
    done(&surface, "session/answer", of(session, allow)).await;
    let waited = done(&surface, "turn/wait", of(session, json!({}))).await;
    assert_eq!(waited["pending"][0]["kind"], "external_tool", "{waited}");
}

#[tokio::test(start_paused = true)]
async fn settings_change_on_sessions_that_sleep_as_on_those_that_do_not() {
    let desk = Desk::new((0..2).map(|_| says("aye")).collect(), vec![]);
    let surface = Direct::open(&desk).await;
    for is_asleep in [false, true] {
        let session = deferred(&surface).await;
        if is_asleep {
            done(&surface, "session/close", of(&session, json!({}))).await;
        }
        let changes = [
            ("model", json!("test/scripted"), "/settings/model/model", json!("scripted")),
            ("mode", json!("read-only"), "/settings/mode", json!("read-only")),
            ("effort", json!("high"), "/settings/effort", json!("high")),
            ("limits", json!({ "turn": { "steps": 3 } }), "/settings/limits/turn/steps", json!(3)),
            ("title", json!("rowing"), "/title", json!("rowing")),
            ("labels", json!({ "boat": "eight" }), "/settings/labels/boat", json!("eight")),
            ("external_tools", lookup(), "/settings/external_tools/0/name", json!("lookup")),
        ];
        for (generation, (field, value, place, wanted)) in (0..).zip(changes) {
            let late = json!({ field: value.clone(), "expected_generation": generation + 1 });
            let code = refused(&surface, "session/configure", of(&session, late)).await;
            assert_eq!(code, "INVALID_REQUEST", "{field}");
            let change = json!({ field: value, "expected_generation": generation });
            let view = done(&surface, "session/configure", of(&session, change)).await;
            assert_eq!(view.pointer(place), Some(&wanted), "{field} {is_asleep}");
            assert_eq!(view["config_generation"], generation + 1);
            assert_eq!(view["instance_id"], "node-a");
        }
        done(&surface, "turn/start", of(&session, json!({ "prompt": "go" }))).await;
        let request = desk.kit.model.requests().pop().unwrap();
        assert_eq!(request.tools.len(), 1, "{is_asleep}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_session_is_made_with_is_what_it_is() {
    let desk = Desk::new(vec![says("aye")], vec![]);
    let surface = Direct::open(&desk).await;
    let asked = json!({
        "prompt": "go", "system_prompt": "Row.", "max_tokens": 77, "mode": "read-only",
        "effort": "low", "limits": { "turn": { "steps": 9 } }, "title": "t",
        "labels": { "boat": "pair" }, "roots": [], "cwd": "/", "model": "test/scripted",
        "build": {
            "budget_limits": { "max_tokens": 5_000_000, "max_duration_ms": 60_000, "max_tool_calls": 4 },
            "hooks_override": { "none": false, "off": ["lint"] },
            "resume_session": "01a1ffa1-0c86-70c2-afd9-4e292c035699",
        },
    });
    let made = done(&surface, "session/create", asked).await;
    let session = "01a1ffa1-0c86-70c2-afd9-4e292c035699";
    assert_eq!(made["session_id"], session);
    assert_eq!(desk.kit.model.requests()[0].system, "Row.");
    let view = done(&surface, "session/read", of(session, json!({}))).await;
    for (place, wanted) in [
        ("/settings/turn/sampling/max_tokens", json!(77)),
        ("/settings/mode", json!("read-only")),
        ("/settings/effort", json!("low")),
        ("/settings/limits/turn/steps", json!(9)),
        ("/settings/limits/session/tokens", json!(5_000_000)),
        ("/settings/limits/session/wall_ms", json!(60_000)),
        ("/settings/limits/session/tool_calls", json!(4)),
        ("/settings/hooks/off/0", json!("lint")),
        ("/settings/labels/boat", json!("pair")),
        ("/title", json!("t")),
        ("/cwd", json!("/")),
    ] {
        assert_eq!(view.pointer(place), Some(&wanted), "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn inputs_are_taken_as_they_are_delivered() {
    let dawdles = vec![Say::Wait(60_000), Say::Reply(text("first"))];
    let desk = Desk::new(vec![dawdles, says("steered"), says("queued")], vec![]);
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    let go = of(&session, json!({ "prompt": "go", "wait_ms": 0 }));
    done(&surface, "turn/start", go).await;
    let input = |words: &str, delivery: &str| {
        let asked = json!({ "prompt": words, "delivery": delivery, "idempotency_key": words });
        of(&session, asked)
    };
    let queued = done(&surface, "session/input", input("later", "queue")).await;
    assert_eq!(queued["state"], "queued");
    let again = done(&surface, "session/input", input("later", "queue")).await;
    assert_eq!(again["input"], queued["input"], "a key has one input");
    done(&surface, "session/input", input("now", "steer")).await;
    let waited = of(&session, json!({ "input": queued["input"] }));
    assert_eq!(done(&surface, "turn/wait", waited).await["text"], "queued");
    let said = |request: usize| {
        serde_json::to_string(&desk.kit.model.requests()[request].messages).unwrap()
    };
    assert!(said(1).contains("now") && !said(1).contains("later"));
    assert!(said(2).contains("later"));
}

#[tokio::test(start_paused = true)]
async fn answers_keep_to_the_schema_of_their_session_or_turn() {
    let script = vec![says("no"), says("7"), says(r#""yes""#), says("done"), says("x"), says("y")];
    let desk = Desk::new(script, vec![]);
    let surface = Direct::open(&desk).await;
    let number = json!({ "type": "integer" });
    let build = json!({ "output_schema": number });
    let made = json!({ "prompt": "how many?", "build": build });
    let made = done(&surface, "session/create", made).await;
    assert_eq!((&made["structured_output"], &made["text"]), (&json!(7), &json!("7")), "{made}");
    assert_eq!(made["turns"], 2, "it was asked again");
    let session = made["session_id"].as_str().unwrap();
    let other = json!({ "prompt": "is it?", "output_schema": { "type": "string" } });
    let turn = done(&surface, "turn/start", of(session, other)).await;
    assert_eq!(turn["structured_output"], "yes", "the schema of a turn comes before the session's");
    done(&surface, "session/close", of(session, json!({}))).await;
    done(&surface, "session/configure", of(session, json!({ "output": "text" }))).await;
    let turn = done(&surface, "turn/start", of(session, json!({ "prompt": "go" }))).await;
    assert_eq!((turn.get("structured_output"), &turn["text"]), (None, &json!("done")));
    let wrong = json!({
        "prompt": "go", "output_schema": number, "structured_output_retries": 1
    });
    let refusal = surface.call("turn/start", of(session, wrong)).await.unwrap_err();
    assert_eq!(refusal.code, "AGENT_ERROR");
    assert_eq!(refusal.details["run"]["turns"], 2, "{:?}", refusal.details);
    for (retries, schema) in [(1, Value::Null), (17, number), (1, json!({ "type": "nonsense" }))] {
        let asked = json!({
            "prompt": "go", "output_schema": schema, "structured_output_retries": retries
        });
        assert_eq!(refused(&surface, "turn/start", of(session, asked)).await, "INVALID_REQUEST");
    }
}

#[tokio::test(start_paused = true)]
async fn another_model_takes_over_that_the_session_was_told_of() {
    let actor = |name: &str, script| {
        let selection = ModelSelection { provider: "test".to_owned(), model: name.to_owned() };
        ModelSource::One(ScriptedModel::of(ModelInfo { selection, ..info() }, script))
    };
    let broken = vec![vec![Say::Fail(ModelErrorKind::Auth, None)]; 9];
    let models = vec![actor("scripted", broken), actor("spare", vec![]), actor("third", vec![])];
    let models = Some(Arc::new(ProviderRegistry::new(models, None, None).unwrap()) as _);
    let desk = Desk::of(Parts { models, ..Parts::new(vec![], vec![]) }, Mode::OPEN);
    let surface = Direct::open(&desk).await;
    let chain = json!(["test/spare", "test/third"]);
    let asked = json!({ "prompt": "go", "fallback": chain.clone() });
    let made = done(&surface, "session/create", asked).await;
    assert_eq!(made["text"], "done", "{made}");
    let session = made["session_id"].as_str().unwrap();
    let names = |view: &Value| {
        let chain = view["settings"]["fallback"].as_array().cloned().unwrap_or_default();
        chain.iter().map(|model| model["model"].clone()).collect::<Vec<_>>()
    };
    let view = done(&surface, "session/read", of(session, json!({}))).await;
    assert_eq!(names(&view), ["spare", "third"]);
    for wrong in
        [json!(["test/missing"]), json!(["test/scripted"]), json!(["test/spare", "test/spare"])]
    {
        let asked = json!({ "prompt": "go", "fallback": wrong.clone() });
        refused(&surface, "session/create", asked).await;
        refused(&surface, "session/configure", of(session, json!({ "fallback": wrong }))).await;
    }
    let change = json!({ "fallback": ["test/third"] });
    let view = done(&surface, "session/configure", of(session, change)).await;
    assert_eq!(names(&view), ["third"]);
    let ended = done(&surface, "turn/start", of(session, json!({ "prompt": "go" }))).await;
    assert_eq!(ended["text"], "done", "{ended}");
    done(&surface, "session/configure", of(session, json!({ "fallback": [] }))).await;
    let ended = refused(&surface, "turn/start", of(session, json!({ "prompt": "go" }))).await;
    assert_eq!(ended, "AGENT_ERROR");
}
