//! What a program that embeds the core relies on: who gets a session, what is refused, and in which words.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::{Event, StopReason};
use oarlock_core::ids::SessionId;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::message::Part;
use oarlock_core::ports::clock::SystemClock;
use oarlock_core::ports::files::Files;
use oarlock_core::ports::tool::{Place, SessionToolFactory, SessionTools, SessionToolsError};
use oarlock_core::session::recover::Recovery;
use oarlock_core::spec::SessionSpec;
use oarlock_core::{
    AgentError, Backends, DefaultAgentCore, LoadSession, NewSession, Origin, Ports,
};
use oarlock_testkit::kit::{Kit, journal, node, settings, spec, tags};
use tokio::task::JoinSet;

fn id(text: &str) -> SessionId {
    SessionId::parse(text).unwrap()
}

fn named(text: &str) -> Origin {
    Origin::New(Box::new(NewSession { id: Some(id(text)), ..spec(settings()).into() }))
}

fn load(text: &str) -> LoadSession {
    LoadSession::new(id(text), Recovery::Interrupt)
}

/// The core of a kit with other tools.
fn with_tools(kit: &Kit, tools: impl SessionToolFactory + 'static) -> DefaultAgentCore {
    let ports = Ports { tools: Arc::new(tools), ..kit.core.ports().clone() };
    DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node("a"))
}

/// Makes no tools, in one way or another.
#[derive(Debug)]
enum Broken {
    Hangs,
    Server,
    Place,
}

impl SessionToolFactory for Broken {
    fn build<'a>(&'a self, _: &'a Place) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        let why = "it is not there".to_owned();
        match self {
            Self::Hangs => futures::future::pending().boxed(),
            Self::Server => {
                let error = SessionToolsError::Server { server: "weather".to_owned(), why };
                futures::future::ready(Err(error)).boxed()
            }
            Self::Place => futures::future::ready(Err(SessionToolsError::Place { why })).boxed(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w14_parallel_creates_must_not_make_two_sessions_of_one_id() {
    let kit = Kit::new(vec![], vec![]);
    let ports = Ports { clock: Arc::new(SystemClock::new()), ..kit.core.ports().clone() };
    let core = DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node("a"));
    let mut creates = JoinSet::new();
    for _ in 0..100 {
        let core = core.clone();
        creates.spawn(async move { core.open(named("mine")).await });
    }
    let mut made = 0;
    while let Some(created) = creates.join_next().await {
        match created.unwrap() {
            Ok(_) => made += 1,
            Err(AgentError::DuplicateSessionId { session }) => assert_eq!(session, id("mine")),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(made, 1);
    let session = core.handle(id("mine"));
    assert_eq!(tags(&journal(&core, &session).await), ["session_created"]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_store_knows_is_taken_also_when_its_session_sleeps() {
    let kit = Kit::new(vec![], vec![]);
    kit.core.open(named("mine")).await.unwrap().close().await.unwrap();
    let again = kit.core.open(named("mine")).await;
    assert!(matches!(again, Err(AgentError::DuplicateSessionId { .. })), "{again:?}");
    kit.core.open(Origin::Resume(load("mine"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w14_parallel_loads_must_not_make_two_writers() {
    let kit = Kit::new(vec![], vec![]);
    let ports = Ports { clock: Arc::new(SystemClock::new()), ..kit.core.ports().clone() };
    let core = DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node("a"));
    core.open(named("mine")).await.unwrap().close().await.unwrap();
    let mut loads = JoinSet::new();
    for _ in 0..100 {
        let core = core.clone();
        loads.spawn(async move { core.open(Origin::Resume(load("mine"))).await });
    }
    while let Some(loaded) = loads.join_next().await {
        loaded.unwrap().unwrap();
    }
    let claims = journal(&core, &core.handle(id("mine"))).await;
    let claims = claims.iter().filter(|entry| matches!(entry.event, Event::WriterChanged(_)));
    assert_eq!(claims.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn w18_each_failure_to_open_is_of_its_own_kind_and_names_its_object() {
    let kit = Kit::new(vec![], vec![]);
    let missing = kit.core.open(Origin::Resume(load("nobody"))).await.unwrap_err();
    assert!(matches!(&missing, AgentError::SessionNotFound { .. }), "{missing:?}");
    assert_eq!(missing.to_string(), "there is no session nobody");

    let relative = SessionSpec { cwd: PathBuf::from("here"), ..spec(settings()) };
    let relative = kit.core.open(relative.into()).await.unwrap_err();
    assert!(matches!(&relative, AgentError::InvalidCwd { .. }), "{relative:?}");
    assert_eq!(relative.to_string(), "cannot work in here: here is not an absolute path");

    let gone = with_tools(&kit, Broken::Place).open(named("a")).await.unwrap_err();
    assert!(matches!(&gone, AgentError::InvalidCwd { .. }), "{gone:?}");

    let server = with_tools(&kit, Broken::Server).open(named("b")).await.unwrap_err();
    assert!(matches!(&server, AgentError::McpStartup { .. }), "{server:?}");
    assert_eq!(server.to_string(), "the tools of `weather` did not start: it is not there");

    let hangs = with_tools(&kit, Broken::Hangs).open(named("c")).await.unwrap_err();
    assert!(matches!(&hangs, AgentError::ToolsTimeout { .. }), "{hangs:?}");
    for session in ["a", "b", "c"] {
        let left = kit.core.entries(&id(session), 0).await;
        assert!(!left.is_ok_and(|entries| !entries.is_empty()), "{session} is in the store");
    }
}

#[tokio::test(start_paused = true)]
async fn w18_loading_must_not_skip_what_creating_checks() {
    let kit = Kit::new(vec![], vec![]);
    kit.core.open(named("mine")).await.unwrap().close().await.unwrap();
    let before = kit.core.entries(&id("mine"), 0).await.unwrap();
    for broken in [Broken::Place, Broken::Server, Broken::Hangs] {
        let created = with_tools(&kit, broken).open(Origin::Resume(load("mine"))).await;
        let error = created.unwrap_err();
        assert!(
            matches!(
                &error,
                AgentError::InvalidCwd { .. }
                    | AgentError::McpStartup { .. }
                    | AgentError::ToolsTimeout { .. }
            ),
            "{error:?}"
        );
    }
    assert_eq!(kit.core.entries(&id("mine"), 0).await.unwrap(), before, "it was claimed");
}

/// Files that only count.
fn files(kit: &Kit) -> Arc<dyn Files> {
    let place = Place { cwd: PathBuf::from("/"), roots: Vec::new() };
    let tools = Arc::clone(&kit.core.ports().tools);
    tools.build(&place).now_or_never().unwrap().unwrap().files
}

#[tokio::test(start_paused = true)]
async fn a_live_session_is_not_handed_to_whoever_brings_other_files() {
    let kit = Kit::new(vec![], vec![]);
    let ours = Backends { files: Some(files(&kit)), shell: None };
    let new =
        NewSession { id: Some(id("mine")), backends: ours.clone(), ..spec(settings()).into() };
    let session = kit.core.open(Origin::New(Box::new(new))).await.unwrap();
    let again = |backends| kit.core.open(Origin::Resume(LoadSession { backends, ..load("mine") }));
    again(ours.clone()).await.unwrap();
    again(Backends::default()).await.unwrap();
    let other = Backends { files: Some(files(&kit)), shell: None };
    let refused = again(other.clone()).await;
    assert!(matches!(refused, Err(AgentError::LiveElsewhere { .. })), "{refused:?}");
    session.close().await.unwrap();
    again(other).await.unwrap();
    // Awake with other files, it still does what the first handle tells it.
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert_eq!(ended.stop, StopReason::EndTurn);
}
