//! What the pure parts cost by themselves: the fold, the request of a step, both codecs.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use oarlock_core::event::{Delivery, Entry, Event, InputAdmitted, InputSource, SessionCreated};
use oarlock_core::ids::{CallId, NodeId, Seq, SessionId, Timestamp};
use oarlock_core::message::{Block, Content, Message, Part, ToolResult};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::session::state::State;
use oarlock_core::spec::{Answers, Mode, ModelSelection, SessionSpec, Settings};
use oarlock_models::{Quirks, decode_anthropic, decode_chat, encode_anthropic, encode_chat};
use oarlock_tools::{ToolsConfig, default_tools};

/// Rounds of the conversation that is encoded.
const ROUNDS: usize = 100;
/// Entries that are folded.
const ENTRIES: Seq = 1_000;
/// Pieces of text in an answer that is decoded.
const PIECES: usize = 500;

fn conversation() -> ModelRequest {
    let words = "The quick brown fox jumps over the lazy dog. ".repeat(10);
    let mut messages = vec![Message::User { parts: vec![Part::text("go")] }];
    for round in 0..ROUNDS {
        let id = CallId(format!("call_{round}").into());
        let arguments = r#"{"path": "notes.txt"}"#.to_owned();
        let call = Content::ToolCall { id: id.clone(), name: "read_file".to_owned(), arguments };
        let text = Content::Text { text: "I look.".to_owned() };
        let blocks = [text, call].map(|content| Block { content, native: None });
        messages.push(Message::Assistant { blocks: blocks.into() });
        let parts = vec![Part::text(words.as_str())];
        let name = "read_file".to_owned();
        messages.push(Message::Tool {
            results: vec![ToolResult { call: id, name, parts, is_error: false }],
        });
    }
    let tools = default_tools(&ToolsConfig::default()).expect("the defaults are in order");
    ModelRequest {
        system: words,
        messages: Arc::new(messages),
        tools: Arc::new(tools.iter().map(|tool| tool.schema().clone()).collect()),
        bodies: std::collections::BTreeMap::new(),
        effort: None,
        sampling: oarlock_core::spec::Sampling::default(),
        output_max: None,
        capabilities: oarlock_core::spec::ResolvedSessionCapabilities::default(),
        output: None,
        cache_key: String::new(),
    }
}

fn codecs(c: &mut Criterion) {
    let request = conversation();
    c.bench_function("encode 100 rounds, anthropic-messages", |b| {
        b.iter(|| encode_anthropic(black_box(&request), "e", "m"));
    });
    c.bench_function("encode 100 rounds, openai-chat", |b| {
        b.iter(|| encode_chat(black_box(&request), ("e", "m"), Quirks::PLAIN));
    });
    let piece = r#"{"choices":[{"index":0,"delta":{"content":"some words "}}]}"#;
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let chat = std::iter::repeat_n(piece, PIECES).chain([end]);
    let chat: Vec<_> = chat.map(|data| (None, data.to_owned())).collect();
    c.bench_function("decode 500 pieces, openai-chat", |b| {
        b.iter(|| decode_chat(black_box(&chat).iter().cloned(), "e", "m"));
    });
    let start = [
        r#"{"type":"message_start","message":{"model":"m"}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    ];
    let piece = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words "}}"#;
    let messages = start.into_iter().chain(std::iter::repeat_n(piece, PIECES));
    let messages = messages.chain([r#"{"type":"message_stop"}"#]);
    let messages: Vec<_> = messages.map(|data| (None, data.to_owned())).collect();
    c.bench_function("decode 500 pieces, anthropic-messages", |b| {
        b.iter(|| decode_anthropic(black_box(&messages).iter().cloned(), "e", "m"));
    });
}

fn entry(seq: Seq, event: Event) -> Entry {
    Entry { seq, at: Timestamp::from_unix_ms(0), turn: None, scope: Vec::new(), event }
}

fn fold(c: &mut Criterion) {
    let settings = Settings::new(
        ModelSelection { provider: "p".to_owned(), model: "m".to_owned() },
        Mode::OPEN,
        Answers::Nobody,
    );
    let spec = SessionSpec::new("/".into(), "bench", settings);
    let id = SessionId::parse("s").expect("a letter is an id");
    let node = NodeId::parse("n").expect("a letter is an id");
    let created = SessionCreated { id, schema: 1, node, spec, forked: None };
    let first = entry(1, Event::SessionCreated(Box::new(created)));
    let input = |seq| {
        let content = vec![Part::text("some words of a prompt")];
        let (source, delivery) = (InputSource::User, Delivery::Queue);
        entry(
            seq,
            Event::InputAdmitted(InputAdmitted {
                key: None,
                source,
                delivery,
                content,
                goal: None,
                output: None,
                peer: None,
            }),
        )
    };
    let inputs: Vec<Entry> = (2..=ENTRIES).map(input).collect();
    c.bench_function("fold 1,000 entries", |b| {
        b.iter(|| {
            let mut state = State::created(&first).expect("it is the first");
            for entry in &inputs {
                state.apply(black_box(entry)).expect("they are in order");
            }
            state
        });
    });
}

criterion_group!(pure, codecs, fold);
criterion_main!(pure);
