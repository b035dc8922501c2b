//! The same operations over HTTP, through a socket of this machine.

use std::sync::Arc;

use axum::body::Body;
use futures::StreamExt;
use futures::future::BoxFuture;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use oarlock_server::Figures;
use oarlock_server::operations::{Operation, Verb, named};
use oarlock_server::rest::{Admission, Drain, Gate, Listener, Token, guarded, router, serve};
use oarlock_server::service::Caller;
use serde_json::{Map, Value};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Refusal, Surface, sessions};
use crate::desk::Desk;

/// Connections that a server keeps.
pub(crate) const CONNECTIONS: usize = 64;

/// A server, and what it is asked with.
pub(crate) struct Http {
    pub(crate) address: String,
    tasks: JoinSet<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Http {
    /// A server of these sessions.
    pub(crate) async fn at(desk: &Desk) -> Self {
        Self::of(desk, Caller::trusted("rest")).await
    }

    /// A server of these sessions as somebody may have them.
    pub(crate) async fn of(desk: &Desk, caller: Caller) -> Self {
        Self::serving(|drain| router(&sessions(desk, caller), drain)).await
    }

    /// The same behind a gate.
    pub(crate) async fn guarded(desk: &Desk, admission: Admission, tokens: Vec<Token>) -> Self {
        Self::counted(desk, (admission, tokens), Arc::default()).await
    }

    /// The same with the figures of its journal.
    pub(crate) async fn counted(
        desk: &Desk,
        (admission, tokens): (Admission, Vec<Token>),
        figures: Arc<Figures>,
    ) -> Self {
        Self::gated(desk, (admission, tokens), figures).await.0
    }

    /// The same with its gate, which takes other tokens later.
    pub(crate) async fn behind(
        desk: &Desk,
        admission: Admission,
        tokens: Vec<Token>,
    ) -> (Self, Arc<Gate>) {
        Self::gated(desk, (admission, tokens), Arc::default()).await
    }

    async fn gated(
        desk: &Desk,
        (admission, tokens): (Admission, Vec<Token>),
        figures: Arc<Figures>,
    ) -> (Self, Arc<Gate>) {
        let mut kept = None;
        let http = Self::serving(|drain| {
            let gate = kept.insert(Gate::new(admission, tokens, drain.clone()));
            guarded(&sessions(desk, Caller::trusted("rest")), gate, drain, figures)
        });
        (http.await, kept.expect("it was made"))
    }

    async fn serving(router: impl FnOnce(Drain) -> axum::Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (drainer, drain) = Drain::new();
        let router = router(drain);
        let (stop, stopped) = oneshot::channel();
        let until = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(Listener::Tcp(listener), router, CONNECTIONS, (drainer, until)));
        Self { address, tasks, stop: Some(stop) }
    }

    /// Ends the server, and waits until it has ended.
    pub(crate) async fn end(mut self) {
        self.stop.take().expect("it is ended once").send(()).expect("it lives");
        self.tasks.join_next().await.expect("it was begun").expect("it does not panic");
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        send(&self.address, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Body> {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }
}

/// Sends a request on a connection of its own, which ends with its response.
pub(crate) async fn send(address: &str, mut request: Request<Body>) -> Response<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let host = address.parse().unwrap();
    request.headers_mut().entry("host").or_insert(host);
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = Body::new(body).into_data_stream();
    // The connection lives as long as somebody reads.
    let body =
        futures::stream::unfold((body, driving, sender), |(mut body, driving, sender)| async {
            Some((body.next().await?, (body, driving, sender)))
        });
    Response::from_parts(parts, Body::from_stream(body))
}

/// The JSON of a response.
pub(crate) async fn json(response: Response<Body>) -> Value {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{body:?} is JSON"))
}

/// The request of an operation.
pub(crate) fn request(operation: &Operation, mut params: Map<String, Value>) -> Request<Body> {
    let mut path = String::new();
    for segment in operation.path.split('/').skip(1) {
        let field = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let value =
            field.map(|name| params.remove(name).map_or(String::new(), |value| plain(&value)));
        path = format!("{path}/{}", value.map_or(segment.to_owned(), |value| encoded(&value)));
    }
    let (verb, has_body) = match operation.verb {
        Verb::Get => ("GET", false),
        Verb::Post => ("POST", true),
        Verb::Patch => ("PATCH", true),
        Verb::Delete => ("DELETE", false),
    };
    let request = Request::builder().method(verb);
    if has_body {
        let body = Value::Object(params).to_string();
        return request
            .uri(path)
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &params {
        match value {
            Value::Object(pairs) => {
                for (key, value) in pairs {
                    query.append_pair(
                        name.trim_end_matches('s'),
                        &format!("{key}={}", plain(value)),
                    );
                }
            }
            value => drop(query.append_pair(name, &plain(value))),
        }
    }
    request.uri(format!("{path}?{}", query.finish())).body(Body::empty()).unwrap()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn encoded(segment: &str) -> String {
    let bytes = segment.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}

impl Surface for Http {
    fn open(desk: &Desk) -> BoxFuture<'_, Self> {
        Box::pin(Self::at(desk))
    }

    fn call<'a>(&'a self, name: &'a str, params: Value) -> BoxFuture<'a, Result<Value, Refusal>> {
        Box::pin(async move {
            let operation = named(name).unwrap_or_else(|| panic!("there is no operation {name}"));
            let Value::Object(params) = params else { panic!("{params} is no object") };
            let response = self.send(request(operation, params)).await;
            let is_done = response.status() == 200;
            let answer = json(response).await;
            if is_done {
                return Ok(answer);
            }
            let error = &answer["error"];
            Err(Refusal {
                code: error["code"].as_str().expect("it has a code").to_owned(),
                message: error["message"].as_str().expect("it has words").to_owned(),
                details: error["details"].clone(),
            })
        })
    }
}
