//! The tools of a session: a registry that does not change, two of them on top of each other, and a choice from one by name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::ports::tool::{Tool, ToolSchema};
use crate::session::context::ToolsDigest;
use crate::spec::rule::glob;

/// Tools by name, in a stable order, so that provider caches hit. It is the same for the whole life of a session.
pub trait ToolRegistry: Send + Sync + fmt::Debug {
    /// What models are told, in order; no name twice.
    fn schemas(&self) -> &Arc<Vec<ToolSchema>>;

    /// The tool of that name: there is one for each schema, and for nothing else.
    fn get(&self, name: &str) -> Option<&Arc<dyn Tool>>;

    /// What requests need to know of the schemas. Worked out anew here; a registry that many sessions share keeps it.
    fn digest(&self) -> ToolsDigest {
        ToolsDigest::of(self.schemas())
    }
}

/// Tools in the order in which they were given.
#[derive(Debug)]
pub struct StaticToolRegistry {
    tools: Vec<Arc<dyn Tool>>,
    by_name: HashMap<String, usize>,
    schemas: Arc<Vec<ToolSchema>>,
    digest: ToolsDigest,
}

/// Collects the tools of a [`StaticToolRegistry`].
#[derive(Debug, Default)]
pub struct StaticToolRegistryBuilder {
    tools: Vec<Arc<dyn Tool>>,
    by_name: HashMap<String, usize>,
}

impl StaticToolRegistryBuilder {
    /// Adds a tool at the end. One of a name that is there already takes that one's place.
    #[must_use]
    pub fn insert(mut self, tool: Arc<dyn Tool>) -> Self {
        let name = tool.schema().name.clone();
        match self.by_name.get(&name) {
            Some(at) => self.tools[*at] = tool,
            None => {
                self.by_name.insert(name, self.tools.len());
                self.tools.push(tool);
            }
        }
        self
    }

    /// The registry.
    #[must_use]
    pub fn build(self) -> StaticToolRegistry {
        let schemas: Vec<ToolSchema> =
            self.tools.iter().map(|tool| tool.schema().clone()).collect();
        let digest = ToolsDigest::of(&schemas);
        let Self { tools, by_name } = self;
        StaticToolRegistry { tools, by_name, schemas: Arc::new(schemas), digest }
    }
}

impl StaticToolRegistry {
    /// A registry that is yet to be filled.
    #[must_use]
    pub fn builder() -> StaticToolRegistryBuilder {
        StaticToolRegistryBuilder::default()
    }

    /// A registry of these tools. Of two with the same name the later one takes the earlier one's place.
    #[must_use]
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        tools.into_iter().fold(Self::builder(), StaticToolRegistryBuilder::insert).build()
    }
}

impl ToolRegistry for StaticToolRegistry {
    fn schemas(&self) -> &Arc<Vec<ToolSchema>> {
        &self.schemas
    }

    fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.by_name.get(name).map(|at| &self.tools[*at])
    }

    fn digest(&self) -> ToolsDigest {
        self.digest.clone()
    }
}

/// A session's own tools before those of the process, of which it hides the ones with a name of its own.
#[derive(Debug)]
pub struct CompositeRegistry {
    session: Arc<dyn ToolRegistry>,
    process: Arc<dyn ToolRegistry>,
    schemas: Arc<Vec<ToolSchema>>,
    digest: ToolsDigest,
}

impl CompositeRegistry {
    /// `session` on top of `process`.
    #[must_use]
    pub fn new(session: Arc<dyn ToolRegistry>, process: Arc<dyn ToolRegistry>) -> Self {
        let below = process.schemas().iter().filter(|schema| session.get(&schema.name).is_none());
        let schemas: Vec<ToolSchema> = session.schemas().iter().chain(below).cloned().collect();
        let digest = ToolsDigest::of(&schemas);
        Self { session, process, schemas: Arc::new(schemas), digest }
    }
}

impl ToolRegistry for CompositeRegistry {
    fn schemas(&self) -> &Arc<Vec<ToolSchema>> {
        &self.schemas
    }

    fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.session.get(name).or_else(|| self.process.get(name))
    }

    fn digest(&self) -> ToolsDigest {
        self.digest.clone()
    }
}

/// The virtual member of a list of allowed tools: it lets a session open sessions below itself.
pub const SPAWN_AGENT: &str = "spawn_agent";

/// The tool that writes to another session. Only a session that has a name is offered it.
pub const SEND_MESSAGE: &str = "send_message";
/// The tool that lists those that can be written to; offered as [`SEND_MESSAGE`] is.
pub const PEERS: &str = "peers";

/// What a list of allowed tools comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowlistMatch {
    /// Names of tools that are there, each once, in the order of the patterns and, for one pattern, of the pool.
    pub tools: Vec<String>,
    /// Whether [`SPAWN_AGENT`] is among what is allowed.
    pub spawn_agent: bool,
}

/// A pattern that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` matches no tool; the tools are: {}", known.join(", "))]
pub struct UnmatchedPattern {
    /// The pattern.
    pub pattern: String,
    /// What there is.
    pub known: Vec<String>,
}

/// Finds the tools of `pool` that `patterns` name: the patterns of permission rules, so `*` stands for anything and a bare name for itself.
///
/// # Errors
/// The first pattern that matches neither a tool nor [`SPAWN_AGENT`]: a misspelt name must not take a tool away in silence.
pub fn match_tool_allowlist<T: AsRef<str>>(
    pool: &[&str],
    patterns: &[T],
) -> Result<AllowlistMatch, UnmatchedPattern> {
    let mut found = AllowlistMatch::default();
    for pattern in patterns.iter().map(AsRef::as_ref) {
        let matching: Vec<&str> = pool.iter().copied().filter(|name| glob(pattern, name)).collect();
        let spawns = glob(pattern, SPAWN_AGENT);
        if matching.is_empty() && !spawns {
            let known = pool.iter().map(|name| (*name).to_owned()).collect();
            return Err(UnmatchedPattern { pattern: pattern.to_owned(), known });
        }
        found.spawn_agent |= spawns;
        for name in matching {
            if !found.tools.iter().any(|tool| tool == name) {
                found.tools.push(name.to_owned());
            }
        }
    }
    Ok(found)
}

/// The tools of `registry` that `patterns` name, in the order that [`AllowlistMatch::tools`] has.
///
/// # Errors
/// As [`match_tool_allowlist`].
pub fn filter_registry_by_allowlist<T: AsRef<str>>(
    registry: &dyn ToolRegistry,
    patterns: &[T],
) -> Result<StaticToolRegistry, UnmatchedPattern> {
    let pool: Vec<&str> = registry.schemas().iter().map(|schema| schema.name.as_str()).collect();
    let found = match_tool_allowlist(&pool, patterns)?;
    let tools = found.tools.iter().filter_map(|name| registry.get(name).map(Arc::clone));
    Ok(StaticToolRegistry::new(tools))
}
