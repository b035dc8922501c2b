//! The tools of a session, in a stable order.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::ports::files::Files;
use crate::ports::shell::Shell;
use crate::ports::tool::{Assessment, Place, Runs, Tool, ToolSchema};
use crate::session::context::ToolsDigest;

/// The tools of a session, in a stable order, so that provider caches hit. Cheap to clone: sessions with the same tools share one.
#[derive(Debug, Clone)]
pub struct ToolRegistry {
    tools: Arc<Tools>,
    schemas: Arc<Vec<ToolSchema>>,
    digest: ToolsDigest,
}

#[derive(Debug, Default)]
struct Tools {
    in_order: Vec<Arc<dyn Tool>>,
    by_name: HashMap<String, usize>,
}

impl ToolRegistry {
    /// A registry of these tools. Of two with the same name the later one takes the earlier one's place.
    #[must_use]
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        let mut kept = Tools::default();
        for tool in tools {
            let name = tool.schema().name.clone();
            match kept.by_name.get(&name) {
                Some(at) => kept.in_order[*at] = tool,
                None => {
                    kept.by_name.insert(name, kept.in_order.len());
                    kept.in_order.push(tool);
                }
            }
        }
        let schemas: Vec<ToolSchema> =
            kept.in_order.iter().map(|tool| tool.schema().clone()).collect();
        let digest = ToolsDigest::of(&schemas);
        Self { tools: Arc::new(kept), schemas: Arc::new(schemas), digest }
    }

    /// What models are told.
    #[must_use]
    pub fn schemas(&self) -> &Arc<Vec<ToolSchema>> {
        &self.schemas
    }

    /// What requests need to know of the schemas.
    pub(crate) fn digest(&self) -> &ToolsDigest {
        &self.digest
    }

    /// The tool of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.by_name.get(name).map(|at| &self.tools.in_order[*at])
    }
}

/// Says what a call would do. Pure.
pub trait Assessor: std::fmt::Debug {
    /// What a call of this tool with this argument text would do, and who runs it.
    ///
    /// # Errors
    /// Words for the model: the tool is unknown, or the arguments do not fit.
    fn assess(&self, name: &str, arguments: &str) -> Result<(Assessment, Runs), String>;
}

/// What a session works with: its tools, and the files and commands they reach.
#[derive(Debug, Clone)]
pub struct Toolbox {
    /// The tools.
    pub registry: ToolRegistry,
    /// Files within the session's folders.
    pub files: Arc<dyn Files>,
    /// Commands.
    pub shell: Arc<dyn Shell>,
    /// Where it works.
    pub place: Place,
}

impl Assessor for Toolbox {
    fn assess(&self, name: &str, arguments: &str) -> Result<(Assessment, Runs), String> {
        let tool = self.registry.get(name).ok_or_else(|| {
            let names: Vec<&str> =
                self.registry.schemas.iter().map(|schema| schema.name.as_str()).collect();
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
