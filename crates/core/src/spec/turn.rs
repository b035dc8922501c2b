//! How the turns of a session are run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::is_default;

/// How turns are run. A turn uses what stood here when it began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TurnConfig {
    /// How the model draws its words.
    #[serde(skip_serializing_if = "is_default")]
    pub sampling: Sampling,
    /// How many answered steps a turn may have, besides [`crate::spec::Bounds::steps`].
    #[serde(skip_serializing_if = "is_default")]
    pub request_limit: TurnRequestLimit,
    /// When a session forgets.
    #[serde(skip_serializing_if = "is_default")]
    pub context: ContextPolicy,
    /// Further attempts at a step after a failure that may pass; the runtime's own number when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_llm_retries: Option<u32>,
    /// Tools of one answer that run at the same time, up to the runtime's own number, which holds when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_tools: Option<u32>,
    /// How many sessions may stand below this one, each a subagent of the one before: 1 when absent, 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subagent_max_depth: Option<u32>,
    /// Of what is left of each limit, the share that is set aside for a subagent which names no bound of its own; 0.25 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subagent_share: Option<Decimal>,
    /// How often hooks may make one turn go on whose model stopped; 3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_hook_continues: Option<u32>,
}

impl TurnConfig {
    /// How many sessions may stand below a session that nobody stands above.
    #[must_use]
    pub fn depth_max(&self) -> u32 {
        self.subagent_max_depth.unwrap_or(1)
    }

    /// Checks what the types do not hold.
    ///
    /// # Errors
    /// Words for a person: which value cannot be, and what could.
    pub fn check(&self) -> Result<(), String> {
        let ContextPolicy { window, clear_ratio, soft_ratio, compact_ratio, .. } = self.context;
        if window == Some(0) || self.context.compact_threshold_tokens == Some(0) {
            return Err("a window or threshold of 0 tokens leaves no room for a request".to_owned());
        }
        if compact_ratio == Decimal(0) || compact_ratio > Decimal(1000) {
            return Err(format!("compact_ratio is {compact_ratio}; it lies above 0 and up to 1"));
        }
        for (name, ratio) in [("clear_ratio", clear_ratio), ("soft_ratio", soft_ratio)] {
            let below = self.context.compact_threshold_tokens.is_some() || ratio < compact_ratio;
            if ratio > Decimal(1000) || !below {
                return Err(format!(
                    "{name} is {ratio}; it lies below compact_ratio, which is {compact_ratio}; 0 switches it off"
                ));
            }
        }
        if self.subagent_share.is_some_and(|share| share == Decimal(0) || share > Decimal(1000)) {
            return Err("the share of a subagent lies above 0 and up to 1".to_owned());
        }
        if self.context.clear_ratio > self.context.soft_ratio && soft_ratio > Decimal(0) {
            return Err(format!(
                "clear_ratio is {clear_ratio}; it is at most soft_ratio, {soft_ratio}"
            ));
        }
        Ok(())
    }
}

/// How a model draws its words. What is absent is left to the provider; what a wire cannot say is an error there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sampling {
    /// Tokens that an answer may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// From 0 for always the likeliest word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Decimal>,
    /// Only the likeliest words that have this share of all probability together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<Decimal>,
    /// Only so many of the likeliest words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Texts that end the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
}

/// How many answered steps a turn may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum TurnRequestLimit {
    /// As many as its other limits let it.
    #[default]
    Unbounded,
    /// So many.
    Fixed {
        /// How many.
        steps: u32,
    },
    /// So many, and one more for each step in which a call completed that the turn had not made before, up to four times as many.
    Adaptive {
        /// How many without progress.
        initial: u32,
    },
}

/// When a session forgets: shares of the model's window that the next request may fill before something is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContextPolicy {
    /// Tokens of the window; what is known of the model when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Tokens at which a turn waits for a summary, in place of `compact_ratio`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact_threshold_tokens: Option<u64>,
    /// Here old results of tools are cleared; 0 for never.
    pub clear_ratio: Decimal,
    /// Here a summary is made in the background; 0 for never.
    pub soft_ratio: Decimal,
    /// Here the turn waits for a summary.
    pub compact_ratio: Decimal,
}

impl Default for ContextPolicy {
    fn default() -> Self {
        Self {
            window: None,
            compact_threshold_tokens: None,
            clear_ratio: Decimal(600),
            soft_ratio: Decimal(700),
            compact_ratio: Decimal(850),
        }
    }
}

/// A number with three decimal places, in thousandths; written as a JSON number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(pub u32);

impl Decimal {
    /// This share of `whole`, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.0) / 1000).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

impl Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked first"
    )]
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(d)?;
        let thousandths = (number * 1000.0).round();
        if !(0.0..=1_000_000.0).contains(&thousandths) {
            return Err(serde::de::Error::custom(format!("{number} is not between 0 and 1000")));
        }
        Ok(Self(thousandths as u32))
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "number", "minimum": 0, "maximum": 1000})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_that_contradict_each_other_are_refused() {
        let of = |clear, soft, compact, threshold| {
            let context = ContextPolicy {
                clear_ratio: Decimal(clear),
                soft_ratio: Decimal(soft),
                compact_ratio: Decimal(compact),
                compact_threshold_tokens: threshold,
                ..ContextPolicy::default()
            };
            TurnConfig { context, ..TurnConfig::default() }.check().is_ok()
        };
        assert!(TurnConfig::default().check().is_ok());
        for (clear, soft, compact, threshold, fits) in [
            (0, 0, 850, None, true),
            (600, 0, 850, None, true),
            (700, 700, 1000, None, true),
            (600, 850, 850, None, false),
            (900, 0, 850, None, false),
            (710, 700, 850, None, false),
            (600, 700, 0, None, false),
            (600, 700, 1001, None, false),
            (600, 900, 850, Some(9_000), true),
            (600, 700, 850, Some(0), false),
        ] {
            assert_eq!(of(clear, soft, compact, threshold), fits, "{clear} {soft} {compact}");
        }
    }

    #[test]
    fn a_decimal_is_written_as_a_number_and_bounded() {
        assert_eq!(serde_json::to_string(&Decimal(700)).unwrap(), "0.7");
        assert_eq!(serde_json::from_str::<Decimal>("0.85").unwrap(), Decimal(850));
        assert!(serde_json::from_str::<Decimal>("-1").is_err());
        assert!(serde_json::from_str::<Decimal>("1001").is_err());
        assert_eq!(Decimal(850).of(8_000), 6_800);
    }
}
