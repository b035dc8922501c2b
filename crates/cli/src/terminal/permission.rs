//! Asking a person whether a call may run.

use std::io::{self, BufRead, Write};

use oarlock_core::event::{PermissionAsked, PermissionKind, PermissionOption};

use super::safe;

/// A person who answers nonsense this often has said no.
const TRIES_MAX: u32 = 3;

/// The key that stands for a choice.
fn key(kind: PermissionKind) -> char {
    match kind {
        PermissionKind::AllowOnce => 'y',
        PermissionKind::AllowAlways => 'a',
        PermissionKind::AllowSaved => 's',
        PermissionKind::RejectOnce => 'n',
        PermissionKind::RejectAlways => 'd',
    }
}

/// The question with its detail and choices, safe for a terminal.
#[must_use]
pub fn question(asked: &PermissionAsked) -> String {
    let mut words = format!("\n{}\n\n", safe::text(asked.detail.trim_end()));
    for option in &asked.options {
        let key = key(option.kind);
        words.push_str(&format!("  {key}  {}\n", safe::line(&option.label, 120)));
        for rule in option.grants.iter().filter(|rule| !option.label.contains(*rule)) {
            words.push_str(&format!("       {}\n", safe::line(rule, 120)));
        }
    }
    words
}

/// The choice that an answer means: its key, or the word yes or no. `None` when it means none that is offered.
#[must_use]
pub fn choice(answer: &str, options: &[PermissionOption]) -> Option<PermissionKind> {
    let answer = answer.trim().to_lowercase();
    let wanted = match answer.as_str() {
        "yes" => 'y',
        "no" => 'n',
        single if single.chars().count() == 1 => single.chars().next()?,
        _ => return None,
    };
    options.iter().map(|option| option.kind).find(|kind| key(*kind) == wanted)
}

/// Asks until an answer makes sense. The end of input, and too much nonsense, are the question's default; so is a default that allows
/// turned into a refusal, since nobody said yes. Blocks on `input`: run it on a thread of its own and answer the deadline without it.
///
/// # Errors
/// Those of the terminal.
pub fn ask(
    asked: &PermissionAsked,
    input: &mut dyn BufRead,
    screen: &mut dyn Write,
) -> io::Result<PermissionKind> {
    screen.write_all(question(asked).as_bytes())?;
    let keys: Vec<String> = asked.options.iter().map(|o| key(o.kind).to_string()).collect();
    for _ in 0..TRIES_MAX {
        write!(screen, "[{}] ", keys.join("/"))?;
        screen.flush()?;
        let mut answer = String::new();
        if input.read_line(&mut answer)? == 0 {
            break;
        }
        if let Some(kind) = choice(&answer, &asked.options) {
            return Ok(kind);
        }
    }
    Ok(if asked.default.allows() { PermissionKind::RejectOnce } else { asked.default })
}
