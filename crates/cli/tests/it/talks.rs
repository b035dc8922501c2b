//! What a person sees and answers on a terminal.

use serde_json::json;

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
