//! `oarlock policy`: shows, adds and takes back what is granted for later sessions of a folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use oarlock_core::ports::policy::Grants;

use super::{Frame, block_on};
use crate::args::{PolicyAction, PolicyArgs};
use crate::assembly::data_dir;
use crate::exit::Exit;
use crate::grants::FileGrants;
use crate::terminal::safe;

pub(super) fn run(frame: &Frame, args: &PolicyArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load(Vec::new())?;
    let folder = folder(frame, args)?;
    let grants = FileGrants::within(&data_dir(&loaded)?);
    let rules = match &args.action {
        PolicyAction::List => block_on(async { Ok(grants.load(&folder).await?) })?,
        PolicyAction::Allow { rules } => {
            block_on(async { Ok(grants.save(&folder, rules).await?) })?;
            rules.clone()
        }
        PolicyAction::Forget { rules, .. } => block_on(forget(&grants, &folder, rules))?,
    };
    show(args, (&folder, &rules), out)?;
    Ok(Exit::Done)
}

fn folder(frame: &Frame, args: &PolicyArgs) -> anyhow::Result<PathBuf> {
    let dir = args.folder.as_ref().map_or_else(|| frame.cwd.clone(), |dir| frame.cwd.join(dir));
    dir.canonicalize().with_context(|| format!("no such folder: {}", dir.display()))
}

/// Takes back these grants, or all when none is named. One that is not there is a mistake that should be seen, and changes nothing.
async fn forget(
    grants: &FileGrants,
    folder: &Path,
    rules: &[String],
) -> anyhow::Result<Vec<String>> {
    let kept = grants.load(folder).await?;
    if let Some(missing) = rules.iter().find(|rule| !kept.contains(rule)) {
        bail!("`{missing}` is not granted in {}; see `oarlock policy list`", folder.display());
    }
    Ok(grants.forget(folder, if rules.is_empty() { &kept } else { rules }).await?)
}

fn show(
    args: &PolicyArgs,
    (folder, rules): (&Path, &[String]),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let did = match args.action {
        PolicyAction::List => "granted in",
        PolicyAction::Allow { .. } => "now granted to new sessions in",
        PolicyAction::Forget { .. } => "no longer granted to new sessions in",
    };
    if args.json {
        let value = serde_json::json!({ "folder": folder, "grants": rules });
        writeln!(out, "{value}")?;
    } else if rules.is_empty() {
        writeln!(out, "nothing is granted in {}", folder.display())?;
    } else {
        writeln!(out, "{did} {}:", folder.display())?;
        for rule in rules {
            writeln!(out, "  {}", safe::line(rule, 2_000))?;
        }
    }
    Ok(())
}
