//! Hooks: what people hang into a session's course. Which there are, and running those of one place.

use std::collections::BTreeMap;

use futures::future::{BoxFuture, ready};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::{HookChange, HookControl, HookPoint, HookResult, HookStop, PermissionKind};
use crate::ids::{SessionId, TurnNo};
use crate::message::{Part, Usage};
use crate::ports::model::Price;
use crate::spec::{HookRunOverrides, SessionSpec};

/// What holds when a hook fails: it crashed, said what nobody understands, or took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// What it was to watch over is not done.
    Deny,
    /// As if it was not there.
    Skip,
}

/// What a session knows of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookInfo {
    /// Its name, by which it can be left out.
    pub name: String,
    /// How long it may take, in milliseconds.
    pub deadline_ms: u64,
    /// What holds when it fails.
    pub on_error: OnError,
    /// What one run of it may use of models; absent when it asks none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend: Option<HookSpend>,
}

/// The worst case of what one run of a hook uses of models. It is set aside before the hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSpend {
    /// Tokens of its requests, estimated.
    pub prompt_tokens: u64,
    /// Tokens that the answers may have.
    pub output_tokens: u64,
    /// Their price; absent when it is not known.
    pub price: Option<Price>,
}

/// The hooks of a session by their points, each list in the order in which they run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HookTable(pub BTreeMap<HookPoint, Vec<HookInfo>>);

/// The hooks of one point together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointHooks {
    /// How long they may take one after another, in milliseconds.
    pub deadline_ms: u64,
    /// [`OnError::Deny`] when one of them denies.
    pub on_error: OnError,
}

impl HookTable {
    /// The hooks of a point that are not left out; nothing when none is left.
    #[must_use]
    pub fn at(&self, point: HookPoint, off: &HookRunOverrides) -> Option<PointHooks> {
        let hooks = self.0.get(&point)?.iter().filter(|hook| !off.leaves_out(&hook.name));
        hooks.fold(None, |all: Option<PointHooks>, hook| {
            let (before, denies) =
                all.map_or((0, false), |all| (all.deadline_ms, all.on_error == OnError::Deny));
            let denies = denies || hook.on_error == OnError::Deny;
            Some(PointHooks {
                deadline_ms: before.saturating_add(hook.deadline_ms),
                on_error: if denies { OnError::Deny } else { OnError::Skip },
            })
        })
    }
}

impl HookTable {
    /// The hooks of a point that may call models and are not left out, in order.
    pub fn paying<'a>(
        &'a self,
        point: HookPoint,
        off: &'a HookRunOverrides,
    ) -> impl Iterator<Item = (&'a str, HookSpend)> {
        let hooks = self.0.get(&point).into_iter().flatten();
        let left = hooks.filter(|hook| !off.leaves_out(&hook.name));
        left.filter_map(|hook| Some((hook.name.as_str(), hook.spend?)))
    }
}

/// What a hook is told. As JSON it is one object: these keys, and those of the point beside them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookStep {
    /// The point.
    pub hook_event: HookPoint,
    /// The session.
    pub session_id: SessionId,
    /// The folder it works in.
    pub cwd: String,
    /// The open turn.
    pub turn: Option<TurnNo>,
    /// Whether the session was made by another one.
    pub is_subagent: bool,
    /// What the point adds; docs/hooks.md has the list.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// Hooks are to be run at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct HookCall {
    /// What they are told.
    pub step: HookStep,
    /// Which are left out.
    pub off: HookRunOverrides,
    /// Those whose model calls the limits leave no room for, by name, and why. They are not run and count as failed.
    pub unaffordable: BTreeMap<String, String>,
}

/// How the hooks of a place ended. The engine has dealt with those that failed, each by its own [`OnError`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookEnd {
    /// Those that changed or stopped something, in order.
    pub hooks: Vec<String>,
    /// What they changed.
    pub change: HookChange,
    /// Tokens that they used, by an estimate where a model call had no end.
    pub usage: Usage,
    /// Their price in millionths of a US dollar, as far as it is known; absent when it is not.
    pub cost_micros: Option<u64>,
    /// Whether some of it had no known price.
    pub cost_unknown: bool,
}

/// Runs hooks. One engine serves all sessions of a process.
pub trait HookEngine: Send + Sync + std::fmt::Debug {
    /// The hooks of a session. Asked once for each opening.
    fn hooks(&self, spec: &SessionSpec) -> HookTable;

    /// Runs the hooks of one place, one after another; each sees what those before it changed, and the first one that says how to go on is the
    /// last. Dropping the future ends them, and all that they started.
    fn run(&self, call: HookCall) -> BoxFuture<'static, HookEnd>;
}

/// No hooks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopHookEngine;

impl HookEngine for NoopHookEngine {
    fn hooks(&self, _: &SessionSpec) -> HookTable {
        HookTable::default()
    }

    fn run(&self, _: HookCall) -> BoxFuture<'static, HookEnd> {
        Box::pin(ready(HookEnd::default()))
    }
}

impl HookPoint {
    /// All of them, in the order of a turn.
    pub const ALL: [Self; 14] = [
        Self::AfterSessionEnter,
        Self::BeforeIngest,
        Self::AfterIngest,
        Self::AfterTurnEnter,
        Self::BeforeCompact,
        Self::AfterCompact,
        Self::BeforeGenerate,
        Self::AfterGenerate,
        Self::BeforePermission,
        Self::AfterPermission,
        Self::BeforeToolApply,
        Self::AfterToolApply,
        Self::AfterToolBatch,
        Self::BeforeTurnEnd,
    ];

    /// Its name in configuration and envelopes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AfterSessionEnter => "after_session_enter",
            Self::BeforeIngest => "before_ingest",
            Self::AfterIngest => "after_ingest",
            Self::AfterTurnEnter => "after_turn_enter",
            Self::BeforeCompact => "before_compact",
            Self::AfterCompact => "after_compact",
            Self::BeforeGenerate => "before_generate",
            Self::AfterGenerate => "after_generate",
            Self::BeforePermission => "before_permission",
            Self::AfterPermission => "after_permission",
            Self::BeforeToolApply => "before_tool_apply",
            Self::AfterToolApply => "after_tool_apply",
            Self::AfterToolBatch => "after_tool_batch",
            Self::BeforeTurnEnd => "before_turn_end",
        }
    }

    /// Whether what follows it can be left undone, so that `on_error = "deny"` means something here.
    #[must_use]
    pub fn can_deny(self) -> bool {
        self.denial(String::new()).is_some()
    }

    /// What holds when a hook fails here and nobody says otherwise: guards of inputs, model calls and tools deny.
    #[must_use]
    pub fn on_error(self) -> OnError {
        match self {
            Self::BeforeIngest
            | Self::BeforeGenerate
            | Self::BeforePermission
            | Self::BeforeToolApply => OnError::Deny,
            Self::AfterSessionEnter
            | Self::AfterIngest
            | Self::AfterTurnEnter
            | Self::BeforeCompact
            | Self::AfterCompact
            | Self::AfterGenerate
            | Self::AfterPermission
            | Self::AfterToolApply
            | Self::AfterToolBatch
            | Self::BeforeTurnEnd => OnError::Skip,
        }
    }

    /// The change that leaves undone what a hook here watches over; nothing where nothing can be.
    #[must_use]
    pub fn denial(self, why: String) -> Option<HookChange> {
        let refusal = HookControl::Break { stop: Some(HookStop::Refusal) };
        let controlled = |control| HookChange { control: Some(control), ..HookChange::default() };
        let mut change = match self {
            Self::BeforeIngest
            | Self::AfterTurnEnter
            | Self::BeforeGenerate
            | Self::AfterToolBatch => controlled(refusal),
            Self::BeforeToolApply => controlled(HookControl::Break { stop: None }),
            Self::BeforeCompact => controlled(HookControl::Skip),
            Self::BeforePermission => {
                HookChange { permission: Some(PermissionKind::RejectOnce), ..HookChange::default() }
            }
            Self::AfterToolApply => {
                let content = vec![Part::text(format!("[the result is withheld: {why}]"))];
                let result = Some(HookResult { content, is_error: true });
                HookChange { result, ..HookChange::default() }
            }
            Self::AfterSessionEnter
            | Self::AfterIngest
            | Self::AfterCompact
            | Self::AfterGenerate
            | Self::AfterPermission
            | Self::BeforeTurnEnd => return None,
        };
        change.reason = Some(why);
        Some(change)
    }
}

impl HookChange {
    /// Whether a hook at this point can change this.
    ///
    /// # Errors
    /// What it cannot, in words for who wrote the hook.
    pub fn check(&self, point: HookPoint) -> Result<(), String> {
        use HookPoint as P;
        let told = [
            P::AfterSessionEnter,
            P::BeforeIngest,
            P::AfterIngest,
            P::AfterTurnEnter,
            P::AfterCompact,
            P::BeforeGenerate,
            P::AfterToolApply,
            P::AfterToolBatch,
            P::BeforeTurnEnd,
        ];
        let checks: [(&str, bool, &[P]); 9] = [
            ("additional_context", !self.context.is_empty(), &told),
            ("input", self.input.is_some(), &[P::BeforeIngest]),
            ("prepend_input", self.prepend_input.is_some(), &[P::BeforeIngest]),
            ("model", self.model.is_some(), &[P::BeforeGenerate]),
            ("assistant", self.assistant.is_some(), &[P::BeforeGenerate]),
            ("permission", self.permission.is_some(), &[P::BeforePermission]),
            ("args", self.arguments.is_some(), &[P::BeforeToolApply]),
            ("result", self.result.is_some(), &[P::BeforeToolApply, P::AfterToolApply]),
            ("control", self.control.is_some(), self.control.map_or(&[], controllable)),
        ];
        match checks.iter().find(|(_, is_set, points)| *is_set && !points.contains(&point)) {
            None => Ok(()),
            Some((key, ..)) => Err(format!("`{key}` has no such meaning at {}", point.name())),
        }
    }
}

/// The points at which a control means something.
fn controllable(control: HookControl) -> &'static [HookPoint] {
    use HookPoint as P;
    match control {
        HookControl::Skip => &[P::BeforeCompact, P::BeforeToolApply],
        HookControl::Continue => &[P::BeforeTurnEnd],
        HookControl::Break { .. } => &[
            P::BeforeIngest,
            P::AfterTurnEnter,
            P::BeforeGenerate,
            P::BeforeToolApply,
            P::AfterToolBatch,
        ],
    }
}
