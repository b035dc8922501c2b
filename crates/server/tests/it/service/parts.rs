//! What a program that embeds the service brings to a session: tools, a model, somebody who is told. On the store that the program has.

use std::sync::Arc;

use oarlock_core::event::{AgentEvent, Effect};
use oarlock_core::ids::SessionId;
use oarlock_core::ports::model::ModelInfo;
use oarlock_core::service::{
    ConfigureRequest, CreateSessionRequest, Cursor, ErrorCode, InitialTurnPolicy, SessionParts,
    SessionService, StartTurnRequest,
};
use oarlock_core::spec::ModelSelection;
use oarlock_core::{AgentToolDispatcher, StreamScopeFrame};
use oarlock_server::service::{Caller, Sessions};
use oarlock_testkit::brought::{Keep, TestCheckpointer, TestDispatcher};
use oarlock_testkit::model::{Say, ScriptedModel, calls, info, text};
use oarlock_testkit::tool::{Act, TestTool};
use tempfile::TempDir;

use super::sessions;
use crate::desk::Desk;
use crate::stored;

fn says(words: &str) -> Vec<Say> {
    vec![Say::Reply(text(words))]
}

fn asks() -> Vec<Say> {
    vec![Say::Reply(calls(&[("c1", "lookup", r#"{"what":"x"}"#)]))]
}

fn library(desk: &Desk) -> Sessions {
    sessions(desk, Caller::trusted("library"))
}

fn request(prompt: &str) -> CreateSessionRequest {
    CreateSessionRequest { prompt: prompt.into(), ..CreateSessionRequest::default() }
}

fn turn(prompt: &str) -> StartTurnRequest {
    StartTurnRequest { prompt: prompt.into(), ..StartTurnRequest::default() }
}

fn deferred() -> CreateSessionRequest {
    CreateSessionRequest {
        initial_turn: InitialTurnPolicy::Defer,
        ..CreateSessionRequest::default()
    }
}

fn lookup() -> Arc<TestTool> {
    TestTool::new("lookup", Effect::Mutating, Act::Give("found".to_owned()))
}

fn with_tools(tool: &Arc<TestTool>) -> SessionParts {
    let tools = Arc::new(TestDispatcher(vec![Arc::clone(tool)]));
    SessionParts { tools: Some(tools as Arc<dyn AgentToolDispatcher>), ..SessionParts::default() }
}

fn offered(desk: &Desk) -> Vec<String> {
    let request = desk.kit.model.requests().pop().unwrap();
    request.tools.iter().map(|tool| tool.name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_works_through_sleep_and_is_brought_again_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let tool = lookup();
    let script = || vec![asks(), says("end"), asks(), says("end")];
    let id: SessionId = {
        let desk = stored::on(folder.path(), None, script());
        let sessions = library(&desk);
        let made = sessions.create_session_with(request("go"), with_tools(&tool)).await.unwrap();
        assert_eq!((made.text.as_str(), made.tool_calls, tool.runs()), ("end", 1, 1));
        sessions.close(&made.session_id).await.unwrap();
        sessions.start_turn(&made.session_id, turn("again")).await.unwrap();
        assert_eq!((tool.runs(), &offered(&desk)[..]), (2, &["lookup".to_owned()][..]));
        let once_more = sessions.resume_session_with(&made.session_id, with_tools(&tool)).await;
        assert_eq!(once_more.unwrap_err().kind, ErrorCode::SessionMoved, "it has other ones");
        sessions.close(&made.session_id).await.unwrap();
        made.session_id
    };
    let desk = stored::on(folder.path(), None, script());
    let sessions = library(&desk);
    let without = sessions.start_turn(&id, turn("and now")).await.unwrap();
    assert_eq!((without.text.as_str(), tool.runs()), ("end", 2));
    assert!(offered(&desk).is_empty(), "nobody has brought it");
    let entries = sessions.entries(&id, Cursor(without.cursor.0 - 6)).await.unwrap();
    let told = serde_json::to_string(&entries).unwrap();
    assert!(told.contains("there is no tool `lookup`"), "{told}");
    sessions.close(&id).await.unwrap();
    let view = sessions.resume_session_with(&id, with_tools(&tool)).await.unwrap();
    assert!(view.info.is_awake);
    sessions.start_turn(&id, turn("with it")).await.unwrap();
    assert_eq!((tool.runs(), &offered(&desk)[..]), (3, &["lookup".to_owned()][..]));
    sessions.release_parts(&id).await.unwrap();
    sessions.close(&id).await.unwrap();
    sessions.start_turn(&id, turn("without it")).await.unwrap();
    assert!(offered(&desk).is_empty());
}

#[tokio::test(start_paused = true)]
async fn tools_that_cannot_be_had_make_no_session_and_a_key_makes_one() {
    let own = TestTool::new("lookup", Effect::Pure, Act::Echo);
    let desk = Desk::new(vec![], vec![own]);
    let sessions = library(&desk);
    let refused = sessions.create_session_with(request("go"), with_tools(&lookup())).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, ErrorCode::InvalidRequest);
    assert!(refused.message.contains("of its own"), "{}", refused.message);

    let desk = Desk::new(vec![says("end")], vec![]);
    let sessions = library(&desk);
    let tool = lookup();
    let keyed = || CreateSessionRequest { idempotency_key: Some("k".to_owned()), ..request("go") };
    let parts = with_tools(&tool);
    let first = sessions.create_session_with(keyed(), parts.clone()).await.unwrap();
    let second = sessions.create_session_with(keyed(), parts).await.unwrap();
    assert_eq!((first.session_id, first.cursor), (second.session_id, second.cursor));
    let other = sessions.create_session_with(keyed(), with_tools(&tool)).await;
    assert_eq!(other.unwrap_err().kind, ErrorCode::SessionMoved, "parts are not ignored");
}

#[tokio::test(start_paused = true)]
async fn a_model_of_its_own_is_named_by_the_settings_and_missed_by_its_name() {
    let folder = TempDir::new().unwrap();
    let own = ModelSelection { provider: "own".to_owned(), model: "parrot".to_owned() };
    let parrot = |script| {
        let model = ScriptedModel::of(ModelInfo { selection: own.clone(), ..info() }, script);
        SessionParts { model: Some(model as _), ..SessionParts::default() }
    };
    let named = |model: &str, prompt| CreateSessionRequest {
        model: Some(model.to_owned()),
        ..request(prompt)
    };
    let id = {
        let desk = stored::on(folder.path(), None, vec![says("the runtime's")]);
        let sessions = library(&desk);
        let parts = parrot(vec![says("aye"), says("aye aye")]);
        let other = sessions.create_session_with(named("test/scripted", "go"), parts.clone()).await;
        assert!(other.unwrap_err().message.contains("own/parrot"));
        let made = sessions.create_session_with(named("own/parrot", "go"), parts).await.unwrap();
        assert_eq!((made.text.as_str(), made.session_usage.total() > 0), ("aye", true));
        let id = made.session_id;
        let to = |model: &str| ConfigureRequest {
            model: Some(model.to_owned()),
            ..ConfigureRequest::default()
        };
        sessions.configure(&id, to("test/scripted")).await.unwrap();
        assert_eq!(sessions.start_turn(&id, turn("go")).await.unwrap().text, "the runtime's");
        let view = sessions.configure(&id, to("own/parrot")).await.unwrap();
        assert_eq!(view.info.settings.model, own);
        assert_eq!(view.info.context.context_window, info().context_window);
        assert_eq!(sessions.start_turn(&id, turn("go")).await.unwrap().text, "aye aye");
        sessions.close(&id).await.unwrap();
        id
    };
    let desk = stored::on(folder.path(), None, vec![]);
    let sessions = library(&desk);
    let refused = sessions.start_turn(&id, turn("go")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorCode::ProviderError);
    assert!(refused.message.contains("own/parrot"), "{}", refused.message);
    sessions.close(&id).await.unwrap();
    sessions.resume_session_with(&id, parrot(vec![says("back")])).await.unwrap();
    assert_eq!(sessions.start_turn(&id, turn("go")).await.unwrap().text, "back");
}

#[tokio::test(start_paused = true)]
async fn a_checkpointer_is_told_of_turns_and_of_nothing_once_a_session_is_archived() {
    let folder = TempDir::new().unwrap();
    let desk = stored::on(folder.path(), None, vec![]);
    let sessions = library(&desk);
    let clock = Arc::clone(&desk.kit.core.ports().clock);
    let pass = async || clock.sleep_until(clock.now().after(100)).await;
    let checkpointer = TestCheckpointer::new(vec![Keep::Fail, Keep::After(0), Keep::Never]);
    let parts =
        SessionParts { checkpointer: Some(checkpointer.clone()), ..SessionParts::default() };
    let made = sessions.create_session_with(deferred(), parts).await.unwrap();
    let id = made.session_id;
    for words in ["one", "two", "three"] {
        sessions.start_turn(&id, turn(words)).await.unwrap();
        pass().await;
    }
    let figures = sessions.checkpoints(&id).await.unwrap().unwrap();
    assert_eq!((figures.saved, figures.failed, checkpointer.begun()), (1, 1, 3));
    assert_eq!(checkpointer.kept()[0].view.info.turns, 2);
    sessions.archive(&id).await.unwrap();
    pass().await;
    sessions.restore(&id).await.unwrap();
    let last = sessions.start_turn(&id, turn("four")).await.unwrap();
    pass().await;
    assert_eq!(checkpointer.kept().len(), 2, "the one that hung went with the archive");
    assert_eq!(sessions.checkpoints(&id).await.unwrap().unwrap().last, Some(last.cursor));
    sessions.purge(&id).await.unwrap();
    assert_eq!(sessions.checkpoints(&id).await.unwrap_err().kind, ErrorCode::SessionNotFound);
}

#[tokio::test(start_paused = true)]
async fn the_service_gives_events_under_the_name_of_their_session() {
    let desk = stored::desk(vec![]);
    let sessions = library(&desk);
    let made = sessions.create_session(request("go")).await.unwrap();
    let id = made.session_id;
    let above = StreamScopeFrame::SubAgent {
        agent_id: SessionId::parse("above").unwrap(),
        tool_call_id: None,
        label: None,
    };
    for (path, name) in [(vec![], "primary"), (vec![above], "sub:above")] {
        let mut events = sessions.subscribe_scoped_events(&id, Cursor(0), path).await.unwrap();
        loop {
            let scoped = events.next().await.unwrap();
            assert_eq!(scoped.scope_id, name);
            if let AgentEvent::CaughtUp { seq } = scoped.event {
                assert_eq!(Cursor(seq), made.cursor);
                break;
            }
        }
    }
}
