//! Messages to sessions from the command line, and what a killed process leaves of a session that it makes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::home::Home;
use crate::rpc::Rpc;
use crate::voyage::{journal, of_type, sessions};

/// A home with sessions of these names, which speak by this script.
fn peopled(names: &[&str], script: &Value) -> (Home, Vec<String>) {
    let home = Home::new();
    let model = home.script(script);
    let mut rpc = Rpc::start(&home, &["--model", &model]);
    let made = names.iter().map(|name| {
        let build = json!({ "comms_name": name, "silent_comms_intents": ["weather"],
            "max_inline_peer_notifications": 0, "peer_meta": { "description": "rows" } });
        let made = rpc.done("session/create", &json!({ "initial_turn": "defer", "build": build }));
        made["session_id"].as_str().unwrap().to_owned()
    });
    let made = made.collect();
    rpc.end(None);
    (home, made)
}

#[test]
fn a_session_is_written_to_by_name_or_id_and_its_answer_is_printed() {
    let script = json!([{ "text": "one" }, { "text": "two" }, { "text": "three" }]);
    let (home, ids) = peopled(&["stroke", "bow"], &script);
    let listed = home.run(&["session", "peers", "--json"]).lines();
    let names: Vec<&str> = listed.iter().map(|peer| peer["name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names.contains(&"stroke"), names.contains(&"bow")), (2, true, true));
    let shown = home.run(&["session", "peers"]).out;
    assert!(shown.contains(&ids[0]) && shown.contains("idle") && shown.contains("rows"), "{shown}");

    let sent = home.run(&["session", "send", "stroke", "set the pace"]);
    assert_eq!((sent.code, sent.out.as_str()), (Some(0), "one\n"), "{}", sent.err);
    let by_id = home.run(&["session", "send", &ids[0], "--from", "bow", "and now?", "--json"]);
    let run: Value = serde_json::from_str(&by_id.out).unwrap();
    assert_eq!((&run["state"], &run["text"]), (&json!("ended"), &json!("two")));
    // With its key it is there once, and its turn is told again.
    let keyed = ["session", "send", "stroke", "more", "--key", "k", "--kind", "request"];
    assert_eq!(home.run(&keyed).out, "three\n");
    assert_eq!(home.run(&keyed).out, "three\n");
    let silent = ["session", "send", "stroke", "rain", "--kind", "request", "--intent", "weather"];
    let silent = home.run(&silent);
    assert_eq!((silent.code, silent.out.as_str()), (Some(0), ""));
    assert!(silent.err.contains("waits for the next turn"), "{}", silent.err);

    let entries = journal(&home, &ids[0]);
    let inputs = of_type(&entries, "input_admitted");
    let from: Vec<&Value> = inputs.iter().map(|input| &input["peer"]["name"]).collect();
    assert_eq!(from, [&Value::Null, &json!("bow"), &Value::Null, &Value::Null]);
    assert_eq!(of_type(&entries, "turn_ended").len(), 3);
}

#[test]
fn a_message_that_nobody_can_take_is_refused_with_what_to_do() {
    let (home, ids) = peopled(&["stroke"], &json!([{ "text": "one" }]));
    let nobody = home.run(&["session", "send", "cox", "go"]);
    assert!(nobody.refused(1).contains("oarlock session peers"), "{}", nobody.err);
    let from = home.run(&["session", "send", "stroke", "go", "--from", "cox"]);
    assert!(from.refused(2).contains("`from` is `cox`"), "{}", from.err);
    let intent = home.run(&["session", "send", "stroke", "go", "--intent", "pace"]);
    assert!(intent.refused(2).contains("request"), "{}", intent.err);
    home.run(&["session", "archive", &ids[0]]);
    let archived = home.run(&["session", "send", &ids[0], "go"]);
    assert!(archived.refused(1).contains("restore"), "{}", archived.err);
    assert!(home.run(&["session", "peers"]).err.contains("no session has a name"));
}

#[test]
fn a_process_that_is_killed_while_it_makes_a_session_leaves_it_with_its_prompt_or_none() {
    let home = Home::new();
    let model = home.script(&json!([{ "text": "one" }]));
    let mut begun = 0;
    for round in 0..12 {
        let create = json!({ "prompt": "go", "idempotency_key": format!("k{round}") });
        let mut rpc = Rpc::start(&home, &["--model", &model]);
        rpc.done("session/list", &json!({}));
        rpc.send("session/create", &create);
        std::thread::sleep(Duration::from_millis(round * 3));
        rpc.end(Some("KILL"));
        let known = sessions(&home).len();
        for id in sessions(&home) {
            let kinds = journal(&home, &id);
            assert_eq!(kinds[1]["event"]["type"], "input_admitted", "{kinds:?}");
        }
        let mut rpc = Rpc::start(&home, &["--model", &model]);
        // The turn may have been cut.
        drop(rpc.ask("session/create", &create));
        rpc.end(None);
        begun += usize::from(known > usize::try_from(round).unwrap());
        let all = sessions(&home);
        assert_eq!(all.len(), usize::try_from(round).unwrap() + 1);
        for id in all {
            assert_eq!(of_type(&journal(&home, &id), "input_admitted").len(), 1);
        }
    }
    assert!((1..12).contains(&begun), "{begun} were there when their process was killed");
}
