//! Documents that a client embeds in a prompt.

use oarlock_core::message::{Message, Part};
use oarlock_testkit::model::{Say, text};
use serde_json::{Value, json};

use crate::desk::{Desk, text_of};

/// A resource of these bytes, in base64.
fn resource(data: &str) -> Value {
    let resource =
        json!({ "uri": "file:///work/paper.pdf", "mimeType": "application/pdf", "blob": data });
    json!({ "type": "resource", "resource": resource })
}

/// `%PDF-1.7`.
const PAPER: &str = "JVBERi0xLjc=";

#[tokio::test(start_paused = true)]
async fn an_embedded_document_reaches_the_model_and_is_named_when_the_session_is_loaded() {
    let desk = Desk::new(vec![vec![Say::Reply(text("read"))]], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let prompt = json!([{ "type": "text", "text": "sum up " }, resource(PAPER)]);
    let ask = json!({ "sessionId": session, "prompt": prompt });
    let (answer, _) = client.call("session/prompt", ask).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
    let asked = desk.kit.model.requests().remove(0);
    let [Message::User { parts }] = &asked.messages[..] else { panic!("{asked:?}") };
    let Part::Document { media_type, name, blob, bytes: 8 } = &parts[1] else {
        panic!("{parts:?}")
    };
    assert_eq!((media_type.as_str(), name.as_str()), ("application/pdf", "paper.pdf"));
    assert_eq!(asked.bodies[blob], b"%PDF-1.7".as_slice());
    let mut other = desk.client().await;
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let (_, told) = other.call("session/load", load).await;
    let shown = text_of(&told, "user_message_chunk");
    assert!(shown.starts_with("sum up ") && shown.ends_with("[paper.pdf, 8 bytes]"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_no_model_can_read_is_refused_and_named() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    for (data, why) in [("UEsDBA==", "PDF documents and pictures"), ("***", "not valid base64")] {
        let ask = json!({ "sessionId": session, "prompt": [resource(data)] });
        let (answer, _) = client.call("session/prompt", ask).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(why), "{answer}");
    }
    assert!(desk.kit.model.requests().is_empty());
}
