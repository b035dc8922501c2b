//! Hooks through the real program: commands around calls and turns, and none of a folder that nobody trusted.

use std::process::Command;

use oarlock_core::ports::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::home::{Home, ran};
use crate::loopback::Loopback;
use crate::voyage::Running;

/// What the events of this type say, of lines of `run --json`.
fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let events = lines.iter().map(|line| &line["entry"]["event"]);
    events.filter(|event| event["type"] == kind).map(|event| &event["data"]).collect()
}

/// A model that touches a file, and is done.
fn touches(home: &Home, name: &str) -> String {
    let touch = json!({ "calls": [{ "name": "bash", "arguments": { "command": format!("touch {name}") } }] });
    home.script(&json!([touch, { "text": "It is done." }]))
}

#[test]
fn a_command_hook_changes_what_a_tool_does_and_the_journal_says_so() {
    let home = Home::new();
    home.user(
        r#"
        [[hooks.before_tool_apply]]
        name = "rename"
        match = { tool = "bash", effect = ["mutating", "destructive"] }
        shell = "cat > seen.json; echo '{\"args\": {\"command\": \"touch other\"}}'"
        "#,
    );
    let model = touches(&home, "one");
    let ran = home.run(&["run", "--json", "--mode", "open", "-m", &model, "go"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(home.path("project/other").exists() && !home.path("project/one").exists());
    let lines = ran.lines();
    let hooked = of_type(&lines, "hook_ran");
    assert_eq!(hooked[0]["hooks"], json!(["rename"]));
    let said = of_type(&lines, "tool_called")[0]["arguments"].as_str().unwrap();
    assert!(said.contains("touch one"), "{said}");
    // It was given the envelope as one line, in the session's folder.
    let seen = std::fs::read_to_string(home.path("project/seen.json")).unwrap();
    assert_eq!(seen.matches('\n').count(), 1);
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!((&seen["hook_event"], &seen["tool"]), (&json!("before_tool_apply"), &json!("bash")));
    assert_eq!(
        (&seen["args"]["command"], &seen["is_subagent"]),
        (&json!("touch one"), &json!(false))
    );
    assert_eq!(seen["cwd"], json!(home.project().display().to_string()));
}

#[test]
fn exit_2_is_a_no_with_its_reason_and_any_other_failure_counts_as_the_hook_says() {
    for (line, more, runs) in [
        ("echo 'not on a Friday' >&2; exit 2", "", false),
        ("exit 1", "", false),
        ("echo nonsense", "", false),
        ("sleep 600", "timeout_sec = 1", false),
        ("kill -9 $$", "", false),
        ("exit 1", "on_error = \"skip\"", true),
        ("sleep 600", "timeout_sec = 1\non_error = \"skip\"", true),
        ("exec true", "", true),
    ] {
        let home = Home::new();
        let hook = format!("name = \"guard\"\nshell = \"{line}\"\n{more}");
        home.user(&format!("[[hooks.before_tool_apply]]\n{hook}\n"));
        let model = touches(&home, "one");
        let began = SystemClock::new().now();
        let ran = home.run(&["run", "--json", "--mode", "open", "-m", &model, "go"]);
        let late = SystemClock::new().now().ms_since(began);
        assert!(late < 60_000, "{line}: {late} ms");
        assert_eq!(home.path("project/one").exists(), runs, "{line} {more}: {}", ran.err);
        let lines = ran.lines();
        let settled = of_type(&lines, "tool_settled")[0].to_string();
        assert_eq!(settled.contains("\"denied\""), !runs, "{line} {more}: {settled}");
        assert_eq!(settled.contains("not on a Friday"), line.contains("Friday"), "{settled}");
    }
}

#[test]
fn a_turn_goes_on_until_the_check_of_a_hook_passes() {
    let home = Home::new();
    home.user(
        r#"
        [[hooks.before_turn_end]]
        name = "tests-pass"
        shell = "test -e one || { echo 'the file is missing' >&2; exit 2; }"
        "#,
    );
    let touch = json!({ "calls": [{ "name": "bash", "arguments": { "command": "touch one" } }] });
    let model = home.script(&json!([{ "text": "Done?" }, touch, { "text": "Done." }]));
    let ran = home.run(&["run", "--json", "--mode", "open", "-m", &model, "go"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let lines = ran.lines();
    let continued = of_type(&lines, "turn_continued");
    assert_eq!(continued.len(), 1);
    assert_eq!(continued[0]["by"], "hook");
    assert!(continued[0].to_string().contains("the file is missing"));
}

#[test]
fn secrets_are_taken_out_of_results_before_anybody_sees_them() {
    let home = Home::new();
    home.user("[[hooks.after_tool_apply]]\nname = \"redact\"\nbuiltin = \"redact-secrets\"\n");
    home.write("project/.env", "USER=me\nAPI_KEY=very-private\n");
    let read = json!({ "calls": [{ "name": "read_file", "arguments": { "path": ".env" } }] });
    let model = home.script(&json!([read, { "text": "I read it." }]));
    let ran = home.run(&["run", "--json", "-m", &model, "go"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let settled = of_type(&ran.lines(), "tool_settled")[0].to_string();
    assert!(settled.contains("API_KEY=***") && settled.contains("USER=me"), "{settled}");
    assert!(!ran.out.contains("very-private"), "{}", ran.out);
}

#[test]
fn secrets_are_taken_out_of_what_background_commands_give_before_a_model_sees_them() {
    let provider = Loopback::start("I see.");
    let home = provider.home(
        "openai-chat",
        "[[hooks.after_tool_apply]]\nname = \"redact\"\nmatch = { tool_glob = \"*\" }\nbuiltin = \"redact-secrets\"\n",
    );
    home.write("project/env", "USER=me\nAPI_KEY=very-private\n");
    let start =
        json!({ "name": "bash", "arguments": { "command": "cat env", "run_in_background": true } });
    let look = json!({ "name": "inspect_background_task", "arguments": { "task_id": "bg-1" } });
    let model = home.script(&json!([
        { "calls": [start] }, { "text": "It runs." }, { "calls": [look] }, { "text": "It ended." }
    ]));
    // What the user says is left alone.
    let first = ["run", "--json", "--mode", "open", "-m", &model, "my password: hunter2"];
    let ran = home.run(&first);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let lines = ran.lines();
    let looked = of_type(&lines, "tool_settled")[1].to_string();
    assert!(looked.contains("API_KEY=***") && !looked.contains("very-private"), "{looked}");
    let hooked = of_type(&lines, "hook_ran");
    assert_eq!(hooked[0]["point"], "before_ingest", "{hooked:?}");

    let ran = home.run(&["run", "--resume", "-m", "loop/m", "and?"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let shown = provider.asked().last().unwrap()["messages"].to_string();
    let told = "[background task bg-1 (cat env) completed]\\nUSER=me\\nAPI_KEY=***";
    assert!(shown.contains(told) && shown.contains("password: hunter2"), "{shown}");
    assert!(!shown.contains("very-private"), "{shown}");

    let off = home.run(&[&["run", "--hook-off", "redact"], &first[1..]].concat());
    assert!(of_type(&off.lines(), "hook_ran").is_empty(), "{}", off.out);
}

const SPY: &str =
    "[[hooks.after_session_enter]]\nname = \"spy\"\nshell = \"touch spied; echo '{}'\"\n";

#[test]
fn a_folder_that_nobody_trusted_runs_no_hook_and_trusting_it_shows_the_command() {
    let home = Home::new();
    home.shared(SPY);
    let model = touches(&home, "one");
    let ran = home.run(&["run", "-q", "--mode", "open", "-m", &model, "go"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("`hooks.after_session_enter` is not applied"), "{}", ran.err);
    assert!(!home.path("project/spied").exists());

    let shown = home.run(&["trust", "--show"]);
    assert!(shown.out.contains("touch spied"), "{}", shown.out);
    assert_eq!(home.run(&["trust", "--yes"]).code, Some(0));
    let ran = home.run(&["run", "-q", "--mode", "open", "-m", &model, "go"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(home.path("project/spied").exists());
}

#[test]
fn hooks_are_left_out_by_flag_and_by_configuration_also_after_a_resume() {
    let home = Home::new();
    let hook = "[[hooks.before_tool_apply]]\nname = \"guard\"\nshell = \"exit 2\"\n";
    home.user(hook);
    let model = touches(&home, "one");
    let denied = |flags: &[&str]| {
        let all = [&["run", "--json", "--mode", "open", "-m", &model], flags, &["go"]].concat();
        let ran = home.run(&all);
        let denied = of_type(&ran.lines(), "tool_settled").iter().any(|s| s["outcome"] == "denied");
        (denied, ran)
    };
    assert!(denied(&[]).0);
    assert!(!denied(&["--no-hooks"]).0);
    assert!(!denied(&["--hook-off", "guard"]).0);
    // What the session left out it leaves out when it is resumed, until a flag says otherwise.
    let resumed = home.run(&["run", "--json", "--resume", "-m", &model, "again"]);
    assert!(!resumed.out.contains("\"denied\""), "{}", resumed.out);
    let unknown = home.run(&["run", "--hook-off", "gaurd", "-m", &model, "go"]);
    assert!(unknown.err.contains("there is no hook `gaurd`; there are guard"), "{}", unknown.err);
    assert_ne!(unknown.code, Some(0));

    home.user(&format!("{hook}[[hooks.disable]]\nname = \"guard\"\n"));
    assert!(!denied(&[]).0);
}

#[test]
fn a_mistake_in_a_hook_is_named_with_its_file_and_key() {
    for (text, words) in [
        ("[[hooks.before_tool]]\nname = \"x\"\nshell = \"true\"", "`before_tool` is no point"),
        ("[[hooks.before_ingest]]\nname = \"x\"\nshel = \"true\"", "shel"),
        ("[[hooks.before_ingest]]\nname = \"x\"", "needs one of"),
        ("[[hooks.before_ingest]]\nname = \"x y\"\nshell = \"true\"", "needs a name"),
        ("[[hooks.before_ingest]]\nname = \"x\"\nbuiltin = \"nope\"", "no built-in hook: `nope`"),
        (
            "[[hooks.after_generate]]\nname = \"x\"\nshell = \"true\"\non_error = \"deny\"",
            "nothing to deny",
        ),
        ("[[hooks.after_generate]]\nname = \"x\"\nprompt = \"p\"\nmodel = \"a/b\"", "no words"),
        ("[[hooks.before_ingest]]\nname = \"x\"\nshell = \"true\"\ntimeout_sec = 0", "timeout_sec"),
        (
            "[[hooks.before_ingest]]\nname = \"x\"\nshell = \"true\"\nmatch = { tool = \"t\" }",
            "about no call",
        ),
        ("[[hooks.disable]]\nname = \"x\"\nevent = \"nope\"", "`nope` is no point"),
    ] {
        let home = Home::new();
        let file = home.user(text);
        let ran = home.run(&["doctor", "--config"]);
        assert_ne!(ran.code, Some(0), "{text}");
        assert!(ran.err.contains(words), "{text}: {}", ran.err);
        assert!(ran.err.contains(&file.display().to_string()), "{text}: {}", ran.err);
        assert!(ran.err.contains("hooks."), "{text}: {}", ran.err);
    }
}

#[test]
fn a_process_killed_while_a_hook_runs_leaves_a_turn_that_asks_it_again() {
    let home = Home::new();
    home.user(
        r#"
        [[hooks.before_tool_apply]]
        name = "slow"
        shell = "echo x >> ran; test -e go || sleep 300; echo '{\"args\": {\"command\": \"touch other\"}}'"
        timeout_sec = 300
        "#,
    );
    let model = touches(&home, "one");
    let mut command = home.command();
    command.args(["run", "--json", "--mode", "open", "-m", &model, "go"]);
    let mut running = Running::start(command);
    running.until_event("tool_called");
    let ran = home.path("project/ran");
    let waits =
        format!("for i in $(seq 600); do test -e {} && exit; sleep 0.05; done", ran.display());
    assert!(Command::new("sh").args(["-c", &waits]).status().unwrap().success());
    assert!(ran.exists(), "the hook runs");
    running.child.kill().unwrap();
    drop(running);
    home.write("project/go", "");
    let again = home.run(&["run", "--json", "--resume"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(home.path("project/other").exists() && !home.path("project/one").exists());
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\nx\n", "it was asked once more");
    assert_eq!(of_type(&again.lines(), "hook_ran").len(), 1);
}

/// A hook that touches `name` in the session's folder.
fn spy(name: &str) -> String {
    format!("[[hooks.after_session_enter]]\nname = \"{name}\"\nshell = \"touch {name}\"\n")
}

#[test]
fn a_session_of_another_folder_has_the_hooks_of_the_user_and_none_of_the_folder_that_resumes_it() {
    let home = Home::new();
    home.user(&spy("mine"));
    home.shared(&format!("{}[[hooks.disable]]\nname = \"mine\"\n", spy("here")));
    home.write("other/.oarlock/config.toml", &spy("there"));
    let model = home.script(&json!([{ "text": "Done." }, { "text": "Again." }]));
    let other = |arguments: &[&str]| {
        let mut command = home.command();
        ran(&command.current_dir(home.path("other")).args(arguments).output().unwrap())
    };
    assert_eq!(home.run(&["trust", "--yes"]).code, Some(0));
    assert_eq!(other(&["trust", "--yes"]).code, Some(0));
    let spied = |folder: &str| {
        let names = ["mine", "here", "there"];
        names.map(|name| std::fs::remove_file(home.path(folder).join(name)).is_ok())
    };
    let begun = other(&["run", "-q", "-m", &model, "go"]);
    assert_eq!((begun.code, spied("other")), (Some(0), [true, false, true]), "{}", begun.err);
    let session = home.sessions()[0]["id"].as_str().unwrap().to_owned();

    let resumed = home.run(&["run", "-q", "--resume", &session, "-m", &model, "again"]);
    assert_eq!((resumed.code, spied("other")), (Some(0), [true, false, false]), "{}", resumed.err);
    assert!(resumed.err.contains("are not loaded here"), "{}", resumed.err);
    let own = home.run(&["run", "-q", "-m", &model, "go"]);
    assert_eq!((own.code, spied("project")), (Some(0), [false, true, false]), "{}", own.err);
}

#[test]
fn a_program_of_a_project_is_the_one_in_its_root_and_a_user_names_a_whole_path() {
    let home = Home::new();
    let hook = "[[hooks.after_session_enter]]\nname = \"spy\"\ncommand = [\"./spy\"]\n";
    home.shared(hook);
    std::fs::create_dir_all(home.path("project/.git")).unwrap();
    std::fs::create_dir_all(home.path("project/below")).unwrap();
    let program = home.write("project/spy", "#!/bin/sh\ntouch spied\n");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    assert_eq!(home.run(&["trust", "--yes"]).code, Some(0));
    let model = home.script(&json!([{ "text": "Done." }]));
    let mut command = home.command();
    command.current_dir(home.path("project/below")).args(["run", "-q", "-m", &model, "go"]);
    let below = ran(&command.output().unwrap());
    assert_eq!(below.code, Some(0), "{}", below.err);
    assert!(home.path("project/below/spied").exists(), "{}", below.err);

    home.user(hook);
    let refused = home.run(&["doctor", "--config"]);
    assert!(refused.err.contains("`./spy` is in no certain folder"), "{}", refused.err);
}

#[test]
fn a_prompt_is_asked_only_where_the_limits_leave_room_for_it() {
    for (tokens, asked) in [("60000", true), ("20000", false)] {
        let home = Home::new();
        let says = json!({ "steps": [
            { "text": "Mind the gap.", "usage": { "input": 9, "output": 3 } },
            { "text": "Go on." }
        ] });
        let judge = home.write("judge.json", &says.to_string());
        let hook = format!(
            "name = \"judge\"\nprompt = \"Judge.\"\nmodel = \"script/{}\"",
            judge.display()
        );
        home.user(&format!("[[hooks.before_generate]]\n{hook}\n"));
        let model = touches(&home, "one");
        let limit = ["--max-tokens-total", tokens];
        let ran = home
            .run(&[&["run", "--json", "--mode", "open", "-m", &model, "go"], &limit[..]].concat());
        let lines = ran.lines();
        let funds = &of_type(&lines, "hooks_started")[0]["paying"][0]["funds"];
        let ended = of_type(&lines, "turn_ended")[0];
        if asked {
            assert_eq!(ran.code, Some(0), "{}", ran.err);
            assert_eq!(funds["reserved"]["output_tokens"], json!(1_024));
            let used = of_type(&lines, "hook_ran");
            let used: Vec<_> = used.iter().map(|ran| ran["usage"]["input"].as_u64()).collect();
            assert_eq!(used, [Some(9), Some(9)], "one before each step");
            assert_eq!(ended["usage"]["input"], json!(18), "the steps themselves count nothing");
            continue;
        }
        let why = "the limit of tokens leaves no room for its model call";
        assert_eq!(funds["refused"], json!(why));
        assert_eq!(ended["stop"]["reason"], json!("refusal"), "a guard denies");
        let error = ended["error"]["message"].as_str().unwrap();
        assert_eq!(error, format!("the hook `judge` failed: {why}"));
    }
}
