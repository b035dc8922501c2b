//! Hooks that are prompts: one model call, whose answer is words for the session's model and never a decision.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use oarlock_core::event::HookChange;
use oarlock_core::message::{Content, Message, Part, Usage};
use oarlock_core::ports::hook::{HookSpend, HookStep};
use oarlock_core::ports::model::{ModelErrorKind, ModelEvent, ModelRequest, Models, Price};
use oarlock_core::session::context::text_tokens;
use oarlock_core::spec::{ModelSelection, Sampling};
use serde_json::Value;

/// The answer may have so many tokens.
const OUTPUT_MAX: u64 = 1_024;
/// What a model is shown may have this many bytes; of more the beginning is shown.
const SHOWN_MAX: usize = 64 * 1024;

/// A prompt: the model, its system prompt, and what it is shown.
pub(super) type Prompt<'a> = (&'a ModelSelection, &'a str, Option<&'a str>);

/// What a hook has used of models so far, whichever way it ends.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<Spent>);

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) usage: Usage,
    /// Absent when it is not known.
    pub(super) cost_micros: Option<u64>,
}

impl Meter {
    fn set(&self, usage: Usage, cost_micros: Option<u64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Spent { usage, cost_micros };
    }

    /// Sets a request and that much of an answer, whose tokens nobody has counted.
    fn estimate(&self, price: Option<Price>, prompt: u64, answer_bytes: usize) {
        let usage = Usage { input: prompt, output: text_tokens(answer_bytes), ..Usage::default() };
        self.set(usage, price.map(|price| price.dearest().of(&usage)));
    }

    pub(super) fn read(&self) -> Spent {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most that one run may use.
pub(super) fn worst(models: &dyn Models, (selection, system, template): Prompt<'_>) -> HookSpend {
    let model = models.resolve(selection).ok();
    let info = model.as_ref().map(|model| model.info());
    let fixed = template.filter(|template| !template.contains("{{")).map(str::len);
    let shown = fixed.map_or(SHOWN_MAX, |bytes| bytes.min(SHOWN_MAX));
    HookSpend {
        prompt_tokens: text_tokens(system.len() + shown),
        output_tokens: output_max(info.and_then(|info| info.output_max)),
        price: info.and_then(|info| info.price),
    }
}

fn output_max(of_model: Option<u64>) -> u64 {
    of_model.map_or(OUTPUT_MAX, |max| max.min(OUTPUT_MAX))
}

/// Asks a model. What that uses stands on the meter, also when this is dropped.
///
/// # Errors
/// Why it gave no answer.
pub(super) async fn ask(
    models: Arc<dyn Models>,
    (selection, system, template): Prompt<'_>,
    step: &HookStep,
    meter: &Meter,
) -> Result<HookChange, String> {
    let model = models.resolve(selection).map_err(|error| error.to_string())?;
    let mut shown = match template {
        None => serde_json::to_string(step).map_err(|error| error.to_string())?,
        Some(template) => filled(template, step)?,
    };
    shown.truncate(shown.floor_char_boundary(SHOWN_MAX));
    let (price, prompt) = (model.info().price, text_tokens(system.len() + shown.len()));
    let request = ModelRequest {
        system: system.to_owned(),
        messages: Arc::new(vec![Message::User { parts: vec![Part::text(shown)] }]),
        tools: Arc::default(),
        bodies: BTreeMap::new(),
        effort: None,
        sampling: Sampling::default(),
        capabilities: Default::default(),
        output: None,
        output_max: Some(output_max(model.info().output_max)),
        cache_key: format!("{}-hook", step.session_id),
    };
    let mut answer_bytes = 0;
    meter.estimate(price, prompt, answer_bytes);
    let mut events = model.call(request);
    while let Some(event) = events.next().await {
        let reply = match event {
            Ok(ModelEvent::Alive | ModelEvent::Waits { .. }) => continue,
            Ok(ModelEvent::Delta { text, .. }) => {
                answer_bytes += text.len();
                meter.estimate(price, prompt, answer_bytes);
                continue;
            }
            Ok(ModelEvent::Reply(reply)) => reply,
            Err(error) => {
                let begun =
                    matches!(error.kind, ModelErrorKind::Timeout | ModelErrorKind::Truncated);
                if !begun && answer_bytes == 0 {
                    // A call that was refused has not been counted by its provider.
                    meter.set(Usage::default(), None);
                }
                return Err(error.to_string());
            }
        };
        meter.set(reply.usage, price.map(|price| price.of(&reply.usage)));
        let texts = reply.blocks.iter().filter_map(|block| match &block.content {
            Content::Text { text } if !text.trim().is_empty() => Some(text.clone()),
            _ => None,
        });
        return Ok(HookChange { context: texts.collect(), ..HookChange::default() });
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
