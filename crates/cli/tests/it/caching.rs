//! `session show --usage` from end to end.

use serde_json::{Value, json};

use crate::home::{Home, ran};
use crate::provider::{Provider, home};

/// A session of two turns with a Claude, the second one at another effort.
fn kept(provider: &Provider) -> (Home, String) {
    let home = home(provider).with("ANTHROPIC_API_KEY", "sesame");
    let first = home.run(&["run", "--quiet", "--model", "anthropic/claude-sonnet-4-5", "ahoy"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    let more = home.run(&["run", "--quiet", "--resume", "--effort", "high", "and now?"]);
    assert_eq!(more.code, Some(0), "{}", more.err);
    let id = home.sessions().remove(0)["id"].as_str().unwrap().to_owned();
    (home, id)
}

#[test]
fn what_a_session_used_is_told_by_step_and_in_all_without_a_key() {
    let provider = Provider::start();
    let (home, id) = kept(&provider);
    let show = |arguments: &[&str]| {
        let mut command = home.command();
        command.env_remove("ANTHROPIC_API_KEY").args(["session", "show", "--usage", &id]);
        ran(&command.args(arguments).output().unwrap())
    };
    let told = show(&["--json"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let [first, second, total] = &told.lines()[..] else { panic!("{}", told.out) };
    // 10 tokens at 3 and 2 at 15 dollars a million; too few for a cache.
    let usage =
        json!({"input": 10, "output": 2, "cache_read": 0, "cache_write": 0, "reasoning": 0});
    let predicted = json!({"cache_read": 0, "cache_write": 0, "input": 10, "cost_micros": 60});
    for (line, turn) in [(first, 1), (second, 2)] {
        assert_eq!(
            (&line["type"], &line["turn"], &line["step"]),
            (&json!("step"), &json!(turn), &json!(1))
        );
        assert_eq!(line["model"], "anthropic/claude-sonnet-4-5");
        assert_eq!((&line["usage"], &line["cost_micros"]), (&usage, &json!(60)), "{line}");
        assert_eq!((&line["predicted"], &line["waste"]), (&predicted, &Value::Null), "{line}");
    }
    assert_eq!((&first["prefix_break"], &second["prefix_break"]), (&Value::Null, &json!("effort")));
    assert_eq!((&total["type"], &total["steps"]), (&json!("total"), &json!(2)));
    assert_eq!(total["breaks"], json!({"effort": 1}));
    let listed = home.sessions().remove(0);
    assert_eq!(
        (&total["usage"], &total["cost_micros"]),
        (&listed["usage"], &listed["cost_micros"])
    );
    let shown = show(&[]).out;
    assert!(shown.starts_with("turn.step ") && shown.contains("break: effort\n"), "{shown}");
    assert!(shown.contains("2 steps, 0 failed calls: 20 in, 0 read"), "{shown}");
    assert!(shown.contains("4 out (0 thought), $0.000120"), "{shown}");
}

#[test]
fn the_usage_of_a_session_that_is_not_there_is_refused_and_of_a_script_what_is_known_is_told() {
    let home = Home::new();
    let nobody = "0192f0c1-7b7e-7000-8000-000000000001";
    assert!(home.run(&["session", "show", "--usage", nobody]).refused(1).contains(nobody));
    home.write("project/s.json", &json!({"steps": [{"text": "done"}]}).to_string());
    assert_eq!(home.run(&["run", "--quiet", "--model", "script/s.json", "go"]).code, Some(0));
    let id = home.sessions().remove(0)["id"].as_str().unwrap().to_owned();
    let told = home.run(&["session", "show", "--usage", "--json", &id]).lines();
    assert_eq!((told.len(), &told[0]["predicted"]), (2, &Value::Null), "{told:?}");
}
