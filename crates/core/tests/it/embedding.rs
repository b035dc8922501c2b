//! What a program that embeds the core relies on: who gets a session, what is refused, and in which words.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::{Effect, Event, FailureClass, StopReason};
use oarlock_core::ids::SessionId;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::message::Part;
use oarlock_core::ports::clock::SystemClock;
use oarlock_core::ports::files::Files;
use oarlock_core::ports::model::{Model, ModelErrorKind};
use oarlock_core::ports::tool::{SessionToolFactory, SessionTools, SessionToolsError, Tool};
use oarlock_core::session::recover::Recovery;
use oarlock_core::spec::{Mode, ModelSelection, ReasoningEffort, SessionSpec, SettingsChange};
use oarlock_core::{
    AgentCore, AgentError, AgentEvent, Backends, BuildError, DefaultAgentCore,
    DefaultAgentCoreBuilder, DefaultSession, LoadSession, NewSession, Nowhere, Origin, Ports,
    Rejection, SessionCreateInfo, SessionInitError, SessionObserver, StaticToolRegistry, TurnError,
    new_session_id,
};
use oarlock_testkit::kit::{Kit, journal, node, settings, spec, tags};
use oarlock_testkit::model::{OneModel, Say, ScriptedModel, selection};
use oarlock_testkit::tool::{Act, TestTool};
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
    fn build<'a>(
        &'a self,
        _: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
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
    let spec = SessionSpec::new(PathBuf::from("/"), "test", settings());
    let tools = Arc::clone(&kit.core.ports().tools);
    tools.build(&spec).now_or_never().unwrap().unwrap().files
}

#[tokio::test(start_paused = true)]
async fn a_live_session_is_not_handed_to_whoever_brings_other_files() {
    let kit = Kit::new(vec![], vec![]);
    let ours = Backends { files: Some(files(&kit)), ..Backends::default() };
    let new =
        NewSession { id: Some(id("mine")), backends: ours.clone(), ..spec(settings()).into() };
    let session = kit.core.open(Origin::New(Box::new(new))).await.unwrap();
    let again = |backends| kit.core.open(Origin::Resume(LoadSession { backends, ..load("mine") }));
    again(ours.clone()).await.unwrap();
    again(Backends::default()).await.unwrap();
    let other = Backends { files: Some(files(&kit)), ..Backends::default() };
    let refused = again(other.clone()).await;
    assert!(matches!(refused, Err(AgentError::LiveElsewhere { .. })), "{refused:?}");
    session.close().await.unwrap();
    again(other).await.unwrap();
    // Awake with other files, it still does what the first handle tells it.
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert_eq!(ended.stop, StopReason::EndTurn);
}

#[tokio::test(start_paused = true)]
async fn a_load_may_change_the_settings_and_is_refused_as_a_command_would_be() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.core.open(named("mine")).await.unwrap();
    let told = async |change: SettingsChange| {
        let change = Some(Box::new(change));
        kit.core.open(Origin::Resume(LoadSession { change, ..load("mine") })).await
    };
    let mode = |mode| SettingsChange { mode: Some(mode), ..SettingsChange::default() };
    let unknown = Mode::parse("no-such").unwrap();
    let nowhere = ModelSelection { provider: "nobody".into(), model: "none".into() };
    let nowhere = SettingsChange { model: Some(nowhere), ..SettingsChange::default() };
    for asleep in [false, true] {
        if asleep {
            session.close().await.unwrap();
        }
        let before = journal(&kit.core, &session).await;
        for change in [mode(unknown.clone()), nowhere.clone()] {
            let refused = told(change).await;
            let is_refused =
                matches!(refused, Err(AgentError::Rejected(Rejection::Invalid { .. })));
            assert!(is_refused, "{refused:?}");
        }
        assert_eq!(journal(&kit.core, &session).await, before, "asleep: {asleep}");
    }
    told(mode(Mode::READ_ONLY)).await.unwrap();
    told(mode(Mode::OPEN)).await.unwrap();
    told(SettingsChange::default()).await.unwrap();
    let state = session.state().await.unwrap();
    assert_eq!(state.spec.settings.mode, Mode::OPEN);
    let configured = tags(&journal(&kit.core, &session).await);
    assert_eq!(configured.iter().filter(|tag| **tag == "session_configured").count(), 2);
}

/// Tells what it hears, and refuses what it is told to.
#[derive(Debug, Default)]
struct Watch {
    heard: Mutex<Vec<(SessionId, bool)>>,
    refuses: AtomicBool,
}

impl SessionObserver for Watch {
    fn on_session_created(
        &self,
        session: &DefaultSession,
        info: &SessionCreateInfo,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        assert!(!session.core().is_awake(session.id()), "somebody could get it already");
        self.heard.lock().unwrap().push((info.id.clone(), info.is_new));
        match self.refuses.load(Ordering::SeqCst) {
            true => Err("it may not".into()),
            false => Ok(()),
        }
    }
}

/// A core with a model of its own, made by the builder.
fn built(model: &Arc<ScriptedModel>) -> DefaultAgentCoreBuilder {
    DefaultAgentCore::builder().model(Arc::clone(model) as Arc<dyn Model>)
}

fn new_in(core: &dyn AgentCore, text: &str) -> NewSession {
    let spec = SessionSpec::new(PathBuf::from("/"), "test", core.default_settings().unwrap());
    NewSession { id: Some(id(text)), ..spec.into() }
}

#[tokio::test]
async fn an_observer_hears_of_each_opening_and_its_refusal_leaves_the_session_in_the_store() {
    let watch = Arc::new(Watch::default());
    let core = built(&ScriptedModel::new([])).observe_session(Arc::clone(&watch) as _);
    let core = core.build().unwrap();
    let session = core.create_session(new_in(&core, "mine")).await.unwrap();
    core.load_session(load("mine")).await.unwrap();
    session.close().await.unwrap();
    session.run_turn(vec![Part::text("wake up")]).await.unwrap();
    session.close().await.unwrap();
    core.load_session(load("mine")).await.unwrap();
    let heard = watch.heard.lock().unwrap().clone();
    assert_eq!(heard, [(id("mine"), true), (id("mine"), false)], "not of joining and waking");

    watch.refuses.store(true, Ordering::SeqCst);
    let refused = core.create_session(new_in(&core, "other")).await.unwrap_err();
    let AgentError::Observer { session, source } = &refused else { panic!("{refused}") };
    assert_eq!((session, source.to_string()), (&id("other"), "it may not".to_owned()));
    assert!(core.session(&id("other")).is_none());
    let info = core.loader().load_session(&id("other")).await.unwrap().info;
    assert_eq!((info.id, info.is_new), (id("other"), false));
}

#[tokio::test]
async fn w08_a_second_turn_is_refused_at_once_and_leaves_nothing_behind() {
    let model = ScriptedModel::new([vec![Say::Silence]]);
    let core = built(&model).build().unwrap();
    let session = core.create_session(new_in(&core, "mine")).await.unwrap();
    let running = Arc::clone(&session);
    let mut first = Box::pin(running.run_turn(vec![Part::text("one")]));
    assert!(futures::poll!(&mut first).is_pending());
    while session.status().await.unwrap().turn.is_none() {
        assert!(futures::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    let before = session.status().await.unwrap().tip;
    let second = session.run_turn(vec![Part::text("two")]).await;
    assert!(matches!(second, Err(TurnError::TurnInProgress { .. })), "{second:?}");
    let after = session.status().await.unwrap();
    assert!(after.tip <= before + 1 && after.waiting.is_empty(), "{after:?}");
    // Nobody waits for the turn any more; it runs until it is cancelled.
    drop(first);
    assert!(session.status().await.unwrap().turn.is_some());
    session.cancel_turn().await.unwrap();
    session.cancel_turn().await.unwrap();
    let mut events = session.subscribe(0);
    let ended = loop {
        if let AgentEvent::Entry(entry) = events.next().await.unwrap()
            && let Event::TurnEnded(ended) = &entry.event
        {
            break ended.stop;
        }
    };
    assert_eq!(ended, StopReason::Cancelled);
}

#[tokio::test]
async fn what_a_session_is_told_to_be_holds_from_the_next_turn_and_is_read_without_waking_it() {
    let core = built(&ScriptedModel::new([])).build().unwrap();
    let session = core.create_session(new_in(&core, "mine")).await.unwrap();
    assert_eq!(session.current_mode().await.unwrap(), Mode::ASK_WRITES);
    session.set_mode(Mode::READ_ONLY).await.unwrap();
    session.set_reasoning_effort(ReasoningEffort::High).await.unwrap();
    let other = ModelSelection { model: "other".to_owned(), ..selection() };
    let unknown = session.set_model(other).await.unwrap_err();
    assert!(unknown.to_string().contains("other"), "{unknown}");
    session.set_model(selection()).await.unwrap();
    let unknown = session.set_mode(Mode::parse("yolo").unwrap()).await.unwrap_err();
    assert!(matches!(&unknown, AgentError::ModeNotFound(_)), "{unknown}");
    let modes = session.available_modes().await.unwrap();
    assert!(modes.iter().any(|mode| mode.id == Mode::READ_ONLY), "{modes:?}");
    session.close().await.unwrap();
    assert_eq!(session.current_mode().await.unwrap(), Mode::READ_ONLY);
    let effort = session.current_reasoning_effort().await.unwrap();
    assert_eq!(effort, Some(ReasoningEffort::High));
    assert_eq!(session.current_model().await.unwrap(), selection());
    assert_eq!(session.provider_info().await.unwrap().name, selection().provider);
    assert_eq!(session.list_models().await.unwrap()[0].selection, selection());
    assert_eq!(session.list_candidates()[0].model.selection, selection());
    assert!(core.session(&id("mine")).is_none(), "reading has woken it");
    let nobody = core.handle(id("nobody")).status().await.unwrap_err();
    assert_eq!(nobody.to_string(), "there is no session nobody");
}

#[tokio::test]
async fn inputs_wait_in_the_open_and_can_be_taken_back() {
    let model = ScriptedModel::new([vec![Say::Silence]]);
    let core = built(&model).build().unwrap();
    let session = core.create_session(new_in(&core, "mine")).await.unwrap();
    session.queue(vec![Part::text("first")]).await.unwrap();
    while session.status().await.unwrap().turn.is_none() {
        tokio::task::yield_now().await;
    }
    let queued = session.queue(vec![Part::text("later")]).await.unwrap();
    let steered = session.steer(vec![Part::text("look here")]).await.unwrap();
    let waiting: Vec<_> = session.status().await.unwrap().waiting;
    assert_eq!(waiting.iter().map(|input| input.input).collect::<Vec<_>>(), [queued, steered]);
    session.withdraw(queued).await.unwrap();
    let again = session.withdraw(queued).await;
    assert!(matches!(again, Err(AgentError::Rejected(Rejection::Stale { .. }))), "{again:?}");
    session.close().await.unwrap();
}

#[tokio::test]
async fn two_cores_share_nothing() {
    let models = [ScriptedModel::new([]), ScriptedModel::new([])];
    let cores = models.each_ref().map(|model| built(model).build().unwrap());
    for core in &cores {
        core.create_session(new_in(core, "mine")).await.unwrap();
    }
    let ours = cores[0].session(&id("mine")).unwrap();
    ours.run_turn(vec![Part::text("only here")]).await.unwrap();
    ours.set_mode(Mode::OPEN).await.unwrap();
    let theirs = cores[1].session(&id("mine")).unwrap();
    assert_eq!(models[0].requests().len(), 1);
    assert_eq!(models[1].requests().len(), 0);
    assert_eq!(theirs.current_mode().await.unwrap(), Mode::ASK_WRITES);
    assert!(theirs.history_snapshot().await.unwrap().is_empty());
    ours.close().await.unwrap();
    assert!(cores[0].session(&id("mine")).is_none());
    assert!(cores[1].session(&id("mine")).is_some());
}

#[tokio::test]
async fn a_builder_says_what_is_missing_and_never_panics() {
    let none = DefaultAgentCore::builder().build().unwrap_err();
    assert!(matches!(none, BuildError::NoModels), "{none}");
    let model = ScriptedModel::new([]);
    let other = ModelSelection { model: "other".to_owned(), ..selection() };
    let wrong = built(&model).default_model(other).build().unwrap_err();
    assert!(matches!(wrong, BuildError::DefaultModel(_)), "{wrong}");
    let allow = built(&model).tool_allow(["bash"]).build().unwrap_err();
    assert!(matches!(allow, BuildError::ToolAllow(_)), "{allow}");
    let registry = DefaultAgentCore::builder().registry(Arc::new(OneModel(model)));
    let nameless = registry.build().unwrap().default_settings().unwrap_err();
    assert!(matches!(nameless, AgentError::Init(SessionInitError::NoModel)), "{nameless}");
}

#[tokio::test]
async fn w14_a_closed_session_must_not_keep_its_task_its_history_or_what_it_works_with() {
    let model = ScriptedModel::new([vec![Say::Silence]]);
    let tool = TestTool::new("look", Effect::Pure, Act::Hang);
    let (tool_left, factory) = (Arc::downgrade(&tool), Arc::new(OwnTools(Mutex::new(Some(tool)))));
    let core = built(&model).session_tool_factory(factory).build().unwrap();
    let files: Arc<dyn Files> = Arc::new(Nowhere);
    let files_left = Arc::downgrade(&files);
    let backends = Backends { files: Some(files), ..Backends::default() };
    let new = NewSession { backends, ..new_in(&core, "mine") };
    let session = core.create_session(new).await.unwrap();
    session.queue(vec![Part::text("go")]).await.unwrap();
    while model.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    let messages_left = Arc::downgrade(&model.requests()[0].messages);
    model.forget();
    assert!(messages_left.upgrade().is_some(), "the session has a history");
    assert!(tool_left.upgrade().is_some() && files_left.upgrade().is_some());
    session.close().await.unwrap();
    drop(session);
    // The last of the task is dropped right after it has said that it ended.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(tool_left.upgrade().is_none(), "its tools");
    assert!(files_left.upgrade().is_none(), "its files");
    assert!(messages_left.upgrade().is_none(), "its history");
    assert!(!core.is_awake(&id("mine")), "its task");
}

/// Gives away its one tool.
#[derive(Debug)]
struct OwnTools(Mutex<Option<Arc<TestTool>>>);

impl SessionToolFactory for OwnTools {
    fn build<'a>(
        &'a self,
        _: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        let tool = self.0.lock().unwrap().take();
        let tools = StaticToolRegistry::new(tool.map(|tool| tool as Arc<dyn Tool>));
        let (files, shell) = (Arc::new(Nowhere), Arc::new(Nowhere));
        futures::future::ready(Ok(SessionTools { tools: Arc::new(tools), files, shell })).boxed()
    }
}

#[test]
fn ids_sort_by_the_time_they_were_drawn() {
    let ids: Vec<SessionId> = (0..100).map(|_| new_session_id()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(ids.iter().all(|id| id.as_str().len() == 36 && id.as_str().as_bytes()[14] == b'7'));
}

#[tokio::test]
async fn a_failed_turn_is_told_with_what_failed_in_it() {
    let model = ScriptedModel::new([vec![Say::Fail(ModelErrorKind::Auth, None)]]);
    let core = built(&model).build().unwrap();
    let session = core.create_session(new_in(&core, "mine")).await.unwrap();
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert_eq!(ended.stop, StopReason::Failed(FailureClass::Model(ModelErrorKind::Auth)));
    let outcome = ended.outcome().unwrap_err();
    let TurnError::Provider(error) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(error.kind, ModelErrorKind::Auth);
    assert!(!error.message.is_empty());
    let ended = session.run_turn(vec![Part::text("again")]).await.unwrap();
    assert_eq!(ended.outcome().unwrap(), StopReason::EndTurn);
}

#[test]
fn the_example_runs_and_fits_on_a_page() {
    crate::example::main().unwrap();
    let lines = include_str!("../../examples/embed.rs").lines().count();
    assert!(lines <= 60, "{lines} lines");
}
