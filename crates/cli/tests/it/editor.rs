//! `oarlock acp` as an editor starts it: folders with their own configuration, keys, and the way to log in.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::home::Home;
use crate::login::{KEY, endpoint, knows_the_key};

/// An editor with the program that it started.
pub(crate) struct Editor {
    program: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    ids: i64,
}

impl Editor {
    pub(crate) fn start(home: &Home, arguments: &[&str], capabilities: &Value) -> (Self, Value) {
        let mut command = home.command();
        command.arg("acp").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.stderr(Stdio::null()).spawn().unwrap();
        let (to, from) = (program.stdin.take(), BufReader::new(program.stdout.take().unwrap()));
        let mut editor = Self { program, to, from, ids: 0 };
        let hello = json!({ "protocolVersion": 1, "clientCapabilities": capabilities });
        let answer = editor.call("initialize", &hello);
        (editor, answer["result"].clone())
    }

    /// The answer to a request; what is told meanwhile is left out.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.hear(method, params).0
    }

    /// The answer to a request, and what is told meanwhile.
    pub(crate) fn hear(&mut self, method: &str, params: &Value) -> (Value, Vec<Value>) {
        let mut told = Vec::new();
        self.ids += 1;
        let request =
            json!({ "jsonrpc": "2.0", "id": self.ids, "method": method, "params": params });
        writeln!(self.to.as_ref().unwrap(), "{request}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "{method}: no answer");
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == self.ids {
                return (message, told);
            }
            told.push(message);
        }
    }

    pub(crate) fn session(&mut self, cwd: &Path) -> Value {
        self.call("session/new", &json!({ "cwd": cwd, "mcpServers": [] }))
    }

    /// What is told up to the list of commands, which is the last that is told of an opened session.
    fn told(&mut self) -> Vec<Value> {
        let mut told = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "no commands are listed");
            let mut message: Value = serde_json::from_str(&line).unwrap();
            let update = message["params"]["update"].take();
            if update["sessionUpdate"] == "available_commands_update" {
                return told;
            }
            told.push(update);
        }
    }

    pub(crate) fn leave(mut self) {
        self.to = None;
        assert_eq!(self.program.wait().unwrap().code(), Some(0));
    }
}

/// What the answer says of an option of its session.
fn option<'a>(answer: &'a Value, id: &str) -> &'a Value {
    let options = answer["result"]["configOptions"].as_array();
    let options = options.unwrap_or_else(|| panic!("{answer}"));
    let found = options.iter().find(|option| option["id"] == id);
    &found.unwrap_or_else(|| panic!("{answer}"))["currentValue"]
}

/// A folder below the home with a shared file that says this.
fn project(home: &Home, name: &str, text: &str) -> std::path::PathBuf {
    home.write(&format!("{name}/.git/HEAD"), "ref: refs/heads/main\n");
    home.write(&format!("{name}/.oarlock/config.toml"), text);
    home.path(name)
}

#[test]
fn each_session_has_the_configuration_of_its_own_folder_as_far_as_it_is_trusted() {
    let home = Home::new();
    home.user("provider = \"demo\"\nmode = \"open\"\n");
    let strict = project(&home, "strict", "mode = \"read-only\"\n");
    let loose = project(&home, "loose", "effort = \"high\"\n");
    let (mut editor, _) = Editor::start(&home, &[], &json!({}));
    // What makes it stricter counts by itself; anything else does not.
    let first = editor.session(&strict);
    assert_eq!(*option(&first, "mode"), "read-only");
    let untrusted = editor.session(&loose);
    assert_eq!(*option(&untrusted, "mode"), "open");
    assert_eq!(*option(&untrusted, "effort"), "default");
    let trusted = home.command().args(["trust", "--yes"]).current_dir(&loose).output().unwrap();
    assert!(trusted.status.success(), "{}", String::from_utf8_lossy(&trusted.stderr));
    assert_eq!(*option(&editor.session(&loose), "effort"), "high");

    // A session that lives stays as it was made, also when its folder's configuration is another one by now.
    home.write("strict/.oarlock/config.toml", "mode = \"deny-all\"\n");
    assert_eq!(*option(&editor.session(&strict), "mode"), "deny-all");
    let id = &first["result"]["sessionId"];
    for method in ["session/load", "session/resume"] {
        let open = json!({ "sessionId": id, "cwd": strict, "mcpServers": [] });
        let again = editor.call(method, &open);
        assert_eq!(*option(&again, "mode"), "read-only", "{method}");
        let words = json!([{ "type": "text", "text": "what is in this folder?" }]);
        let prompt = json!({ "sessionId": id, "prompt": words });
        let answer = editor.call("session/prompt", &prompt);
        assert_eq!(answer["result"]["stopReason"], "end_turn", "{method}: {answer}");
        editor.call("session/close", &json!({ "sessionId": id }));
    }
    editor.leave();
}

#[test]
fn without_a_key_a_session_is_refused_with_the_remedy_until_somebody_logs_in() {
    let address = endpoint(knows_the_key);
    let home = Home::new();
    home.user(&format!(
        "[providers.anthropic]\nbase_url = \"{address}\"\ndefault_model = \"boat-1\"\n"
    ));
    let can = json!({ "auth": { "terminal": true } });
    let (mut editor, hello) = Editor::start(&home, &[], &can);
    assert_eq!(hello["authMethods"][0]["id"], "setup");
    let login = &hello["authMethods"][1];
    assert_eq!((&login["type"], &login["args"]), (&json!("terminal"), &json!(["login"])));
    let setup = json!({ "methodId": "setup" });
    for answer in [editor.session(&home.project()), editor.call("authenticate", &setup)] {
        assert_eq!(answer["error"]["code"], -32000, "{answer}");
        let words = answer["error"]["message"].as_str().unwrap();
        assert!(
            words.contains("set ANTHROPIC_API_KEY or run `oarlock login anthropic`"),
            "{words}"
        );
    }
    let standing = |editor: &mut Editor| editor.call("auth/status", &json!({}))["result"].clone();
    assert_eq!(standing(&mut editor), json!({ "state": "unauthenticated" }));
    // The editor runs its own command with the method's words at the end.
    log_in(&home, "sk-wrong", &["acp", "login", "--no-check"]);
    let answer = editor.call("authenticate", &setup);
    assert_eq!(answer["error"]["code"], -32000, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("refuses the key"), "{answer}");
    log_in(&home, KEY, &["acp", "--mode", "open", "login"]);
    assert_eq!(editor.call("authenticate", &setup)["result"], json!({}));
    let new = editor.session(&home.project());
    assert_eq!(*option(&new, "model"), "anthropic/boat-1");
    let stands = standing(&mut editor);
    assert_eq!(stands["state"], "authenticated", "{stands}");
    let label = stands["accounts"][0]["label"].as_str().unwrap();
    assert!(label.starts_with("anthropic: key from") && !label.contains(KEY), "{label}");

    assert_eq!(editor.call("logout", &json!({}))["result"], json!({}));
    assert!(!home.run(&["login", "--status", "--json"]).out.contains("\"stored\":true"));
    assert_eq!(editor.session(&home.project())["error"]["code"], -32000);
    editor.leave();
}

fn log_in(home: &Home, key: &str, arguments: &[&str]) {
    let mut command = home.command();
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0), "{arguments:?}");
}

#[test]
fn without_any_configuration_ci_gets_no_demonstration() {
    let home = Home::new().with("CI", "true");
    let (mut editor, _) = Editor::start(&home, &[], &json!({}));
    let answer = editor.session(&home.project());
    assert_eq!(answer["error"]["code"], -32000, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("--model demo"), "{answer}");
    editor.leave();
    let (mut editor, _) = Editor::start(&home, &["--model", "demo"], &json!({}));
    assert_eq!(*option(&editor.session(&home.project()), "model"), "demo/demo");
    assert_eq!(editor.call("auth/status", &json!({}))["result"]["state"], "not_required");
    assert_eq!(editor.call("authenticate", &json!({ "methodId": "setup" }))["result"], json!({}));
    editor.leave();
}

/// What a prompt of these words is answered with.
fn prompted(editor: &mut Editor, session: &Value, words: &str) -> Value {
    let prompt = json!([{ "type": "text", "text": words }]);
    let session = &session["result"]["sessionId"];
    editor.call("session/prompt", &json!({ "sessionId": session, "prompt": prompt }))
}

#[test]
fn words_that_make_no_sense_are_answered_in_words_and_a_store_that_fails_by_an_error() {
    let home = Home::new();
    home.user("provider = \"demo\"\n");
    let folder = project(&home, "folder", "");
    home.write("folder/binary", "a\0b");
    std::fs::write(folder.join("dot.gif"), b"GIF89a\x01\0\x01\0\0\0\0;").unwrap();
    let (mut editor, _) = Editor::start(&home, &[], &json!({}));
    let session = editor.session(&folder);
    for words in ["/nothing-of-this-name", "/model no-such-provider/m", "look at @binary"] {
        let answer = prompted(&mut editor, &session, words);
        assert_eq!(answer["result"]["stopReason"], "end_turn", "{words}: {answer}");
    }
    let blobs = home.path(".local/share/oarlock/blobs");
    assert!(blobs.parent().unwrap().is_dir(), "the store is there");
    std::fs::remove_dir_all(&blobs).ok();
    std::fs::write(&blobs, "no folder").unwrap();
    let answer = prompted(&mut editor, &session, "look at @dot.gif");
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    let words = answer["error"]["message"].as_str().unwrap();
    assert!(words.starts_with("@dot.gif could not be kept"), "{words}");
    editor.leave();
}

#[test]
fn what_an_untrusted_folder_configures_in_vain_is_told_whenever_a_session_is_opened() {
    let home = Home::new();
    home.user("provider = \"demo\"\n");
    let folder = project(&home, "folder", "effort = \"high\"\n");
    let (mut editor, _) = Editor::start(&home, &[], &json!({ "session": { "notices": {} } }));
    let session = editor.session(&folder);
    let mut told = editor.told();
    let id = &session["result"]["sessionId"];
    editor.call("session/close", &json!({ "sessionId": id }));
    let open = json!({ "sessionId": id, "cwd": folder, "mcpServers": [] });
    editor.call("session/resume", &open);
    told.append(&mut editor.told());
    assert_eq!(told.len(), 2, "{told:?}");
    for notice in told {
        assert_eq!(notice["sessionUpdate"], "notice");
        assert_eq!(notice["severity"], "warning");
        let words = notice["description"].as_str().unwrap();
        assert!(words.contains("`effort`") && words.contains("oarlock trust"), "{words}");
    }
    let trusted = home.command().args(["trust", "--yes"]).current_dir(&folder).output().unwrap();
    assert!(trusted.status.success(), "{}", String::from_utf8_lossy(&trusted.stderr));
    editor.session(&folder);
    assert_eq!(editor.told(), Vec::<Value>::new());
    editor.leave();
}
