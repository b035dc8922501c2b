//! Running the hooks of a place one after another, each within its time, and what holds when one fails.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use oarlock_core::event::{HookChange, HookPoint};
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::hook::{
    HookCall, HookEnd, HookEngine, HookInfo, HookStep, HookTable, OnError,
};
use oarlock_core::ports::model::Models;
use oarlock_core::spec::SessionSpec;
use serde_json::{Value, json};

use super::prompt::{Meter, Spent};
use super::{Handler, Hook, command, prompt};
use crate::shell::Environment;

/// Hooks by their points.
type Lists = BTreeMap<HookPoint, Vec<Hook>>;

/// The hooks of a configuration, for all sessions of a process.
#[derive(Debug, Clone)]
pub struct Hooks {
    hooks: Arc<Lists>,
    /// A folder, and the hooks of sessions that do not lie in it.
    elsewhere: Option<(PathBuf, Arc<Lists>)>,
    environment: Environment,
    models: Arc<dyn Models>,
    clock: Arc<dyn Clock>,
}

impl Hooks {
    /// An engine of these hooks. Programs inherit `environment`, prompts ask `models`.
    #[must_use]
    pub fn new(
        hooks: Lists,
        environment: Environment,
        models: Arc<dyn Models>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { hooks: Arc::new(hooks), elsewhere: None, environment, models, clock }
    }

    /// Has those hooks only for sessions in the canonical folder `root`, and these for all others: what a project sets is about its own
    /// sessions.
    #[must_use]
    pub fn within(self, root: PathBuf, elsewhere: Lists) -> Self {
        Self { elsewhere: Some((root, Arc::new(elsewhere))), ..self }
    }

    /// The hooks of sessions that work in that folder.
    fn of(&self, cwd: &Path) -> &Arc<Lists> {
        match &self.elsewhere {
            Some((root, elsewhere)) if !cwd.starts_with(root) => elsewhere,
            Some(_) | None => &self.hooks,
        }
    }

    async fn chain(self, HookCall { mut step, off, unaffordable }: HookCall) -> HookEnd {
        let point = step.hook_event;
        let mut end = HookEnd::default();
        let hooks = Arc::clone(self.of(Path::new(&step.cwd)));
        let due = hooks.get(&point).into_iter().flatten();
        for hook in due.filter(|hook| !off.leaves_out(&hook.name)) {
            if !hook.matches(&step) {
                continue;
            }
            let meter = Meter::default();
            let said = match unaffordable.get(&hook.name) {
                Some(why) => Err(why.clone()),
                None => self.within_its_time(hook, &step, &meter).await,
            };
            charge(&mut end, meter.read());
            let change = said.unwrap_or_else(|why| failed(hook, point, &why));
            if change.is_empty() {
                continue;
            }
            end.hooks.push(hook.name.clone());
            shown(&mut step, &change);
            // Somebody's word on how to go on is the last one.
            let last = change.control.is_some() || change.permission.is_some();
            add(&mut end.change, change);
            if last {
                break;
            }
        }
        end
    }

    async fn within_its_time(
        &self,
        hook: &Hook,
        step: &HookStep,
        meter: &Meter,
    ) -> Result<HookChange, String> {
        let deadline = self.clock.sleep_until(self.clock.now().after(hook.deadline_ms));
        let handled = AssertUnwindSafe(self.handle(hook, step, meter)).catch_unwind();
        match select(pin!(handled), deadline).await {
            Either::Left((Ok(said), _)) => said,
            Either::Left((Err(_), _)) => Err("it crashed".to_owned()),
            Either::Right(((), _)) => {
                Err(format!("it did not end within {} s", hook.deadline_ms / 1_000))
            }
        }
    }

    async fn handle(
        &self,
        hook: &Hook,
        step: &HookStep,
        meter: &Meter,
    ) -> Result<HookChange, String> {
        match &hook.handler {
            Handler::BuiltIn(built_in) => Ok(built_in.run(step)),
            Handler::Command(argv) => {
                command::ask(argv.clone(), step, self.environment.clone()).await
            }
            Handler::Prompt { system, template, model } => {
                let asked = (model, system.as_str(), template.as_deref());
                prompt::ask(Arc::clone(&self.models), asked, step, meter).await
            }
        }
    }
}

/// Counts what one hook used.
fn charge(end: &mut HookEnd, spent: Spent) {
    if spent.usage == Usage::default() {
        return;
    }
    end.usage += spent.usage;
    match spent.cost_micros {
        None => end.cost_unknown = true,
        Some(micros) => {
            end.cost_micros = Some(end.cost_micros.unwrap_or(0).saturating_add(micros));
        }
    }
}

fn failed(hook: &Hook, point: HookPoint, why: &str) -> HookChange {
    let name = &hook.name;
    tracing::warn!(hook = name, point = point.name(), why, "a hook failed");
    let denial = match hook.on_error {
        OnError::Deny => point.denial(format!("the hook `{name}` failed: {why}")),
        OnError::Skip => None,
    };
    denial.unwrap_or_default()
}

/// Adds what a later hook changed to what those before it did.
fn add(all: &mut HookChange, change: HookChange) {
    all.context.extend(change.context);
    all.control = change.control.or(all.control.take());
    all.reason = change.reason.or(all.reason.take());
    all.input = change.input.or(all.input.take());
    all.prepend_input = match (change.prepend_input, all.prepend_input.take()) {
        (Some(new), Some(before)) => Some(format!("{new}\n{before}")),
        (new, before) => new.or(before),
    };
    all.model = change.model.or(all.model.take());
    all.assistant = change.assistant.or(all.assistant.take());
    all.permission = change.permission.or(all.permission.take());
    all.arguments = change.arguments.or(all.arguments.take());
    all.result = change.result.or(all.result.take());
}

/// Shows the next hook what this one changed.
fn shown(step: &mut HookStep, change: &HookChange) {
    let mut set = |key: &str, value: Value| drop(step.fields.insert(key.to_owned(), value));
    if let Some(input) = &change.input {
        set("input", json!(input));
        set("input_len", json!(input.len()));
    }
    if let Some(prepend) = &change.prepend_input {
        set("prepend_input", json!(prepend));
    }
    if let Some(model) = &change.model {
        set("model", json!(model.to_string()));
    }
    if let Some(text) = &change.arguments {
        set("args", serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
    }
    if let Some(result) = &change.result {
        let texts = result.content.iter().filter_map(Part::as_text);
        set("output", json!(texts.collect::<Vec<_>>().join("\n")));
        set("is_error", json!(result.is_error));
    }
    if let Some(assistant) = &change.assistant {
        set("assistant", json!(assistant));
    }
    if !change.context.is_empty() {
        let before = step.fields.entry("additional_context").or_insert_with(|| json!([]));
        if let Value::Array(list) = before {
            list.extend(change.context.iter().map(|text| json!(text)));
        }
    }
}

impl HookEngine for Hooks {
    fn hooks(&self, spec: &SessionSpec) -> HookTable {
        let info = |hook: &Hook| HookInfo {
            name: hook.name.clone(),
            deadline_ms: hook.deadline_ms,
            on_error: hook.on_error,
            spend: match &hook.handler {
                Handler::BuiltIn(_) | Handler::Command(_) => None,
                Handler::Prompt { system, template, model } => {
                    let prompt = (model, system.as_str(), template.as_deref());
                    Some(prompt::worst(self.models.as_ref(), prompt))
                }
            },
        };
        let lists = self.of(&spec.cwd).iter();
        HookTable(lists.map(|(point, hooks)| (*point, hooks.iter().map(info).collect())).collect())
    }

    fn run(&self, call: HookCall) -> BoxFuture<'static, HookEnd> {
        self.clone().chain(call).boxed()
    }
}
