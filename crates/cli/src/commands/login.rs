//! `oarlock login`: asks for a provider's key, asks the provider whether it takes it, and stores it where nobody else can read it.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use inquire::{InquireError, Password, Select};
use oarlock_models::catalog;
use secrecy::SecretString;
use serde::Serialize;

use super::{Frame, complain};
use crate::args::LoginArgs;
use crate::config::Loaded;
use crate::config::credentials::{self as file, Credentials, Stored};
use crate::config::secret::{self, KEY_BYTES_MAX, KeyPlace};
use crate::credentials::{self, Verdict};
use crate::exit::Exit;
use crate::providers::waited_for;
use crate::selection::{self, DEMO, SCRIPT};
use crate::terminal::safe;

/// How long the provider may take to answer, with the key and once more without.
const CHECK_WITHIN: Duration = Duration::from_secs(10);
/// Characters of a provider's words that are shown.
const WORDS_MAX: usize = 600;

pub(super) fn run(frame: &Frame, args: LoginArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    if !args.misplaced.is_empty() {
        complain(
            "a key is no argument, since other users and your shell's history see those; pipe it in or type it when asked",
        );
        return Ok(Exit::Usage);
    }
    let loaded = frame.load(args.overrides.overrides.clone())?;
    if args.status {
        return status(&loaded, &args, out);
    }
    // What stands in the way of storing is told before anybody types a key.
    let credentials = Credentials::of(&loaded.environment)?;
    credentials.read()?;
    let Some(provider) = provider(&loaded, args.provider)? else { return cancelled() };
    let Some(key) = key(&provider)? else { return cancelled() };
    let found = match args.no_check {
        true => "not checked".to_owned(),
        false => checked(&loaded, &provider, key.clone())?,
    };
    let was_there = credentials.store(&provider, &key)?;
    let did = if was_there { "replaced" } else { "stored" };
    writeln!(out, "{did} the key of {provider} in {}; {found}", credentials.path().display())?;
    if let Some(place) = elsewhere(&loaded, &provider) {
        complain(&format!("{place} is there as well and counts before the stored key"));
    }
    Ok(Exit::Done)
}

fn cancelled() -> anyhow::Result<Exit> {
    complain("cancelled; nothing was stored");
    Ok(Exit::Cancelled)
}

/// The provider that is named, else the configured one, else the one that a person chooses; `None` when they do not.
fn provider(loaded: &Loaded, named: Option<String>) -> anyhow::Result<Option<String>> {
    let config = &loaded.config;
    let takes_key = |name: &String| !matches!(name.as_str(), DEMO | SCRIPT);
    let configured = || selection::named_provider(config).filter(takes_key);
    let Some(provider) = named.or_else(configured) else {
        return choose(loaded);
    };
    if let Err(unknown) = selection::known(config, &provider) {
        // It may be a key in the wrong place, and is repeated only when it is like a name.
        match catalog::nearest(&provider, selection::names(config)) {
            Some(_) => return Err(unknown.into()),
            None => bail!(
                "there is no such provider; `oarlock login --status` lists them (a key is piped in or typed, and never an argument)"
            ),
        }
    }
    if !takes_key(&provider) {
        bail!(
            "`{provider}` is built in and needs no key; name a provider, for example `oarlock login anthropic`"
        );
    }
    Ok(Some(provider))
}

fn choose(loaded: &Loaded) -> anyhow::Result<Option<String>> {
    if !is_person() {
        bail!(
            "no provider is named or configured; name one, for example `oarlock login anthropic`"
        );
    }
    let all = names(loaded);
    // Servers of this machine hardly ever want a key.
    let (with, without): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|name| secret::variable(&loaded.config, name).is_some());
    answered(Select::new("Provider:", [with, without].concat()).prompt())
}

/// Every provider that may have a key, each once.
fn names(loaded: &Loaded) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in selection::names(&loaded.config) {
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Whether somebody can be asked.
fn is_person() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// `None` when the person would rather not.
fn answered<T>(answer: Result<T, InquireError>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => Ok(None),
        Err(error) => Err(error).context("cannot ask on this terminal; pipe the key in"),
    }
}

/// The key, typed without echo, or read from stdin when that is no terminal. `None` when the person would rather not.
fn key(provider: &str) -> anyhow::Result<Option<SecretString>> {
    if is_person() {
        let question = format!("Key of {provider} (it is not shown):");
        let typed = Password::new(&question).without_confirmation().prompt();
        let typed = answered(typed)?;
        return Ok(typed.map(file::parse).transpose()?);
    }
    if std::io::stdin().is_terminal() {
        bail!("nobody can be asked: stderr is no terminal; pipe the key in");
    }
    let mut text = String::new();
    let bounded = std::io::stdin().lock().take(KEY_BYTES_MAX + 3);
    std::io::BufReader::new(bounded)
        .read_to_string(&mut text)
        .context("cannot read the key from stdin")?;
    Ok(Some(file::parse(text)?))
}

/// What the provider says to the key, in words; an error when it refuses or is not reached.
fn checked(loaded: &Loaded, provider: &str, key: SecretString) -> anyhow::Result<String> {
    let asked = waited_for(credentials::verify(loaded, provider, key, CHECK_WITHIN));
    match asked.context("cannot start the network client")? {
        Ok(Verdict::Taken { models }) => Ok(format!("{provider} takes it and has {models} models")),
        Ok(Verdict::Unproven(why)) => {
            Ok(format!("whether it is right could not be checked: {}", safe::line(&why, WORDS_MAX)))
        }
        Ok(Verdict::Refused(why)) => {
            bail!("the key was refused and not stored: {}", safe::line(&why, WORDS_MAX))
        }
        Err(error) => Err(error).with_context(|| {
            format!("the key could not be checked and was not stored (`oarlock login {provider} --no-check` stores it unchecked)")
        }),
    }
}

/// Where a key of the provider is that counts before a stored one. One that cannot be read counts as well, and is complained of elsewhere.
pub(super) fn elsewhere(loaded: &Loaded, provider: &str) -> Option<KeyPlace> {
    let without = Loaded { stored: Stored::none(), ..loaded.clone() };
    Some(secret::key(&without, provider).ok()??.1)
}

/// A line of `--status`.
#[derive(Debug, Serialize)]
struct Line {
    provider: String,
    /// `variable`, `file`, `command` or `stored`; nothing when there is no key.
    from: Option<&'static str>,
    /// The variable, the file or the program.
    place: Option<String>,
    /// Whether a key is stored, used or not.
    stored: bool,
    /// What is missing, or why the key cannot be used.
    needs: Option<String>,
}

fn status(loaded: &Loaded, args: &LoginArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let stored: Vec<String> = match loaded.stored.providers() {
        Ok(names) => names.map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    };
    let mut all = names(loaded);
    all.extend(stored.iter().filter(|name| !all.contains(name)).cloned().collect::<Vec<_>>());
    if let Some(provider) = &args.provider {
        if !stored.contains(provider) {
            selection::known(&loaded.config, provider)?;
        }
        all.retain(|name| name == provider);
    }
    let lines: Vec<Line> =
        all.into_iter().map(|name| line(loaded, stored.contains(&name), name)).collect();
    if args.json {
        let file = Credentials::of(&loaded.environment)?;
        let value = serde_json::json!({ "file": file.path(), "providers": lines });
        writeln!(out, "{value}")?;
        return Ok(Exit::Done);
    }
    let width = lines.iter().map(|line| line.provider.chars().count()).max().unwrap_or(0);
    for Line { provider, place, stored, from, needs } in &lines {
        let words = match (from, place, needs) {
            (Some("variable"), Some(name), _) => format!("${name}"),
            (Some("file"), Some(path), _) => format!("the key file {path}"),
            (Some("command"), Some(program), _) => format!("the command `{program}`"),
            (_, Some(path), _) => format!("stored in {path}"),
            (_, None, Some(needs)) => format!("none: {needs}"),
            (_, None, None) => "none; none is needed".to_owned(),
        };
        let behind = *stored && *from != Some("stored");
        let behind = if behind { "; a stored key is not used" } else { "" };
        writeln!(out, "{provider:width$}  {words}{behind}")?;
    }
    Ok(Exit::Done)
}

fn line(loaded: &Loaded, stored: bool, provider: String) -> Line {
    let (from, place, needs) = match secret::key(loaded, &provider) {
        Ok(Some((_, KeyPlace::Variable(name)))) => (Some("variable"), Some(name), None),
        Ok(Some((_, KeyPlace::File(path)))) => {
            (Some("file"), Some(path.display().to_string()), None)
        }
        Ok(Some((_, KeyPlace::Command(program)))) => (Some("command"), Some(program), None),
        Ok(Some((_, KeyPlace::Stored(path)))) => {
            (Some("stored"), Some(path.display().to_string()), None)
        }
        Ok(None) => {
            let variable = secret::variable(&loaded.config, &provider);
            let needs = |name| format!("set {name} or run `oarlock login {provider}`");
            (None, None, variable.map(needs))
        }
        Err(error) => (None, None, Some(error.to_string())),
    };
    Line { provider, from, place, stored, needs }
}
