//! `oarlock logout`: removes what `oarlock login` stored, and says where a key still comes from.

use std::io::Write;

use anyhow::bail;

use super::{Frame, complain, login};
use crate::args::LogoutArgs;
use crate::config::Loaded;
use crate::credentials;
use crate::exit::Exit;
use crate::selection;
use crate::terminal::safe;

/// Characters of a name that are shown.
const NAME_MAX: usize = 200;

pub(super) fn run(frame: &Frame, args: LogoutArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load(args.overrides.overrides.clone())?;
    let removed = match args.all {
        true => credentials::remove_all(&loaded)?,
        false => {
            let Some(provider) = provider(&loaded, args.provider)? else {
                writeln!(out, "no key is stored")?;
                return Ok(Exit::Done);
            };
            let was_there = credentials::remove(&loaded, &provider)?;
            let shown = safe::line(&provider, NAME_MAX);
            if !was_there {
                writeln!(out, "no key of {shown} was stored")?;
                warn_of_others(&loaded, &provider);
            }
            was_there.then_some(provider).into_iter().collect()
        }
    };
    for provider in &removed {
        writeln!(out, "removed the key of {}", safe::line(provider, NAME_MAX))?;
        warn_of_others(&loaded, provider);
    }
    if args.all && removed.is_empty() {
        writeln!(out, "no key is stored")?;
    }
    Ok(Exit::Done)
}

fn warn_of_others(loaded: &Loaded, provider: &str) {
    if let Some(place) = login::elsewhere(loaded, provider) {
        complain(&format!("a key of {provider} still comes from {place}"));
    }
}

/// The provider that is named, else the configured one if its key is stored, else the only one with a stored key; `None` when none has one.
fn provider(loaded: &Loaded, named: Option<String>) -> anyhow::Result<Option<String>> {
    if named.is_some() {
        return Ok(named);
    }
    let stored = loaded.stored.providers()?;
    let stored: Vec<String> = stored.map(str::to_owned).collect();
    let configured = selection::named_provider(&loaded.config);
    match (configured.filter(|name| stored.contains(name)), stored.as_slice()) {
        (Some(configured), _) => Ok(Some(configured)),
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only.clone())),
        (None, several) => {
            bail!("keys of {} are stored; name one of them, or use --all", several.join(", "))
        }
    }
}
