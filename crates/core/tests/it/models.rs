//! Models of several providers: which there are, which may be chosen, and what a switch does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use oarlock_core::command::{Command, Rejection};
use oarlock_core::event::Event;
use oarlock_core::message::Part;
use oarlock_core::ports::model::{
    Model, ModelCandidate, ModelError, ModelErrorKind, ModelInfo, Models,
};
use oarlock_core::registry::{ModelSource, ProviderRegistry, RegistryError};
use oarlock_core::replay::replay;
use oarlock_core::session::trace::{TraceLine, TraceSink};
use oarlock_core::spec::{ModelSelection, SettingsChange};
use oarlock_core::{Origin, SessionError};
use oarlock_testkit::kit::{Kit, Parts, journal, settings, spec};
use oarlock_testkit::model::{Say, ScriptedModel, info, text};

fn named(name: &str) -> ModelSelection {
    let (provider, model) = name.split_once('/').unwrap();
    ModelSelection { provider: provider.to_owned(), model: model.to_owned() }
}

fn model(name: &str, script: Vec<Vec<Say>>) -> Arc<ScriptedModel> {
    ScriptedModel::of(ModelInfo { selection: named(name), ..info() }, script)
}

fn one(name: &str) -> ModelSource {
    ModelSource::One(model(name, Vec::new()))
}

fn switch(name: &str) -> Command {
    let model = Some(named(name));
    Command::Configure {
        change: Box::new(SettingsChange { model, ..SettingsChange::default() }),
        expected: None,
    }
}

fn patterns(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn a_registry_that_makes_no_sense_is_an_error_and_no_panic() {
    let new = |names: &[&str], default: Option<&str>, allowed| {
        let sources = names.iter().map(|name| one(name)).collect();
        ProviderRegistry::new(sources, default.map(named), allowed).map(drop)
    };
    assert_eq!(new(&[], None, None), Err(RegistryError::Empty));
    let twice = RegistryError::DuplicateSelection(named("a/m"));
    assert_eq!(new(&["a/m", "b/m", "a/m"], None, None), Err(twice));
    let unknown = |name: &str, allowed| match new(&["a/m", "b/m"], Some(name), allowed) {
        Err(RegistryError::UnknownDefaultModel { selection, .. }) => selection == named(name),
        _ => false,
    };
    assert!(unknown("a/n", None) && unknown("b/m", patterns(&["a/*"])));
    assert_eq!(new(&["a/m", "b/m"], Some("b/m"), None), Ok(()));
}

#[test]
fn one_model_id_may_be_had_from_two_providers_and_the_allow_list_names_pairs() {
    let sources = || vec![one("a/m"), one("b/m"), one("b/n")];
    let all = ProviderRegistry::new(sources(), None, None).unwrap();
    assert_eq!(all.default_selection(), Some(&named("a/m")));
    assert_eq!(all.resolve(&named("b/m")).unwrap().info().selection, named("b/m"));
    assert_eq!(all.first_of_model("m").unwrap().provider.name, "a");

    let some = ProviderRegistry::new(sources(), None, patterns(&["b/*"])).unwrap();
    let names: Vec<String> =
        some.candidates().iter().map(|found| found.model.selection.to_string()).collect();
    assert_eq!(names, ["b/m", "b/n"]);
    assert_eq!(some.default_selection(), Some(&named("b/m")));
    let refused = some.resolve(&named("a/m")).unwrap_err();
    assert_eq!(refused.kind, ModelErrorKind::ModelNotFound);
    let words = "the model a/m is not among the allowed models; choose b/m, b/n, or add it to `allowed_models`";
    assert_eq!(refused.message, words);
}

#[tokio::test(start_paused = true)]
async fn a_switch_is_refused_at_once_with_the_remedy_and_else_takes_effect_with_the_next_turn() {
    let (first, second) = (model("a/m", Vec::new()), model("b/m", Vec::new()));
    let sources =
        [&first, &second].map(|model| ModelSource::One(Arc::clone(model) as Arc<dyn Model>));
    let registry = ProviderRegistry::new(sources.to_vec(), None, patterns(&["a/*", "b/m"]));
    let models = Some(Arc::new(registry.unwrap()) as Arc<dyn Models>);
    let kit = Kit::of(Parts { models, ..Parts::new(Vec::new(), Vec::new()) });
    let mut settings = settings();
    settings.model = named("b/n");
    let refused =
        kit.core.open(Origin::New(Box::new(spec(settings.clone()).into()))).await.unwrap_err();
    assert!(refused.to_string().contains("add it to `allowed_models`"), "{refused}");
    settings.model = named("a/m");
    let session = kit.open_with(settings).await;
    let before = journal(&kit.core, &session).await.len();
    for (name, words) in [("c/m", "add it to `allowed_models`"), ("a/n", "there is no model a/n")] {
        let refused = session.tell(switch(name)).await.unwrap_err();
        let SessionError::Rejected(Rejection::Invalid { what }) = refused else { panic!() };
        assert!(what.contains(words), "{what}");
    }
    assert_eq!(journal(&kit.core, &session).await.len(), before, "a refusal leaves no trace");

    session.prompt(vec![Part::text("one")]).await.unwrap();
    session.tell(switch("b/m")).await.unwrap();
    session.close().await.unwrap();
    session.run_turn(vec![Part::text("two")]).await.unwrap();
    let used: Vec<ModelSelection> = journal(&kit.core, &session)
        .await
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::TurnStarted(started) => Some(started.settings.model.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(used, [named("a/m"), named("b/m")]);
    assert_eq!(second.requests().len(), 1);
}

/// A model that is there or not.
#[derive(Debug)]
struct Sometimes(AtomicBool, Arc<ScriptedModel>);

impl Models for Sometimes {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        if *wanted == self.1.info().selection && self.0.load(Ordering::SeqCst) {
            return Ok(Arc::clone(&self.1) as Arc<dyn Model>);
        }
        let (kind, message) = (ModelErrorKind::Auth, "no key; set KEY".to_owned());
        Err(ModelError { kind, message, retry_after_ms: None })
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        vec![self.1.info().clone().into()]
    }
}

#[derive(Debug, Default)]
struct Lines(Mutex<Vec<TraceLine>>);

impl TraceSink for Lines {
    fn write(&self, line: &TraceLine) {
        self.0.lock().unwrap().push(line.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_comes_and_goes_is_replayed_as_it_was_found_each_time() {
    let models = Arc::new(Sometimes(
        AtomicBool::new(true),
        model("test/scripted", vec![vec![Say::Reply(text("one"))]]),
    ));
    let lines = Arc::new(Lines::default());
    let kit = Kit::of(Parts {
        trace: Some(Arc::clone(&lines) as Arc<dyn TraceSink>),
        models: Some(Arc::clone(&models) as Arc<dyn Models>),
        ..Parts::new(Vec::new(), Vec::new())
    });
    let session = kit.open().await;
    for there in [true, false, true] {
        models.0.store(there, Ordering::SeqCst);
        let refused = session.tell(switch("test/scripted")).await;
        assert_eq!(refused.is_ok(), there, "{refused:?}");
        session.run_turn(vec![Part::text("go")]).await.unwrap();
    }
    session.close().await.unwrap();
    let lines = lines.0.lock().unwrap().clone();
    replay(lines).await.unwrap();
}

#[test]
fn no_effort_can_be_told_to_a_model_that_takes_none() {
    use oarlock_core::ports::model::Accepts;
    use oarlock_core::spec::{ReasoningEffort, Sampling};
    let accepts = Accepts { effort: false, ..Accepts::default() };
    let plain = ModelInfo { accepts, ..info() };
    let refusal = |effort| plain.refusal(effort, &Sampling::default());
    assert_eq!([refusal(None), refusal(Some(ReasoningEffort::None))], [None, None]);
    assert!(refusal(Some(ReasoningEffort::Low)).unwrap().contains("set it to \"none\""));
}
