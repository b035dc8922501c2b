//! What a session works with, and what its calls would do.

use std::sync::Arc;

use serde_json::Value;

use crate::agent::registry::ToolRegistry;
use crate::ports::files::Files;
use crate::ports::model::Model;
use crate::ports::shell::Shell;
use crate::ports::tool::{Assessment, Place, Runs};

/// Says what a call would do. Pure.
pub trait Assessor: std::fmt::Debug {
    /// What a call of this tool with this argument text would do, and who runs it.
    ///
    /// # Errors
    /// Words for the model: the tool is unknown, or the arguments do not fit.
    fn assess(&self, name: &str, arguments: &str) -> Result<(Assessment, Runs), String>;
}

/// What a session works with: its tools, the files and commands they reach, and the model that was brought to it.
#[derive(Debug, Clone)]
pub struct Toolbox {
    /// The tools.
    pub registry: Arc<dyn ToolRegistry>,
    /// Files within the session's folders.
    pub files: Arc<dyn Files>,
    /// Commands.
    pub shell: Arc<dyn Shell>,
    /// Where it works.
    pub place: Place,
    /// The model that whoever opened it brought.
    pub model: Option<Arc<dyn Model>>,
}

/// Whether both hold the same things in the same folders.
impl PartialEq for Toolbox {
    fn eq(&self, other: &Self) -> bool {
        let is_same_model = match (&self.model, &other.model) {
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (own, others) => own.is_none() && others.is_none(),
        };
        Arc::ptr_eq(&self.registry, &other.registry)
            && Arc::ptr_eq(&self.files, &other.files)
            && Arc::ptr_eq(&self.shell, &other.shell)
            && self.place == other.place
            && is_same_model
    }
}

impl Assessor for Toolbox {
    fn assess(&self, name: &str, arguments: &str) -> Result<(Assessment, Runs), String> {
        let tool = self.registry.get(name).ok_or_else(|| {
            let names: Vec<&str> =
                self.registry.schemas().iter().map(|schema| schema.name.as_str()).collect();
            format!("there is no tool `{name}`; the tools are: {}", names.join(", "))
        })?;
        let arguments = parse_arguments(arguments)?;
        // It runs in the session's own task, which must not die of it.
        let assessed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tool.assess(&arguments, &self.place)
        }));
        let assessment = assessed
            .unwrap_or_else(|_| Err(format!("the tool `{name}` crashed over these arguments")))?;
        Ok((assessment, tool.schema().runs))
    }
}

/// The arguments of a call as JSON. No text at all counts as an empty object, which is how some models say "none".
///
/// # Errors
/// Words for the model when the text is not a JSON object.
pub fn parse_arguments(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(arguments @ Value::Object(_)) => Ok(arguments),
        Ok(_) => Err("the arguments must be a JSON object".to_owned()),
        Err(error) => Err(format!("the arguments are not valid JSON: {error}")),
    }
}
