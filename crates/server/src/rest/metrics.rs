//! Figures of a server: counted here, written in Prometheus' words. No label has an id, a tenant or anything that somebody wrote.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oarlock_core::ports::journal::UsageRow;

use crate::figures::Figures;

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// By operation and code: both are of tables, so that there are few.
    requests: Mutex<BTreeMap<(&'static str, &'static str), Answered>>,
    readers: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Answered {
    count: u64,
    took: Duration,
}

/// A reader of events, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Reading(Arc<Metrics>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Relaxed);
    }
}

/// What is looked up when somebody asks.
pub(super) struct Standing<'a> {
    pub(super) used: UsageRow,
    /// What summing that up took the store.
    pub(super) store_took: Duration,
    pub(super) awake: usize,
    pub(super) figures: &'a Figures,
}

/// The operation that a response is of, beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named(pub(super) &'static str);

impl Metrics {
    /// Counts an answer.
    pub(super) fn answered(&self, operation: &'static str, code: &'static str, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = requests.entry((operation, code)).or_default();
        answered.count += 1;
        answered.took += took;
    }

    /// Counts a reader.
    pub(super) fn reading(self: &Arc<Self>) -> Reading {
        self.readers.fetch_add(1, Relaxed);
        Reading(Arc::clone(self))
    }

    /// All figures.
    pub(super) fn text(&self, standing: &Standing<'_>) -> String {
        let mut page = Page::default();
        self.of_requests(&mut page);
        of_sessions(&mut page, standing);
        of_journal(&mut page, standing.figures);
        page.0
    }

    fn of_requests(&self, page: &mut Page) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = |value: fn(&Answered) -> String| -> Vec<(String, String)> {
            let row = |((operation, code), answered): (&(&str, &str), &Answered)| {
                (format!("{{operation=\"{operation}\",code=\"{code}\"}}"), value(answered))
            };
            requests.iter().map(row).collect()
        };
        let counts = rows(|answered| answered.count.to_string());
        page.say("requests_total", "counter", "Requests that were answered.", &counts);
        let took = rows(|answered| answered.took.as_secs_f64().to_string());
        page.say("request_seconds_total", "counter", "Time until their answers began.", &took);
        page.one("event_readers", "Readers of events.", &self.readers.load(Relaxed));
    }
}

/// Figures as Prometheus reads them.
#[derive(Default)]
struct Page(String);

impl Page {
    fn say(&mut self, name: &str, kind: &str, help: &str, rows: &[(String, String)]) {
        self.0.push_str(&format!("# HELP oarlock_{name} {help}\n# TYPE oarlock_{name} {kind}\n"));
        for (labels, value) in rows {
            self.0.push_str(&format!("oarlock_{name}{labels} {value}\n"));
        }
    }

    fn one(&mut self, name: &str, help: &str, value: &impl ToString) {
        self.say(name, "gauge", help, &[(String::new(), value.to_string())]);
    }
}

fn of_sessions(page: &mut Page, standing: &Standing<'_>) {
    let Standing { used, store_took, awake, .. } = standing;
    let store = store_took.as_secs_f64();
    page.one("store_read_seconds", "What summing up all sessions took the store.", &store);
    page.one("sessions", "Sessions in the store.", &used.sessions);
    page.one("sessions_awake", "Sessions that are awake in this process.", awake);
    let usage = &used.usage;
    let kinds = [
        ("input", usage.input),
        ("output", usage.output),
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
    ];
    let kinds = kinds.map(|(kind, n)| (format!("{{kind=\"{kind}\"}}"), n.to_string()));
    page.say("tokens", "gauge", "Tokens of the sessions in the store.", &kinds);
}

fn of_journal(page: &mut Page, figures: &Figures) {
    let turns = figures.turns();
    let turns = turns.map(|(stop, n)| (format!("{{stop_reason=\"{stop}\"}}"), n.to_string()));
    let turns: Vec<_> = turns.collect();
    page.say("turns_total", "counter", "Turns that ended, subagents' among them.", &turns);
    let appends = figures.appends();
    let buckets = appends.cumulated();
    let all = buckets.last().map_or(0, |(_, count)| *count);
    let mut rows: Vec<_> = buckets
        .into_iter()
        .map(|(end, count)| (format!("_bucket{{le=\"{end}\"}}"), count.to_string()))
        .collect();
    rows.push(("_sum".to_owned(), appends.took.as_secs_f64().to_string()));
    rows.push(("_count".to_owned(), all.to_string()));
    page.say("append_seconds", "histogram", "What the store took to write a frame.", &rows);
    let failed = [(String::new(), appends.failed.to_string())];
    page.say("append_failures_total", "counter", "Frames that the store did not take.", &failed);
}
