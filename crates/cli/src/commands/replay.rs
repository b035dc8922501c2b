//! `oarlock replay`: runs a recording again, without network or processes, and compares the journals hash for hash.

use std::io::Write;

use oarlock_core::replay::replay;
use serde_json::json;

use crate::args::ReplayArgs;
use crate::exit::Exit;
use crate::recording;

pub(super) fn run(args: &ReplayArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let lines = recording::read(&args.dir)?;
    let report = super::block_on(async { Ok(replay(lines).await?) })?;
    match args.json {
        true => writeln!(
            out,
            "{}",
            json!({ "session": report.session, "commits": report.frames, "last": report.last, "head": report.head })
        )?,
        false => writeln!(
            out,
            "session {}: {} commits up to entry {} are the same, head {}",
            report.session, report.frames, report.last, report.head
        )?,
    }
    Ok(Exit::Done)
}
