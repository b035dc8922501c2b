//! A provider on 127.0.0.1 that speaks every wire, answers with given text and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::home::Home;

/// The server. It lives as long as the test's process.
pub(crate) struct Loopback {
    pub(crate) base_url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Loopback {
    pub(crate) fn start(answer: &'static str) -> Self {
        Self::of(Some(answer))
    }

    /// One whose quota is spent for an hour.
    pub(crate) fn busy() -> Self {
        Self::of(None)
    }

    fn of(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&stream.unwrap(), &kept, answer);
            }
        });
        Self { base_url, asked }
    }

    /// The bodies of all model calls until now.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    /// A home whose only provider is this one.
    pub(crate) fn home(&self, wire: &str, more: &str) -> Home {
        let home = Home::new();
        home.user(&format!(
            "model = \"loop/m\"\n[providers.loop]\nwire = \"{wire}\"\nbase_url = \"{}\"\n{more}",
            self.base_url
        ));
        home
    }
}

fn serve(mut stream: &TcpStream, asked: &Mutex<Vec<Value>>, answer: Option<&str>) {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (kind, text) = match request.split(' ').nth(1).unwrap_or_default() {
        path if path.ends_with("/models") || path.contains("/models?") => {
            ("application/json", json!({"data": [{"id": "m"}, {"id": "n"}]}).to_string())
        }
        path => {
            asked.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            let Some(answer) = answer else {
                let busy = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                return drop(stream.write_all(busy.as_bytes()));
            };
            let text = match path.rsplit('/').next() {
                Some("completions") => chat(answer),
                Some("responses") => responses(answer),
                Some(method) if method.contains(":streamGenerateContent") => contents(answer),
                _ => messages(answer),
            };
            ("text/event-stream", text)
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    // A client that was killed hears nothing.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes())));
}

fn chat(answer: &str) -> String {
    let piece = |delta: Value, finish: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let usage = json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}});
    let begin = piece(json!({"role": "assistant", "content": answer}), Value::Null);
    format!(
        "data: {begin}\n\ndata: {}\n\ndata: {usage}\n\ndata: [DONE]\n\n",
        piece(json!({}), json!("stop"))
    )
}

fn messages(answer: &str) -> String {
    let events = [
        json!({"type": "message_start", "message": {"id": "m1", "type": "message", "role": "assistant", "model": "m",
            "content": [], "stop_reason": null, "usage": {"input_tokens": 10, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": answer}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    let line =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(line).collect()
}

fn contents(answer: &str) -> String {
    let chunk = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": answer}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}, "modelVersion": "m"});
    format!("data: {chunk}\n\n")
}

fn responses(answer: &str) -> String {
    let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": answer}]});
    let response = json!({"model": "m", "status": "completed", "output": [item],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}});
    let events = [
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "msg_1"}}),
        json!({"type": "response.output_text.delta", "output_index": 0, "item_id": "msg_1", "delta": answer}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": response}),
    ];
    let line =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(line).collect()
}
