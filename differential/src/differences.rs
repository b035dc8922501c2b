//! The differences that are known, each with its reason.

use crate::answer::Aspect;

/// A difference between the two that is known.
pub struct Listed {
    /// The name of the case.
    pub case: &'static str,
    /// In what they differ.
    pub aspect: Aspect,
    /// What each does, and which of the two is right.
    #[expect(dead_code, reason = "it is for readers of this file")]
    pub why: &'static str,
}

const BESIDE: &str = "the sum of the counts says that thought comes on top of the completion's tokens: oarlock adds it, rig does not, whatever the dialect";
const UNSURE: &str = "Doubleword may count more thought than it answered: oarlock takes it, to the tokens of the answer at most, rig counts none of this provider";

/// All of them.
pub const LISTED: &[Listed] = &[
    Listed {
        case: "azure-chat/tool-call+turn-after-tool",
        aspect: Aspect::Usage,
        why: "more tokens are said to come from the cache (403) than were sent (347): oarlock takes 347, so that no count is below zero, rig 403",
    },
    Listed { case: "doubleword/reasoning-content+stop-length", aspect: Aspect::Usage, why: UNSURE },
    Listed {
        case: "doubleword/reasoning-details+turn-after-tool",
        aspect: Aspect::Usage,
        why: UNSURE,
    },
    Listed { case: "openai-compatible/reasoning-content", aspect: Aspect::Usage, why: BESIDE },
    Listed {
        case: "openai-compatible/reasoning-content+tool-call",
        aspect: Aspect::Usage,
        why: BESIDE,
    },
    Listed {
        case: "openai-responses/server-tool-custom-tool-call",
        aspect: Aspect::Calls,
        why: "a call to a custom tool, which has text instead of arguments: oarlock offers none and keeps the item for its provider, rig makes it a call with one argument",
    },
    Listed { case: "xai/reasoning-content+tool-call", aspect: Aspect::Usage, why: BESIDE },
];
