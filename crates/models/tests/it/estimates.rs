//! How near the core's count of the next request comes to what the provider then counts, on recorded conversations.

use oarlock_core::event::{Effect, Event};
use oarlock_core::message::{Content, Part};
use oarlock_core::ports::model::Reply;
use oarlock_models::Wire;
use oarlock_testkit::kit::{Kit, journal};
use oarlock_testkit::model::Say;
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::Value;

use crate::chat_corpus::CHAT;
use crate::recorded::{answer, cases, corpus};

/// A recorded request with its answer.
struct Exchange {
    name: String,
    model: Value,
    messages: Vec<Value>,
    reply: Reply,
}

/// Every exchange over the two wires that has a readable conversation and counts.
fn exchanges(root: &std::path::Path) -> Vec<Exchange> {
    let folders = CHAT.iter().map(|name| (*name, Wire::OpenAiChat));
    let folders = folders.chain([("anthropic", Wire::AnthropicMessages)]);
    let of = |(folder, wire): (&str, Wire)| {
        let read = |case: crate::recorded::Case| {
            let file = root.join(folder).join(case.name.rsplit('/').next()?).join("request.json");
            let mut request: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
            let messages = request["body"]["messages"].as_array()?.clone();
            let (_, reply) = answer(wire, &case, vec![case.body.clone().into()]).ok()?;
            let counted = reply.usage.total() > 0;
            let model = request["body"]["model"].take();
            counted.then_some(Exchange { name: case.name, model, messages, reply })
        };
        cases(&root.join(folder)).into_iter().filter_map(read).collect::<Vec<_>>()
    };
    folders.flat_map(of).collect()
}

/// The words of the results by which a conversation goes on from another, when it is one step longer and each call has its result.
fn results(first: &Exchange, second: &Exchange) -> Option<Vec<String>> {
    let rest = second.messages.strip_prefix(&first.messages[..])?;
    let [_, results @ ..] = rest else { return None };
    let words = |message: &Value| match message["role"] == "tool" {
        true => message["content"].as_str().map(str::to_owned),
        false => None,
    };
    let words: Vec<String> = results.iter().map(words).collect::<Option<_>>()?;
    (!words.is_empty() && first.model == second.model).then_some(words)
}

/// What the core sets aside for the prompt of the second request, when the first was answered as recorded and its calls gave these words.
async fn estimated(reply: &Reply, results: &[String]) -> Option<u64> {
    let names = reply.blocks.iter().filter_map(|block| match &block.content {
        Content::ToolCall { name, .. } => Some(name.as_str()),
        _ => None,
    });
    let tool = |(name, words): (&str, &String)| {
        TestTool::new(name, Effect::Pure, Act::Give(words.clone()))
    };
    let names: Vec<&str> = names.collect();
    if names.len() != results.len() {
        return None;
    }
    let tools = names.into_iter().zip(results).map(tool).collect();
    let kit = Kit::new(vec![vec![Say::Reply(reply.clone())]], tools);
    let session = kit.open().await;
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    let entries = journal(&kit.core, &session).await;
    let steps = entries.into_iter().filter_map(|entry| match entry.event {
        Event::StepStarted(step) => Some(step.reserved.prompt_tokens),
        _ => None,
    });
    steps.last()
}

#[test]
fn acceptance_04_the_count_of_a_later_request_is_within_five_percent_but_for_thought_that_stays_behind()
 {
    let Some(root) = corpus() else { return };
    let all = exchanges(&root);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    let mut found = 0;
    for first in &all {
        for second in &all {
            let Some(results) = results(first, second) else { continue };
            let Some(estimate) = runtime.block_on(estimated(&first.reply, &results)) else {
                continue;
            };
            let counted = second.reply.usage.prompt();
            println!("{}: {estimate} estimated, {counted} counted", second.name);
            // The provider counts an answer's thought with it, and not in the next prompt where that goes without it.
            let thought = first.reply.usage.reasoning;
            assert!(estimate * 100 >= counted * 95, "{}: too small", second.name);
            assert!((estimate - thought) * 100 <= counted * 105, "{}: too large", second.name);
            found += 1;
        }
    }
    assert!(found > 0, "the corpus has conversations of several requests");
}
