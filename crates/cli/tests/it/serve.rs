//! `oarlock serve` as programs meet it: a real process, its files, its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::home::{Home, mode_of};
use crate::rpc::Rpc;

/// A server that a test has started. Dropping it ends it.
pub(crate) struct Server {
    program: Child,
    pub(crate) address: String,
    pub(crate) token: String,
    said: Arc<Mutex<String>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is only waited for.
        drop(self.program.kill());
        drop(self.program.wait());
    }
}

impl Server {
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = home.command();
        command.arg("serve").args(arguments);
        Self::of(home, command)
    }

    /// The server that this command is.
    fn of(home: &Home, mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
        let said = Arc::<Mutex<String>>::default();
        let keep = |said: &Mutex<String>, line: &str| {
            let mut said = said.lock().unwrap();
            said.push_str(line);
            said.push('\n');
        };
        let line = lines.by_ref().map(Result::unwrap).inspect(|line| keep(&said, line));
        let line = { line }.find(|line| line.contains("listening on "));
        let line = line.expect("it says where it listens");
        let address = line.split("listening on ").nth(1).unwrap().trim_start_matches("http://");
        // Whoever writes to stderr must not find it closed.
        let kept = Arc::clone(&said);
        std::thread::spawn(move || lines.for_each(|line| keep(&kept, &line.unwrap_or_default())));
        let token = std::fs::read_to_string(home.path(".local/share/oarlock/token")).unwrap();
        Self { program, address: address.to_owned(), token: token.trim().to_owned(), said }
    }

    /// What it wrote to stderr.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The whole answer as it came.
    pub(crate) fn raw(&self, verb: &str, path: &str, token: &str, sent: &Value) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request(verb, path, token, sent).as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status and the body.
    pub(crate) fn ask(&self, verb: &str, path: &str, token: &str, sent: &Value) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request(verb, path, token, sent).as_bytes()).unwrap();
        read(stream)
    }

    pub(crate) fn terminate(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.program);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        (self.program.wait().unwrap().code(), begun.elapsed())
    }
}

pub(crate) fn request(verb: &str, path: &str, token: &str, sent: &Value) -> String {
    let body = if sent.is_null() { String::new() } else { sent.to_string() };
    format!(
        "{verb} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn read(mut stream: impl Read) -> (u16, Value) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn says(text: &str) -> Value {
    json!([{ "text": text }, { "text": "and again" }, { "text": "and again" }])
}

#[test]
fn a_server_makes_a_token_at_its_first_start_and_sessions_with_it() {
    let home = Home::new();
    let model = home.script(&says("Hello."));
    let server = Server::start(&home, &["--listen", "127.0.0.1:0", "-m", &model]);
    assert_eq!(mode_of(&home.path(".local/share/oarlock/token")), 0o600);
    assert_eq!(mode_of(&home.path(".local/share/oarlock/tokens.json")), 0o600);
    let kept = std::fs::read_to_string(home.path(".local/share/oarlock/tokens.json")).unwrap();
    assert!(!kept.contains(&server.token), "the secret is not kept");
    let prompt = json!({ "prompt": "hello" });
    assert_eq!(server.ask("POST", "/v1/sessions", "guess", &prompt).0, 401);
    let (status, made) = server.ask("POST", "/v1/sessions", &server.token, &prompt);
    assert_eq!((status, &made["text"]), (200, &json!("Hello.")), "{made}");
    let listed = home.sessions();
    assert_eq!(listed.len(), 1, "the command line sees it");
    let elsewhere = json!({ "initial_turn": "defer", "cwd": "/" });
    assert_eq!(server.ask("POST", "/v1/sessions", &server.token, &elsewhere).0, 403);
}

#[test]
fn tokens_are_added_and_removed_while_the_server_runs() {
    let home = Home::new();
    let server = Server::start(&home, &["--listen", "127.0.0.1:0"]);
    let added = home.run(&["serve", "token", "add", "ci", "--scope", "read", "--tenant", "acme"]);
    assert_eq!(added.code, Some(0), "{}", added.err);
    let secret = added.out.trim().to_owned();
    let list = || server.ask("GET", "/v1/sessions", &secret, &Value::Null).0;
    let until = |status: u16| {
        let begun = Instant::now();
        while list() != status {
            assert!(begun.elapsed() < Duration::from_secs(20), "never {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until(200);
    let listed = home.run(&["serve", "token", "list"]);
    assert_eq!(listed.out, "ci  read  of acme\nfirst  read,turn,manage\n");
    assert_eq!(home.run(&["serve", "token", "remove", "ci"]).code, Some(0));
    until(401);
    home.run(&["serve", "token", "remove", "ci"]).refused(1);
    home.run(&["serve", "token", "add", "first"]).refused(1);
}

#[test]
fn an_address_that_others_can_reach_has_to_be_allowed() {
    let home = Home::new();
    let refused = home.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(refused.refused(1).contains("--allow-remote"));
}

#[test]
fn a_unix_socket_is_private_and_one_that_nobody_listens_on_is_replaced() {
    let home = Home::new();
    let path = home.path("s");
    let at = path.to_str().unwrap().to_owned();
    let mut server = Server::start(&home, &["--unix", &at]);
    assert_eq!(mode_of(&path), 0o600);
    let ask = |server: &Server| {
        let mut stream = UnixStream::connect(&path).unwrap();
        let asked = request("GET", "/v1/sessions", &server.token, &Value::Null);
        stream.write_all(asked.as_bytes()).unwrap();
        read(stream).0
    };
    assert_eq!(ask(&server), 200);
    assert!(home.run(&["serve", "--unix", &at]).refused(1).contains("another server"));
    assert_eq!(server.terminate().0, Some(0));
    assert!(!path.exists(), "no socket is left");
    let mut server = Server::start(&home, &["--unix", &at]);
    server.program.kill().unwrap();
    server.program.wait().unwrap();
    let server = Server::start(&home, &["--unix", &at]);
    assert_eq!(ask(&server), 200);
    drop(server);
    let other = home.write("other", "precious");
    home.run(&["serve", "--unix", other.to_str().unwrap()]).refused(1);
    assert_eq!(std::fs::read_to_string(other).unwrap(), "precious");
}

/// A command with a child, each of which leaves its number.
const LINGERS: &str = "sleep 60 & echo $! > child; echo $$ > shell; wait";

/// Waits until the processes of [`LINGERS`] are no more.
fn are_gone(home: &Home) {
    for name in ["child", "shell"] {
        let path = home.project().join(name);
        let number = std::fs::read_to_string(&path).expect("the command has begun");
        let status = format!("/proc/{}/stat", number.trim());
        let begun = Instant::now();
        // One that nobody waits for any more is dead, whatever lists it.
        while std::fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(begun.elapsed() < Duration::from_secs(5), "{name} {number} lives");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits until the command of [`LINGERS`] runs.
fn lingers(home: &Home) {
    let begun = Instant::now();
    while !std::fs::read_to_string(home.project().join("shell")).is_ok_and(|n| n.ends_with('\n')) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the command never ran");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_that_speaks_json_rpc_leaves_no_command_behind_either() {
    let home = Home::new();
    let call = json!({ "calls": [{ "name": "bash", "arguments": { "command": LINGERS } }] });
    let model = home.script(&json!([call, { "text": "never" }]));
    let mut rpc = Rpc::start(&home, &["-m", &model, "--mode", "open"]);
    let made = rpc.done("session/create", &json!({ "prompt": "sleep", "wait_ms": 0 }));
    lingers(&home);
    let (took, code, _) = rpc.end(Some("TERM"));
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    are_gone(&home);
    let mut rpc = Rpc::start(&home, &["-m", &model]);
    let session = json!({ "session_id": made["session_id"] });
    let read = rpc.done("session/read", &session);
    assert_eq!((&read["is_active"], &read["turns"]), (&json!(false), &json!(1)), "{read}");
}

#[test]
fn a_signal_ends_it_in_the_middle_of_a_turn_which_goes_on_from_its_journal() {
    let home = Home::new();
    let steps = json!([
        { "calls": [{ "name": "bash", "arguments": { "command": LINGERS } }] },
        { "text": "It went on." },
        { "text": "It went on." },
    ]);
    let model = home.script(&steps);
    let arguments = ["--listen", "127.0.0.1:0", "-m", &model, "--mode", "open"];
    let mut server = Server::start(&home, &arguments);
    let go = json!({ "prompt": "sleep", "wait_ms": 0 });
    let (status, made) = server.ask("POST", "/v1/sessions", &server.token, &go);
    assert_eq!(status, 200, "{made}");
    let session = made["session_id"].as_str().unwrap().to_owned();
    let mut events = TcpStream::connect(&server.address).unwrap();
    let follow = format!("/v1/sessions/{session}/events");
    events.write_all(request("GET", &follow, &server.token, &Value::Null).as_bytes()).unwrap();
    let mut seen = BufReader::new(events);
    lingers(&home);
    let mut line = String::new();
    while !line.contains("tool_started") {
        line.clear();
        assert_ne!(seen.read_line(&mut line).unwrap(), 0, "the stream goes on");
    }
    let (code, took) = server.terminate();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    are_gone(&home);
    let mut rest = String::new();
    seen.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("retry: "), "{rest}");
    let server = Server::start(&home, &arguments);
    let wait = format!("/v1/sessions/{session}/wait");
    let (status, ended) = server.ask("POST", &wait, &server.token, &json!({}));
    assert_eq!(status, 200, "{ended}");
    assert_eq!(ended["state"], "ended", "{ended}");
    let reason = ended["stop_reason"]["reason"].as_str().unwrap();
    assert!(["interrupted", "cancelled"].contains(&reason), "{ended}");
}

#[test]
fn the_session_of_the_documentation_works_as_it_is_written() {
    const PAGE: &str = include_str!("../../../../docs/service.md");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let home = Home::new();
    home.user(&format!("model = {:?}", home.script(&says("A file."))));
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script = blocks.collect::<String>().replace(":7350", &format!(":{free}"));
    let script =
        script.replace("oarlock serve", &format!("oarlock serve --listen 127.0.0.1:{free}"));
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_oarlock"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &script]).env_clear().env("HOME", home.path("")).env("PATH", path);
    let ran = command.current_dir(home.project()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if err.contains("curl: not found") {
        eprintln!("there is no curl on this machine");
        return;
    }
    assert!(ran.status.success(), "{out}\n{err}");
    assert!(out.contains("event: caught_up") && out.contains("\"archived\":false"), "{out}");
    assert!(out.matches("\"text\":\"and again\"").count() >= 2, "{out}");
}

#[test]
fn a_server_opens_as_many_files_as_it_may_and_keeps_no_more_connections_than_fit() {
    let home = Home::new();
    let model = home.script(&says("Hello."));
    let served = home.command();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -Sn 64 && ulimit -Hn 700 && exec \"$0\" \"$@\""]);
    limited.arg(served.get_program()).args(["serve", "--listen", "127.0.0.1:0", "-m", &model]);
    let set = served.get_envs().filter_map(|(name, value)| Some((name, value?)));
    limited.env_clear().envs(set).current_dir(served.get_current_dir().unwrap());
    let server = Server::of(&home, limited);
    assert!(server.said().contains("350 connections are kept at a time, and not 16384"));
    let idle: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    let (status, _) = server.ask("GET", "/healthz", &server.token, &Value::Null);
    assert_eq!(status, 200, "{} connections are open beside it", idle.len());
}
