//! What a provider's prompt cache serves of a sequence of requests, by the rules that its vendor publishes. Pure: it is told the time, and knows
//! requests by hashes and counts alone.

mod rules;

use std::collections::HashMap;

use oarlock_core::ids::Timestamp;
use oarlock_core::message::Usage;
use oarlock_core::ports::model::Price;

pub use rules::{Keeps, Lifetime, RULES, Retention, Rules};

/// So many places are remembered; of more, those that were used last.
const PLACES_MAX: usize = 4096;

/// The end of a block of a request: of its tools, its system prompt or a part of a message, in the order in which the provider reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Hash of the request up to here.
    pub prefix: u128,
    /// Its tokens up to here.
    pub upto: u64,
}

/// A request as a cache sees it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// When.
    pub at: Timestamp,
    /// Its blocks in order; the last one ends the request.
    pub blocks: &'a [Block],
    /// Which of them are marked, by index in ascending order; only caches that keep what is marked look at it.
    pub marks: &'a [usize],
}

/// What becomes of the tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Predicted {
    /// Read from the cache.
    pub read: u64,
    /// Written to it, where that is counted.
    pub write: u64,
    /// Neither.
    pub input: u64,
}

impl Predicted {
    /// The same with the tokens of an answer.
    #[must_use]
    pub fn usage(&self, output: u64) -> Usage {
        let Self { read: cache_read, write: cache_write, input } = *self;
        Usage { input, output, cache_read, cache_write, reasoning: 0 }
    }
}

/// The cache of one model at one provider, as its rules have it.
#[derive(Debug, Clone)]
pub struct Simulator {
    rules: &'static Rules,
    minimum: u64,
    lifetime: Lifetime,
    /// When each place was used last.
    used: HashMap<u128, Timestamp>,
}

impl Simulator {
    /// An empty cache for beginnings of at least `minimum` tokens.
    #[must_use]
    pub fn new(rules: &'static Rules, minimum: u64, retention: Retention) -> Self {
        Self { rules, minimum, lifetime: rules.lifetime(retention), used: HashMap::new() }
    }

    /// What the cache does for a request, which changes it.
    pub fn ask(&mut self, asked: &Asked<'_>) -> Predicted {
        let Some(end) = asked.blocks.last() else { return Predicted::default() };
        let marks = self.marks(asked);
        let hit = self.hit(asked, &marks);
        let read = hit.map_or(0, |at| self.readable(asked.blocks[at].upto.min(end.upto)));
        let kept: Vec<usize> = match self.rules.keeps {
            Keeps::Marks { .. } => marks,
            Keeps::Requests { .. } => vec![asked.blocks.len() - 1],
            Keeps::Beginnings => (0..asked.blocks.len()).collect(),
        };
        for at in kept.iter().copied().chain(hit) {
            self.keep(asked.blocks[at], asked.at);
        }
        let last =
            kept.last().map(|at| asked.blocks[*at].upto).filter(|upto| *upto >= self.minimum);
        let write = match self.rules.counts_writes {
            true => last.unwrap_or(0).saturating_sub(read),
            false => 0,
        };
        Predicted { read, write, input: end.upto - read - write }
    }

    /// Tells where the answer to the last request ended.
    pub fn answered(&mut self, end: Block, at: Timestamp) {
        if self.rules.keeps == (Keeps::Requests { with_answer: true }) {
            self.keep(end, at);
        }
    }

    /// What could be read of a beginning of so many tokens if it was kept.
    #[must_use]
    pub fn readable(&self, tokens: u64) -> u64 {
        let whole = tokens - tokens % self.rules.unit;
        if whole < self.minimum { 0 } else { whole }
    }

    /// Forgets nothing, but tells whether something that was used then is kept still.
    #[must_use]
    pub fn keeps(&self, used: Timestamp, at: Timestamp) -> bool {
        self.lifetime.ms.is_none_or(|ms| at.ms_since(used) <= ms)
    }

    /// The marks that count: as many as are taken, each behind enough tokens.
    fn marks(&self, asked: &Asked<'_>) -> Vec<usize> {
        let Keeps::Marks { most, .. } = self.rules.keeps else { return Vec::new() };
        let long = |at: &&usize| asked.blocks.get(**at).is_some_and(|b| b.upto >= self.minimum);
        asked.marks.iter().take(most).filter(long).copied().collect()
    }

    /// The last place of the request that is kept and looked at.
    fn hit(&self, asked: &Asked<'_>, marks: &[usize]) -> Option<usize> {
        let is_kept = |at: &usize| {
            let block = asked.blocks[*at];
            let used = self.used.get(&block.prefix);
            block.upto >= self.minimum && used.is_some_and(|used| self.keeps(*used, asked.at))
        };
        match self.rules.keeps {
            Keeps::Marks { lookback, .. } => marks
                .iter()
                .filter_map(|mark| {
                    ((mark + 1).saturating_sub(lookback)..=*mark).rev().find(is_kept)
                })
                .max(),
            Keeps::Requests { .. } | Keeps::Beginnings => {
                (0..asked.blocks.len()).rev().find(is_kept)
            }
        }
    }

    fn keep(&mut self, block: Block, at: Timestamp) {
        if block.upto < self.minimum {
            return;
        }
        self.used.insert(block.prefix, at);
        if self.used.len() > 2 * PLACES_MAX {
            let mut times: Vec<Timestamp> = self.used.values().copied().collect();
            times.sort_unstable();
            let oldest = times[PLACES_MAX];
            self.used.retain(|_, used| *used > oldest);
        }
    }
}

impl Rules {
    /// The price of a model at which only input and output are known, where these rules say the rest.
    #[must_use]
    pub fn price(&self, (input, output): (u64, u64), retention: Retention) -> Option<Price> {
        let of = |percent: u64| input / 100 * percent + input % 100 * percent / 100;
        Some(Price {
            input,
            output,
            cache_read: of(self.read_percent?),
            cache_write: of(self.lifetime(retention).write_percent?),
        })
    }
}
