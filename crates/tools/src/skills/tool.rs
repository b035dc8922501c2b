//! `skill`: gives the model a skill's text, its folder and its files, and the session what the skill's loading grants.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::{Effect, SkillLoaded};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, SessionNote, Subject, Tool, ToolContext, ToolError, ToolOutput,
    ToolSchema,
};
use serde_json::{Map, Value, json};

use super::{Skill, Skills};
use crate::arguments::Arguments;

/// Looking through a skill's folder; its disk may not answer.
const TIMEOUT_MS: u64 = 10_000;
/// Files that are named; the rest is counted as far as it was looked at.
const FILES_MAX: usize = 100;
/// Names that are looked at, and folders within folders.
const NAMES_MAX: usize = 2_000;
const DEPTH_MAX: usize = 6;

/// The tool for the skills of one session.
#[derive(Debug)]
pub struct SkillTool {
    schema: ToolSchema,
    skills: Arc<Skills>,
}

impl SkillTool {
    /// The name under which models know it.
    pub const NAME: &'static str = "skill";

    /// The tool that loads these skills.
    #[must_use]
    pub fn new(skills: Arc<Skills>) -> Self {
        let description = "Load a skill: instructions for a certain kind of work, with the files that belong to them. Do it before you begin work that a \
            skill is meant for.";
        let input = json!({
            "type": "object",
            "properties": {"name": {"type": "string", "description": "a skill of the list in the system prompt"}},
            "required": ["name"],
            "additionalProperties": false
        });
        let description = description.to_owned();
        let name = Self::NAME.to_owned();
        Self { schema: ToolSchema { name, description, input, runs: Runs::Here }, skills }
    }

    fn named<'a>(&'a self, arguments: &Value) -> Result<&'a Skill, String> {
        let name = Arguments::new(arguments, &self.schema.input)?.text("name")?.trim();
        self.skills.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.skills.told().map(|skill| skill.name.as_str()).collect();
            format!("there is no skill `{name:.80}`; there are: {}", names.join(", "))
        })
    }
}

impl Tool for SkillTool {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _place: &Place) -> Result<Assessment, String> {
        let skill = self.named(arguments)?;
        Ok(Assessment {
            effect: Effect::Pure,
            title: crate::text::title(Self::NAME, &skill.name),
            subject: Subject { parts: vec![skill.name.clone()], complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _cx: &'a ToolContext) -> BoxFuture<'a, String> {
        let words = match self.named(arguments) {
            Ok(skill) => {
                format!("load the skill of {}\n{}", skill.folder.display(), granted(skill))
            }
            Err(why) => why,
        };
        Box::pin(std::future::ready(words))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        _cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let skill = self.named(&arguments).map_err(ToolError::Arguments)?;
            let folder = skill.folder.clone();
            let files = tokio::task::spawn_blocking(move || files(&folder)).await;
            let files = files.map_err(|ended| ToolError::failed(ended.to_string()))?;
            let grants = skill.allowed.grants.clone();
            let note = SessionNote::Skill(SkillLoaded { name: skill.name.clone(), grants });
            let mut detail = Map::new();
            detail.insert("skill".to_owned(), json!(skill.name));
            detail.insert("folder".to_owned(), json!(skill.folder));
            detail.insert("grants".to_owned(), json!(skill.allowed.grants));
            Ok(ToolOutput { detail, notes: vec![note], ..ToolOutput::text(words(skill, &files)) })
        })
    }
}

/// A skill's words for a model that did not load it itself: without what loading it would grant. Looks at its folder, so it may take a moment.
#[must_use]
pub fn given(skill: &Skill) -> String {
    let mut text = introduced(skill, &files(&skill.folder));
    text.push('\n');
    text.push_str(&skill.body);
    text
}

/// What the model is given that loads a skill.
fn words(skill: &Skill, files: &Files) -> String {
    let mut text = introduced(skill, files);
    text.push_str(&granted(skill));
    text.push('\n');
    text.push_str(&skill.body);
    text
}

/// Where a skill lies, and what lies there.
fn introduced(skill: &Skill, files: &Files) -> String {
    let folder = skill.folder.display();
    let mut text = format!(
        "# Skill {}\n\nIts folder is {folder}; relative paths below are meant from there.\n",
        skill.name
    );
    if !files.names.is_empty() {
        text.push_str("Its files, which read_file reads below that folder:\n");
        for name in &files.names {
            text.push_str(&format!("- {name}\n"));
        }
    }
    match (files.more, files.is_whole) {
        (0, true) => {}
        (more, true) => text.push_str(&format!("and {more} more\n")),
        (more, false) => text.push_str(&format!("and {more} or more that are not named\n")),
    }
    text
}

fn granted(skill: &Skill) -> String {
    match skill.allowed.grants.as_slice() {
        [] => String::new(),
        grants => format!(
            "Calls that it brings, run without a question where one would be asked: {}\n",
            grants.join(", ")
        ),
    }
}

/// The files of a folder besides its `SKILL.md`, by their paths from there.
#[derive(Debug, Default)]
struct Files {
    names: Vec<String>,
    /// Further ones.
    more: usize,
    /// Whether every name was looked at.
    is_whole: bool,
}

fn files(folder: &Path) -> Files {
    let (mut found, mut left) = (Vec::new(), NAMES_MAX);
    let mut is_whole = true;
    let mut ahead = vec![(folder.to_owned(), 0)];
    while let Some((at, depth)) = ahead.pop() {
        // What cannot be listed has no files for the model.
        let Ok(entries) = std::fs::read_dir(&at) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let Some(less) = left.checked_sub(1) else {
                is_whole = false;
                break;
            };
            left = less;
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            // A link may lead out: it is not shown, and reading through it is refused where it does.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !is_hidden && depth < DEPTH_MAX => {
                    ahead.push((entry.path(), depth + 1));
                }
                Ok(kind) if kind.is_dir() && !is_hidden => is_whole = false,
                Ok(kind) if kind.is_file() && !is_hidden => found.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    let shown = |path: &PathBuf| Some(path.strip_prefix(folder).ok()?.to_str()?.to_owned());
    let mut names: Vec<String> = found.iter().filter_map(shown).collect();
    names.retain(|name| !name.eq_ignore_ascii_case("SKILL.md"));
    names.sort();
    let more = names.len().saturating_sub(FILES_MAX);
    names.truncate(FILES_MAX);
    Files { names, more, is_whole }
}
