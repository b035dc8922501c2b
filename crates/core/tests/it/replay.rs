//! A recording, run again, gives the same journal.

use std::sync::{Arc, Mutex};

use oarlock_core::Command;
use oarlock_core::event::{Delivery, Effect, Event};
use oarlock_core::message::Part;
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::replay::{ReplayError, replay};
use oarlock_core::session::trace::{TraceLine, TraceSink};
use oarlock_core::spec::{Answers, Mode, Settings};
use oarlock_testkit::kit::{Kit, Parts, send, settings, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};

#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl TraceSink for Lines {
    fn write(&self, line: &TraceLine) {
        self.0.lock().unwrap().push(serde_json::to_string(line).unwrap());
    }
}

impl Lines {
    pub(crate) fn read(&self) -> Vec<TraceLine> {
        self.0.lock().unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn kit(script: Vec<Vec<Say>>) -> (Kit, Arc<Lines>) {
    let lines = Arc::new(Lines::default());
    let tools = vec![
        TestTool::new("read", Effect::Pure, Act::After(20, "read")),
        TestTool::new("write", Effect::Mutating, Act::After(50, "written")),
        TestTool::new("hang", Effect::Mutating, Act::Hang),
    ];
    (Kit::of(Parts { trace: Some(lines.clone()), ..Parts::new(script, tools) }), lines)
}

#[tokio::test(start_paused = true)]
async fn a_turn_with_retries_tools_questions_and_steering_replays_hash_for_hash() {
    let (kit, lines) = kit(vec![
        vec![Say::Delta("x"), Say::Fail(ModelErrorKind::Overloaded, None)],
        vec![Say::Reply(calls(&[
            ("1", "read", "{}"),
            ("2", "read", "{}"),
            ("3", "write", "{}"),
            ("4", "none", "{"),
        ]))],
        vec![Say::Delta("end"), Say::Reply(text("end"))],
    ]);
    let session = kit
        .open_with(Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..settings() })
        .await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    let asked = wait_for(&session, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
    send(&session, "faster", Delivery::Steer).await.unwrap();
    let Event::PermissionAsked(question) = &asked.event else { unreachable!() };
    let choice = oarlock_core::event::PermissionKind::AllowAlways;
    session.tell(Command::Answer { call: question.call.clone(), choice }).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    session.close().await.unwrap();
    let report = replay(lines.read()).await.unwrap();
    assert_eq!(&report.session, session.id());
    let state = kit.core.state(session.id()).await.unwrap();
    assert_eq!(report.last, state.tip - 1, "everything but the release");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_turn_replays_and_so_does_a_resumed_session() {
    let (kit, lines) = kit(vec![
        vec![Say::Reply(calls(&[("1", "hang", "{}")]))],
        vec![Say::Delta("par"), Say::Silence],
    ]);
    let session = kit.open().await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    session.close().await.unwrap();
    replay(lines.read()).await.unwrap();
    lines.0.lock().unwrap().clear();
    session.prompt(vec![Part::text("again")]).await.unwrap();
    session.close().await.unwrap();
    let report = replay(lines.read()).await.unwrap();
    assert!(report.frames > 0);
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_was_tampered_with_is_found_out() {
    let (kit, lines) = kit(vec![vec![Say::Reply(text("the truth"))]]);
    let session = kit.open().await;
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    session.close().await.unwrap();
    let tampered = lines
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|line| line.replace("the truth", "a lie"))
        .collect::<Vec<_>>();
    let tampered = tampered.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let error = replay(tampered).await.unwrap_err();
    assert!(matches!(error, ReplayError::Differs { .. }), "{error}");
    assert!(matches!(replay(Vec::new()).await.unwrap_err(), ReplayError::Unusable(_)));
}
