//! `oarlock skills`: the skills of this folder, what of each is not understood, and what is not used.

use std::io::Write;

use oarlock_tools::skills::{LeftOut, Skill, Source, ThoughtOf, Why};
use serde_json::{Value, json};

use super::{Frame, complain};
use crate::args::SkillsArgs;
use crate::assembly::shelf;
use crate::config::skills::Shelved;
use crate::exit::Exit;
use crate::terminal::safe;

/// Characters of a line that quotes a skill.
const LINE_CHARS_MAX: usize = 300;

pub(super) fn run(frame: &Frame, args: &SkillsArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load(args.overrides.overrides.clone())?;
    let cwd = frame.cwd.canonicalize()?;
    let shelved = shelf(&loaded)?.of(&cwd);
    if args.json {
        writeln!(out, "{}", listed(&shelved))?;
        return Ok(Exit::Done);
    }
    shelved.problems.iter().for_each(|line| complain(line));
    if !loaded.config.skills.enabled {
        complain("`skills.enabled` is false: no skill is used");
    } else if shelved.skills.is_empty() {
        complain("no skill is used here; docs/skills.md says where they are looked for");
    }
    for skill in shelved.skills.iter() {
        show(skill, out)?;
    }
    for LeftOut { name, folder, why } in &shelved.skills.left_out {
        if let Why::Replaced(_) = why {
            let (name, folder) = (safe::line(name, 64), folder.display());
            writeln!(out, "{name}  not used: {why}\n    {folder}")?;
        }
    }
    Ok(Exit::Done)
}

fn show(skill: &Skill, out: &mut dyn Write) -> std::io::Result<()> {
    let line = |text: &str| safe::line(text, LINE_CHARS_MAX);
    let always = if skill.always { ", in every session" } else { "" };
    writeln!(
        out,
        "{}  ({}{always})  {}",
        skill.name,
        whose(skill.source),
        line(&skill.description)
    )?;
    writeln!(out, "    {}", line(&skill.folder.to_string_lossy()))?;
    match skill.thought_of {
        ThoughtOf::ByAnybody => {}
        ThoughtOf::ByPeople => writeln!(out, "    models are not told of it: say /{}", skill.name)?,
        ThoughtOf::ByModels => writeln!(out, "    models load it by themselves; it is no command")?,
    }
    if !skill.allowed.grants.is_empty() {
        writeln!(
            out,
            "    runs without asking, once loaded: {}",
            line(&skill.allowed.grants.join(", "))
        )?;
    }
    for refused in &skill.allowed.refused {
        writeln!(out, "    `allowed-tools` grants nothing for {}", line(refused))?;
    }
    for note in &skill.notes {
        writeln!(out, "    {}", line(note))?;
    }
    if !skill.ignored.is_empty() {
        writeln!(out, "    means nothing here: {}", line(&skill.ignored.join(", ")))?;
    }
    Ok(())
}

fn whose(source: Source) -> &'static str {
    match source {
        Source::User => "user",
        Source::Extra => "skills.dirs",
        Source::Project => "project",
    }
}

fn listed(shelved: &Shelved) -> Value {
    let skill = |skill: &Skill| {
        json!({
            "name": skill.name,
            "description": skill.description,
            "source": skill.source,
            "folder": skill.folder,
            "always": skill.always,
            "thought_of": skill.thought_of,
            "triggers": !skill.triggers.is_empty(),
            "grants": skill.allowed.grants,
            "not_granted": skill.allowed.refused,
            "ignored_keys": skill.ignored,
            "notes": skill.notes,
        })
    };
    let left_out = |left: &LeftOut| json!({ "name": left.name, "folder": left.folder, "why": left.why.to_string() });
    json!({
        "skills": shelved.skills.iter().map(skill).collect::<Vec<_>>(),
        "left_out": shelved.skills.left_out.iter().map(left_out).collect::<Vec<_>>(),
        "problems": shelved.problems,
    })
}
