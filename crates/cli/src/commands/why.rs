//! `oarlock session why`: what a session waits for, for people and programs. It wakes nothing.

use std::io::Write;

use oarlock_core::agent::why::{Below, Runs, Why};
use oarlock_core::ids::{SessionId, Timestamp};
use oarlock_core::session::why::{Awaited, Owner, Wait};

use crate::assembly::Assembled;
use crate::terminal::safe;

/// Longest text of a wait, in characters.
const WORDS_MAX: usize = 120;

/// Tells why a session waits.
///
/// # Errors
/// When its journal cannot be read or `out` is closed.
pub(super) async fn tell(
    assembled: &Assembled,
    id: &SessionId,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let why = assembled.core.why(id).await?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&why)?)?;
    } else {
        let now = assembled.core.ports().clock.now();
        session(out, &why, now, 0)?;
    }
    Ok(())
}

fn session(out: &mut dyn Write, why: &Why, now: Timestamp, depth: usize) -> std::io::Result<()> {
    let indent = "    ".repeat(depth);
    let doing = match (why.turn, &why.runs) {
        (Some(turn), Runs::Here | Runs::Elsewhere { .. }) => format!("turn {turn} runs"),
        (Some(turn), Runs::Nobody) => format!("turn {turn} is open"),
        (None, _) if why.archived => "archived".to_owned(),
        (None, Runs::Nobody) => "asleep".to_owned(),
        (None, Runs::Here | Runs::Elsewhere { .. }) => "idle".to_owned(),
    };
    let by = match &why.runs {
        Runs::Here => "in this process".to_owned(),
        Runs::Elsewhere { node } => {
            format!(
                "in another process, {node}; of its deadlines only those in the journal are known here"
            )
        }
        Runs::Nobody => "no process has it".to_owned(),
    };
    writeln!(out, "{indent}session {}: {doing}, {by}", why.session)?;
    if let Some(parent) = &why.parent {
        writeln!(out, "{indent}  of session {parent}")?;
    }
    if why.waits.is_empty() {
        writeln!(out, "{indent}  waits for nothing")?;
    }
    let mut children = why.children.iter();
    for wait in &why.waits {
        one(out, wait, now, &indent)?;
        if child(wait)
            && let Some(below) = children.next()
        {
            self::below(out, below, now, depth + 1)?;
        }
    }
    Ok(())
}

fn one(out: &mut dyn Write, wait: &Wait, now: Timestamp, indent: &str) -> std::io::Result<()> {
    writeln!(out, "{indent}  waits for  {}", safe::line(&words(&wait.on), WORDS_MAX))?;
    if let Some(since) = wait.since {
        writeln!(out, "{indent}    since    {since} ({} ago)", span(now.ms_since(since)))?;
    }
    writeln!(out, "{indent}    owner    {}", safe::line(&owner(&wait.owner), WORDS_MAX))?;
    let until = match wait.deadline {
        Some(moment) if moment > now => format!("{moment} (in {})", span(moment.ms_since(now))),
        Some(moment) => format!("{moment} (passed)"),
        None => "none known".to_owned(),
    };
    writeln!(out, "{indent}    deadline {until}")?;
    writeln!(out, "{indent}    then     {}", wait.default)
}

fn below(out: &mut dyn Write, below: &Below, now: Timestamp, depth: usize) -> std::io::Result<()> {
    let indent = "    ".repeat(depth);
    match below {
        Below::Session { why } => session(out, why, now, depth),
        Below::Cycle { session } => {
            writeln!(
                out,
                "{indent}session {session}: a circle; it waits for itself by way of its subagents"
            )
        }
        Below::Unreadable { session, error } => {
            writeln!(out, "{indent}session {session}: {}", safe::line(error, WORDS_MAX))
        }
    }
}

fn child(wait: &Wait) -> bool {
    matches!(wait.on, Awaited::Child { .. } | Awaited::Task { child: Some(_), .. })
}

fn words(on: &Awaited) -> String {
    match on {
        Awaited::Model { step, attempt } => {
            format!("the model's answer (step {step}, attempt {attempt})")
        }
        Awaited::Retry { step, attempt, why } => {
            format!("the next try of the model (step {step}, attempt {attempt}) after: {why}")
        }
        Awaited::Describe { title, .. } => format!("what to show about: {title}"),
        Awaited::Permission { title, .. } => format!("permission for: {title}"),
        Awaited::Client { title, .. } => format!("the client's answer to: {title}"),
        Awaited::Tool { title, .. } => format!("the end of: {title}"),
        Awaited::Hooks { point } => format!("the hooks at {}", point.name()),
        Awaited::Summary => "a summary of older messages".to_owned(),
        Awaited::Task { task, label, .. } => format!("the background task {task}: {label}"),
        Awaited::Child { profile, child } => format!("the subagent {profile}, session {child}"),
        Awaited::Input { input, words } => format!("the turn of input {input}: {words}"),
        Awaited::Opening { turn } => format!("somebody to go on with turn {turn}"),
    }
}

fn owner(owner: &Owner) -> String {
    match owner {
        Owner::Session => "the session".to_owned(),
        Owner::Provider { name } => format!("the provider {name}"),
        Owner::Tool { name } => format!("the tool {name}"),
        Owner::Hooks => "the hooks".to_owned(),
        Owner::Person => "whoever answers questions".to_owned(),
        Owner::Client => "the client".to_owned(),
        Owner::Child { session } => format!("session {session}"),
        Owner::Nobody => "nobody".to_owned(),
    }
}

/// A span of time in its two largest units.
fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}
