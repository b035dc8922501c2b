//! Oarlock's side: the model of an endpoint over its own transport, as the program makes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use oarlock_core::message::{Content, Message, Part};
use oarlock_core::ports::model::{ModelEvent, Models, Reply};
use oarlock_core::spec::ModelSelection;
use oarlock_models::{
    HttpSettings, HttpTransport, Lanes, ProviderConfig, Proxies, Quirks, Registry, RequestBounds,
};
use oarlock_testkit::model::asking;
use serde_json::Value;

use crate::answer::{Answer, Outcome};
use crate::cases::Case;

/// What Oarlock makes of a case.
pub async fn answer(case: &Case, base_url: &str) -> Outcome {
    let provider = ProviderConfig {
        name: "here".to_owned(),
        display_name: "Here".to_owned(),
        wire: case.wire,
        base_url: base_url.to_owned(),
        key: None,
        auth_header: None,
        headers: BTreeMap::new(),
        quirks: Quirks::PLAIN,
        bounds: RequestBounds::NONE,
        models: Vec::new(),
    };
    let transport = HttpTransport::new(HttpSettings {
        connect_timeout: Duration::from_secs(5),
        proxies: Proxies::default(),
        ca_file: None,
        user_agent: "oarlock-differential".to_owned(),
    });
    let registry = Registry::new(vec![provider], Arc::new(transport), &Lanes::default());
    let selection = ModelSelection { provider: "here".to_owned(), model: "m".to_owned() };
    let model = registry.resolve(&selection).expect("the registry has this provider");
    let mut stream = model.call(asking(vec![Message::User { parts: vec![Part::text("hello")] }]));
    loop {
        match stream.next().await {
            Some(Ok(ModelEvent::Reply(reply))) => return Ok(compared(reply)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(format!("{:?}: {error}", error.kind)),
            None => return Err("the call ended with nothing".to_owned()),
        }
    }
}

fn compared(reply: Reply) -> Answer {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for block in reply.blocks {
        match block.content {
            Content::Text { text: more } => text.push_str(&more),
            Content::ToolCall { name, arguments, .. } => {
                calls.push((name, parsed(&arguments)));
            }
            Content::Thinking { .. } | Content::Opaque { .. } => {}
        }
    }
    let usage = reply.usage;
    Answer {
        text,
        calls,
        input: usage.input + usage.cache_read + usage.cache_write,
        output: usage.output,
        cached: usage.cache_read,
        written: usage.cache_write,
        thought: usage.reasoning,
    }
}

/// Arguments as a value; nothing at all is an object without members, and what is no JSON stays a text.
fn parsed(arguments: &str) -> Value {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    serde_json::from_str(arguments).unwrap_or_else(|_| Value::from(arguments))
}
