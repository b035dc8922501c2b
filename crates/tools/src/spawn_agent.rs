//! `spawn_agent`: gives a task to a subagent that works by one of the profiles.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use oarlock_core::prompt::SystemPrompt;
use oarlock_core::spec::ModelSelection;
use oarlock_core::{AgentOrder, AgentTask};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;

/// Profiles that models are told of; further ones are left out.
pub const PROFILES_MAX: usize = 100;
/// Characters of a profile's description in the catalogue.
const DESCRIPTION_CHARS_MAX: usize = 300;
/// Tools that only read: a subagent with no others changes nothing, and may work beside others.
const READERS: [&str; 4] = ["read_file", "search", "skill", "update_plan"];

/// What subagents of a name are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentProfile {
    /// Its name.
    pub name: String,
    /// When to use it, for models and people.
    pub description: String,
    /// Its own words for its model; empty for none.
    pub instructions: String,
    /// Whether the project's words for models are for it, too.
    pub inherit_project_prompt: bool,
    /// What is ordered by it, but for the task and the system prompt.
    pub order: AgentOrder,
}

/// Makes the system prompt of a subagent that works by this profile in this place, or says why it cannot.
pub type ComposePrompt = Arc<
    dyn Fn(&AgentProfile, &Place) -> BoxFuture<'static, Result<SystemPrompt, String>> + Send + Sync,
>;

/// The tool that opens subagents.
pub struct SpawnAgent {
    schema: ToolSchema,
    profiles: Vec<AgentProfile>,
    compose: ComposePrompt,
    timeout_ms: u64,
}

impl fmt::Debug for SpawnAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpawnAgent({})", self.profiles.len())
    }
}

/// A call's arguments.
struct Asked<'a> {
    profile: &'a AgentProfile,
    task: &'a str,
    model: Option<ModelSelection>,
    steps: Option<u32>,
    tokens: Option<u64>,
    in_background: bool,
}

impl SpawnAgent {
    /// The name under which models know it.
    pub const NAME: &'static str = oarlock_core::agent::registry::SPAWN_AGENT;

    /// The tool for these profiles, at most [`PROFILES_MAX`] of them, in their order. A call in the foreground is cancelled after `timeout_ms`.
    #[must_use]
    pub fn new(mut profiles: Vec<AgentProfile>, compose: ComposePrompt, timeout_ms: u64) -> Self {
        profiles.truncate(PROFILES_MAX);
        let schema = schema(&profiles);
        Self { schema, profiles, compose, timeout_ms }
    }

    fn asked<'a>(&'a self, arguments: &'a Value) -> Result<Asked<'a>, String> {
        let given = Arguments::new(arguments, &self.schema.input)?;
        let name = given.text("profile")?.trim();
        let profile =
            self.profiles.iter().find(|profile| profile.name == name).ok_or_else(|| {
                let names: Vec<&str> = self.profiles.iter().map(|p| p.name.as_str()).collect();
                format!("there is no profile `{name:.80}`; there are: {}", names.join(", "))
            })?;
        let task = given.text("task")?;
        if task.trim().is_empty() {
            return Err("`task` is empty; say what the subagent is to do".to_owned());
        }
        let model = given.optional_text("model")?.map(|model| {
            let parts = model
                .split_once('/')
                .filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
            let (provider, model) = parts
                .ok_or_else(|| format!("`{model:.80}` is no model; write it as provider/model"))?;
            Ok::<_, String>(ModelSelection {
                provider: provider.to_owned(),
                model: model.to_owned(),
            })
        });
        // Absent is none; a 0 that is given is refused.
        let bound = |name| {
            let number = given.number(name, (1, u64::from(u32::MAX)), 0)?;
            Ok::<_, String>(Some(number).filter(|number| *number > 0))
        };
        let steps = bound("max_steps")?.and_then(|steps| u32::try_from(steps).ok());
        Ok(Asked {
            profile,
            task,
            model: model.transpose()?,
            steps,
            tokens: bound("max_tokens")?,
            in_background: given.flag("run_in_background", false)?,
        })
    }

    async fn order(&self, asked: &Asked<'_>, place: &Place) -> Result<AgentOrder, ToolError> {
        let composed = (self.compose)(asked.profile, place).await;
        let prompt = composed.map_err(|why| {
            ToolError::failed(format!("the profile `{}` cannot be used: {why}", asked.profile.name))
        })?;
        let mut order = asked.profile.order.clone();
        order.prompt = prompt;
        order.task = vec![Part::text(asked.task)];
        order.model = asked.model.clone().or(order.model);
        order.bounds.steps = least(order.bounds.steps, asked.steps);
        order.bounds.tokens = least(order.bounds.tokens, asked.tokens);
        Ok(order)
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn schema(profiles: &[AgentProfile]) -> ToolSchema {
    let mut description = "Give a task to a subagent, which works on it by itself and tells you what it found or did. It knows nothing of this conversation: \
        put everything that it needs into the task. Several calls in one answer work side by side where their profiles only read. In the background it works \
        while you go on, and you are told of its end. What it uses counts in your own limits.\n\nProfiles:"
        .to_owned();
    for profile in profiles {
        let words: String = profile.description.split_whitespace().collect::<Vec<_>>().join(" ");
        let words: String = words.chars().take(DESCRIPTION_CHARS_MAX).collect();
        description.push_str(&format!("\n- {}: {words}", profile.name));
    }
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    let input = json!({
        "type": "object",
        "properties": {
            "profile": {"type": "string", "enum": names, "description": "what the subagent is like"},
            "task": {"type": "string", "description": "what it is to do, and what it has to know"},
            "model": {"type": "string", "description": "another model for it, as provider/model"},
            "run_in_background": {"type": "boolean", "default": false, "description": "go on at once, and be told of its end"},
            "max_steps": {"type": "integer", "minimum": 1, "description": "model calls that it may make"},
            "max_tokens": {"type": "integer", "minimum": 1, "description": "tokens that it may use"}
        },
        "required": ["profile", "task"],
        "additionalProperties": false
    });
    ToolSchema { name: SpawnAgent::NAME.to_owned(), description, input, runs: Runs::Here }
}

impl Tool for SpawnAgent {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _place: &Place) -> Result<Assessment, String> {
        let asked = self.asked(arguments)?;
        let reads = match &asked.profile.order.tools {
            None => true,
            Some(tools) => tools.iter().all(|tool| READERS.contains(&tool.as_str())),
        };
        Ok(Assessment {
            effect: if reads { Effect::Pure } else { Effect::Idempotent },
            title: crate::text::title(&asked.profile.name, asked.task),
            subject: Subject { parts: vec![asked.profile.name.clone()], complete: true },
            timeout_ms: self.timeout_ms,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _cx: &'a ToolContext) -> BoxFuture<'a, String> {
        let words = match self.asked(arguments) {
            Ok(Asked { profile, task, .. }) => {
                let tools = match &profile.order.tools {
                    None => "only tools that read".to_owned(),
                    Some(tools) => tools.join(", "),
                };
                format!("open the subagent `{}` with {tools}\n\n{task}", profile.name)
            }
            Err(why) => why,
        };
        Box::pin(std::future::ready(words))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let asked = self.asked(&arguments).map_err(ToolError::Arguments)?;
            let order = self.order(&asked, &cx.place).await?;
            let agents = &cx.reach.agents;
            if !asked.in_background {
                return agents.run(order, &cx.cancel).await?.outcome();
            }
            let label = crate::text::title(&asked.profile.name, asked.task);
            let started = agents.start(order, (&cx.reach.tasks, &label), &cx.cancel).await?;
            let AgentTask { child, task } = started;
            let mut detail = Map::new();
            detail.insert("session".to_owned(), json!(child));
            detail.insert("task".to_owned(), json!(task));
            let words = format!(
                "The subagent works in the background as {task}. Go on with something else; you will be told of its end."
            );
            Ok(ToolOutput { detail, ..ToolOutput::text(words) })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn profile(name: &str, tools: Option<Vec<&str>>) -> AgentProfile {
        AgentProfile {
            name: name.to_owned(),
            description: format!("does\n  {name}"),
            instructions: String::new(),
            inherit_project_prompt: false,
            order: AgentOrder {
                tools: tools.map(|tools| tools.into_iter().map(str::to_owned).collect()),
                ..AgentOrder::of(name)
            },
        }
    }

    fn tool() -> SpawnAgent {
        let compose: ComposePrompt =
            Arc::new(|_, _| Box::pin(std::future::ready(Ok(SystemPrompt::default()))));
        let profiles =
            vec![profile("scout", None), profile("smith", Some(vec!["read_file", "bash"]))];
        SpawnAgent::new(profiles, compose, 1)
    }

    #[test]
    fn the_catalogue_stands_in_the_order_of_the_profiles() {
        let tool = tool();
        assert!(
            tool.schema
                .description
                .ends_with("Profiles:\n- scout: does scout\n- smith: does smith")
        );
        assert_eq!(tool.schema.input["properties"]["profile"]["enum"], json!(["scout", "smith"]));
    }

    #[test]
    fn a_profile_that_only_reads_asks_nobody_and_any_other_is_named_to_rules() {
        let place = Place { cwd: PathBuf::from("/"), roots: Vec::new() };
        let assess = |name| tool().assess(&json!({"profile": name, "task": "x"}), &place).unwrap();
        assert_eq!(assess("scout").effect, Effect::Pure);
        let smith = assess("smith");
        assert_eq!(
            (smith.effect, smith.subject.parts),
            (Effect::Idempotent, vec!["smith".to_owned()])
        );
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (arguments, words) in [
            (
                json!({"profile": "scut", "task": "x"}),
                "there is no profile `scut`; there are: scout, smith",
            ),
            (json!({"profile": "scout", "task": " "}), "`task` is empty"),
            (
                json!({"profile": "scout", "task": "x", "model": "gpt"}),
                "write it as provider/model",
            ),
            (json!({"profile": "scout", "task": "x", "max_steps": 0}), "max_steps"),
            (json!({"profile": "scout", "task": "x", "depth": 2}), "depth"),
        ] {
            let why = tool().asked(&arguments).err().unwrap();
            assert!(why.contains(words), "{arguments}: {why}");
        }
    }
}
