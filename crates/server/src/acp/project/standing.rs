//! How a session stands: its title, the room in its model's window, and its price.

use agent_client_protocol::v1::schema as acp;
use agent_client_protocol::v1::schema::{Cost, SessionInfoUpdate, SessionUpdate, UsageUpdate};
use oarlock_core::event::Event;
use oarlock_core::ids::Timestamp;
use oarlock_core::message::Usage;
use oarlock_core::session::state::{State, first_words};

use crate::acp::content::plain;

/// What a client shows beside the conversation.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Whether somebody gave the session a title.
    is_titled: bool,
    title: String,
    /// When anything happened last.
    at: Timestamp,
    /// Tokens of the next request as far as the last answer tells, and of the model's window.
    used: u64,
    window: Option<u64>,
    /// Tokens of all that was done.
    spent: Usage,
    cost_micros: u64,
    /// Some of it had no known price.
    is_cost_unknown: bool,
}

/// What changed for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Nothing,
    Title,
    Usage,
}

impl Standing {
    /// Of a session that did all this before.
    pub(super) fn of(state: &State, window: Option<u64>) -> Self {
        let title = state.spec.settings.title.clone();
        Self {
            is_titled: title.is_some(),
            title: title.unwrap_or_else(|| plain(&state.first_words)),
            at: state.updated,
            used: 0,
            window,
            spent: state.used.usage,
            cost_micros: state.used.cost_micros,
            is_cost_unknown: state.used.cost_unknown,
        }
    }

    /// The window of the model that works from now on, where it is known.
    pub(super) fn window(&mut self, window: Option<u64>) {
        self.window = window;
    }

    /// Takes note of an entry of the session.
    pub(super) fn entry(&mut self, at: Timestamp, event: &Event) -> Changed {
        self.at = at;
        match event {
            Event::SessionCreated(created) => match &created.spec.settings.title {
                Some(title) => self.titled(title),
                None => Changed::Nothing,
            },
            Event::SessionConfigured(change) => match &change.title {
                Some(title) => self.titled(title),
                None => Changed::Nothing,
            },
            Event::InputAdmitted(input) if self.title.is_empty() && !self.is_titled => {
                self.title = plain(&first_words(&input.content));
                if self.title.is_empty() { Changed::Nothing } else { Changed::Title }
            }
            Event::AssistantMessage(message) => {
                self.used = message.usage.total();
                self.is_cost_unknown |= message.cost_micros.is_none();
                self.spend(message.usage, message.cost_micros);
                Changed::Usage
            }
            Event::ContextCompacted(compacted) => {
                self.used = compacted.tokens_after;
                self.spend(compacted.usage, compacted.cost_micros)
            }
            Event::ContextCleared(cleared) => {
                self.used = cleared.tokens_after;
                Changed::Usage
            }
            Event::ModelFailed(failed) => self.spend(failed.usage, failed.cost_micros),
            Event::SummaryFailed(failed) => self.spend(failed.usage, failed.cost_micros),
            Event::TurnRecovered(cut) => self.spend(cut.usage, cut.cost_micros),
            Event::HookRan(ran) => {
                self.is_cost_unknown |= ran.cost_unknown;
                self.spend(ran.usage, ran.cost_micros)
            }
            // What its source used was not used by it.
            Event::SessionForked(_) => {
                (self.spent, self.cost_micros) = (Usage::default(), 0);
                self.is_cost_unknown = false;
                Changed::Usage
            }
            Event::SubagentClosed(closed) => {
                self.is_cost_unknown |= closed.cost_unknown;
                self.spend(closed.usage, closed.cost_micros)
            }
            _ => Changed::Nothing,
        }
    }

    fn titled(&mut self, title: &str) -> Changed {
        self.is_titled = true;
        self.title = title.to_owned();
        Changed::Title
    }

    fn spend(&mut self, usage: Usage, cost_micros: Option<u64>) -> Changed {
        if usage == Usage::default() && cost_micros.is_none() {
            return Changed::Nothing;
        }
        self.spent += usage;
        self.cost_micros = self.cost_micros.saturating_add(cost_micros.unwrap_or(0));
        self.is_cost_unknown |= cost_micros.is_none();
        Changed::Usage
    }

    /// The title, once there is one.
    pub(super) fn info(&self) -> Option<SessionUpdate> {
        let title = Some(&self.title).filter(|title| !title.is_empty())?;
        let info = SessionInfoUpdate::new().title(title.clone()).updated_at(self.at.to_string());
        Some(SessionUpdate::SessionInfoUpdate(info))
    }

    /// How full the window is, once a model has answered and where its window is known. A price of which a part is unknown is not told.
    pub(super) fn usage(&self) -> Option<SessionUpdate> {
        let window = self.window.filter(|_| self.used > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "no session costs 9 billion dollars")]
        let cost = (!self.is_cost_unknown).then(|| Cost::new(self.cost_micros as f64 / 1e6, "USD"));
        Some(SessionUpdate::UsageUpdate(UsageUpdate::new(self.used, window).cost(cost)))
    }

    /// The tokens of all turns together; none when none were counted. Thought is part of what was put out.
    pub(super) fn spent(&self) -> Option<acp::Usage> {
        let Usage { input, output, cache_read, cache_write, reasoning } = self.spent;
        let spent = acp::Usage::new(self.spent.total(), input, output)
            .thought_tokens((reasoning > 0).then_some(reasoning))
            .cached_read_tokens((cache_read > 0).then_some(cache_read))
            .cached_write_tokens((cache_write > 0).then_some(cache_write));
        (self.spent != Usage::default()).then_some(spent)
    }
}
