//! Profiles of subagents on this machine: where they are looked for, what they may say, and those that a session may use.
//!
//! A profile is a folder with `config.toml` and, if it likes, `system.md`; or a Markdown file whose head has the same keys and whose body is the
//! prompt. One that cannot be used is named and left out, and stops nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oarlock_core::AgentOrder;
use oarlock_core::spec::{
    Bounds, Decimal, ModelSelection, ReasoningEffort, Sampling, TurnRequestLimit,
};
use oarlock_tools::{AgentProfile, front_matter};
use serde::Deserialize;
use serde_json::Value;

use super::typed::BoundsConfig;
use super::{Environment, Loaded, Standing, paths};

/// A file of a profile may have this many bytes.
const FILE_BYTES_MAX: u64 = 128 * 1024;
/// Names that are looked at in a folder.
const NAMES_MAX: usize = 1_000;
/// Steps of a subagent whose profile names no number.
const STEPS: u32 = 32;

/// Something that is meant to be a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Whether it is the project's.
    pub of_project: bool,
    /// Its text, and that of its `system.md`; or why there is none.
    pub texts: Result<(String, Option<String>), String>,
}

/// A profile that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What it says.
    pub profile: AgentProfile,
    /// Its file.
    pub path: PathBuf,
    /// Whether it is the project's.
    pub of_project: bool,
}

/// The profiles of a session, and what there is to say about others.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    /// Those that can be used, by their names.
    pub usable: BTreeMap<String, Profile>,
    /// Why others cannot, in lines for a person.
    pub problems: Vec<String>,
}

/// What is written in a profile.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    name: Option<String>,
    description: String,
    model: Option<String>,
    default: Named,
    effort: Option<ReasoningEffort>,
    prompt: Words,
    tools: Allowed,
    sampling: Option<Drawn>,
    inherit_project_prompt: bool,
    request_limit: Option<u32>,
    request_limit_mode: Option<String>,
    limits: BoundsConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Named {
    model: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Words {
    file: Option<String>,
    text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Allowed {
    allow: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Drawn {
    max_tokens: Option<u64>,
    temperature: Option<Decimal>,
    top_p: Option<Decimal>,
    top_k: Option<u32>,
}

impl Profiles {
    /// The profiles of sessions in this canonical folder. Reads files.
    #[must_use]
    pub fn of(loaded: &Loaded, cwd: &Path) -> Self {
        let root = paths::project_root(cwd);
        let root = root.canonicalize().unwrap_or(root);
        let other;
        let project = match root == loaded.project.root {
            true => Some(&loaded.project),
            false => {
                // A project whose configuration cannot be read is nobody's word for anything.
                other = super::project(&loaded.environment, cwd).ok();
                other.as_ref()
            }
        };
        let mut profiles = Self::default();
        if let Some(folder) = loaded.user_file.parent() {
            profiles.take(find(&folder.join("agents"), None));
        }
        let Some(project) = project.filter(|project| !project.agents.is_empty()) else {
            return profiles;
        };
        match project.standing {
            Standing::Trusted => profiles.take(project.agents.clone()),
            Standing::Nothing | Standing::Changed | Standing::Untrusted => {
                profiles.problems.push(format!(
                    "the profiles of {} are not used; see `oarlock trust --show`, then `oarlock trust`",
                    project.root.display()
                ));
            }
        }
        profiles
    }

    fn take(&mut self, found: Vec<Found>) {
        for found in found {
            match read(&found) {
                Ok(profile) => {
                    let Found { path, of_project, name, .. } = found;
                    self.usable.insert(name, Profile { profile, path, of_project });
                }
                Err(why) => self
                    .problems
                    .push(format!("the profile {} is not used: {why}", found.path.display())),
            }
        }
    }
}

/// What a project has as profiles. A folder that is the user's own as well is not the project's.
#[must_use]
pub fn of_project(environment: &Environment, root: &Path) -> Vec<Found> {
    let folder = root.join(".oarlock").join("agents");
    let user_file = paths::user_config(environment).unwrap_or_default();
    match user_file.parent().is_some_and(|own| own.join("agents") == folder) {
        true => Vec::new(),
        false => find(&folder, Some(root)),
    }
}

/// The profiles of a folder, by their names. Those of the project `root` may not be links out of it.
fn find(folder: &Path, root: Option<&Path>) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names =
        entries.take(NAMES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    let mut found = Vec::new();
    for listed in names {
        let (name, path) = match listed.strip_suffix(".md") {
            Some(name) => (name.to_owned(), folder.join(&listed)),
            None => (listed.clone(), folder.join(&listed).join("config.toml")),
        };
        if std::fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let beside = path.with_file_name("system.md");
        let is_folder = !listed.ends_with(".md");
        let texts = text(&path, root).and_then(|own| {
            let system = match is_folder && std::fs::symlink_metadata(&beside).is_ok() {
                true => Some(text(&beside, root)?),
                false => None,
            };
            Ok((own, system))
        });
        found.push(Found { name, path, of_project: root.is_some(), texts });
    }
    found
}

fn text(path: &Path, root: Option<&Path>) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let path = path.canonicalize().map_err(words)?;
    if root.is_some_and(|root| !path.starts_with(root)) {
        return Err("a link leads out of the project".to_owned());
    }
    if !std::fs::metadata(&path).map_err(words)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut text = String::new();
    let file = File::open(&path).map_err(words)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(words)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err("it has more than 128 KiB".to_owned()),
        false => Ok(text),
    }
}

fn read(found: &Found) -> Result<AgentProfile, String> {
    let (own, system) = found.texts.as_ref().map_err(Clone::clone)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if found.name.is_empty() || found.name.len() > 64 || !found.name.chars().all(is_plain) {
        return Err("its name has letters, digits, `-` and `_` alone, at most 64".to_owned());
    }
    let is_file = found.path.extension().is_some_and(|extension| extension == "md");
    let (keys, body) = match is_file {
        true => {
            let document = front_matter::read(own).map_err(|error| error.to_string())?;
            (Value::Object(document.head), Some(document.body.trim()))
        }
        false => {
            let table: toml::Table = toml::from_str(own).map_err(|error| one_line(&error))?;
            (serde_json::to_value(table).map_err(|error| error.to_string())?, None)
        }
    };
    let written: Written = serde_json::from_value(keys).map_err(|error| one_line(&error))?;
    if written.name.as_ref().is_some_and(|name| *name != found.name) {
        return Err(format!("its `name` is not `{}`", found.name));
    }
    if written.description.trim().is_empty() {
        return Err("it has no `description`: say when to use it".to_owned());
    }
    let instructions = words(&written.prompt, found, body.or(system.as_deref()))?;
    let order = order(&written, &found.name)?;
    Ok(AgentProfile {
        name: found.name.clone(),
        description: written.description.trim().to_owned(),
        instructions,
        inherit_project_prompt: written.inherit_project_prompt,
        order,
    })
}

/// The profile's own words: of its keys, else of its body or `system.md`.
fn words(prompt: &Words, found: &Found, beside: Option<&str>) -> Result<String, String> {
    match (&prompt.text, &prompt.file) {
        (Some(_), Some(_)) => Err("`prompt.text` and `prompt.file` exclude each other".to_owned()),
        (Some(text), None) => Ok(text.trim().to_owned()),
        (None, Some(file)) if file == "system.md" => {
            beside.map(str::to_owned).ok_or_else(|| "there is no system.md".to_owned())
        }
        (None, Some(file)) => {
            let folder = found.path.parent().unwrap_or(Path::new("/"));
            // What it names lies beside it, so that what was shown for trust is all there is.
            Err(format!(
                "`prompt.file` is `{file}`; put the words into {}",
                folder.join("system.md").display()
            ))
        }
        (None, None) => Ok(beside.unwrap_or_default().trim().to_owned()),
    }
}

fn order(written: &Written, name: &str) -> Result<AgentOrder, String> {
    let model = match (&written.model, &written.default.model) {
        (Some(_), Some(_)) => {
            return Err("`model` and `default.model` exclude each other".to_owned());
        }
        (Some(model), None) | (None, Some(model)) => Some(model),
        (None, None) => None,
    };
    let model = model.map(|model| model_of(model)).transpose()?;
    let mode = (written.request_limit_mode.as_deref(), written.request_limit);
    let request_limit = match mode {
        (None, None) => TurnRequestLimit::Fixed { steps: STEPS },
        (None | Some("fixed"), Some(steps)) => TurnRequestLimit::Fixed { steps },
        (Some("adaptive"), Some(initial)) => TurnRequestLimit::Adaptive { initial },
        (Some("unbounded"), None) => TurnRequestLimit::Unbounded,
        (Some(_), _) => {
            return Err("`request_limit_mode` is `fixed` or `adaptive`, with a `request_limit`, or `unbounded` without one".to_owned());
        }
    };
    let sampling = written.sampling.as_ref().map(|drawn| Sampling {
        max_tokens: drawn.max_tokens,
        temperature: drawn.temperature,
        top_p: drawn.top_p,
        top_k: drawn.top_k,
        ..Sampling::default()
    });
    Ok(AgentOrder {
        model,
        effort: written.effort,
        tools: written.tools.allow.clone(),
        sampling,
        request_limit: Some(request_limit),
        bounds: Bounds::from(&written.limits),
        ..AgentOrder::of(name)
    })
}

fn model_of(text: &str) -> Result<ModelSelection, String> {
    let parts =
        text.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
    let (provider, model) =
        parts.ok_or_else(|| format!("its model is `{text}`; write it as provider/model"))?;
    Ok(ModelSelection { provider: provider.to_owned(), model: model.to_owned() })
}

fn one_line(error: &dyn std::fmt::Display) -> String {
    let words = error.to_string();
    words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> Found {
        let path = PathBuf::from("/home/x/agents").join(format!("{name}.md"));
        Found { name: name.to_owned(), path, of_project: false, texts: Ok((text.to_owned(), None)) }
    }

    fn folder(text: &str, system: Option<&str>) -> Found {
        let path = PathBuf::from("/home/x/agents/smith/config.toml");
        let texts = Ok((text.to_owned(), system.map(str::to_owned)));
        Found { name: "smith".to_owned(), path, of_project: false, texts }
    }

    #[test]
    fn both_forms_say_the_same() {
        let toml = "description = \"Forges\"\nmodel = \"demo/demo\"\nrequest_limit = 5\n[tools]\nallow = [\"bash\"]\n[sampling]\ntemperature = 0.2\n[limits]\ncost = \"0.50\"\nsteps = 7\n";
        let yaml = "---\ndescription: Forges\ndefault: {model: demo/demo}\nrequest_limit: 5\ntools: {allow: [bash]}\nsampling: {temperature: 0.2}\nlimits: {cost: \"0.50\", steps: 7}\n---\nHit it.\n";
        let (one, other) = (read(&folder(toml, Some("Hit it.\n"))), read(&file("smith", yaml)));
        let profile = one.unwrap();
        assert_eq!(profile.instructions, "Hit it.");
        assert_eq!(profile.order.bounds.cost_micros, Some(500_000));
        assert_eq!(profile.order.request_limit, Some(TurnRequestLimit::Fixed { steps: 5 }));
        assert_eq!(Ok(profile), other);
    }

    #[test]
    fn what_cannot_be_a_profile_says_why() {
        for (text, why) in [
            ("no head", "it has no head"),
            ("---\nmodel: a/b\n---\n", "no `description`"),
            ("---\ndescription: x\nname: other\n---\n", "its `name` is not `scout`"),
            ("---\ndescription: x\nhooks: []\n---\n", "unknown field `hooks`"),
            ("---\ndescription: x\nmodel: gpt\n---\n", "provider/model"),
            ("---\ndescription: x\nprompt: {file: ../../secret}\n---\n", "put the words into"),
            ("---\ndescription: x\nrequest_limit_mode: adaptive\n---\n", "`request_limit_mode` is"),
        ] {
            let error = read(&file("scout", text)).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(read(&file("a b", "---\ndescription: x\n---\n")).is_err());
    }
}
