//! `run` from end to end: what it prints and where, the code it ends with, and what it refuses.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harm::{entries, journal, of_kind, session};
use crate::home::{Home, Ran};
use crate::loopback::Loopback;

/// A home with a script of these steps.
fn scripted(steps: &Value) -> Home {
    let home = Home::new();
    home.write("project/notes.txt", "row your boat\n");
    home.write("project/s.json", &json!({ "steps": steps }).to_string());
    home
}

fn play(home: &Home, more: &[&str]) -> Ran {
    home.run(&[&["run", "--model", "script/s.json"], more, &["go"]].concat())
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({"name": name, "arguments": arguments})
}

#[test]
fn a_first_run_answers_on_stdout_and_says_on_stderr_who_answered_and_how_to_go_on() {
    let home = Home::new();
    home.write("project/notes.txt", "row your boat\n");
    let ran = home.run(&["run", "what is in this folder?"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("1 file and 0 folders: notes.txt"), "{}", ran.out);
    assert!(
        ran.err.starts_with("oarlock: no provider is configured: using the built-in demonstration")
    );
    let id = session(&home).unwrap();
    let last = ran.err.lines().last().unwrap();
    assert_eq!(
        last,
        format!("oarlock: session {id}; go on with `oarlock run --resume {id} \"…\"`")
    );
    let quiet = home.run(&["run", "--quiet", "--resume", &id, "and?"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (Some(0), ""));
    let lines = home.run(&["run", "--json", "--resume", "and now?"]);
    let last: Value = serde_json::from_str(lines.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["result"]["demo"], true);
    assert_eq!(last["result"]["session"], id.as_str());
    assert_eq!(session(&home).unwrap(), id, "the word after --resume was a prompt");
}

#[test]
fn with_ci_set_the_demonstration_must_be_asked_for_by_name() {
    let home = Home::new().with("CI", "true");
    assert!(home.run(&["run", "hi"]).refused(1).contains("--model demo"));
    assert_eq!(home.run(&["run", "--model", "demo", "hi"]).code, Some(0));
}

#[test]
fn what_is_mistyped_is_an_error_and_never_fake_work() {
    let home = scripted(&json!([{"text": "x"}]));
    let table: [(&[&str], i32, &str); 9] = [
        (&["--allow", "bash(("], 2, "is not a rule"),
        (&["--deny", ""], 2, "--deny"),
        (&["--mode", "opne"], 2, "open"),
        (&["--model", "antropic/x"], 1, "did you mean `anthropic`"),
        (&["--model", "script/none.json"], 1, "no such file"),
        (&["--config", "moode=open"], 1, "did you mean `mode`"),
        (&["--config", "log.filter=a=b=c"], 1, "log.filter"),
        (&["--image", "notes.txt"], 1, "notes.txt is no PNG"),
        (&["--image", "gone.png"], 1, "gone.png"),
    ];
    for (flags, code, words) in table {
        let ran = home.run(
            &[&["run", "--quiet"], flags, &["--config", "model=script/s.json", "go"]].concat(),
        );
        assert!(ran.refused(code).contains(words), "{flags:?}: {}", ran.err);
        if code == 2 {
            assert!(!home.path(".local").exists(), "{flags:?} made something");
            continue;
        }
        assert_eq!(session(&home), None, "{flags:?} left a session behind");
    }
    home.user("[rules]\ndeny = [\"bash(\"]\n");
    assert!(home.run(&["run", "hi"]).refused(1).contains("config.toml:2:1"));
}

#[test]
fn each_end_of_a_turn_has_its_code() {
    let error = |kind: &str| json!([{"errors": [{"kind": kind}]}]);
    let touch = call("bash", &json!({"command": "touch made"}));
    let twice = json!([{"calls": [call("search", &json!({"pattern": "x"}))]}, {"text": "done"}]);
    let silent = json!([{"silence": true}]);
    let table: [(Value, &[&str], i32); 8] = [
        (json!([{"text": "done"}]), &[], 0),
        (error("auth"), &[], 1),
        (json!([{"text": "no", "stop": "refusal"}]), &[], 3),
        (json!([{"calls": [touch]}, {"text": "could not"}]), &[], 4),
        (twice, &["--max-steps", "1"], 7),
        (silent, &["--timeout", "200ms"], 7),
        (json!([{"text": "long", "stop": "max_tokens"}]), &[], 8),
        (json!([]), &[], 1),
    ];
    for (steps, flags, code) in table {
        let home = scripted(&steps);
        let ran = play(&home, flags);
        assert_eq!(ran.code, Some(code), "{steps}: {}", ran.err);
        assert!(!home.path("project/made").exists());
        let lines = play(&scripted(&steps), &[flags, &["--json"]].concat());
        let last: Value = serde_json::from_str(lines.out.lines().last().unwrap()).unwrap();
        assert_eq!(
            (lines.code, &last["result"]["exit_code"]),
            (Some(code), &code.into()),
            "{steps}"
        );
    }
}

#[test]
fn mode_effect_and_rules_decide_what_runs() {
    let read = call("read_file", &json!({"path": "notes.txt"}));
    let write = call("write_file", &json!({"path": "made", "content": "x"}));
    let shell = call("bash", &json!({"command": "touch made"}));
    let table: [(&Value, &[&str], bool); 13] = [
        (&read, &["--mode", "read-only"], true),
        (&read, &["--mode", "ask-writes"], true),
        (&read, &["--mode", "deny-all"], false),
        (&read, &["--deny", "read_file(notes*)"], false),
        (&write, &["--mode", "read-only"], false),
        (&write, &["--mode", "ask-writes"], false),
        (&write, &["--mode", "open"], true),
        (&write, &["--allow", "write_file(made)"], true),
        (&write, &["--mode", "open", "--deny", "write_file"], false),
        (&shell, &["--allow", "bash(touch *)"], true),
        (&shell, &["--allow", "bash(rm *)"], false),
        (&shell, &["--mode", "open", "--deny", "bash(touch *)"], false),
        (&shell, &["--allow", "bash", "--deny", "bash"], false),
    ];
    for (asked, flags, runs) in table {
        let home = scripted(&json!([{"calls": [asked]}, {"text": "done"}]));
        let ran = play(&home, &[flags, &["--json"]].concat());
        let outcome = &of_kind(&entries(&ran.out), "tool_settled")[0]["outcome"].clone();
        assert_eq!(outcome, if runs { "completed" } else { "denied" }, "{asked} {flags:?}");
        assert_eq!(ran.code, Some(if runs { 0 } else { 4 }), "{asked} {flags:?}");
        assert_eq!(home.path("project/made").exists(), runs && *asked != read, "{asked} {flags:?}");
    }
}

#[test]
fn stdin_is_read_for_a_dash_or_without_a_prompt_and_never_otherwise() {
    let home = scripted(&json!([{"text": "done"}]));
    for words in [&["-"][..], &[]] {
        let mut command = home.command();
        command.args(["run", "--json", "--model", "script/s.json"]).args(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"from the pipe\n").unwrap();
        let ran = crate::home::ran(&child.wait_with_output().unwrap());
        let admitted = entries(&ran.out);
        let content = &of_kind(&admitted, "input_admitted")[0]["content"];
        assert!(content.to_string().contains("from the pipe"), "{content}");
    }
    // The pipe stays open and holds words: a run with a prompt ends all the same, and takes none of them.
    let (mut theirs, ours) = std::io::pipe().unwrap();
    (&ours).write_all(b"not for you").unwrap();
    let mut command = home.command();
    command.args(["run", "--model", "script/s.json", "go"]).stdin(theirs.try_clone().unwrap());
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    drop(command);
    drop(ours);
    let mut left = String::new();
    theirs.read_to_string(&mut left).unwrap();
    assert_eq!(left, "not for you");
}

#[test]
fn ephemeral_leaves_nothing_on_disk() {
    let home = scripted(&json!([{"text": "done"}]));
    assert_eq!(play(&home, &["--ephemeral"]).code, Some(0));
    assert!(!home.path(".local/share").exists());
    assert_eq!(session(&home), None);
}

#[test]
fn a_closed_stdout_ends_a_run_and_the_schema_quietly() {
    let home = scripted(&json!([{"text": "done"}]));
    for words in [&["run", "--json", "--model", "script/s.json", "go"][..], &["schema"]] {
        let (theirs, ours) = std::io::pipe().unwrap();
        drop(theirs);
        let mut command = home.command();
        let ran = command.args(words).stdout(ours).stderr(Stdio::piped()).output().unwrap();
        let ran = crate::home::ran(&ran);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn both_wires_carry_the_appended_prompt_and_only_folders_that_were_added_are_read() {
    for wire in ["openai-chat", "anthropic-messages"] {
        let server = Loopback::start("hello from afar");
        let home = server.home(wire, "");
        let ran = home.run(&["run", "--append-system-prompt", "speak like a rower", "hi"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hello from afar\n"), "{}", ran.err);
        let asked = server.asked();
        assert_eq!(asked.len(), 1);
        let system =
            if wire == "openai-chat" { &asked[0]["messages"][0] } else { &asked[0]["system"] };
        assert!(system.to_string().contains("speak like a rower"), "{system}");
        let again = home.run(&["run", "--resume", "--append-system-prompt", "x", "hi"]);
        assert!(again.refused(1).contains("--append-system-prompt"));
    }
    for (flags, outcome) in [(&[][..], "failed"), (&["--add-dir", "../other"], "completed")] {
        let home = scripted(
            &json!([{"calls": [call("read_file", &json!({"path": "../other/a"}))]}, {"text": "x"}]),
        );
        home.write("other/a", "text");
        let ran = play(&home, &[flags, &["--json"]].concat());
        assert_eq!(
            of_kind(&entries(&ran.out), "tool_settled")[0]["outcome"],
            outcome,
            "{}",
            ran.out
        );
    }
}

#[test]
fn a_key_in_the_environment_selects_its_provider_and_says_so() {
    let server = Loopback::start("hello");
    let home = Home::new().with("OPENAI_API_KEY", "sk-secret");
    let url = format!("providers.openai.base_url={}", server.base_url);
    let ran = home.run(&["run", "--config", &url, "hi"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hello\n"), "{}", ran.err);
    let plain =
        Home::new().with("OPENAI_API_KEY", "sk-secret").with("HTTPS_PROXY", "http://127.0.0.1:1");
    let ran = plain.run(&["run", "--timeout", "100ms", "hi"]);
    assert!(ran.err.contains("because OPENAI_API_KEY is set"), "{}", ran.err);
    assert!(!ran.err.contains("sk-secret"));
}

#[test]
fn a_bound_on_cost_needs_a_price_and_holds_with_one() {
    let server = Loopback::start("hello");
    let home = server.home("openai-chat", "");
    let ran = home.run(&["run", "--max-cost", "1", "hi"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("the price of loop/m is not known"), "{}", ran.err);
    let priced = "models = [{ id = \"m\", price = { input = 3, output = \"15.00\" } }]\n";
    let home = server.home("openai-chat", priced);
    assert_eq!(home.run(&["run", "--max-cost", "0.000001", "hi"]).code, Some(7));
    assert_eq!(server.asked().len(), 0, "nothing may be asked");
    let ran = home.run(&["run", "--max-cost", "1", "--json", "hi"]);
    let last: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (ran.code, &last["result"]["ended"]["cost_micros"]),
        (Some(0), &105.into()),
        "{last}"
    );
    let wrong = server.home("openai-chat", "models = [{ id = \"m\", price = { input = 3 } }]\n");
    assert!(wrong.run(&["run", "hi"]).refused(1).contains("providers.loop.models"));
}

#[test]
fn a_picture_reaches_a_model_and_a_huge_one_is_refused() {
    let server = Loopback::start("a picture");
    let home = server.home("openai-chat", "");
    let png = home.path("project/p.png");
    std::fs::write(&png, b"\x89PNG\r\n\x1a\nrest").unwrap();
    assert_eq!(home.run(&["run", "--image", "p.png", "what?"]).code, Some(0));
    assert!(
        server.asked()[0].to_string().contains("data:image/png;base64,"),
        "{}",
        server.asked()[0]
    );
    let journal = journal(&home, &session(&home).unwrap());
    assert!(of_kind(&journal, "input_admitted")[0].to_string().contains("image/png"));
    std::fs::File::options().write(true).open(&png).unwrap().set_len(11 << 20).unwrap();
    assert!(home.run(&["run", "--image", "p.png", "x"]).refused(1).contains("10 MiB"));
}

#[test]
fn a_folder_given_with_c_is_where_everything_is_looked_for() {
    let home = scripted(
        &json!([{"calls": [call("read_file", &json!({"path": "notes.txt"}))]}, {"text": "ok"}]),
    );
    let mut command = home.command();
    command.current_dir("/").args(["-C"]).arg(home.project());
    command.args(["run", "--model", "script/s.json", "--json", "go"]);
    let ran = crate::home::ran(&command.output().unwrap());
    assert_eq!(
        of_kind(&entries(&ran.out), "tool_settled")[0]["outcome"],
        "completed",
        "{}",
        ran.err
    );
}

#[test]
fn the_log_is_what_its_filter_and_form_say() {
    let home = scripted(&json!([{"text": "done"}]));
    let quiet = play(&home, &["--quiet"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (Some(0), ""));
    let told = play(&home, &["--quiet", "--config", "log.filter=oarlock=debug"]);
    assert!(
        told.err.contains("DEBUG oarlock::commands::logging: the configuration is read"),
        "{}",
        told.err
    );
    let told = home.with("OARLOCK_LOG", "oarlock=debug");
    let told = play(&told, &["--quiet", "--config", "log.format=jsonl"]);
    assert_eq!(told.err.lines().count(), 1, "{}", told.err);
    for line in told.err.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "DEBUG");
    }
    assert_eq!(told.out, "done\n");
}

#[test]
fn init_and_models_ask_the_provider_what_it_has() {
    let server = Loopback::start("hello");
    let home = server.home("openai-chat", "");
    let live = home.run(&["models", "--live"]);
    assert!(live.out.contains("loop/n") && live.out.contains("live"), "{} {}", live.out, live.err);
    let bare = Home::new().with("OPENAI_API_KEY", "sk-secret");
    let ran = bare.run(&["init", "--yes", "--offline"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let written = std::fs::read_to_string(bare.path(".config/oarlock/config.toml")).unwrap();
    assert!(
        written.contains("provider = \"openai\"") && !written.contains("sk-secret"),
        "{written}"
    );
}
