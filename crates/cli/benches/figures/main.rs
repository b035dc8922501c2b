//! The design's budgets, measured: whole runs of the released program, and sessions in one process. A plain program that prints a table, since
//! whole processes and percentiles are the point: `cargo bench -p oarlock --bench figures -- [program|editor|many|long]`.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod editor;
mod program;
mod sessions;

use std::time::{Duration, Instant};

fn main() {
    println!("{:<58} {:>12} {:>12}", "figure", "measured", "bound");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let wants = |part: &str| wanted.as_ref().is_none_or(|wanted| part.contains(wanted.as_str()));
    if wants("program") {
        program::measure();
    }
    if wants("editor") {
        editor::measure();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("this machine has threads");
    runtime.block_on(async {
        if wants("many") {
            sessions::many().await;
        }
        if wants("long") {
            sessions::long(1_000, 10.0).await;
            sessions::long(100_000, 300.0).await;
        }
    });
}

/// One row; `bound` is none for a figure that is only there to compare with.
fn row(name: &str, measured: f64, bound: Option<f64>, unit: &str) {
    let (bound, verdict) = match bound {
        None => (String::new(), ""),
        Some(bound) if measured <= bound => (format!("{bound} {unit}"), ""),
        Some(bound) => (format!("{bound} {unit}"), "  MISSED"),
    };
    println!("{name:<58} {:>12} {bound:>12}{verdict}", format!("{measured:.2} {unit}"));
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures with the machine's own clock")]
fn start() -> Instant {
    Instant::now()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The value below which this share of the values lies.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}
