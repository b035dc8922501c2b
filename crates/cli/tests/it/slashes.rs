//! Slash commands and prompt files through the real program, in `run` and in `chat`.

use serde_json::{Value, json};

use crate::home::{Home, Ran};
use crate::loopback::Loopback;
use crate::pty::Terminal;
use crate::sittings::fed;

fn done(ran: &Ran) -> &Ran {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran
}

fn answer(ran: &Ran) -> Value {
    let lines = done(ran).lines();
    assert_eq!(lines.len(), 1, "{}", ran.out);
    lines[0]["answer"].clone()
}

#[test]
fn a_run_answers_a_command_without_a_turn_and_its_line_keeps_to_the_schema() {
    let home = Home::new();
    let model = home.script(&json!([{ "text": "aye", "usage": { "input": 1000, "output": 50 } }]));
    done(&home.run(&["run", "-m", &model, "hello"]));
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let before = home.run(&["session", "show", "--json", &id]).out;
    let schema: Value = serde_json::from_str(&home.run(&["schema"]).out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let asked = |words: &[&str]| {
        let ran = home.run(&[&["run", "--json"], words].concat());
        let answer = answer(&ran);
        if let Err(error) = validator.validate(&ran.lines()[0]) {
            panic!("{}: {error}", ran.out);
        }
        answer
    };
    let usage = asked(&["--resume", &id, "/usage"]);
    assert_eq!(usage["session"], id.as_str());
    assert_eq!(usage["command"]["name"], "usage");
    assert_eq!(
        (&usage["command"]["turns"], &usage["command"]["usage"]["input"]),
        (&json!(1), &json!(1000))
    );
    let context = asked(&["--resume", "/context"]);
    let used = context["command"]["context"]["used_tokens"].as_u64().unwrap();
    assert!((1000..2000).contains(&used), "{context}");
    assert_eq!(asked(&["--resume", "/model"])["command"]["model"]["provider"], "script");
    let mode = asked(&["--resume", "/mode"]);
    assert_eq!(mode["command"], json!({ "name": "mode", "mode": "ask-writes", "changed": false }));
    assert_eq!(asked(&["--resume", "/queue"])["command"]["waiting"], json!([]));
    assert_eq!(home.run(&["session", "show", "--json", &id]).out, before, "asking writes nothing");

    assert!(
        done(&home.run(&["run", "--resume", "/usage"]))
            .out
            .starts_with("usage: 1 turns, 1050 tokens")
    );
    assert_eq!(asked(&["--resume", "/mode open"])["command"]["changed"], true);
    assert_eq!(asked(&["--resume", "/mode"])["command"]["mode"], "open");
    assert_eq!(asked(&["--resume", "/model demo/demo"])["command"]["changed"], true);
    assert_eq!(asked(&["--resume", "/model"])["command"]["model"]["provider"], "demo");
    let help = asked(&["/help"]);
    let names: Vec<&str> = help["command"]["commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert!(
        ["compact", "context", "model", "mode", "usage", "help"]
            .iter()
            .all(|name| names.contains(name))
    );
    assert_eq!(home.sessions().len(), 1, "asking makes no session");
}

#[test]
fn what_is_no_command_is_refused_and_a_doubled_slash_is_said() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    for (words, code, told) in [
        (&["run", "/usgae"][..], 2, "there is no command /usgae (did you mean /usage?)"),
        (&["run", "/usage now"], 2, "write it as /usage"),
        (&["run", "/usage"], 1, "name one with --resume"),
        (&["run", "/compact"], 1, "name one with --resume"),
        (&["run", "/steer left"], 1, "use them in `oarlock chat`"),
        (&["run", "--resume", "/usage"], 1, "there is no session of"),
    ] {
        assert!(home.run(words).refused(code).contains(told), "{words:?}");
    }
    assert!(home.sessions().is_empty() && server.asked().is_empty());
    let said = || {
        server.asked().last().unwrap()["messages"].as_array().unwrap().last().unwrap()["content"]
            .clone()
    };
    done(&home.run(&["run", "//usage of oars"]));
    assert_eq!(said(), "/usage of oars");
    done(&home.run(&["run", "/etc/hosts is what?"]));
    assert_eq!(said(), "/etc/hosts is what?");
    for (words, told) in [
        ("/mode opn", "did you mean `open`?"),
        ("/mode Open!", "is not a mode's name"),
        ("/model nobody/m", "unknown provider `nobody`"),
    ] {
        let refused = home.run(&["run", "--resume", words]);
        assert!(refused.refused(1).contains(told), "{words}: {}", refused.err);
    }
}

#[test]
fn prompt_files_are_sent_with_their_arguments_and_a_projects_only_when_it_is_trusted() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    let said = || {
        server.asked().last().unwrap()["messages"].as_array().unwrap().last().unwrap()["content"]
            .clone()
    };
    home.write(
        ".config/oarlock/prompts/fix.md",
        "---\ndescription: Fix an issue\nargument-hint: [number] [urgency]\n---\nFix issue $1, urgency $2. $ARGUMENTS\n",
    );
    home.write(".config/oarlock/prompts/broken.md", "---\nmodel: x\n---\ny");
    home.write("project/.oarlock/prompts/ship.md", "Ship it, project!");
    home.write("project/.oarlock/prompts/fix.md", "Mine instead.");
    home.write("secret.md", "secret");
    std::os::unix::fs::symlink("../../../secret.md", home.path("project/.oarlock/prompts/link.md"))
        .unwrap();

    done(&home.run(&["run", "/fix 12 \"very high\""]));
    assert_eq!(said(), "Fix issue 12, urgency very high. 12 \"very high\"");
    let help = home.run(&["run", "/help"]);
    assert!(done(&help).out.contains("/fix [number] [urgency]  Fix an issue"), "{}", help.out);
    assert!(!help.out.contains("/ship"), "{}", help.out);
    assert!(help.err.contains("broken.md: its head has the key `model`"), "{}", help.err);
    assert!(help.err.contains("oarlock trust"), "{}", help.err);
    let ran = home.run(&["run", "/ship"]);
    assert!(ran.code == Some(2) && ran.err.contains("there is no command /ship"), "{}", ran.err);

    let shown = home.run(&["trust", "--yes"]);
    assert!(done(&shown).out.contains(".oarlock/prompts/ship.md"), "{}", shown.out);
    done(&home.run(&["run", "/ship now"]));
    assert_eq!(said(), "Ship it, project!\n\nnow");
    done(&home.run(&["run", "/fix 1 2"]));
    assert_eq!(said(), "Fix issue 1, urgency 2. 1 2", "the user's own goes first");
    let link = home.run(&["run", "/link"]);
    assert!(
        link.code == Some(2) && link.err.contains("link.md: it is no regular file"),
        "{}",
        link.err
    );
    // What was trusted is what was shown.
    home.write("project/.oarlock/prompts/ship.md", "Sink it!");
    assert_eq!(home.run(&["run", "/ship"]).code, Some(2));
}

#[test]
fn a_chat_does_commands_between_prompts_and_goes_on_after_wrong_ones() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    home.write(".config/oarlock/prompts/greet.md", "Greet $1.");
    let chat = fed(
        &home,
        &["chat"],
        b"/help\n/usgae\n/model\n/mode read-only\n/mode\n/greet Ann\n/queue\n/withdraw 7\n//x\n/steer\n/exit\n",
    );
    done(&chat);
    for told in [
        "/greet",
        "/exit",
        "model: loop/m",
        "mode: read-only from the next turn on",
        "mode: read-only\n",
    ] {
        assert!(chat.out.contains(told), "{told}: {}", chat.out);
    }
    for told in ["did you mean /usage?", "there is no number 7", "write it as /steer WORDS"] {
        assert!(chat.err.contains(told), "{told}: {}", chat.err);
    }
    let last = |at: usize| {
        server.asked()[at]["messages"].as_array().unwrap().last().unwrap()["content"].clone()
    };
    assert_eq!((last(0), last(1)), (json!("Greet Ann."), json!("/x")));
    assert_eq!(server.asked().len(), 2);
    let mode = home.run(&["run", "--resume", "/mode"]);
    assert_eq!(mode.out, "mode: read-only\n");
}

#[test]
fn a_person_in_a_chat_is_answered_and_asked_for_the_next_line() {
    let home = Home::new();
    let model = home.script(&json!([{ "text": "aye" }]));
    let mut terminal = Terminal::start(&home, 100, &["chat", "-m", &model]);
    for (line, told) in [
        ("/mode\n", "mode: ask-writes"),
        ("/usgae\n", "did you mean /usage?"),
        ("/help\n", "leave; the session stays"),
        ("hello\n", "aye"),
        ("/usage\n", "usage: 1 turns"),
    ] {
        terminal.expect("> ");
        terminal.type_in(line);
        terminal.expect(told);
    }
    terminal.expect("> ");
    terminal.type_in("/exit\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
}
