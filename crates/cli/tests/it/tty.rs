//! `run` at a real terminal: questions, their answers, and what a terminal is shown.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};

use crate::home::Home;
use crate::voyage::{journal, of_type, sessions};

/// A program at a terminal of its own.
struct Seat {
    child: Child,
    typing: File,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Seat {
    fn take(home: &Home, words: &[&str], columns: u16, variables: &[(&str, &str)]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs: OwnedFd =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut command = home.command();
        command.args(words).env("TERM", "xterm-256color").envs(variables.iter().copied());
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let child =
            command.stdin(end(&theirs)).stdout(end(&theirs)).stderr(end(&theirs)).spawn().unwrap();
        let typing = File::from(ours);
        let mut screen = typing.try_clone().unwrap();
        let (tell, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal whose program has ended answers with an error.
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                if tell.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, typing, shown, seen: String::new() }
    }

    /// Waits until the screen has shown these words.
    fn wait_for(&mut self, words: &str) {
        while !self.seen.contains(words) {
            let news = self.shown.recv_timeout(Duration::from_secs(30));
            let news = news.unwrap_or_else(|_| panic!("{words:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&news));
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.typing.write_all(keys.as_bytes()).unwrap();
    }

    /// The code of the program, and all that it showed.
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        while let Ok(news) = self.shown.recv_timeout(Duration::from_secs(5)) {
            self.seen.push_str(&String::from_utf8_lossy(&news));
        }
        (code, self.seen)
    }
}

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
        let mut seat = Seat::take(&home, &RUN, 80, &[]);
        for no in 1..=asked {
            seat.wait_for("> ");
            assert!(seat.seen.contains("touch one"), "{keys:?} {no}: {:?}", seat.seen);
            seat.seen.clear();
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
    let mut seat = Seat::take(&home, &RUN, 80, &[]);
    seat.wait_for("Which boat?");
    seat.wait_for("blue");
    seat.wait_for("> ");
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
    let (code, seen) = Seat::take(&home, &RUN, 30, &[]).end();
    assert_eq!(code, Some(0), "{seen:?}");
    assert!(
        seen.contains("bold") && !seen.contains("**bold**") && seen.contains("\x1b["),
        "{seen:?}"
    );
    assert!(!seen.contains("until they are longer than a narrow line"), "{seen:?}");
    let (_, seen) = Seat::take(&home, &RUN, 30, &[("NO_COLOR", "1")]).end();
    assert!(seen.contains("**bold**") && !seen.contains('\x1b'), "{seen:?}");
}

#[test]
fn names_and_answers_cannot_steer_the_terminal() {
    let read = json!({"name": "read_file", "arguments": {"path": "a\u{1b}]0;owned\u{7}\u{202e}b"}});
    let shell = json!({"name": "bash", "arguments": {"command": "echo \u{1b}[2J\r hidden"}});
    let home = home(&json!([{"calls": [read, shell]}, {"text": "bye\u{1b}[2J\u{9b}1m"}]));
    for variables in [&[][..], &[("NO_COLOR", "1")]] {
        let mut seat = Seat::take(&home, &RUN, 80, variables);
        seat.wait_for("> ");
        seat.type_in("n\n");
        let (_, seen) = seat.end();
        for steering in ["\x1b]", "\x1b[2J", "\u{7}", "\u{202e}", "\u{9b}"] {
            assert!(!seen.contains(steering), "{steering:?} in {seen:?}");
        }
    }
}
