//! Reading one TOML file into settings that know their line.

use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, shown};
use super::hooks;
use super::keys::{Found, Key, find, nearest};
use super::kind::Kind;
use super::source::{Layer, Setting, Source, join};

/// A configuration file may have this many bytes.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Reads a file whole; `None` when there is none.
///
/// # Errors
/// [`ConfigError::Read`], or [`ConfigError::NotAConfigFile`] when it is not a regular UTF-8 file of at most [`FILE_BYTES_MAX`].
pub fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let wrong = |why| ConfigError::NotAConfigFile { path: path.to_owned(), why };
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(wrong("is not a regular file")),
        Ok(_) => {}
        Err(gone) if is_absent(&gone) => return Ok(None),
        Err(source) => return Err(failed(source)),
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong("has more than 256 KiB"));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| wrong("is not UTF-8"))
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Takes a file apart into its settings, every one checked against the table of keys.
///
/// # Errors
/// The first thing that is wrong, with its line and column.
pub fn parse(layer: Layer, path: &Path, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let place = |offset| position(text, offset);
    let syntax = |error: &toml::de::Error| {
        let (line, column) = place(error.span().map_or(0, |span| span.start));
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        ConfigError::Syntax { path: path.to_owned(), line, column, message }
    };
    let spans = DeTable::parse(text).map_err(|e| syntax(&e))?;
    let values: toml::Table = toml::from_str(text).map_err(|e| syntax(&e))?;
    let mut walk = Walk { layer, file: path, text, settings: Vec::new() };
    walk.table(&mut Vec::new(), spans.get_ref(), &values)?;
    Ok(walk.settings)
}

/// Line and column of a byte offset, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

struct Walk<'a> {
    layer: Layer,
    file: &'a Path,
    text: &'a str,
    settings: Vec<Setting>,
}

impl Walk<'_> {
    fn source(&self, offset: usize) -> Source {
        let (line, column) = position(self.text, offset);
        Source::File { layer: self.layer, path: self.file.to_owned(), line, column }
    }

    fn table(
        &mut self,
        path: &mut Vec<String>,
        spans: &DeTable<'_>,
        values: &toml::Table,
    ) -> Result<(), ConfigError> {
        for (key, span) in spans {
            let name = key.get_ref().as_ref();
            let value = values.get(name).expect("both parses read the same text");
            path.push(name.to_owned());
            self.item(path, key.span().start, span, value)?;
            path.pop();
        }
        Ok(())
    }

    fn item(
        &mut self,
        path: &mut Vec<String>,
        offset: usize,
        span: &Spanned<DeValue<'_>>,
        value: &toml::Value,
    ) -> Result<(), ConfigError> {
        let source = self.source(offset);
        match (find(path), span.get_ref(), value) {
            (Found::Table, DeValue::Table(spans), toml::Value::Table(values)) => {
                if values.is_empty() && path.len() > 1 {
                    return Err(empty(path, source));
                }
                self.table(path, spans, values)
            }
            (Found::Table, ..) => Err(bad(path, "a table".into(), value, source)),
            (Found::Key(key), ..) => {
                check(key, path, value, &source)?;
                let value = match key.kind {
                    Kind::Hooks => self.placed(path, value, &source)?,
                    _ => value.clone(),
                };
                self.settings.push(Setting { path: path.clone(), value, source });
                Ok(())
            }
            (Found::Nothing, ..) => Err(unknown(path, source)),
        }
    }
}

impl Walk<'_> {
    /// Hooks with the whole paths of their programs. A project's file lies in a folder of its root.
    fn placed(
        &self,
        path: &[String],
        value: &toml::Value,
        source: &Source,
    ) -> Result<toml::Value, ConfigError> {
        let root = self.file.parent().and_then(Path::parent).filter(|_| self.layer.is_project());
        hooks::placed(value, root).map_err(|what| unusable_hooks(path, &what, source))
    }
}

/// What is wrong with hooks, as an error at its place.
fn unusable_hooks(path: &[String], what: &str, source: &Source) -> ConfigError {
    ConfigError::Unusable {
        what: format!("`{}` cannot be used: {what}", join(path)),
        source_place: Box::new(source.clone()),
        remedy: "see docs/hooks.md".into(),
    }
}

/// Whether the key takes the value.
pub(super) fn check(
    key: &Key,
    path: &[String],
    value: &toml::Value,
    source: &Source,
) -> Result<(), ConfigError> {
    match key.kind.accept(value) {
        Some(_) if key.kind == Kind::Hooks => {
            let name = path.last().map_or("", String::as_str);
            hooks::check(name, value).map_err(|what| unusable_hooks(path, &what, source))
        }
        Some(_) => Ok(()),
        None => Err(bad(path, key.kind.describe(), value, source.clone())),
    }
}

fn bad(path: &[String], expected: String, value: &toml::Value, source: Source) -> ConfigError {
    ConfigError::BadValue {
        key: join(path),
        expected,
        found: shown(value),
        source_place: Box::new(source),
    }
}

fn empty(path: &[String], source: Source) -> ConfigError {
    ConfigError::Unusable {
        what: format!("`{}` is an empty table", join(path)),
        source_place: Box::new(source),
        remedy: "put a key into it or remove it".into(),
    }
}

pub(super) fn unknown(path: &[String], source: Source) -> ConfigError {
    let hint = match nearest(path) {
        Some(key) => format!("did you mean `{key}`?"),
        None => "`oarlock doctor --config` lists all keys".into(),
    };
    ConfigError::UnknownKey { key: join(path), source_place: Box::new(source), hint }
}
