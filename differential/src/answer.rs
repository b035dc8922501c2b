//! What of an answer is compared.

use serde_json::Value;

/// An answer, or why there is none.
pub type Outcome = Result<Answer, String>;

/// An answer as both can say it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// All words, without thought.
    pub text: String,
    /// Name and arguments of each call, in order.
    pub calls: Vec<(String, Value)>,
    /// All tokens of the request.
    pub input: u64,
    /// All tokens of the answer, thought among them.
    pub output: u64,
    /// Of the request, what came from a cache.
    pub cached: u64,
    /// Of the request, what went to a cache.
    pub written: u64,
    /// Of the answer, what was thought.
    pub thought: u64,
}

/// In what two answers can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// One is an answer and the other an error.
    End,
    /// The words.
    Text,
    /// A call: how many, in which order, names or arguments.
    Calls,
    /// A count of tokens.
    Usage,
}

impl Answer {
    /// In what they differ. Two errors do not; what they say is each one's own.
    pub fn differing(ours: &Outcome, theirs: &Outcome) -> Vec<Aspect> {
        let (ours, theirs) = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (Err(_), Err(_)) => return Vec::new(),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => return vec![Aspect::End],
        };
        let usage = |answer: &Self| {
            [answer.input, answer.output, answer.cached, answer.written, answer.thought]
        };
        let all = [
            (Aspect::Text, ours.text == theirs.text),
            (Aspect::Calls, ours.calls == theirs.calls),
            (Aspect::Usage, usage(ours) == usage(theirs)),
        ];
        all.into_iter().filter(|(_, same)| !same).map(|(aspect, _)| aspect).collect()
    }
}
