//! What an editor waits for: the answers to its first two requests, each time of a new process.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::Place;
use crate::{ms, percentile, row, start};

/// How often a process is started.
const RUNS: usize = 100;

pub(crate) fn measure() {
    let place = Place::new();
    let (mut greeted, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (greeting, opening) = first_answers(&place);
        greeted.push(greeting);
        opened.push(opening);
    }
    row(
        "`oarlock acp` until initialize is answered, p50",
        percentile(&mut greeted, 0.5),
        Some(20.0),
        "ms",
    );
    row("the same, p99", percentile(&mut greeted, 0.99), None, "ms");
    row("session/new after it, p50", percentile(&mut opened, 0.5), None, "ms");
}

/// From the start of the process to the first answer, and from the second request to the second answer.
fn first_answers(place: &Place) -> (f64, f64) {
    let mut command = place.oarlock(&["acp", "--model", "demo"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let begun = start();
    let mut child = command.spawn().expect("the program is there");
    let mut input = child.stdin.take().expect("its input is a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
    let mut ask = |message: Value| writeln!(input, "{message}").expect("it reads");
    let mut heard = |id: u64| loop {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).expect("it writes lines"), 0, "it has ended");
        let message: Value = serde_json::from_str(&line).expect("lines are JSON");
        if message["id"] == id {
            assert!(message["result"].is_object(), "{line}");
            break;
        }
    };
    let greeting = json!({"protocolVersion": 1, "clientCapabilities": {}});
    ask(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting}));
    heard(1);
    let greeted = ms(begun.elapsed());
    let begun = start();
    let folder = json!({"cwd": place.folder.path(), "mcpServers": []});
    ask(json!({"jsonrpc": "2.0", "id": 2, "method": "session/new", "params": folder}));
    heard(2);
    let opened = ms(begun.elapsed());
    drop(input);
    assert!(child.wait().expect("it is our child").success(), "it ends with its input");
    (greeted, opened)
}
