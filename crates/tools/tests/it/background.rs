//! Commands in the background of a real session: started, watched, fed, ended, and nothing left of them.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::{AgentEvent, Event, TaskOutcome};
use oarlock_core::ids::TaskId;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::tool::{Place, SessionToolFactory, SessionTools, SessionToolsError};
use oarlock_core::spec::{Answers, Mode, SessionSpec, Settings};
use oarlock_core::{DefaultAgentCore, DefaultSession, StaticToolRegistry};
use oarlock_testkit::model::{Say, ScriptedModel, calls, selection, text};
use oarlock_tools::{Environment, LocalFiles, LocalShell, ToolsConfig, default_tools};
use serde_json::{Value, json};

use crate::bash::runs;

/// The built-in tools on this machine.
#[derive(Debug)]
struct Machine(ToolsConfig);

impl SessionToolFactory for Machine {
    fn build<'a>(
        &'a self,
        spec: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        async {
            let place = Place::of(spec);
            let path = vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())];
            let environment = Environment::without_secrets(path, &[]).unwrap();
            Ok(SessionTools {
                tools: Arc::new(StaticToolRegistry::new(default_tools(&self.0).unwrap())),
                files: Arc::new(LocalFiles::new(&place)),
                shell: Arc::new(LocalShell::new(&place, environment)),
            })
        }
        .boxed()
    }
}

struct Stage {
    session: DefaultSession,
    model: Arc<ScriptedModel>,
    _core: DefaultAgentCore,
    _folder: tempfile::TempDir,
}

fn in_background(command: &str) -> String {
    json!({"command": command, "run_in_background": true}).to_string()
}

/// Arguments of a call that waits until the command has made its file.
fn until_ready() -> String {
    json!({"command": "until [ -e ready ]; do sleep 0.02; done; sleep 0.2"}).to_string()
}

/// Waits until no process has `mark` among its arguments.
async fn gone(mark: &str) {
    for _ in 0..1000 {
        if !runs(mark) {
            return;
        }
        tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await.ok();
    }
    panic!("{mark} runs on");
}

/// A session whose model makes these calls, each in a step of its own, and then only listens.
async fn stage(config: ToolsConfig, script: &[(&str, String)]) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let said = script.iter().enumerate().map(|(no, (tool, arguments))| {
        vec![Say::Reply(calls(&[(&format!("c{no}"), tool, arguments)]))]
    });
    let model = ScriptedModel::new(said.chain([vec![Say::Reply(text("started"))]]));
    let core = DefaultAgentCore::builder()
        .model(Arc::clone(&model) as _)
        .session_tool_factory(Arc::new(Machine(config)))
        .build()
        .unwrap();
    let settings = Settings::new(selection(), Mode::OPEN, Answers::Nobody);
    let spec = SessionSpec::new(folder.path().canonicalize().unwrap(), "test", settings);
    let session = core.open(spec.into()).await.unwrap();
    Stage { session, model, _core: core, _folder: folder }
}

impl Stage {
    /// Runs the turn that makes the calls, and gives their results.
    async fn run(&self) -> Vec<String> {
        self.session.run_turn(vec![Part::text("go")]).await.unwrap();
        let messages = self.session.state().await.unwrap().conversation.messages;
        let results = messages.iter().filter_map(|message| match message {
            Message::Tool { results } => Some(results),
            Message::User { .. } | Message::Assistant { .. } => None,
        });
        results.flatten().map(|result| words(&result.parts)).collect()
    }

    /// How the first task ended, and what the model is told of it.
    async fn end(&self) -> (TaskOutcome, String) {
        let mut events = self.session.events(0);
        let mut outcome = None;
        let found = async {
            loop {
                let AgentEvent::Entry(entry) = self.session.next_event(&mut events).await.unwrap()
                else {
                    continue;
                };
                match (&entry.event, outcome) {
                    (Event::TaskSettled(settled), None) => outcome = Some(settled.outcome),
                    (Event::InputAdmitted(input), Some(outcome)) => {
                        return (outcome, words(&input.content));
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.unwrap()
    }
}

fn words(parts: &[Part]) -> String {
    match parts {
        [Part::Text { text }] => text.clone(),
        other => panic!("not one text: {other:?}"),
    }
}

fn first() -> TaskId {
    TaskId::numbered(1)
}

#[tokio::test]
async fn a_command_in_the_background_takes_lines_and_tells_of_its_end() {
    let command = "echo begun; touch ready; read line; echo \"got $line\"; exit 3";
    let look = json!({"task_id": "bg-1"}).to_string();
    let calls = [
        ("bash", in_background(command)),
        ("bash", until_ready()),
        ("inspect_background_task", look),
        ("inspect_background_task", "{}".to_owned()),
        ("send_background_input", json!({"task_id": "bg-1", "text": "hello"}).to_string()),
    ];
    let stage = stage(ToolsConfig::default(), &calls).await;
    let results = stage.run().await;
    assert!(results[0].starts_with("started as background task bg-1"), "{results:?}");
    assert_eq!(
        results[2],
        format!("bg-1 running: {command}\n1 blocks of progress, the last 1:\n[output]\nbegun")
    );
    assert_eq!(results[3], format!("bg-1 running: {command}"));
    assert_eq!(results[4], "sent to bg-1");
    let (outcome, told) = stage.end().await;
    assert_eq!(outcome, TaskOutcome::Completed);
    assert_eq!(
        told,
        format!("[background task bg-1 ({command}) completed]\nbegun\ngot hello\n[exit status 3]")
    );
    assert!(!stage.model.requests().is_empty());
}

#[tokio::test]
async fn cancelling_a_command_in_the_background_ends_all_that_it_started() {
    for (mark, by_tool) in [("6171.01", true), ("6171.02", false)] {
        let command = format!("setsid sleep {mark} & touch ready; sleep {mark}");
        let mut calls = vec![("bash", in_background(&command)), ("bash", until_ready())];
        if by_tool {
            calls.push(("cancel_background_task", json!({"task_id": "bg-1"}).to_string()));
        }
        let stage = stage(ToolsConfig::default(), &calls).await;
        stage.run().await;
        if !by_tool {
            assert!(runs(mark));
            assert_eq!(stage.session.cancel_task(Some(&first())).await.unwrap(), Some(true));
        }
        assert_eq!(stage.end().await.0, TaskOutcome::Canceled);
        gone(mark).await;
    }
}

#[tokio::test]
async fn closing_the_session_ends_its_commands() {
    let mark = "6171.03";
    let calls = [("bash", in_background(&format!("sleep {mark}")))];
    let stage = stage(ToolsConfig::default(), &calls).await;
    stage.run().await;
    stage.session.close().await.unwrap();
    assert_eq!(stage.end().await.0, TaskOutcome::Canceled);
    gone(mark).await;
}

#[tokio::test]
async fn a_command_in_the_background_has_an_end_too() {
    let mut config = ToolsConfig::default();
    config.bash.background_timeout_ms = 300;
    let stage = stage(config, &[("bash", in_background("echo begun; sleep 6171.04"))]).await;
    stage.run().await;
    let (outcome, told) = stage.end().await;
    assert_eq!(outcome, TaskOutcome::Completed);
    assert!(told.contains("begun\n[timed out after 300 ms"), "{told}");
    gone("6171.04").await;
}

#[tokio::test]
async fn the_watcher_of_a_command_is_not_waited_for_and_long_output_is_kept_whole() {
    let command = "sleep 0.1 & wait; seq 1 20000; cat; echo end";
    let calls = [
        ("bash", in_background(command)),
        ("send_background_input", json!({"task_id": "bg-1", "text": "\u{4}"}).to_string()),
    ];
    let stage = stage(ToolsConfig::default(), &calls).await;
    stage.run().await;
    let (outcome, told) = stage.end().await;
    assert_eq!(outcome, TaskOutcome::Completed);
    assert!(told.len() < 8 * 1024 && told.ends_with("20000\nend\n"), "{} {told}", told.len());
    assert!(told.contains("bytes left out; all is in `blob:"), "{told}");
}

#[tokio::test]
async fn what_names_no_task_is_refused_in_words() {
    let kit = crate::kit::Kit::new();
    let refused = |tool: &'static str, arguments: Value| kit.refused(tool, arguments);
    let look = refused("inspect_background_task", json!({"task_id": "bg-9"})).await;
    assert!(look.starts_with("no background task bg-9 runs"), "{look}");
    let name = refused("inspect_background_task", json!({"task_id": "../x"})).await;
    assert!(name.contains("they look like bg-1"), "{name}");
    let send = refused("send_background_input", json!({"task_id": "bg-9", "text": "x"})).await;
    assert_eq!(send, "no background task bg-9 runs");
    let start = refused("bash", json!({"command": "true", "run_in_background": true})).await;
    assert!(start.contains("nothing can be started in the background here"), "{start}");
}
