//! Well-known providers: enough to choose one, to name its key and to know its default model. Only what is certain stands here.

use oarlock_core::ports::model::{HostedCapabilities, Price};

use crate::provider::Wire;
use crate::quirks::{AnswerSchemas, CallIds, Documents, OutputField, Quirks, ThoughtEcho};

/// A provider that needs no configuration but its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WellKnown {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Its name for people.
    pub display_name: &'static str,
    /// Its protocol.
    pub wire: Wire,
    /// Its endpoint.
    pub base_url: &'static str,
    /// The variable that holds its key; none for servers of this machine that take none.
    pub key_variable: Option<&'static str>,
    /// A variable in which it is looked for when that one is empty.
    pub other_key_variable: Option<&'static str>,
    /// What is special about it.
    pub quirks: Quirks,
    /// Further protocols that it speaks at the same endpoint, and what is special about them.
    pub further: &'static [(Wire, Quirks)],
    /// The model when none is named; none where it depends on what is installed or changes too often.
    pub default_model: Option<&'static str>,
    /// Models about which something is known, by family.
    pub models: &'static [KnownModel],
}

impl WellKnown {
    /// The variables in which its key is looked for, in order.
    pub fn key_variables(&self) -> impl Iterator<Item = &'static str> {
        self.key_variable.into_iter().chain(self.other_key_variable)
    }

    /// What is special about it over this protocol; nothing where it is not known to speak it.
    #[must_use]
    pub fn quirks_over(&self, wire: Wire) -> Option<Quirks> {
        let further = || self.further.iter().find(|(other, _)| *other == wire);
        if wire == self.wire { Some(self.quirks) } else { further().map(|(_, quirks)| *quirks) }
    }
}

/// What is known about a model, or about all releases of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownModel {
    /// The id without the date of a release.
    pub id: &'static str,
    /// Tokens of request and answer together.
    pub context_window: Option<u64>,
    /// Tokens of an answer.
    pub output_max: Option<u64>,
    /// List price for requests of ordinary length and priority.
    pub price: Option<Price>,
}

/// In order of preference when several keys are in the environment.
pub const WELL_KNOWN: &[WellKnown] = &[
    WellKnown {
        name: "anthropic",
        display_name: "Anthropic",
        wire: Wire::AnthropicMessages,
        base_url: "https://api.anthropic.com",
        key_variable: Some("ANTHROPIC_API_KEY"),
        other_key_variable: None,
        quirks: Quirks {
            hosted: HostedCapabilities { web_search: true },
            answer_schemas: AnswerSchemas { taken: true, but: OLDER_CLAUDES },
            documents: Documents::Whole,
            ..Quirks::PLAIN
        },
        further: &[],
        default_model: Some("claude-sonnet-4-5"),
        models: ANTHROPIC,
    },
    WellKnown {
        default_model: Some("gpt-4o-mini"),
        quirks: Quirks {
            output_field: OutputField::MaxCompletionTokens,
            effort: true,
            cache_key: true,
            answer_schemas: AnswerSchemas { taken: true, but: OLDER_GPTS },
            documents: Documents::Whole,
            ..Quirks::PLAIN
        },
        further: &[(
            Wire::OpenAiResponses,
            Quirks {
                hosted: HostedCapabilities { web_search: true },
                effort: true,
                cache_key: true,
                answer_schemas: AnswerSchemas { taken: true, but: OLDER_GPTS },
                documents: Documents::Whole,
                ..Quirks::PLAIN
            },
        )],
        models: OPENAI,
        ..chat(("openai", "OpenAI"), "https://api.openai.com/v1", Some("OPENAI_API_KEY"))
    },
    WellKnown {
        default_model: Some("gemini-3.8-flash"),
        wire: Wire::Gemini,
        quirks: Quirks {
            hosted: HostedCapabilities { web_search: true },
            answer_schemas: AnswerSchemas { taken: true, but: OLDER_GEMINIS },
            ..Quirks::PLAIN
        },
        other_key_variable: Some("GOOGLE_API_KEY"),
        models: GOOGLE,
        ..chat(
            ("google", "Google"),
            "https://generativelanguage.googleapis.com/v1beta",
            Some("GEMINI_API_KEY"),
        )
    },
    WellKnown {
        default_model: Some("deepseek-chat"),
        quirks: Quirks { thought_echo: ThoughtEcho::CurrentTurn, ..Quirks::PLAIN },
        models: DEEPSEEK,
        ..chat(("deepseek", "DeepSeek"), "https://api.deepseek.com", Some("DEEPSEEK_API_KEY"))
    },
    WellKnown {
        default_model: Some("openrouter/auto"),
        quirks: Quirks { thought_echo: ThoughtEcho::Always, ..Quirks::PLAIN },
        ..chat(
            ("openrouter", "OpenRouter"),
            "https://openrouter.ai/api/v1",
            Some("OPENROUTER_API_KEY"),
        )
    },
    WellKnown {
        quirks: Quirks { output_field: OutputField::MaxCompletionTokens, ..Quirks::PLAIN },
        ..chat(("groq", "Groq"), "https://api.groq.com/openai/v1", Some("GROQ_API_KEY"))
    },
    WellKnown {
        default_model: Some("mistral-large-latest"),
        // It refuses fields it does not know, and sends usage unasked.
        quirks: Quirks { stream_usage: false, call_ids: CallIds::NineLetters, ..Quirks::PLAIN },
        ..chat(("mistral", "Mistral"), "https://api.mistral.ai/v1", Some("MISTRAL_API_KEY"))
    },
    WellKnown {
        further: &[(
            Wire::OpenAiResponses,
            Quirks { hosted: HostedCapabilities { web_search: true }, ..Quirks::PLAIN },
        )],
        ..chat(("xai", "xAI"), "https://api.x.ai/v1", Some("XAI_API_KEY"))
    },
    chat(("together", "Together"), "https://api.together.xyz/v1", Some("TOGETHER_API_KEY")),
    WellKnown {
        name: "bedrock",
        display_name: "Amazon Bedrock",
        wire: Wire::BedrockConverse,
        base_url: "https://bedrock-runtime.us-east-1.amazonaws.com",
        key_variable: Some("AWS_BEARER_TOKEN_BEDROCK"),
        other_key_variable: None,
        quirks: Quirks {
            answer_schemas: AnswerSchemas { taken: true, but: SCHEMALESS_AT_BEDROCK },
            documents: Documents::Whole,
            ..Quirks::PLAIN
        },
        further: &[],
        default_model: None,
        models: BEDROCK,
    },
    chat(("litellm", "LiteLLM"), "http://localhost:4000/v1", Some("LITELLM_API_KEY")),
    chat(("ollama", "Ollama"), "http://localhost:11434/v1", None),
    chat(("llamacpp", "llama.cpp"), "http://localhost:8080/v1", None),
    chat(("lmstudio", "LM Studio"), "http://localhost:1234/v1", None),
    chat(("vllm", "vLLM"), "http://localhost:8000/v1", None),
];

/// The well-known provider of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static WellKnown> {
    WELL_KNOWN.iter().find(|known| known.name == name)
}

/// What to say besides where the key of a provider is missing: that this program has no other way in than a key. Else nothing.
#[must_use]
pub fn unsigned(provider: &str) -> &'static str {
    let is_bedrock = find(provider).is_some_and(|known| known.wire == Wire::BedrockConverse);
    if cfg!(feature = "bedrock") || !is_bedrock {
        return "";
    }
    "; credentials of AWS do not count, because this program was built without signing (feature `bedrock`)"
}

/// The name most like this one, if one is like it.
#[must_use]
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|n| (strsim::damerau_levenshtein(name, n), n));
    scored.min().filter(|(distance, _)| *distance <= (name.len() / 3).max(2)).map(|(_, n)| n)
}

const fn chat(
    (name, display_name): (&'static str, &'static str),
    base_url: &'static str,
    key_variable: Option<&'static str>,
) -> WellKnown {
    WellKnown {
        name,
        display_name,
        wire: Wire::OpenAiChat,
        base_url,
        key_variable,
        other_key_variable: None,
        quirks: Quirks::PLAIN,
        further: &[],
        default_model: None,
        models: &[],
    }
}

const fn model(id: &'static str, context_window: u64, output_max: u64, price: Price) -> KnownModel {
    KnownModel {
        id,
        context_window: Some(context_window),
        output_max: Some(output_max),
        price: Some(price),
    }
}

/// Anthropic's scheme: reading the cache costs a tenth of the input, writing it a quarter more.
const fn anthropic(input: u64, output: u64) -> Price {
    Price { input, output, cache_read: input / 10, cache_write: input / 4 * 5 }
}

/// OpenAI's scheme: writing the cache costs what input costs.
const fn openai(input: u64, output: u64, cache_read: u64) -> Price {
    Price { input, output, cache_read, cache_write: input }
}

const ANTHROPIC: &[KnownModel] = &[
    model("claude-opus-4-5", 200_000, 64_000, anthropic(5_000_000, 25_000_000)),
    model("claude-sonnet-4-5", 200_000, 64_000, anthropic(3_000_000, 15_000_000)),
    model("claude-haiku-4-5", 200_000, 64_000, anthropic(1_000_000, 5_000_000)),
    model("claude-opus-4-1", 200_000, 32_000, anthropic(15_000_000, 75_000_000)),
    model("claude-opus-4", 200_000, 32_000, anthropic(15_000_000, 75_000_000)),
    model("claude-sonnet-4", 200_000, 64_000, anthropic(3_000_000, 15_000_000)),
    model("claude-3-7-sonnet", 200_000, 64_000, anthropic(3_000_000, 15_000_000)),
    model("claude-3-5-haiku", 200_000, 8_192, anthropic(800_000, 4_000_000)),
];

const OPENAI: &[KnownModel] = &[
    model("gpt-5", 400_000, 128_000, openai(1_250_000, 10_000_000, 125_000)),
    model("gpt-5-mini", 400_000, 128_000, openai(250_000, 2_000_000, 25_000)),
    model("gpt-5-nano", 400_000, 128_000, openai(50_000, 400_000, 5_000)),
    model("gpt-4.1", 1_047_576, 32_768, openai(2_000_000, 8_000_000, 500_000)),
    model("gpt-4.1-mini", 1_047_576, 32_768, openai(400_000, 1_600_000, 100_000)),
    model("gpt-4.1-nano", 1_047_576, 32_768, openai(100_000, 400_000, 25_000)),
    model("gpt-4o", 128_000, 16_384, openai(2_500_000, 10_000_000, 1_250_000)),
    model("gpt-4o-mini", 128_000, 16_384, openai(150_000, 600_000, 75_000)),
];

/// Google's scheme: reading the cache costs a tenth of the input, writing it what input costs.
const fn google(input: u64, output: u64) -> Price {
    Price { input, output, cache_read: input / 10, cache_write: input }
}

/// Windows from docs.cloud.google.com/gemini-enterprise-agent-platform, prices from ai.google.dev/gemini-api/docs/pricing as of October 2026: those of
/// prompts of at most 200,000 tokens, and for 3.8 Flash those until the end of 2026, which then double.
const GOOGLE: &[KnownModel] = &[
    model("gemini-3.8-flash", 1_048_576, 65_536, google(750_000, 3_750_000)),
    model("gemini-3.5-flash", 1_048_576, 65_536, google(1_500_000, 9_000_000)),
    model("gemini-3.1-pro-preview", 1_048_576, 65_536, google(2_000_000, 12_000_000)),
    KnownModel {
        id: "gemini-3.7-flash",
        context_window: Some(1_048_576),
        output_max: Some(65_536),
        price: None,
    },
];

/// They came before answers of a schema.
const OLDER_GEMINIS: &[&str] = &["gemini-1*", "gemini-2.0*", "gemma*"];

/// They came before answers of a schema.
const OLDER_CLAUDES: &[&str] = &[
    "claude-2*",
    "claude-3*",
    "claude-instant*",
    "claude-opus-4",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-sonnet-4",
    "claude-sonnet-4-0",
];

/// Windows and bounds at Bedrock. Prices differ with the region and the profile, and are not told here.
const BEDROCK: &[KnownModel] = &[
    at_bedrock("anthropic.claude-opus-4-5", 200_000, 64_000),
    at_bedrock("anthropic.claude-sonnet-4-5", 200_000, 64_000),
    at_bedrock("anthropic.claude-haiku-4-5", 200_000, 64_000),
    at_bedrock("anthropic.claude-opus-4-1", 200_000, 32_000),
    at_bedrock("anthropic.claude-opus-4", 200_000, 32_000),
    at_bedrock("anthropic.claude-sonnet-4", 200_000, 64_000),
    at_bedrock("anthropic.claude-3-7-sonnet", 200_000, 64_000),
    at_bedrock("anthropic.claude-3-5-haiku", 200_000, 8_192),
];

const fn at_bedrock(id: &'static str, context_window: u64, output_max: u64) -> KnownModel {
    KnownModel {
        id,
        context_window: Some(context_window),
        output_max: Some(output_max),
        price: None,
    }
}

/// Models at Bedrock that are not among those which AWS says take a schema.
const SCHEMALESS_AT_BEDROCK: &[&str] = &[
    "ai21.*",
    "amazon.*",
    "anthropic.claude-3*",
    "anthropic.claude-instant*",
    "anthropic.claude-opus-4",
    "anthropic.claude-opus-4-1",
    "anthropic.claude-sonnet-4",
    "anthropic.claude-v*",
    "cohere.*",
    "deepseek.r1*",
    "meta.*",
    "mistral.mistral-7b*",
    "mistral.mistral-large-2402*",
    "mistral.mistral-large-2407*",
    "mistral.mistral-small*",
    "mistral.mixtral*",
    "mistral.pixtral*",
    "stability.*",
    "writer.*",
];

/// They came before answers of a schema.
const OLDER_GPTS: &[&str] = &["chatgpt*", "gpt-3*", "gpt-4", "gpt-4-*", "o1-mini", "o1-preview"];

/// Its prices change with the release behind the name.
const DEEPSEEK: &[KnownModel] = &[
    KnownModel {
        id: "deepseek-chat",
        context_window: Some(128_000),
        output_max: Some(8_000),
        price: None,
    },
    KnownModel {
        id: "deepseek-reasoner",
        context_window: Some(128_000),
        output_max: None,
        price: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_families_are_written_as_families() {
        for (at, known) in WELL_KNOWN.iter().enumerate() {
            assert!(
                WELL_KNOWN[..at].iter().all(|other| other.name != known.name),
                "{}",
                known.name
            );
            assert!(!known.base_url.ends_with('/'), "{}", known.base_url);
            assert!(known.further.iter().all(|(wire, _)| *wire != known.wire), "{}", known.name);
            for model in known.models {
                assert_eq!(known.wire.family(model.id), model.id);
                assert!(model.output_max <= model.context_window, "{}", model.id);
            }
        }
    }

    #[test]
    fn a_server_elsewhere_has_a_key_and_tls() {
        for known in WELL_KNOWN {
            let local = known.base_url.starts_with("http://localhost:");
            assert!(local || known.base_url.starts_with("https://"), "{}", known.name);
            assert!(local || known.key_variable.is_some(), "{}", known.name);
        }
    }

    #[test]
    fn a_typing_mistake_finds_its_name_and_a_stranger_finds_none() {
        let names = || WELL_KNOWN.iter().map(|known| known.name);
        assert_eq!(nearest("opnai", names()), Some("openai"));
        assert_eq!(nearest("antropic", names()), Some("anthropic"));
        assert_eq!(nearest("something-else", names()), None);
    }
}
