//! A JSON object whose members keep their order and their bytes.

use std::fmt;

use oarlock_core::message::RawJson;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The members of an object, in order.
#[derive(Debug, Default)]
pub(crate) struct Item(Vec<(String, Box<RawValue>)>);

impl Item {
    /// Reads an object; `None` when the text is something else.
    pub(crate) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The text of a member.
    pub(crate) fn raw(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.get())
    }

    /// A member that is a string.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.raw(key)?).ok()
    }

    /// The member `type`, empty when there is none.
    pub(crate) fn kind(&self) -> String {
        self.text("type").unwrap_or_default()
    }

    /// Replaces a member in its place, or adds it at the end.
    pub(crate) fn set(&mut self, key: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Replaces or adds a member that is a string.
    pub(crate) fn set_text(&mut self, key: &str, text: &str) {
        self.set(key, raw_of(text));
    }

    /// The object without these members.
    pub(crate) fn without(self, keys: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|(name, _)| !keys.contains(&name.as_str())).collect())
    }

    /// Sets all members of another object.
    pub(crate) fn merge(&mut self, other: Self) {
        for (key, value) in other.0 {
            self.set(&key, value);
        }
    }

    /// Whether there is no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in order.
    pub(crate) fn into_members(self) -> impl Iterator<Item = (String, Box<RawValue>)> {
        self.0.into_iter()
    }

    /// The object as JSON.
    pub(crate) fn into_json(self) -> RawJson {
        let text = serde_json::to_string(&self).expect("strings and JSON texts always serialise");
        RawJson::parse(text).expect("a serialised object is JSON")
    }
}

/// The JSON text of a value.
pub(crate) fn raw_of(value: impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(&value)
        .expect("strings, lists and JSON values always serialise")
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Item;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
                let mut item = Item::default();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    item.set(&key, value);
                }
                Ok(item)
            }
        }
        deserializer.deserialize_map(Members)
    }
}
