//! `run` from the outside: what is printed where, which code it ends with, and when it refuses to begin.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::home::{Home, ran};

const DEMO_NOTICE: &str = "using the built-in demonstration, which is no language model";

/// A home with a file for the demonstration to find.
fn home() -> Home {
    let home = Home::new();
    home.write("project/README.md", "# Boats\nA boat has oars.\n");
    home
}

#[test]
fn a_first_run_works_without_a_key_and_says_that_it_is_no_language_model() {
    let home = home();
    let ran = home.run(&["run", "what about boats?"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("README.md") && ran.out.contains("A boat has oars."), "{}", ran.out);
    assert!(ran.err.contains(DEMO_NOTICE) && ran.err.contains("oarlock init"), "{}", ran.err);
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let last = ran.err.lines().last().unwrap();
    assert_eq!(
        last,
        format!("oarlock: kept as session {id}; `oarlock run --resume \"…\"` goes on with it")
    );
}

#[test]
fn json_is_lines_of_json_alone_and_tells_of_the_demonstration() {
    let ran = home().run(&["run", "--json", "boats"]);
    let (lines, result) = (ran.lines(), ran.result());
    assert_eq!(result["demo"], true);
    assert_eq!(result["exit_code"], 0);
    assert!(result["text"].as_str().unwrap().contains("A boat has oars."));
    let entries: Vec<&Value> = lines.iter().filter_map(|line| line.get("entry")).collect();
    assert!(entries.iter().any(|entry| entry["event"]["type"] == "turn_ended"), "{}", ran.out);
    assert!(lines.iter().any(|line| line.get("delta").is_some()));
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(ran.err.contains(DEMO_NOTICE));
}

#[test]
fn quiet_is_the_final_answer_alone() {
    let home = home();
    let model = home.script(&json!([
        { "text": "first I look", "calls": [{ "name": "read_file", "arguments": { "path": "README.md" } }] },
        { "text": "It is about boats." }
    ]));
    let ran = home.run(&["run", "--quiet", "--model", &model, "what is it about?"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("It is about boats.\n", ""));
    let ran = home.run(&["run", "--model", &model, "--ephemeral", "what is it about?"]);
    assert_eq!(ran.out, "first I look\nIt is about boats.\n");
    assert!(ran.err.contains("→ read") && ran.err.contains("✓ read"), "{}", ran.err);
    assert!(!ran.err.contains("kept as"), "{}", ran.err);
}

#[test]
fn with_ci_the_demonstration_has_to_be_asked_for() {
    let home = home().with("CI", "true");
    let ran = home.run(&["run", "boats"]);
    let told = ran.refused(1);
    assert!(told.contains("ANTHROPIC_API_KEY") && told.contains("--model demo"), "{told}");
    assert!(home.sessions().is_empty());
    assert_eq!(home.run(&["run", "--model", "demo", "boats"]).code, Some(0));
}

#[test]
fn what_is_mistyped_is_an_error_and_nothing_is_created() {
    let table: [(&[&str], i32, &str); 12] = [
        (&["--model", "antropic/claude"], 1, "did you mean `anthropic`?"),
        (&["--model", "demmo"], 1, "no provider for the model `demmo`"),
        (&["--model", "script/none.json"], 1, "script/none.json: no such file"),
        (&["--config", "modell=demo"], 2, "did you mean `model`?"),
        (&["--mode", "opne"], 2, "open"),
        (&["--allow", "bash("], 2, "takes a list of rules `tool` or `tool(pattern)`"),
        (&["--deny", ""], 2, "--deny"),
        (&["--max-steps", "0"], 2, "--max-steps"),
        (&["--timeout", "5"], 2, "not a duration such as"),
        (&["--max-cost", "much"], 2, "not a sum in US dollars"),
        (&["--add-dir", "nowhere"], 1, "--add-dir nowhere: no such folder"),
        (&["--json", "--quiet"], 2, "cannot be used with"),
    ];
    let home = home();
    for (arguments, code, expected) in table {
        let arguments: Vec<&str> =
            ["run"].iter().chain(arguments).chain(&["boats"]).copied().collect();
        let ran = home.run(&arguments);
        let told = ran.err.lines().last().unwrap_or_default().to_owned();
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{arguments:?}: {told}");
        assert!(told.starts_with("oarlock: ") && told.contains(expected), "{arguments:?}: {told}");
    }
    assert!(home.sessions().is_empty());
}

#[test]
fn a_broken_file_of_the_user_is_an_error_and_never_the_demonstration() {
    let home = home();
    home.user("model = \"demo\"\nmodell = 3");
    assert!(
        home.run(&["run", "boats"]).refused(1).contains("config.toml:2:1; did you mean `model`?")
    );
}

#[test]
fn a_turn_ends_with_the_code_of_its_end() {
    let call = json!({ "name": "bash", "arguments": { "command": "true" } });
    let again = json!({ "calls": [{ "name": "read_file", "arguments": { "path": "README.md" } }] });
    let table = [
        (json!([{ "text": "done" }]), &[][..], 0),
        (json!([{ "errors": [{ "kind": "auth" }] }]), &[], 1),
        (json!([{ "text": "no", "stop": "refusal" }]), &[], 3),
        (json!([{ "calls": [call] }, { "text": "then not" }]), &[], 4),
        (json!([again, again, { "text": "x" }]), &["--max-steps", "1"], 7),
        (json!([{ "text": "cut", "stop": "max_tokens" }]), &[], 8),
        (json!([{ "silence": true }]), &["--timeout", "50ms"], 7),
    ];
    for (steps, flags, code) in table {
        let home = home();
        let model = home.script(&steps);
        let mut arguments = vec!["run", "--json", "--model", &model, "go"];
        arguments.extend(flags);
        let ran = home.run(&arguments);
        assert_eq!(ran.code, Some(code), "{steps}: {} {}", ran.out, ran.err);
        assert_eq!(ran.result()["exit_code"], code);
    }
}

#[test]
fn a_reader_that_has_had_enough_ends_the_run_quietly() {
    for flags in [&[][..], &["--json"], &["--quiet"]] {
        let home = home();
        let mut command = home.command();
        let child = command.args(["run", "--model", "demo", "boats"]).args(flags);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ran = ran(&child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{flags:?}: {}", ran.err);
        assert!(!ran.err.to_lowercase().contains("pipe"), "{}", ran.err);
        // The session is whole: it can be gone on with.
        let next = home.run(&["run", "--quiet", "--resume", "and oars?"]);
        assert_eq!(next.code, Some(0), "{}", next.err);
    }
}
