//! Questions that wait for a person, oldest first, and the commands that answer them.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;

use oarlock_core::command::Command;
use oarlock_core::event::{Event, Outcome, PermissionAsked, PermissionKind};
use oarlock_core::ids::CallId;
use oarlock_core::message::Part;

use crate::terminal::{permission, safe};

/// Open questions. What nobody is there to answer is left to its deadline.
#[derive(Debug, Default)]
pub struct Questions {
    open: VecDeque<Question>,
    /// Argument texts of calls that may turn into questions.
    calls: BTreeMap<CallId, String>,
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

    /// Takes note of an event: a new question is shown when it is the oldest, an answered one is dropped.
    pub(super) fn take(&mut self, event: &Event, person: bool) {
        let was_empty = self.open.is_empty();
        match event {
            Event::ToolCalled(called) => {
                self.calls.insert(called.call.clone(), called.arguments.clone());
            }
            Event::PermissionAsked(asked) if person => {
                self.open.push_back(Question::Permission(asked.clone()));
            }
            Event::InputRequested(asked) if person => {
                self.open.push_back(Question::Words(asked.call.clone()));
            }
            Event::PermissionAnswered(answered) => {
                self.open.retain(|question| *question.call() != answered.call);
            }
            Event::ToolSettled(settled) => {
                self.calls.remove(&settled.call);
                self.open.retain(|question| *question.call() != settled.call);
            }
            _ => return,
        }
        if was_empty || !matches!(event, Event::PermissionAsked(_) | Event::InputRequested(_)) {
            self.show();
        }
    }

    /// The command that a line means for the oldest question; nothing, and the question again, when it means none. The end of input refuses.
    pub(super) fn answer(&mut self, line: Option<String>) -> Option<Command> {
        let command = match (self.open.front()?, line) {
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
        command
    }

    fn show(&self) {
        let words = match self.open.front() {
            None => return,
            Some(Question::Permission(asked)) => format!("{}> ", permission::question(asked)),
            Some(Question::Words(call)) => format!("\n{}\n> ", self.words(call)),
        };
        let mut screen = anstream::stderr();
        // A person who cannot be shown a question does not answer it; its deadline does.
        drop(screen.write_all(words.as_bytes()).and_then(|()| screen.flush()));
    }

    /// The question of an `ask_user` call with its options.
    fn words(&self, call: &CallId) -> String {
        let arguments = self
            .calls
            .get(call)
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
