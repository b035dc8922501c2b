//! `run` at a real terminal: questions, their answers, and what a terminal is shown.

use serde_json::{Value, json};

use crate::home::Home;
use crate::pty::Terminal;
use crate::voyage::{journal, of_type, sessions};

fn home(steps: &Value) -> Home {
    let home = Home::new();
    home.write("project/s.json", &json!({ "steps": steps }).to_string());
    home
}

const RUN: [&str; 4] = ["run", "--model", "script/s.json", "go"];

#[test]
fn a_question_is_answered_at_the_terminal_with_y_a_n_or_the_end_of_input() {
    let touch =
        |file: &str| json!({"name": "bash", "arguments": {"command": format!("touch {file}")}});
    let steps = json!([{"calls": [touch("one")]}, {"calls": [touch("one")]}, {"text": "done"}]);
    for (keys, asked, made, code) in
        [("y\n", 2, true, 0), ("a\n", 1, true, 0), ("n\n", 2, false, 4), ("\u{4}", 2, false, 4)]
    {
        let home = home(&steps);
        let mut seat = Terminal::start(&home, 80, &RUN);
        for _ in 0..asked {
            seat.expect("touch one");
            seat.expect("> ");
            seat.type_in(keys);
            if keys == "\u{4}" {
                break;
            }
        }
        let (ended, seen) = seat.end();
        assert_eq!(ended, Some(code), "{keys:?}: {seen:?}");
        assert_eq!(home.path("project/one").exists(), made, "{keys:?}");
        let journal = journal(&home, &sessions(&home).remove(0));
        assert_eq!(of_type(&journal, "tool_settled").len(), 2, "{keys:?}");
    }
}

#[test]
fn a_person_answers_the_agents_question_and_without_one_it_is_told_so() {
    let ask = json!({"name": "ask_user", "arguments": {"question": "Which boat?", "options": ["red", "blue"]}});
    let home = home(&json!([{"calls": [ask]}, {"text": "done"}]));
    let mut seat = Terminal::start(&home, 80, &RUN);
    seat.expect("Which boat?");
    seat.expect("blue");
    seat.expect("> ");
    seat.type_in("the blue one\n");
    let (code, seen) = seat.end();
    assert_eq!(code, Some(0), "{seen:?}");
    let settled = journal(&home, &sessions(&home).remove(0));
    assert!(of_type(&settled, "tool_settled")[0].to_string().contains("the blue one"));
    let alone = home.run(&[&RUN[..3], &["--json", "go"]].concat());
    let settled = crate::voyage::entries(&alone.lines());
    let settled = of_type(&settled, "tool_settled");
    assert_eq!((alone.code, settled.len()), (Some(0), 1), "{}", alone.err);
    assert_ne!(settled[0]["outcome"], "completed");
}

#[test]
fn markdown_is_rendered_in_the_width_of_the_terminal_and_plain_without_colour() {
    let text = "some **bold** words that go on and on until they are longer than a narrow line";
    let home = home(&json!([{ "text": text }]));
    let (code, seen) = Terminal::start(&home, 30, &RUN).end();
    assert_eq!(code, Some(0), "{seen:?}");
    assert!(
        seen.contains("bold") && !seen.contains("**bold**") && seen.contains("\x1b["),
        "{seen:?}"
    );
    assert!(!seen.contains("until they are longer than a narrow line"), "{seen:?}");
    let (_, seen) = Terminal::start(&home.with("NO_COLOR", "1"), 30, &RUN).end();
    assert!(seen.contains("**bold**") && !seen.contains('\x1b'), "{seen:?}");
}

#[test]
fn names_and_answers_cannot_steer_the_terminal() {
    let read = json!({"name": "read_file", "arguments": {"path": "a\u{1b}]0;owned\u{7}\u{202e}b"}});
    let shell = json!({"name": "bash", "arguments": {"command": "echo \u{1b}[2J\r hidden"}});
    let steps = json!([{"calls": [read, shell]}, {"text": "bye\u{1b}[2J\u{9b}1m"}]);
    for home in [home(&steps), home(&steps).with("NO_COLOR", "1")] {
        let mut seat = Terminal::start(&home, 80, &RUN);
        seat.expect("> ");
        seat.type_in("n\n");
        let (_, seen) = seat.end();
        for steering in ["\x1b]", "\x1b[2J", "\u{7}", "\u{202e}", "\u{9b}"] {
            assert!(!seen.contains(steering), "{steering:?} in {seen:?}");
        }
    }
}
