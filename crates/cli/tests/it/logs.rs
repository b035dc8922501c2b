//! The log is written as it is configured.

use serde_json::{Value, json};

use crate::home::{Home, Ran};

fn run(name: &str, value: &str) -> Ran {
    let home = Home::new().with(name, value);
    home.user("[log]\nformat = \"jsonl\"\n");
    let model = home.script(&json!([{ "text": "done" }]));
    home.run(&["run", "--quiet", "--model", &model, "go"])
}

#[test]
fn the_filter_and_the_form_of_the_log_are_honoured() {
    for name in ["OARLOCK_LOG", "OARLOCK_LOG_FILTER"] {
        let ran = run(name, "warn,oarlock=info");
        let lines: Vec<Value> =
            ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().any(|line| line["level"] == "INFO"), "{}", ran.err);
        assert!(lines.iter().all(|line| line["target"].as_str().unwrap().starts_with("oarlock")));
        assert_eq!(ran.out, "done\n");
    }
    assert_eq!(run("OARLOCK_LOG", "warn").err, "");
}

#[test]
fn turns_are_told_of_with_session_and_number_and_nothing_that_was_said() {
    let ran = run("OARLOCK_LOG", "oarlock_core=info");
    let lines = ran.err.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let fields: Vec<Value> = lines.map(|line| line["fields"].clone()).collect();
    let told: Vec<_> = fields.iter().map(|fields| fields["message"].as_str().unwrap()).collect();
    assert_eq!(told, ["a turn begins", "a turn ended"], "{}", ran.err);
    assert!(fields.iter().all(|fields| fields["turn"] == 1), "{}", ran.err);
    let session = fields[0]["session"].as_str().unwrap();
    assert!(session.len() == 36 && fields[1]["session"] == session, "{}", ran.err);
    assert_eq!((&fields[1]["stop"], &fields[1]["steps"]), (&json!("end_turn"), &json!(1)));
    assert!(!ran.err.contains("done"), "{}", ran.err);
}

#[test]
fn a_filter_that_is_none_is_refused() {
    for filter in ["inof", "oarlock_store=loud"] {
        let ran = run("OARLOCK_LOG", filter);
        assert!(ran.refused(1).contains("`log.filter` is no filter"), "{}", ran.err);
        assert!(ran.err.contains("environment variable OARLOCK_LOG"), "{}", ran.err);
    }
}
