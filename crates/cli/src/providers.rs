//! What is known about providers without asking them: enough to choose one, to name its key and to list its default model.

/// A provider that needs no configuration but its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Its protocol.
    pub wire: &'static str,
    /// Its endpoint.
    pub base_url: &'static str,
    /// The variable that holds its key; none for servers on this machine that take none.
    pub key_variable: Option<&'static str>,
    /// The model when none is named; none where it depends on what is installed.
    pub default_model: Option<&'static str>,
}

const fn known(
    name: &'static str,
    wire: &'static str,
    base_url: &'static str,
    key_variable: Option<&'static str>,
    default_model: Option<&'static str>,
) -> Known {
    Known { name, wire, base_url, key_variable, default_model }
}

const CHAT: &str = "openai-chat";

/// In order of preference when several keys are in the environment.
pub const KNOWN: &[Known] = &[
    known(
        "anthropic",
        "anthropic-messages",
        "https://api.anthropic.com",
        Some("ANTHROPIC_API_KEY"),
        Some("claude-sonnet-4-5"),
    ),
    known("openai", CHAT, "https://api.openai.com/v1", Some("OPENAI_API_KEY"), Some("gpt-4o-mini")),
    known(
        "deepseek",
        CHAT,
        "https://api.deepseek.com",
        Some("DEEPSEEK_API_KEY"),
        Some("deepseek-chat"),
    ),
    known("openrouter", CHAT, "https://openrouter.ai/api/v1", Some("OPENROUTER_API_KEY"), None),
    known("groq", CHAT, "https://api.groq.com/openai/v1", Some("GROQ_API_KEY"), None),
    known("mistral", CHAT, "https://api.mistral.ai/v1", Some("MISTRAL_API_KEY"), None),
    known("xai", CHAT, "https://api.x.ai/v1", Some("XAI_API_KEY"), None),
    known("together", CHAT, "https://api.together.xyz/v1", Some("TOGETHER_API_KEY"), None),
    known("litellm", CHAT, "http://localhost:4000/v1", Some("LITELLM_API_KEY"), None),
    known("ollama", CHAT, "http://localhost:11434/v1", None, None),
    known("llamacpp", CHAT, "http://localhost:8080/v1", None, None),
    known("lmstudio", CHAT, "http://localhost:1234/v1", None, None),
    known("vllm", CHAT, "http://localhost:8000/v1", None, None),
];

/// The known provider of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The known name most like this one, if one is like it.
#[must_use]
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|n| (strsim::damerau_levenshtein(name, n), n));
    scored.min().filter(|(distance, _)| *distance <= (name.len() / 3).max(2)).map(|(_, n)| n)
}
