//! What the steps of a journal say of the beginnings of their requests: enough for a cache simulator, whatever the length of the session. Pure.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use oarlock_core::event::{Fingerprint, PrefixBreak, StepStarted};
use oarlock_core::message::Usage;
use oarlock_core::spec::ReasoningEffort;
use oarlock_models::cache::Block;

/// So many places of a conversation are known at a time, where requests and answers ended. A cache is hardly ever found further back.
const PLACES_MAX: usize = 64;

/// Where requests and answers of a conversation ended.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Hash of the messages up to there, and the tokens of the request.
    places: VecDeque<(u64, u64)>,
    /// What stands before the messages: its hash and its tokens, where they are known.
    fixed: Option<(u64, u64)>,
}

/// A request, by the places in it.
#[derive(Debug)]
pub(super) struct Placed {
    /// The places in order, the last one its end.
    pub(super) blocks: Vec<Block>,
    /// Those where our encoders mark a request: behind what stands before the messages, and behind the user's last two messages.
    pub(super) marks: Vec<usize>,
    /// Where its answer ended.
    pub(super) answer: Block,
}

impl Chain {
    /// Adds a request that was answered.
    pub(super) fn add(
        &mut self,
        step: &StepStarted,
        effort: Option<ReasoningEffort>,
        usage: &Usage,
    ) -> Placed {
        let (request, prompt) = (&step.request, usage.prompt());
        if step.prefix_break.is_some_and(changes_messages) {
            self.places.clear();
        }
        self.measure(step, prompt);
        let of = |messages: u64| {
            hash(&(
                fixed_hash(request),
                &request.output,
                effort.map(|e| format!("{e:?}")),
                messages,
            ))
        };
        let end = hash(&request.messages);
        let mut blocks: Vec<Block> = Vec::new();
        blocks.extend(self.fixed.map(|(hash, upto)| block(hash, upto.min(prompt))));
        let has_fixed = blocks.len();
        blocks.extend(self.places.iter().map(|(at, upto)| block(of(*at), (*upto).min(prompt))));
        blocks.push(block(of(end), prompt));
        let last = blocks.len() - 1;
        // The place before the last one is the end of an answer; before that ended the request before.
        let mut marks: Vec<usize> = (0..has_fixed).collect();
        marks.extend(last.checked_sub(2).filter(|at| *at >= has_fixed));
        marks.push(last);
        let said = hash(&(end, "answered"));
        let whole = prompt.saturating_add(usage.output);
        self.places.extend([(end, prompt), (said, whole)]);
        while self.places.len() > PLACES_MAX {
            self.places.pop_front();
        }
        Placed { blocks, marks, answer: block(of(said), whole) }
    }

    /// Works out what stands before the messages. A session counts it in another way than its provider, by as much as it does the whole request.
    fn measure(&mut self, step: &StepStarted, prompt: u64) {
        let hash = fixed_hash(&step.request);
        if self.fixed.is_some_and(|(known, _)| known == hash) {
            return;
        }
        let share = u128::from(step.fixed_tokens.unwrap_or(0)) * u128::from(prompt);
        let tokens = share.checked_div(u128::from(step.reserved.prompt_tokens)).unwrap_or(0);
        let tokens = u64::try_from(tokens).unwrap_or(u64::MAX).min(prompt);
        self.fixed = (tokens > 0).then_some((hash, tokens));
    }
}

/// Whether the messages that were sent before are not those that are sent now.
pub(super) fn changes_messages(why: PrefixBreak) -> bool {
    match why {
        PrefixBreak::History
        | PrefixBreak::Cleared
        | PrefixBreak::Compacted
        | PrefixBreak::Pictures
        | PrefixBreak::Thought => true,
        PrefixBreak::Model
        | PrefixBreak::System
        | PrefixBreak::Tools
        | PrefixBreak::Output
        | PrefixBreak::Effort => false,
    }
}

fn fixed_hash(request: &Fingerprint) -> u64 {
    hash(&(&request.tools, &request.system))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn block(prefix: u64, upto: u64) -> Block {
    Block { prefix: u128::from(prefix), upto }
}
