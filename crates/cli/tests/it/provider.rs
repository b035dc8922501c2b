//! A provider on 127.0.0.1 that speaks both wires, and what the program sends to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::home::Home;
use crate::loopback::Loopback;

/// A request as it arrived.
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: String,
    pub(crate) body: Value,
}

/// A server that answers every prompt with `Hello.` until the test ends.
pub(crate) struct Provider {
    pub(crate) address: String,
    seen: Receiver<Seen>,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (send, seen) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(request) = answer(stream.unwrap()) else { continue };
                // The test may have ended.
                if send.send(request).is_err() {
                    return;
                }
            }
        });
        Self { address, seen }
    }

    /// What has arrived so far and was answered.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.try_iter().collect()
    }
}

/// Reads a request, answers it and closes. Nothing when the client went away.
fn answer(stream: TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut line, mut headers, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut line).ok()?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        headers += &format!("{header}\n");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (kind, words) = reply(line.split(' ').nth(1)?);
    let mut stream = stream;
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: ";
    write!(stream, "{head}{kind}\r\ncontent-length: {}\r\n\r\n{words}", words.len()).ok()?;
    Some(Seen { line, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
}

fn reply(path: &str) -> (&'static str, String) {
    let event = |value: Value| {
        format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or("x"))
    };
    match path.split('?').next() {
        Some("/v1/models") => (
            "application/json",
            json!({ "data": [{ "id": "boat-1" }, { "id": "boat-2" }] }).to_string(),
        ),
        Some(path) if path.ends_with(":streamGenerateContent") => {
            let chunk = json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "text": "Hello." }] }, "finishReason": "STOP" }], "modelVersion": "boat-1",
                "usageMetadata": { "promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12 } });
            ("text/event-stream", format!("data: {chunk}\n\n"))
        }
        Some("/v1/messages") => {
            let usage = json!({ "input_tokens": 10, "output_tokens": 2 });
            let events = [
                json!({ "type": "message_start", "message": { "id": "m", "type": "message", "role": "assistant", "model": "boat-1", "content": [], "stop_reason": null, "usage": usage } }),
                json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
                json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Hello." } }),
                json!({ "type": "content_block_stop", "index": 0 }),
                json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 2 } }),
                json!({ "type": "message_stop" }),
            ];
            ("text/event-stream", events.map(event).concat())
        }
        _ => {
            let chunk = |delta: Value, finish: Value| json!({ "id": "c", "object": "chat.completion.chunk", "model": "boat-1", "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
            let usage = json!({ "id": "c", "object": "chat.completion.chunk", "model": "boat-1", "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12 } });
            let chunks = [
                chunk(json!({ "role": "assistant", "content": "Hello." }), Value::Null),
                chunk(json!({}), json!("stop")),
                usage,
            ];
            let lines = chunks.map(|chunk| format!("data: {chunk}\n\n")).concat();
            ("text/event-stream", format!("{lines}data: [DONE]\n\n"))
        }
    }
}

/// A home whose well-known providers stand at the test's address.
pub(crate) fn home(provider: &Provider) -> Home {
    let home = Home::new();
    let address = &provider.address;
    home.user(&format!(
        "[providers.anthropic]\nbase_url = \"{address}\"\n[providers.openai]\nbase_url = \"{address}/v1\"\n[providers.google]\nbase_url = \"{address}\"\n"
    ));
    home
}

#[test]
fn a_key_in_the_environment_selects_its_provider_and_says_so() {
    let wires = [
        ("ANTHROPIC_API_KEY", "anthropic/", "/v1/messages", "x-api-key: sesame"),
        ("OPENAI_API_KEY", "openai/", "/v1/chat/completions", "authorization: bearer sesame"),
        (
            "GEMINI_API_KEY",
            "google/",
            "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
            "x-goog-api-key: sesame",
        ),
    ];
    for (variable, name, path, header) in wires {
        let provider = Provider::start();
        let home = home(&provider).with(variable, "sesame").with("CI", "1");
        let ran = home.run(&["run", "--append-system-prompt", "Speak like a sailor.", "ahoy"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "Hello.\n"), "{}", ran.err);
        assert!(ran.err.contains(&format!("using {name}")), "{}", ran.err);
        assert!(ran.err.contains(&format!("{variable} is set")), "{}", ran.err);
        assert!(!ran.err.contains("sesame"), "{}", ran.err);
        let seen = provider.seen();
        assert_eq!(seen.len(), 1);
        assert!(
            seen[0].line.contains(path) && seen[0].headers.contains(header),
            "{}",
            seen[0].headers
        );
        assert!(seen[0].body.to_string().contains("Speak like a sailor."), "{}", seen[0].body);
        assert!(seen[0].body.to_string().contains("ahoy"));
    }
}

#[test]
fn init_asks_a_trusted_endpoint_for_its_models_and_the_first_run_uses_one() {
    let provider = Provider::start();
    let home = Home::new().with("OPENAI_API_KEY", "sesame");
    home.shared(&format!("[providers.openai]\nbase_url = \"{}/v1\"\n", provider.address));
    // What the folder says about endpoints is not followed before it is trusted.
    assert!(home.run(&["models"]).err.contains("oarlock trust"));
    assert_eq!(home.run(&["trust", "--yes"]).code, Some(0));
    let ran = home.run(&["init", "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("now openai/boat-1 answers; try `oarlock run"), "{}", ran.out);
    let ran = home.run(&["run", "ahoy"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "Hello.\n"), "{}", ran.err);
    let live = home.run(&["models", "--live"]);
    assert!(live.out.contains("* openai/boat-1"), "{}", live.out);
    assert!(
        live.out.lines().any(|l| l.contains("openai/boat-2") && l.contains("live")),
        "{}",
        live.out
    );
    let doctor = home.run(&["doctor"]);
    assert!(doctor.out.contains("openai/boat-1"), "{}", doctor.out);
    let seen = provider.seen();
    assert!(seen.iter().filter(|seen| seen.line.starts_with("GET /v1/models")).count() >= 2);
    assert_eq!(seen.iter().filter(|seen| seen.body["model"] == "boat-1").count(), 1);
}

#[test]
fn a_picture_reaches_the_model_as_it_is() {
    let provider = Provider::start();
    let home = home(&provider).with("ANTHROPIC_API_KEY", "sesame");
    home.write("project/dot.gif", "GIF89a and so on");
    let ran = home.run(&["run", "-q", "--image", "dot.gif", "look"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "Hello.\n"), "{}", ran.err);
    let body = provider.seen().remove(0).body.to_string();
    assert!(body.contains("image/gif") && body.contains("R0lGODlhIGFuZCBzbyBvbg=="), "{body}");
}

#[test]
fn an_endpoint_that_is_not_there_is_named_once_the_tries_are_over() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::new();
    home.user(&format!("[providers.local]\nwire = \"openai-chat\"\nbase_url = \"http://{free}/v1\"\nmodels = [\"m\"]\n"));
    let ran = home.run(&["run", "--timeout", "2s", "ahoy"]);
    assert!(matches!(ran.code, Some(1 | 7)), "{:?} {}", ran.code, ran.err);
    assert!(ran.err.contains("local at 127.0.0.1"), "{}", ran.err);
    assert!(ran.err.contains("trying again in"), "{}", ran.err);
    assert_eq!(ran.out, "");
}

#[test]
fn an_effort_is_sent_to_a_gateway_that_is_declared_to_take_one_and_to_no_other() {
    let server = Loopback::start("Hello.");
    let run = ["run", "hi", "--effort", "high"];
    let refused = server.home("openai-chat", "").run(&run);
    assert_ne!(refused.code, Some(0), "{}", refused.out);
    assert!(refused.err.contains("set `providers.loop.effort` to true"), "{}", refused.err);
    assert!(server.asked().is_empty());
    let ran = server.home("openai-chat", "effort = true\n").run(&run);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(server.asked()[0]["reasoning_effort"], "high");
    let refused = server.home("anthropic-messages", "effort = true\n").run(&run);
    assert!(refused.err.contains("take `effort` out"), "{}", refused.err);
    let ran = server.home("openai-responses", "effort = true\n").run(&run);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(server.asked()[1]["reasoning"]["effort"], "high");
}

#[test]
fn how_thought_comes_and_goes_is_said_where_the_wire_has_a_choice() {
    let server = Loopback::start("Hello.");
    for (written, asks) in [("plain", false), ("encrypted-without-ids", true)] {
        let more = format!("thought_items = \"{written}\"\n");
        let ran = server.home("openai-responses", &more).run(&["run", "hi"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let asked = server.asked();
        let body = asked.last().unwrap();
        assert_eq!(body.get("include").is_some(), asks, "{body}");
        let refused = server.home("openai-chat", &more).run(&["run", "hi"]);
        assert!(refused.err.contains("take it out"), "{}", refused.err);
    }
    let refused = server.home("openai-responses", "thought_items = \"x\"\n").run(&["run", "hi"]);
    assert!(refused.err.contains("encrypted-without-ids"), "{}", refused.err);
}

#[test]
fn bedrock_is_asked_in_the_region_of_the_variables_unless_an_address_is_configured() {
    use oarlock::config::{Environment, Inputs, load};
    let made = |file: &str, variables: &[(&str, &str)]| {
        let home = Home::new();
        home.user(file);
        let folder = home.path("");
        let key = [("HOME", folder.to_str().unwrap()), ("AWS_BEARER_TOKEN_BEDROCK", "key")];
        let environment = Environment::of(&[&key, variables].concat());
        let inputs = Inputs { environment, cwd: home.project(), overrides: vec![], flags: vec![] };
        let made = oarlock::providers::provider(&load(inputs).unwrap(), "bedrock");
        made.map(|config| config.base_url).map_err(|error| error.to_string())
    };
    let at = |region: &str| Ok(format!("https://bedrock-runtime.{region}.amazonaws.com"));
    let (own, other) = (("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "us-west-2"));
    assert_eq!(made("", &[]), at("us-east-1"));
    assert_eq!(made("", &[other]), at("us-west-2"));
    assert_eq!(made("", &[other, own]), at("eu-west-1"));
    let file = "[providers.bedrock]\nbase_url = \"https://h\"\n";
    assert_eq!(made(file, &[own]), Ok("https://h".to_owned()));
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        let error = made("", &[(variable, "evil.com/")]).unwrap_err();
        assert!(error.contains(&format!("`evil.com/` in {variable} is no region")), "{error}");
    }
}

#[test]
fn a_variable_that_is_no_region_stops_nobody_but_who_chooses_bedrock() {
    let server = Loopback::start("Hello.");
    let home = server.home("openai-chat", "");
    let home = home.with("AWS_BEARER_TOKEN_BEDROCK", "key").with("AWS_DEFAULT_REGION", "evil.com/");
    let ran = home.run(&["run", "hi"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let chosen = home.run(&["run", "--model", "bedrock/m", "hi"]);
    assert_eq!(chosen.code, Some(1));
    assert!(
        chosen.err.contains("`evil.com/` in AWS_DEFAULT_REGION is no region"),
        "{}",
        chosen.err
    );
}
