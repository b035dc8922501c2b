//! The schema of `--output-schema`: read once, and checked before anything is made.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use oarlock_core::spec::{OutputSchema, SCHEMA_BYTES, StructuredOutput};

use crate::args::RunArgs;

/// Bytes that a file with a schema may have: those of a schema, and as many for the wrapper and blanks.
const FILE_BYTES: u64 = 2 * SCHEMA_BYTES as u64;

/// What the flags say of the answer.
///
/// # Errors
/// When the schema cannot be read, or is none.
pub(crate) fn output(args: &RunArgs, cwd: &Path) -> anyhow::Result<Option<StructuredOutput>> {
    let Some(given) = &args.output_schema else { return Ok(None) };
    let text = match given.trim_start().starts_with('{') {
        true => given.clone(),
        false => read(&cwd.join(given)).with_context(|| format!("--output-schema {given}"))?,
    };
    let json = serde_json::from_str(&text).context("--output-schema: it is not JSON")?;
    let schema = OutputSchema::parse(json).context("--output-schema")?;
    Ok(Some(StructuredOutput { schema, retries: args.output_retries }))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
    anyhow::ensure!(read as u64 <= FILE_BYTES, "it has more than {FILE_BYTES} bytes");
    Ok(text)
}
