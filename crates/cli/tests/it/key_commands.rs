//! Keys that a command prints: who runs it and how often, where its token is kept, and what its end, its failure and its refusal do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use oarlock::config::typed::{KeyArgv, ProviderSection};
use oarlock::config::{Environment, Inputs, load, secret};
use oarlock::core::ids::Timestamp;
use oarlock::core::ports::clock::{Clock, SystemClock};
use oarlock::credentials;
use oarlock::key_command::KeyCommand;
use oarlock::providers::{ListError, waited_for};
use oarlock_models::{KeyError, Token, TokenSource};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::home::{Home, Ran, mode_of, ran};
use crate::rpc::Rpc;
use crate::serve::Server;
use crate::voyage::{Running, now};

const PATIENCE: Duration = Duration::from_secs(30);
const LIST: &str = r#"{"data":[{"id":"m"}]}"#;
const ANSWER: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ahoy\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// An endpoint that takes all tokens but these, and keeps those that it was sent.
struct Gate {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    fn refusing(refused: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            // A client that was ended hears nothing.
            listener.incoming().for_each(|stream| drop(answer(stream.unwrap(), &kept, refused)));
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// A home whose provider is this one, with a command of these lines.
    fn home(&self, script: &str, more: &str) -> Home {
        let home = Home::new();
        let program =
            home.write("key", &format!("#!/bin/sh\necho x >> \"$HOME/calls\"\n{script}\n"));
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        home.user(&format!(
            "model = \"gate/m\"\n[providers.gate]\nwire = \"openai-chat\"\nbase_url = \"{}\"\napi_key_command = [\"~/key\", \"an argument\"]\n{more}\n",
            self.address
        ));
        home
    }
}

fn answer(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    refused: &[&str],
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut token, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "authorization" => token = value.trim_start_matches("Bearer ").to_owned(),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    seen.lock().unwrap().push(token.clone());
    let (status, body) = match refused.contains(&token.as_str()) {
        true => (401, format!(r#"{{"error":{{"message":"{token} has ended"}}}}"#)),
        false if first.contains("/models") => (200, LIST.to_owned()),
        false => (200, ANSWER.to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Prints `token-1`, `token-2` and so on.
const NUMBERED: &str = r#"echo "token-$(wc -l < "$HOME/calls" | tr -d ' ')""#;

fn calls(home: &Home) -> usize {
    std::fs::read_to_string(home.path("calls")).unwrap_or_default().lines().count()
}

fn token_files(home: &Home) -> Vec<PathBuf> {
    let folder = home.path(".local/state/oarlock/tokens");
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = found.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "json")).collect()
}

fn quietly(home: &Home) -> Ran {
    home.run(&["run", "--quiet", "hello"])
}

fn ahoy(ran: &Ran) {
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "ahoy"), "{}", ran.err);
}

/// The words of a file that a command writes.
fn written(home: &Home, name: &str) -> String {
    let begun = now();
    loop {
        let words = std::fs::read_to_string(home.path(name)).unwrap_or_default();
        if words.ends_with('\n') {
            return words.trim().to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "{name} was not written");
        std::thread::yield_now();
    }
}

fn is_gone(process: &str) -> bool {
    let begun = now();
    while begun.elapsed() < PATIENCE {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        let zombie = |stat: String| stat.rsplit(')').next().unwrap().trim_start().starts_with('Z');
        if stat.map_or(true, zombie) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn ten_runs_at_once_run_the_command_once() {
    let gate = Gate::refusing(&[]);
    let home = gate.home(&format!("sleep 1\n{NUMBERED}"), "");
    let start = |_| {
        let mut command = home.command();
        command.args(["run", "--quiet", "hello"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let running: Vec<_> = (0..10).map(start).collect();
    for child in running {
        ahoy(&ran(&child.wait_with_output().unwrap()));
    }
    assert_eq!((calls(&home), gate.seen()), (1, vec!["token-1".to_owned(); 10]));
    let files = token_files(&home);
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!((mode_of(&files[0]), mode_of(files[0].parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a_refused_token_is_replaced_once_for_all_processes() {
    let gate = Gate::refusing(&["token-1"]);
    let home = gate.home(NUMBERED, "");
    ahoy(&quietly(&home));
    ahoy(&quietly(&home));
    assert_eq!(gate.seen(), ["token-1", "token-2", "token-2"]);
    assert_eq!(calls(&home), 2);
    // One that is refused again ends the call, and its words tell no token.
    let gate = Gate::refusing(&["token-1", "token-2", "token-3"]);
    let home = gate.home(NUMBERED, "");
    let ran = quietly(&home);
    assert_eq!((ran.code, calls(&home)), (Some(1), 2), "{}", ran.err);
    assert_eq!(gate.seen(), ["token-1", "token-2"]);
    assert!(ran.err.contains("(hidden) has ended") && !ran.err.contains("token-"), "{}", ran.err);
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let journal = home.run(&["session", "export", &id]);
    assert!(journal.out.contains("(hidden) has ended") && !journal.out.contains("token-"));
}

#[test]
fn a_token_is_used_for_as_long_as_it_lasts() {
    let gate = Gate::refusing(&[]);
    let asked_each_time = gate.home(NUMBERED, "api_key_refresh = \"0ms\"");
    for _ in 0..2 {
        ahoy(&quietly(&asked_each_time));
    }
    assert_eq!((calls(&asked_each_time), token_files(&asked_each_time).len()), (2, 0));
    // The claims `{"exp":1}` ended long ago, those of 2100 last longer than the configuration lets them.
    for (claims, expected) in [("eyJleHAiOjF9", 2), ("eyJleHAiOjQxMDI0NDQ4MDB9", 1)] {
        let home = gate.home(&format!("echo e30.{claims}.c2ln"), "");
        for _ in 0..2 {
            ahoy(&quietly(&home));
        }
        assert_eq!(calls(&home), expected, "{claims}");
    }
    // A file that others could have written, or that a clock ahead of ours wrote, is not believed.
    let home = gate.home(NUMBERED, "");
    ahoy(&quietly(&home));
    let file = token_files(&home).remove(0);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    ahoy(&quietly(&home));
    assert_eq!((calls(&home), mode_of(&file)), (2, 0o600));
    std::fs::write(&file, r#"{"token":"planted","ends_unix_ms":99999999999999}"#).unwrap();
    ahoy(&quietly(&home));
    assert_eq!((calls(&home), gate.seen().contains(&"planted".to_owned())), (3, false));
}

#[test]
fn why_a_command_gives_no_key_is_told_and_what_it_printed_is_not() {
    let table = [
        (
            "echo secret-token; echo 'no secret-token: the vault is closed' >&2; exit 3",
            "failed (exit status: 3): no (hidden): the vault is closed",
        ),
        ("exit 0", "printed no key: its first line is empty"),
        ("echo secret token", "printed no key: its first line has a space in it"),
        (
            "head -c 100000 /dev/zero | tr '\\0' x",
            "printed no key: its first line is longer than 16384 bytes",
        ),
        ("rm \"$HOME/key\"; kill -9 $$", "failed (signal: 9 (SIGKILL))"),
    ];
    let gate = Gate::refusing(&[]);
    for (script, expected) in table {
        let home = gate.home(script, "");
        let ran = quietly(&home);
        assert_eq!(ran.code, Some(1), "{script}");
        let words = format!("the command `{}` for the key {expected}", home.path("key").display());
        assert!(ran.err.contains(&words), "{script}: {}", ran.err);
        assert!(!ran.err.contains("secret-token"), "{}", ran.err);
        assert_eq!(
            (calls(&home), token_files(&home).len()),
            (1, 0),
            "a person has to do something"
        );
    }
    let home = gate.home("true", "");
    std::fs::remove_file(home.path("key")).unwrap();
    assert!(quietly(&home).err.contains("cannot be started: No such file"));
    assert!(gate.seen().is_empty(), "nothing is sent without a key");
}

#[test]
fn a_command_runs_in_the_home_with_the_environment_and_without_input() {
    let gate = Gate::refusing(&[]);
    let script =
        format!("pwd -P > \"$HOME/where\"\necho \"$1 $VAULT $(cat)\" > \"$HOME/what\"\n{NUMBERED}");
    let home = gate.home(&script, "").with("VAULT", "mine");
    ahoy(&quietly(&home));
    assert_eq!(PathBuf::from(written(&home, "where")), home.path(""));
    assert_eq!(written(&home, "what"), "an argument mine");
}

#[test]
fn no_folder_names_a_command_trusted_or_not() {
    let gate = Gate::refusing(&[]);
    let home = gate.home(NUMBERED, "");
    home.shared(
        "providers.gate.api_key_command = [\"sh\", \"-c\", \"touch $HOME/stolen; echo k\"]",
    );
    for trusted in [false, true] {
        if trusted {
            home.run(&["trust", "--yes"]);
        }
        let ran = quietly(&home);
        ahoy(&ran);
        assert!(ran.err.contains("no folder may set it"), "{}", ran.err);
    }
    assert_eq!((calls(&home), home.path("stolen").exists()), (1, false));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let table = [
        ("api_key_command = []", "`providers.openai.api_key_command` names no program"),
        (
            "api_key_command = [\"x\"]\napi_key_file = \"y\"",
            "`providers.openai.api_key_command` stands beside `providers.openai.api_key_file`",
        ),
        (
            "api_key_refresh = \"1m\"",
            "`providers.openai.api_key_refresh` stands without `providers.openai.api_key_command`",
        ),
    ];
    for (text, expected) in table {
        let home = Home::new();
        home.user(&format!("[providers.openai]\n{text}"));
        assert!(home.run(&["models"]).refused(1).contains(expected), "{text}");
    }
}

#[test]
fn every_surface_asks_the_command_and_tells_only_its_name() {
    let gate = Gate::refusing(&[]);
    let home = gate.home(NUMBERED, "");
    let status = home.run(&["login", "--status", "--json", "gate"]);
    let status: Value = serde_json::from_str(&status.out).unwrap();
    let line = json!({"provider": "gate", "from": "command", "place": "~/key", "stored": false, "needs": null});
    assert_eq!(status["providers"][0], line);
    assert_eq!(home.run(&["login", "--status", "gate"]).out, "gate  the command `~/key`\n");
    assert_eq!(calls(&home), 0, "whether it works is asked by others");
    let doctor = home.run(&["doctor"]);
    assert!(doctor.out.contains("the command `~/key` for gate"), "{}", doctor.out);
    assert!(doctor.out.contains("gate answers and has 1 models"), "{}", doctor.out);
    let live = home.run(&["models", "--live"]);
    assert!(live.out.contains("gate/m"), "{} {}", live.out, live.err);
    let mut rpc = Rpc::start(&home, &[]);
    rpc.done("session/create", &json!({ "prompt": "hello" }));
    rpc.end(None);
    let server = Server::start(&home, &["--listen", "127.0.0.1:0"]);
    let made = server.raw("POST", "/v1/sessions", &server.token, &json!({ "prompt": "hello" }));
    assert!(made.contains("ahoy"), "{made}");
    assert_eq!(calls(&home), 1);
    assert!(gate.seen().iter().all(|token| token == "token-1") && gate.seen().len() >= 4);
}

#[test]
fn a_killed_process_leaves_no_lock_that_holds_anybody_up() {
    let gate = Gate::refusing(&[]);
    let script = format!(
        "if [ ! -e \"$HOME/begun\" ]; then echo $$ > \"$HOME/begun\"; exec sleep 60; fi\n{NUMBERED}"
    );
    let home = gate.home(&script, "");
    let mut command = home.command();
    command.args(["run", "hello"]);
    let killed = Running::start(command);
    let orphan = written(&home, "begun");
    killed.signal("KILL");
    killed.end();
    let begun = now();
    ahoy(&quietly(&home));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(std::process::Command::new("kill").args(["-9", &orphan]).status());
}

#[test]
fn a_cancelled_run_ends_the_command_and_all_of_its_group() {
    let gate = Gate::refusing(&[]);
    let home = gate.home("sleep 60 &\necho $! > \"$HOME/begun\"\nwait", "");
    let mut command = home.command();
    command.args(["run", "hello"]);
    let running = Running::start(command);
    let below = written(&home, "begun");
    running.signal("INT");
    assert_eq!(running.end().0.code, Some(5));
    assert!(is_gone(&below), "{below} has survived");
}

fn command(home: &Home, script: &str, deadline_ms: u64) -> KeyCommand {
    KeyCommand {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        folder: home.path(""),
        variables: vec![("PATH".into(), "/usr/bin:/bin".into())],
        deadline: Duration::from_millis(deadline_ms),
        refresh_ms: 60_000,
        shared: None,
        clock: Arc::new(SystemClock::new()),
    }
}

fn asked(command: &KeyCommand) -> Result<Token, KeyError> {
    waited_for(command.token(None)).unwrap()
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_one_that_leaves_an_agent_behind_is_not() {
    let home = Home::new();
    let slow =
        command(&home, "sleep 60 & echo $! > slow; echo waiting for a person >&2; wait", 2_000);
    let error = asked(&slow).unwrap_err().to_string();
    assert_eq!(
        error,
        "the command `sh` for the key took longer than 2000 ms and was ended: waiting for a person"
    );
    assert!(is_gone(&written(&home, "slow")));
    // The agent holds both pipes open.
    let token = asked(&command(&home, "sleep 60 & echo $! > agent; echo key", 20_000)).unwrap();
    assert_eq!(token.secret.expose_secret(), "key");
    let agent = written(&home, "agent");
    assert!(PathBuf::from(format!("/proc/{agent}/stat")).exists());
    drop(std::process::Command::new("kill").args(["-9", &agent]).status());
}

#[test]
fn a_command_that_ends_before_its_deadline_is_in_time_whatever_holds_its_pipes() {
    let home = Home::new();
    // What it leaves behind holds the pipes open beyond the deadline. A busy machine may take too long by itself, though not always.
    let script = "sleep 60 & echo $! >> agents; echo key; sleep 1.85";
    let in_time = (0..5).any(|_| asked(&command(&home, script, 2_000)).is_ok());
    let agents = std::fs::read_to_string(home.path("agents")).unwrap();
    agents.lines().for_each(|agent| {
        drop(std::process::Command::new("kill").args(["-9", agent]).status());
    });
    assert!(in_time);
}

/// Moves on when it is waited for.
#[derive(Debug, Default)]
struct Hurried(std::sync::atomic::AtomicI64);

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'static, ()> {
        self.0.store(moment.unix_ms(), std::sync::atomic::Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn who_waits_for_others_for_too_long_says_so() {
    let home = Home::new();
    let lock = std::fs::File::create(home.write("a.lock", "")).unwrap();
    lock.lock().unwrap();
    let waiting = KeyCommand {
        shared: Some(home.path("a.json")),
        clock: Arc::new(Hurried::default()),
        ..command(&home, "echo key", 20_000)
    };
    let words = "others have been running the command `sh` for the key for 40 s";
    assert_eq!(asked(&waiting).unwrap_err(), KeyError::Unavailable(words.to_owned()));
}

#[test]
fn a_token_from_a_clock_that_is_a_little_ahead_is_used() {
    let gate = Gate::refusing(&[]);
    let home = gate.home(NUMBERED, "");
    ahoy(&quietly(&home));
    let file = token_files(&home).remove(0);
    let ends = SystemClock::new().now().after(302_000).unix_ms();
    std::fs::write(&file, format!(r#"{{"token":"ahead","ends_unix_ms":{ends}}}"#)).unwrap();
    ahoy(&quietly(&home));
    assert_eq!((calls(&home), gate.seen()), (1, ["token-1", "ahead"].map(str::to_owned).to_vec()));
}

#[test]
fn tokens_go_when_they_end_when_their_command_goes_and_at_a_logout() {
    let gate = Gate::refusing(&[]);
    let home = gate.home(NUMBERED, "");
    ahoy(&quietly(&home));
    let first = token_files(&home).remove(0);
    let folder = first.parent().unwrap().to_owned();
    let put = |name: &str, ends: i64| {
        let path = folder.join(name);
        std::fs::write(&path, format!(r#"{{"token":"t","ends_unix_ms":{ends}}}"#)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (ended, lasting) = (put("other-1.json", 1), put("other-2.json", 99_999_999_999_999));
    let (left, fresh) = (put(".tmp1", 0), put(".tmp2", 0));
    let file = std::fs::File::options().write(true).open(&left).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let config = std::fs::read_to_string(home.path(".config/oarlock/config.toml")).unwrap();
    home.user(&config.replace("an argument", "another argument"));
    ahoy(&quietly(&home));
    let there = [&first, &ended, &lasting, &left, &fresh].map(|path| path.exists());
    assert_eq!(there, [false, false, true, false, true]);
    assert_eq!(token_files(&home).len(), 2);
    home.run(&["logout", "gate"]);
    assert_eq!(token_files(&home), std::slice::from_ref(&lasting));
    assert!(!fresh.exists());
    ahoy(&quietly(&home));
    home.run(&["logout", "--all"]);
    assert_eq!((calls(&home), token_files(&home)), (3, vec![]));
}

#[test]
fn an_interrupted_program_leaves_no_command_behind() {
    let gate = Gate::refusing(&[]);
    let table =
        [("models --live", "INT", 130), ("doctor", "TERM", 143), ("models --live", "HUP", 129)];
    for (line, signal, code) in table {
        let home = gate.home("sleep 60 &\necho $! > \"$HOME/begun\"\nwait", "");
        let mut command = home.command();
        command.args(line.split(' '));
        let running = Running::start(command);
        let below = written(&home, "begun");
        running.signal(signal);
        assert_eq!(running.end().0.code, Some(code), "{line}");
        assert!(is_gone(&below), "{line}: {below} has survived");
    }
}

#[test]
fn a_command_that_fails_is_no_refusal_of_its_key() {
    let gate = Gate::refusing(&[]);
    let home = gate.home("echo 'the vault is closed' >&2; exit 3", "");
    let environment = Environment::of(&[("HOME", home.path("").to_str().unwrap())]);
    let inputs = Inputs { environment, cwd: home.project(), overrides: vec![], flags: vec![] };
    let loaded = load(inputs).unwrap();
    let (key, _) = secret::key(&loaded, "gate").unwrap().unwrap();
    let asked = credentials::verify(&loaded, "gate", key, Duration::from_secs(30));
    let error = waited_for(asked).unwrap().unwrap_err();
    assert!(matches!(&error, ListError::Key(KeyError::Denied(_))), "{error:?}");
    assert!(error.to_string().contains("the vault is closed"), "{error}");
    assert!(gate.seen().is_empty());
}

#[test]
fn arguments_of_a_command_are_shown_nowhere() {
    let home = Gate::refusing(&[]).home(NUMBERED, "");
    let shown = home.run(&["doctor", "--config"]).out;
    assert!(shown.contains(r#"api_key_command = ["~/key", "(hidden)"]"#), "{shown}");
    let shown = home.run(&["doctor", "--config", "--json"]).out;
    assert!(shown.contains("~/key") && !shown.contains("an argument"), "{shown}");
    let argv = KeyArgv(vec!["vault".to_owned(), "an argument".to_owned()]);
    let section = ProviderSection { api_key_command: Some(argv), ..ProviderSection::default() };
    let told = format!("{section:?}");
    assert!(told.contains("vault") && !told.contains("an argument"), "{told}");
}

#[test]
fn the_keychains_of_the_documentation_are_asked_in_their_own_words() {
    let page = include_str!("../../../../docs/configuration.md");
    let gate = Gate::refusing(&[]);
    for (tool, arguments) in [
        ("secret-tool", "lookup service oarlock account openai"),
        ("security", "find-generic-password -s oarlock -a openai -w"),
    ] {
        let mut examples = page.split("```toml\n").filter_map(|rest| rest.split("```").next());
        let named = format!("api_key_command = [\"{tool}\"");
        let example = examples.find(|example| example.contains(&named)).unwrap();
        let home = Home::new();
        let fake = format!("#!/bin/sh\n[ \"$*\" = '{arguments}' ] || exit 1\nprintf of-{tool}\n");
        let program = home.write(&format!("bin/{tool}"), &fake);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let address = &gate.address;
        home.user(&format!("model = \"openai/m\"\n{example}base_url = \"{address}\"\n"));
        let path = format!("{}:/usr/bin:/bin", home.path("bin").display());
        ahoy(&quietly(&home.with("PATH", &path)));
    }
    assert_eq!(gate.seen(), ["of-secret-tool", "of-security"]);
}
