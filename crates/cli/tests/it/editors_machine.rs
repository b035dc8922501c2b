//! The real program and an editor that has words which are not saved and terminals of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::home::Home;

/// How long a message is waited for before the editor looks at its terminals, and how often in a row.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSES_MAX: u32 = 6_000;

/// A command in a terminal of the editor.
struct Running {
    child: Child,
    output: Arc<Mutex<String>>,
    /// The request to be answered when it has ended.
    waiting: Option<Value>,
}

struct Editor {
    agent: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    ids: u64,
    unsaved: HashMap<PathBuf, String>,
    terminals: HashMap<String, Running>,
    /// Requests of the agent, in order.
    asked: Vec<String>,
    updates: Vec<Value>,
    /// Requests after which a cancellation is sent, once.
    cancel_after: Option<&'static str>,
}

impl Editor {
    fn start(home: &Home, model: &str) -> Self {
        let mut command = home.command();
        command.args(["acp", "-m", model]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut agent = command.spawn().unwrap();
        let (lines, from) = channel();
        let out = BufReader::new(agent.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                drop(lines.send(serde_json::from_str(&line).unwrap()));
            }
        });
        let to = agent.stdin.take().unwrap();
        let mut editor = Self {
            agent,
            to,
            from,
            ids: 0,
            unsaved: HashMap::new(),
            terminals: HashMap::new(),
            asked: Vec::new(),
            updates: Vec::new(),
            cancel_after: None,
        };
        let fs = json!({ "readTextFile": true, "writeTextFile": true });
        let able = json!({ "fs": fs, "terminal": true });
        editor.call("initialize", &json!({ "protocolVersion": 1, "clientCapabilities": able }));
        editor
    }

    /// Sends a prompt in a new session of the project, and returns why its turn stopped.
    fn prompt(&mut self, home: &Home) -> String {
        let new = self.call("session/new", &json!({ "cwd": home.project(), "mcpServers": [] }));
        let prompt = json!([{ "type": "text", "text": "go" }]);
        let session = &new["sessionId"];
        let end = self.call("session/prompt", &json!({ "sessionId": session, "prompt": prompt }));
        end["stopReason"].as_str().unwrap().to_owned()
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.to, "{message}").unwrap();
    }

    fn reply(&mut self, to: &Value, result: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": to["id"], "result": result }));
    }

    /// The result of a request; what the agent asks meanwhile is answered.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.ids += 1;
        let id = self.ids;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let mut answer = None;
        self.serve_until(|message| {
            let is_it = message["id"] == id && message.get("method").is_none();
            answer = is_it.then(|| message.clone());
            is_it
        });
        let answer = answer.unwrap();
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    fn serve_until(&mut self, mut is_last: impl FnMut(&Value) -> bool) {
        let mut pauses = 0;
        loop {
            assert!(pauses < PAUSES_MAX, "{:?}", self.asked);
            self.tell_of_ends();
            let message = match self.from.recv_timeout(PAUSE) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    pauses += 1;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the agent has ended"),
            };
            if is_last(&message) {
                return;
            }
            self.serve(&message);
        }
    }

    fn serve(&mut self, message: &Value) {
        let (Some(method), params) = (message["method"].as_str(), &message["params"]) else {
            return;
        };
        if method == "session/update" {
            self.updates.push(params["update"].clone());
        }
        if message.get("id").is_none() {
            return;
        }
        self.asked.push(method.to_owned());
        let result = match method {
            "session/request_permission" => {
                json!({ "outcome": { "outcome": "selected", "optionId": "allow_once" } })
            }
            "fs/read_text_file" => {
                let path = PathBuf::from(params["path"].as_str().unwrap());
                let saved = || std::fs::read_to_string(&path).unwrap();
                json!({ "content": self.unsaved.get(&path).cloned().unwrap_or_else(saved) })
            }
            "fs/write_text_file" => {
                let content = params["content"].as_str().unwrap().to_owned();
                self.unsaved.insert(params["path"].as_str().unwrap().into(), content);
                json!({})
            }
            _ => return self.serve_terminal(method, message),
        };
        self.reply(message, &result);
    }
}

impl Editor {
    fn serve_terminal(&mut self, method: &str, message: &Value) {
        let params = &message["params"];
        if method == "terminal/create" {
            let args = params["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
            let mut command = Command::new(params["command"].as_str().unwrap());
            command.args(args).current_dir(params["cwd"].as_str().unwrap()).process_group(0);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            let output = Arc::new(Mutex::new(String::new()));
            let collected = Arc::clone(&output);
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = out.read(&mut bytes) {
                    collected.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
            });
            let id = format!("t{}", self.terminals.len());
            self.terminals.insert(id.clone(), Running { child, output, waiting: None });
            return self.reply(message, &json!({ "terminalId": id }));
        }
        let running = self.terminals.get_mut(params["terminalId"].as_str().unwrap()).unwrap();
        let result = match method {
            "terminal/output" => {
                let output = running.output.lock().unwrap().clone();
                json!({ "output": output, "truncated": false })
            }
            "terminal/wait_for_exit" => {
                running.waiting = Some(message.clone());
                return;
            }
            "terminal/kill" | "terminal/release" => {
                let group = format!("-{}", running.child.id());
                // It may have ended by itself.
                drop(Command::new("kill").args(["-KILL", "--", &group]).output());
                json!({})
            }
            other => panic!("{other}"),
        };
        let session = params["sessionId"].clone();
        self.reply(message, &result);
        if self.cancel_after == Some(method) {
            self.cancel_after = None;
            let params = json!({ "sessionId": session });
            self.send(&json!({ "jsonrpc": "2.0", "method": "session/cancel", "params": params }));
        }
    }

    fn tell_of_ends(&mut self) {
        let mut ended = Vec::new();
        for running in self.terminals.values_mut() {
            if running.waiting.is_some()
                && let Some(status) = running.child.try_wait().unwrap()
            {
                ended.push((running.waiting.take().unwrap(), json!({ "exitCode": status.code() })));
            }
        }
        for (waiting, status) in ended {
            self.reply(&waiting, &status);
        }
    }

    /// Ends the agent once every terminal is released; what was asked about terminals and files, in order, with questions for output left out.
    fn leave(mut self) -> Vec<String> {
        let released = |asked: &[String]| asked.iter().filter(|m| *m == "terminal/release").count();
        let mut pauses = 0;
        while released(&self.asked) < self.terminals.len() {
            assert!(pauses < PAUSES_MAX, "{:?}", self.asked);
            match self.from.recv_timeout(PAUSE) {
                Ok(message) => self.serve(&message),
                Err(_) => pauses += 1,
            }
        }
        for running in self.terminals.values_mut() {
            running.child.wait().unwrap();
        }
        drop(self.to);
        assert!(self.agent.wait().unwrap().success());
        self.asked.into_iter().filter(|method| method != "terminal/wait_for_exit").collect()
    }

    /// How the only call ended, and its content.
    fn end_of_call(&self) -> (&str, &Value) {
        let ends = |u: &&Value| u["status"] == "completed" || u["status"] == "failed";
        let ended = self.updates.iter().rfind(ends).unwrap();
        (ended["status"].as_str().unwrap(), &ended["content"])
    }
}

fn script(home: &Home, name: &str, arguments: &Value) -> String {
    let call = json!({ "calls": [{ "name": name, "arguments": arguments }] });
    home.script(&json!([call, { "text": "done" }]))
}

#[test]
fn an_edit_of_words_that_are_not_saved_goes_into_the_editors_buffer() {
    let home = Home::new();
    let file = home.write("project/notes.txt", "saved\n");
    let edit =
        json!({ "path": "notes.txt", "old_string": "not yet saved", "new_string": "edited" });
    let mut editor = Editor::start(&home, &script(&home, "edit_file", &edit));
    editor.unsaved.insert(file.clone(), "this is not yet saved\n".to_owned());
    assert_eq!(editor.prompt(&home), "end_turn");
    assert_eq!(editor.end_of_call().0, "completed");
    assert_eq!(editor.unsaved[&file], "this is edited\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "saved\n", "saving is the editor's");
    let asked = editor.leave();
    assert!(asked.contains(&"session/request_permission".to_owned()), "{asked:?}");
    assert_eq!(asked.iter().filter(|method| *method == "fs/write_text_file").count(), 1);
}

#[test]
fn an_allowed_command_runs_in_a_terminal_of_the_editor() {
    let home = Home::new();
    let line = json!({ "command": "echo \"in $PWD\"; touch made; exit 3" });
    let mut editor = Editor::start(&home, &script(&home, "bash", &line));
    assert_eq!(editor.prompt(&home), "end_turn");
    let shown = json!([{ "type": "terminal", "terminalId": "t0" }]);
    assert_eq!(editor.end_of_call(), ("completed", &shown));
    assert!(home.path("project/made").exists());
    let asked = editor.leave();
    let ends = ["terminal/output", "terminal/release"];
    assert_eq!(asked[..2], ["session/request_permission", "terminal/create"]);
    assert_eq!(asked[asked.len() - 2..], ends, "it ended by itself");
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let journal = home.run(&["session", "export", &id]).out;
    let told = [format!("in {}", home.project().display()), "[exit status 3]".to_owned()];
    let is_told = told.iter().all(|words| journal.contains(words));
    assert!(is_told, "the model is told what the terminal showed: {journal}");
}

#[test]
fn a_command_that_is_cancelled_or_takes_too_long_is_ended_in_its_terminal() {
    let home = Home::new();
    let slow = script(&home, "bash", &json!({ "command": "echo begun; sleep 60" }));
    let mut editor = Editor::start(&home, &slow);
    editor.cancel_after = Some("terminal/output");
    assert_eq!(editor.prompt(&home), "cancelled");
    assert_eq!(editor.end_of_call().0, "failed");
    let asked = editor.leave();
    let ends = ["terminal/kill", "terminal/release"];
    let of_ends = |asked: &[String]| -> Vec<String> {
        asked.iter().filter(|method| ends.contains(&method.as_str())).cloned().collect()
    };
    assert_eq!(of_ends(&asked), ends, "{asked:?}");

    let home = Home::new();
    let arguments = json!({ "command": "echo begun; sleep 60", "timeout_ms": 500 });
    let mut editor = Editor::start(&home, &script(&home, "bash", &arguments));
    assert_eq!(editor.prompt(&home), "end_turn");
    let asked = editor.leave();
    assert_eq!(of_ends(&asked), ends, "{asked:?}");
    let kill = asked.iter().position(|method| method == "terminal/kill").unwrap();
    assert!(asked[kill..].contains(&"terminal/output".to_owned()), "its last words: {asked:?}");
}
