//! What a session is to the others of its tenant that may write to it: a name, what they are told of it, and what it does with what they write.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest name or intent, in bytes.
pub const COMMS_NAME_MAX: usize = 64;
/// Peers up to which a session is told of each that comes or goes, when it does not say otherwise.
pub const INLINE_PEERS: i32 = 50;
/// Bytes of what others are told of a session, as JSON.
pub const PEER_META_BYTES: usize = 4 * 1024;
/// Silent intents that a session may have.
pub const SILENT_INTENTS_MAX: usize = 64;

/// What other sessions are told of a session that they can write to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PeerMeta {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Sorted labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What a session is to the others of its tenant. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comms {
    /// Its name: of the sessions of a tenant that are not archived one has it.
    pub name: String,
    /// What others are told of it.
    #[serde(default)]
    pub meta: PeerMeta,
    /// Requests with one of these intents are shown to the model with its next turn, and begin none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent_intents: Vec<String>,
    /// It is told of peers that come and go while there are at most so many: 0 never, -1 always, [`INLINE_PEERS`] when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_peers_max: Option<i32>,
}

impl Comms {
    /// A name and nothing else.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        let meta = PeerMeta::default();
        Self { name: name.into(), meta, silent_intents: Vec::new(), inline_peers_max: None }
    }

    /// Whether this can be had.
    ///
    /// # Errors
    /// Words that name the field and say what to do.
    pub fn check(&self) -> Result<(), String> {
        if !is_comms_name(&self.name) {
            return Err(format!(
                "`comms_name` has 1 to {COMMS_NAME_MAX} letters, digits, `_`, `-` and `.`; choose such a name"
            ));
        }
        if self.inline_peers_max.is_some_and(|max| max < -1) {
            return Err(
                "`max_inline_peer_notifications` is -1 for always, 0 for never, or a number of peers"
                    .to_owned(),
            );
        }
        if serde_json::to_vec(&self.meta).expect("it has string keys").len() > PEER_META_BYTES {
            return Err(format!(
                "`peer_meta` has more than {PEER_META_BYTES} bytes of JSON; say less"
            ));
        }
        let intents = &self.silent_intents;
        if intents.len() > SILENT_INTENTS_MAX || !intents.iter().all(|name| is_comms_name(name)) {
            return Err(format!(
                "`silent_comms_intents` has at most {SILENT_INTENTS_MAX} intents, each of 1 to {COMMS_NAME_MAX} letters, digits, `_`, `-` and `.`"
            ));
        }
        Ok(())
    }

    /// Whether it is told of a peer that comes or goes when there are so many besides itself.
    #[must_use]
    pub fn is_told_of(&self, peers: usize) -> bool {
        match self.inline_peers_max.unwrap_or(INLINE_PEERS) {
            -1 => true,
            max => usize::try_from(max).is_ok_and(|max| max > 0 && peers <= max),
        }
    }
}

/// Whether a text can be a name or an intent: a short word that says nothing but itself wherever it is shown.
#[must_use]
pub fn is_comms_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=COMMS_NAME_MAX).contains(&text.len()) && text.bytes().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_told_of_peers_by_the_published_rule() {
        for (max, peers, told) in [
            (None, 1, true),
            (None, 50, true),
            (None, 51, false),
            (Some(0), 0, false),
            (Some(0), 1, false),
            (Some(-1), 100_000, true),
            (Some(2), 2, true),
            (Some(2), 3, false),
        ] {
            let comms = Comms { inline_peers_max: max, ..Comms::named("cox") };
            assert_eq!(comms.is_told_of(peers), told, "{max:?} {peers}");
        }
    }

    #[test]
    fn what_cannot_be_had_names_its_field() {
        let cox = || Comms::named("cox");
        let meta = |bytes: usize| PeerMeta {
            description: Some("x".repeat(bytes)),
            labels: BTreeMap::new(),
        };
        let table = [
            (cox(), None),
            (Comms::named("a.b-c_9"), None),
            (Comms::named("a".repeat(COMMS_NAME_MAX)), None),
            (Comms::named("a".repeat(COMMS_NAME_MAX + 1)), Some("comms_name")),
            (Comms::named(""), Some("comms_name")),
            (Comms::named("a b"), Some("comms_name")),
            (Comms::named("\u{e9}"), Some("comms_name")),
            (Comms { inline_peers_max: Some(-1), ..cox() }, None),
            (Comms { inline_peers_max: Some(-2), ..cox() }, Some("max_inline")),
            (Comms { meta: meta(4_000), ..cox() }, None),
            (Comms { meta: meta(4_096), ..cox() }, Some("peer_meta")),
            (Comms { silent_intents: vec!["a".to_owned(); 64], ..cox() }, None),
            (Comms { silent_intents: vec!["a".to_owned(); 65], ..cox() }, Some("silent_comms")),
            (Comms { silent_intents: vec![String::new()], ..cox() }, Some("silent_comms")),
        ];
        for (comms, wrong) in table {
            let found = comms.check().err().unwrap_or_default();
            assert!(found.contains(wrong.unwrap_or_default()), "{comms:?}: {found}");
            assert_eq!(found.is_empty(), wrong.is_none(), "{comms:?}: {found}");
        }
    }
}
