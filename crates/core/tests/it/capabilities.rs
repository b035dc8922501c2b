//! What a session leaves to its provider is done by it or refused: when the session is made, at a change, and at the next turn.

use std::sync::Arc;

use oarlock_core::agent::error::{AgentError, SessionInitError};
use oarlock_core::command::Command;
use oarlock_core::event::{Event, PrefixBreak};
use oarlock_core::message::Part;
use oarlock_core::ports::model::{HostedCapabilities, ModelInfo, Models};
use oarlock_core::spec::{
    SessionCapabilitiesConfig, Settings, SettingsChange, WebSearchCapabilityConfig,
    WebSearchCapabilityMode,
};
use oarlock_testkit::kit::{Kit, Parts, journal, settings, spec};
use oarlock_testkit::model::{OneModel, ScriptedModel, info};

fn searching(mode: WebSearchCapabilityMode) -> SessionCapabilitiesConfig {
    SessionCapabilitiesConfig { web_search: WebSearchCapabilityConfig { mode } }
}

fn kit(web_search: bool) -> (Kit, Arc<ScriptedModel>) {
    let hosted = ModelInfo { hosted: HostedCapabilities { web_search }, ..info() };
    let model = ScriptedModel::of(hosted, []);
    let models: Arc<dyn Models> = Arc::new(OneModel(Arc::clone(&model)));
    (Kit::of(Parts { models: Some(models), ..Parts::new(vec![], vec![]) }), model)
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
    let refused = session.tell(Command::Configure { change: Box::new(change) }).await;
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
        session.tell(Command::Configure { change: Box::new(change) }).await.unwrap();
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
