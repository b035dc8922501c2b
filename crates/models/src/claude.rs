//! What Anthropic documents of its families of models where they take requests differently, wherever they run: thinking, and how words are drawn.

use oarlock_core::ports::model::Draws;
use oarlock_core::spec::ReasoningEffort;
use serde_json::{Value, json};

use crate::bedrock_converse::kin;
use crate::quirks::is_of;

/// How a family is asked to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// It does not think, and refuses to be asked.
    Never,
    /// By a number of tokens.
    Budget,
    /// By an effort, and it decides itself how long; a budget, and any word about how words are drawn, is refused.
    Adaptive,
}

/// Families that came before thinking.
const THOUGHTLESS: &[&str] = &[
    "claude-v*",
    "claude-1*",
    "claude-2*",
    "claude-instant*",
    "claude-3-haiku*",
    "claude-3-sonnet*",
    "claude-3-opus*",
    "claude-3-5*",
];
/// Families that take a budget, from platform.claude.com/docs/en/build-with-claude/adaptive-thinking. Those that came later take none.
const BUDGETED: &[&str] = &[
    "claude-3-7*",
    "claude-opus-4",
    "claude-opus-4-0",
    "claude-opus-4-1*",
    "claude-opus-4-5*",
    "claude-opus-4-6*",
    "claude-sonnet-4",
    "claude-sonnet-4-0",
    "claude-sonnet-4-5*",
    "claude-sonnet-4-6*",
    "claude-haiku-4-5*",
];
/// Families with a budget that take a temperature beside `top_p`; those from Opus 4.1 on refuse the two at once.
const DRAWN_BY_BOTH: &[&str] =
    &["claude-3-7*", "claude-opus-4", "claude-opus-4-0", "claude-sonnet-4", "claude-sonnet-4-0"];
/// Families that take an effort, but not its level `xhigh`.
const WITHOUT_XHIGH: &[&str] = &["claude-mythos-preview*"];

/// The smallest thinking budget that is taken; as much is left for the answer itself.
const BUDGET_MIN: u64 = 1024;

/// How a model is asked to think, in Anthropic's members; nothing of it is sent where it is absent.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// The member `thinking`.
    pub(crate) thinking: Option<Value>,
    /// The effort in `output_config`.
    pub(crate) effort: Option<&'static str>,
}

/// How this model is asked to think for an answer of at most so many tokens. Others than Claude know budgets only. A budget is asked for where
/// `may_have_budget`; who thinks by an effort takes it beside any history, and shows a summary of its thought only when asked to.
pub(crate) fn ask(
    model: &str,
    effort: Option<ReasoningEffort>,
    max_tokens: u64,
    may_have_budget: impl Fn() -> bool,
) -> Asked {
    let claude = Claude::of(model);
    match claude.as_ref().map_or(Thinking::Budget, Claude::thinking) {
        Thinking::Never => Asked::default(),
        Thinking::Budget => {
            let budget = budget(effort, max_tokens).filter(|_| may_have_budget());
            let enabled = |tokens| json!({"type": "enabled", "budget_tokens": tokens});
            Asked { thinking: budget.map(enabled), effort: None }
        }
        Thinking::Adaptive => {
            let effort = claude.and_then(|claude| claude.effort(effort));
            let adaptive = || json!({"type": "adaptive", "display": "summarized"});
            Asked { thinking: effort.map(|_| adaptive()), effort }
        }
    }
}

/// Tokens to think with; none when the answer's limit leaves no room for the smallest budget.
fn budget(effort: Option<ReasoningEffort>, max_tokens: u64) -> Option<u64> {
    let wanted = match effort? {
        ReasoningEffort::None => return None,
        ReasoningEffort::Minimal => BUDGET_MIN,
        ReasoningEffort::Low => 4_096,
        ReasoningEffort::Medium => 10_000,
        ReasoningEffort::High => 20_000,
        ReasoningEffort::Xhigh => 32_000,
    };
    let bounded = wanted.min(max_tokens.saturating_sub(BUDGET_MIN));
    (bounded >= BUDGET_MIN).then_some(bounded)
}

/// A family of Claude's, by its name alone.
#[derive(Debug, Clone)]
pub(crate) struct Claude(String);

impl Claude {
    /// The family that an id or a family names, with or without a vendor before it and with `.` or `-` within its version; none if it is not
    /// of Claude.
    pub(crate) fn of(model: &str) -> Option<Self> {
        let name = &model[model.find("claude")?..];
        // The first ones have nothing but a version in their names.
        let family = if name.starts_with("claude-v") { name } else { kin::family(name) };
        Some(Self(family.replace('.', "-")))
    }

    fn is_of(&self, families: &[&str]) -> bool {
        families.iter().any(|pattern| is_of(&self.0, pattern))
    }

    /// How it is asked to think.
    pub(crate) fn thinking(&self) -> Thinking {
        if self.is_of(THOUGHTLESS) {
            Thinking::Never
        } else if self.is_of(BUDGETED) {
            Thinking::Budget
        } else {
            Thinking::Adaptive
        }
    }

    /// How its words can be drawn.
    pub(crate) fn draws(&self) -> Draws {
        match self.thinking() {
            Thinking::Adaptive => Draws::Never,
            Thinking::Never => Draws::Any,
            Thinking::Budget if self.is_of(DRAWN_BY_BOTH) => Draws::Any,
            Thinking::Budget => Draws::One,
        }
    }

    /// The word for an effort in `output_config`; none for not to think, which is the same as not told. An effort that the family does not
    /// have is the nearest one that it has.
    pub(crate) fn effort(&self, effort: Option<ReasoningEffort>) -> Option<&'static str> {
        Some(match effort? {
            ReasoningEffort::None => return None,
            ReasoningEffort::Minimal | ReasoningEffort::Low => "low",
            ReasoningEffort::Medium => "medium",
            ReasoningEffort::Xhigh if !self.is_of(WITHOUT_XHIGH) => "xhigh",
            ReasoningEffort::High | ReasoningEffort::Xhigh => "high",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_asked_to_think_as_its_vendor_says_wherever_it_runs() {
        use Thinking::{Adaptive, Budget, Never};
        let table = [
            ("claude-2.1", Never, Draws::Any),
            ("anthropic.claude-v2:1", Never, Draws::Any),
            ("claude-3-5-haiku-20241022", Never, Draws::Any),
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", Budget, Draws::Any),
            ("claude-opus-4-20250514", Budget, Draws::Any),
            ("claude-sonnet-4@20250514", Budget, Draws::Any),
            ("claude-opus-4-1-20250805", Budget, Draws::One),
            ("anthropic/claude-sonnet-4.5", Budget, Draws::One),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Budget, Draws::One),
            ("anthropic.claude-opus-4-6-v1", Budget, Draws::One),
            ("claude-opus-4-7", Adaptive, Draws::Never),
            ("us.anthropic.claude-opus-4-8", Adaptive, Draws::Never),
            ("global.anthropic.claude-opus-5", Adaptive, Draws::Never),
            ("claude-sonnet-5", Adaptive, Draws::Never),
            ("claude-fable-5-1", Adaptive, Draws::Never),
            ("claude-haiku-5-5", Adaptive, Draws::Never),
        ];
        for (model, thinking, draws) in table {
            let claude = Claude::of(model).unwrap();
            assert_eq!((claude.thinking(), claude.draws()), (thinking, draws), "{model}");
        }
        assert!(Claude::of("gpt-5").is_none());
    }

    #[test]
    fn an_effort_has_the_nearest_word_that_the_family_knows() {
        use ReasoningEffort::{High, Low, Medium, Minimal, None as No, Xhigh};
        let claude = Claude::of("claude-opus-4-7").unwrap();
        let words = [No, Minimal, Low, Medium, High, Xhigh].map(|e| claude.effort(Some(e)));
        let wanted = ["low", "low", "medium", "high", "xhigh"].map(Some);
        assert_eq!((words[0], &words[1..]), (None, &wanted[..]));
        let preview = Claude::of("anthropic.claude-mythos-preview").unwrap();
        assert_eq!((preview.effort(Some(Xhigh)), preview.effort(None)), (Some("high"), None));
    }
}
