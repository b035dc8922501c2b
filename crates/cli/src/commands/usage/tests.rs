//! Journals worked by hand.

use oarlock_core::event::{
    AssistantMessage, Entry, Event, Fingerprint, ForkPoint, ModelFailed, ModelReplaced,
    PrefixBreak, Reserved, SessionCreated, StepStarted,
};
use oarlock_core::ids::{NodeId, SessionId, Timestamp};
use oarlock_core::message::{ReplyStop, Usage};
use oarlock_core::ports::model::{ModelErrorKind, Price};
use oarlock_core::spec::{Answers, Mode, ModelSelection, SessionSpec, Settings};
use oarlock_models::Wire;
use oarlock_models::cache::Rules;

use super::ledger::{Cause, Forecast, Known, Ledger, Line, Waste};

const MODEL: &str = "anthropic/claude-sonnet-4-5";
const PRICE: Price =
    Price { input: 3_000_000, output: 15_000_000, cache_read: 300_000, cache_write: 3_750_000 };

fn known(_: &str) -> Known {
    let rules = Rules::of("anthropic", Wire::AnthropicMessages, "claude-sonnet-4-5");
    Known { rules, price: Some(PRICE) }
}

/// A journal that is being written.
#[derive(Default)]
struct Journal {
    entries: Vec<Entry>,
    steps: u32,
    tools: u32,
}

impl Journal {
    fn add(&mut self, minute: i64, event: Event) {
        let (seq, at) = (self.entries.len() as u64 + 1, Timestamp::from_unix_ms(minute * 60_000));
        self.entries.push(Entry { seq, at, turn: Some(1), scope: Vec::new(), event });
    }

    fn asks(&mut self, minute: i64, prefix_break: Option<PrefixBreak>) {
        self.steps += 1;
        self.tools += u32::from(prefix_break == Some(PrefixBreak::Tools));
        let request = Fingerprint {
            model: MODEL.to_owned(),
            system: "s".to_owned(),
            tools: format!("t{}", self.tools),
            output: String::new(),
            messages: format!("m{}", self.steps),
        };
        let reserved = Reserved { prompt_tokens: 6_000, ..Reserved::default() };
        let step = StepStarted {
            step: self.steps,
            inputs: Vec::new(),
            request,
            prefix_break,
            fixed_tokens: Some(3_600),
            reserved,
        };
        self.add(minute, Event::StepStarted(step));
    }

    fn is_told(&mut self, minute: i64, (read, write, input): (u64, u64, u64)) {
        let usage =
            Usage { input, output: 100, cache_read: read, cache_write: write, reasoning: 0 };
        let message = AssistantMessage {
            step: self.steps,
            attempt: 1,
            model: "m".to_owned(),
            blocks: Vec::new(),
            stop: ReplyStop::EndTurn,
            usage,
            cost_micros: Some(PRICE.of(&usage)),
            partial: false,
            schema_warnings: Vec::new(),
        };
        self.add(minute, Event::AssistantMessage(message));
    }

    fn step(&mut self, minute: i64, why: Option<PrefixBreak>, told: (u64, u64, u64)) {
        self.asks(minute, why);
        self.is_told(minute, told);
    }

    fn lines(&self) -> (Vec<Line>, super::Total) {
        let mut ledger = Ledger::new(known);
        let lines = self.entries.iter().filter_map(|entry| ledger.take(entry)).collect();
        (lines, ledger.total().clone())
    }
}

/// Read, written and neither, by the rules; and what was lost.
fn cached(lines: &[Line]) -> Vec<((u64, u64, u64), Option<Waste>)> {
    let of = |forecast: Forecast| (forecast.cache_read, forecast.cache_write, forecast.input);
    lines.iter().map(|line| (of(line.predicted.unwrap()), line.waste)).collect()
}

fn waste(cause: Cause, tokens: u64, cost_micros: u64) -> Waste {
    Waste { cause, tokens, cost_micros: Some(cost_micros) }
}

#[test]
fn each_step_is_told_with_its_prediction_its_break_and_what_was_lost() {
    let mut journal = Journal::default();
    journal.step(0, None, (0, 2_000, 0));
    journal.step(1, None, (2_000, 1_000, 0));
    journal.step(2, Some(PrefixBreak::Tools), (0, 3_100, 0));
    journal.step(12, None, (0, 3_200, 0));
    journal.step(13, None, (0, 3_300, 0));
    // What stands before the messages is read: 3,600 of 6,000 by the session's own count, so 1,860 of 3,100 by the provider's.
    journal.step(14, Some(PrefixBreak::Compacted), (1_860, 640, 0));
    let (lines, total) = journal.lines();
    let wanted = [
        ((0, 2_000, 0), None),
        ((2_000, 1_000, 0), None),
        // 3,000 tokens at 3.75 instead of 0.30 dollars a million.
        ((0, 3_100, 0), Some(waste(Cause::Break, 3_000, 10_350))),
        ((0, 3_200, 0), Some(waste(Cause::Expired, 3_100, 10_695))),
        ((3_200, 100, 0), Some(waste(Cause::Missed, 3_200, 11_040))),
        ((1_860, 640, 0), Some(waste(Cause::Break, 640, 2_208))),
    ];
    assert_eq!(cached(&lines), wanted);
    assert_eq!(lines[2].prefix_break, Some(PrefixBreak::Tools));
    assert_eq!((total.steps, total.waste_tokens, total.waste_micros), (6, 9_940, 34_293));
    let breaks: Vec<(&str, u64)> = total.breaks.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    assert_eq!(breaks, [("compacted", 1), ("tools", 1)]);
    let read = |of: &Forecast| (of.cache_read, of.cache_write);
    assert_eq!((read(&total.predicted), read(&total.told)), ((7_060, 10_040), (3_860, 13_240)));
    // Every step costs its own, rounded up by itself.
    assert_eq!(total.cost_micros, lines.iter().filter_map(|line| line.cost_micros).sum::<u64>());
}

#[test]
fn a_failed_call_is_counted_and_the_cache_is_asked_when_it_is_made_again() {
    let mut journal = Journal::default();
    journal.step(0, None, (0, 2_000, 0));
    journal.asks(4, None);
    let failed = ModelFailed {
        step: 2,
        attempt: 1,
        class: ModelErrorKind::Overloaded,
        message: String::new(),
        retry_in_ms: Some(120_000),
        usage: Usage { input: 7, ..Usage::default() },
        cost_micros: None,
    };
    journal.add(4, Event::ModelFailed(failed));
    journal.is_told(6, (0, 2_100, 0));
    let (lines, total) = journal.lines();
    assert_eq!(cached(&lines)[1], ((0, 2_100, 0), Some(waste(Cause::Expired, 2_000, 6_900))));
    assert_eq!((total.failed_calls, total.usage.input, total.cost_unknown), (1, 7, true));
}

#[test]
fn a_step_that_another_model_took_over_counts_for_that_model_and_declares_the_break() {
    let mut journal = Journal::default();
    journal.step(0, None, (0, 2_000, 0));
    journal.asks(1, None);
    let named = |provider: &str, model: &str| ModelSelection {
        provider: provider.to_owned(),
        model: model.to_owned(),
    };
    let Event::StepStarted(step) = &journal.entries.last().unwrap().event else { panic!() };
    let request = Fingerprint { model: "p/spare".to_owned(), ..step.request.clone() };
    let replaced = ModelReplaced {
        step: Some(2),
        from: named("anthropic", "claude-sonnet-4-5"),
        to: named("p", "spare"),
        class: ModelErrorKind::Auth,
        why: String::new(),
        skipped: Vec::new(),
        request: Some(request),
        prefix_break: Some(PrefixBreak::Model),
        reserved: Reserved::default(),
    };
    journal.add(1, Event::ModelReplaced(Box::new(replaced)));
    journal.is_told(2, (0, 2_100, 0));
    let (lines, total) = journal.lines();
    assert_eq!(
        (lines[1].model.as_str(), lines[1].prefix_break),
        ("p/spare", Some(PrefixBreak::Model))
    );
    assert_eq!(total.breaks.get("model"), Some(&1));
}

#[test]
fn a_fork_tells_its_own_steps_and_reads_what_its_source_has_cached() {
    let id = |name: &str| SessionId::parse(format!("0192f0c1-7b7e-7000-8000-00000000000{name}"));
    let point = ForkPoint { session: id("1").unwrap(), at: 3, line: id("1").unwrap() };
    let selection = ModelSelection { provider: "p".to_owned(), model: "m".to_owned() };
    let settings = Settings::new(selection, Mode::OPEN, Answers::Nobody);
    let mut journal = Journal::default();
    let created = SessionCreated {
        id: id("2").unwrap(),
        schema: 1,
        node: NodeId::parse("node-a".to_owned()).unwrap(),
        spec: SessionSpec::new("/".into(), "test", settings),
        forked: Some(point.clone()),
    };
    journal.add(0, Event::SessionCreated(Box::new(created)));
    journal.step(0, None, (0, 2_000, 0));
    journal.add(1, Event::SessionForked(point));
    journal.step(2, None, (2_000, 50, 0));
    let (lines, total) = journal.lines();
    assert_eq!(cached(&lines), [((2_000, 50, 0), None)]);
    assert_eq!((total.steps, total.usage.cache_write), (1, 50));
}

#[test]
fn of_a_model_without_rules_or_price_the_told_tokens_and_the_breaks_are_known() {
    let mut journal = Journal::default();
    journal.step(0, None, (0, 0, 2_000));
    journal.step(1, Some(PrefixBreak::Tools), (0, 0, 2_000));
    let mut ledger = Ledger::new(|_| Known::default());
    let lines: Vec<Line> = journal.entries.iter().filter_map(|entry| ledger.take(entry)).collect();
    assert_eq!((lines[1].predicted, lines[1].waste), (None, None));
    assert_eq!((lines[1].prefix_break, lines[1].usage.input), (Some(PrefixBreak::Tools), 2_000));
    assert_eq!(ledger.total().told, Forecast::default());
}

#[test]
fn a_long_session_is_predicted_from_its_last_places() {
    let mut journal = Journal::default();
    let mut prompt = 2_000;
    journal.step(0, None, (0, prompt, 0));
    for minute in 1..500 {
        journal.step(minute, None, (prompt, 10, 0));
        prompt += 10;
    }
    let (lines, total) = journal.lines();
    assert!(lines.iter().all(|line| line.waste.is_none()));
    assert_eq!(total.predicted, total.told);
}
