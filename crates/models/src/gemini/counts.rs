//! What an answer is said to have cost.

use oarlock_core::message::Usage;
use serde_json::Value;

/// The latest of each count. Those of a stream are sums so far, and early ones may lack some.
#[derive(Debug, Default)]
pub(super) struct Counts {
    prompt: u64,
    cached: u64,
    tools: u64,
    answer: u64,
    thought: u64,
    total: Option<u64>,
}

impl Counts {
    /// Takes over the counts that are there.
    pub(super) fn absorb(&mut self, told: &Value) {
        let count = |name: &str| told.get(name).and_then(Value::as_u64);
        let latest = |kept: &mut u64, name: &str| *kept = count(name).unwrap_or(*kept);
        latest(&mut self.prompt, "promptTokenCount");
        latest(&mut self.cached, "cachedContentTokenCount");
        latest(&mut self.tools, "toolUsePromptTokenCount");
        latest(&mut self.answer, "candidatesTokenCount");
        latest(&mut self.thought, "thoughtsTokenCount");
        self.total = count("totalTokenCount").or(self.total);
    }

    /// Each token once: the prompt holds what the cache served, what tools of the provider read comes on top of it, and so does thought on the
    /// answer, unless the sum says that the answer holds it.
    pub(super) fn usage(&self) -> Usage {
        let read = self.cached.min(self.prompt);
        let without_thought = self.prompt.saturating_add(self.tools).saturating_add(self.answer);
        let holds = self.total == Some(without_thought) && self.answer >= self.thought;
        Usage {
            input: (self.prompt - read).saturating_add(self.tools),
            output: if holds { self.answer } else { self.answer.saturating_add(self.thought) },
            cache_read: read,
            cache_write: 0,
            reasoning: self.thought,
        }
    }
}
