//! Figures of a server: counted here, written in Prometheus' words. No label has an id, a tenant or anything that somebody wrote.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oarlock_core::ports::journal::UsageRow;

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
    pub(super) fn text(&self, used: &UsageRow, store_took: Duration) -> String {
        let mut text = String::new();
        let mut say = |name: &str, kind: &str, help: &str, rows: &[(String, String)]| {
            let mut said = format!("# HELP oarlock_{name} {help}\n# TYPE oarlock_{name} {kind}\n");
            for (labels, value) in rows {
                said.push_str(&format!("oarlock_{name}{labels} {value}\n"));
            }
            text.push_str(&said);
        };
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = |value: fn(&Answered) -> String| -> Vec<(String, String)> {
            let row = |((operation, code), answered): (&(&str, &str), &Answered)| {
                (format!("{{operation=\"{operation}\",code=\"{code}\"}}"), value(answered))
            };
            requests.iter().map(row).collect()
        };
        let counts = rows(|answered| answered.count.to_string());
        say("requests_total", "counter", "Requests that were answered.", &counts);
        let took = rows(|answered| answered.took.as_secs_f64().to_string());
        say("request_seconds_total", "counter", "Time until their answers began.", &took);
        let one = |value: String| vec![(String::new(), value)];
        let readers = self.readers.load(Relaxed).to_string();
        say("event_readers", "gauge", "Readers of events.", &one(readers));
        let store = store_took.as_secs_f64().to_string();
        say(
            "store_read_seconds",
            "gauge",
            "What summing up all sessions took the store.",
            &one(store),
        );
        say("sessions", "gauge", "Sessions in the store.", &one(used.sessions.to_string()));
        let usage = &used.usage;
        let kinds = [
            ("input", usage.input),
            ("output", usage.output),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
        ];
        let kinds = kinds.map(|(kind, n)| (format!("{{kind=\"{kind}\"}}"), n.to_string()));
        say("tokens", "gauge", "Tokens of the sessions in the store.", &kinds);
        text
    }
}
