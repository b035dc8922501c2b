//! Skills in a program that embeds the core: the same grants, entries, limits and modes as on the command line.

use std::path::Path;
use std::sync::Arc;

use oarlock_core::event::{Effect, Event, Outcome, SkillLoaded, StopReason};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::session::recover::Recovery;
use oarlock_core::spec::{Answers, Bounds, LimitKind, Limits, Mode, SessionSpec, Settings};
use oarlock_core::{DefaultAgentCore, LoadSession, Origin, StaticToolRegistry};
use oarlock_testkit::kit::{journal, node, wait_for};
use oarlock_testkit::model::{Say, ScriptedModel, calls, selection, text};
use oarlock_testkit::tool::{Act, TestTool};
use oarlock_tools::skills::{Links, SkillTool, Skills, Source, find};

const TEXT: &str = "---\nname: row\ndescription: rows\nallowed-tools: write(a*)\n---\nRow.";

fn core(folder: &Path, store: &MemoryStore, script: Vec<Vec<Say>>) -> DefaultAgentCore {
    let found = find(folder, Source::User, Links::Anywhere);
    let skills = Skills::read(&found, &["write".to_owned(), SkillTool::NAME.to_owned()]);
    let write = TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned()));
    let tools =
        StaticToolRegistry::new([write as _, Arc::new(SkillTool::new(Arc::new(skills))) as _]);
    let core = DefaultAgentCore::builder().model(ScriptedModel::new(script)).store(store.clone());
    core.process_tools(Arc::new(tools)).build().unwrap()
}

fn load() -> Vec<Say> {
    vec![Say::Reply(calls(&[("load", "skill", r#"{"name": "row"}"#)]))]
}

fn write(ids: [&'static str; 2]) -> Vec<Say> {
    let [a, b] = ids.map(|id| (id, "write"));
    vec![Say::Reply(calls(&[(a.0, a.1, r#"{"what": "ab"}"#), (b.0, b.1, r#"{"what": "b"}"#)]))]
}

fn end() -> Vec<Say> {
    vec![Say::Reply(text("done"))]
}

fn settings(limits: Limits) -> Settings {
    let settings = Settings::new(selection(), Mode::ASK_WRITES, Answers::Nobody);
    Settings { limits, ..settings }
}

fn outcomes(entries: &[oarlock_core::event::Entry]) -> Vec<(String, Outcome)> {
    let settled = entries.iter().filter_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some((settled.call.0.to_string(), settled.outcome)),
        _ => None,
    });
    settled.collect()
}

#[tokio::test]
async fn an_embedded_session_loads_a_skill_and_keeps_what_it_granted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("row")).unwrap();
    std::fs::write(folder.path().join("row/SKILL.md"), TEXT).unwrap();
    let store = MemoryStore::new(node("a"));
    let first =
        core(folder.path(), &store, vec![write(["1", "2"]), load(), write(["3", "4"]), end()]);
    let spec = SessionSpec::new("/".into(), "test", settings(Limits::default()));
    let session = first.open(spec.into()).await.unwrap();
    let followers = [session.clone(), session.clone()].map(|session| async move {
        let is_loaded = |event: &Event| matches!(event, Event::SkillLoaded(_));
        let entry = wait_for(&session, 0, is_loaded).await;
        entry.event.clone()
    });
    let told = futures::future::join_all(followers);
    let (ended, told) = tokio::join!(session.run_turn(vec![Part::text("go")]), told);
    assert_eq!(ended.unwrap().outcome().unwrap(), StopReason::EndTurn);
    let loaded = SkillLoaded { name: "row".to_owned(), grants: vec!["write(a*)".to_owned()] };
    assert_eq!(told, [Event::SkillLoaded(loaded.clone()), Event::SkillLoaded(loaded)]);
    let (ran, refused) = (Outcome::Completed, Outcome::Denied);
    let named = |ids: &[(&str, Outcome)]| {
        ids.iter().map(|(id, outcome)| ((*id).to_owned(), *outcome)).collect::<Vec<_>>()
    };
    let mut settled = outcomes(&journal(&first, &session).await);
    settled.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        settled,
        named(&[("1", refused), ("2", refused), ("3", ran), ("4", refused), ("load", ran)])
    );

    // Another process, without the skill.
    let id = session.id().clone();
    session.close().await.unwrap();
    let second = core(Path::new("/nowhere"), &store, vec![write(["5", "6"]), end()]);
    let load = LoadSession::new(id, Recovery::Interrupt);
    let session = second.open(Origin::Resume(load)).await.unwrap();
    session.run_turn(vec![Part::text("go on")]).await.unwrap();
    let mut settled = outcomes(&journal(&second, &session).await).split_off(5);
    settled.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(settled, named(&[("5", ran), ("6", refused)]));
}

#[tokio::test]
async fn loading_a_skill_is_a_call_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("row")).unwrap();
    std::fs::write(folder.path().join("row/SKILL.md"), TEXT).unwrap();
    let store = MemoryStore::new(node("a"));
    let core = core(folder.path(), &store, vec![load(), write(["1", "2"]), end()]);
    let turn = Bounds { tool_calls: Some(1), ..Bounds::default() };
    let limits = Limits { turn, ..Limits::default() };
    let spec = SessionSpec::new("/".into(), "test", settings(limits));
    let session = core.open(spec.into()).await.unwrap();
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap().outcome().unwrap();
    assert_eq!(ended, StopReason::Limit(LimitKind::ToolCalls));
    let settled = outcomes(&journal(&core, &session).await);
    assert_eq!(settled[0], ("load".to_owned(), Outcome::Completed));
    assert!(settled[1..].iter().all(|(_, outcome)| *outcome != Outcome::Completed), "{settled:?}");
}
