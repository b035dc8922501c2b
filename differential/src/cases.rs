//! What is compared: streams of our own, and recorded ones where there are any.

use std::path::{Path, PathBuf};

use oarlock_models::Wire;
use oarlock_testkit::streams::{Event, Said, body, events};
use serde_json::{Value, json};

/// A stream that both read.
pub struct Case {
    /// `ours/wire/what`, or `provider/case` of the corpus.
    pub name: String,
    /// Whose it is.
    pub provider: String,
    pub wire: Wire,
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// Wires that rig-core has a client for.
const WIRES: [Wire; 4] =
    [Wire::OpenAiChat, Wire::OpenAiResponses, Wire::AnthropicMessages, Wire::Gemini];

/// Folders of the corpus that speak another wire than OpenAI's chat: by their names, those of Responses end so.
fn wire_of(folder: &str) -> Option<Wire> {
    match folder {
        "anthropic" => Some(Wire::AnthropicMessages),
        "gemini" | "vertex" => Some(Wire::Gemini),
        "bedrock-converse" | "bedrock-invoke" | "cohere" | "gemini-interactions" | "reported" => {
            None
        }
        name if name.ends_with("-responses") => Some(Wire::OpenAiResponses),
        _ => Some(Wire::OpenAiChat),
    }
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut all = own();
    match std::env::var_os("OARLOCK_CORPUS") {
        Some(root) => all.extend(recorded(Path::new(&root))),
        None => println!("skipped: recorded streams, since OARLOCK_CORPUS is not set"),
    }
    all
}

fn own() -> Vec<Case> {
    let thought = || Said::Thought("The user greets me. I greet back.".to_owned());
    let text = |text: &str| Said::Text(text.to_owned());
    let call = |id: &str, arguments: Value| Said::Call {
        id: id.to_owned(),
        name: "read_file".to_owned(),
        arguments: arguments.to_string(),
    };
    let two = || {
        [
            call("call_1", json!({"path": "a/b.txt", "lines": [1, 20], "exact": true})),
            call("call_2", json!({"path": "grüße 🦀.txt"})),
        ]
    };
    let letters = || text("Grüße, 世界! 🦀🚣 e\u{301} \u{2028} \"quoted\" \\ and\nlines\tof it.");
    let answers: Vec<(&str, Vec<Said>, usize)> = vec![
        ("text", vec![text("Hello! How can I help you today?")], 6),
        ("calls", two().to_vec(), 5),
        ("text and calls", [vec![text("I look.")], two().to_vec()].concat(), 4),
        ("thought", vec![thought(), text("Hello!")], 6),
        ("thought and calls", [vec![thought(), text("I look.")], two().to_vec()].concat(), 9),
        ("letters", vec![letters()], 1),
        ("a call without arguments", vec![call("call_1", json!({}))], 1),
    ];
    let case = |wire: Wire, what: &str, events: &[Event]| Case {
        name: format!("ours/{wire}/{what}"),
        provider: "ours".to_owned(),
        wire,
        status: 200,
        content_type: "text/event-stream".to_owned(),
        body: body(wire.as_str(), events),
    };
    let mut all = Vec::new();
    for wire in WIRES {
        for (what, said, piece) in &answers {
            all.push(case(wire, what, &events(wire.as_str(), said, *piece)));
        }
        let escaped: Vec<Event> =
            events(wire.as_str(), &[letters()], 1).iter().map(Event::escaped).collect();
        all.push(case(wire, "letters escaped", &escaped));
        let whole = events(wire.as_str(), &[text("Cut before its end.")], 4);
        all.push(case(wire, "cut", &whole[..whole.len() / 2]));
    }
    // The end that is not part of the list of events.
    for case in all.iter_mut().filter(|case| case.name == "ours/openai-chat/cut") {
        let end = case.body.len() - b"data: [DONE]\n\n".len();
        case.body.truncate(end);
    }
    all
}

fn recorded(root: &Path) -> Vec<Case> {
    let mut all: Vec<Case> = folders(root)
        .into_iter()
        .flat_map(|folder| {
            let wire = wire_of(&name(&folder));
            let cases = if wire.is_some() { folders(&folder) } else { Vec::new() };
            wire.into_iter().flat_map(move |wire| {
                cases.clone().into_iter().filter_map(move |at| read(&at, wire))
            })
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!all.is_empty(), "{} holds no recorded stream", root.display());
    all
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", root.display()));
    let paths = entries.map(|entry| entry.expect("an entry of a folder can be read").path());
    paths.filter(|path| path.is_dir()).collect()
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A recorded stream of server-sent events; none of anything else.
fn read(folder: &Path, wire: Wire) -> Option<Case> {
    let meta = std::fs::read(folder.join("meta.json")).expect("a case has its meta.json");
    let meta: Value = serde_json::from_slice(&meta).expect("meta.json is JSON");
    let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
    if text("kind") != "sse" {
        return None;
    }
    let provider = text("provider");
    Some(Case {
        name: format!("{provider}/{}", text("case")),
        provider: provider.trim_end_matches("-responses").to_owned(),
        wire,
        status: meta["status"].as_u64().and_then(|status| status.try_into().ok())?,
        content_type: "text/event-stream".to_owned(),
        body: std::fs::read(folder.join(text("response_file"))).expect("its answer can be read"),
    })
}
