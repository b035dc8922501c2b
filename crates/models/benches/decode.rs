//! What an answer costs on its way from bytes to a reply, on every wire, beside what `serde_json` takes for nothing but reading the same payloads.
//!
//! The streams are made by testkit in the forms in which the wires' vendors send them; each has some thousand deltas, which the name of its group
//! counts. Times are those of the thread's processor: other work on the machine counts little.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use oarlock_core::ports::model::Model;
use oarlock_models::{CannedAnswer, Wire};
use oarlock_testkit::heard::heard;
use oarlock_testkit::streams::{Event, Said, body, cut, events};
use rustix::time::{ClockId, clock_gettime};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Pieces of each: thought, words, and arguments of two calls together.
const PIECES: usize = 1_000;
/// Letters of a piece.
const LETTERS: usize = 20;
/// Bytes that arrive at once.
const CHUNK_BYTES: usize = 16 << 10;

/// The time that this thread had a processor.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let part = |number: i64| u64::try_from(number).expect("clocks do not run below zero");
        Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
    }

    fn end(&self, begun: Duration) -> Duration {
        self.start() - begun
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn said() -> Vec<Said> {
    let words = "The quick brown fox ".repeat(PIECES);
    let call = |id: &str| {
        let text = words[..words.len() / 2].to_owned();
        let arguments = json!({"path": "notes.txt", "text": text}).to_string();
        Said::Call { id: id.to_owned(), name: "write_file".to_owned(), arguments }
    };
    vec![Said::Thought(words.clone()), Said::Text(words.clone()), call("call_1"), call("call_2")]
}

/// Thought as OpenRouter and those behind it send it: each piece in a list of details that grow, besides the text itself.
fn in_details(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        let mut chunk: Value = serde_json::from_str(&event.data).expect("it is JSON");
        let Some(delta) = chunk.pointer_mut("/choices/0/delta") else { continue };
        if let Some(text) = delta.as_object_mut().and_then(|all| all.remove("reasoning_content")) {
            delta["reasoning_details"] = json!([{"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0}]);
            delta["reasoning"] = text;
            event.data = chunk.to_string();
        }
    }
    events
}

fn decode(c: &mut Criterion<ProcessorTime>) {
    for wire in Wire::ALL {
        let events = events(wire.as_str(), &said(), LETTERS);
        if wire == Wire::OpenAiChat {
            measure(c, "openai-chat with details of thought", wire, &in_details(events.clone()));
        }
        measure(c, wire.as_str(), wire, &events);
    }
}

fn measure(c: &mut Criterion<ProcessorTime>, name: &str, wire: Wire, events: &[Event]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let body = body(wire.as_str(), events);
    let chunks = cut(&body, &[CHUNK_BYTES]);
    let answered = || CannedAnswer::ok(chunks.clone()).model(wire);
    let hear = |model: Arc<dyn Model>| runtime.block_on(heard(&*model, body.len(), chunks.len()));
    let deltas = hear(answered()).deltas.len();
    assert!(deltas > 2 * PIECES, "{wire}: {deltas} deltas");
    let mut group = c.benchmark_group(format!("{name}, {deltas} deltas"));
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("oarlock", |b| b.iter_batched(answered, hear, BatchSize::SmallInput));
    group.bench_function("serde_json, RawValue", |b| {
        b.iter(|| {
            for event in events {
                black_box(serde_json::from_str::<&RawValue>(&event.data).expect("it is JSON"));
            }
        });
    });
    group.bench_function("serde_json, Value", |b| {
        b.iter(|| {
            for event in events {
                black_box(serde_json::from_str::<Value>(&event.data).expect("it is JSON"));
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = decoders;
    config = Criterion::default().with_measurement(ProcessorTime);
    targets = decode
}
criterion_main!(decoders);
