//! Calls against a server that fails in every way a network can, and what the caller is told.

mod codec;
mod refusals;
mod server;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use oarlock_core::message::{Content, Message, Part};
use oarlock_core::ports::model::{
    Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, Models,
};
use oarlock_core::spec::ModelSelection;
use oarlock_core::spec::Sampling;
use secrecy::SecretString;

use crate::http::{HttpSettings, HttpTransport, Proxies};
use crate::lane::Lanes;
use crate::provider::{ProviderConfig, RequestBounds, Wire};
use crate::quirks::Quirks;
use crate::registry::Registry;
use crate::transport::Transport;
use server::{Act, Server};

const KEY: &str = "sk-canary-0123456789abcdef";
const HEADER_SECRET: &str = "header-canary-0123456789";

/// `data: say zipped`, `data: end`, compressed.
const ZIPPED: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 75, 73, 44, 73, 180, 82, 40, 78, 172, 84, 168, 202, 44, 40,
    72, 77, 225, 226, 74, 1, 139, 164, 230, 1, 153, 0, 234, 18, 158, 2, 29, 0, 0, 0,
];

fn settings() -> HttpSettings {
    HttpSettings {
        connect_timeout: Duration::from_secs(5),
        proxies: Proxies::default(),
        ca_file: None,
        user_agent: "oarlock-test".into(),
    }
}

fn config(base_url: &str) -> ProviderConfig {
    ProviderConfig {
        name: "here".into(),
        display_name: "Test".to_owned(),
        wire: Wire::OpenAiChat,
        base_url: base_url.into(),
        key: Some(SecretString::from(KEY).into()),
        auth_header: None,
        headers: BTreeMap::from([("x-gateway".into(), HEADER_SECRET.into())]),
        quirks: Quirks::PLAIN,
        bounds: RequestBounds::NONE,
        models: Vec::new(),
    }
}

fn request() -> ModelRequest {
    ModelRequest {
        system: String::new(),
        messages: Arc::new(vec![Message::User { parts: vec![Part::text("hello")] }]),
        tools: Arc::default(),
        bodies: BTreeMap::new(),
        effort: None,
        sampling: Sampling::default(),
        output_max: None,
        capabilities: oarlock_core::spec::ResolvedSessionCapabilities::default(),
        output: None,
        cache_key: String::new(),
    }
}

fn registry(configs: Vec<ProviderConfig>, transport: Arc<dyn Transport>) -> Registry {
    Registry::with_codecs(configs, transport, &Lanes::default(), |_| Arc::new(codec::Words))
}

fn model_with(base_url: &str, settings: HttpSettings) -> Arc<dyn Model> {
    let transport = Arc::new(HttpTransport::new(settings));
    let selection = ModelSelection { provider: "here".into(), model: "m-1".into() };
    registry(vec![config(base_url)], transport).resolve(&selection).unwrap()
}

/// The deltas, how often there was another sign of life, and how it ended.
#[derive(Debug)]
struct Called {
    deltas: Vec<String>,
    end: Result<String, ModelError>,
}

impl Called {
    fn failure(&self) -> (ModelErrorKind, &str) {
        let error = self.end.as_ref().unwrap_err();
        (error.kind, &error.message)
    }
}

async fn call(model: &dyn Model) -> Called {
    let mut stream = model.call(request());
    let mut deltas = Vec::new();
    let mut end = None;
    while let Some(item) = stream.next().await {
        assert!(end.is_none(), "the reply or the error is the last item");
        match item {
            Ok(ModelEvent::Alive | ModelEvent::Waits { .. }) => {}
            Ok(ModelEvent::Delta { text, .. }) => deltas.push(text),
            Ok(ModelEvent::Reply(reply)) => {
                let Content::Text { text } = &reply.blocks[0].content else { panic!("{reply:?}") };
                end = Some(Ok(text.clone()));
            }
            Err(error) => end = Some(Err(error)),
        }
    }
    let called = Called { deltas, end: end.expect("a call ends with a reply or an error") };
    let told = format!("{called:?} {model:?}");
    for secret in [KEY, HEADER_SECRET] {
        assert!(!told.contains(&secret[..12]), "{told}");
    }
    called
}

/// Calls a server that answers with these acts.
async fn answered(acts: Vec<Act>) -> Called {
    let server = Server::start(vec![acts]);
    call(&*model_with(&server.base_url, settings())).await
}

/// An answer with a length, and this much of its body.
fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Send(
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
            .into_bytes(),
    )
}

/// The head of a stream of unknown length, ended by closing.
fn stream_head() -> Act {
    Act::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec(),
    )
}

/// The head of a chunked stream.
fn chunked_head() -> Act {
    Act::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}

fn send(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

fn chunk(text: &str) -> Act {
    send(&format!("{:x}\r\n{text}\r\n", text.len()))
}
