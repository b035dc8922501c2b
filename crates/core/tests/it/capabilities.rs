//! What a session leaves to its provider is done by it or refused: when the session is made, at a change, and at the next turn.

use std::sync::Arc;

use oarlock_core::agent::error::{AgentError, SessionInitError};
use oarlock_core::command::Command;
use oarlock_core::event::{Event, FailureClass, PrefixBreak, StopReason};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::model::{HostedCapabilities, ModelErrorKind, ModelInfo, Models};
use oarlock_core::spec::{
    SessionCapabilitiesConfig, Settings, SettingsChange, WebSearchCapabilityConfig,
    WebSearchCapabilityMode,
};
use oarlock_core::{LoadSession, Origin, Recovery};
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, spec};
use oarlock_testkit::model::{OneModel, ScriptedModel, info};

fn searching(mode: WebSearchCapabilityMode) -> SessionCapabilitiesConfig {
    SessionCapabilitiesConfig { web_search: WebSearchCapabilityConfig { mode } }
}

fn kit(web_search: bool) -> (Kit, Arc<ScriptedModel>) {
    kit_on("a", MemoryStore::new(node("a")), web_search)
}

fn kit_on(name: &'static str, store: MemoryStore, web_search: bool) -> (Kit, Arc<ScriptedModel>) {
    let hosted = ModelInfo { hosted: HostedCapabilities { web_search }, ..info() };
    let model = ScriptedModel::of(hosted, []);
    let models: Arc<dyn Models> = Arc::new(OneModel(Arc::clone(&model)));
    (Kit::of(Parts { models: Some(models), name, ..Parts::on(store, vec![], vec![]) }), model)
}

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_provider_does_not_do_what_is_delegated_is_refused_with_the_remedy() {
    let (kit, _) = kit(false);
    let capabilities = searching(WebSearchCapabilityMode::Delegate);
    let refused = kit.core.open(spec(Settings { capabilities, ..settings() }).into()).await;
    let Err(AgentError::Init(error @ SessionInitError::CapabilityUnsatisfied { .. })) = refused
    else {
        panic!("{refused:?}")
    };
    assert!(error.to_string().contains("capabilities.web_search.mode"), "{error}");
    // And so is the same change of a session that exists; nothing of it is kept.
    let session = kit.open().await;
    let change = SettingsChange { capabilities: Some(capabilities), ..SettingsChange::default() };
    let refused =
        session.tell(Command::Configure { change: Box::new(change), expected: None }).await;
    assert!(refused.unwrap_err().to_string().contains("web search"));
    let kept = kit.core.state(session.id()).await.unwrap().spec.settings.capabilities;
    assert_eq!(kept, SessionCapabilitiesConfig::default());
}

#[tokio::test(start_paused = true)]
async fn a_delegated_search_reaches_the_model_from_the_next_turn_and_declares_its_break() {
    let (kit, model) = kit(true);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    for mode in [WebSearchCapabilityMode::Delegate, WebSearchCapabilityMode::Disabled] {
        let capabilities = Some(searching(mode));
        let change = SettingsChange { capabilities, ..SettingsChange::default() };
        session
            .tell(Command::Configure { change: Box::new(change), expected: None })
            .await
            .unwrap();
        session.run_turn(go()).await.unwrap();
    }
    let asked = model.requests();
    let searched: Vec<bool> = asked.iter().map(|r| r.capabilities.web_search).collect();
    assert_eq!(searched, [false, true, false]);
    let breaks = journal(&kit.core, &session).await.into_iter().filter_map(|e| match e.event {
        Event::StepStarted(started) => Some(started.prefix_break),
        _ => None,
    });
    let tools = Some(PrefixBreak::Tools);
    assert_eq!(breaks.collect::<Vec<_>>(), [None, tools, tools]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_not_begun_without_a_search_that_was_delegated() {
    let store = MemoryStore::new(node("a"));
    let (before, _) = kit_on("a", store.clone(), true);
    let capabilities = searching(WebSearchCapabilityMode::Delegate);
    let session = before.open_with(Settings { capabilities, ..settings() }).await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    // The same session where the model does not search any more.
    let (after, model) = kit_on("b", store, false);
    let load = LoadSession::new(session.id().clone(), Recovery::Continue);
    let session = after.core.open(Origin::Resume(load)).await.unwrap();
    let ended = session.run_turn(go()).await.unwrap();
    assert_eq!(ended.stop, StopReason::Failed(FailureClass::Model(ModelErrorKind::InvalidRequest)));
    assert!(ended.error.unwrap().message.contains("capabilities.web_search.mode"));
    assert_eq!(model.requests().len(), 0);
}
