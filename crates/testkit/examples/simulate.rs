//! Lives the worlds of many seeds and tells which of them did not come to rest: `simulate [FIRST [COUNT]]`.

use std::io::Write;
use std::process::ExitCode;

use oarlock_testkit::sim::live;

/// How many seeds lie between two lines of progress.
const PROGRESS_EVERY: u64 = 10_000;

fn main() -> ExitCode {
    // Models and tools of these worlds panic on purpose; what matters is whether the worlds come to rest.
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let (first, count) = (arguments.next().unwrap_or(0), arguments.next().unwrap_or(1_000));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let workers: Vec<_> = (0..threads)
        .map(|worker| std::thread::spawn(move || run(first + worker, first + count, threads)))
        .collect();
    let (mut stuck, mut longest) = (0, (0, 0));
    for worker in workers {
        let (failed, slowest) = worker.join().expect("a worker ends");
        stuck += failed;
        longest = longest.max(slowest);
    }
    say(&format!(
        "{count} worlds, {stuck} stuck; the longest way to rest took {} virtual seconds (seed {})",
        longest.0 / 1_000,
        longest.1
    ));
    if stuck == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many of the seeds from `first` on, each `step` further, did not come to rest, and the slowest of the others.
fn run(first: u64, end: u64, step: u64) -> (u64, (u64, u64)) {
    let (mut stuck, mut longest) = (0, (0, 0));
    for seed in (first..end).step_by(usize::try_from(step).expect("there are few threads")) {
        if seed > first && (seed - first).is_multiple_of(PROGRESS_EVERY) {
            say(&format!("… {seed}, {stuck} stuck so far"));
        }
        match live(seed) {
            Ok(rest) => longest = longest.max((rest.took_ms, seed)),
            Err(error) => {
                say(&error.to_string());
                stuck += 1;
            }
        }
    }
    (stuck, longest)
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("somebody reads");
}
