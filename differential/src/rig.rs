//! rig-core's side: the client of each provider, as its documentation shows it.

use oarlock_models::Wire;
use rig_core::completion::{CompletionRequest, CompletionResponse};
use rig_core::error::ProviderError;
use rig_core::message::AssistantContent;
use rig_core::providers::anthropic::wire::AnthropicConfig;
use rig_core::providers::gemini::GeminiConfig;
use rig_core::providers::openai::wire::{self, Dialect, OpenAIConfig};
use rig_core::providers::xai;
use serde_json::Value;

use crate::answer::{Answer, Outcome};
use crate::cases::Case;

const KEY: &str = "none";

/// What rig makes of a case.
pub async fn answer(case: &Case, base_url: &str) -> Outcome {
    let request = CompletionRequest::new("hello").max_tokens(1_000);
    let http = rig_reqwest::ReqwestClient::default();
    let openai = || OpenAIConfig::with_key(dialect(&case.provider), KEY).with_base_url(base_url);
    let stream = match case.wire {
        Wire::OpenAiChat => openai().connect(http).chat("m").stream(request),
        Wire::OpenAiResponses => openai().connect(http).responses("m").stream(request),
        Wire::AnthropicMessages => AnthropicConfig::new(KEY)
            .with_base_url(base_url)
            .connect(http)
            .completion("m")
            .stream(request),
        Wire::Gemini => GeminiConfig::new(KEY)
            .with_base_url(base_url)
            .connect(http)
            .completion("m")
            .stream(request),
        Wire::BedrockConverse => unreachable!("rig-core has no client for it, and no case is made"),
    };
    let reply = async { stream?.finish().await };
    reply.await.map(compared).map_err(|error: ProviderError| error.to_string())
}

/// Whom an endpoint is known as to rig, which reads some a little differently; OpenAI itself where it is not.
fn dialect(provider: &str) -> &'static Dialect {
    match provider {
        "deepseek" => &wire::DEEPSEEK,
        "doubleword" => &wire::DOUBLEWORD,
        "groq" => &wire::GROQ,
        "huggingface" => &wire::HUGGINGFACE,
        "llamacpp" => &wire::LLAMACPP,
        "mistral" => &wire::MISTRAL,
        "moonshot" => &wire::MOONSHOT,
        "openrouter" => &wire::OPENROUTER,
        "perplexity" => &wire::PERPLEXITY,
        "together" => &wire::TOGETHER,
        "venice" => &wire::VENICE,
        "xai" => &xai::DIALECT,
        "zai" => &wire::ZAI,
        _ => &wire::OPENAI,
    }
}

fn compared(response: CompletionResponse) -> Answer {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for content in response.choice {
        match content {
            AssistantContent::Text(more) => text.push_str(&more.text),
            AssistantContent::ToolCall(call) => {
                let arguments = match call.function.invalid_arguments {
                    Some(text) => Value::from(text),
                    None => Value::from(call.function.arguments),
                };
                calls.push((call.function.name.to_string(), arguments));
            }
            // Thought, images and what only a provider understands.
            _ => {}
        }
    }
    let usage = response.usage;
    Answer {
        text,
        calls,
        input: usage.input_tokens.unwrap_or_default(),
        output: usage.output_tokens.unwrap_or_default(),
        cached: usage.cached_input_tokens.unwrap_or_default(),
        written: usage.cache_creation_input_tokens.unwrap_or_default(),
        thought: usage.reasoning_tokens.unwrap_or_default(),
    }
}
