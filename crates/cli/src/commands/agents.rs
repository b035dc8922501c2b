//! `oarlock agents`: the profiles of subagents of this folder, and why others are not used.

use std::io::Write;

use serde_json::json;

use super::{Frame, complain};
use crate::args::AgentsArgs;
use crate::config::agents::{Profile, Profiles};
use crate::exit::Exit;
use crate::terminal::safe;

/// Characters of a line that quotes a profile.
const LINE_CHARS_MAX: usize = 300;

pub(super) fn run(frame: &Frame, args: &AgentsArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load(args.overrides.overrides.clone())?;
    let profiles = Profiles::of(&loaded, &frame.cwd.canonicalize()?);
    if args.json {
        let usable: Vec<_> = profiles.usable.values().map(listed).collect();
        writeln!(out, "{}", json!({"agents": usable, "problems": profiles.problems}))?;
        return Ok(Exit::Done);
    }
    profiles.problems.iter().for_each(|line| complain(&safe::line(line, LINE_CHARS_MAX)));
    if profiles.usable.is_empty() {
        complain("there is no profile of subagents here; docs/subagents.md says how to write one");
    }
    for Profile { profile, path, of_project } in profiles.usable.values() {
        let whose = if *of_project { "project" } else { "user" };
        let description = safe::line(&profile.description, LINE_CHARS_MAX);
        writeln!(out, "{}  ({whose})  {description}", profile.name)?;
        writeln!(out, "    {}", safe::line(&path.to_string_lossy(), LINE_CHARS_MAX))?;
        if let Some(tools) = &profile.order.tools {
            writeln!(out, "    tools: {}", safe::line(&tools.join(", "), LINE_CHARS_MAX))?;
        }
        if let Some(model) = &profile.order.model {
            writeln!(out, "    model: {}", safe::line(&model.to_string(), LINE_CHARS_MAX))?;
        }
    }
    Ok(Exit::Done)
}

fn listed(Profile { profile, path, of_project }: &Profile) -> serde_json::Value {
    json!({
        "name": profile.name,
        "description": profile.description,
        "source": if *of_project { "project" } else { "user" },
        "path": path,
        "model": profile.order.model.as_ref().map(ToString::to_string),
        "tools": profile.order.tools,
        "request_limit": profile.order.request_limit,
        "limits": profile.order.bounds,
        "inherit_project_prompt": profile.inherit_project_prompt,
    })
}
