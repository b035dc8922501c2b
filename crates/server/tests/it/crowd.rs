//! Clients that come, ask, answer, cancel and leave at random: whatever they do, each is told one consistent story.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oarlock_core::event::Effect;
use oarlock_core::message::Message;
use oarlock_core::ports::model::{ModelRequest, Models};
use oarlock_core::spec::Mode;
use oarlock_testkit::kit::Parts;
use oarlock_testkit::model::{AnsweringModel, Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, kind};

/// Numbers that look drawn, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A model that speaks in pieces, and asks for a call that has to be allowed with every second prompt.
fn answer(request: &ModelRequest) -> Vec<Say> {
    let said = request.messages.len();
    if said % 4 < 2 && matches!(request.messages.last(), Some(Message::User { .. })) {
        let mut call =
            calls(&[(Box::leak(format!("c{said}").into_boxed_str()), "write", r#"{"what":"x"}"#)]);
        call.blocks.splice(0..0, text("I write. ").blocks);
        return vec![Say::Delta("I "), Say::Wait(40), Say::Delta("write. "), Say::Reply(call)];
    }
    vec![
        Say::Delta("one "),
        Say::Wait(70),
        Say::Delta("two "),
        Say::Wait(70),
        Say::Reply(text("one two three")),
    ]
}

fn desk() -> Desk {
    let write = TestTool::new("write", Effect::Mutating, Act::After(30, "written"));
    let models = Arc::new(AnsweringModel::new(answer)) as Arc<dyn Models>;
    Desk::of(Parts { models: Some(models), ..Parts::new(vec![], vec![write]) }, Mode::ASK_WRITES)
}

/// A client, what it waits for, and what it was told since it opened the session last.
struct Guest {
    client: Client,
    prompts: BTreeSet<i64>,
    questions: BTreeMap<String, Value>,
    told: Vec<Value>,
}

impl Guest {
    async fn come(desk: &Desk, session: &str, loads: bool) -> Self {
        let mut client = desk.client().await;
        let method = if loads { "session/load" } else { "session/resume" };
        let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
        let (answer, told) = client.call(method, open).await;
        assert!(answer["result"].is_object(), "{answer}");
        assert!(loads || told.is_empty(), "{told:?}");
        Self { client, prompts: BTreeSet::new(), questions: BTreeMap::new(), told }
    }

    /// Hears what is said in so many milliseconds; whether anything was.
    async fn hear(&mut self, ms: u64) -> bool {
        let said = self.client.within(ms).await;
        let is_something = !said.is_empty();
        for message in said {
            if message["method"] == "session/request_permission" {
                let id = message["id"].as_str().expect("questions are named").to_owned();
                assert!(self.questions.insert(id, message).is_none());
            } else if message["method"] == "$/cancel_request" {
                let id = message["params"]["requestId"].as_str().expect("it is a question");
                assert!(
                    self.questions.remove(id).is_some(),
                    "{message} withdraws what was not open"
                );
            } else if message.get("method").is_none() {
                let id = message["id"].as_i64().expect("it is a prompt");
                assert!(self.prompts.remove(&id), "answered twice: {message}");
                assert!(message["result"]["stopReason"].is_string(), "{message}");
            } else {
                self.told.push(message);
            }
        }
        is_something
    }

    /// Does something, knowing what was said before.
    async fn act(&mut self, session: &str, what: u64) {
        self.hear(1).await;
        match what {
            0..=2 => {
                let id = self.client.prompt(session, "go on").await;
                self.prompts.insert(id);
            }
            3 => self.client.cancel(session).await,
            4 => {
                if let Some(id) = self.prompts.first() {
                    self.client.notify("$/cancel_request", json!({ "requestId": id })).await;
                }
            }
            _ => {
                let Some((_, question)) = self.questions.pop_first() else { return };
                let option = if what == 5 { "reject_once" } else { "allow_once" };
                let outcome = json!({ "outcome": "selected", "optionId": option });
                self.client.reply(&question, json!({ "outcome": outcome })).await;
            }
        }
    }

    /// The text of every message, by its name.
    fn texts(&self) -> BTreeMap<String, String> {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for update in self.told.iter().map(|m| &m["params"]["update"]) {
            if update["sessionUpdate"] == "agent_message_chunk" {
                let id = update["messageId"].as_str().expect("messages are named").to_owned();
                let words = update["content"]["text"].as_str().expect("it is text");
                texts.entry(id).or_default().push_str(words);
            }
        }
        texts
    }

    /// Every call is announced once, before its updates, and ends once.
    fn check_calls(&self) {
        let mut ended: BTreeMap<&str, bool> = BTreeMap::new();
        for message in &self.told {
            let update = &message["params"]["update"];
            let call = update["toolCallId"].as_str().unwrap_or_default();
            match kind(message) {
                "tool_call" => assert!(ended.insert(call, false).is_none(), "{call} came twice"),
                "tool_call_update" => {
                    let ended =
                        ended.get_mut(call).unwrap_or_else(|| panic!("{call} was not announced"));
                    assert!(!*ended, "{call} goes on after its end");
                    *ended = matches!(update["status"].as_str(), Some("completed" | "failed"));
                }
                _ => {}
            }
        }
        let open: Vec<_> = ended.iter().filter(|(_, ended)| !**ended).collect();
        assert!(open.is_empty(), "{open:?} never ended");
    }
}

async fn crowd(seed: u64) {
    let (desk, mut chance) = (desk(), Chance(seed));
    let mut maker = desk.client().await;
    let session = maker.session().await;
    let mut guests = vec![Guest::come(&desk, &session, false).await];
    for _ in 0..60 {
        let who = usize::try_from(chance.below(guests.len() as u64)).expect("it is small");
        match chance.below(12) {
            0 if guests.len() < 4 => {
                let loads = chance.below(2) == 0;
                guests.push(Guest::come(&desk, &session, loads).await);
            }
            1 if guests.len() > 1 => {
                guests.swap_remove(who).client.leave().await.expect("it ends in good order");
            }
            what => guests[who].act(&session, what.saturating_sub(2)).await,
        }
        let ms = 1 + chance.below(60);
        for guest in &mut guests {
            guest.hear(ms).await;
        }
    }
    // What those who have left asked for is worked on, too.
    let mut rounds = 0;
    loop {
        let mut is_busy = false;
        for guest in &mut guests {
            guest.act(&session, 6).await;
            is_busy |= guest.hear(500).await || !guest.prompts.is_empty();
        }
        rounds += 1;
        assert!(rounds < 300, "seed {seed}: something is never answered");
        if !is_busy {
            break;
        }
    }
    let fresh = Guest::come(&desk, &session, true).await;
    let texts = fresh.texts();
    fresh.check_calls();
    for guest in &guests {
        guest.check_calls();
        for (message, words) in guest.texts() {
            assert_eq!(
                Some(&words),
                texts.get(&message),
                "seed {seed}: {message} was told otherwise"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_and_goes_is_told_one_story() {
    for seed in 0..8 {
        crowd(seed).await;
    }
}
