//! `oarlock rpc` as a program meets it: the real binary, its pipes, its store and its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::home::Home;
use crate::voyage::now;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, and what it says.
pub(crate) struct Rpc {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    ids: i64,
    /// What it writes to stderr; whole when it has ended.
    pub(crate) heard: Option<JoinHandle<String>>,
}

impl Rpc {
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = home.command();
        command.arg("rpc").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut err = child.stderr.take().unwrap();
        let heard = std::thread::spawn(move || {
            let mut heard = Vec::new();
            err.read_to_end(&mut heard).expect("it is read to its end");
            String::from_utf8_lossy(&heard).into_owned()
        });
        let out = BufReader::new(child.stdout.take().unwrap());
        let (said, from) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let line = serde_json::from_str(&line.unwrap()).expect("every line is JSON");
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Self { to: child.stdin.take(), child, from, ids: 0, heard: Some(heard) }
    }

    pub(crate) fn send(&mut self, method: &str, params: &Value) -> i64 {
        self.ids += 1;
        let (id, to) = (self.ids, self.to.as_mut().unwrap());
        let rpc = "2.0";
        writeln!(to, "{}", json!({"jsonrpc":rpc,"id":id,"method":method,"params":params})).unwrap();
        id
    }

    /// The answer to a request, and what was said before it.
    pub(crate) fn answer(&self, id: i64) -> (Value, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            let line = self.from.recv_timeout(PATIENCE).expect("it answers");
            if line["id"] == id {
                return (line, before);
            }
            before.push(line);
        }
    }

    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        self.answer(id).0
    }

    pub(crate) fn done(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = self.ask(method, params);
        assert_eq!(answer.get("error"), None, "{method}");
        answer["result"].take()
    }

    /// Ends the stream, or the process by a signal, and says how long it took to be gone, its code, and what it said meanwhile.
    pub(crate) fn end(mut self, signal: Option<&str>) -> (Duration, Option<i32>, Vec<Value>) {
        let begun = now();
        match signal {
            Some(signal) => {
                let id = self.child.id().to_string();
                let told = std::process::Command::new("kill").args(["-s", signal, &id]).status();
                assert!(told.unwrap().success());
            }
            None => self.to = None,
        }
        let status = self.child.wait().unwrap();
        (begun.elapsed(), status.code(), self.from.iter().collect())
    }
}

fn slowly(home: &Home) -> String {
    home.script(&json!([{ "text": "slowly", "delay_ms": 60_000 }]))
}

#[test]
fn a_session_made_by_one_process_is_gone_on_with_by_the_next() {
    let home = Home::new();
    let model = home.script(&json!([{ "text": "one" }, { "text": "two" }]));
    let mut rpc = Rpc::start(&home, &["--model", &model]);
    let made = rpc.done("session/create", &json!({ "prompt": "hello", "idempotency_key": "k" }));
    assert_eq!(made["text"], "one", "{made}");
    let session = made["session_id"].as_str().unwrap().to_owned();
    let (took, code, said) = rpc.end(None);
    assert_eq!((code, said), (Some(0), vec![]));
    assert!(took < Duration::from_secs(2), "{took:?}");

    let mut rpc = Rpc::start(&home, &["--model", &model]);
    let again = rpc.done("session/create", &json!({ "prompt": "hello", "idempotency_key": "k" }));
    assert_eq!(again["input"], made["input"], "a key is known after a restart");
    assert_eq!(again["text"], "one");
    rpc.done("events/subscribe", &json!({ "session_id": session, "after": made["cursor"] }));
    let id = rpc.send("turn/start", &json!({ "session_id": session, "prompt": "and now?" }));
    let (turn, seen) = rpc.answer(id);
    assert_eq!(turn["result"]["text"], "two", "{turn}");
    let seqs: Vec<u64> =
        seen.iter().filter_map(|l| l["params"]["event"]["entry"]["seq"].as_u64()).collect();
    let first: u64 = made["cursor"].as_str().unwrap().parse().unwrap();
    assert_eq!(seqs, (first + 1..).take(seqs.len()).collect::<Vec<_>>());
    assert!(seqs.len() > 3, "{seen:?}");
}

#[test]
fn a_turn_that_runs_when_the_program_goes_is_cancelled_and_answered_within_two_seconds() {
    for signal in [None, Some("TERM")] {
        let home = Home::new();
        let mut rpc = Rpc::start(&home, &["--model", &slowly(&home)]);
        let made = rpc.done("session/create", &json!({ "prompt": "go", "wait_ms": 0 }));
        let session = made["session_id"].as_str().unwrap().to_owned();
        let id = rpc.send("turn/wait", &json!({ "session_id": session }));
        rpc.done("session/read", &json!({ "session_id": session }));
        let (took, code, said) = rpc.end(signal);
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_millis(2_500), "{took:?}");
        let turn = said.iter().find(|line| line["id"] == id).expect("the wait is answered");
        assert_eq!(turn["result"]["stop_reason"]["reason"], "cancelled", "{turn}");
        let mut next = Rpc::start(&home, &["--model", &slowly(&home)]);
        let read = next.done("session/read", &json!({ "session_id": session }));
        assert_eq!((&read["is_active"], &read["turns"]), (&json!(false), &json!(1)));
    }
}

fn create(name: &str) -> Value {
    let build = json!({ "comms_name": name, "silent_comms_intents": ["weather"] });
    json!({ "initial_turn": "defer", "build": build })
}

#[test]
fn a_message_whose_receiver_dies_before_its_turn_is_there_once() {
    let home = Home::new();
    let mut rpc = Rpc::start(&home, &["--model", &slowly(&home)]);
    let cox = rpc.done("session/create", &create("cox"))["session_id"].clone();
    rpc.done("turn/start", &json!({ "session_id": cox, "prompt": "go", "wait_ms": 0 }));
    let request = json!({ "to": "cox", "kind": "request", "intent": "pace", "text": "how fast?", "idempotency_key": "k" });
    let sent = rpc.done("session/send", &request);
    let weather = json!({ "to": "cox", "kind": "request", "intent": "weather", "text": "rain" });
    rpc.done("session/send", &weather);
    rpc.end(Some("KILL"));

    let model = home.script(&json!([{ "text": "one" }, { "text": "two" }]));
    let mut rpc = Rpc::start(&home, &["--model", &model]);
    let again = rpc.done("session/send", &request);
    assert_eq!(again["input"], sent["input"], "the key is known after the death");
    let waited = rpc.done("turn/wait", &json!({ "session_id": cox, "input": sent["input"] }));
    assert_eq!(waited["state"], "ended", "{waited}");
    let entries = rpc.done("session/entries", &json!({ "session_id": cox }))["entries"].take();
    let inputs = entries.as_array().unwrap().iter();
    let inputs: Vec<&Value> =
        inputs.filter(|entry| entry["event"]["type"] == "input_admitted").collect();
    let said = |text: &str| {
        inputs.iter().filter(|entry| entry["event"].to_string().contains(text)).count()
    };
    assert_eq!((inputs.len(), said("how fast?"), said("rain")), (3, 1, 1), "{inputs:?}");
    let taken = entries.as_array().unwrap().iter();
    let taken = taken.filter(|entry| entry["event"]["type"] == "turn_started");
    let taken = taken.flat_map(|entry| entry["event"]["data"]["inputs"].as_array().unwrap());
    assert_eq!(taken.filter(|input| **input == sent["input"]).count(), 1, "{entries}");
}

#[test]
fn of_two_processes_that_want_a_name_one_has_it_and_its_death_does_not_free_it() {
    let home = Home::new();
    let model = home.script(&json!([{ "text": "one" }]));
    let mut both: Vec<Rpc> = (0..2).map(|_| Rpc::start(&home, &["--model", &model])).collect();
    for name in ["bow", "stroke", "cox"] {
        let ids: Vec<i64> =
            both.iter_mut().map(|rpc| rpc.send("session/create", &create(name))).collect();
        let answers: Vec<Value> = both.iter().zip(ids).map(|(rpc, id)| rpc.answer(id).0).collect();
        let refused: Vec<&Value> =
            answers.iter().filter_map(|answer| answer.get("error")).collect();
        let [error] = &refused[..] else { panic!("{answers:?}") };
        assert_eq!(
            (&error["code"], &error["data"]["code"]),
            (&json!(-32602), &json!("INVALID_REQUEST"))
        );
    }
    for rpc in both {
        rpc.end(Some("KILL"));
    }
    let mut rpc = Rpc::start(&home, &["--model", &model]);
    let refused = rpc.ask("session/create", &create("cox"));
    assert_eq!(refused["error"]["data"]["code"], "INVALID_REQUEST", "{refused}");
    let peers = rpc.done("session/peers", &json!({}));
    assert_eq!(peers["peers"].as_array().unwrap().len(), 3, "{peers}");
    let sent = rpc.done("session/send", &json!({ "to": "cox", "text": "hello" }));
    let wait = json!({ "session_id": sent["session_id"], "input": sent["input"] });
    assert_eq!(rpc.done("turn/wait", &wait)["text"], "one");
}
