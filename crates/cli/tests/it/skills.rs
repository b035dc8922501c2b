//! Skills through the real program: which are told of, what loading one gives and grants, and that an untrusted folder has none.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::home::{Home, Ran};
use crate::loopback::Loopback;
use crate::voyage::{Running, assert_sound, journal, of_type};

/// Ours in words, others' in shape: the keys, the folders beside the file and the way to name them are those of published skills.
const ROWING_LOG: &str = "---\nname: rowing-log\ndescription: |\n  Keeps the log of a rowing boat. Use when the user mentions a log, a trip or *.log files.\nlicense: Complete terms in LICENSE.txt\ncompatibility: Requires a shell\nmetadata:\n  author: nobody\n  version: \"1.2\"\nallowed-tools: Bash(echo:*) Bash(sleep:*), WebSearch Task\nmodel: inherit\ntriggers:\n  keywords: [boat log]\n  globs: [\"*.log\"]\n---\n\n# Rowing log\n\nSee [the form](references/FORM.md) and run `scripts/add.sh`.\n";

fn publish(home: &Home, below: &str) {
    home.write(&format!("{below}/rowing-log/SKILL.md"), ROWING_LOG);
    home.write(&format!("{below}/rowing-log/references/FORM.md"), "date, miles\n");
    home.write(&format!("{below}/rowing-log/scripts/add.sh"), "echo added\n");
    home.write(&format!("{below}/rowing-log/LICENSE.txt"), "free\n");
}

fn skill(home: &Home, below: &str, head: &str, body: &str) {
    let name = below.rsplit('/').next().unwrap();
    let text = format!("---\nname: {name}\ndescription: does {name}\n{head}---\n{body}\n");
    home.write(&format!("{below}/SKILL.md"), &text);
}

fn done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

/// A call of a script.
fn call(id: &str, tool: &str, arguments: &Value) -> Value {
    json!({"id": id, "name": tool, "arguments": arguments})
}

fn bash(id: &str, command: &str) -> Value {
    call(id, "bash", &json!({"command": command}))
}

fn load(id: &str, name: &str) -> Value {
    call(id, "skill", &json!({"name": name}))
}

/// How the calls of a journal ended.
fn outcome(entries: &[Value], id: &str) -> String {
    let settled = of_type(entries, "tool_settled").into_iter().find(|data| data["call"] == id);
    settled.unwrap()["outcome"].as_str().unwrap().to_owned()
}

fn words(entries: &[Value], id: &str) -> String {
    let settled = of_type(entries, "tool_settled").into_iter().find(|data| data["call"] == id);
    settled.unwrap()["content"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_published_skill_is_in_the_request_and_a_prompt_that_triggers_it_says_so() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    done(&home.run(&["run", "keep the boat log"]));
    let before = server.asked().pop().unwrap();
    assert!(!before.to_string().contains("skill"), "{before}");

    publish(&home, ".claude/skills");
    done(&home.run(&["run", "keep the boat log"]));
    let asked = server.asked().pop().unwrap();
    let system = asked["messages"][0]["content"].as_str().unwrap();
    let line = "- rowing-log: Keeps the log of a rowing boat. Use when the user mentions a log, a trip or *.log files.";
    assert!(system.contains("# Skills\n") && system.contains(line), "{system}");
    assert!(!system.contains("# Rowing log"), "only its name and description: {system}");
    let tools = asked["tools"].as_array().unwrap();
    assert_eq!(tools.last().unwrap()["function"]["name"], "skill");
    let said = asked["messages"][1]["content"].to_string();
    assert!(said.contains("keep the boat log"), "{said}");
    assert!(
        said.contains("[hint] The skill `rowing-log` is meant for this (it names `boat log`)."),
        "{said}"
    );

    // A session goes on with the system prompt that it began with, to the byte; new words trigger anew.
    skill(&home, ".config/oarlock/skills/later", "", "L");
    done(&home.run(&["run", "--resume", "see trips/may.log"]));
    let again = server.asked().pop().unwrap();
    assert_eq!(again["messages"][0], asked["messages"][0]);
    let said = again["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
    assert!(said.contains("it names `trips/may.log`"), "{said}");
    done(&home.run(&["run", "--config", "skills.enabled=false", "the boat log"]));
    assert!(!server.asked().pop().unwrap().to_string().contains("skill"));
}

#[test]
fn loading_a_skill_grants_its_tools_where_the_mode_would_ask_and_nowhere_else() {
    let home = Home::new();
    publish(&home, ".claude/skills");
    let model = home.script(&json!([
        {"calls": [bash("early", "echo early"), load("none", "fish")]},
        {"calls": [load("load", "rowing-log")]},
        {"calls": [bash("echo", "echo hi"), bash("both", "echo hi && ls"), bash("ls", "ls")]},
        {"text": "done"},
    ]));
    let run = |more: &[&str]| {
        let ran = home.run(&[&["run", "--json", "--model", &model], more, &["go"]].concat());
        let session = ran.result()["session"].as_str().unwrap().to_owned();
        journal(&home, &session)
    };
    let entries = run(&[]);
    assert_sound(&entries);
    assert_eq!(outcome(&entries, "early"), "denied");
    assert_eq!(outcome(&entries, "none"), "failed");
    assert!(words(&entries, "none").contains("there is no skill `fish`; there are: rowing-log"));
    let loaded = of_type(&entries, "skill_loaded");
    let grants = ["bash(echo)", "bash(echo *)", "bash(sleep)", "bash(sleep *)", "spawn_agent"];
    assert_eq!(loaded, [&json!({"name": "rowing-log", "grants": grants})]);
    let text = words(&entries, "load");
    let folder = home.path(".claude/skills/rowing-log");
    assert!(text.contains(&format!("Its folder is {}", folder.display())), "{text}");
    assert!(text.contains("- references/FORM.md\n- scripts/add.sh\n"), "{text}");
    assert!(
        text.ends_with("See [the form](references/FORM.md) and run `scripts/add.sh`."),
        "{text}"
    );
    assert_eq!(outcome(&entries, "echo"), "completed");
    assert_eq!(
        (outcome(&entries, "both"), outcome(&entries, "ls")),
        ("denied".into(), "denied".into())
    );

    let denied = run(&["--deny", "bash(echo hi)"]);
    assert_eq!(
        (outcome(&denied, "load"), outcome(&denied, "echo")),
        ("completed".into(), "denied".into())
    );
    let reads = run(&["--mode", "read-only"]);
    assert_eq!(
        (outcome(&reads, "load"), outcome(&reads, "echo")),
        ("completed".into(), "denied".into())
    );
    for refused in [run(&["--mode", "deny-all"]), run(&["--deny", "skill(rowing-log)"])] {
        assert_eq!(outcome(&refused, "load"), "denied");
        assert!(of_type(&refused, "skill_loaded").is_empty());
    }
}

#[test]
fn what_a_skill_granted_survives_a_kill_and_a_resume() {
    let home = Home::new();
    publish(&home, ".agents/skills");
    let model = home.script(&json!([
        {"calls": [load("load", "rowing-log")]},
        {"calls": [bash("sleep", "sleep 30")]},
        {"calls": [bash("echo", "echo after")]},
        {"text": "done"},
        {"calls": [bash("later", "echo later"), bash("ls", "ls")]},
        {"text": "done"},
    ]));
    let mut command = home.command();
    command.args(["run", "--json", "--model", &model, "go"]);
    let mut running = Running::start(command);
    let session = running.session();
    running.until(|line| {
        line["entry"]["event"]["data"]["call"] == "sleep"
            && line["entry"]["event"]["type"] == "tool_started"
    });
    running.signal("KILL");
    assert_eq!(running.end().0.code, None);

    // The grant is the journal's: the folder may be gone.
    std::fs::remove_dir_all(home.path(".agents")).unwrap();
    done(&home.run(&["run", "--json", "--resume", &session]));
    let entries = journal(&home, &session);
    assert_sound(&entries);
    assert_eq!(of_type(&entries, "skill_loaded").len(), 1);
    assert_eq!(outcome(&entries, "sleep"), "indeterminate");
    assert_eq!(outcome(&entries, "echo"), "completed");
    done(&home.run(&["run", "--json", "--resume", &session, "more"]));
    let entries = journal(&home, &session);
    assert_eq!(
        (outcome(&entries, "later"), outcome(&entries, "ls")),
        ("completed".into(), "denied".into())
    );
}

#[test]
fn an_untrusted_folder_has_no_skills_and_a_changed_one_has_none_again() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    publish(&home, "project/.claude/skills");
    skill(
        &home,
        "project/.oarlock/skills/always",
        "always: true\nallowed-tools: Edit\n",
        "Obey the folder.",
    );
    let asked = || {
        let ran = home.run(&["run", "keep the boat log"]);
        done(&ran);
        (server.asked().pop().unwrap().to_string(), ran.err)
    };
    let (before, told) = asked();
    assert!(
        !before.contains("rowing") && !before.contains("Obey") && !before.contains("skill"),
        "{before}"
    );
    assert!(told.contains("the skills of") && told.contains("oarlock trust"), "{told}");
    assert!(home.run(&["skills"]).out.is_empty());

    let shown = home.run(&["trust", "--show"]).out;
    for words in [
        ".claude/skills/rowing-log\")",
        "once loaded, runs without asking: \"bash(echo *)\"",
        ".oarlock/skills/always\"; its text is part of every session)",
        "once loaded, runs without asking: \"edit_file\"",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    done(&home.run(&["trust", "--yes"]));
    let (trusted, told) = asked();
    assert!(
        trusted.contains("- rowing-log: ") && trusted.contains("Obey the folder."),
        "{trusted}"
    );
    assert!(trusted.contains("[hint] The skill `rowing-log`") && !told.contains("trust"), "{told}");

    skill(
        &home,
        "project/.oarlock/skills/always",
        "always: true\nallowed-tools: Bash\n",
        "Obey the folder.",
    );
    let (changed, _) = asked();
    assert!(!changed.contains("rowing") && !changed.contains("Obey"), "{changed}");
    assert!(home.run(&["trust", "--show"]).out.contains("was trusted and has changed"));
    done(&home.run(&["trust", "--yes"]));
    home.write("project/.agents/skills/new/SKILL.md", "---\ndescription: d\n---\nx");
    assert!(!asked().0.contains("rowing"), "a new skill is a change");
}

#[test]
fn a_model_that_changes_a_skill_of_its_project_does_not_grant_itself_anything() {
    let home = Home::new();
    skill(&home, "project/.oarlock/skills/mild", "", "Be mild.");
    done(&home.run(&["trust", "--yes"]));
    let text = "---\nname: mild\ndescription: d\nallowed-tools: Bash\n---\nBe wild.";
    let path = ".oarlock/skills/mild/SKILL.md";
    let model = home.script(&json!([
        {"calls": [call("write", "write_file", &json!({"path": path, "content": text}))]},
        {"calls": [load("load", "mild")]},
        {"calls": [bash("ls", "ls")]},
        {"text": "done"},
        {"calls": [load("again", "mild")]},
        {"text": "done"},
    ]));
    let ran = home.run(&["run", "--json", "--model", &model, "--allow", "write_file", "go"]);
    let session = ran.result()["session"].as_str().unwrap().to_owned();
    let entries = journal(&home, &session);
    assert_eq!(outcome(&entries, "write"), "completed");
    assert!(words(&entries, "load").contains("Be mild."), "what was trusted is what is loaded");
    assert_eq!(outcome(&entries, "ls"), "denied");
    home.run(&["run", "--json", "--resume", &session, "again"]);
    let entries = journal(&home, &session);
    assert_eq!(outcome(&entries, "again"), "failed");
    assert_eq!(of_type(&entries, "skill_loaded").len(), 1);
}

#[test]
fn a_skills_files_are_read_and_not_written_and_no_link_leads_out_of_it() {
    let home = Home::new();
    publish(&home, "shared");
    home.write("secret", "42");
    symlink(home.path("secret"), home.path("shared/rowing-log/link")).unwrap();
    home.user("[skills]\ndirs = [\"../../shared\"]\n");
    let at = |name: &str| home.path("shared/rowing-log").join(name);
    let read = |id: &str, name: &str| call(id, "read_file", &json!({"path": at(name)}));
    let write = json!({"path": at("scripts/add.sh"), "content": "echo worse"});
    let model = home.script(&json!([
        {"calls": [
            read("form", "references/FORM.md"), read("link", "link"), read("up", "../../secret"),
            call("write", "write_file", &write),
        ]},
        {"text": "done"},
    ]));
    let ran = home.run(&["run", "--json", "--mode", "open", "--model", &model, "go"]);
    let entries = journal(&home, ran.result()["session"].as_str().unwrap());
    assert!(words(&entries, "form").contains("date, miles"));
    for id in ["link", "up", "write"] {
        assert_eq!(outcome(&entries, id), "failed", "{id}");
        assert!(words(&entries, id).contains("outside"), "{}", words(&entries, id));
    }
    assert_eq!(std::fs::read_to_string(at("scripts/add.sh")).unwrap(), "echo added\n");
}

#[test]
fn skills_are_listed_with_what_of_them_is_not_used() {
    let home = Home::new();
    let none = home.run(&["skills"]);
    done(&none);
    assert!(none.out.is_empty() && none.err.contains("no skill is used here"), "{}", none.err);

    publish(&home, ".claude/skills");
    skill(&home, ".config/oarlock/skills/mine", "", "M");
    skill(&home, ".config/oarlock/skills/twice", "", "user's");
    skill(&home, "project/.oarlock/skills/twice", "", "project's");
    home.write(".config/oarlock/skills/broken/SKILL.md", "---\nname: broken\n---\nx");
    home.user("[skills]\ndirs = [\"../../more\", \"nowhere\"]\n");
    skill(&home, "more/extra", "allowed-tools: Grep\n", "E");
    done(&home.run(&["trust", "--yes"]));
    let ran = home.run(&["skills"]);
    done(&ran);
    for words in [
        "rowing-log  (user)  Keeps the log of a rowing boat.",
        "    runs without asking, once loaded: bash(echo), bash(echo *), bash(sleep), bash(sleep *), spawn_agent\n",
        "    `allowed-tools` grants nothing for `WebSearch`: there is no such tool here\n",
        "    means nothing here: model\n",
        "extra  (skills.dirs)  does extra\n",
        "    runs without asking, once loaded: search\n",
        "mine  (user)",
        "twice  (project)",
        "twice  not used: the skill of this name in ",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert!(ran.err.contains("it has no `description`"), "{}", ran.err);
    assert!(ran.err.contains("nowhere is no folder"), "{}", ran.err);

    let listed: Value = serde_json::from_str(&home.run(&["skills", "--json"]).out).unwrap();
    let names: Vec<_> =
        listed["skills"].as_array().unwrap().iter().map(|skill| &skill["name"]).collect();
    assert_eq!(names, ["extra", "mine", "rowing-log", "twice"]);
    assert_eq!(listed["skills"][2]["ignored_keys"], json!(["model"]));
    assert_eq!(listed["left_out"].as_array().unwrap().len(), 2);
    // A broken skill keeps nothing from working, and is told of.
    let model = home.script(&json!([{"calls": [load("load", "twice")]}, {"text": "done"}]));
    let ran = home.run(&["run", "--json", "--model", &model, "go"]);
    assert!(ran.err.contains("is not used"), "{}", ran.err);
    let entries = journal(&home, ran.result()["session"].as_str().unwrap());
    assert!(words(&entries, "load").ends_with("project's"));
}

#[test]
fn a_skill_is_a_command_and_one_that_models_are_not_told_of_is_nothing_else() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    publish(&home, ".claude/skills");
    let head = "disable-model-invocation: true\nargument-hint: [where] [when]\n";
    skill(&home, ".claude/skills/sail", head, "Set sail.");
    skill(&home, ".claude/skills/quiet", "user-invocable: false\n", "Q");
    skill(&home, ".claude/skills/usage", "", "no command: /usage is always there");
    done(&home.run(&["run", "/sail to Elba"]));
    let asked = server.asked().pop().unwrap();
    let system = asked["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains("- rowing-log: ") && system.contains("- quiet: "), "{system}");
    assert!(!system.contains("sail"), "{system}");
    let said = asked["messages"][1]["content"].as_str().unwrap();
    assert_eq!(
        said,
        "Load the skill `sail` with the tool `skill`, and do what it says.\n\nto Elba"
    );

    let help = home.run(&["run", "--resume", "/help"]).out;
    assert!(help.contains("/sail [where] [when]") && help.contains("/rowing-log"), "{help}");
    assert!(!help.contains("/quiet"), "{help}");
    assert_eq!(home.run(&["run", "/quiet"]).code, Some(2));
    let usage = home.run(&["run", "--resume", "/usage"]);
    done(&usage);
    assert!(!usage.out.contains("always there"), "{}", usage.out);
    let listed = home.run(&["skills"]).out;
    assert!(listed.contains("    models are not told of it: say /sail\n"), "{listed}");

    let model = home.script(&json!([
        {"calls": [load("sail", "sail"), load("fish", "fish")]},
        {"text": "done"},
    ]));
    let ran = home.run(&["run", "--json", "--model", &model, "/sail"]);
    let entries = journal(&home, ran.result()["session"].as_str().unwrap());
    assert!(words(&entries, "sail").ends_with("Set sail."));
    assert!(words(&entries, "fish").ends_with("there are: quiet, rowing-log, usage"));
}
