//! What a hook says, as JSON, and what it means at its point.

use oarlock_core::event::{
    HookChange, HookControl, HookPoint, HookResult, HookStop, PermissionKind,
};
use oarlock_core::message::Part;
use oarlock_core::spec::ModelSelection;
use serde::Deserialize;
use serde_json::Value;

/// A verdict as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Verdict {
    control: Option<Control>,
    stop_reason: Option<HookStop>,
    reason: Option<String>,
    additional_context: Words,
    input: Option<String>,
    prepend_input: Option<String>,
    model: Option<String>,
    assistant: Option<String>,
    permission: Option<Permission>,
    args: Option<Value>,
    result: Option<String>,
    is_error: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Control {
    Proceed,
    Continue,
    Skip,
    Veto,
    Break,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Permission {
    Allow,
    Reject,
}

/// One text, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Default for Words {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// Whether words for the model are taken at a point.
pub(super) fn takes_words(point: HookPoint) -> bool {
    let context = vec!["words".to_owned()];
    HookChange { context, ..HookChange::default() }.check(point).is_ok()
}

/// A model by `provider/model`.
pub(super) fn selection(text: &str) -> Option<ModelSelection> {
    let (provider, model) = text.split_once('/')?;
    let whole = !provider.is_empty() && !model.is_empty();
    whole.then(|| ModelSelection { provider: provider.to_owned(), model: model.to_owned() })
}

/// What a hook says in JSON; nothing at all says nothing.
///
/// # Errors
/// Why it is not understood.
pub(super) fn read(point: HookPoint, text: &str) -> Result<HookChange, String> {
    if text.trim().is_empty() {
        return Ok(HookChange::default());
    }
    let wrong = |error: serde_json::Error| format!("it said no verdict: {error}");
    let verdict = match serde_json::from_str::<Value>(text).map_err(wrong)? {
        Value::Null => Verdict::default(),
        object @ Value::Object(_) => serde_json::from_value(object).map_err(wrong)?,
        _ => return Err("it said no verdict: that is an object".to_owned()),
    };
    let control = match verdict.control {
        None | Some(Control::Proceed) if verdict.stop_reason.is_some() => {
            return Err("it gave a `stop_reason` without `break`".to_owned());
        }
        None | Some(Control::Proceed) => None,
        Some(Control::Continue) => Some(HookControl::Continue),
        Some(Control::Skip) => Some(HookControl::Skip),
        Some(Control::Break) => Some(HookControl::Break { stop: verdict.stop_reason }),
        Some(Control::Veto) => Some(veto(point)),
    };
    let mut change = HookChange {
        control,
        reason: verdict.reason,
        context: match verdict.additional_context {
            Words::One(text) => vec![text],
            Words::Many(texts) => texts,
        },
        input: verdict.input,
        prepend_input: verdict.prepend_input,
        assistant: verdict.assistant,
        ..HookChange::default()
    };
    if let Some(model) = verdict.model {
        let found = selection(&model);
        change.model = Some(found.ok_or("it named a model that is not provider/model")?);
    }
    change.arguments = match verdict.args {
        None => None,
        Some(args @ Value::Object(_)) => Some(args.to_string()),
        Some(_) => return Err("its `args` are no object".to_owned()),
    };
    change.result = match (verdict.result, verdict.is_error) {
        (None, None) => None,
        (None, Some(_)) => return Err("it gave `is_error` without `result`".to_owned()),
        (Some(text), is_error) => {
            let is_error = is_error.unwrap_or(false);
            Some(HookResult { content: vec![Part::text(text)], is_error })
        }
    };
    change.permission = verdict.permission.map(|permission| match permission {
        Permission::Allow => PermissionKind::AllowOnce,
        Permission::Reject => PermissionKind::RejectOnce,
    });
    if verdict.control == Some(Control::Veto) && point == HookPoint::BeforePermission {
        change.control = None;
        change.permission = Some(PermissionKind::RejectOnce);
    }
    change.check(point)?;
    Ok(change)
}

/// The no of a hook that gives no verdict but a reason.
///
/// # Errors
/// Where there is nothing to say no to.
pub(super) fn refusal(point: HookPoint, reason: &str) -> Result<HookChange, String> {
    let reason = Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let change = match point {
        HookPoint::BeforePermission => {
            let permission = Some(PermissionKind::RejectOnce);
            HookChange { permission, ..HookChange::default() }
        }
        HookPoint::AfterToolApply => {
            let why = reason.clone().unwrap_or_else(|| "a hook refused it".to_owned());
            return point.denial(why).ok_or_else(|| "it said no".to_owned());
        }
        _ => HookChange { control: Some(veto(point)), ..HookChange::default() },
    };
    change.check(point).map_err(|_| "it said no where nothing can be refused".to_owned())?;
    Ok(HookChange { reason, ..change })
}

fn veto(point: HookPoint) -> HookControl {
    match point {
        HookPoint::BeforeTurnEnd => HookControl::Continue,
        HookPoint::BeforeCompact => HookControl::Skip,
        _ => HookControl::Break { stop: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_means_what_its_point_makes_of_it_or_is_no_verdict() {
        use HookPoint::{AfterGenerate, BeforeGenerate, BeforeIngest, BeforePermission};
        use HookPoint::{BeforeCompact, BeforeToolApply, BeforeTurnEnd};
        for (point, text, fits) in [
            (BeforeToolApply, "", true),
            (BeforeToolApply, "null", true),
            (BeforeToolApply, "{}", true),
            (BeforeToolApply, "no json", false),
            (BeforeToolApply, "[]", false),
            (BeforeToolApply, r#"{"contrl": "break"}"#, false),
            (BeforeToolApply, r#"{"control": "stop"}"#, false),
            (BeforeToolApply, r#"{"control": "veto", "reason": "x"}"#, true),
            (BeforeToolApply, r#"{"control": "continue"}"#, false),
            (BeforeToolApply, r#"{"args": {"a": 1}}"#, true),
            (BeforeToolApply, r#"{"args": [1]}"#, false),
            (BeforeToolApply, r#"{"result": "x", "is_error": true}"#, true),
            (BeforeToolApply, r#"{"is_error": true}"#, false),
            (BeforeToolApply, r#"{"stop_reason": "refusal"}"#, false),
            (BeforeIngest, r#"{"input": "x", "prepend_input": "y"}"#, true),
            (BeforeIngest, r#"{"model": "a/b"}"#, false),
            (BeforeGenerate, r#"{"model": "a/b"}"#, true),
            (BeforeGenerate, r#"{"model": "b"}"#, false),
            (BeforeGenerate, r#"{"control": "break", "stop_reason": "end_turn"}"#, true),
            (BeforePermission, r#"{"permission": "allow"}"#, true),
            (BeforePermission, r#"{"permission": "perhaps"}"#, false),
            (BeforeTurnEnd, r#"{"control": "veto", "additional_context": "x"}"#, true),
            (BeforeCompact, r#"{"control": "veto"}"#, true),
            (AfterGenerate, r#"{"additional_context": ["x"]}"#, false),
            (AfterGenerate, r#"{"control": "proceed"}"#, true),
        ] {
            assert_eq!(read(point, text).is_ok(), fits, "{point:?} {text}");
        }
    }

    #[test]
    fn a_no_is_one_wherever_something_can_be_refused() {
        for point in HookPoint::ALL {
            let refused = refusal(point, "why\n");
            assert_eq!(
                refused.is_ok(),
                point.can_deny() || point == HookPoint::BeforeTurnEnd,
                "{point:?}"
            );
        }
    }
}
