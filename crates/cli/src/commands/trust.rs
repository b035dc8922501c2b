//! `oarlock trust`: shows what a folder's configuration would set, and lets it take effect.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, bail};

use oarlock_tools::ToolsConfig;
use oarlock_tools::skills::Skill;

use super::Frame;
use crate::args::TrustArgs;
use crate::assembly::tool_names;
use crate::config::keys::{Found, Need, find};
use crate::config::{Project, Setting, Standing, TrustStore, paths, project};
use crate::exit::Exit;

pub(super) fn run(frame: &Frame, args: &TrustArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let store = TrustStore::at(paths::trust_store(&frame.environment)?);
    if args.list {
        for folder in store.read()?.folders.keys() {
            writeln!(out, "{}", folder.display())?;
        }
        return Ok(Exit::Done);
    }
    let dir = match &args.dir {
        Some(dir) => {
            let dir = frame.cwd.join(dir);
            dir.canonicalize().with_context(|| format!("no such folder: {}", dir.display()))?
        }
        None => frame.cwd.clone(),
    };
    if args.revoke {
        let root = paths::project_root(&dir);
        let root = root.canonicalize().unwrap_or(root);
        let was = store.update(|trusted| trusted.folders.remove(&root).is_some())?;
        let words = if was { "is not trusted any more" } else { "was not trusted" };
        writeln!(out, "{} {words}", root.display())?;
        return Ok(Exit::Done);
    }
    let project = project(&frame.environment, &dir)?;
    show(&project, &tool_names(&ToolsConfig::default())?, out)?;
    out.flush()?;
    if args.show || project.standing == Standing::Nothing || project.standing == Standing::Trusted {
        return Ok(Exit::Done);
    }
    if !args.yes && !confirmed(&project)? {
        bail!("{} stays untrusted", project.root.display());
    }
    store.update(|trusted| {
        trusted.folders.insert(project.root.clone(), project.fingerprint.clone());
    })?;
    writeln!(out, "{} is trusted until its configuration changes", project.root.display())?;
    Ok(Exit::Done)
}

fn show(project: &Project, tools: &[String], out: &mut dyn Write) -> std::io::Result<()> {
    let root = project.root.display();
    match project.standing {
        Standing::Nothing => {
            return writeln!(
                out,
                "{root} has no configuration of its own; there is nothing to trust"
            );
        }
        Standing::Trusted => writeln!(out, "{root} is trusted; it sets:")?,
        Standing::Changed => writeln!(out, "{root} was trusted and has changed; it would set:")?,
        Standing::Untrusted => writeln!(out, "{root} is not trusted; it would set:")?,
    }
    for setting in &project.settings {
        writeln!(
            out,
            "  {} = {}   ({}; {})",
            setting.key(),
            plain(&setting.value),
            need(setting),
            setting.source
        )?;
    }
    for prompt in &project.prompts {
        writeln!(out, "  a prompt   ({})", plain_path(&prompt.path))?;
    }
    for found in &project.skills {
        let read = Skill::read(found, tools);
        let (always, grants) = match &read {
            Ok(skill) => (skill.always, skill.allowed.grants.as_slice()),
            Err(_) => (false, [].as_slice()),
        };
        let always = if always { "; its text is part of every session" } else { "" };
        writeln!(out, "  a skill   ({}{always})", plain_path(&found.folder))?;
        for grant in grants {
            let grant = plain(&toml::Value::String(grant.clone()));
            writeln!(out, "    once loaded, runs without asking: {grant}")?;
        }
    }
    for agent in &project.agents {
        writeln!(out, "  a profile of subagents   ({})", plain_path(&agent.path))?;
    }
    Ok(())
}

fn plain_path(path: &std::path::Path) -> String {
    plain(&toml::Value::String(path.display().to_string()))
}

/// A value without characters that could hide something on a terminal.
fn plain(value: &toml::Value) -> String {
    value.to_string().chars().flat_map(|c| {
        let harmful = c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if harmful { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] }
    }).collect()
}

fn need(setting: &Setting) -> &'static str {
    match find(&setting.path) {
        Found::Key(key) => match key.need {
            Need::Harmless => "harmless",
            Need::Tighten => "trust only matters if it is laxer than yours",
            Need::Trust => "needs trust",
            Need::UserOnly => "never applied from a folder",
        },
        Found::Table | Found::Nothing => unreachable!("settings are checked when they are read"),
    }
}

fn confirmed(project: &Project) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "nobody can be asked: stdin is no terminal; read the list above, then use `oarlock trust --yes {}`",
            project.root.display()
        );
    }
    write!(anstream::stderr(), "Trust this configuration? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
