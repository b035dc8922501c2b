//! Thought, under the names that servers give it: `reasoning_content`, `reasoning`, `reasoning_details`, or parts of the content.

use oarlock_core::message::Content;
use serde_json::value::RawValue;

use crate::item::{Item, raw_of};

/// Members of a reasoning detail that grow; the others are set once.
const GROWING: [&str; 3] = ["text", "summary", "data"];

/// Thought while it is received.
#[derive(Debug, Default)]
pub(super) struct Thought {
    /// What a reader is shown.
    pub(super) text: String,
    /// The member it came in, which is the one it goes back in.
    field: Option<&'static str>,
    details: Vec<Item>,
}

impl Thought {
    /// Adds text that came in a member of the message; gives what is new to a reader. A server that sends the same under two names means it once.
    pub(super) fn add<'a>(&mut self, field: &'static str, text: &'a str) -> &'a str {
        if *self.field.get_or_insert(field) != field {
            return "";
        }
        self.text.push_str(text);
        text
    }

    /// Adds details; gives what is new to a reader, which is nothing when the text also comes by itself.
    pub(super) fn add_details(&mut self, raw: &[Box<RawValue>]) -> String {
        let mut told = String::new();
        for detail in raw.iter().filter_map(|raw| Item::parse(raw.get())) {
            for key in ["text", "summary"] {
                told.push_str(&detail.text(key).unwrap_or_default());
            }
            let same = |item: &&mut Item| {
                detail.raw("index").is_some()
                    && item.raw("index") == detail.raw("index")
                    && item.kind() == detail.kind()
            };
            match self.details.iter_mut().find(same) {
                Some(item) => extend(item, detail),
                None => self.details.push(detail),
            }
        }
        match self.field {
            None => {
                self.text.push_str(&told);
                told
            }
            Some(_) => String::new(),
        }
    }

    /// The thought and the members by which it is sent back.
    pub(super) fn close(self) -> (Content, Item) {
        let mut item = Item::default();
        match (self.details.is_empty(), self.field) {
            (false, _) => item.set("reasoning_details", raw_of(self.details)),
            (true, Some("content")) => {
                let words = serde_json::json!([{"type": "text", "text": self.text}]);
                let part = serde_json::json!([{"type": "thinking", "thinking": words}]);
                item.set("content", raw_of(part));
            }
            (true, Some(field)) => item.set_text(field, &self.text),
            (true, None) => {}
        }
        (Content::Thinking { text: self.text }, item)
    }
}

fn extend(item: &mut Item, detail: Item) {
    for (key, value) in detail.into_members() {
        let more = GROWING.contains(&key.as_str()).then(|| item.text(&key)).flatten();
        match (more, serde_json::from_str::<String>(value.get())) {
            (Some(before), Ok(after)) if !after.is_empty() => {
                item.set_text(&key, &(before + &after));
            }
            (Some(_), _) => {}
            (None, _) if value.get() == "null" && item.raw(&key).is_some() => {}
            (None, _) => item.set(&key, value),
        }
    }
}
