//! The vendors' published rules of prompt caching, as data. What no vendor says stands nowhere here.

use crate::provider::Wire;
use crate::quirks::is_of;

const MINUTES: u64 = 60 * 1000;
const HOURS: u64 = 60 * MINUTES;

/// What a cache keeps of a request, and where a later one may find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// What ends at a mark of the request. A later one looks from each of its marks so many blocks back, the marked one included.
    Marks {
        /// How many marks count.
        most: usize,
        /// How many blocks are looked at from each.
        lookback: usize,
    },
    /// Requests as a whole, each with its end as the only place where a later one may find it.
    Requests {
        /// Whether the end of the answer is such a place, too.
        with_answer: bool,
    },
    /// Any beginning.
    Beginnings,
}

/// How long something is kept since it was used last, and what it costs to put it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Milliseconds; absent where the vendor names none, and a prediction takes it to stay.
    pub ms: Option<u64>,
    /// Price of a written token in hundredths of that of input; absent where it depends on the model.
    pub write_percent: Option<u64>,
}

/// How long a request asks its beginning to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retention {
    /// As long as the vendor does by itself.
    #[default]
    Usual,
    /// As long as the vendor offers.
    Long,
}

/// The rules of one vendor for some of its models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whose they are.
    pub vendor: &'static str,
    /// Where they are published.
    pub source: &'static str,
    /// The wires over which they hold.
    pub wires: &'static [Wire],
    /// The providers for which they hold; empty for all that serve these families.
    pub providers: &'static [&'static str],
    /// For which families they hold, and how many tokens a beginning must have to be kept. The first pattern that fits counts; a `*` at the end stands
    /// for anything.
    pub minima: &'static [(&'static str, u64)],
    /// What is kept.
    pub keeps: Keeps,
    /// Tokens are read in multiples of this.
    pub unit: u64,
    /// How long it is kept when nothing is asked for.
    pub usual: Lifetime,
    /// How long it is kept at most.
    pub long: Lifetime,
    /// Price of a read token in hundredths of that of input; absent where it depends on the model.
    pub read_percent: Option<u64>,
    /// Whether what is written is counted by itself in what the vendor tells of a call.
    pub counts_writes: bool,
}

impl Rules {
    /// The rules for a model of this family at this provider, and the tokens that a beginning must have; none where none are published.
    #[must_use]
    pub fn of(provider: &str, wire: Wire, family: &str) -> Option<(&'static Self, u64)> {
        // Gateways and clouds write the vendor before the family.
        let name = family.rsplit('/').next().unwrap_or(family);
        let name = name.find("claude").map_or(name, |at| &name[at..]);
        let holds = |rules: &&Self| {
            rules.wires.contains(&wire)
                && (rules.providers.is_empty() || rules.providers.contains(&provider))
        };
        RULES.iter().filter(holds).find_map(|rules| Some((rules, rules.minimum(name)?)))
    }

    /// Tokens that a beginning of a model of this family must have to be kept.
    #[must_use]
    pub fn minimum(&self, family: &str) -> Option<u64> {
        self.minima.iter().find(|(pattern, _)| is_of(family, pattern)).map(|(_, tokens)| *tokens)
    }

    /// How long something is kept.
    #[must_use]
    pub fn lifetime(&self, retention: Retention) -> Lifetime {
        match retention {
            Retention::Usual => self.usual,
            Retention::Long => self.long,
        }
    }
}

const fn kept(ms: u64, write_percent: u64) -> Lifetime {
    Lifetime { ms: Some(ms), write_percent: Some(write_percent) }
}

/// Nobody says for how long.
const UNSAID: Lifetime = Lifetime { ms: None, write_percent: Some(100) };

/// All rules. The first row that holds for a model counts.
pub const RULES: &[Rules] = &[
    // platform.claude.com/docs/en/build-with-claude/prompt-caching: minima by model, at most 4 breakpoints, 20 blocks back from each with the breakpoint
    // as the first of them, 5 minutes or an hour since the last use, writing at 1.25 or 2 times the price of input, reading at a tenth.
    Rules {
        vendor: "Anthropic",
        source: "platform.claude.com/docs/en/build-with-claude/prompt-caching",
        wires: &[Wire::AnthropicMessages],
        providers: &[],
        minima: &[
            ("claude-opus-5*", 512),
            ("claude-fable-5*", 512),
            ("claude-mythos-5*", 512),
            ("claude-opus-4-7*", 2_048),
            ("claude-opus-4-6*", 4_096),
            ("claude-opus-4-5*", 4_096),
            ("claude-haiku-4-5*", 4_096),
            ("claude-opus-4*", 1_024),
            ("claude-sonnet-*", 1_024),
            ("claude-3-7-sonnet*", 1_024),
            ("claude-3-5-sonnet*", 1_024),
            ("claude-3-opus*", 1_024),
            ("claude-3-5-haiku*", 2_048),
            ("claude-3-haiku*", 2_048),
        ],
        keeps: Keeps::Marks { most: 4, lookback: 20 },
        unit: 1,
        usual: kept(5 * MINUTES, 125),
        long: kept(HOURS, 200),
        read_percent: Some(10),
        counts_writes: true,
    },
    // docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html: at most 4 `cachePoint`s, about 20 blocks back from each for Claude, 5 minutes or an
    // hour. Other models of Bedrock have rules of their own.
    Rules {
        vendor: "Amazon Bedrock",
        source: "docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html",
        wires: &[Wire::BedrockConverse],
        providers: &[],
        minima: &[
            ("claude-opus-5*", 512),
            ("claude-opus-4-7*", 4_096),
            ("claude-opus-4-6*", 4_096),
            ("claude-opus-4-5*", 4_096),
            ("claude-haiku-4-5*", 4_096),
            ("claude-opus-4*", 1_024),
            ("claude-sonnet-*", 1_024),
            ("claude-3-7-sonnet*", 1_024),
            ("claude-3-5-haiku*", 2_048),
        ],
        keeps: Keeps::Marks { most: 4, lookback: 20 },
        unit: 1,
        usual: kept(5 * MINUTES, 125),
        long: kept(HOURS, 200),
        read_percent: Some(10),
        counts_writes: true,
    },
    // developers.openai.com/api/docs/guides/prompt-caching: from GPT-5.6 on there is one breakpoint at the end of the newest message, found again exactly there,
    // for 30 minutes at least; writing costs 1.25 times the input.
    Rules {
        vendor: "OpenAI",
        source: "developers.openai.com/api/docs/guides/prompt-caching",
        wires: OPENAI_WIRES,
        providers: &[],
        minima: &[
            ("gpt-5.6*", 1_024),
            ("gpt-5.7*", 1_024),
            ("gpt-5.8*", 1_024),
            ("gpt-5.9*", 1_024),
            ("gpt-6*", 1_024),
        ],
        keeps: Keeps::Requests { with_answer: false },
        unit: 1,
        usual: kept(30 * MINUTES, 125),
        long: kept(30 * MINUTES, 125),
        read_percent: None,
        counts_writes: true,
    },
    // The same page: before GPT-5.6 any beginning of 1,024 tokens and more, in steps of 128, for 5 to 10 minutes without use, or 24 hours with
    // `prompt_cache_retention`; writing costs no more than input. The shorter time counts here.
    Rules {
        vendor: "OpenAI",
        source: "developers.openai.com/api/docs/guides/prompt-caching",
        wires: OPENAI_WIRES,
        providers: &[],
        minima: &[
            ("gpt-4o*", 1_024),
            ("chatgpt-4o*", 1_024),
            ("gpt-4.1*", 1_024),
            ("gpt-4.5*", 1_024),
            ("gpt-5*", 1_024),
            ("o1*", 1_024),
            ("o3*", 1_024),
            ("o4*", 1_024),
        ],
        keeps: Keeps::Beginnings,
        unit: 128,
        usual: kept(5 * MINUTES, 100),
        long: kept(24 * HOURS, 100),
        read_percent: None,
        counts_writes: false,
    },
    // ai.google.dev/gemini-api/docs/caching (October 2026): implicit caching of Gemini 2.5 and later, with a minimum for each model and no time.
    Rules {
        vendor: "Google",
        source: "ai.google.dev/gemini-api/docs/caching",
        wires: &[Wire::Gemini],
        providers: &[],
        minima: &[("gemini-2.5*", 2_048), ("gemini-3*", 4_096), ("gemini-4*", 4_096)],
        keeps: Keeps::Beginnings,
        unit: 1,
        usual: UNSAID,
        long: UNSAID,
        read_percent: None,
        counts_writes: false,
    },
    // api-docs.deepseek.com/guides/kv_cache: units end where a request and where its answer ends, and are found as a whole; storage is in units of
    // 64 tokens (api-docs.deepseek.com/news/news0802), for hours to days.
    Rules {
        vendor: "DeepSeek",
        source: "api-docs.deepseek.com/guides/kv_cache",
        wires: OPENAI_WIRES,
        providers: &["deepseek"],
        minima: &[("deepseek-*", 64)],
        keeps: Keeps::Requests { with_answer: true },
        unit: 64,
        usual: UNSAID,
        long: UNSAID,
        read_percent: None,
        counts_writes: false,
    },
    // github.com/ggml-org/llama.cpp, tools/server/README.md, `cache_prompt`: what a request has in common with the one before is not read again.
    Rules {
        vendor: "llama.cpp",
        source: "github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        wires: OPENAI_WIRES,
        providers: &["llamacpp"],
        minima: &[("*", 0)],
        keeps: Keeps::Beginnings,
        unit: 1,
        usual: UNSAID,
        long: UNSAID,
        read_percent: None,
        counts_writes: false,
    },
];

const OPENAI_WIRES: &[Wire] = &[Wire::OpenAiChat, Wire::OpenAiResponses];
