//! The modes of the configuration: what each of them lets tools do, and which of two is stricter.

use std::collections::BTreeMap;

use oarlock_core::spec::{InvalidMode, Mode, ModeCatalog, Rules, SandboxPolicy, SessionMode};
use toml::Value;

use super::stack::Effective;
use super::typed::Config;

/// The built-in modes and bases, strictest first.
pub const BASES: &[&str] = &["deny-all", "read-only", "ask-writes", "open"];

/// The modes that a session of this configuration can be in. A mode whose base was kept out is none.
///
/// # Errors
/// [`InvalidMode`] when a name is no name or that of a built-in mode, or there are too many.
pub fn catalog(config: &Config) -> Result<ModeCatalog, InvalidMode> {
    let mut own = Vec::new();
    for (name, section) in &config.modes {
        let id = Mode::parse(name)?;
        let Some(base) = section.base else { continue };
        let (allow, deny) = (section.allow.clone(), section.deny.clone());
        let policy = SandboxPolicy { base, rules: Rules { allow, deny, ..Rules::default() } };
        own.push(SessionMode::new(id, section.description.as_deref().unwrap_or(""), policy));
    }
    ModeCatalog::extended(own)
}

/// What is known of a mode before the configuration is whole.
struct Known {
    /// Its place among [`BASES`].
    base: usize,
    allows: bool,
    denies: bool,
}

fn known(values: &BTreeMap<Vec<String>, Effective>, name: &Value) -> Option<Known> {
    let name = name.as_str()?;
    let base = |word: &str| BASES.iter().position(|base| *base == word);
    if let Some(base) = base(name) {
        return Some(Known { base, allows: false, denies: false });
    }
    let part = |key: &str| {
        let path = ["modes", name, key].map(str::to_owned).to_vec();
        values.get(&path).map(|effective| &effective.value)
    };
    let lists = |key: &str| part(key).and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    let base = base(part("base")?.as_str()?)?;
    Some(Known { base, allows: lists("allow"), denies: lists("deny") })
}

/// Whether a mode surely allows no more than the one in force: what is not sure needs trust.
#[must_use]
pub fn tightens(
    values: &BTreeMap<Vec<String>, Effective>,
    current: Option<&Value>,
    wanted: &Value,
) -> bool {
    if current == Some(wanted) {
        return true;
    }
    let (Some(now), Some(then)) =
        (current.and_then(|now| known(values, now)), known(values, wanted))
    else {
        return false;
    };
    // What the mode in force denies by its own rules, only a mode that runs nothing denies as well.
    let keeps_denials = !now.denies || then.base == 0;
    then.base <= now.base && !then.allows && keeps_denials
}
