//! Names of things: sessions, calls, frames, nodes, blobs, and the counters that order a session.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Position of an entry in its session: 1, 2, 3… without gaps. 0 means "before the first entry".
pub type Seq = u64;
/// Number of the writer that holds a session; every claim raises it by one.
pub type Epoch = u64;
/// Number of a turn in its session, from 1.
pub type TurnNo = u32;
/// Number of a step in its turn, from 1.
pub type StepNo = u32;

/// An identifier that is not fit to be one: empty, too long, or with characters that could mean something to a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a valid {kind}: 1 to {max} characters of A-Z a-z 0-9 . _ : - are allowed, the first a letter or digit"
)]
pub struct InvalidId {
    /// What was being parsed, for example `session id`.
    pub kind: &'static str,
    /// The refused text, cut to 80 characters.
    pub text: String,
    /// The longest identifier of this kind, in characters.
    pub max: usize,
}

/// Refuses whatever could act as a path, a flag or a separator when an id becomes part of a name.
fn check(kind: &'static str, text: &str, max: usize) -> Result<(), InvalidId> {
    let first_ok = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest_ok =
        text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-'));
    if first_ok && rest_ok && text.len() <= max && !text.contains("..") {
        return Ok(());
    }
    Err(InvalidId { kind, text: text.chars().take(80).collect(), max })
}

/// What [`check`] lets through, but for its length: no two dots stand side by side.
const PATTERN: &str = r"^[A-Za-z0-9](\.?[A-Za-z0-9_:-])*\.?$";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(length(min = 1, max = $max), regex(pattern = PATTERN))] Arc<str>);

        impl $name {
            /// Checks and takes over an identifier.
            ///
            /// # Errors
            /// [`InvalidId`] when it is empty, too long or has a character outside the allowed set.
            pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, InvalidId> {
                let text = text.into();
                check($kind, &text, $max)?;
                Ok(Self(text))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Self::parse(Arc::<str>::deserialize(d)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A session. New ones are UUIDv7, so that they sort by time of creation.
    SessionId, "session id", 64
);
id!(
    /// One atomic append. Drawn by the writer, so that it can ask afterwards whether the append happened.
    FrameId, "frame id", 64
);
id!(
    /// One running process that writes sessions.
    NodeId, "node id", 64
);
id!(
    /// A stored body by its content: the blake3 hash in hexadecimal.
    BlobId, "blob id", 64
);
id!(
    /// A background task of a session: `bg-` and its number.
    TaskId, "task id", 32
);

impl TaskId {
    /// The task of this number.
    #[must_use]
    pub fn numbered(no: u32) -> Self {
        Self(format!("bg-{no}").into())
    }
}

/// Whose a session is, where several share one store: 1 to 64 letters, digits, `_` and `-`, the first a letter or digit. None looks like a UUID, so that it
/// is never taken for a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Tenant(Arc<str>);

/// A name that no tenant can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a valid tenant: 1 to 64 characters of A-Z a-z 0-9 _ - are allowed, the first a letter or digit, and it must not look like a UUID"
)]
pub struct InvalidTenant {
    /// The refused text, cut to 80 characters.
    pub text: String,
}

impl Tenant {
    /// Checks and takes over a name.
    ///
    /// # Errors
    /// [`InvalidTenant`] when it is none; no name is ever changed into a valid one.
    pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, InvalidTenant> {
        let text = text.into();
        let first_ok = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        let rest_ok = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if first_ok && rest_ok && text.len() <= 64 && uuid::Uuid::try_parse(&text).is_err() {
            return Ok(Self(text));
        }
        Err(InvalidTenant { text: text.chars().take(80).collect() })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tenant {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(Arc::<str>::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// A tool call, unique among the last 4,096 of its session and those that its model is shown. It is the provider's own id where that was
/// usable, else one of ours.
///
/// Providers choose the characters, so any text is allowed; it is never part of a path.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct CallId(pub Box<str>);

impl CallId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BlobId {
    /// The id of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).to_hex().as_str().into())
    }
}

/// A blake3 hash that links a frame to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Hash {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::from_hex(&text)
            .ok_or_else(|| serde::de::Error::custom("a hash has 64 hexadecimal digits"))
    }
}

/// A text that is no moment, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTimestamp(String);

/// A moment in UTC, to the millisecond; written as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    millis: i64,
}

impl Timestamp {
    /// The moment so many milliseconds after 1970-01-01T00:00:00Z. Values outside the years 0 to 9999 are clamped.
    #[must_use]
    pub fn from_unix_ms(millis: i64) -> Self {
        Self { millis: millis.clamp(-62_135_596_800_000, 253_402_207_200_000) }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.millis
    }

    /// This moment moved into the future.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self::from_unix_ms(self.millis.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to this moment; 0 when it is not earlier.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        u64::try_from(self.millis.saturating_sub(earlier.millis)).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.millis) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}ms", self.millis),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads what RFC 3339 allows, to the millisecond.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let moment =
            text.parse::<jiff::Timestamp>().map_err(|e| InvalidTimestamp(e.to_string()))?;
        Ok(Self { millis: moment.as_millisecond() })
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Hash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hash".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_be_a_path_is_refused() {
        for bad in [
            "",
            "../x",
            "/etc",
            "a/b",
            "a\\b",
            ".hidden",
            "-flag",
            "a..b",
            "a b",
            "é",
            &"x".repeat(65),
        ] {
            assert!(SessionId::parse(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["0192f0c1-7b7e-7000-8000-000000000001", "a", "node:3.local"] {
            assert!(SessionId::parse(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_tenant_is_refused_and_never_mended() {
        let uuid = "0192f0c1-7b7e-7000-8000-000000000001";
        let plain = uuid.replace('-', "");
        let long = "x".repeat(65);
        for bad in ["", "-a", "_a", "a b", "a.b", "a:b", "a/b", "é", " a", uuid, &plain, &long] {
            let text = serde_json::to_string(bad).unwrap();
            assert!(Tenant::parse(bad).is_err(), "{bad:?} was accepted");
            assert!(serde_json::from_str::<Tenant>(&text).is_err(), "{bad:?} was read");
        }
        for good in ["a", "7", "Acme_2-eu", &long[1..], &uuid[1..]] {
            assert_eq!(Tenant::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_timestamp_survives_the_round_trip() {
        let moment = Timestamp::from_unix_ms(1_763_700_000_123);
        let text = serde_json::to_string(&moment).unwrap();
        assert_eq!(text, "\"2025-11-21T04:40:00.123Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), moment);
    }
}
