//! Tool calls.

use oarlock_core::event::{
    AgentEvent, CallRef, Delta, DeltaItem, Event, HookChange, HookPoint, HookRan, Outcome,
};
use oarlock_core::ids::{CallId, Timestamp};
use oarlock_core::message::Usage;
use serde_json::{Value, json};

use super::{at, called, entry, json_of, projector, settled, shown, words};

/// What is announced of a call: kind, locations, content.
fn announced(name: &str, arguments: &Value) -> Value {
    let mut projector = projector();
    let updates = shown(&mut projector, &entry(1, called(name, arguments)));
    let [update] = &updates[..] else { panic!("{updates:?}") };
    assert_eq!(update["sessionUpdate"], "tool_call");
    assert_eq!(update["toolCallId"], "c1");
    assert_eq!(update["title"], format!("{name} it"));
    assert_eq!(update["name"], name);
    assert_eq!(update["rawInput"], *arguments);
    assert_eq!(update.get("_meta"), None);
    json!([update["kind"], update["locations"], update["content"]])
}

#[test]
fn a_call_is_announced_with_its_kind_its_places_and_its_change() {
    let (null, other) = (Value::Null, "other");
    for (name, arguments, kind, locations, content) in [
        ("bash", json!({"command": "ls"}), "execute", null.clone(), null.clone()),
        (
            "read_file",
            json!({"path": "src/../a.rs"}),
            "read",
            json!([{"path": "/w/a.rs"}]),
            null.clone(),
        ),
        (
            "read_file",
            json!({"path": "/b", "offset": 7}),
            "read",
            json!([{"path": "/b", "line": 7}]),
            null.clone(),
        ),
        (
            "search",
            json!({"pattern": "x", "path": "src"}),
            "search",
            json!([{"path": "/w/src"}]),
            null.clone(),
        ),
        ("search", json!({"pattern": "x"}), "search", null.clone(), null.clone()),
        ("fetch", json!({"url": "https://x"}), "fetch", null.clone(), null.clone()),
        ("update_plan", json!({"items": []}), "think", null.clone(), null.clone()),
        ("goal_done", json!({"summary": "s"}), "think", null.clone(), null.clone()),
        ("skill", json!({"name": "s"}), "read", null.clone(), null.clone()),
        ("ask_user", json!({"question": "?"}), other, null.clone(), null.clone()),
        ("spawn_agent", json!({"task": "t"}), other, null.clone(), null.clone()),
        ("inspect_background_task", json!({}), "read", null.clone(), null.clone()),
        ("cancel_background_task", json!({"task_id": "all"}), other, null.clone(), null.clone()),
        ("send_background_input", json!({"task_id": "bg-1"}), other, null.clone(), null.clone()),
        ("mcp__x__y", json!({"path": "rel"}), "edit", null.clone(), null.clone()),
        ("mcp__x__y", json!({"path": "/abs"}), "edit", json!([{"path": "/abs"}]), null.clone()),
        (
            "write_file",
            json!({"path": "n", "content": "new"}),
            "edit",
            json!([{"path": "/w/n"}]),
            json!([{"type": "diff", "path": "/w/n", "newText": "new"}]),
        ),
        (
            "edit_file",
            json!({"path": "n", "old_string": "a", "new_string": "b"}),
            "edit",
            json!([{"path": "/w/n"}]),
            json!([{"type": "diff", "path": "/w/n", "oldText": "a", "newText": "b"}]),
        ),
    ] {
        let kind = if kind == other { null.clone() } else { json!(kind) };
        let seen = announced(name, &arguments);
        assert_eq!(seen, json!([kind, locations, content]), "{name} {arguments}");
    }
}

#[test]
fn a_call_waits_until_it_may_run_then_runs_then_ends_once() {
    let mut projector = projector();
    let asked = shown(&mut projector, &entry(1, called("bash", &json!({"command": "ls"}))));
    assert_eq!(asked[0].get("status"), None, "pending is what a call is by itself");
    let started = Event::ToolStarted(CallRef { call: CallId("c1".into()) });
    let update = |status: &str| json!({"sessionUpdate": "tool_call_update", "toolCallId": "c1", "status": status});
    assert_eq!(shown(&mut projector, &entry(2, started)), [update("in_progress")]);
    let done = entry(3, settled(Outcome::Completed, "a\n", json!({"exit_code": 0})));
    let mut ended = update("completed");
    ended["content"] = json!([words("```\na\n```")]);
    ended["rawOutput"] = json!({"exit_code": 0});
    assert_eq!(shown(&mut projector, &done), [ended]);
    assert_eq!(shown(&mut projector, &done), Vec::<Value>::new(), "it ends once");
}

#[test]
fn an_end_says_in_words_how_it_came() {
    let edit = || called("edit_file", &json!({"path": "n", "old_string": "a", "new_string": "b"}));
    let diff = json!({"type": "diff", "path": "/w/n", "oldText": "a", "newText": "b"});
    let other = || called("other", &json!({}));
    for (call, outcome, said, status, content) in [
        (edit(), Outcome::Completed, "edited", "completed", json!([diff])),
        (edit(), Outcome::Denied, "denied: no", "failed", json!([diff, words("denied: no")])),
        (edit(), Outcome::Failed, "no such text", "failed", json!([diff, words("no such text")])),
        (other(), Outcome::Completed, "*bold*", "completed", json!([words("*bold*")])),
        (other(), Outcome::Completed, "", "completed", json!([])),
        (other(), Outcome::Cancelled, "", "failed", json!([words("cancelled")])),
        (other(), Outcome::Denied, "", "failed", json!([words("denied")])),
        (other(), Outcome::Failed, "", "failed", json!([words("failed")])),
        (
            other(),
            Outcome::Indeterminate,
            "",
            "failed",
            json!([words("it is not known whether this was done")]),
        ),
    ] {
        let mut projector = projector();
        shown(&mut projector, &entry(1, call));
        let [end] = &shown(&mut projector, &entry(2, settled(outcome, said, Value::Null)))[..]
        else {
            panic!("one update");
        };
        assert_eq!(json!([end["status"], end["content"]]), json!([status, content]), "{outcome:?}");
    }
}

#[test]
fn an_edit_says_in_the_end_which_line_it_changed() {
    let mut projector = projector();
    let arguments = json!({"path": "n", "old_string": "a", "new_string": "b"});
    shown(&mut projector, &entry(1, called("edit_file", &arguments)));
    let end =
        shown(&mut projector, &entry(2, settled(Outcome::Completed, "x", json!({"line": 12}))));
    assert_eq!(end[0]["locations"], json!([{"path": "/w/n", "line": 12}]));
}

#[test]
fn arguments_that_a_hook_replaced_are_shown_instead() {
    let mut projector = projector();
    shown(&mut projector, &entry(1, called("write_file", &json!({"path": "a", "content": "x"}))));
    let arguments = Some(json!({"path": "b", "content": "y"}).to_string());
    let ran = Event::HookRan(Box::new(HookRan {
        point: HookPoint::BeforeToolApply,
        step: Some(1),
        call: Some(CallId("c1".into())),
        input: None,
        hooks: vec!["h".to_owned()],
        change: HookChange { arguments, ..HookChange::default() },
        effect: None,
        usage: Usage::default(),
        cost_micros: None,
        cost_unknown: false,
        lost: false,
    }));
    let updates = shown(&mut projector, &entry(2, ran));
    assert_eq!(updates[0]["rawInput"], json!({"path": "b", "content": "y"}));
    assert_eq!(updates[0]["content"][0]["path"], "/w/b");
    assert_eq!(updates[0]["locations"], json!([{"path": "/w/b"}]));
}

fn output(offset: u64, text: &str) -> AgentEvent {
    let item = DeltaItem::Output { call: CallId("c1".into()) };
    AgentEvent::Delta(Delta { turn: 1, step: 1, attempt: 0, item, offset, text: text.to_owned() })
}

#[test]
fn output_is_told_five_times_a_second_at_most_and_all_of_it_in_time() {
    let mut projector = projector();
    shown(&mut projector, &super::caught_up());
    shown(&mut projector, &entry(1, called("bash", &json!({"command": "ls"}))));
    let told = |update: &Value| update["content"][0]["content"]["text"].clone();
    assert_eq!(told(&at(&mut projector, &output(0, "a"), 1_000)[0]), "```\na\n```");
    assert_eq!(projector.due(), None);
    assert!(at(&mut projector, &output(1, "b"), 1_100).is_empty());
    assert!(at(&mut projector, &output(1, "b"), 1_150).is_empty(), "it is known");
    assert_eq!(projector.due(), Some(Timestamp::from_unix_ms(1_200)));
    let overdue = json_of(&projector.overdue(Timestamp::from_unix_ms(1_200)));
    assert_eq!(told(&overdue[0]), "```\nab\n```");
    assert_eq!(projector.due(), None);
    let gap = at(&mut projector, &output(10, "c"), 2_000);
    assert_eq!(told(&gap[0]), "```\n[…]\nc\n```");
    assert!(at(&mut projector, &output(11, "d"), 2_001).is_empty());
    shown(&mut projector, &entry(2, settled(Outcome::Completed, "all", Value::Null)));
    assert_eq!(projector.due(), None, "the end says it all");
}

#[test]
fn of_much_output_the_end_is_shown() {
    let mut projector = projector();
    shown(&mut projector, &entry(1, called("other", &json!({}))));
    let much = "é".repeat(50_000);
    let told = at(&mut projector, &output(0, &much), 1_000);
    let told = told[0]["content"][0]["content"]["text"].as_str().unwrap();
    assert!(told.len() <= 8 * 1024 + 8 && told.starts_with("[…]\né"), "{}", told.len());
}

#[test]
fn text_with_fences_is_shown_within_a_longer_fence() {
    for (text, fence) in [("a", "```"), ("```x```", "````"), ("`````", "``````")] {
        assert_eq!(super::super::output::fenced(text), format!("{fence}\n{text}\n{fence}"));
    }
}
