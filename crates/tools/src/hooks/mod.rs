//! Hooks as people configure them: commands, prompts and built-in ones, which run at the points of a session's course.

mod builtin;
mod command;
mod engine;
mod prompt;
mod verdict;

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};
use oarlock_core::event::{Effect, HookPoint};
use oarlock_core::ports::hook::{HookStep, OnError};
use oarlock_core::spec::ModelSelection;
use serde::Deserialize;

pub use builtin::BuiltIn;
pub use engine::Hooks;

/// How long a hook may take when it does not say, in seconds.
pub const TIMEOUT_SEC: u64 = 5;
/// The longest that a hook may be given, in seconds.
pub const TIMEOUT_SEC_MAX: u64 = 600;
/// Hooks that a point may have.
pub const HOOKS_MAX: usize = 64;

/// A hook as it is written down. It has one of `command`, `shell`, `prompt` and `builtin`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookEntry {
    /// Its name, by which it can be left out.
    pub name: String,
    /// When it runs at all; always when absent.
    #[serde(default, rename = "match")]
    pub matcher: MatchEntry,
    /// A program and its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// A line for `sh -c`.
    #[serde(default)]
    pub shell: Option<String>,
    /// The system prompt of a model call.
    #[serde(default)]
    pub prompt: Option<String>,
    /// What that model is shown; `{{key}}` stands for a key of the envelope. The whole envelope when absent.
    #[serde(default)]
    pub template: Option<String>,
    /// The model that is asked, as `provider/model`.
    #[serde(default)]
    pub model: Option<String>,
    /// One of the built-in hooks.
    #[serde(default)]
    pub builtin: Option<String>,
    /// How long it may take, in seconds.
    #[serde(default)]
    pub timeout_sec: Option<u64>,
    /// What holds when it fails.
    #[serde(default)]
    pub on_error: Option<OnError>,
}

/// When a hook runs: all that is said has to hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchEntry {
    /// The tool of this name.
    pub tool: Option<String>,
    /// Tools whose name fits.
    pub tool_glob: Option<String>,
    /// Calls with one of these effects.
    #[serde(alias = "safety")]
    pub effect: Vec<Effect>,
}

/// Which hooks are left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisableEntry {
    /// The hook's name.
    pub name: String,
    /// Only at this point.
    #[serde(default)]
    pub event: Option<String>,
}

/// A hook that is ready to run.
#[derive(Debug, Clone)]
pub struct Hook {
    name: String,
    tool: Option<String>,
    glob: Option<GlobMatcher>,
    effects: Vec<Effect>,
    handler: Handler,
    deadline_ms: u64,
    on_error: OnError,
}

#[derive(Debug, Clone)]
enum Handler {
    Command(Vec<String>),
    Prompt { system: String, template: Option<String>, model: ModelSelection },
    BuiltIn(BuiltIn),
}

/// A point by its name.
#[must_use]
pub fn point(name: &str) -> Option<HookPoint> {
    HookPoint::ALL.into_iter().find(|point| point.name() == name)
}

/// Makes hooks of what stands below `hooks`: lists of hooks by their point, and what is left out of them.
///
/// # Errors
/// What is wrong with the first that is wrong, in words for who wrote it.
pub fn ready(
    lists: &BTreeMap<HookPoint, Vec<HookEntry>>,
    disabled: &[DisableEntry],
) -> Result<BTreeMap<HookPoint, Vec<Hook>>, String> {
    let mut hooks = BTreeMap::new();
    for (point, entries) in lists {
        let stays = |entry: &&HookEntry| !is_off(disabled, *point, &entry.name);
        let mut known: Vec<&HookEntry> = Vec::new();
        for entry in entries.iter().filter(stays) {
            // The same hook in two layers is one hook.
            if known.contains(&entry) {
                continue;
            }
            if known.iter().any(|other| other.name == entry.name) {
                let (name, point) = (&entry.name, point.name());
                return Err(format!("two hooks at `{point}` are called `{name}`"));
            }
            known.push(entry);
        }
        if known.len() > HOOKS_MAX {
            return Err(format!("`{}` has more than {HOOKS_MAX} hooks", point.name()));
        }
        let list: Result<Vec<Hook>, String> =
            known.into_iter().map(|entry| Hook::new(*point, entry)).collect();
        hooks.insert(*point, list?);
    }
    let of_ends = hooks.get(&HookPoint::AfterToolApply).into_iter().flatten();
    let of_ends: Vec<Hook> = of_ends
        .filter_map(Hook::of_background_ends)
        .filter(|hook| !is_off(disabled, HookPoint::BeforeIngest, &hook.name))
        .collect();
    hooks.entry(HookPoint::BeforeIngest).or_default().splice(..0, of_ends);
    hooks.retain(|_, list| !list.is_empty());
    Ok(hooks)
}

/// Whether hooks of that name are left out at a point.
fn is_off(disabled: &[DisableEntry], point: HookPoint, name: &str) -> bool {
    disabled.iter().any(|disable| {
        let here = disable.event.as_deref().is_none_or(|event| event == point.name());
        here && disable.name == name
    })
}

impl Hook {
    /// A hook of a point.
    ///
    /// # Errors
    /// What is wrong with it, in words for who wrote it.
    pub fn new(point: HookPoint, entry: &HookEntry) -> Result<Self, String> {
        let name = &entry.name;
        let wrong = |why: String| format!("the hook `{name}` at `{}` {why}", point.name());
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            return Err(wrong("needs a name of letters, digits, `-`, `_` and `.`".to_owned()));
        }
        let handler = handler(point, entry).map_err(wrong)?;
        let timeout = entry.timeout_sec.unwrap_or(TIMEOUT_SEC);
        if !(1..=TIMEOUT_SEC_MAX).contains(&timeout) {
            return Err(wrong(format!("needs a `timeout_sec` from 1 to {TIMEOUT_SEC_MAX}")));
        }
        let own = match &handler {
            // Whoever has secrets taken out wants none when that fails.
            Handler::BuiltIn(BuiltIn::RedactSecrets) => OnError::Deny,
            Handler::BuiltIn(BuiltIn::TracingAudit) => OnError::Skip,
            Handler::Command(_) | Handler::Prompt { .. } => point.on_error(),
        };
        let on_error = entry.on_error.unwrap_or(own);
        if entry.on_error == Some(OnError::Deny) && !point.can_deny() {
            return Err(wrong(
                "has `on_error = \"deny\"`, and there is nothing to deny".to_owned(),
            ));
        }
        let of_calls = matches!(
            point,
            HookPoint::BeforePermission
                | HookPoint::AfterPermission
                | HookPoint::BeforeToolApply
                | HookPoint::AfterToolApply
        );
        if entry.matcher != MatchEntry::default() && !of_calls {
            return Err(wrong("has a `match`, and the point is about no call".to_owned()));
        }
        let glob = entry.matcher.tool_glob.as_deref().map(Glob::new).transpose();
        let glob = glob.map_err(|error| wrong(format!("has no such `tool_glob`: {error}")))?;
        Ok(Self {
            name: name.clone(),
            tool: entry.matcher.tool.clone(),
            glob: glob.map(|glob| glob.compile_matcher()),
            effects: entry.matcher.effect.clone(),
            handler,
            deadline_ms: timeout * 1_000,
            on_error,
        })
    }

    /// What a hook about results does about the ends of background tasks, which are inputs: only the redacting one does something. Such an end
    /// does not say of which call it is, so that it is looked at whatever the hook's `match` says.
    fn of_background_ends(&self) -> Option<Self> {
        let redacts = matches!(self.handler, Handler::BuiltIn(BuiltIn::RedactSecrets));
        redacts.then(|| Self { tool: None, glob: None, effects: Vec::new(), ..self.clone() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is to run there.
    fn matches(&self, step: &HookStep) -> bool {
        let text = |key: &str| step.fields.get(key).and_then(|value| value.as_str());
        let tool = text("tool").unwrap_or_default();
        let effect = step.fields.get("effect").cloned();
        let effect = effect.and_then(|effect| serde_json::from_value::<Effect>(effect).ok());
        self.tool.as_deref().is_none_or(|wanted| wanted == tool)
            && self.glob.as_ref().is_none_or(|glob| glob.is_match(tool))
            && (self.effects.is_empty() || effect.is_some_and(|e| self.effects.contains(&e)))
    }
}

fn handler(point: HookPoint, entry: &HookEntry) -> Result<Handler, String> {
    let given = [
        !entry.command.is_empty(),
        entry.shell.is_some(),
        entry.prompt.is_some(),
        entry.builtin.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err("needs one of `command`, `shell`, `prompt` and `builtin`".to_owned());
    }
    if entry.prompt.is_none() && (entry.template.is_some() || entry.model.is_some()) {
        return Err("has a `template` or a `model` without a `prompt`".to_owned());
    }
    if let Some(line) = &entry.shell {
        return Ok(Handler::Command(vec!["/bin/sh".into(), "-c".into(), line.clone()]));
    }
    if let Some(system) = &entry.prompt {
        if !verdict::takes_words(point) {
            return Err("is a prompt, and no words are taken here".to_owned());
        }
        let model = entry.model.as_deref().and_then(verdict::selection);
        let model = model.ok_or("needs a `model` written as provider/model")?;
        let (system, template) = (system.clone(), entry.template.clone());
        return Ok(Handler::Prompt { system, template, model });
    }
    if let Some(name) = &entry.builtin {
        return BuiltIn::named(name, point).map(Handler::BuiltIn);
    }
    Ok(Handler::Command(entry.command.clone()))
}
