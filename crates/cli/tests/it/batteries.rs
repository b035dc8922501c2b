//! A program takes the batteries of the command line, with parts taken out and put in.

use std::path::Path;
use std::sync::Arc;

use oarlock::config::{Environment, Inputs, Loaded, load};
use oarlock::core::event::{Effect, StopReason};
use oarlock::core::message::Part;
use oarlock::core::ports::tool::Tool;
use oarlock::core::spec::{Answers, Mode, ModelSelection, SessionSpec, Settings};
use oarlock::core::{LoadSession, Origin, Recovery};
use oarlock::{CliAgentBuilder, DefaultFeatureSet, Feature};
use oarlock_testkit::tool::{Act, TestTool};

#[tokio::test]
async fn the_example_runs_a_session_with_its_own_tool_and_reads_its_scoped_events() {
    // Alone it is given the environment of its process, which a test has no part in.
    let _: fn() -> Result<(), Box<dyn std::error::Error>> = crate::example::main;
    let home = tempfile::tempdir().unwrap();
    let environment = Environment::of(&[("HOME", home.path().to_str().unwrap())]);
    let told = crate::example::run(environment, home.path()).await.unwrap();
    let place = |line: &str| {
        let found = told.iter().position(|told| told == line);
        found.unwrap_or_else(|| panic!("{line}: {told:#?}"))
    };
    assert!(told[0].contains("Moby-Dick"), "{}", told[0]);
    assert_eq!(place("a copy after 1 turn(s)"), 1);
    let kinds = ["session_created", "tool_called", "tool_settled", "turn_ended"];
    assert!(kinds.map(|kind| place(&format!("primary \"{kind}\""))).is_sorted());
}

fn loaded(home: &Path) -> Loaded {
    let environment = Environment::of(&[("HOME", home.to_str().unwrap())]);
    let cwd = home.canonicalize().unwrap();
    load(Inputs { environment, cwd, overrides: vec![], flags: vec![] }).unwrap()
}

fn spec(home: &Path) -> SessionSpec {
    let model = ModelSelection { provider: "demo".to_owned(), model: "demo".to_owned() };
    let settings = Settings::new(model, Mode::OPEN, Answers::Nobody);
    SessionSpec::new(home.canonicalize().unwrap(), "test", settings)
}

#[tokio::test]
async fn a_program_keeps_sessions_only_with_the_part_that_does() {
    let home = tempfile::tempdir().unwrap();
    let loaded = loaded(home.path());
    for (features, stays) in [
        (DefaultFeatureSet::default(), true),
        (DefaultFeatureSet::default().without(Feature::Storage), false),
        (DefaultFeatureSet::empty().with(Feature::Storage), true),
    ] {
        let first = CliAgentBuilder::new(&loaded).features(features.clone()).build().unwrap();
        let session = first.core.open(spec(home.path()).into()).await.unwrap();
        let ended = session.run_turn(vec![Part::text("hello")]).await.unwrap();
        assert_eq!(ended.stop, StopReason::EndTurn);
        let id = session.id().clone();
        session.close().await.unwrap();
        drop(session);
        first.close().await;
        let second = CliAgentBuilder::new(&loaded).features(features).build().unwrap();
        let load = LoadSession::new(id, Recovery::Interrupt);
        assert_eq!(second.core.open(Origin::Resume(load)).await.is_ok(), stays);
        second.close().await;
    }
}

#[tokio::test]
async fn a_programs_own_tools_stand_beside_the_built_in_ones_or_alone() {
    let home = tempfile::tempdir().unwrap();
    let loaded = loaded(home.path());
    for (alone, expected) in [(true, vec!["mine"]), (false, vec!["bash", "read_file", "mine"])] {
        let mine = TestTool::new("mine", Effect::Pure, Act::Give("mine".to_owned()));
        let builder =
            CliAgentBuilder::new(&loaded).without(Feature::Storage).tools([mine as Arc<dyn Tool>]);
        let builder = if alone { builder.without(Feature::ProcessTools) } else { builder };
        let assembled = builder.build().unwrap();
        let built = assembled.core.ports().tools.build(&spec(home.path())).await.unwrap();
        let names: Vec<&str> = built.tools.schemas().iter().map(|s| s.name.as_str()).collect();
        assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
        assert_eq!(names.len() == 1, alone, "{names:?}");
        assembled.close().await;
    }
}
