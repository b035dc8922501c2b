//! The modes of a session: names, and what each of them lets tools do without asking. Data, so that a resumed session decides as before.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::spec::Rules;
use crate::spec::rule::check_rules;

/// A mode's name may have this many characters.
const NAME_CHARS_MAX: usize = 40;
/// A catalogue may have this many modes.
const MODES_MAX: usize = 64;

/// The name of a mode: small letters, digits and `-`, the first a letter. What it means is up to the session's [`ModeCatalog`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(Cow<'static, str>);

impl JsonSchema for Mode {
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a mode: small letters, digits and `-`, the first a letter.",
            "type": "string",
            "pattern": format!("^[a-z][a-z0-9-]{{0,{}}}$", NAME_CHARS_MAX - 1),
        })
    }
}

impl Mode {
    /// Tools that only read are run, the others are refused.
    pub const READ_ONLY: Self = Self(Cow::Borrowed("read-only"));
    /// Tools that only read are run, the others ask.
    pub const ASK_WRITES: Self = Self(Cow::Borrowed("ask-writes"));
    /// Every tool is run.
    pub const OPEN: Self = Self(Cow::Borrowed("open"));
    /// No tool is run.
    pub const DENY_ALL: Self = Self(Cow::Borrowed("deny-all"));

    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidMode::Name`] when it has other characters, or more than 40.
    pub fn parse(name: &str) -> Result<Self, InvalidMode> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= NAME_CHARS_MAX
            && name.chars().all(plain);
        match fits {
            true => Ok(Self(Cow::Owned(name.to_owned()))),
            false => Err(InvalidMode::Name { name: name.chars().take(NAME_CHARS_MAX).collect() }),
        }
    }

    /// The name on every surface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Mode {
    type Error = InvalidMode;

    fn try_from(name: String) -> Result<Self, InvalidMode> {
        Self::parse(&name)
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.0.into_owned()
    }
}

/// What a surface shows of a mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeDescriptor {
    /// What it is chosen by.
    pub id: Mode,
    /// Its name for people.
    pub name: String,
    /// What it lets tools do, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What a mode does with a call that no rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyBase {
    /// Tools that only read are run, the others are refused.
    ReadOnly,
    /// Tools that only read are run, the others ask.
    AskWrites,
    /// Every tool is run.
    Open,
    /// No tool is run.
    DenyAll,
}

/// What a mode lets tools do: its rules first, then its base. [`SandboxPolicy::classify`] judges a call by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SandboxPolicy {
    /// What becomes of a call that no rule speaks of.
    pub base: PolicyBase,
    /// Exceptions to it.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub rules: Rules,
}

impl From<PolicyBase> for SandboxPolicy {
    fn from(base: PolicyBase) -> Self {
        Self { base, rules: Rules::default() }
    }
}

/// The policy of the mode `ask-writes`, by its published name: `SandboxPolicy::from(AskWritesPolicy)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AskWritesPolicy;

impl From<AskWritesPolicy> for SandboxPolicy {
    fn from(AskWritesPolicy: AskWritesPolicy) -> Self {
        PolicyBase::AskWrites.into()
    }
}

/// An entry of a [`ModeCatalog`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionMode {
    /// What is shown of it.
    #[serde(flatten)]
    pub descriptor: ModeDescriptor,
    /// What it does.
    #[serde(flatten)]
    pub policy: SandboxPolicy,
}

impl SessionMode {
    /// A mode whose name for people is its id.
    #[must_use]
    pub fn new(id: Mode, description: &str, policy: impl Into<SandboxPolicy>) -> Self {
        let description = Some(description.to_owned()).filter(|words| !words.is_empty());
        let descriptor = ModeDescriptor { name: id.name().to_owned(), id, description };
        Self { descriptor, policy: policy.into() }
    }
}

/// The modes that a session can be in. By default the four built-in ones. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<SessionMode>", into = "Vec<SessionMode>")]
pub struct ModeCatalog(#[schemars(with = "Vec<SessionMode>")] Arc<Vec<SessionMode>>);

static BUILT_IN: LazyLock<Arc<Vec<SessionMode>>> = LazyLock::new(|| {
    let mode = |id, words, base| SessionMode::new(id, words, base);
    Arc::new(vec![
        mode(Mode::READ_ONLY, "run tools that only read, refuse the others", PolicyBase::ReadOnly),
        mode(
            Mode::ASK_WRITES,
            "run tools that only read, ask for the others",
            PolicyBase::AskWrites,
        ),
        mode(Mode::OPEN, "run every tool without asking", PolicyBase::Open),
        mode(Mode::DENY_ALL, "run no tool", PolicyBase::DenyAll),
    ])
});

impl Default for ModeCatalog {
    fn default() -> Self {
        Self(Arc::clone(&BUILT_IN))
    }
}

impl ModeCatalog {
    /// A catalogue of exactly these modes.
    ///
    /// # Errors
    /// [`InvalidMode`] when there is none or too many, two have one name, or a rule cannot be read.
    pub fn new(modes: Vec<SessionMode>) -> Result<Self, InvalidMode> {
        if modes.is_empty() || modes.len() > MODES_MAX {
            return Err(InvalidMode::Count { count: modes.len() });
        }
        for (at, mode) in modes.iter().enumerate() {
            let id = &mode.descriptor.id;
            if modes[..at].iter().any(|other| other.descriptor.id == *id) {
                return Err(InvalidMode::Twice { mode: id.clone() });
            }
            check_rules(&mode.policy.rules)
                .map_err(|source| InvalidMode::Rule { mode: id.clone(), source })?;
        }
        Ok(Self(Arc::new(modes)))
    }

    /// The built-in modes and these.
    ///
    /// # Errors
    /// Those of [`ModeCatalog::new`]; the name of a built-in mode is taken.
    pub fn extended(modes: impl IntoIterator<Item = SessionMode>) -> Result<Self, InvalidMode> {
        let mut modes = modes.into_iter().peekable();
        // Sessions that have no more share them.
        if modes.peek().is_none() {
            return Ok(Self::default());
        }
        Self::new(BUILT_IN.iter().cloned().chain(modes).collect())
    }

    /// What surfaces show, in order.
    pub fn descriptors(&self) -> impl Iterator<Item = &ModeDescriptor> {
        self.0.iter().map(|mode| &mode.descriptor)
    }

    /// What a mode does.
    ///
    /// # Errors
    /// [`UnknownMode`], which names the nearest.
    pub fn policy(&self, mode: &Mode) -> Result<&SandboxPolicy, UnknownMode> {
        let found = self.0.iter().find(|known| known.descriptor.id == *mode);
        found.map(|known| &known.policy).ok_or_else(|| self.unknown(mode.name()))
    }

    /// The refusal of a name that is no mode here.
    #[must_use]
    pub fn unknown(&self, name: &str) -> UnknownMode {
        let names: Vec<&str> = self.descriptors().map(|mode| mode.id.name()).collect();
        let near = names.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known));
        let nearest = near.min().filter(|(distance, _)| *distance <= (name.len() / 3).max(2));
        UnknownMode {
            name: name.chars().take(NAME_CHARS_MAX).collect(),
            nearest: nearest.map(|(_, known)| known.to_owned()),
            modes: names.join(", "),
        }
    }
}

impl TryFrom<Vec<SessionMode>> for ModeCatalog {
    type Error = InvalidMode;

    fn try_from(modes: Vec<SessionMode>) -> Result<Self, InvalidMode> {
        Self::new(modes)
    }
}

impl From<ModeCatalog> for Vec<SessionMode> {
    fn from(catalog: ModeCatalog) -> Self {
        Arc::unwrap_or_clone(catalog.0)
    }
}

/// A mode or catalogue that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMode {
    /// Not a name.
    #[error(
        "`{name}` is not a mode's name: write small letters, digits and `-`, at most 40, the first a letter"
    )]
    Name {
        /// The text.
        name: String,
    },
    /// Too few or too many.
    #[error("a session has from 1 to {MODES_MAX} modes, not {count}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// Two modes with one name.
    #[error("there are two modes `{mode}`; give one of them another name")]
    Twice {
        /// The name.
        mode: Mode,
    },
    /// A rule that cannot be read.
    #[error("the mode `{mode}` has a wrong rule: {source}")]
    Rule {
        /// The mode.
        mode: Mode,
        /// What is wrong.
        source: crate::spec::rule::InvalidRule,
    },
}

/// A name that no mode of the session has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no mode `{name}`{}; the modes are: {modes}", nearest.as_ref().map(|mode| format!(" (did you mean `{mode}`?)")).unwrap_or_default())]
pub struct UnknownMode {
    /// What was asked for.
    pub name: String,
    /// The mode most like it, when one is.
    pub nearest: Option<String>,
    /// All modes.
    pub modes: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_journals_as_ever() {
        for mode in [Mode::READ_ONLY, Mode::ASK_WRITES, Mode::OPEN, Mode::DENY_ALL] {
            let json = serde_json::to_string(&mode).unwrap();
            assert_eq!(json, format!("\"{mode}\""));
            assert_eq!(serde_json::from_str::<Mode>(&json).unwrap(), mode);
            assert!(ModeCatalog::default().policy(&mode).is_ok());
        }
        for bad in ["", "Open", "-x", "9", "a b", "a_b", &"x".repeat(41)] {
            assert!(Mode::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_mode_is_refused_with_the_nearest_name() {
        let catalog = ModeCatalog::default();
        let refusal = |name: &str| catalog.policy(&Mode::parse(name).unwrap()).unwrap_err();
        assert_eq!(refusal("readonly").nearest.as_deref(), Some("read-only"));
        assert_eq!(refusal("yolo-everything").nearest, None);
        let words = refusal("ask-write").to_string();
        assert!(
            words.contains("did you mean `ask-writes`?") && words.contains("deny-all"),
            "{words}"
        );
    }

    #[test]
    fn a_catalogue_survives_the_journal_and_keeps_its_rules() {
        let plan = |rules| {
            let policy = SandboxPolicy { base: PolicyBase::ReadOnly, rules };
            SessionMode::new(Mode::parse("plan").unwrap(), "look and think", policy)
        };
        let rules = Rules { allow: vec!["bash(git log*)".to_owned()], ..Rules::default() };
        let catalog = ModeCatalog::extended([plan(rules)]).unwrap();
        let json = serde_json::to_string(&catalog).unwrap();
        assert_eq!(serde_json::from_str::<ModeCatalog>(&json).unwrap(), catalog);
        assert!(
            json.ends_with(r#"{"id":"plan","name":"plan","description":"look and think","base":"read-only","rules":{"allow":["bash(git log*)"]}}]"#),
            "{json}"
        );
        let broken = Rules { deny: vec!["(".to_owned()], ..Rules::default() };
        assert!(matches!(ModeCatalog::extended([plan(broken)]), Err(InvalidMode::Rule { .. })));
        let twice = ModeCatalog::extended([plan(Rules::default()), plan(Rules::default())]);
        assert!(matches!(twice, Err(InvalidMode::Twice { .. })));
        assert!(matches!(ModeCatalog::new(Vec::new()), Err(InvalidMode::Count { .. })));
        let asks = SandboxPolicy::from(AskWritesPolicy);
        assert_eq!(catalog.policy(&Mode::ASK_WRITES).unwrap(), &asks);
    }
}
