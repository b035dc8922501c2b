//! Hooks: at each point, what one says reaches the model, whoever follows, and the journal; and what happens when one fails.

mod calls;
mod children;
mod failures;
mod money;
mod turns;

use std::sync::Arc;

use oarlock_core::event::{AgentEvent, Entry, Event, HookChange, HookPoint, HookRan, TurnEnded};
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::replay::replay;
use oarlock_core::spec::Settings;
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, settings};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::TestTool;

use crate::replay::Lines;

/// What a turn with hooks left behind, everywhere.
struct Walk {
    kit: Kit,
    hooks: Arc<TestHooks>,
    ended: TurnEnded,
    entries: Vec<Entry>,
}

/// A turn that is told `go`, with everything that it leaves behind. Whoever follows has the journal's entries, and the recording gives the same.
async fn walk(
    settings: Settings,
    script: Vec<Vec<Say>>,
    tools: Vec<Arc<TestTool>>,
    hooks: Arc<TestHooks>,
) -> Walk {
    let recorder = Arc::new(Lines::default());
    let kit = Kit::of(Parts {
        hooks: Some(hooks.clone()),
        trace: Some(recorder.clone()),
        ..Parts::new(script, tools)
    });
    let session = kit.open_with(settings).await;
    let mut followed = session.events(0);
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    let mut seen = Vec::new();
    loop {
        match session.next_event(&mut followed).await.unwrap() {
            AgentEvent::Entry(entry) => {
                let last = matches!(entry.event, Event::TurnEnded(_));
                seen.push((*entry).clone());
                if last {
                    break;
                }
            }
            AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. } => {}
        }
    }
    session.close().await.unwrap();
    let mut entries = journal(&kit.core, &session).await;
    entries.retain(|entry| !matches!(entry.event, Event::WriterReleased));
    assert_eq!(seen, entries, "a follower sees what is in the journal");
    replay(recorder.read()).await.expect("the recording gives the same journal");
    Walk { kit, hooks, ended, entries }
}

impl Walk {
    /// What was journaled of hooks.
    fn ran(&self) -> Vec<&HookRan> {
        let ran = self.entries.iter().filter_map(|entry| match &entry.event {
            Event::HookRan(ran) => Some(&**ran),
            _ => None,
        });
        ran.collect()
    }

    /// What the model was asked, in order.
    fn requests(&self) -> Vec<ModelRequest> {
        self.kit.model.requests()
    }

    /// The texts of the user's side in the last request.
    fn told(&self) -> Vec<String> {
        user_texts(self.requests().last().expect("the model was asked"))
    }

    /// The results in the last request: (text, is an error).
    fn results(&self) -> Vec<(String, bool)> {
        let request = self.requests().pop().expect("the model was asked");
        let results = request.messages.iter().flat_map(|message| match message {
            Message::Tool { results } => results.clone(),
            Message::User { .. } | Message::Assistant { .. } => Vec::new(),
        });
        results.map(|result| (joined(&result.parts), result.is_error)).collect()
    }

    /// How the calls ended: (outcome, text), from the journal.
    fn settled(&self) -> Vec<(oarlock_core::event::Outcome, String)> {
        let settled = self.entries.iter().filter_map(|entry| match &entry.event {
            Event::ToolSettled(settled) => Some((settled.outcome, joined(&settled.content))),
            _ => None,
        });
        settled.collect()
    }
}

fn user_texts(request: &ModelRequest) -> Vec<String> {
    let texts = request.messages.iter().filter_map(|message| match message {
        Message::User { parts } => Some(joined(parts)),
        Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    texts.collect()
}

fn joined(parts: &[Part]) -> String {
    let texts = parts.iter().map(|part| part.as_text().unwrap_or("[picture]"));
    texts.collect::<Vec<_>>().join("|")
}

/// A turn in mode `open`, in which the model asks for one call of `tool` and is then done.
async fn one_call(tool: Arc<TestTool>, hooks: Arc<TestHooks>) -> Walk {
    let ask = calls(&[("c", "t", r#"{"what":"old"}"#)]);
    let script = vec![vec![Say::Reply(ask)], vec![Say::Reply(text("end"))]];
    walk(settings(), script, vec![tool], hooks).await
}

fn doing(point: HookPoint, change: HookChange) -> Arc<TestHooks> {
    TestHooks::new([(point, vec![Do::Change(Box::new(change))])])
}
