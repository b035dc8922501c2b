//! Questions that wait for a person, oldest first, and the commands that answer them.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;

use oarlock_core::command::Command;
use oarlock_core::event::{Event, Outcome, PermissionAsked, PermissionKind};
use oarlock_core::ids::{CallId, SessionId};
use oarlock_core::message::Part;

use crate::terminal::{permission, safe};

/// Open questions. What nobody is there to answer is left to its deadline.
#[derive(Debug, Default)]
pub struct Questions {
    open: VecDeque<(SessionId, Question)>,
    /// Argument texts of calls that may turn into questions.
    calls: BTreeMap<(SessionId, CallId), String>,
}

#[derive(Debug)]
enum Question {
    Permission(PermissionAsked),
    Words(CallId),
}

impl Question {
    fn call(&self) -> &CallId {
        match self {
            Self::Permission(asked) => &asked.call,
            Self::Words(call) => call,
        }
    }
}

impl Questions {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes note of an event of a session: a new question is shown when it is the oldest, an answered one is dropped.
    pub(super) fn take(&mut self, (session, event): (&SessionId, &Event), person: bool) {
        let other = |(asking, question): &(SessionId, Question), call: &CallId| {
            asking != session || question.call() != call
        };
        let ask = |question| (session.clone(), question);
        let was_empty = self.open.is_empty();
        match event {
            Event::ToolCalled(called) => {
                let call = (session.clone(), called.call.clone());
                self.calls.insert(call, called.arguments.clone());
            }
            Event::PermissionAsked(asked) if person => {
                self.open.push_back(ask(Question::Permission(asked.clone())));
            }
            Event::InputRequested(asked) if person => {
                self.open.push_back(ask(Question::Words(asked.call.clone())));
            }
            Event::PermissionAnswered(answered) => {
                self.open.retain(|question| other(question, &answered.call));
            }
            Event::ToolSettled(settled) => {
                self.calls.remove(&(session.clone(), settled.call.clone()));
                self.open.retain(|question| other(question, &settled.call));
            }
            _ => return,
        }
        if was_empty || !matches!(event, Event::PermissionAsked(_) | Event::InputRequested(_)) {
            self.show();
        }
    }

    /// The command that a line means for the session that asks the oldest question; nothing, and the question again, when it means none. The end of input refuses.
    pub(super) fn answer(&mut self, line: Option<String>) -> Option<(SessionId, Command)> {
        let (session, question) = self.open.front()?;
        let session = session.clone();
        let command = match (question, line) {
            (Question::Permission(asked), line) => {
                let choice = line.map_or(Some(PermissionKind::RejectOnce), |line| {
                    permission::choice(&line, &asked.options)
                });
                choice.map(|choice| Command::Answer { call: asked.call.clone(), choice })
            }
            (Question::Words(call), Some(line)) => Some(Command::Supply {
                call: call.clone(),
                outcome: Outcome::Completed,
                content: vec![Part::text(line)],
            }),
            (Question::Words(call), None) => {
                let content = vec![Part::text("the user gave no answer")];
                Some(Command::Supply { call: call.clone(), outcome: Outcome::Cancelled, content })
            }
        };
        if command.is_some() {
            self.open.pop_front();
        }
        self.show();
        command.map(|command| (session, command))
    }

    fn show(&self) {
        let words = match self.open.front() {
            None => return,
            Some((_, Question::Permission(asked))) => format!("{}> ", permission::question(asked)),
            Some((session, Question::Words(call))) => {
                format!("\n{}\n> ", self.words(session, call))
            }
        };
        let mut screen = anstream::stderr();
        // A person who cannot be shown a question does not answer it; its deadline does.
        drop(screen.write_all(words.as_bytes()).and_then(|()| screen.flush()));
    }

    /// The question of an `ask_user` call with its options.
    fn words(&self, session: &SessionId, call: &CallId) -> String {
        let arguments = self
            .calls
            .get(&(session.clone(), call.clone()))
            .and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let Some(arguments) = arguments else { return "the agent asks for an answer".to_owned() };
        let mut words =
            safe::text(arguments["question"].as_str().unwrap_or("the agent asks for an answer"));
        for option in arguments["options"].as_array().into_iter().flatten() {
            let text = option.as_str().map_or_else(|| option.to_string(), str::to_owned);
            words.push_str(&format!("\n  - {}", safe::line(&text, 120)));
        }
        words
    }
}
