//! What a person sees and answers on a terminal.

use serde_json::{Value, json};

use crate::home::Home;
use crate::pty::Terminal;

/// Two commands that need permission, then the end.
fn touches(home: &Home) -> String {
    let touch = |name: &str| json!({ "calls": [{ "name": "bash", "arguments": { "command": format!("touch {name}") } }] });
    home.script(&json!([touch("one"), touch("two"), { "text": "It is **done**." }]))
}

fn made(home: &Home) -> [bool; 2] {
    ["project/one", "project/two"].map(|name| home.path(name).exists())
}

#[test]
fn a_person_is_asked_before_a_command_runs() {
    let table = [
        (&["y\n", "y\n"][..], [true, true], 0),
        (&["y\n", "n\n"], [true, false], 4),
        (&["n\n", "y\n"], [false, true], 0),
        (&["what?\n", "y\n", "n\n"], [true, false], 4),
        (&["\u{4}", "\u{4}"], [false, false], 4),
    ];
    for (answers, expected, code) in table {
        let home = Home::new();
        let model = touches(&home);
        let mut terminal = Terminal::start(&home, 80, &["run", "-m", &model, "go"]);
        for answer in answers {
            terminal.expect("  n  ");
            terminal.expect("> ");
            terminal.type_in(answer);
        }
        let (ended, shown) = terminal.end();
        assert_eq!((ended, made(&home)), (Some(code), expected), "{answers:?}: {shown}");
        assert!(shown.contains("touch one"), "{shown}");
    }
}

#[test]
fn always_is_for_the_session_and_for_what_was_shown() {
    let home = Home::new();
    let call =
        json!({ "calls": [{ "name": "bash", "arguments": { "command": "echo x >> one" } }] });
    let other = json!({ "calls": [{ "name": "bash", "arguments": { "command": "touch two" } }] });
    let model = home.script(&json!([call, call, other, { "text": "done" }]));
    let mut terminal = Terminal::start(&home, 80, &["run", "-m", &model, "go"]);
    terminal.expect("a  always allow in this session: bash(>> one), bash(echo x)");
    terminal.expect("> ");
    terminal.type_in("a\n");
    terminal.expect("a  always allow in this session: bash(touch two)");
    terminal.expect("> ");
    terminal.type_in("n\n");
    let (ended, shown) = terminal.end();
    assert_eq!(ended, Some(4), "{shown}");
    assert_eq!(std::fs::read_to_string(home.path("project/one")).unwrap(), "x\nx\n", "{shown}");
    assert!(!home.path("project/two").exists());
}

#[test]
fn a_question_of_the_agent_is_answered_by_a_person_and_not_at_all_without_one() {
    let home = Home::new();
    let asks =
        json!({ "name": "ask_user", "arguments": { "question": "Port or \u{1b}[2Jstarboard?" } });
    let model = home.script(&json!([{ "calls": [asks] }, { "text": "Aye." }]));
    let mut terminal = Terminal::start(&home, 80, &["run", "-m", &model, "go"]);
    terminal.expect("Port or [2Jstarboard?");
    terminal.expect("> ");
    terminal.type_in("port, please\n");
    let (ended, shown) = terminal.end();
    assert!(ended == Some(0) && shown.contains("Aye."), "{ended:?} {shown}");
    let told = |run: &crate::home::Ran| {
        run.lines()
            .iter()
            .find(|line| {
                line["event"]["type"] == "tool_settled"
                    || line["entry"]["event"]["type"] == "tool_settled"
            })
            .cloned()
            .unwrap_or_default()
            .to_string()
    };
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let answered = told(&home.run(&["session", "show", "--json", &id]));
    assert!(answered.contains("port, please"), "{answered}");

    let ran = home.run(&["run", "--json", "-m", &model, "go"]);
    let unanswered = told(&ran);
    assert!(ran.code == Some(0) || ran.code == Some(4), "{:?}", ran.code);
    assert!(!unanswered.is_empty() && !unanswered.contains("completed"), "{unanswered}");
}

#[test]
fn markdown_is_rendered_for_a_terminal_and_its_width() {
    let words = "oar ".repeat(30);
    let text =
        format!("# Boats\n\nThis is **bold**. {words}\n\n- one\n- two\n\n```\nlet x = 1;\n```\n");
    let home = Home::new();
    let model = home.script(&json!([{ "text": text }]));
    for columns in [30_u16, 100] {
        let (code, shown) =
            Terminal::start(&home, columns, &["run", "--ephemeral", "-m", &model, "go"]).end();
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("bold") && !shown.contains("**"), "{shown}");
        assert!(shown.contains("\u{1b}["), "{shown:?}");
        let widest = plain(&shown).lines().map(|line| line.trim_end().chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= usize::from(columns)), "{widest:?} {shown}");
    }
    let quiet = Home::new().with("NO_COLOR", "1");
    let model = quiet.script(&json!([{ "text": text }]));
    let (code, shown) = Terminal::start(&quiet, 80, &["run", "-m", &model, "go"]).end();
    assert!(code == Some(0) && !shown.contains('\u{1b}'), "{shown:?}");
    let piped = home.run(&["run", "-q", "--ephemeral", "-m", &model, "go"]);
    assert_eq!(piped.out, text);
}

/// Without the sequences that style.
fn plain(shown: &str) -> String {
    let mut pieces = shown.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

#[test]
fn names_and_answers_cannot_steer_the_terminal() {
    let home = Home::new();
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\u{202e}x";
    home.write(&format!("project/{evil}.txt"), "inside\u{1b}[2J");
    let model = home.script(&json!([
        {
            "text": format!("Look: {evil}"),
            "calls": [
                { "name": "read_file", "arguments": { "path": format!("{evil}.txt") } },
                { "name": "bash", "arguments": { "command": format!("echo '{evil}'") } },
                { "name": evil, "arguments": {} }
            ]
        },
        { "text": format!("{evil} `{evil}`\n\n```\n{evil}\n```") }
    ]));
    let mut terminal = Terminal::start(&home, 80, &["run", "-m", &model, evil]);
    terminal.expect("> ");
    terminal.type_in("n\n");
    let (_, shown) = terminal.end();
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let (_, listed) = Terminal::start(&home, 80, &["session", "list"]).end();
    let (_, again) = Terminal::start(&home, 80, &["session", "show", &id]).end();
    for shown in [&shown, &listed, &again] {
        for steering in ["\u{1b}]", "\u{1b}[2J", "\u{7}", "\u{9b}", "\u{202e}"] {
            assert!(!shown.contains(steering), "{steering:?} in {shown:?}");
        }
        assert!(!shown.replace('\n', "").contains('\r'), "{shown:?}");
    }
    let value: Value =
        serde_json::from_str(home.run(&["session", "list", "--json"]).out.trim()).unwrap();
    assert!(value["title"].is_string());
}
