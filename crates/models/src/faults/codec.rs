//! A codec that a test can read: the data of an event is a word and its text.

use oarlock_core::event::DeltaItem;
use oarlock_core::message::{Block, Content, ReplyStop, Usage};
use oarlock_core::ports::model::{ModelErrorKind, ModelEvent, ModelRequest, Reply};

use crate::codec::{Codec, Decoder, Fault, Target};

#[derive(Debug)]
pub(super) struct Words;

#[derive(Default)]
struct Reading {
    text: String,
    done: bool,
}

impl Codec for Words {
    fn encode(&self, _: &ModelRequest, target: &Target) -> Vec<u8> {
        format!("{{\"model\":\"{}\"}}", target.model).into_bytes()
    }

    fn decoder(&self, _: &Target) -> Box<dyn Decoder> {
        Box::new(Reading::default())
    }
}

fn fault(kind: ModelErrorKind, message: &str) -> Fault {
    Fault { kind, message: message.to_owned(), retry_after_ms: None }
}

impl Decoder for Reading {
    fn event(
        &mut self,
        _: Option<&str>,
        data: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault> {
        match data.split_once(' ').unwrap_or((data, "")) {
            ("say", text) => {
                self.text.push_str(text);
                out.push(ModelEvent::Delta {
                    item: DeltaItem::Text { block: 0 },
                    text: text.into(),
                });
            }
            ("ping", _) => out.push(ModelEvent::Alive),
            ("end", _) => self.done = true,
            ("broken", words) => return Err(fault(ModelErrorKind::Overloaded, words)),
            _ => {
                return Err(fault(
                    ModelErrorKind::Transport,
                    "an event that is not of the protocol",
                ));
            }
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        let value: serde_json::Value = serde_json::from_slice(body)
            .map_err(|_| fault(ModelErrorKind::Transport, "the answer is no JSON"))?;
        self.event(None, &format!("say {}", value["text"].as_str().unwrap_or_default()), out)?;
        self.done = true;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(self: Box<Self>) -> Result<Reply, Fault> {
        if !self.done {
            return Err(fault(ModelErrorKind::Truncated, "the stream ended early"));
        }
        let block = Block { content: Content::Text { text: self.text }, native: None };
        let stop = ReplyStop::EndTurn;
        Ok(Reply {
            model: "m".into(),
            blocks: vec![block],
            stop,
            usage: Usage::default(),
            warnings: Vec::new(),
        })
    }
}
