//! `update_plan`: the model writes down what it is going to do and how far it is. The whole plan each time; it is journaled and shown.

use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::{Effect, PlanChanged, PlanItem, PlanPriority, PlanStatus};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, SessionNote, Subject, Tool, ToolContext, ToolError, ToolOutput,
    ToolSchema,
};
use serde_json::{Value, json};

use crate::arguments::Arguments;

const ITEMS_MAX: usize = 50;
/// Bytes of one item; a longer one is refused.
const ITEM_BYTES: usize = 500;
const TIMEOUT_MS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct UpdatePlan {
    schema: ToolSchema,
    item: Value,
}

impl UpdatePlan {
    pub(crate) fn new() -> Self {
        let description = "Write down your plan for work of several steps, and keep it up to date: give the whole list each time. Have one item `in_progress` while you work, and mark it `completed` as soon as it is done. Not for work of one or two steps.";
        let item = json!({
            "type": "object",
            "properties": {
                "content": {"type": "string", "description": "one step, in a few words"},
                "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]},
                "priority": {"type": "string", "enum": ["high", "medium", "low"], "description": "medium when left out"}
            },
            "required": ["content", "status"],
            "additionalProperties": false
        });
        let input = json!({
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": item, "description": "the whole plan, at most 50 items; empty to drop it"}
            },
            "required": ["items"],
            "additionalProperties": false
        });
        let name = "update_plan".to_owned();
        let description = description.to_owned();
        Self { schema: ToolSchema { name, description, input, runs: Runs::Here }, item }
    }

    fn plan(&self, arguments: &Value) -> Result<PlanChanged, String> {
        Arguments::new(arguments, &self.schema.input)?;
        let Some(Value::Array(items)) = arguments.get("items") else {
            return Err("`items` must be a list".to_owned());
        };
        if items.len() > ITEMS_MAX {
            return Err(format!("`items` has {} items and may have {ITEMS_MAX}", items.len()));
        }
        let numbered = items.iter().enumerate();
        let items = numbered
            .map(|(at, value)| self.item(value).map_err(|why| format!("item {}: {why}", at + 1)));
        let items: Vec<PlanItem> = items.collect::<Result<_, _>>()?;
        match items.iter().filter(|item| item.status == PlanStatus::InProgress).count() {
            0 | 1 => Ok(PlanChanged { items }),
            more => Err(format!("{more} items are `in_progress`; one may be")),
        }
    }

    fn item(&self, value: &Value) -> Result<PlanItem, String> {
        let item = Arguments::new(value, &self.item)?;
        let content = item.text("content")?.trim();
        if content.is_empty() {
            return Err("`content` is empty".to_owned());
        }
        if content.len() > ITEM_BYTES {
            let bytes = content.len();
            return Err(format!("`content` has {bytes} bytes and may have {ITEM_BYTES}"));
        }
        let status = match item.choice("status", &["pending", "in_progress", "completed"])? {
            Some("pending") => PlanStatus::Pending,
            Some("in_progress") => PlanStatus::InProgress,
            Some(_) => PlanStatus::Completed,
            None => return Err("`status` is missing".to_owned()),
        };
        let priority = match item.choice("priority", &["high", "medium", "low"])? {
            Some("high") => PlanPriority::High,
            Some("low") => PlanPriority::Low,
            Some(_) | None => PlanPriority::Medium,
        };
        Ok(PlanItem { content: content.to_owned(), status, priority })
    }
}

/// How far the plan is, in a few words.
fn words(plan: &PlanChanged) -> String {
    let of = |status| plan.items.iter().filter(move |item| item.status == status);
    let (done, all) = (of(PlanStatus::Completed).count(), plan.items.len());
    match of(PlanStatus::InProgress).next() {
        _ if all == 0 => "no plan any more".to_owned(),
        Some(item) => format!("{done} of {all} done, now: {}", item.content),
        None => format!("{done} of {all} done"),
    }
}

impl Tool for UpdatePlan {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _place: &Place) -> Result<Assessment, String> {
        Ok(Assessment {
            effect: Effect::Pure,
            title: self.plan(arguments).map(|_| "update the plan".to_owned())?,
            subject: Subject { parts: Vec::new(), complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _cx: &'a ToolContext) -> BoxFuture<'a, String> {
        let plan = self.plan(arguments).map(|plan| words(&plan));
        Box::pin(std::future::ready(plan.unwrap_or_default()))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        _cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let output = self.plan(&arguments).map(|plan| {
            let text = words(&plan);
            ToolOutput { notes: vec![SessionNote::Plan(plan)], ..ToolOutput::text(text) }
        });
        Box::pin(std::future::ready(output.map_err(ToolError::Arguments)))
    }
}
