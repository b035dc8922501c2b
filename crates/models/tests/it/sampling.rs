//! How words are drawn: what a wire has words for is sent, what it has none for is refused before anything is sent.

use std::sync::Arc;

use futures::StreamExt as _;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelRequest, Models as _};
use oarlock_core::spec::{Decimal, ModelSelection, ReasoningEffort, Sampling};
use oarlock_models::{CannedTransport, Lanes, ProviderConfig, Registry, Transport, Wire, catalog};
use serde_json::{Value, json};

use crate::recorded::request;

/// The body that was sent, if one was, and why not if none was.
fn sent(provider: &str, request: ModelRequest) -> (Option<Value>, Option<ModelError>) {
    sent_to(provider, "m", request)
}

fn sent_to(
    provider: &str,
    model: &str,
    request: ModelRequest,
) -> (Option<Value>, Option<ModelError>) {
    let wire = provider.strip_suffix("-responses").map(|_| Wire::OpenAiResponses);
    let provider = provider.trim_end_matches("-responses");
    let known = catalog::find(provider).unwrap();
    let mut config = ProviderConfig::well_known(known, Some("key".to_owned().into()));
    if let Some(wire) = wire {
        (config.wire, config.quirks) = (wire, known.quirks_over(wire).unwrap());
    }
    let canned = Arc::new(CannedTransport::default());
    let registry =
        Registry::new(vec![config], Arc::clone(&canned) as Arc<dyn Transport>, &Lanes::default());
    let selection = ModelSelection { provider: provider.to_owned(), model: model.to_owned() };
    let model = registry.resolve(&selection).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let events: Vec<_> = runtime.block_on(model.call(request).collect());
    let sent = canned.requests();
    let body = sent.first().map(|sent| serde_json::from_slice(&sent.body).unwrap());
    (body, events.into_iter().find_map(Result::err))
}

fn asking(sampling: Sampling, effort: Option<ReasoningEffort>) -> ModelRequest {
    let hello = Message::User { parts: vec![Part::text("hello")] };
    ModelRequest { sampling, effort, ..request(vec![hello]) }
}

fn drawn() -> Sampling {
    Sampling {
        temperature: Some(Decimal(250)),
        top_p: Some(Decimal(900)),
        stop_sequences: vec!["END".to_owned()],
        ..Sampling::default()
    }
}

#[test]
fn each_wire_says_how_words_are_drawn_in_its_own_fields() {
    let (body, _) = sent("openai", asking(drawn(), Some(ReasoningEffort::Low)));
    let body = body.unwrap();
    let fields =
        ["temperature", "top_p", "stop", "reasoning_effort"].map(|name| body[name].clone());
    assert_eq!(fields, [json!(0.25), json!(0.9), json!(["END"]), json!("low")]);
    let (body, _) = sent("anthropic", asking(Sampling { top_k: Some(5), ..drawn() }, None));
    let body = body.unwrap();
    let fields = ["temperature", "top_p", "top_k", "stop_sequences"].map(|name| body[name].clone());
    assert_eq!(fields, [json!(0.25), json!(0.9), json!(5), json!(["END"])]);
    let quiet = Sampling { stop_sequences: Vec::new(), ..drawn() };
    let (body, _) = sent("openai-responses", asking(quiet, Some(ReasoningEffort::Low)));
    let body = body.unwrap();
    let fields = ["temperature", "top_p", "reasoning"].map(|name| body[name].clone());
    assert_eq!(fields, [json!(0.25), json!(0.9), json!({"effort": "low", "summary": "auto"})]);
    let (body, _) =
        sent("google", asking(Sampling { top_k: Some(5), ..drawn() }, Some(ReasoningEffort::Low)));
    let config = &body.unwrap()["generationConfig"];
    let fields = ["temperature", "topP", "topK", "stopSequences", "thinkingConfig"]
        .map(|name| config[name].clone());
    let thinking = json!({"thinkingLevel": "low", "includeThoughts": true});
    assert_eq!(fields, [json!(0.25), json!(0.9), json!(5), json!(["END"]), thinking]);
    let (body, _) = sent("google", asking(Sampling::default(), None));
    assert_eq!(body.unwrap()["generationConfig"], json!({}));
    let (body, _) = sent_to(
        "bedrock",
        "anthropic.claude-sonnet-4-5",
        asking(Sampling { top_k: Some(5), top_p: None, ..drawn() }, None),
    );
    let body = body.unwrap();
    let wanted = json!({"maxTokens": 64_000, "temperature": 0.25, "stopSequences": ["END"]});
    let fields = [&body["inferenceConfig"], &body["additionalModelRequestFields"]];
    assert_eq!(fields, [&wanted, &json!({"top_k": 5})]);
    for provider in ["openai", "openai-responses", "anthropic", "bedrock"] {
        let (body, _) = sent(provider, asking(Sampling::default(), None));
        let body = body.unwrap();
        for absent in ["temperature", "top_p", "top_k", "stop", "stop_sequences", "inferenceConfig"]
        {
            assert!(body.get(absent).is_none(), "{provider}: {absent}");
        }
    }
}

#[test]
fn what_a_wire_has_no_words_for_is_an_error_and_nothing_is_sent() {
    let [five, six] = [5, 6].map(|count| (0..count).map(|at| at.to_string()).collect());
    let table = [
        ("openai", Sampling { top_k: Some(5), ..drawn() }, None, "has no `top_k`"),
        ("openai", Sampling { stop_sequences: five, ..drawn() }, None, "at most 4"),
        (
            "openai-responses",
            Sampling { stop_sequences: Vec::new(), top_k: Some(5), ..drawn() },
            None,
            "has no `top_k`",
        ),
        ("openai-responses", drawn(), None, "at most 0"),
        ("groq", drawn(), Some(ReasoningEffort::High), "cannot be told how hard to think"),
        ("anthropic", drawn(), Some(ReasoningEffort::High), "while it thinks"),
        ("google", Sampling { stop_sequences: six, ..drawn() }, None, "at most 5"),
        ("bedrock", Sampling { top_k: Some(5), ..drawn() }, None, "has no `top_k`"),
        ("bedrock", drawn(), Some(ReasoningEffort::High), "cannot be told how hard to think"),
    ];
    for (provider, sampling, effort, words) in table {
        let (body, error) = sent(provider, asking(sampling, effort));
        let error = error.unwrap();
        assert_eq!((body, error.kind), (None, ModelErrorKind::InvalidRequest), "{provider}");
        assert!(error.message.contains(words), "{}", error.message);
    }
    let warm = || Sampling { temperature: Some(Decimal(250)), ..Sampling::default() };
    let two = || Sampling { top_p: Some(Decimal(900)), ..warm() };
    let table = [
        ("anthropic", "claude-sonnet-4-5", two(), None, "`temperature` or `top_p`, not both"),
        ("bedrock", "us.anthropic.claude-haiku-4-5", two(), None, "or `top_p`, not both"),
        ("anthropic", "claude-opus-4-7", warm(), None, "takes neither `temperature` nor `top_p`"),
        ("bedrock", "anthropic.claude-opus-4-7", warm(), None, "takes neither `temperature`"),
        ("google", "gemini-3.8-flash", warm(), None, "takes neither `temperature` nor `top_p`"),
        (
            "anthropic",
            "claude-3-5-haiku",
            Sampling::default(),
            Some(ReasoningEffort::Low),
            "cannot be told",
        ),
    ];
    for (provider, model, sampling, effort, words) in table {
        let (body, error) = sent_to(provider, model, asking(sampling, effort));
        let error = error.unwrap();
        assert_eq!((body, error.kind), (None, ModelErrorKind::InvalidRequest), "{model}");
        assert!(error.message.contains(words), "{}", error.message);
    }
    for (model, sampling) in [("claude-sonnet-4", two()), ("claude-sonnet-4-5", warm())] {
        assert!(sent_to("anthropic", model, asking(sampling, None)).0.is_some(), "{model}");
    }
    assert_eq!(Wire::ALL.len(), 5, "a new wire needs its lines above");
}
