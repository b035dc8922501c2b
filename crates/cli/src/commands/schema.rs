//! `oarlock schema`: the JSON Schema of what `run --json` prints.
//!
//! The program carries the text, not what would write it from the types, which is six times as large. A test holds the one to the other.

use std::io::Write;

use anyhow::Context;
use oarlock_core::event::{AgentEvent, SCHEMA_VERSION};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::terminal::json_lines::ResultLine;

/// The schema as it was agreed, a definition a line.
pub const AGREED: &str = include_str!("schema.json");

pub(super) fn run(out: &mut dyn Write) -> anyhow::Result<Exit> {
    let schema: Value = serde_json::from_str(AGREED).context("this program's schema is broken")?;
    serde_json::to_writer_pretty(&mut *out, &schema)?;
    writeln!(out)?;
    Ok(Exit::Done)
}

/// The schema of one line, from the types: an event, or the result that comes last.
pub fn of_the_types() -> Value {
    let mut generator = schemars::SchemaGenerator::default();
    let lines = [generator.subschema_for::<AgentEvent>(), generator.subschema_for::<ResultLine>()];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of `oarlock run --json`",
        "version": SCHEMA_VERSION,
        "anyOf": lines,
        "$defs": generator.take_definitions(true),
    })
}
