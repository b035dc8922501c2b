//! What reaches a provider, the log and a closed pipe, through the real program.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::home::{Home, Ran};
use crate::loopback::Loopback;
use crate::voyage::{entries, of_type};

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
fn every_wire_carries_the_appended_prompt_and_only_folders_that_were_added_are_read() {
    for wire in ["openai-chat", "openai-responses", "anthropic-messages", "gemini"] {
        let server = Loopback::start("hello from afar");
        let home = server.home(wire, "");
        let ran = home.run(&["run", "--append-system-prompt", "speak like a rower", "hi"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hello from afar\n"), "{}", ran.err);
        let asked = server.asked();
        assert_eq!(asked.len(), 1);
        let system = match wire {
            "openai-chat" => &asked[0]["messages"][0],
            "openai-responses" => &asked[0]["instructions"],
            "gemini" => &asked[0]["systemInstruction"],
            _ => &asked[0]["system"],
        };
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
            of_type(&entries(&ran.lines()), "tool_settled")[0]["outcome"],
            outcome,
            "{}",
            ran.out
        );
    }
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
fn a_folder_given_with_c_is_where_everything_is_looked_for() {
    let home = scripted(
        &json!([{"calls": [call("read_file", &json!({"path": "notes.txt"}))]}, {"text": "ok"}]),
    );
    let mut command = home.command();
    command.current_dir("/").args(["-C"]).arg(home.project());
    command.args(["run", "--model", "script/s.json", "--json", "go"]);
    let ran = crate::home::ran(&command.output().unwrap());
    assert_eq!(
        of_type(&entries(&ran.lines()), "tool_settled")[0]["outcome"],
        "completed",
        "{}",
        ran.err
    );
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
