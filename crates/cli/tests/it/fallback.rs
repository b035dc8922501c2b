//! Models that take over, and the deadlines of model calls, through the real program.

use serde_json::{Value, json};

use crate::editor::Editor;
use crate::home::Home;
use crate::loopback::Loopback;
use crate::serve::Server;
use crate::voyage::{journal, of_type, parsed, sessions};

/// A home whose model has no quota left, and another one, of another wire, that answers.
struct Shore {
    home: Home,
    busy: Loopback,
    spare: Loopback,
}

impl Shore {
    fn new(more: &str) -> Self {
        let (busy, spare) = (Loopback::busy(), Loopback::start("The spare."));
        let home = Home::new();
        home.user(&format!(
            "model = \"busy/m\"\n{more}\n[providers.busy]\nwire = \"openai-chat\"\nbase_url = \"{}\"\n[providers.spare]\nwire = \"anthropic-messages\"\nbase_url = \"{}\"\n",
            busy.base_url, spare.base_url
        ));
        Self { home, busy, spare }
    }

    fn asked(&self) -> (usize, usize) {
        (self.busy.asked().len(), self.spare.asked().len())
    }
}

#[test]
fn a_provider_that_refuses_for_good_is_replaced_and_that_is_told() {
    let shore = Shore::new("");
    let failed = shore.home.run(&["run", "go"]);
    assert_eq!((failed.code, shore.asked()), (Some(1), (1, 0)), "{}", failed.err);
    let ran = shore.home.run(&["run", "--fallback", "spare/n", "go"]);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "The spare."), "{}", ran.err);
    assert!(ran.err.contains("spare/n answers in its place"), "{}", ran.err);

    let ran = shore.home.run(&["run", "--json", "--config", "fallback=spare/n", "go"]);
    let lines = parsed(&ran.out);
    let entries: Vec<Value> = lines.iter().filter_map(|line| line.get("entry").cloned()).collect();
    let replaced = of_type(&entries, "model_replaced");
    assert_eq!(replaced.len(), 1, "{}", ran.out);
    assert_eq!(
        json!([replaced[0]["from"]["model"], replaced[0]["to"]["model"], replaced[0]["class"]]),
        json!(["m", "n", "rate_limited"])
    );
    assert_eq!(replaced[0]["prefix_break"], "model");
    // One that was resumed has the chain that it was made with, until it is told another one.
    let id = lines.last().unwrap()["result"]["session"].as_str().unwrap().to_owned();
    let ran = shore.home.run(&["run", "--resume", &id, "--quiet", "again"]);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "The spare."), "{}", ran.err);
    let ran = shore.home.run(&["run", "--resume", &id, "--config", "fallback=[]", "again"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
}

#[test]
fn a_chain_is_refused_that_makes_no_sense_and_passes_over_the_model_of_the_call() {
    let shore = Shore::new("fallback = [\"spare/n\"]");
    for (chain, code, words) in [
        (&["--fallback", "busy/m"][..], 2, "which is the session's model"),
        (&["--fallback", "spare/n", "--fallback", "spare/n"], 2, "twice"),
        (&["--fallback", "nobody/n"], 1, "unknown provider `nobody`"),
    ] {
        let ran = shore.home.run(&[&["run"], chain, &["go"]].concat());
        assert_eq!(ran.code, Some(code), "{chain:?}");
        assert!(ran.err.contains(words), "{}", ran.err);
    }
    assert_eq!((shore.asked(), sessions(&shore.home).len()), ((0, 0), 0));
    let ran = shore.home.run(&["run", "--model", "spare/n", "go"]);
    assert_eq!((ran.code, shore.asked()), (Some(0), (0, 1)), "{}", ran.err);
}

#[test]
fn a_service_takes_the_chain_of_a_request_else_that_of_the_configuration() {
    let shore = Shore::new("");
    let server = Server::start(&shore.home, &["--listen", "127.0.0.1:0"]);
    let ask = |path: &str, sent: &Value| server.ask("POST", path, &server.token, sent);
    let (_, refused) = ask("/v1/sessions", &json!({ "prompt": "go", "fallback": ["busy/m"] }));
    assert_eq!(refused["error"]["code"], "INVALID_REQUEST", "{refused}");
    let (status, made) = ask("/v1/sessions", &json!({ "prompt": "go", "fallback": ["spare/n"] }));
    assert_eq!((status, &made["text"]), (200, &json!("The spare.")), "{made}");
    let id = made["session_id"].as_str().unwrap();
    let kept = journal(&shore.home, id);
    assert_eq!(of_type(&kept, "model_replaced").len(), 1);
    drop(server);

    let shore = Shore::new("fallback = [\"spare/n\"]");
    let server = Server::start(&shore.home, &["--listen", "127.0.0.1:0"]);
    let (_, made) = server.ask("POST", "/v1/sessions", &server.token, &json!({ "prompt": "go" }));
    assert_eq!(made["text"], "The spare.", "{made}");
}

#[test]
fn an_editor_has_the_chain_of_the_configuration_and_is_told_who_answers() {
    let shore = Shore::new("fallback = [\"spare/n\"]");
    let able = json!({ "session": { "notices": {} } });
    let (mut editor, _) = Editor::start(&shore.home, &[], &able);
    let session = editor.session(&shore.home.project());
    let id = session["result"]["sessionId"].clone();
    let prompt = json!([{ "type": "text", "text": "go" }]);
    let (answer, told) =
        editor.hear("session/prompt", &json!({ "sessionId": id, "prompt": prompt }));
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
    let updates = || told.iter().map(|message| &message["params"]["update"]);
    assert!(
        updates().any(|update| update["title"] == "spare/n answers in the place of busy/m"),
        "{told:#?}"
    );
    let says = |update: &&Value| update["sessionUpdate"] == "agent_message_chunk";
    let words: String =
        updates().filter(says).filter_map(|update| update["content"]["text"].as_str()).collect();
    assert_eq!(words, "The spare.");
    editor.leave();
}

#[test]
fn the_deadlines_of_a_model_call_are_those_of_the_configuration() {
    let home = Home::new();
    let silent = home.script(&json!([{ "silence": true }]));
    home.write("project/spare.json", r#"{"steps":[{"text":"aye"}]}"#);
    for key in ["limits.model.idle", "limits.model.time"] {
        let bound = format!("{key}=1s");
        let arguments = ["run", "--json", "--model", &silent, "--fallback", "script/spare.json"];
        let more = ["--config", &bound, "--config", "turn.max_llm_retries=0", "go"];
        let ran = home.run(&[&arguments[..], &more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let lines = parsed(&ran.out);
        let entries: Vec<Value> =
            lines.iter().filter_map(|line| line.get("entry").cloned()).collect();
        let failed = of_type(&entries, "model_failed");
        assert_eq!((failed.len(), &failed[0]["class"]), (1, &json!("timeout")));
        let said = failed[0]["message"].as_str().unwrap();
        assert!(said.contains(" 1 s"), "{said}");
        let ran = home.run(&["run", "--config", &format!("{key}=900ms"), "go"]);
        assert!(ran.refused(2).contains("is shorter than 1s"), "{}", ran.err);
    }
}
