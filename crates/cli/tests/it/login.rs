//! `login` and `logout`: keys that the program keeps, checked by their endpoint, and used where nothing else has one.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use oarlock::config::secret::KeyPlace;
use oarlock::config::{Environment, Inputs, load};
use oarlock::credentials::{self, Verdict};
use oarlock::providers::waited_for;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::home::{Home, Ran, mode_of, ran};
use crate::pty::Terminal;

pub(crate) const KEY: &str = "sk-canary-login-77aa";
const FILE: &str = ".local/share/oarlock/credentials.toml";

/// An endpoint whose list of models this function of the key decides: a status and a body.
pub(crate) fn endpoint(answer: fn(Option<&str>) -> (u16, &'static str)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        // A client that goes away is no matter of this test.
        listener.incoming().for_each(|stream| drop(respond(stream.unwrap(), answer)));
    });
    address
}

fn respond(
    mut stream: TcpStream,
    answer: fn(Option<&str>) -> (u16, &'static str),
) -> std::io::Result<()> {
    let mut key = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            if line.is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "x-api-key" => key = Some(value.trim().to_owned()),
            "authorization" => key = value.trim().strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    let (status, body) = answer(key.as_deref());
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

const LIST: &str = r#"{"data":[{"id":"boat-1"},{"id":"boat-2"}]}"#;

pub(crate) fn knows_the_key(key: Option<&str>) -> (u16, &'static str) {
    match key {
        Some(KEY) => (200, LIST),
        _ => (401, r#"{"error":{"message":"invalid x-api-key sk-canary-login-77aa"}}"#),
    }
}

/// A home whose provider `anthropic` is at this address.
fn home_at(address: &str) -> Home {
    let home = Home::new();
    home.user(&format!("[providers.anthropic]\nbase_url = \"{address}\"\n"));
    home
}

fn spawn(home: &Home, arguments: &[&str], piped: &str) -> Child {
    let mut command = home.command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses before it reads closes the pipe.
    drop(child.stdin.take().unwrap().write_all(piped.as_bytes()));
    child
}

fn pipe(home: &Home, arguments: &[&str], piped: &str) -> Ran {
    let ran = ran(&spawn(home, arguments, piped).wait_with_output().unwrap());
    for shown in [&ran.out, &ran.err] {
        assert!(!shown.contains(KEY), "{arguments:?} shows the key: {shown}");
    }
    ran
}

fn status(home: &Home) -> Value {
    let ran = home.run(&["login", "--status", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!ran.out.contains(KEY));
    serde_json::from_str(&ran.out).unwrap()
}

fn status_of(home: &Home, provider: &str) -> Value {
    let all = status(home);
    let mut lines = all["providers"].as_array().unwrap().iter();
    lines.find(|line| line["provider"] == provider).unwrap().clone()
}

#[test]
fn a_piped_key_is_checked_and_stored_where_nobody_else_can_read_it() {
    let home = home_at(&endpoint(knows_the_key));
    let ran = pipe(&home, &["login", "anthropic"], KEY);
    let file = home.path(FILE);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let words = format!(
        "stored the key of anthropic in {}; anthropic takes it and has 2 models\n",
        file.display()
    );
    assert_eq!(ran.out, words);
    assert_eq!((mode_of(&file), mode_of(file.parent().unwrap())), (0o600, 0o700));
    assert!(std::fs::read_to_string(&file).unwrap().contains(KEY));
    let line = json!({"provider": "anthropic", "from": "stored", "place": file, "stored": true, "needs": null});
    assert_eq!(status_of(&home, "anthropic"), line);
    // The same key again, by `echo`, of the configured provider.
    let ran = pipe(&home, &["login"], &format!("{KEY}\n"));
    assert!(ran.out.starts_with("replaced the key of anthropic"), "{} {}", ran.out, ran.err);
}

#[test]
fn a_key_that_its_provider_refuses_or_nobody_checks_is_not_stored() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let table = [
        (endpoint(|_| (401, "{}")), "the key was refused and not stored"),
        (
            endpoint(|_| (403, r#"{"error":{"message":"no"}}"#)),
            "the key was refused and not stored",
        ),
        (endpoint(|_| (503, "{}")), "the key could not be checked and was not stored"),
        (format!("http://{gone}"), "`oarlock login anthropic --no-check` stores it unchecked"),
    ];
    for (address, words) in table {
        let home = home_at(&address);
        let ran = pipe(&home, &["login", "anthropic"], KEY);
        assert!(ran.refused(1).contains(words), "{}", ran.err);
        assert!(!home.path(FILE).exists());
        let ran = pipe(&home, &["login", "anthropic", "--no-check"], KEY);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(ran.out.ends_with("not checked\n"), "{}", ran.out);
        // A refused key does not take the place of the one that is there.
        let before = std::fs::read(home.path(FILE)).unwrap();
        assert_eq!(pipe(&home, &["login", "anthropic"], "sk-another").code, Some(1));
        assert_eq!(std::fs::read(home.path(FILE)).unwrap(), before);
    }
}

#[test]
fn an_endpoint_that_cannot_tell_is_said_to_be_one() {
    for (address, words) in [
        (endpoint(|_| (200, LIST)), "it lists its models without a key, too"),
        (endpoint(|_| (404, r#"{"error":{"message":"no such path"}}"#)), "no such path"),
    ] {
        let ran = pipe(&home_at(&address), &["login", "anthropic"], KEY);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(ran.out.contains("whether it is right could not be checked"), "{}", ran.out);
        assert!(ran.out.contains(words), "{}", ran.out);
    }
}

#[test]
fn what_is_no_key_or_no_provider_is_refused_before_anything_is_asked() {
    let home = Home::new();
    let table: [(&[&str], &str, &str); 9] = [
        (&["login", "anthropic"], "", "the key is empty"),
        (&["login", "anthropic"], " \n", "the key is empty"),
        (&["login", "anthropic"], "sk-1\nsk-2\n", "a space or a line break"),
        (&["login", "anthropic"], "Bearer x", "a space or a line break"),
        (&["login", "anthropic"], "schlüssel", "not printable ASCII"),
        (&["login", "antropic"], KEY, "did you mean `anthropic`?"),
        (&["login", KEY], KEY, "there is no such provider"),
        (&["login", "demo"], KEY, "needs no key"),
        (&["login"], KEY, "no provider is named or configured"),
    ];
    for (arguments, piped, words) in table {
        let ran = pipe(&home, arguments, piped);
        assert!(ran.refused(1).contains(words), "{arguments:?} {piped:?}: {}", ran.err);
    }
    assert!(!home.path(FILE).exists());
    let ran = pipe(&home, &["login", "anthropic", KEY], "");
    assert!(ran.refused(2).contains("a key is no argument"), "{}", ran.err);
}

#[test]
fn a_stored_key_is_used_after_all_others_and_every_command_knows_of_it() {
    let home = home_at(&endpoint(knows_the_key));
    let needs = home.run(&["run", "hello"]);
    let words = "set ANTHROPIC_API_KEY or run `oarlock login anthropic`";
    assert!(needs.refused(1).contains(words), "{}", needs.err);
    assert!(
        home.run(&["models"]).out.contains("needs $ANTHROPIC_API_KEY or `oarlock login anthropic`")
    );
    assert_eq!(pipe(&home, &["login", "anthropic"], KEY).code, Some(0));
    let models = home.run(&["models", "--live"]);
    assert!(models.out.contains("anthropic/boat-1"), "{} {}", models.out, models.err);
    let doctor = home.run(&["doctor"]);
    assert!(doctor.out.contains("stored for anthropic"), "{}", doctor.out);
    assert!(doctor.out.contains("anthropic answers, but does not list"), "{}", doctor.out);
    let init = home.run(&["init", "--yes", "--force"]);
    assert!(
        init.out.starts_with("found a stored key for anthropic\n"),
        "{} {}",
        init.out,
        init.err
    );
    // A variable counts before it, and so does a key file.
    let home = home_at(&endpoint(knows_the_key)).with("ANTHROPIC_API_KEY", "sk-wrong");
    let ran = pipe(&home, &["login"], KEY);
    assert!(
        ran.err.contains("$ANTHROPIC_API_KEY is there as well and counts before"),
        "{}",
        ran.err
    );
    let line = status_of(&home, "anthropic");
    assert_eq!((&line["from"], &line["stored"]), (&json!("variable"), &json!(true)));
    assert!(home.run(&["models", "--live"]).err.contains("check the key of this provider"));
    let file = home.write("key", "sk-of-a-file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    home.user("[providers.anthropic]\napi_key_file = \"~/key\"\n");
    assert_eq!(status_of(&home, "anthropic")["from"], "file");
}

#[test]
fn a_file_that_others_can_open_or_that_is_damaged_is_not_used_and_not_shown() {
    let home = Home::new().with("OPENAI_API_KEY", "sk-of-the-environment");
    assert_eq!(pipe(&home, &["login", "anthropic", "--no-check"], KEY).code, Some(0));
    let file = home.path(FILE);
    let good = std::fs::read_to_string(&file).unwrap();
    let closed = format!("run `chmod 600 {}`", file.display());
    for (mode, text, remedy) in [
        (0o640, good.clone(), closed.as_str()),
        (0o602, good.clone(), &closed),
        (0o600, good.replace("key =", "kee ="), "damaged (line 3)"),
        (0o600, format!("{good}\n[[["), "mend or remove the file"),
        (0o600, good.replace(KEY, ""), "mend or remove the file"),
    ] {
        std::fs::write(&file, &text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        for arguments in [
            &["run", "--model", "anthropic/x", "hello"][..],
            &["login", "anthropic", "--no-check"],
            &["logout", "anthropic"],
        ] {
            let ran = pipe(&home, arguments, "sk-new");
            assert!(ran.refused(1).contains(remedy), "{arguments:?} {mode:o}: {}", ran.err);
        }
        let doctor = pipe(&home, &["doctor", "--offline"], "");
        assert!(doctor.out.contains(remedy), "{}", doctor.out);
        // Whoever needs no stored key is not held up.
        let ran = home.run(&["run", "--model", "demo", "hello"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn logins_at_the_same_time_lose_none() {
    let home = Home::new();
    let names =
        ["anthropic", "openai", "groq", "mistral", "xai", "together", "deepseek", "litellm"];
    let logins = names.map(|name| spawn(&home, &["login", name, "--no-check"], KEY));
    for login in logins {
        let done = ran(&login.wait_with_output().unwrap());
        assert_eq!(done.code, Some(0), "{}", done.err);
    }
    for name in names {
        assert_eq!(status_of(&home, name)["from"], "stored", "{name}");
    }
    let folder = home.path(".local/share/oarlock");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["credentials.lock", "credentials.toml"]);
}

#[test]
fn logout_removes_what_is_stored_and_says_what_is_left() {
    let home = Home::new().with("OPENAI_API_KEY", "sk-of-the-environment");
    let none = home.run(&["logout"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), "no key is stored\n"));
    for name in ["openai", "groq", "xai"] {
        assert_eq!(pipe(&home, &["login", name, "--no-check"], KEY).code, Some(0));
    }
    assert!(home.run(&["logout"]).refused(1).contains("keys of groq, openai, xai are stored"));
    let ran = home.run(&["logout", "openai"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "removed the key of openai\n"));
    assert!(ran.err.contains("a key of openai still comes from $OPENAI_API_KEY"), "{}", ran.err);
    let ran = home.run(&["logout", "openai"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "no key of openai was stored\n"));
    let ran = home.run(&["logout", "--all"]);
    assert_eq!(ran.out, "removed the key of groq\nremoved the key of xai\n");
    assert!(!std::fs::read_to_string(home.path(FILE)).unwrap().contains(KEY));
    assert_eq!(status_of(&home, "groq")["from"], Value::Null);
    let words = home.run(&["login", "--status", "groq"]).out;
    assert_eq!(words, "groq  none: set GROQ_API_KEY or run `oarlock login groq`\n");
}

#[test]
fn on_a_terminal_the_provider_is_chosen_and_the_key_is_not_shown() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home, 100, &["login", "--no-check"]);
    terminal.expect("Provider:");
    terminal.type_in("mistral\r");
    terminal.expect("Key of mistral");
    terminal.type_in(&format!("{KEY}\r"));
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("stored the key of mistral"), "{shown}");
    assert!(!shown.contains(KEY) && !shown.contains(&KEY[..8]), "{shown}");
    assert_eq!(status_of(&home, "mistral")["from"], "stored");
}

#[test]
fn escape_and_an_interrupt_store_nothing_and_say_so() {
    for key in ["\u{1b}", "\u{3}"] {
        let home = Home::new();
        let mut terminal = Terminal::start(&home, 100, &["login", "groq", "--no-check"]);
        terminal.expect("Key of groq");
        terminal.type_in(key);
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(5), "{shown}");
        assert!(shown.contains("cancelled; nothing was stored"), "{shown}");
        assert!(!home.path(FILE).exists());
    }
}

#[test]
fn tools_do_not_open_stored_keys_even_in_a_session_of_the_home_folder() {
    let home = Home::new();
    assert_eq!(pipe(&home, &["login", "groq", "--no-check"], KEY).code, Some(0));
    let call =
        |id: &str, name: &str, input: Value| json!({"id": id, "name": name, "arguments": input});
    let model = home.script(&json!([
        {"calls": [
            call("a", "read_file", json!({"path": FILE})),
            call("b", "search", json!({"pattern": "sk-canary", "respect_gitignore": false, "path": ".local"})),
            call("c", "write_file", json!({"path": FILE, "content": "x"})),
        ]},
        {"text": "done"},
    ]));
    let before = std::fs::read(home.path(FILE)).unwrap();
    let cwd = home.path("");
    let run = |words: &str| {
        let folder = cwd.to_str().unwrap();
        home.run(&["-C", folder, "run", "--json", "--mode", "open", "--model", &model, words])
    };
    assert!(run(&format!("look into @{FILE}")).refused(1).contains("no tool opens it"));
    let ran = run("look into it");
    assert_eq!(ran.code, Some(0), "{} {}", ran.out, ran.err);
    assert!(ran.out.contains("no tool opens it"), "{}", ran.out);
    assert!(!ran.out.contains(KEY) && !ran.err.contains(KEY), "{} {}", ran.out, ran.err);
    assert_eq!(std::fs::read(home.path(FILE)).unwrap(), before);
}

#[test]
fn a_program_that_runs_on_learns_of_a_login_and_a_logout_elsewhere() {
    let home = home_at(&endpoint(knows_the_key));
    let environment = Environment::of(&[("HOME", home.path("").to_str().unwrap())]);
    let inputs = Inputs { environment, cwd: home.project(), overrides: vec![], flags: vec![] };
    let loaded = load(inputs).unwrap();
    let told = || credentials::check(&loaded, "anthropic").unwrap_err().to_string();
    assert!(told().contains("run `oarlock login anthropic`"), "{}", told());
    assert_eq!(pipe(&home, &["login"], KEY).code, Some(0));
    let place = KeyPlace::Stored(home.path(FILE));
    assert_eq!(credentials::check(&loaded, "anthropic").unwrap(), Some(place));
    assert_eq!(credentials::check(&loaded, "ollama").unwrap(), None);
    let verify = |key: &str| {
        let key = SecretString::from(key);
        let within = std::time::Duration::from_secs(30);
        waited_for(credentials::verify(&loaded, "anthropic", key, within)).unwrap().unwrap()
    };
    assert_eq!(verify(KEY), Verdict::Taken { models: 2 });
    assert!(matches!(verify("sk-wrong-and-long"), Verdict::Refused(_)));
    assert_eq!(home.run(&["logout"]).out, "removed the key of anthropic\n");
    assert!(told().contains("no key for provider `anthropic`"), "{}", told());
    let store = |key: &str| credentials::store(&loaded, "anthropic", &SecretString::from(key));
    assert!(store("two\nlines").is_err());
    assert!(!store(KEY).unwrap());
    assert_eq!(credentials::remove_all(&loaded).unwrap(), ["anthropic"]);
    assert!(!credentials::remove(&loaded, "anthropic").unwrap());
}

#[test]
fn an_editor_whose_person_logs_in_and_out_meanwhile_is_told_so() {
    let home = home_at(&endpoint(knows_the_key));
    let mut command = home.command();
    command.arg("acp").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut agent = command.spawn().unwrap();
    let mut to = agent.stdin.take().unwrap();
    let mut from = BufReader::new(agent.stdout.take().unwrap()).lines();
    let mut ask = |method: &str, params: Value| -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        writeln!(to, "{request}").unwrap();
        serde_json::from_str(&from.next().unwrap().unwrap()).unwrap()
    };
    let hello = ask("initialize", json!({"protocolVersion": 1, "clientCapabilities": {}}));
    assert_eq!(hello["result"]["protocolVersion"], 1, "{hello}");
    let setup = json!({"methodId": "setup"});
    let refused = ask("authenticate", setup.clone());
    assert!(refused.to_string().contains("oarlock login anthropic"), "{refused}");
    assert_eq!(pipe(&home, &["login"], KEY).code, Some(0));
    let done = ask("authenticate", setup.clone());
    assert!(done["error"].is_null(), "{done}");
    let out = ask("logout", json!({}));
    assert!(out["error"].is_null(), "{out}");
    assert_eq!(status_of(&home, "anthropic")["from"], Value::Null);
    assert_eq!(ask("authenticate", setup)["error"]["code"], -32000);
    drop(to);
    assert!(agent.wait().unwrap().success());
}
