//! What appends and reads cost on this disk, each beside its bound. Percentiles of single appends are the point, so that this is a plain
//! program: run it with `cargo bench -p oarlock-store`.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_core::ids::NodeId;
use oarlock_core::ports::journal::Fence;
use oarlock_core::ports::journal::Journal;
use oarlock_store::SqliteStore;
use oarlock_testkit::conformance::{frame, session};
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
