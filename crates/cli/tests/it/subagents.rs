//! Subagents through the real program: profiles, their tools, and what a kill leaves.

use serde_json::{Value, json};

use crate::home::Home;
use crate::voyage::{journal, of_type, sessions};

const SCOUT: &str =
    "---\ndescription: Looks for things\nmodel: script/child.json\n---\nYou are a scout.\n";

/// A parent that sends a scout, and a scout that reads a file.
fn furnished() -> Home {
    let home = Home::new();
    home.write(".config/oarlock/agents/scout.md", SCOUT);
    home.write("project/input", "words\n");
    home.write(
        "project/parent.json",
        &json!({"steps": [
            {"calls": [{"id": "s", "name": "spawn_agent", "arguments": {"profile": "scout", "task": "read the input"}}]},
            {"text": "all done"},
        ]})
        .to_string(),
    );
    child(&home, &json!({"name": "read_file", "arguments": {"path": "input"}}));
    home
}

/// A scout that makes this call and has found it then.
fn child(home: &Home, call: &Value) {
    let steps = json!({"steps": [{"calls": [call]}, {"text": "found it"}]});
    home.write("project/child.json", &steps.to_string());
}

const RUN: [&str; 5] = ["run", "--json", "--model", "script/parent.json", "go"];

/// The journals of parent and child.
fn journals(home: &Home) -> (Vec<Value>, Vec<Value>) {
    let listed = home.run(&["session", "list", "--all", "--children", "--json"]).lines();
    let ids = listed.iter().map(|line| line["id"].as_str().unwrap());
    let mut both: Vec<_> = ids.map(|id| journal(home, id)).collect();
    assert_eq!(both.len(), 2);
    both.sort_by_key(|entries| entries[0]["event"]["data"]["spec"]["parent"].is_string());
    let child = both.pop().unwrap();
    (both.pop().unwrap(), child)
}

#[test]
fn a_subagent_reads_a_file_and_its_words_reach_the_parent() {
    let home = furnished();
    let ran = home.run(&RUN);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.lines().last().unwrap()["result"]["text"], "all done");
    let (parent, child) = journals(&home);
    let lines = ran.lines();
    let of_child = lines.iter().filter(|line| line["scoped"]["event"]["entry"].is_object());
    let of_child: Vec<&Value> = of_child.map(|line| &line["scoped"]["event"]["entry"]).collect();
    assert_eq!(
        of_child,
        child.iter().collect::<Vec<_>>(),
        "all of the child is told under its scope"
    );
    let id = child[0]["event"]["data"]["id"].as_str().unwrap();
    assert!(
        lines
            .iter()
            .filter_map(|line| line["scoped"]["scope"].as_array())
            .all(|scope| *scope == [json!(id)])
    );
    assert_eq!(sessions(&home).len(), 1, "lists leave subagents out");
    let shown = home.run(&["session", "show", parent[0]["event"]["data"]["id"].as_str().unwrap()]);
    assert!(format!("{}{}", shown.out, shown.err).contains(id), "{}{}", shown.out, shown.err);
    let settled = of_type(&parent, "tool_settled");
    assert_eq!(settled[0]["outcome"], "completed", "{settled:?}");
    assert_eq!(settled[0]["content"][0]["text"], "found it");
    let opened = of_type(&parent, "subagent_opened");
    let closed = of_type(&parent, "subagent_closed");
    let spec = &child[0]["event"]["data"]["spec"];
    assert_eq!(
        (&opened[0]["child"], &closed[0]["child"]),
        (&child[0]["event"]["data"]["id"], &child[0]["event"]["data"]["id"])
    );
    assert_eq!(
        (spec["depth"].clone(), spec["tools"].clone()),
        (json!(1), json!(["read_file", "search"]))
    );
    assert_eq!(spec["overlays"]["session"], "You are a scout.");
    assert!(
        of_type(&child, "tool_settled")[0]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("words")
    );
}

#[test]
fn a_run_that_is_killed_with_a_subagent_goes_on_with_it() {
    let home = furnished();
    home.write(
        ".config/oarlock/agents/scout.md",
        &SCOUT.replace("---\nYou", "tools: {allow: [bash]}\n---\nYou"),
    );
    // The scout's own command kills the program, once.
    let kill = "test -e killed && exit; touch killed; kill -9 $PPID; sleep 5";
    child(&home, &json!({"id": "k", "name": "bash", "arguments": {"command": kill}}));
    let died = home.run(&[&RUN[..2], &["--mode", "open"], &RUN[2..]].concat());
    assert_eq!(died.code, None, "it was to die: {} {}", died.out, died.err);
    let (parent, _) = journals(&home);
    let id = parent[0]["event"]["data"]["id"].as_str().unwrap();
    let resumed = home.run(&["run", "--json", "--resume", id]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert_eq!(resumed.lines().last().unwrap()["result"]["text"], "all done");
    let (parent, child) = journals(&home);
    assert_eq!(of_type(&parent, "subagent_opened").len(), 1);
    assert_eq!(of_type(&parent, "subagent_closed").len(), 1);
    assert_eq!(of_type(&parent, "tool_settled")[0]["content"][0]["text"], "found it");
    assert_eq!(of_type(&child, "turn_recovered").len(), 1);
    assert_eq!(of_type(&child, "tool_settled")[0]["outcome"], "indeterminate");
}

#[test]
fn a_bad_profile_is_named_and_stops_nothing_and_a_folders_own_wait_for_trust() {
    let home = furnished();
    home.write(".config/oarlock/agents/broken.md", "---\nmodel: a/b\n---\n");
    home.write(
        "project/.oarlock/agents/smith/config.toml",
        "description = \"Forges\"\n[tools]\nallow = [\"bash\"]\n",
    );
    home.write("project/.oarlock/agents/smith/system.md", "You are a smith.");
    let listed = home.run(&["agents"]);
    assert!(listed.out.starts_with("scout  (user)  Looks for things"), "{}", listed.out);
    assert!(
        listed.err.contains("broken.md is not used: it has no `description`"),
        "{}",
        listed.err
    );
    assert!(listed.err.contains("oarlock trust"), "{}", listed.err);
    assert!(!listed.out.contains("smith"), "{}", listed.out);
    let shown = home.run(&["trust", "--show"]);
    assert!(shown.out.contains("a profile of subagents"), "{}", shown.out);
    assert_eq!(home.run(&["trust", "--yes"]).code, Some(0));
    let listed = home.run(&["agents", "--json"]).lines().remove(0);
    let names: Vec<_> =
        listed["agents"].as_array().unwrap().iter().map(|agent| &agent["name"]).collect();
    assert_eq!(names, ["scout", "smith"]);
    assert_eq!(home.run(&RUN).code, Some(0));
}

#[test]
fn without_depth_or_profiles_there_is_no_tool_for_subagents() {
    let home = furnished();
    let ran =
        home.run(&[&RUN[..2], &["--config", "turn.subagent_max_depth=0"], &RUN[2..]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let parent = journal(&home, &sessions(&home)[0]);
    let settled = of_type(&parent, "tool_settled")[0];
    let (outcome, text) = (&settled["outcome"], settled["content"][0]["text"].as_str().unwrap());
    assert_eq!(outcome, "failed");
    assert!(text.contains("there is no tool `spawn_agent`"), "{text}");
}

#[test]
fn the_person_at_the_terminal_answers_what_a_subagent_asks_and_nobody_means_no() {
    let home = furnished();
    home.write(
        ".config/oarlock/agents/scout.md",
        &SCOUT.replace("---\nYou", "tools: {allow: [bash]}\n---\nYou"),
    );
    child(&home, &json!({"name": "bash", "arguments": {"command": "touch one"}}));
    let run = ["run", "--model", "script/parent.json", "--allow", "spawn_agent", "go"];
    let alone = home.run(&run);
    assert_eq!(alone.code, Some(0), "{}", alone.err);
    assert!(!home.path("project/one").exists());
    assert!(
        alone.err.contains("  ✗ denied: bash"),
        "a subagent's lines are indented: {}",
        alone.err
    );
    let mut seat = crate::pty::Terminal::start(&home, 80, &run);
    seat.expect("touch one");
    seat.expect("> ");
    seat.type_in("y\n");
    let (ended, seen) = seat.end();
    assert_eq!(ended, Some(0), "{seen:?}");
    assert!(home.path("project/one").exists(), "{seen:?}");
}

#[test]
fn a_new_session_is_what_a_profile_says_but_for_what_flags_say() {
    let home = Home::new();
    home.user("effort = \"high\"\nlimits.session = {steps = 9, tokens = 500_000}\n");
    home.write("project/AGENTS.md", "Words of the project.\n");
    home.write(
        ".config/oarlock/agents/smith.md",
        "---\ndescription: Forges\nmodel: demo/demo\ntools: {allow: [bash, \"read_*\"]}\nrequest_limit: 5\nsampling: {temperature: 0.2}\nlimits: {steps: 7, tokens: 9000000}\n---\nYou are a smith.\n",
    );
    let spec = |flags: &[&str]| {
        let ran = home.run(
            &[&["run", "--json", "--mode", "open", "--profile", "smith"], flags, &["go"]].concat(),
        );
        let entries: Vec<Value> = ran.lines().iter().map(|line| line["entry"].clone()).collect();
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        of_type(&entries, "session_created")[0]["spec"].clone()
    };
    let made = spec(&["--append-system-prompt", "Be brief."]);
    let settings = &made["settings"];
    assert_eq!(made["tools"], json!(["bash", "read_*", "goal_done"]));
    assert_eq!(settings["model"], json!({"provider": "demo", "model": "demo"}));
    assert_eq!(settings["limits"]["session"], json!({"steps": 7, "tokens": 500_000}));
    assert_eq!(settings["turn"]["request_limit"], json!({"mode": "fixed", "steps": 5}));
    assert_eq!(settings["turn"]["sampling"], json!({"temperature": 0.2}));
    assert_eq!((&settings["effort"], &made["parent"]), (&Value::Null, &Value::Null));
    let words = made["overlays"]["session"].as_str().unwrap();
    assert_eq!(words, "You are a smith.\n\nBe brief.");
    assert!(!made.to_string().contains("Words of the project"), "{made}");

    home.write("project/one.json", r#"{"steps":[{"text":"done"}]}"#);
    let flags = ["-m", "script/one.json", "--config", "turn.sampling.top_k=3"];
    let settings = spec(&flags)["settings"].clone();
    assert_eq!(settings["model"]["provider"], "script");
    assert_eq!(settings["turn"]["sampling"], json!({"top_k": 3}));
    assert_eq!(settings["effort"], "high");
    let asked = home.run(&["run", "--profile", "smith", "/model"]);
    assert_eq!(asked.out, "model: demo/demo\n", "{}", asked.err);
}

#[test]
fn a_profile_that_is_not_there_or_comes_too_late_is_refused() {
    let home = Home::new();
    let ran = home.run(&["run", "--profile", "smith", "-m", "demo", "go"]);
    assert!(ran.refused(1).contains("there is no profile here"), "{}", ran.err);
    for name in ["scout", "smith"] {
        let path = format!(".config/oarlock/agents/{name}.md");
        home.write(&path, "---\ndescription: Does things\n---\n");
    }
    let ran = home.run(&["run", "--profile", "smiht", "-m", "demo", "go"]);
    assert!(ran.refused(1).contains("there are scout, smith"), "{}", ran.err);
    assert!(home.sessions().is_empty());
    let ran = home.run(&["run", "--profile", "scout", "-m", "demo", "--goal", "look around"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for first in [&["run", "--resume"][..], &["chat", "--resume"]] {
        let ran = home.run(&[first, &["--profile", "scout", "-m", "demo"]].concat());
        assert!(ran.refused(1).contains("--profile: a session stays"), "{}", ran.err);
    }
}
