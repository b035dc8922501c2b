//! Hooks of a configuration, run on this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oarlock_core::event::{HookControl, HookPoint};
use oarlock_core::ids::SessionId;
use oarlock_core::message::Usage;
use oarlock_core::ports::clock::{Clock, SystemClock};
use oarlock_core::ports::hook::{HookCall, HookEngine, HookStep, OnError};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::spec::HookRunOverrides;
use oarlock_testkit::model::{OneModel, Say, ScriptedModel, info, text};
use oarlock_tools::Environment;
use oarlock_tools::hooks::{Hook, HookEntry, Hooks, ready};
use serde_json::json;

const POINT: HookPoint = HookPoint::BeforeToolApply;

fn entry(name: &str, toml: &str) -> HookEntry {
    toml::from_str(&format!("name = \"{name}\"\n{toml}")).unwrap()
}

fn engine(point: HookPoint, entries: &[HookEntry], model: Vec<Vec<Say>>) -> Hooks {
    let hooks = ready(&BTreeMap::from([(point, entries.to_vec())]), &[]).unwrap();
    let variables = [("PATH", "/usr/bin:/bin"), ("GH_TOKEN", "secret")];
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    let environment = Environment::without_secrets(variables, &[]).unwrap();
    let models = Arc::new(OneModel(ScriptedModel::new(model)));
    Hooks::new(hooks, environment, models, Arc::new(SystemClock::new()))
}

fn call(point: HookPoint, cwd: &Path) -> HookCall {
    let fields = json!({"tool": "bash", "effect": "mutating", "args": {"command": "ls"}});
    let step = HookStep {
        hook_event: point,
        session_id: SessionId::parse("s").unwrap(),
        cwd: cwd.display().to_string(),
        turn: Some(1),
        is_subagent: false,
        fields: fields.as_object().unwrap().clone(),
    };
    HookCall { step, off: HookRunOverrides::default(), unaffordable: BTreeMap::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hook_sees_what_the_one_before_changed_and_a_no_is_the_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [
        entry("one", r#"shell = "echo '{\"args\": {\"command\": \"pwd\"}}'""#),
        entry("other", "shell = 'touch other'\nmatch = { tool = \"fetch\" }"),
        entry(
            "glob",
            "shell = 'touch glob'\nmatch = { tool_glob = \"b*\", effect = [\"mutating\"] }",
        ),
        entry("two", "shell = 'grep -q pwd && { echo no >&2; exit 2; }'"),
        entry("three", "shell = 'touch three'"),
    ];
    let hooks = engine(POINT, &entries, vec![]);
    let end = hooks.run(call(POINT, folder.path())).await;
    assert_eq!(end.hooks, ["one", "two"]);
    assert_eq!(end.change.arguments.as_deref(), Some(r#"{"command":"pwd"}"#));
    assert_eq!(end.change.control, Some(HookControl::Break { stop: None }));
    assert_eq!(end.change.reason.as_deref(), Some("no"));
    assert!(folder.path().join("glob").exists());
    assert!(!folder.path().join("other").exists() && !folder.path().join("three").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_has_the_sessions_folder_and_no_secrets_and_need_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let shell =
        "shell = 'env > env; pwd > pwd; exec <&-; head -c 300000 /dev/zero | tr \"\\0\" x >&2'";
    let hooks = engine(POINT, &[entry("a", shell)], vec![]);
    let mut call = call(POINT, folder.path());
    call.step.fields.insert("args".to_owned(), json!("x".repeat(1_000_000)));
    let end = hooks.run(call).await;
    assert!(end.change.is_empty(), "{:?}", end.change);
    let env = std::fs::read_to_string(folder.path().join("env")).unwrap();
    assert!(
        env.contains("OARLOCK_TOOL_NAME=bash") && env.contains("OARLOCK_SESSION_ID=s"),
        "{env}"
    );
    assert!(!env.contains("secret"), "{env}");
    let pwd = std::fs::read_to_string(folder.path().join("pwd")).unwrap();
    assert_eq!(Path::new(pwd.trim()), folder.path().canonicalize().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_deadline_a_hook_and_all_that_it_started_are_ended() {
    let folder = tempfile::tempdir().unwrap();
    let shell = "shell = '(sleep 3; touch late) & setsid sh -c \"sleep 3; touch later\" & sleep 600'\ntimeout_sec = 1";
    let clock = SystemClock::new();
    for (on_error, stopped) in [("deny", true), ("skip", false)] {
        let entry = entry("a", &format!("{shell}\non_error = \"{on_error}\""));
        let hooks = engine(POINT, &[entry], vec![]);
        let began = clock.now();
        let end = hooks.run(call(POINT, folder.path())).await;
        assert!(clock.now().ms_since(began) < 3_000);
        assert_eq!(end.change.control.is_some(), stopped);
        assert_eq!(end.hooks.len(), usize::from(stopped));
    }
    // Dropping the run ends it likewise.
    let hooks = engine(POINT, &[entry("a", "shell = 'sleep 2; touch dropped'")], vec![]);
    let run = hooks.run(call(POINT, folder.path()));
    assert!(tokio::time::timeout(Duration::from_millis(500), run).await.is_err());
    // Whoever survives needs time to show it.
    clock.sleep_until(clock.now().after(3_000)).await;
    for name in ["late", "later", "dropped"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_gives_words_and_says_what_they_cost() {
    let folder = tempfile::tempdir().unwrap();
    let point = HookPoint::AfterToolBatch;
    let toml = "prompt = \"Judge.\"\nmodel = \"test/scripted\"\ntemplate = \"{{tool}} in {{cwd}}\"";
    let answer = vec![vec![Say::Reply(text("mind the gap"))]];
    let hooks = engine(point, &[entry("a", toml)], answer);
    let end = hooks.run(call(point, folder.path())).await;
    assert_eq!(end.change.context, ["mind the gap"]);
    assert_eq!((end.usage.total(), end.cost_micros), (15, Some(20)));
}

/// A point at which a prompt may give words, and at which hooks that fail deny.
const ASKED: HookPoint = HookPoint::BeforeGenerate;
/// A prompt that stops after a second.
const JUDGE: &str = "prompt = \"Judge.\"\nmodel = \"test/scripted\"\ntimeout_sec = 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_gives_no_answer_says_what_its_request_cost() {
    let folder = tempfile::tempdir().unwrap();
    // Ten bytes are four tokens, at a micro-dollar each; the answer's cost two.
    for (says, input, output) in [
        (vec![Say::Silence], 4, 0),
        (vec![Say::Delta("word"), Say::Silence], 4, 2),
        (vec![Say::Panic], 4, 0),
        (vec![Say::Delta("word"), Say::Fail(ModelErrorKind::Transport, None)], 4, 2),
        (vec![Say::Fail(ModelErrorKind::Timeout, None)], 4, 0),
        (vec![Say::Fail(ModelErrorKind::Overloaded, None)], 0, 0),
    ] {
        let what = format!("{says:?}");
        let toml = format!("{JUDGE}template = \"four\"");
        let hooks = engine(ASKED, &[entry("a", &toml)], vec![says]);
        let end = hooks.run(call(ASKED, folder.path())).await;
        let usage = Usage { input, output, ..Usage::default() };
        let cost = (input > 0).then_some(input + 2 * output);
        assert_eq!((end.usage, end.cost_micros, end.cost_unknown), (usage, cost, false), "{what}");
        assert!(end.change.control.is_some(), "{what}: a guard denies");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_case_of_a_prompt_is_told_beforehand_and_no_run_passes_it() {
    let folder = tempfile::tempdir().unwrap();
    let spec = oarlock_testkit::kit::spec(oarlock_testkit::kit::settings());
    let command = engine(ASKED, &[entry("a", "command = [\"true\"]")], vec![]);
    assert_eq!(command.hooks(&spec).0[&ASKED][0].spend, None);
    let all = 64 * 1024_u64;
    for (template, shown) in [
        (None, all),
        (Some("four".to_owned()), 4),
        (Some("{{tool}}".to_owned()), all),
        (Some("{{args}}".repeat(20_000)), all),
        (Some("x".repeat(100_000)), all),
    ] {
        let template = template.map(|template| format!("template = \"{template}\""));
        let toml = format!("{JUDGE}{}", template.unwrap_or_default());
        let hooks = engine(ASKED, &[entry("a", &toml)], vec![vec![Say::Silence]]);
        let spend = hooks.hooks(&spec).0[&ASKED][0].spend.unwrap();
        let wanted = ((6 + shown).div_ceil(3), 1_024, info().price);
        assert_eq!((spend.prompt_tokens, spend.output_tokens, spend.price), wanted);
        let used = hooks.run(call(ASKED, folder.path())).await.usage.input;
        assert!(used > 0 && used <= spend.prompt_tokens, "{used} of {spend:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_the_limits_leave_no_room_for_asks_nobody_and_fails_by_its_on_error() {
    let folder = tempfile::tempdir().unwrap();
    for (on_error, denies) in [("deny", true), ("skip", false)] {
        let toml = format!("{JUDGE}on_error = \"{on_error}\"");
        let note = r#"command = ["echo", "{\"additional_context\": \"after\"}"]"#;
        let point = HookPoint::AfterToolBatch;
        // A model that was asked would answer.
        let answer = vec![vec![Say::Reply(text("asked"))]];
        let hooks = engine(point, &[entry("a", &toml), entry("b", note)], answer);
        let unaffordable = BTreeMap::from([("a".to_owned(), "no room".to_owned())]);
        let end = hooks.run(HookCall { unaffordable, ..call(point, folder.path()) }).await;
        assert_eq!(end.change.control.is_some(), denies, "{on_error}");
        let why = end.change.reason.unwrap_or_default();
        assert_eq!(why.contains("the hook `a` failed: no room"), denies, "{on_error}: {why}");
        let said: &[&str] = if denies { &[] } else { &["after"] };
        assert_eq!(end.change.context, said, "{on_error}");
        assert_eq!((end.usage, end.cost_micros), (Usage::default(), None), "{on_error}");
    }
}

#[test]
fn guards_deny_and_observers_are_skipped_unless_a_hook_says_otherwise() {
    let hooks = |point| engine(point, &[entry("a", "command = [\"true\"]")], vec![]);
    let spec = oarlock_testkit::kit::spec(oarlock_testkit::kit::settings());
    for point in HookPoint::ALL {
        let guard = matches!(
            point,
            HookPoint::BeforeIngest
                | HookPoint::BeforeGenerate
                | HookPoint::BeforePermission
                | HookPoint::BeforeToolApply
        );
        let table = hooks(point).hooks(&spec);
        let wanted = if guard { OnError::Deny } else { OnError::Skip };
        assert_eq!(table.0[&point][0].on_error, wanted, "{point:?}");
        assert_eq!(table.0[&point][0].deadline_ms, 5_000);
    }
}

#[test]
fn what_redacts_results_redacts_ends_of_background_tasks_before_other_hooks_see_them() {
    let redact = entry("redact", "builtin = 'redact-secrets'\nmatch = { tool = \"fetch\" }");
    let lists = BTreeMap::from([
        (HookPoint::AfterToolApply, vec![redact, entry("audit", "builtin = 'tracing-audit'")]),
        (HookPoint::BeforeIngest, vec![entry("mine", "shell = 'true'")]),
    ]);
    let names = |off: &str| {
        let off = toml::from_str(&format!("name = \"redact\"\n{off}")).unwrap();
        let hooks = ready(&lists, &[off]).unwrap();
        let of = |point| hooks.get(&point).into_iter().flatten().map(Hook::name).collect();
        let names: (Vec<_>, Vec<_>) = (of(HookPoint::AfterToolApply), of(HookPoint::BeforeIngest));
        format!("{names:?}")
    };
    for (off, wanted) in [
        ("event = \"after_compact\"", r#"(["redact", "audit"], ["redact", "mine"])"#),
        ("event = \"before_ingest\"", r#"(["redact", "audit"], ["mine"])"#),
        ("event = \"after_tool_apply\"", r#"(["audit"], ["mine"])"#),
        ("", r#"(["audit"], ["mine"])"#),
    ] {
        assert_eq!(names(off), wanted, "{off}");
    }
}
