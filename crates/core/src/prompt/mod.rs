//! The system prompt: its sections, where their words come from, and what of them depends on the model.
//!
//! It is worked out once, when a session is made, and journaled with it: steps, turns and resumes send the same bytes, so that provider caches
//! hit. Only the notes on a provider and a model are chosen again for every turn, from what is journaled.

pub mod answer;
pub mod mention;
mod project;
pub mod slash;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::prompt::project::{PROJECT_PROMPT_FILE, load_project_prompt};

use crate::agent::context::RunningContext;
use crate::limits::PROMPT_FILE_BYTES;
use crate::ports::files::{FileError, Files};
use crate::spec::ModelSelection;

/// What stands between two sections.
const RULE: &str = "\n\n---\n\n";

/// The words that begin a system prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BasePromptConfig {
    /// An absolute path; the file's words are the first section. It must be there.
    pub file: Option<PathBuf>,
    /// The words of the next section.
    pub text: Option<String>,
}

/// What is added to the base of a system prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptConfig {
    /// The project's file. [`PROJECT_PROMPT_FILE`] is collected from the repository's root down to the folder; another one is that one file, relative
    /// to the folder. `None` leaves the project's words out.
    pub file: Option<PathBuf>,
    /// Instructions for all sessions.
    pub text: Option<String>,
    /// Notes on a provider, by its configured name.
    pub provider_overlays: BTreeMap<String, String>,
    /// Notes on a model, by its id as the provider spells it.
    pub model_overlays: BTreeMap<String, String>,
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self {
            file: Some(PathBuf::from(PROJECT_PROMPT_FILE)),
            text: None,
            provider_overlays: BTreeMap::new(),
            model_overlays: BTreeMap::new(),
        }
    }
}

/// The part of a system prompt that follows after the part that never changes: what depends on the model, and what comes after that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Overlays {
    /// Notes on a provider, by its configured name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub providers: BTreeMap<String, String>,
    /// Notes on a model, by its id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
    /// Instructions of this session alone; they come last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// What a system prompt is made of, besides files.
#[derive(Debug, Clone, Copy)]
pub struct PromptInputs<'a> {
    /// Where the session runs; its folder is where the project's words are looked for.
    pub context: &'a RunningContext,
    /// How it begins.
    pub base: &'a BasePromptConfig,
    /// What is added.
    pub prompt: &'a PromptConfig,
    /// Instructions of this session alone.
    pub session: Option<&'a str>,
}

/// A system prompt as a session journals it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemPrompt {
    /// The sections that never change.
    pub system: String,
    /// The sections after them.
    pub overlays: Overlays,
}

/// Why there is no system prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The base file cannot be used.
    #[error(
        "the base of the system prompt cannot be used: {source}; correct `prompt.base_file` or take it out"
    )]
    Base {
        /// Why, with the file's name.
        source: FileError,
    },
    /// The base file is too long to be one.
    #[error("the base of the system prompt, {}, has {bytes} bytes and at most {PROMPT_FILE_BYTES} are taken; make it shorter", path.display())]
    BaseTooLong {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A project's file cannot be read.
    #[error(
        "the project's instructions cannot be read: {source}; make the file readable, or leave them out with --no-project-prompt"
    )]
    Project {
        /// Why, with the file's name.
        source: FileError,
    },
}

impl Overlays {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The whole system prompt for a model, from the part that never changes.
    #[must_use]
    pub fn complete(&self, system: &str, model: &ModelSelection) -> String {
        let later = [
            ("Provider notes", self.providers.get(&model.provider)),
            ("Model notes", self.models.get(&model.model)),
            ("Session instructions", self.session.as_ref()),
        ];
        let later = later.into_iter().filter_map(|(title, words)| section(title, words?));
        joined(std::iter::once(system.to_owned()).chain(later))
    }
}

impl SystemPrompt {
    /// Works a system prompt out, reading the files that it needs.
    ///
    /// # Errors
    /// [`PromptError`]: a file that was named or found cannot be used. What is not there is no error, except for the base file.
    pub async fn compose(inputs: PromptInputs<'_>, files: &dyn Files) -> Result<Self, PromptError> {
        let PromptInputs { context, base, prompt, session } = inputs;
        let (cwd, environment) = (context.cwd.as_path(), context.render());
        let base_file = match &base.file {
            Some(path) => Some(load_base_prompt(path, files).await?),
            None => None,
        };
        let project = match &prompt.file {
            Some(file) if file == Path::new(PROJECT_PROMPT_FILE) => {
                load_project_prompt(cwd, files).await?
            }
            Some(file) => project::load_file(cwd, file, files).await?,
            None => None,
        };
        let project = project.as_deref().map(project::enclosed);
        let sections = [
            ("Base", base_file.as_deref()),
            ("Base", base.text.as_deref()),
            ("Environment", Some(environment.as_str())),
            ("System instructions", prompt.text.as_deref()),
            ("Project instructions", project.as_deref()),
        ];
        let sections = sections.into_iter().filter_map(|(title, words)| section(title, words?));
        let overlays = Overlays {
            providers: prompt.provider_overlays.clone(),
            models: prompt.model_overlays.clone(),
            session: session.map(str::to_owned).filter(|words| !words.trim().is_empty()),
        };
        Ok(Self { system: joined(sections), overlays })
    }

    /// The same with one more section at the end of what never changes, when it has words.
    #[must_use]
    pub fn with_section(self, title: &str, words: &str) -> Self {
        let system = joined(std::iter::once(self.system).chain(section(title, words)));
        Self { system, ..self }
    }
}

/// The whole system prompt for a model, in the order: base, environment, system instructions, project instructions, provider notes, model notes,
/// session instructions. Each section that has words is headed by its name; a rule stands between two.
///
/// # Errors
/// As [`SystemPrompt::compose`].
pub async fn resolve_system_prompt(
    inputs: PromptInputs<'_>,
    model: &ModelSelection,
    files: &dyn Files,
) -> Result<String, PromptError> {
    let SystemPrompt { system, overlays } = SystemPrompt::compose(inputs, files).await?;
    Ok(overlays.complete(&system, model))
}

/// A section, unless it has no words.
fn section(title: &str, words: &str) -> Option<String> {
    let words = words.trim();
    (!words.is_empty()).then(|| format!("# {title}\n\n{words}"))
}

fn joined(sections: impl Iterator<Item = String>) -> String {
    let sections: Vec<String> = sections.filter(|section| !section.is_empty()).collect();
    sections.join(RULE)
}

/// The words of a file that begins a system prompt.
///
/// # Errors
/// [`PromptError::Base`] or [`PromptError::BaseTooLong`]: it must be there, readable, and no longer than [`PROMPT_FILE_BYTES`].
pub async fn load_base_prompt(path: &Path, files: &dyn Files) -> Result<String, PromptError> {
    let failed = |source| PromptError::Base { source };
    project::regular(path, files).await.map_err(failed)?;
    let bytes = files.read(path, 0, PROMPT_FILE_BYTES + 1).await.map_err(failed)?;
    if bytes.len() > PROMPT_FILE_BYTES {
        let bytes = files.stat(path).await.map_err(failed)?.bytes;
        return Err(PromptError::BaseTooLong { path: path.to_owned(), bytes });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
