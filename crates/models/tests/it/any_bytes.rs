//! Whatever comes as an answer, however it is cut: it ends, within bounds, and the cuts make no difference. `fuzz/` asks the same for longer.

use futures::FutureExt;
use oarlock_core::message::{Content, Usage};
use oarlock_models::{CannedAnswer, Wire};
use oarlock_testkit::heard::{Heard, heard};
use oarlock_testkit::streams::{Event, Said, body, contents, cut, escaped, events, usage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// What is done to the events of an answer before they are framed, so that checksums are right.
#[derive(Debug, Clone)]
enum Harm {
    Lost(Index),
    Repeated(Index, Index),
    Swapped(Index, Index),
    /// The payload breaks off.
    Broken(Index, Index),
    /// A value somewhere in the payload is another.
    Changed(Index, Index, Value),
    Renamed(Index, &'static str),
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<Index>;
    let value = prop_oneof![
        Just(Value::Null),
        Just(json!(-1)),
        Just(json!(u64::MAX)),
        Just(json!(0.5)),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{"type": "text", "text": "x"}, 7])),
        Just(json!({"type": "tool_use", "name": 1, "message": "no"})),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("error"),
        Just("message_delta"),
        Just("response.output_item.done"),
        Just("contentBlockStart"),
        Just("throttlingException"),
        Just("unheard_of"),
    ];
    prop_oneof![
        1 => index().prop_map(Harm::Lost),
        1 => (index(), index()).prop_map(|(a, b)| Harm::Repeated(a, b)),
        1 => (index(), index()).prop_map(|(a, b)| Harm::Swapped(a, b)),
        1 => (index(), index()).prop_map(|(a, b)| Harm::Broken(a, b)),
        8 => (index(), index(), value).prop_map(|(a, b, c)| Harm::Changed(a, b, c)),
        1 => (index(), name).prop_map(|(a, b)| Harm::Renamed(a, b)),
    ]
}

fn do_harm(events: &mut Vec<Event>, harm: &Harm) {
    let count = events.len();
    if count < 2 {
        return;
    }
    match harm {
        Harm::Lost(at) => drop(events.remove(at.index(count))),
        Harm::Repeated(at, to) => events.insert(to.index(count), events[at.index(count)].clone()),
        Harm::Swapped(at, to) => events.swap(at.index(count), to.index(count)),
        Harm::Broken(at, length) => {
            let data = &mut events[at.index(count)].data;
            data.truncate(data.floor_char_boundary(length.index(data.len() + 1)));
        }
        Harm::Changed(at, place, other) => {
            let data = &mut events[at.index(count)].data;
            if let Ok(mut value) = serde_json::from_str::<Value>(data) {
                let mut left = place.index(values(&value));
                change(&mut value, &mut left, other);
                *data = value.to_string();
            }
        }
        Harm::Renamed(at, name) => events[at.index(count)].name = Some(name),
    }
}

/// How many values there are, the whole one among them.
fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(values).sum(),
        Value::Object(members) => members.values().map(values).sum(),
        _ => 0,
    }
}

/// Replaces the value in this place.
fn change(value: &mut Value, left: &mut usize, other: &Value) {
    if *left == 0 {
        *value = other.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|inner| change(inner, left, other)),
        Value::Object(members) => {
            members.values_mut().for_each(|inner| change(inner, left, other));
        }
        _ => {}
    }
}

/// Something to say: thought, words and calls, any of which may be missing.
fn said() -> impl Strategy<Value = Vec<Said>> {
    let thought = "[ \\PC]{1,30}".prop_map(Said::Thought);
    let text = "[ \\PC]{1,60}".prop_map(Said::Text);
    let call = ("[a-z_]{1,9}", "\\PC{0,30}", any::<i64>()).prop_map(|(name, text, number)| {
        let arguments = json!({"text": text, "number": number}).to_string();
        Said::Call { id: String::new(), name, arguments }
    });
    let calls = vec(call, 0..3).prop_map(|mut calls| {
        for (at, call) in calls.iter_mut().enumerate() {
            if let Said::Call { id, .. } = call {
                *id = format!("call_{at}");
            }
        }
        calls
    });
    (prop::option::of(thought), prop::option::of(text), calls)
        .prop_map(|(thought, text, calls)| thought.into_iter().chain(text).chain(calls).collect())
}

fn any_wire() -> impl Strategy<Value = Wire> {
    prop::sample::select(Wire::ALL.to_vec())
}

/// What is heard of a body in chunks of these sizes, over and over.
fn hear(wire: Wire, body: &[u8], sizes: &[usize]) -> Heard {
    let chunks = cut(body, sizes);
    let count = chunks.len();
    let model = CannedAnswer::ok(chunks).model(wire);
    let call = heard(&*model, body.len(), count);
    call.now_or_never().expect("nothing waits for what is there")
}

fn escape(content: &mut Content) {
    if let Content::ToolCall { arguments, .. } = content {
        *arguments = escaped(arguments);
    }
}

fn is_the_same_however_it_is_cut(wire: Wire, body: &[u8], sizes: &[usize]) {
    assert_eq!(hear(wire, body, sizes), hear(wire, body, &[]), "{wire} in {sizes:?}");
}

/// A provider that counted more thought than answer was seen by others.
#[test]
fn thought_is_counted_as_no_more_than_the_answer_that_holds_it() {
    for wire in [Wire::AnthropicMessages, Wire::OpenAiChat, Wire::OpenAiResponses] {
        let name = wire.as_str();
        let mut events = events(name, &[Said::Text("hi".to_owned())], 9);
        for event in &mut events {
            event.data = event.data.replace("ing_tokens\":2", "ing_tokens\":50");
        }
        let counted = hear(wire, &body(name, &events), &[]).end.unwrap().usage;
        assert_eq!(counted, Usage { reasoning: 7, ..usage(name) }, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_on_any_wire_is_what_is_heard(
        wire in any_wire(), said in said(), piece in 1usize..20, is_escaped: bool, sizes in vec(1usize..200, 1..8),
    ) {
        let name = wire.as_str();
        let mut events = events(name, &said, piece);
        if is_escaped {
            events = events.iter().map(Event::escaped).collect();
        }
        let end = hear(wire, &body(name, &events), &sizes).end;
        // An answer of Google's that says nothing is asked for again.
        if wire == Wire::Gemini && said.is_empty() {
            prop_assert!(end.unwrap_err().may_retry());
            return Ok(());
        }
        let reply = end.unwrap();
        prop_assert_eq!(reply.usage, usage(name));
        let heard: Vec<_> = reply.blocks.into_iter().map(|block| block.content).collect();
        let mut expected = contents(&said);
        // Arguments stay as they came, and this wire sends them as they are.
        if is_escaped && wire == Wire::Gemini {
            expected.iter_mut().for_each(escape);
        }
        prop_assert_eq!(heard, expected);
    }

    #[test]
    fn a_harmed_answer_ends_within_its_bounds_however_it_is_cut(
        wire in any_wire(), said in said(), harms in vec(harm(), 1..6), sizes in vec(1usize..200, 1..8),
    ) {
        let name = wire.as_str();
        let mut events = events(name, &said, 7);
        harms.iter().for_each(|harm| do_harm(&mut events, harm));
        is_the_same_however_it_is_cut(wire, &body(name, &events), &sizes);
    }

    #[test]
    fn an_answer_with_noise_ends_within_its_bounds_however_it_is_cut(
        wire in any_wire(), said in said(), noise in vec(any::<u8>(), 0..400), at: Index, sizes in vec(1usize..200, 1..8),
    ) {
        let name = wire.as_str();
        let mut bytes = body(name, &events(name, &said, 7));
        let at = at.index(bytes.len());
        bytes.splice(at..at, noise);
        is_the_same_however_it_is_cut(wire, &bytes, &sizes);
    }
}
