//! A JSON object whose members keep their order and their bytes.

use std::collections::HashMap;
use std::fmt;

use oarlock_core::message::RawJson;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// So many members are searched one by one; more of them have their places noted, since a provider may send any number.
const SEARCHED_MAX: usize = 16;

/// The members of an object, in order.
#[derive(Debug, Default)]
pub(crate) struct Item {
    members: Vec<(String, Box<RawValue>)>,
    /// Where each of them stands; empty up to [`SEARCHED_MAX`].
    places: HashMap<String, usize>,
}

impl Item {
    /// Reads an object; `None` when the text is something else.
    pub(crate) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The text of a member.
    pub(crate) fn raw(&self, key: &str) -> Option<&str> {
        self.place(key).map(|at| self.members[at].1.get())
    }

    fn place(&self, key: &str) -> Option<usize> {
        match self.places.is_empty() {
            true => self.members.iter().position(|(name, _)| name == key),
            false => self.places.get(key).copied(),
        }
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
        match self.place(key) {
            Some(at) => self.members[at].1 = value,
            None => self.members.push((key.to_owned(), value)),
        }
        let noted = self.places.len();
        if self.members.len() > SEARCHED_MAX && noted < self.members.len() {
            let new = self.members.iter().enumerate().skip(noted);
            self.places.extend(new.map(|(at, (name, _))| (name.clone(), at)));
        }
    }

    /// Replaces or adds a member that is a string.
    pub(crate) fn set_text(&mut self, key: &str, text: &str) {
        self.set(key, raw_of(text));
    }

    /// The object without these members.
    pub(crate) fn without(self, keys: &[&str]) -> Self {
        let mut kept = Self::default();
        for (name, value) in self.members {
            if !keys.contains(&name.as_str()) {
                kept.set(&name, value);
            }
        }
        kept
    }

    /// Sets all members of another object.
    pub(crate) fn merge(&mut self, other: Self) {
        for (key, value) in other.members {
            self.set(&key, value);
        }
    }

    /// Whether there is no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members in order.
    pub(crate) fn into_members(self) -> impl Iterator<Item = (String, Box<RawValue>)> {
        self.members.into_iter()
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
        let mut map = serializer.serialize_map(Some(self.members.len()))?;
        for (key, value) in &self.members {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_any_size_keeps_its_order_and_the_last_of_each_name() {
        for members in [1, SEARCHED_MAX, SEARCHED_MAX + 1, 200_000] {
            let list: Vec<String> = (0..members).map(|at| format!("\"m{at}\":{at}")).collect();
            let mut item = Item::parse(&format!("{{{},\"m0\": \"z\"}}", list.join(","))).unwrap();
            let last = format!("m{}", members - 1);
            item.set_text("new", "n");
            item.set_text(&last, "l");
            item.merge(Item::parse(r#"{"m0":[0],"more":1}"#).unwrap());
            assert_eq!((item.raw("m0"), item.raw("more")), (Some("[0]"), Some("1")));
            let names: Vec<String> =
                item.without(&["new"]).into_members().map(|(name, _)| name).collect();
            assert_eq!((names.len(), &*names[0], &*names[members]), (members + 1, "m0", "more"));
            assert_eq!(names[members - 1], last);
        }
    }
}
