//! `schema`: a valid JSON Schema, kept as it was released, that every line of `run --json` fits.

use serde_json::{Value, json};

use crate::home::Home;

const RELEASED: &str = include_str!("../../../../docs/json-lines.schema.json");

fn schema() -> Value {
    let ran = Home::new().run(&["schema"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn the_schema_is_valid_has_a_version_and_is_the_documented_one() {
    let schema = schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    assert_eq!(schema["version"], 1);
    let released: Value = serde_json::from_str(RELEASED).unwrap();
    assert!(
        schema == released,
        "the schema changed: is that an addition that docs/json-lines.md allows? Then `oarlock schema > docs/json-lines.schema.json`"
    );
}

#[test]
fn every_line_of_a_rich_run_fits_the_schema() {
    let home = Home::new();
    home.write("project/notes.txt", "row your boat\n");
    let call = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    let calls = json!([
        call("read_file", json!({"path": "notes.txt"})),
        call("bash", json!({"command": "seq 100000"})),
        call("write_file", json!({"path": "made", "content": "x"})),
        call("ask_user", json!({"question": "which?"})),
        call("nonsense", json!({})),
        call("fetch", json!({"url": "http://127.0.0.1:1/"})),
    ]);
    let usage = json!({"input": 5, "output": 7, "cache_read": 1});
    let again = json!([{"kind": "overloaded", "retry_after_ms": 1, "after_text": "half"}]);
    let steps = json!([
        {"thinking": "hm", "text": "I begin.", "chunk_bytes": 3, "calls": calls, "usage": usage},
        {"text": "on", "errors": again},
        {"text": "no", "stop": "refusal"},
        {"errors": [{"kind": "auth"}]},
    ]);
    home.write("project/s.json", &json!({ "steps": steps }).to_string());
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    let first =
        ["run", "--json", "--model", "script/s.json", "--allow", "bash", "--allow", "fetch", "go"];
    let more = ["run", "--json", "--resume", "--mode", "read-only", "and?"];
    for words in [&first[..], &more, &more] {
        let ran = home.run(words);
        assert!(ran.out.lines().count() > 5, "{}", ran.err);
        for line in ran.out.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let errors: Vec<String> = validator.iter_errors(&line).map(|e| e.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{line}");
            let kind = line["entry"]["event"]["type"].as_str();
            let outer = line.as_object().unwrap().keys().next().unwrap();
            kinds.insert(kind.unwrap_or(outer).to_owned());
        }
    }
    for kind in [
        "delta",
        "caught_up",
        "result",
        "model_failed",
        "tool_settled",
        "session_configured",
        "turn_ended",
    ] {
        assert!(kinds.contains(kind), "{kind} is missing in {kinds:?}");
    }
    for wrong in [json!({}), json!({"entry": {"seq": 1}}), json!({"result": {}})] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}
