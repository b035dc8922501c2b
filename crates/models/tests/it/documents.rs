//! Documents in prompts and in results, on every wire, and in words where a model is not given them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use oarlock_core::ids::{BlobId, CallId};
use oarlock_core::message::{Block, Content, Message, Part, ToolResult};
use oarlock_core::ports::model::ModelRequest;

use oarlock_models::{
    Documents, Quirks, encode_anthropic, encode_chat, encode_converse, encode_gemini,
    encode_responses,
};
use oarlock_testkit::wires::check_converse;
use serde_json::{Value, json};

use crate::anthropic::request;

const CLAUDE: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

fn paper(name: &str) -> Part {
    let media_type = "application/pdf".to_owned();
    Part::Document { media_type, name: name.to_owned(), blob: BlobId::of(b"pdf"), bytes: 3 }
}

/// A prompt with a document, and a call that gives one beside words.
fn asked(is_error: bool) -> ModelRequest {
    let content =
        Content::ToolCall { id: CallId("a".into()), name: "f".into(), arguments: "{}".into() };
    let result = ToolResult {
        call: CallId("a".into()),
        name: "f".to_owned(),
        parts: vec![Part::text("t"), paper("b.pdf")],
        is_error,
    };
    ModelRequest {
        bodies: BTreeMap::from([(BlobId::of(b"pdf"), Bytes::from_static(b"pdf"))]),
        ..request(vec![
            Message::User { parts: vec![Part::text("read"), paper("a.pdf")] },
            Message::Assistant { blocks: vec![Block { content, native: None }] },
            Message::Tool { results: vec![result] },
        ])
    }
}

fn json_of(body: Vec<u8>) -> Value {
    serde_json::from_slice(&body).unwrap()
}

const READS: Quirks = Quirks { documents: Documents::Whole, ..Quirks::PLAIN };

#[test]
fn anthropic_has_documents_in_prompts_and_in_results_but_behind_those_that_are_errors() {
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "cGRm"});
    let sent = |is_error| json_of(encode_anthropic(&asked(is_error), "here", "claude-sonnet-4-5"));
    let (good, bad) = (sent(false), sent(true));
    let document = &good["messages"][0]["content"][1];
    let [kind, title] = ["type", "title"].map(|member| document[member].as_str().unwrap());
    assert_eq!((kind, title, &document["source"]), ("document", "a.pdf", &source));
    let results = |body: &Value| body["messages"][2]["content"].clone();
    assert_eq!(results(&good)[0]["content"][1]["title"], "b.pdf", "{good}");
    assert_eq!(results(&bad)[0]["content"].as_array().unwrap().len(), 1, "{bad}");
    assert_eq!(results(&bad)[1]["title"], "b.pdf", "{bad}");
}

#[test]
fn responses_have_files_in_prompts_and_in_results() {
    let body = json_of(encode_responses(&asked(false), ("here", "m"), READS));
    let file = |name: &str| json!({"type": "input_file", "filename": name, "file_data": "data:application/pdf;base64,cGRm"});
    assert_eq!(body["input"][0]["content"][1], file("a.pdf"));
    assert_eq!(body["input"][2]["output"][1], file("b.pdf"));
}

#[test]
fn chat_has_files_in_prompts_and_behind_results() {
    let body = json_of(encode_chat(&asked(false), ("here", "m"), READS));
    let file = |name: &str| json!({"type": "file", "file": {"filename": name, "file_data": "data:application/pdf;base64,cGRm"}});
    let messages = &body["messages"];
    assert_eq!(messages[0]["content"][1], file("a.pdf"));
    assert_eq!((&messages[2]["role"], &messages[2]["content"]), (&json!("tool"), &json!("t")));
    assert_eq!(
        (&messages[3]["role"], &messages[3]["content"][1]),
        (&json!("user"), &file("b.pdf"))
    );
}

#[test]
fn gemini_has_data_in_prompts_and_in_results_of_its_third_generation() {
    let data = json!({"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}});
    let body = json_of(encode_gemini(&asked(false), "here", "gemini-3.8-flash"));
    assert_eq!(body["contents"][0]["parts"][1], data);
    assert_eq!(body["contents"][2]["parts"][0]["functionResponse"]["parts"][0], data, "{body}");
    let body = json_of(encode_gemini(&asked(false), "here", "gemini-2.5-flash"));
    assert_eq!(body["contents"][2]["parts"][1], data, "{body}");
}

#[test]
fn converse_has_documents_under_names_of_its_own_and_never_without_words() {
    let document = |number: usize| json!({"document": {"format": "pdf", "name": format!("document-{number}"), "source": {"bytes": "cGRm"}}});
    let sent = |asked: &ModelRequest, model: &str| {
        let body = json_of(encode_converse(asked, ("bedrock", model), Quirks::PLAIN));
        check_converse(&body, model);
        body["messages"].clone()
    };
    let messages = sent(&asked(false), CLAUDE);
    assert_eq!(messages[0]["content"][1], document(1));
    assert_eq!(messages[2]["content"][0]["toolResult"]["content"][1], document(2), "{messages}");
    let bare = ModelRequest {
        messages: Arc::new(vec![Message::User { parts: vec![paper("a.pdf")] }]),
        ..asked(false)
    };
    let messages = sent(&bare, CLAUDE);
    assert_eq!(messages[0]["content"][0]["text"], "A document:");
    assert_eq!(messages[0]["content"][1], document(1));
    for model in ["amazon.nova-micro-v1:0", "meta.llama3-1-70b-instruct-v1:0"] {
        let words = sent(&bare, model).to_string();
        assert!(words.contains("[the document a.pdf, which this model is not given]"), "{words}");
    }
}

#[test]
fn converse_is_given_the_newest_five_documents_and_none_that_is_too_large() {
    let names: Vec<String> = (1..=7).map(|number| format!("{number}.pdf")).collect();
    let mut parts = vec![Part::text("read")];
    parts.extend(names.iter().map(|name| paper(name)));
    let mut asked =
        ModelRequest { messages: Arc::new(vec![Message::User { parts }]), ..asked(false) };
    let sent = |asked: &ModelRequest| {
        let body = json_of(encode_converse(asked, ("bedrock", CLAUDE), Quirks::PLAIN));
        body["messages"][0]["content"].as_array().unwrap()[1..8].to_vec()
    };
    let content = sent(&asked);
    for (at, block) in content.iter().enumerate() {
        let is_left_out = block["text"].as_str().is_some_and(|words| {
            words.starts_with(&format!("[the document {} was left out", names[at]))
        });
        let is_there = block["document"]["name"] == format!("document-{}", at + 1);
        assert_eq!((is_left_out, is_there), (at < 2, at >= 2), "{block}");
    }
    asked.bodies.insert(BlobId::of(b"pdf"), vec![b'x'; 4_600_000].into());
    assert!(sent(&asked)[6]["text"].as_str().unwrap().contains("larger than 4.5 MB"));
}

#[test]
fn an_endpoint_that_is_not_known_to_take_documents_is_told_their_names() {
    let told = "[the document a.pdf, which this model is not given]";
    for body in [
        encode_chat(&asked(false), ("here", "m"), Quirks::PLAIN),
        encode_responses(&asked(false), ("here", "m"), Quirks::PLAIN),
    ] {
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(told) && !body.contains("cGRm"), "{body}");
    }
}
