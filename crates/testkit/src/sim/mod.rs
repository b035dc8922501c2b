//! A simulated world, drawn from a seed: silent models, questions that nobody answers, stuck tools and hooks, readers that never read, people who come
//! and go, processes that die. Told by the real loop on virtual time; the same seed is the same world.
//!
//! The promise that it tries is law 6 of the design: whatever happens, a session comes to rest within a bound that can be worked out.

mod cast;
mod chance;
mod hooks;
mod panics;
mod world;

use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Real time after which a world counts as one that never rests; most take some milliseconds.
const REAL_MAX: Duration = Duration::from_secs(60);

/// A world that came to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Its seed.
    pub seed: u64,
    /// Virtual milliseconds from the last thing that anybody did to its rest.
    pub took_ms: u64,
    /// How many of its processes were killed.
    pub deaths: u32,
    /// Entries of all its sessions.
    pub entries: u64,
    /// Hash of all its journals: the same for every run of a seed.
    pub digest: String,
    /// Tags of its entries, each once, in alphabetical order.
    pub kinds: Vec<String>,
}

/// A world that did not come to rest in time, or broke otherwise.
#[derive(Debug)]
pub struct Stuck {
    /// Its seed, which makes it again.
    pub seed: u64,
    /// What it was waiting for, or what broke.
    pub why: String,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.why)
    }
}

impl std::error::Error for Stuck {}

/// Lives the world of a seed. Not to be called within a runtime: it makes its own.
///
/// # Errors
/// [`Stuck`] when it does not come to rest within its bound.
///
/// # Panics
/// When a session cannot be made or read at all.
pub fn live(seed: u64) -> Result<Rest, Stuck> {
    // A world that turns in circles lets no virtual time pass; only somebody outside can tell.
    let (tell, told) = mpsc::channel();
    let world = thread::spawn(move || tell.send(live_here(seed)));
    match told.recv_timeout(REAL_MAX) {
        Ok(lived) => lived,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let why =
                format!("it turns in circles: no rest after {} real seconds", REAL_MAX.as_secs());
            Err(Stuck { seed, why })
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => match world.join() {
            Ok(_) => unreachable!("a world that ends well tells of itself"),
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}

fn live_here(seed: u64) -> Result<Rest, Stuck> {
    panics::watch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made");
    let lived = runtime.block_on(world::World::new(seed).live());
    match panics::first() {
        Some(why) => Err(Stuck { seed, why }),
        None => lived,
    }
}
