//! A program around a surface, and a client that speaks raw messages, both in this process and on virtual time.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::answer::{Answer, Ask, Change, Listed, Question, listed};
use oarlock_core::prompt::slash::{Slash, Typed};
use oarlock_core::spec::{Answers, Mode, ModelSelection, SessionSpec, Settings};
use oarlock_core::{DefaultAgentCore, DefaultSession, Frontend, SessionId};
use oarlock_server::acp::{Streams, serve};
use oarlock_server::{Audience, Host, HostError, Said, Workspace};
use oarlock_testkit::kit::{Kit, Parts};
use oarlock_testkit::model::{Say, selection};
use oarlock_testkit::tool::TestTool;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Lines towards the client that nobody has read.
const UNREAD_MAX: usize = 16;
/// How long a message is waited for, on virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A program with one runtime for every folder.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) kit: Arc<Kit>,
    pub(crate) mode: Mode,
    audience: Audience,
    /// How many prompts are being read that never are.
    pub(crate) reading: Arc<AtomicUsize>,
    /// What comes of looking at a folder's configuration.
    pub(crate) folders: Arc<Mutex<Folders>>,
}

/// What the configuration of folders is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folders {
    Fine,
    /// It cannot be understood.
    Broken,
    /// The file system does not answer.
    Hung,
    /// Whoever reads it panics.
    Cursed,
}

/// A prompt that is never read: it mentions a file that does not answer.
pub(crate) const UNREADABLE: &str = "look at @this";

/// One that is being read.
struct BeingRead<'a>(&'a AtomicUsize);

impl Drop for BeingRead<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Desk {
    /// A program whose model says this, in mode `open`.
    pub(crate) fn new(script: Vec<Vec<Say>>, tools: Vec<Arc<TestTool>>) -> Self {
        Self::of(Parts::new(script, tools), Mode::OPEN)
    }

    pub(crate) fn of(parts: Parts, mode: Mode) -> Self {
        Self::with(Kit::of(parts), mode)
    }

    /// A program with this runtime.
    pub(crate) fn with(kit: Kit, mode: Mode) -> Self {
        let (kit, reading) = (Arc::new(kit), Arc::default());
        let folders = Arc::new(Mutex::new(Folders::Fine));
        Self { kit, mode, audience: Audience::default(), reading, folders }
    }

    /// A client that has connected and greeted.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(json!({})).await
    }

    /// A client that can do this.
    pub(crate) async fn client_with(&self, capabilities: Value) -> Client {
        let mut client = Client::connect(Arc::new(self.clone()));
        let hello = json!({ "protocolVersion": 1, "clientCapabilities": capabilities });
        let (answer, _) = client.call("initialize", hello).await;
        assert_eq!(answer["result"]["protocolVersion"], 1, "{answer}");
        client
    }
}

impl Host for Desk {
    fn workspace<'a>(
        &'a self,
        _: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Workspace>, HostError>> {
        async {
            let folders = *self.folders.lock().expect("nobody panics with it");
            match folders {
                Folders::Fine => Ok(Arc::new(self.clone()) as Arc<dyn Workspace>),
                Folders::Broken => Err(HostError::Failed("config.toml is broken".to_owned())),
                Folders::Hung => std::future::pending().await,
                Folders::Cursed => panic!("as the test wants it"),
            }
        }
        .boxed()
    }

    fn awake(&self, session: &SessionId) -> Option<Arc<dyn Workspace>> {
        let is_awake = self.kit.core.is_awake(session);
        is_awake.then(|| Arc::new(self.clone()) as Arc<dyn Workspace>)
    }

    fn core(&self) -> &DefaultAgentCore {
        &self.kit.core
    }

    fn store_name(&self) -> &'static str {
        "memory"
    }

    fn audience(&self) -> &Audience {
        &self.audience
    }

    fn authenticate(&self) -> BoxFuture<'_, Result<(), HostError>> {
        async { Ok(()) }.boxed()
    }

    fn logout(&self) -> BoxFuture<'_, Result<(), HostError>> {
        async { Ok(()) }.boxed()
    }
}

impl Workspace for Desk {
    fn core(&self) -> &DefaultAgentCore {
        &self.kit.core
    }

    fn spec(
        &self,
        place: Place,
        surface: &'static str,
        _: Frontend,
    ) -> BoxFuture<'_, Result<SessionSpec, HostError>> {
        let settings = Settings::new(selection(), self.mode.clone(), Answers::Somebody);
        let spec = SessionSpec::new(place.cwd, surface, settings);
        async move { Ok(SessionSpec { roots: place.roots, ..spec }) }.boxed()
    }

    fn model(&self, name: &str) -> Result<ModelSelection, HostError> {
        let candidates = self.kit.core.ports().models.candidates();
        let mut known = candidates.into_iter().map(|known| known.model.selection);
        let found = known.find(|known| known.to_string() == name);
        found.ok_or_else(|| HostError::Invalid(format!("there is no model {name}")))
    }

    fn skill<'a>(&'a self, _: &'a Path, name: &'a str) -> BoxFuture<'a, Result<String, HostError>> {
        let known = match name {
            "rowing" => Ok("# Skill rowing\n\nPull with the legs.".to_owned()),
            _ => Err(HostError::Invalid(format!("there is no skill `{name}`"))),
        };
        async { known }.boxed()
    }

    fn kept_out(&self) -> Vec<String> {
        Vec::new()
    }

    fn commands(&self) -> BoxFuture<'_, Result<Vec<Listed>, HostError>> {
        async { Ok(listed(&[])) }.boxed()
    }

    fn read<'a>(
        &'a self,
        words: String,
        _: &'a DefaultSession,
        _: &'a Place,
    ) -> BoxFuture<'a, Result<Said, HostError>> {
        async move {
            if words == UNREADABLE {
                self.reading.fetch_add(1, SeqCst);
                let _being_read = BeingRead(&self.reading);
                return std::future::pending().await;
            }
            let typed = Typed::read(&words, &[]);
            Ok(match typed.map_err(|error| HostError::Invalid(error.to_string()))? {
                Typed::Words(words) => {
                    Said::Prompt { content: vec![Part::text(words)], goal: None }
                }
                Typed::Slash(Slash::Steer(words)) => Said::Steer(vec![Part::text(words)]),
                Typed::Slash(Slash::Usage) => Said::Ask(Ask::Question(Question::Usage)),
                Typed::Slash(Slash::Compact { instructions }) => {
                    Said::Ask(Ask::Change(Change::Compact(instructions)))
                }
                Typed::Slash(Slash::Mode(Some(name))) => {
                    let mode = Mode::parse(&name).map_err(|e| HostError::Invalid(e.to_string()))?;
                    Said::Ask(Ask::Change(Change::Mode(mode)))
                }
                Typed::Slash(_) => Said::Answer(Answer::Help { commands: listed(&[]) }.to_string()),
            })
        }
        .boxed()
    }
}

/// A client that sends and reads raw messages.
#[derive(Debug)]
pub(crate) struct Client {
    to: Option<mpsc::Sender<io::Result<String>>>,
    from: mpsc::Receiver<String>,
    served: JoinSet<io::Result<()>>,
    ids: i64,
    /// Read and not yet looked at.
    held: VecDeque<Value>,
    stop: Option<oneshot::Sender<()>>,
}

impl Client {
    /// A client that has not greeted.
    pub(crate) fn connect(host: Arc<dyn Host>) -> Self {
        let (to, incoming) = mpsc::channel(64);
        let (outgoing, from) = mpsc::channel(UNREAD_MAX);
        let (stop, stopped) = oneshot::channel();
        let until = async {
            // A client that is dropped closes its stream as well.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut served = JoinSet::new();
        served.spawn(serve(host, Streams::within(incoming, outgoing), until));
        Self { to: Some(to), from, served, ids: 0, held: VecDeque::new(), stop: Some(stop) }
    }

    /// Sends a line as it is.
    pub(crate) async fn raw(&mut self, line: &str) {
        let to = self.to.as_ref().expect("the stream is open");
        to.send(Ok(line.to_owned())).await.expect("the agent reads");
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.raw(&message.to_string()).await;
    }

    /// Sends a request and returns its id.
    pub(crate) async fn request(&mut self, method: &str, params: Value) -> i64 {
        self.ids += 1;
        let (id, rpc) = (self.ids, "2.0");
        self.send(json!({ "jsonrpc": rpc, "id": id, "method": method, "params": params })).await;
        id
    }

    /// Sends a request, unless the agent has ended the connection.
    pub(crate) async fn offer(&mut self, method: &str, params: Value) -> bool {
        self.ids += 1;
        let (id, rpc) = (self.ids, "2.0");
        let message = json!({ "jsonrpc": rpc, "id": id, "method": method, "params": params });
        let to = self.to.as_ref().expect("the stream is open");
        to.send(Ok(message.to_string())).await.is_ok()
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    /// Answers a request of the agent.
    pub(crate) async fn reply(&mut self, request: &Value, result: Value) {
        self.send(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })).await;
    }

    /// The next message; nothing when the agent has closed its stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        if let Some(held) = self.held.pop_front() {
            return Some(held);
        }
        let line = timeout(PATIENCE, self.from.recv()).await.expect("the agent says something")?;
        Some(serde_json::from_str(&line).expect("every line is JSON"))
    }

    /// Everything up to the first message that fits, which is the last of them.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let next = self.next().await.expect("the stream is open");
            let is_last = fits(&next);
            seen.push(next);
            if is_last {
                return seen;
            }
        }
    }

    /// The answer to a request, and what came before it.
    pub(crate) async fn answer(&mut self, id: i64) -> (Value, Vec<Value>) {
        let mut seen = self.until(|m| m["id"] == id && m.get("method").is_none()).await;
        (seen.pop().expect("it ends with the answer"), seen)
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> (Value, Vec<Value>) {
        let id = self.request(method, params).await;
        self.answer(id).await
    }

    /// A new session in the root folder, with what is told after its opening read.
    pub(crate) async fn session(&mut self) -> String {
        let (answer, before) =
            self.call("session/new", json!({ "cwd": "/", "mcpServers": [] })).await;
        assert_eq!(before, Vec::<Value>::new(), "nothing is told of a session that is not known");
        let id = answer["result"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let id = id.to_owned();
        self.until(|m| kind(m) == "available_commands_update").await;
        id
    }

    /// Sends a prompt and returns the request's id.
    pub(crate) async fn prompt(&mut self, session: &str, words: &str) -> i64 {
        let prompt = json!([{ "type": "text", "text": words }]);
        self.request("session/prompt", json!({ "sessionId": session, "prompt": prompt })).await
    }

    pub(crate) async fn cancel(&mut self, session: &str) {
        self.notify("session/cancel", json!({ "sessionId": session })).await;
    }

    /// Everything that is said within so many milliseconds.
    pub(crate) async fn within(&mut self, ms: u64) -> Vec<Value> {
        let end = tokio::time::Instant::now() + Duration::from_millis(ms);
        let mut said: Vec<Value> = self.held.drain(..).collect();
        while let Ok(line) = tokio::time::timeout_at(end, self.from.recv()).await {
            let line = line.expect("the stream is open");
            said.push(serde_json::from_str(&line).expect("every line is JSON"));
        }
        said
    }

    /// Whether nothing has been said that was not read, once everything is at rest.
    pub(crate) async fn is_silent(&mut self) -> bool {
        let next = timeout(Duration::from_secs(60), self.from.recv()).await;
        match next {
            Err(_) => self.held.is_empty(),
            Ok(line) => panic!("{line:?} was said"),
        }
    }

    /// What is said without being asked for, once everything is at rest; nothing when nothing is.
    pub(crate) async fn unread(&mut self) -> Option<Value> {
        if let Some(held) = self.held.pop_front() {
            return Some(held);
        }
        let line = timeout(Duration::from_secs(60), self.from.recv()).await.ok()??;
        Some(serde_json::from_str(&line).expect("every line is JSON"))
    }

    /// Closes the client's stream, and waits until the agent is done.
    pub(crate) async fn leave(mut self) -> io::Result<()> {
        self.to = None;
        let drained = async { while self.from.recv().await.is_some() {} };
        timeout(PATIENCE, drained).await.expect("the agent ends");
        let ended = self.served.join_next().await.expect("it was begun");
        ended.expect("the connection does not panic")
    }

    /// Leaves without reading what was said, and says how long the agent takes to be done.
    pub(crate) async fn leave_unread(mut self, by_signal: bool) -> Duration {
        let begun = tokio::time::Instant::now();
        if by_signal {
            self.stop.take().expect("it is ended once").send(()).expect("the agent lives");
        } else {
            self.to = None;
        }
        let ended = timeout(PATIENCE, self.served.join_next()).await.expect("the agent ends");
        let ended = ended.expect("it was begun").expect("the connection does not panic");
        ended.expect("it ends in good order");
        begun.elapsed()
    }

    /// Ends the agent by its own signal, the client's stream still open.
    pub(crate) async fn terminate(mut self) -> io::Result<()> {
        self.stop.take().expect("it is ended once").send(()).expect("the agent lives");
        let drained = async { while self.from.recv().await.is_some() {} };
        timeout(PATIENCE, drained).await.expect("the agent ends");
        let ended = self.served.join_next().await.expect("it was begun");
        ended.expect("the connection does not panic")
    }
}

/// The id of a session that the agent named.
pub(crate) fn id(session: &str) -> SessionId {
    SessionId::parse(session).expect("the agent names sessions by their ids")
}

/// What an update is; empty for other messages.
pub(crate) fn kind(message: &Value) -> &str {
    message["params"]["update"]["sessionUpdate"].as_str().unwrap_or_default()
}

/// The text of all chunks of this kind.
pub(crate) fn text_of(messages: &[Value], chunk: &str) -> String {
    let chunks = messages.iter().filter(|message| kind(message) == chunk);
    chunks.filter_map(|m| m["params"]["update"]["content"]["text"].as_str()).collect()
}
