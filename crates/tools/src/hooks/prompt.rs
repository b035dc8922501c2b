//! Hooks that are prompts: one model call, whose answer is words for the session's model and never a decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use oarlock_core::event::HookChange;
use oarlock_core::message::{Content, Message, Part, Usage};
use oarlock_core::ports::hook::HookStep;
use oarlock_core::ports::model::{ModelEvent, ModelRequest, Models};
use oarlock_core::spec::{ModelSelection, Sampling};
use serde_json::Value;

/// The answer may have so many tokens.
const OUTPUT_MAX: u64 = 1_024;
/// What a model is shown may have this many bytes; of more the beginning is shown.
const SHOWN_MAX: usize = 64 * 1024;

/// What a model said, and what that cost.
pub(super) struct Answer {
    pub(super) change: HookChange,
    pub(super) usage: Usage,
    pub(super) cost_micros: Option<u64>,
}

/// Asks a model.
///
/// # Errors
/// Why it gave no answer.
pub(super) async fn ask(
    models: Arc<dyn Models>,
    (selection, system, template): (&ModelSelection, &str, Option<&str>),
    step: &HookStep,
) -> Result<Answer, String> {
    let model = models.resolve(selection).map_err(|error| error.to_string())?;
    let mut shown = match template {
        None => serde_json::to_string(step).map_err(|error| error.to_string())?,
        Some(template) => filled(template, step)?,
    };
    shown.truncate(shown.floor_char_boundary(SHOWN_MAX));
    let request = ModelRequest {
        system: system.to_owned(),
        messages: Arc::new(vec![Message::User { parts: vec![Part::text(shown)] }]),
        tools: Arc::default(),
        images: BTreeMap::new(),
        effort: None,
        sampling: Sampling::default(),
        capabilities: Default::default(),
        output_max: Some(model.info().output_max.map_or(OUTPUT_MAX, |max| max.min(OUTPUT_MAX))),
        cache_key: format!("{}-hook", step.session_id),
    };
    let mut events = model.call(request);
    while let Some(event) = events.next().await {
        let reply = match event.map_err(|error| error.to_string())? {
            ModelEvent::Alive | ModelEvent::Delta { .. } => continue,
            ModelEvent::Reply(reply) => reply,
        };
        let texts = reply.blocks.iter().filter_map(|block| match &block.content {
            Content::Text { text } if !text.trim().is_empty() => Some(text.clone()),
            _ => None,
        });
        let change = HookChange { context: texts.collect(), ..HookChange::default() };
        let cost_micros = model.info().price.map(|price| price.of(&reply.usage));
        return Ok(Answer { change, usage: reply.usage, cost_micros });
    }
    Err("its model's answer has no end".to_owned())
}

/// The template with the envelope's values in the places of their keys.
fn filled(template: &str, step: &HookStep) -> Result<String, String> {
    let envelope = serde_json::to_value(step).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (key, behind) = after.split_once("}}").ok_or("its template has an open `{{`")?;
        text.push_str(before);
        match &envelope[key.trim()] {
            Value::Null => {}
            Value::String(value) => text.push_str(value),
            value => text.push_str(&value.to_string()),
        }
        rest = behind;
    }
    Ok(text + rest)
}
