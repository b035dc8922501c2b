//! What Google documents of its families of models where they take requests differently: thinking, and what came with Gemini 3.

use oarlock_core::spec::ReasoningEffort;
use serde_json::{Value, json};

use crate::quirks::is_of;

/// Tokens of an answer that are kept for what follows its thought.
const ANSWER_MIN: u64 = 1_024;

/// How a family is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thinking {
    /// It does not think, and refuses to be asked.
    Never,
    /// By tokens from `least` to `most`; 0 for not at all, where it can be `off`.
    Budget { least: u64, most: u64, off: bool },
    /// By levels from this one to `high`; it always thinks.
    Level { lowest: &'static str },
}

const BUDGET_OF_FLASH: Thinking = Thinking::Budget { least: 0, most: 24_576, off: true };
const BUDGET_OF_PRO: Thinking = Thinking::Budget { least: 128, most: 32_768, off: false };
const FROM_MINIMAL: Thinking = Thinking::Level { lowest: "minimal" };

/// They draw words in their own way (ai.google.dev/gemini-api/docs/generate-content/whats-new-gemini-3.6).
const UNDRAWN: &[&str] = &["gemini-3.5-flash-lite*", "gemini-3.6*", "gemini-3.7*", "gemini-3.8*"];

/// From ai.google.dev/gemini-api/docs/thinking; the first row that fits counts, and a family that is not listed thinks by levels from `low`.
const FAMILIES: &[(&str, Thinking)] = &[
    ("gemini-1*", Thinking::Never),
    ("gemini-2.0*", Thinking::Never),
    ("gemini-exp*", Thinking::Never),
    ("gemma*", Thinking::Never),
    ("gemini-2.5-flash-lite*", Thinking::Budget { least: 512, most: 24_576, off: true }),
    ("gemini-2.5-flash*", BUDGET_OF_FLASH),
    ("gemini-2.5*", BUDGET_OF_PRO),
    ("gemini-robotics-er-1.5*", BUDGET_OF_FLASH),
    ("gemini-3-flash*", FROM_MINIMAL),
    ("gemini-3.1-flash-lite*", FROM_MINIMAL),
    ("gemini-3.5-flash*", FROM_MINIMAL),
    ("gemini-3.6-flash*", FROM_MINIMAL),
];

/// The name alone: gateways write the vendor, and lists of models `models/`, before it.
fn bare(family: &str) -> &str {
    family.rsplit('/').next().unwrap_or(family)
}

fn thinking(family: &str) -> Thinking {
    let found = FAMILIES.iter().find(|(pattern, _)| is_of(bare(family), pattern));
    found.map_or(Thinking::Level { lowest: "low" }, |(_, thinking)| *thinking)
}

/// Whether it can be told how hard to think.
pub(crate) fn thinks(family: &str) -> bool {
    thinking(family) != Thinking::Never
}

/// Whether Google says that it takes no notice of temperature, `top_p` and `top_k`.
pub(crate) fn ignores_draws(family: &str) -> bool {
    UNDRAWN.iter().any(|pattern| is_of(bare(family), pattern))
}

/// Whether it is of Gemini 3 or later, as every family is that thinks by levels. Those want a signature on the first call of each step and the id of a call in its result, take pictures in
/// results, and search or keep to a schema beside tools.
pub(crate) fn is_third(family: &str) -> bool {
    matches!(thinking(family), Thinking::Level { .. })
}

/// The member `thinkingConfig` for this effort; an answer has at most so many tokens, its thought counted. An effort that the family does not
/// have is the nearest one that it has.
pub(super) fn thinking_config(
    family: &str,
    effort: ReasoningEffort,
    output_max: Option<u64>,
) -> Option<Value> {
    let includes = effort != ReasoningEffort::None;
    match thinking(family) {
        Thinking::Never => None,
        Thinking::Level { lowest } => {
            let level = match effort {
                ReasoningEffort::None | ReasoningEffort::Minimal => lowest,
                ReasoningEffort::Low => "low",
                ReasoningEffort::Medium => "medium",
                ReasoningEffort::High | ReasoningEffort::Xhigh => "high",
            };
            Some(json!({"thinkingLevel": level, "includeThoughts": includes}))
        }
        Thinking::Budget { least, most, off } => {
            let wanted = match effort {
                ReasoningEffort::None if off => {
                    return Some(json!({"thinkingBudget": 0, "includeThoughts": false}));
                }
                ReasoningEffort::None => least,
                ReasoningEffort::Minimal => 1_024,
                ReasoningEffort::Low => 4_096,
                ReasoningEffort::Medium => 10_000,
                ReasoningEffort::High => 20_000,
                ReasoningEffort::Xhigh => most,
            };
            let room = output_max.map_or(most, |max| max.saturating_sub(ANSWER_MIN));
            let budget = wanted.min(room).clamp(least, most);
            // Who does not think cannot be asked for thought.
            Some(json!({"thinkingBudget": budget, "includeThoughts": includes && budget > 0}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_told_in_its_own_words_how_hard_to_think() {
        use ReasoningEffort::{High, Low, Medium, Minimal, None as Off, Xhigh};
        let level = |level: &str| Some(json!(level));
        let table = [
            ("gemini-2.0-flash", High, None, None),
            ("gemini-2.5-flash", Off, None, Some(json!(0))),
            ("gemini-2.5-flash", Minimal, None, Some(json!(1_024))),
            ("gemini-2.5-flash", Xhigh, None, Some(json!(24_576))),
            ("gemini-2.5-flash", High, Some(4_096), Some(json!(3_072))),
            ("gemini-2.5-flash", High, Some(100), Some(json!(0))),
            ("gemini-2.5-flash-lite", Off, None, Some(json!(0))),
            ("gemini-2.5-flash-lite", Low, Some(1_100), Some(json!(512))),
            ("gemini-2.5-pro", Off, None, Some(json!(128))),
            ("gemini-2.5-pro", Xhigh, None, Some(json!(32_768))),
            ("models/gemini-2.5-pro", Low, None, Some(json!(4_096))),
            ("gemini-3-flash-preview", Off, None, level("minimal")),
            ("gemini-3.5-flash-lite", Minimal, None, level("minimal")),
            ("gemini-3.1-pro-preview", Minimal, None, level("low")),
            ("gemini-3.6-flash", Off, None, level("minimal")),
            ("gemini-exp-1206", High, None, None),
            ("gemini-robotics-er-1.5-preview", Off, None, Some(json!(0))),
            ("gemini-3.8-flash", Medium, None, level("medium")),
            ("gemini-of-tomorrow", Xhigh, Some(10), level("high")),
        ];
        for (family, effort, output_max, wanted) in table {
            let config = thinking_config(family, effort, output_max);
            let told = config.as_ref().map(|config| {
                let told = config.get("thinkingBudget").or_else(|| config.get("thinkingLevel"));
                let thinks = effort != Off && config["thinkingBudget"] != 0;
                assert_eq!(config["includeThoughts"], thinks, "{family}");
                assert_eq!(config.as_object().unwrap().len(), 2, "{config}");
                told.unwrap().clone()
            });
            assert_eq!(told, wanted, "{family} {effort:?}");
        }
        assert!(is_third("gemini-flash") && !is_third("gemini-2.5-pro") && !is_third("gemma-3"));
        assert!(!is_third("gemini-robotics-er-1.5-preview") && !is_third("gemini-exp-1206"));
        for (family, ignores) in [
            ("gemini-2.5-flash", false),
            ("gemini-3.1-pro-preview", false),
            ("gemini-3.5-flash", false),
            ("gemini-3.5-flash-lite", true),
            ("models/gemini-3.6-flash", true),
            ("gemini-3.8-flash", true),
        ] {
            assert_eq!(ignores_draws(family), ignores, "{family}");
        }
        assert!(thinks("gemini-2.5-pro") && !thinks("gemini-2.0-flash-001"));
    }
}
