//! The cache simulator against tables worked by hand, and against what providers told of recorded conversations.

use std::path::Path;

use oarlock_core::ids::Timestamp;
use oarlock_core::ports::model::Price;
use oarlock_models::cache::{Asked, Block, Predicted, RULES, Retention, Rules, Simulator};
use oarlock_models::{Wire, catalog, family};
use serde_json::Value;

use crate::recorded::corpus;

const MINUTE: u64 = 60_000;

/// A conversation: one block for each number of tokens, all different.
fn blocks(tokens: &[u64]) -> Vec<Block> {
    let mut upto = 0;
    let mut prefix = 7_u128;
    let of = |tokens: &u64| {
        upto += tokens;
        prefix = prefix.wrapping_mul(31).wrapping_add(u128::from(*tokens) + 1);
        Block { prefix, upto }
    };
    tokens.iter().map(of).collect()
}

fn simulator(provider: &str, wire: Wire, model: &str, retention: Retention) -> Simulator {
    let (rules, minimum) = Rules::of(provider, wire, family(model)).unwrap();
    Simulator::new(rules, minimum, retention)
}

/// (minute, tokens of the blocks, marks, what is wanted: read, write, input).
type Row<'a> = (u64, &'a [u64], &'a [usize], (u64, u64, u64));

fn play(simulator: &mut Simulator, rows: &[Row<'_>]) {
    for (number, (minute, tokens, marks, (read, write, input))) in rows.iter().enumerate() {
        let at = Timestamp::from_unix_ms((minute * MINUTE).try_into().unwrap());
        let predicted = simulator.ask(&Asked { at, blocks: &blocks(tokens), marks });
        let wanted = Predicted { read: *read, write: *write, input: *input };
        assert_eq!(predicted, wanted, "row {number}");
    }
}

#[test]
fn anthropic_reads_what_a_mark_finds_writes_up_to_the_last_mark_and_forgets_after_five_minutes() {
    let mut sonnet = simulator(
        "anthropic",
        Wire::AnthropicMessages,
        "claude-sonnet-4-5-20250929",
        Retention::Usual,
    );
    play(
        &mut sonnet,
        &[
            // Tools and system have 1,000 tokens together: too few for a mark of their own.
            (0, &[600, 400, 500], &[0, 1, 2], (0, 1500, 0)),
            (4, &[600, 400, 500, 200, 300], &[0, 1, 2, 4], (1500, 500, 0)),
            // Each use counts anew.
            (9, &[600, 400, 500, 200, 300, 50, 50], &[0, 1, 4, 6], (2000, 100, 0)),
            (15, &[600, 400, 500, 200, 300, 50, 50], &[0, 1, 4, 6], (0, 2100, 0)),
            // Other tools: nothing before is found.
            (16, &[601, 400, 500, 200, 300], &[0, 1, 2, 4], (0, 2001, 0)),
            // Without a mark nothing is read or written.
            (16, &[600, 400, 500, 200, 300, 50, 50], &[], (0, 0, 2100)),
            // What follows the last mark is input; a fifth mark does not count.
            (17, &[600, 400, 500, 200, 300, 50, 50, 9], &[0, 1, 4, 6, 7], (2100, 0, 9)),
        ],
    );
    let hour = Retention::Long;
    let mut long = simulator("anthropic", Wire::AnthropicMessages, "claude-sonnet-4-5", hour);
    play(&mut long, &[(0, &[2000], &[0], (0, 2000, 0)), (59, &[2000, 10], &[1], (2000, 10, 0))]);
    play(&mut long, &[(120, &[2000, 10], &[1], (0, 2010, 0))]);
}

#[test]
fn anthropic_looks_twenty_blocks_back_the_marked_one_included() {
    for (added, read) in [(19, 2000), (20, 0)] {
        let mut cache =
            simulator("anthropic", Wire::AnthropicMessages, "claude-sonnet-4-5", Retention::Usual);
        let mut tokens = vec![2000];
        play(&mut cache, &[(0, &tokens, &[0], (0, 2000, 0))]);
        tokens.extend(vec![10; added]);
        let all: u64 = tokens.iter().sum();
        play(&mut cache, &[(1, &tokens, &[added], (read, all - read, 0))]);
    }
}

#[test]
fn openai_reads_steps_of_128_from_1024_on_and_its_later_models_whole_requests() {
    let mut older = simulator("openai", Wire::OpenAiChat, "gpt-4o-2024-08-06", Retention::Usual);
    play(
        &mut older,
        &[
            (0, &[1000, 23], &[], (0, 0, 1023)),
            (0, &[1000, 23, 300], &[], (0, 0, 1323)),
            (1, &[1000, 23, 300, 500], &[], (1280, 0, 543)),
            // Half of it is the same: 1,323 tokens of it.
            (2, &[1000, 23, 300, 501, 9], &[], (1280, 0, 553)),
            (8, &[1000, 23, 300, 501, 9], &[], (0, 0, 1833)),
        ],
    );
    let mut day = simulator("openai", Wire::OpenAiResponses, "gpt-5", Retention::Long);
    play(&mut day, &[(0, &[1280], &[], (0, 0, 1280)), (1439, &[1280, 1], &[], (1280, 0, 1))]);
    let mut later = simulator("openai", Wire::OpenAiResponses, "gpt-5.6", Retention::Usual);
    play(
        &mut later,
        &[
            (0, &[1000, 500], &[], (0, 1500, 0)),
            (29, &[1000, 500, 77], &[], (1500, 77, 0)),
            // It begins with 1,000 tokens of the others, but no request ended there.
            (30, &[1000, 501], &[], (0, 1501, 0)),
            (60, &[1000, 500, 77, 1], &[], (0, 1578, 0)),
        ],
    );
}

#[test]
fn google_has_minima_by_model_and_deepseek_units_that_end_with_requests_and_answers() {
    let mut flash = simulator("google", Wire::Gemini, "gemini-2.5-flash", Retention::Usual);
    play(&mut flash, &[(0, &[2047], &[], (0, 0, 2047)), (0, &[2047, 1], &[], (0, 0, 2048))]);
    play(&mut flash, &[(9, &[2047, 1, 5], &[], (2048, 0, 5))]);
    let mut third = simulator("google", Wire::Gemini, "gemini-3.8-flash", Retention::Usual);
    play(&mut third, &[(0, &[4095], &[], (0, 0, 4095)), (0, &[4095, 1], &[], (0, 0, 4096))]);
    let mut deep = simulator("deepseek", Wire::OpenAiChat, "deepseek-chat", Retention::Usual);
    let whole = blocks(&[100, 100, 60]);
    play(&mut deep, &[(0, &[100, 100], &[], (0, 0, 200))]);
    deep.answered(whole[2], Timestamp::from_unix_ms(1));
    play(&mut deep, &[(600, &[100, 100, 60, 9], &[], (256, 0, 13))]);
    play(&mut deep, &[(600, &[100, 101], &[], (0, 0, 201))]);
}

#[test]
fn rules_are_found_by_provider_wire_and_family_and_nobody_elses_are_taken() {
    use Wire::{AnthropicMessages, BedrockConverse, Gemini, OpenAiChat, OpenAiResponses};
    let table = [
        ("anthropic", AnthropicMessages, "claude-opus-4-5", Some(("Anthropic", 4_096))),
        ("anthropic", AnthropicMessages, "claude-opus-4-1", Some(("Anthropic", 1_024))),
        ("gate", AnthropicMessages, "anthropic/claude-3-5-haiku", Some(("Anthropic", 2_048))),
        ("anthropic", AnthropicMessages, "claude-of-tomorrow", None),
        ("bedrock", BedrockConverse, "anthropic.claude-haiku-4-5", Some(("Amazon Bedrock", 4_096))),
        ("bedrock", BedrockConverse, "amazon.nova-2-lite", None),
        ("local", AnthropicMessages, "qwen", None),
        ("openai", OpenAiResponses, "gpt-5.4", Some(("OpenAI", 1_024))),
        ("openai", OpenAiChat, "gpt-4", None),
        ("ollama", OpenAiChat, "gpt-oss:120b", None),
        ("google", Gemini, "gemini-3.1-pro-preview", Some(("Google", 4_096))),
        ("deepseek", OpenAiChat, "deepseek-reasoner", Some(("DeepSeek", 64))),
        ("together", OpenAiChat, "deepseek-ai/deepseek-r1", None),
        ("llamacpp", OpenAiChat, "anything", Some(("llama.cpp", 0))),
    ];
    for (provider, wire, family, wanted) in table {
        let found = Rules::of(provider, wire, family).map(|(rules, min)| (rules.vendor, min));
        assert_eq!(found, wanted, "{provider}/{family}");
    }
    assert!(RULES.iter().all(|rules| rules.unit > 0 && rules.source.contains('.')));
}

#[test]
fn writing_costs_a_quarter_more_or_twice_and_the_catalog_says_the_same() {
    let (rules, _) = Rules::of("anthropic", Wire::AnthropicMessages, "claude-sonnet-4-5").unwrap();
    let price = |cache_write| Price {
        input: 3_000_000,
        output: 15_000_000,
        cache_read: 300_000,
        cache_write,
    };
    let at = |retention| rules.price((3_000_000, 15_000_000), retention).unwrap();
    assert_eq!(at(Retention::Usual), price(3_750_000));
    assert_eq!(at(Retention::Long), price(6_000_000));
    let predicted = Predicted { read: 10_000, write: 1_000, input: 100 };
    // 3,000 + 3,750 + 300 + 1,500 millionths.
    assert_eq!(at(Retention::Usual).of(&predicted.usage(100)), 8_550);
    for model in catalog::find("anthropic").unwrap().models {
        let known = model.price.unwrap();
        let wanted = rules.price((known.input, known.output), Retention::Usual);
        assert_eq!(Some(known), wanted, "{}", model.id);
    }
}

/// What a recorded call was, and what its provider told: tokens of the request, of the answer, and those read.
struct Told {
    prompt: u64,
    output: u64,
    read: u64,
}

fn told(case: &Path) -> Told {
    let meta: Value =
        serde_json::from_slice(&std::fs::read(case.join("meta.json")).unwrap()).unwrap();
    let file = meta["response_file"].as_str().unwrap();
    let text = std::fs::read_to_string(case.join(file)).unwrap();
    // The last count in the stream is that of the whole call.
    let from = text.rfind("\"usage\":{").unwrap() + "\"usage\":".len();
    let counts = serde_json::Deserializer::from_str(&text[from..]).into_iter::<Value>().next();
    let counts = counts.unwrap().unwrap();
    let first = |paths: &[&str]| paths.iter().find_map(|path| counts.pointer(path)?.as_u64());
    Told {
        prompt: first(&["/input_tokens", "/prompt_tokens"]).unwrap(),
        output: first(&["/output_tokens", "/completion_tokens"]).unwrap(),
        read: first(&[
            "/input_tokens_details/cached_tokens",
            "/prompt_tokens_details/cached_tokens",
        ])
        .unwrap(),
    }
}

/// The messages of a recorded request.
fn messages(case: &Path) -> Vec<Value> {
    let request: Value =
        serde_json::from_slice(&std::fs::read(case.join("request.json")).unwrap()).unwrap();
    let body = request.get("body").unwrap_or(&request);
    let list = ["messages", "input"].iter().find_map(|name| body.get(name)?.as_array());
    list.unwrap().clone()
}

#[test]
fn what_providers_told_of_the_second_request_of_recorded_conversations_is_what_is_predicted() {
    let Some(root) = corpus() else { return };
    let table = [
        (
            "deepseek",
            Wire::OpenAiResponses,
            "deepseek-v4-flash",
            "deepseek-responses/reasoning-item+tool-call",
            "deepseek-responses/turn-after-tool",
            384,
        ),
        (
            "llamacpp",
            Wire::OpenAiChat,
            "Qwen3-1.7B-Q4_K_M",
            "llamacpp/basic-text",
            "llamacpp/basic-reasoning-content",
            2_825,
        ),
        (
            "openai",
            Wire::OpenAiChat,
            "gpt-4o",
            "openai-chat/parallel-tools",
            "openai-chat/basic-turn-after-tool",
            0,
        ),
        (
            "openai",
            Wire::OpenAiResponses,
            "gpt-4o",
            "openai-responses/basic-tool-call",
            "openai-responses/turn-after-tool",
            0,
        ),
    ];
    for (provider, wire, model, first, second, read) in table {
        let (first, second) = (root.join(first), root.join(second));
        assert!(messages(&second).starts_with(&messages(&first)), "{}", second.display());
        let (before, after) = (told(&first), told(&second));
        assert_eq!(after.read, read, "{}", second.display());
        let mut cache = simulator(provider, wire, model, Retention::Usual);
        let answer = before.prompt + before.output;
        let place = |prefix, upto| Block { prefix, upto };
        let all = [place(1, before.prompt), place(2, answer), place(3, after.prompt)];
        let at = Timestamp::from_unix_ms;
        cache.ask(&Asked { at: at(0), blocks: &all[..1], marks: &[] });
        cache.answered(all[1], at(0));
        let predicted = cache.ask(&Asked { at: at(1), blocks: &all, marks: &[] });
        assert_eq!(predicted.read, after.read, "{}", second.display());
    }
}
