//! What appends and reads cost on this disk, each beside its bound. Percentiles of single appends are the point, so that this is a plain
//! program: run it with `cargo bench -p oarlock-store`.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_core::ids::{NodeId, Tenant};
use oarlock_core::ports::journal::{
    Catalog, Fence, Filter, IndexedText, Journal, ListCursor, Projection, Summary, TenantFilter,
};
use oarlock_store::SqliteStore;
use oarlock_testkit::conformance::{frame, session, summary};
use tempfile::TempDir;

/// About what one step of a turn writes.
const WORDS: &str = "The quick brown fox jumps over the lazy dog, and the lazy dog lets it. ";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("this machine has threads");
    runtime.block_on(async {
        one_shot();
        appends(1, 2000, (1.0, 10.0)).await;
        appends(100, 50, (1.0, 10.0)).await;
        for sessions in [1_000, 10_000] {
            lists(sessions).await;
        }
        open_and_read(1_000, 10.0).await;
        open_and_read(100_000, 300.0).await;
    });
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures with the machine's own clock")]
fn start() -> Instant {
    Instant::now()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn store(folder: &TempDir) -> Arc<SqliteStore> {
    let node = NodeId::parse("bench").expect("letters are a valid id");
    Arc::new(SqliteStore::open(folder.path(), node).expect("the folder is fresh"))
}

fn one_shot() {
    let folder = TempDir::new().expect("there is a temporary folder");
    let begun = start();
    let first = store(&folder);
    let fresh = begun.elapsed();
    drop(first);
    let begun = start();
    let again = store(&folder);
    let opened = begun.elapsed();
    let begun = start();
    drop(again);
    println!(
        "open a fresh folder {:.2} ms, an existing one {:.2} ms, close {:.2} ms (whole one-shot run: bound 12 ms)",
        ms(fresh),
        ms(opened),
        ms(begun.elapsed())
    );
}

async fn appends(writers: usize, frames: usize, bounds: (f64, f64)) {
    let folder = TempDir::new().expect("there is a temporary folder");
    let store = store(&folder);
    let begun = start();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(&store);
            #[expect(clippy::disallowed_methods, reason = "the task is joined below")]
            tokio::spawn(async move {
                let id = session(&format!("s{writer}"));
                let mut fence = Fence::new_session(id, NodeId::parse("bench").expect("letters"));
                let mut times = Vec::with_capacity(frames);
                for _ in 0..frames {
                    let next = frame(&fence, &[WORDS, WORDS]);
                    let begun = start();
                    fence = store.append(&fence, &next).await.expect("nobody else writes");
                    times.push(ms(begun.elapsed()));
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a writer does not panic"));
    }
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "append, {writers:3} writers: p50 {:.2} ms (bound {}), p99 {:.2} ms (bound {}), max {:.2} ms, {rate:.0}/s",
        at(0.5),
        bounds.0,
        at(0.99),
        bounds.1,
        at(1.0)
    );
}

async fn open_and_read(entries: usize, bound_ms: f64) {
    let folder = TempDir::new().expect("there is a temporary folder");
    let writer = store(&folder);
    let node = NodeId::parse("bench").expect("letters are a valid id");
    let mut fence = Fence::new_session(session("s"), node);
    for _ in 0..entries / 4 {
        let next = frame(&fence, &[WORDS, WORDS, WORDS, WORDS]);
        fence = writer.append(&fence, &next).await.expect("nobody else writes");
    }
    drop(writer);
    let begun = start();
    let reader = store(&folder);
    let (mut after, mut bytes) = (0, 0);
    loop {
        let page = Journal::read(reader.as_ref(), &session("s"), after, 1 << 20).await;
        let page = page.expect("it was written above");
        let Some(last) = page.last() else { break };
        after = last.last();
        bytes += page.iter().map(|frame| frame.body.len()).sum::<usize>();
    }
    println!(
        "open and read {after} entries ({bytes} bytes), hashes verified: {:.2} ms (bound {bound_ms})",
        ms(begun.elapsed())
    );
}

/// Pages of 50 under each kind of filter, from the front and behind a cursor in the middle.
async fn lists(sessions: usize) {
    let folder = TempDir::new().expect("there is a temporary folder");
    let store = store(&folder);
    let tenant = |number: usize| Tenant::parse(format!("t{}", number % 10)).expect("letters");
    let mut middle = None;
    for number in 0..sessions {
        let id = session(&format!("s{number}"));
        let fence = Fence::new_session(id.clone(), NodeId::parse("bench").expect("letters"));
        let frame = frame(&fence, &[WORDS]);
        store.append(&fence, &frame).await.expect("nobody else writes");
        let labels = [("env".to_owned(), (number % 4).to_string())].into();
        let plain = summary(&id, 1, 1_000 + number as i64);
        let summary = Summary { tenant: Some(tenant(number)), labels, ..plain };
        let texts = [IndexedText { seq: 1, text: format!("{WORDS} number {number}") }];
        let projection = Projection { summary: &summary, texts: &texts, checkpoint: None };
        store.put_projection(projection).await.expect("it was made above");
        if number == sessions / 2 {
            middle = Some(ListCursor { updated: summary.updated, id });
        }
    }
    let none = Filter::default;
    let env = || [("env".to_owned(), "1".to_owned())].into();
    let of = |number| Some(TenantFilter::Of(tenant(number)));
    for (name, filter) in [
        ("everything", none()),
        ("a tenant's", Filter { tenant: of(3), ..none() }),
        ("a label's", Filter { labels: env(), ..none() }),
        ("a tenant's with a label", Filter { tenant: of(1), labels: env(), ..none() }),
        ("with a rare word", Filter { text: Some("77".to_owned()), ..none() }),
        ("with a common word", Filter { text: Some("fox".to_owned()), ..none() }),
    ] {
        let mut times = Vec::new();
        for round in 0..100 {
            let after = middle.clone().filter(|_| round % 2 == 0);
            let filter = Filter { after, limit: Some(50), ..filter.clone() };
            let begun = start();
            store.list(&filter).await.expect("the store is there");
            times.push(ms(begun.elapsed()));
        }
        times.sort_by(f64::total_cmp);
        let (p50, p95) = (times[50], times[95]);
        println!("list of {sessions}, {name}: p50 {p50:.2} ms, p95 {p95:.2} ms");
    }
}
