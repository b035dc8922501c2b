//! What a tool may do by mode and rule, and what limits stop, in the real program.

use serde_json::{Value, json};

use crate::home::{Home, Ran};

fn outcomes(ran: &Ran) -> Vec<String> {
    let lines = ran.lines();
    let settled = lines.iter().filter(|line| line["entry"]["event"]["type"] == "tool_settled");
    settled
        .map(|line| line["entry"]["event"]["data"]["outcome"].as_str().unwrap().to_owned())
        .collect()
}

/// Reads, writes, runs a command: one call a step, so that the order is that of the call.
fn steps() -> Value {
    json!([
        { "calls": [{ "name": "read_file", "arguments": { "path": "a.txt" } }] },
        { "calls": [{ "name": "write_file", "arguments": { "path": "b.txt", "content": "new" } }] },
        { "calls": [{ "name": "bash", "arguments": { "command": "touch c.txt" } }] },
        { "text": "done" }
    ])
}

#[test]
fn mode_and_rules_decide_and_nobody_is_asked_where_nobody_is() {
    const RUN: &str = "completed";
    const NO: &str = "denied";
    let table: [(&[&str], [&str; 3]); 11] = [
        (&[], [RUN, NO, NO]),
        (&["--mode", "open"], [RUN, RUN, RUN]),
        (&["--mode", "read-only"], [RUN, NO, NO]),
        (&["--mode", "ask-writes"], [RUN, NO, NO]),
        (&["--mode", "deny-all"], [NO, NO, NO]),
        (&["--allow", "write_file"], [RUN, RUN, NO]),
        (&["--allow", "bash(touch *)"], [RUN, NO, RUN]),
        (&["--allow", "bash(rm *)"], [RUN, NO, NO]),
        (&["--mode", "open", "--deny", "bash(touch *)"], [RUN, RUN, NO]),
        (&["--mode", "open", "--deny", "*"], [NO, NO, NO]),
        (&["--allow", "bash", "--allow", "write_file", "--deny", "write_file"], [RUN, NO, RUN]),
    ];
    for (flags, expected) in table {
        let home = Home::new();
        home.write("project/a.txt", "old");
        let model = home.script(&steps());
        let mut arguments = vec!["run", "--json", "--model", &model, "go"];
        arguments.extend(flags);
        let ran = home.run(&arguments);
        assert_eq!(outcomes(&ran), expected, "{flags:?}: {}", ran.out);
        let made = [home.path("project/b.txt").exists(), home.path("project/c.txt").exists()];
        assert_eq!(made, [expected[1] == RUN, expected[2] == RUN], "{flags:?}");
        assert_eq!(ran.code, Some(if expected[2] == NO { 4 } else { 0 }), "{flags:?}");
    }
}

#[test]
fn a_refusal_is_told_to_the_model_and_to_the_person() {
    let home = Home::new();
    let model = home.script(&json!([
        { "calls": [{ "name": "bash", "arguments": { "command": "touch c.txt" } }] },
        { "text": "so be it" }
    ]));
    let ran = home.run(&["run", "--model", &model, "go"]);
    assert_eq!(ran.code, Some(4));
    assert!(ran.err.contains("✗ denied: bash: touch c.txt"), "{}", ran.err);
    let json = home.run(&["run", "--json", "--model", &model, "go"]);
    assert!(json.out.contains("nobody is here to give it"), "{}", json.out);
}

#[test]
fn folders_besides_the_own_one_have_to_be_added() {
    let home = Home::new();
    let other = home.write("other/a.txt", "the other text");
    let (folder, file) =
        (other.parent().unwrap().display().to_string(), other.display().to_string());
    let model = home.script(&json!([
        { "calls": [{ "name": "read_file", "arguments": { "path": file } }] },
        { "text": "done" }
    ]));
    let run = ["run", "--json", "--model", &model, "go"];
    assert!(!home.run(&run).out.contains("the other text"));
    for dir in [folder.as_str(), "../other"] {
        let added = home.run(&["run", "--json", "--model", &model, "--add-dir", dir, "go"]);
        assert!(added.out.contains("the other text"), "{}", added.out);
    }
    let own = home.run(&["-C", &folder, "run", "--json", "--model", &model, "go"]);
    assert!(own.out.contains("the other text"), "{}", own.out);
}

#[test]
fn a_limit_on_money_without_a_price_ends_the_turn_before_the_model_is_called() {
    let provider = "[providers.local]\nwire = \"openai-chat\"\nbase_url = \"http://127.0.0.1:9\"\n";
    let home = Home::new();
    home.user(&format!("{provider}models = [\"m\"]"));
    let ran = home.run(&["run", "--json", "--model", "local/m", "--max-cost", "0.01", "go"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("configure its price"), "{}", ran.out);
    assert!(!ran.out.contains("model_failed"), "{}", ran.out);

    let priced = "models = [{ id = \"m\", max_output_tokens = 1000, price = { input = 1000, output = \"2000\" } }]";
    home.user(&format!("{provider}{priced}"));
    let ran = home.run(&["run", "--json", "--model", "local/m", "--max-cost", "0.01", "go"]);
    assert_eq!(
        (ran.code, ran.result()["ended"]["stop"].clone()),
        (Some(7), json!({ "reason": "limit", "class": "cost" })),
        "{}",
        ran.out
    );

    home.user(&format!("{provider}models = [{{ id = \"m\", price = {{ input = 1 }} }}]"));
    assert!(home.run(&["models"]).refused(1).contains("`providers.local.models` takes a list"));
}
