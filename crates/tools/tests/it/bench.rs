//! What a command costs. Run with `cargo test --release -p oarlock-tools -- --ignored --nocapture spawning`.

use std::time::{Duration, Instant};

use oarlock_core::ports::clock::Cancel;
use serde_json::json;

use crate::kit::Kit;

const RUNS: usize = 200;

#[expect(clippy::disallowed_methods, reason = "the test measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn spawning_through_the_tool_costs_little_more_than_the_shell_itself() {
    let kit = Kit::new();
    let (tool, mut ours, mut plain) = (kit.tool("bash"), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let cx = kit.context(&Cancel::new());
        let started = now();
        std::sync::Arc::clone(&tool).execute(json!({"command": "true"}), cx).await.unwrap();
        ours.push(started.elapsed());
        let started = now();
        let status = std::process::Command::new("/bin/sh").args(["-c", "true"]).status().unwrap();
        plain.push(started.elapsed());
        assert!(status.success());
    }
    println!("bash tool: {:?}; sh -c true: {:?} (medians of {RUNS})", median(ours), median(plain));
}
