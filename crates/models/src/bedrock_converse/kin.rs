//! Which models take what, as AWS documents it for each of them: the wire is one, its models are of many makers.

use crate::claude::{Claude, Thinking};
use crate::quirks::Documents;

/// Tokens that an answer of any Claude that thinks may have.
const CLAUDE_OUTPUT: u64 = 32_000;
/// Tokens that an answer of any Claude may have.
const CLAUDE_OUTPUT_THOUGHTLESS: u64 = 4_096;
/// Families of Claude that came before marks for the cache.
const UNCACHED: &[&str] = &[
    "claude-v",
    "claude-2",
    "claude-instant",
    "claude-3-haiku",
    "claude-3-sonnet",
    "claude-3-opus",
    "claude-3-5-sonnet",
];

/// Where a model comes from, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kin {
    /// Anthropic's.
    Claude,
    /// Amazon's own, of the first generation.
    Nova,
    /// Amazon's own, which think.
    Nova2,
    /// Anybody else's.
    Other,
}

/// A model, by what its id says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind<'a> {
    id: &'a str,
    pub(crate) kin: Kin,
}

impl<'a> Kind<'a> {
    /// What an id, a profile or an address of a resource says about its model.
    pub(crate) fn of(id: &'a str) -> Self {
        let kin = if id.contains("claude") {
            Kin::Claude
        } else if id.contains("nova-2") {
            Kin::Nova2
        } else if id.contains("amazon.nova") {
            Kin::Nova
        } else {
            Kin::Other
        };
        Self { id, kin }
    }

    /// What was said of it.
    pub(crate) fn id(self) -> &'a str {
        self.id
    }

    fn is_one_of(self, names: &[&str]) -> bool {
        names.iter().any(|name| self.id.contains(name))
    }

    /// Whether it is known to take an effort.
    pub(crate) fn thinks(self) -> bool {
        match self.kin {
            Kin::Claude => self.claude_thinking() != Thinking::Never,
            Kin::Nova2 => true,
            Kin::Nova => false,
            Kin::Other => self.id.contains("gpt-oss"),
        }
    }

    /// How it is asked to think, if it is Claude.
    pub(crate) fn claude_thinking(self) -> Thinking {
        Claude::of(self.id).map_or(Thinking::Never, |claude| claude.thinking())
    }

    /// Tokens that an answer may have when nobody says. Claude is given 4,096 where they are left out, too few for a budget (AWS, "Inference
    /// parameters"); those that think take eight times as many at least, and others have their own maximum when they are left out.
    pub(crate) fn output_default(self) -> Option<u64> {
        (self.kin == Kin::Claude).then(|| match self.claude_thinking() {
            Thinking::Never => CLAUDE_OUTPUT_THOUGHTLESS,
            Thinking::Budget | Thinking::Adaptive => CLAUDE_OUTPUT,
        })
    }

    /// Whether it has a field for how many of the likeliest words to draw from.
    pub(crate) fn has_top_k(self) -> bool {
        self.kin != Kin::Other
    }

    /// Whether marks for the cache may stand in the system prompt and in messages.
    pub(crate) fn caches(self) -> bool {
        match self.kin {
            Kin::Claude => !self.is_one_of(UNCACHED),
            Kin::Nova | Kin::Nova2 => true,
            Kin::Other => false,
        }
    }

    /// Whether a mark may stand in a message that holds results. Nova refuses one behind a result.
    pub(crate) fn caches_results(self) -> bool {
        self.kin == Kin::Claude && self.caches()
    }

    /// Whether a mark may stand behind the tools, too.
    pub(crate) fn caches_tools(self) -> bool {
        self.kin == Kin::Claude && self.caches()
    }

    /// Whether a result may be marked as an error, and hold pictures.
    pub(crate) fn has_rich_results(self) -> bool {
        self.kin != Kin::Other
    }

    /// What it is given of documents: what AWS lists besides goes by their text alone, and Nova Micro sees nothing.
    pub(crate) fn documents(self) -> Documents {
        match self.kin {
            Kin::Other => Documents::Named,
            _ if self.id.contains("nova-micro") => Documents::Named,
            Kin::Claude | Kin::Nova | Kin::Nova2 => Documents::Whole,
        }
    }

    /// Whether its provider searches the web for it.
    pub(crate) fn can_be_grounded(self) -> bool {
        self.kin == Kin::Nova2 || self.id.contains("nova-premier")
    }
}

/// The family of a model: its id without the place that runs it, the date and the version.
/// `us.anthropic.claude-sonnet-4-5-20250929-v1:0` is of `anthropic.claude-sonnet-4-5`.
pub(crate) fn family(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = match name.split_once('.') {
        Some((place, rest)) if rest.contains('.') && is_place(place) => rest,
        _ => name,
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let whole = name.split_once(':').map_or(name, |(whole, _)| whole);
    let unversioned = match whole.rsplit_once("-v") {
        Some((stem, version)) if is_number(version) => stem,
        _ => whole,
    };
    crate::provider::family(unversioned)
}

/// Whether this names the regions of a profile, as `us`, `apac`, `us-gov` and `global` do.
fn is_place(text: &str) -> bool {
    matches!(text, "global" | "apac" | "us-gov") || text.len() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_the_same_wherever_its_model_runs() {
        let sonnet = "anthropic.claude-sonnet-4-5";
        let table = [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", sonnet),
            ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", sonnet),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", sonnet),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
                sonnet,
            ),
            ("anthropic.claude-opus-4-6-v1", "anthropic.claude-opus-4-6"),
            ("us.amazon.nova-2-lite-v1:0", "amazon.nova-2-lite"),
            ("us.deepseek.r1-v1:0", "deepseek.r1"),
            ("mistral.mistral-7b-instruct-v0:2", "mistral.mistral-7b-instruct"),
            ("openai.gpt-oss-120b-1:0", "openai.gpt-oss-120b-1"),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", "abc"),
            ("m", "m"),
            ("", ""),
        ];
        for (model, wanted) in table {
            assert_eq!(family(model), wanted, "{model}");
        }
    }

    #[test]
    fn what_a_model_takes_is_told_by_its_id() {
        // Thinks, caches, caches tools, has rich results.
        let table = [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", [true, true, true, true]),
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", [true, true, true, true]),
            ("anthropic.claude-3-5-haiku-20241022-v1:0", [false, true, true, true]),
            ("anthropic.claude-3-5-sonnet-20240620-v1:0", [false, false, false, true]),
            ("anthropic.claude-v2:1", [false, false, false, true]),
            ("us.amazon.nova-2-lite-v1:0", [true, true, false, true]),
            ("amazon.nova-pro-v1:0", [false, true, false, true]),
            ("openai.gpt-oss-120b-1:0", [true, false, false, false]),
            ("meta.llama3-1-70b-instruct-v1:0", [false, false, false, false]),
        ];
        for (id, wanted) in table {
            let kind = Kind::of(id);
            let takes =
                [kind.thinks(), kind.caches(), kind.caches_tools(), kind.has_rich_results()];
            assert_eq!(takes, wanted, "{id}");
        }
    }
}
