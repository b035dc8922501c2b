//! Slash commands at a terminal or in a pipe: what was typed, whom it concerns, and who resolves the names in it.

use oarlock_core::prompt::answer::{Answer, Ask, Change, Listed, Question, listed};
use oarlock_core::prompt::slash::{PromptFile, Slash, Typed};
use oarlock_core::spec::{Mode, ModelSelection};

use crate::assembly::shelf;
use crate::commands::complain;
use crate::config::{Loaded, prompts, skills};

/// What a slash command wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The list of commands.
    Help,
    /// Words for the running turn.
    Steer(String),
    /// Words that are a goal, too.
    Pursue(String),
    /// Something of the session.
    Ask(Ask),
}

/// Reads a typed text. Prompt files and skills are read when it begins like a command; those that cannot be used are told when it is none.
///
/// # Errors
/// `SlashError`, and when the configuration of skills cannot be used.
pub fn read(loaded: &Loaded, text: &str) -> anyhow::Result<Typed> {
    if !text.trim_start().starts_with('/') {
        return Ok(Typed::Words(text.to_owned()));
    }
    let (files, problems) = files(loaded)?;
    let typed = Typed::read(text, &files);
    Ok(typed.inspect_err(|_| problems.iter().for_each(|line| complain(line)))?)
}

/// All commands, with those that only this surface has. Prompt files and skills that cannot be used are told.
///
/// # Errors
/// When the configuration of skills cannot be used.
pub fn help(loaded: &Loaded, own: &[(&str, &str)]) -> anyhow::Result<Answer> {
    let (files, problems) = files(loaded)?;
    problems.iter().for_each(|line| complain(line));
    let mut commands = listed(&files);
    commands.extend(own.iter().map(|(name, description)| Listed {
        name: (*name).to_owned(),
        hint: None,
        description: Some((*description).to_owned()),
    }));
    Ok(Answer::Help { commands })
}

/// Prompt files, then the skills that have no prompt file of their name, and a line for each that cannot be used.
fn files(loaded: &Loaded) -> anyhow::Result<(Vec<PromptFile>, Vec<String>)> {
    let (mut files, mut problems) = prompts::load(loaded);
    let shelved = shelf(loaded)?.of(&loaded.cwd);
    for skill in skills::as_prompts(&shelved.skills) {
        if !files.iter().any(|file| file.name == skill.name) {
            files.push(skill);
        }
    }
    problems.extend(shelved.problems);
    Ok((files, problems))
}

/// What a command wants. `model` finds a model by the name that a person gave it.
///
/// # Errors
/// When it names a model or mode that cannot be.
pub fn wanted(
    slash: Slash,
    model: impl Fn(&str) -> anyhow::Result<ModelSelection>,
) -> anyhow::Result<Wanted> {
    let question = |question: Question| Wanted::Ask(question.into());
    let change = |change: Change| Wanted::Ask(change.into());
    Ok(match slash {
        Slash::Help => Wanted::Help,
        Slash::Steer(words) => Wanted::Steer(words),
        Slash::Compact { instructions } => change(Change::Compact(instructions)),
        Slash::Context => question(Question::Context),
        Slash::Usage => question(Question::Usage),
        Slash::Model(None) => question(Question::Model),
        Slash::Model(Some(name)) => change(Change::Model(model(&name)?)),
        Slash::Mode(None) => question(Question::Mode),
        Slash::Mode(Some(name)) => change(Change::Mode(Mode::parse(&name)?)),
        Slash::Queue => question(Question::Queue),
        Slash::Goal(None) => question(Question::Goal),
        Slash::Goal(Some(words)) => Wanted::Pursue(words),
        Slash::NoGoal => change(Change::NoGoal),
        Slash::Plan => question(Question::Plan),
        Slash::Tasks => question(Question::Tasks),
        Slash::CancelTask(task) => change(Change::CancelTask(task)),
        Slash::SendToTask(task, line) => change(Change::SendToTask(task, line)),
        Slash::Withdraw(number) => change(Change::Withdraw(number)),
    })
}
