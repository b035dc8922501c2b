//! `oarlock schema`: the JSON Schema of what `run --json` prints.

use std::io::Write;

use oarlock_core::event::{AgentEvent, SCHEMA_VERSION};
use serde_json::json;

use crate::exit::Exit;
use crate::terminal::json_lines::ResultLine;

pub(super) fn run(out: &mut dyn Write) -> anyhow::Result<Exit> {
    serde_json::to_writer_pretty(&mut *out, &schema()?)?;
    writeln!(out)?;
    Ok(Exit::Done)
}

/// The schema of one line: an event, or the result that comes last.
///
/// # Errors
/// Never in practice: the types are plain.
pub fn schema() -> anyhow::Result<serde_json::Value> {
    let mut generator = schemars::SchemaGenerator::default();
    let lines = [generator.subschema_for::<AgentEvent>(), generator.subschema_for::<ResultLine>()];
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of `oarlock run --json`",
        "version": SCHEMA_VERSION,
        "anyOf": lines,
        "$defs": generator.take_definitions(true),
    }))
}
