//! What `run --json` prints is what `schema` promises.

use oarlock::commands::schema;
use serde_json::{Value, json};

use crate::home::Home;

fn printed() -> Value {
    let ran = Home::new().run(&["schema"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    serde_json::from_str(&ran.out).unwrap()
}

/// Thought, text, calls of all outcomes, a retry, a question, an answer too large for a line.
fn rich(home: &Home) -> String {
    home.write("project/a.txt", &"a line of text\n".repeat(20_000));
    home.script(&json!([
        {
            "thinking": "let me see", "text": "I look.", "chunk_bytes": 3,
            "errors": [{ "kind": "overloaded", "retry_after_ms": 1, "after_text": "half" }],
            "calls": [
                { "name": "read_file", "arguments": { "path": "a.txt" } },
                { "name": "read_file", "arguments": { "path": "none.txt" } },
                { "name": "write_file", "arguments": { "path": "b.txt", "content": "x" } },
                { "name": "no_such_tool", "arguments": {} },
                { "name": "read_file", "arguments": "no json" },
                { "name": "bash", "arguments": { "command": "head -c 3000000 /dev/zero | tr '\\0' x; exit 3" } },
                { "name": "ask_user", "arguments": { "question": "Which one?" } }
            ],
            "usage": { "input": 5, "output": 7, "cache_read": 1, "cache_write": 2, "reasoning": 3 }
        },
        { "text": "Done." }
    ]))
}

#[test]
fn the_schema_is_a_schema_with_a_version() {
    let schema = printed();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["version"].as_u64().is_some_and(|version| version >= 1));
    jsonschema::meta::validate(&schema).unwrap();
}

#[test]
fn every_line_of_a_rich_run_keeps_to_the_schema() {
    let schema = printed();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let home = Home::new();
    let model = rich(&home);
    let run = ["run", "--json", "--allow", "bash", "--model", &model, "go"];
    let (ran, failed) = (home.run(&run), home.run(&["run", "--json", "--resume", "more"]));
    let lines: Vec<Value> = ran.lines().into_iter().chain(failed.lines()).collect();
    for line in &lines {
        if let Err(error) = validator.validate(line) {
            panic!("{line}: {error}");
        }
    }
    let tops: Vec<&String> =
        lines.iter().flat_map(|line| line.as_object().unwrap().keys()).collect();
    assert_eq!(tops.len(), lines.len(), "one key at the top of each line");
    assert!(
        tops.iter().all(|top| ["entry", "delta", "caught_up", "result"].contains(&top.as_str()))
    );
    assert_eq!(tops.last().map(|top| top.as_str()), Some("result"));
    let kinds: std::collections::BTreeSet<&str> =
        lines.iter().filter_map(|line| line["entry"]["event"]["type"].as_str()).collect();
    for kind in [
        "session_created",
        "input_admitted",
        "turn_started",
        "step_started",
        "model_failed",
        "assistant_message",
        "tool_called",
        "tool_started",
        "tool_settled",
        "turn_ended",
    ] {
        assert!(kinds.contains(kind), "{kind} is missing: {kinds:?}");
    }
    assert!(!validator.is_valid(&json!({ "entry": { "seq": 1 } })), "the schema refuses something");
    assert!(!validator.is_valid(&json!({ "result": {} })));
}

/// The schema as its file has it: a definition a line, so that a change of it can be read.
fn written(mut schema: Value) -> String {
    let definitions = schema.as_object_mut().unwrap().shift_remove("$defs").unwrap();
    let definitions: Vec<String> = definitions
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, definition)| format!("{}:{definition}", json!(name)))
        .collect();
    let head = schema.to_string();
    format!("{},\"$defs\":{{\n{}\n}}}}\n", head.trim_end_matches('}'), definitions.join(",\n"))
}

/// A change of the lines is a decision: `docs/json-lines.md` says what may change and how. `INSTA_UPDATE=always` takes it.
#[test]
fn the_schema_is_the_one_that_was_agreed() {
    let now = written(schema::of_the_types());
    if std::env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands/schema.json");
        std::fs::write(file, &now).unwrap();
        return;
    }
    for (now, agreed) in now.lines().zip(schema::AGREED.lines()) {
        assert_eq!(now, agreed, "to agree to it, run this test with INSTA_UPDATE=always");
    }
    assert_eq!(now.len(), schema::AGREED.len(), "definitions came or went");
}
