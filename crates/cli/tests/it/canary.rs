//! Secrets that were put wherever a program may have one, and a walk through everything that it tells: they are in none of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::home::Home;
use crate::rpc::Rpc;
use crate::serve::{Server, request};

/// In the file of a provider's key.
const OF_FILE: &str = "canary-file-1f0c77aa9d";
/// In the environment, as the key of a provider.
const OF_VARIABLE: &str = "canary-variable-2e1b66";
/// In the configuration, as a header that a provider wants.
const OF_HEADER: &str = "canary-header-3d2a55bb";
/// Sent by a client that guesses tokens.
const OF_CLIENT: &str = "canary-client-4c3944cc";
/// In a file that a tool reads, before a hook that hides secrets.
const OF_TOOL: &str = "canary-tool-5b4833dd01";

/// A provider that refuses every call, and says what it was sent.
fn gossip() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut length) = (Vec::new(), 0);
            let mut reader = BufReader::new(&stream);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) < 3 {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push(line.trim().to_owned());
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let words = format!("this is no key of ours: {}", head.join("; "));
            let body = json!({ "error": { "message": words, "type": "invalid_request_error" } });
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // Whoever went hears nothing.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}

/// Somebody's machine with secrets everywhere.
fn machine() -> (Home, String) {
    let home = Home::new().with("LOUD_KEY", OF_VARIABLE).with("OARLOCK_LOG", "trace");
    let key = home.write("key", &format!("{OF_FILE}\n"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let loud = gossip();
    home.user(&format!(
        r#"
[providers.filed]
wire = "openai-chat"
base_url = "{loud}"
api_key_file = "{key}"
headers.x-token = "{OF_HEADER}"
default_model = "m"
models = ["m"]
[providers.loud]
wire = "anthropic-messages"
base_url = "{loud}"
api_key_env = "LOUD_KEY"
default_model = "m"
models = ["m"]
[log]
filter = "trace"
[[hooks.after_tool_apply]]
name = "redact"
builtin = "redact-secrets"
"#,
        key = key.display()
    ));
    home.write("project/private.env", &format!("USER=me\nAPI_KEY={OF_TOOL}\n"));
    let script = home.script(&json!([
        { "calls": [{ "name": "bash", "arguments": { "command": "env; cat private.env; cat ../key ../.config/oarlock/config.toml 2>&1 | wc -c" } }] },
        { "calls": [{ "name": "read_file", "arguments": { "path": "private.env" } }] },
        { "text": "I looked." },
        { "text": "And again." },
    ]));
    (home, script)
}

/// Everything that somebody was told, under a name.
type Told = Vec<(String, String)>;

/// What is told of sessions over HTTP, the stream of events and the socket among it.
fn over_http(server: &Server, sessions: &[String], told: &mut Told) {
    let mut ask = |verb: &str, path: &str, token: &str, sent: &Value| {
        let answer = server.raw(verb, path, token, sent);
        told.push((format!("{verb} {path}"), answer));
    };
    let own = server.token.as_str();
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/openapi.json",
        "/v1/sessions",
        "/v1/search?query=canary",
        "/v1/search?query=me",
    ] {
        ask("GET", path, own, &Value::Null);
        ask("GET", path, OF_CLIENT, &Value::Null);
    }
    for session in sessions {
        let path = format!("/v1/sessions/{session}");
        for below in ["", "/entries", "/why", "/tasks"] {
            ask("GET", &format!("{path}{below}"), own, &Value::Null);
        }
        let wrong = json!({ "prompt": "go", "colour": "red" });
        ask("POST", &format!("{path}/turns"), own, &wrong);
        ask("POST", &format!("{path}/turns"), OF_CLIENT, &wrong);
    }
    for session in sessions {
        let path = format!("/v1/sessions/{session}");
        told.push((
            format!("events of {session}"),
            streamed(server, &format!("{path}/events"), ""),
        ));
        let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        told.push((
            format!("socket of {session}"),
            streamed(server, &format!("{path}/ws"), upgrade),
        ));
    }
}

/// What a stream says until it has caught up.
fn streamed(server: &Server, path: &str, upgrade: &str) -> String {
    let asked = request("GET", path, &server.token, &Value::Null);
    let connection = if upgrade.is_empty() { "keep-alive" } else { "upgrade" };
    let asked = asked
        .replace("connection: close\r\n", &format!("connection: {connection}\r\n{upgrade}"))
        .replace("content-length: 0\r\n", "");
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(asked.as_bytes()).unwrap();
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&said).contains("caught_up") {
        let read = stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// What is told over JSON-RPC, and its errors.
fn over_rpc(home: &Home, script: &str, sessions: &[String], told: &mut Told) {
    let mut rpc = Rpc::start(home, &["-m", script]);
    for session in sessions {
        for method in ["session/read", "session/entries", "session/why", "events/subscribe"] {
            let answer = rpc.ask(method, &json!({ "session_id": session }));
            told.push((method.to_owned(), answer.to_string()));
        }
    }
    let id = rpc.send("session/create", &json!({ "prompt": "go", "model": "filed/m" }));
    let (failed, events) = rpc.answer(id);
    assert_eq!(failed["error"]["data"]["code"], "AGENT_ERROR", "{failed}");
    told.push(("rpc error".to_owned(), failed.to_string()));
    told.push(("rpc events".to_owned(), json!(events).to_string()));
    let heard = rpc.heard.take().unwrap();
    rpc.end(None);
    told.push(("log of rpc".to_owned(), heard.join().unwrap()));
}

/// What people are told.
fn by_commands(home: &Home, sessions: &[String], told: &mut Told) {
    let mut run = |arguments: &[&str]| {
        let ran = home.run(arguments);
        told.push((arguments.join(" "), format!("{}{}", ran.out, ran.err)));
    };
    for session in sessions {
        run(&["session", "export", session]);
        run(&["session", "show", session]);
        run(&["session", "why", session]);
    }
    run(&["run", "--json", "-m", "filed/m", "go"]);
    run(&["run", "-m", "loud/m", "go"]);
    run(&["models", "--json"]);
    run(&["serve", "token", "list", "--json"]);
    run(&["session", "search", "canary"]);
}

/// All files below a folder but those where a secret belongs.
fn files(folder: &Path, own: &[PathBuf], told: &mut Told) {
    for found in fs::read_dir(folder).unwrap() {
        let path = found.unwrap().path();
        if path.is_dir() {
            files(&path, own, told);
        } else if !own.contains(&path) {
            let bytes = fs::read(&path).unwrap_or_default();
            told.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}

#[test]
fn a_secret_is_told_to_nobody_and_written_nowhere_but_where_it_belongs() {
    let (home, script) = machine();
    let arguments = ["--listen", "127.0.0.1:0", "-m", &script, "--mode", "open", "--log-json"];
    let mut server = Server::start(&home, &arguments);
    let (own, mut told) = (server.token.clone(), Told::new());
    let create = |asked: Value| {
        let raw = server.raw("POST", "/v1/sessions", &own, &asked);
        let at = raw.find("\"session_id\":\"").unwrap_or_else(|| panic!("{raw}")) + 14;
        (raw[at..].split('"').next().unwrap().to_owned(), raw)
    };
    let mut sessions = Vec::new();
    for (asked, status) in [
        (json!({ "prompt": "look around" }), "200"),
        (json!({ "prompt": "hello", "model": "filed/m" }), "502"),
        (json!({ "prompt": "hello", "model": "loud/m" }), "502"),
    ] {
        let (session, answer) = create(asked);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        sessions.push(session);
        told.push(("created".to_owned(), answer));
    }
    over_http(&server, &sessions, &mut told);
    assert_eq!(server.terminate().0, Some(0));
    told.push(("log".to_owned(), server.said()));
    over_rpc(&home, &script, &sessions, &mut told);
    by_commands(&home, &sessions, &mut told);
    let data = home.path(".local/share/oarlock");
    let belongs = [
        home.path("key"),
        home.path(".config/oarlock/config.toml"),
        home.path("project/private.env"),
        data.join("token"),
    ];
    files(&home.path(""), &belongs, &mut told);

    // The walk saw what there is to see.
    let all = |name: &str| -> String {
        told.iter().filter(|(told, _)| told.contains(name)).map(|(_, words)| &**words).collect()
    };
    assert!(all("session export").contains("API_KEY=***"), "the tool's result was read");
    assert!(
        all("session export").contains("this is no key of ours"),
        "the provider's words are told"
    );
    for log in ["log", "log of rpc"] {
        let words = &told.iter().find(|(name, _)| name == log).unwrap().1;
        assert!(words.contains("TRACE"), "{log} says all that it can");
    }
    assert!(all("oarlock.db").contains("SQLite format"), "the store was looked through");
    let secrets = [OF_FILE, OF_VARIABLE, OF_HEADER, OF_CLIENT, OF_TOOL, own.as_str()];
    for (name, words) in &told {
        for secret in secrets {
            let at = words.find(secret).map(|at| {
                let from = words[..at].char_indices().rev().nth(200).map_or(0, |(from, _)| from);
                &words[from..at]
            });
            assert_eq!(at, None, "{secret} is in {name}");
        }
    }
}
