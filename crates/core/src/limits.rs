//! Every bound and deadline of the runtime, with its default and what happens there.

use serde::{Deserialize, Serialize};

use crate::agent::background::BackgroundProgressConfig;

/// Of one file that becomes part of a system prompt, its first bytes; what was left out is said there. 64 KB.
pub const PROMPT_FILE_BYTES: usize = 64 * 1024;
/// Of a project's files together; the folder's own is taken first, and what was left out is said. 256 KB.
pub const PROMPT_PROJECT_BYTES: usize = 256 * 1024;
/// Of an idempotency key, which names an input or a session.
pub const KEY_BYTES: usize = 256;
/// Of a text file that a prompt mentions; the rest is left out, and said. 64 KB.
pub const MENTION_BYTES: usize = 64 * 1024;
/// Lines of such a file; the rest is left out, and said. 2000.
pub const MENTION_LINES: usize = 2000;
/// Of all text files that one prompt mentions together; the rest is left out, and said. 512 KB.
pub const MENTIONS_BYTES: usize = 512 * 1024;
/// Of a picture or a document that a model is given; a larger one is refused. 10 MiB.
pub const MEDIA_BYTES: usize = 10 << 20;

/// Bounds of one process, the same for all its sessions. Bounds that a user sets for a session are [`crate::spec::Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeLimits {
    /// Silence of a model after which the attempt fails as `timeout`. 5 minutes.
    pub model_idle_ms: u64,
    /// A model call as a whole; then the attempt fails as `timeout`. 30 minutes.
    pub model_total_ms: u64,
    /// Attempts at one step, the first included; then the turn ends as `failed`. 5.
    pub model_attempts: u32,
    /// The longest wait before a further attempt; a provider that asks for more ends the turn. 2 minutes.
    pub retry_wait_max_ms: u64,
    /// From a step's beginning no further attempt is begun after this. 10 minutes.
    pub retry_total_ms: u64,
    /// The first wait before a further attempt, doubled each time, when the provider names none. 500 ms.
    pub retry_first_ms: u64,
    /// A permission question; then its default, which is no. 10 minutes.
    pub permission_ms: u64,
    /// A call that the client is to answer; then it is settled as `failed`. 10 minutes.
    pub client_call_ms: u64,
    /// Reading what a question shows; then the question is asked without it. 2 seconds.
    pub describe_ms: u64,
    /// A cancelled call that does not end; then it is dropped and settled as `indeterminate`. 200 ms.
    pub cancel_grace_ms: u64,
    /// What a call gets on top of its own timeout before it is cancelled. 1 second.
    pub tool_slack_ms: u64,
    /// Tools of one answer that run at the same time; the others wait. 8.
    pub tools_parallel: usize,
    /// Text of a tool's result, all its parts together, that the model is given; of a longer one head and tail, and the whole is a blob. 32 KB.
    pub inline_bytes: usize,
    /// The text of an input, of a client's answer to a call, or of a change of settings; a longer one is refused. 1 MB.
    pub input_bytes: usize,
    /// An event's JSON beyond which it is kept as a blob. 64 KB.
    pub event_inline_bytes: usize,
    /// One append; then its outcome counts as not known, and the store is asked. 10 seconds.
    pub append_ms: u64,
    /// Time for which an unavailable store is tried again before the session closes with its error. 5 seconds.
    pub append_retry_ms: u64,
    /// Storing what lists show, while the turn waits; then the list is out of date until the next time. 40 ms.
    pub summary_ms: u64,
    /// The same when the session is let go and its list is out of date. 2 seconds.
    pub summary_last_ms: u64,
    /// Entries since the last checkpoint after which the end of a turn writes one. 1,000.
    pub checkpoint_entries: u64,
    /// The same when the session is let go. 250.
    pub checkpoint_last_entries: u64,
    /// The size of a checkpoint; of a larger state none is written, and opening the session folds its journal. 16 MB.
    pub checkpoint_bytes: usize,
    /// Reading a checkpoint; then the journal is folded without it. 2 seconds.
    pub checkpoint_read_ms: u64,
    /// Texts for searches that wait for a catalogue that does not take them; then they are dropped. 1 MB.
    pub summary_bytes: usize,
    /// A summary as a whole; then it counts as failed. 2 minutes.
    pub summary_total_ms: u64,
    /// Summaries of one conversation that fail in a way that may pass, before no other is tried until more was said. 3.
    pub summary_attempts: u32,
    /// Tokens that a model's window is taken for when nobody knows it. 128,000.
    pub window_unknown_tokens: u64,
    /// Any one other exchange with the store on opening a session; then opening it fails. 30 seconds.
    pub open_ms: u64,
    /// Making the tools of a session, the start of servers that have them included; then opening it fails. 1 minute.
    pub tools_ms: u64,
    /// Reading or saving what people granted for a folder; then a session begins without, or the grant holds for its session alone. 2 seconds.
    pub grants_ms: u64,
    /// Inputs that wait for a turn; one more is refused. 256.
    pub inputs_waiting: usize,
    /// An input's key; a longer one is refused. [`KEY_BYTES`].
    pub key_bytes: usize,
    /// Text that a model has sent of one answer; beyond it the attempt fails. 16 MB.
    pub answer_bytes: usize,
    /// A goal that is not reached while background tasks run: the turn waits for one of them to end, counted from its step's beginning; then the
    /// model is asked to go on. 10 minutes.
    pub goal_tasks_ms: u64,
    /// A session without turn or command is put to sleep; the journal stays, the next command wakes it. 1 minute.
    pub idle_sleep_ms: u64,
    /// Crashes of one turn after which it is ended as `failed` instead of being continued. 3.
    pub crashes_max: u32,
    /// Subagents of one session that are open; one more is refused. 1,024.
    pub children_open: usize,
    /// Closing a subagent that nobody waits for; then that is given up and tried again a second later, three times in all. 10 seconds.
    pub child_close_ms: u64,
    /// Live output of a call that a joining reader is given: its last part. 16 KB.
    pub live_output_bytes: usize,
    /// Background tasks of a session that run at the same time; one more is refused, in words for the model. 64.
    pub tasks_running: usize,
    /// A background task as a whole; then it is told to stop, and has failed. 24 hours.
    pub task_total_ms: u64,
    /// Of what a background task gives at its end, what the model is told; of a longer one head and tail, and the whole is a blob. 8 KB.
    pub task_inline_bytes: usize,
    /// Text of a running background task that is kept to be looked at: its last part. 64 KB.
    pub task_output_bytes: usize,
    /// Inputs that a background task has not taken; one more is refused. 16.
    pub task_inputs: usize,
    /// Turns in a row that ends of background tasks start by themselves; then these ends wait for somebody's input. 32.
    pub autonomous_turns_max: u32,
    /// What of background tasks is kept to be looked at.
    pub background: BackgroundProgressConfig,
}

// What recordings of runtimes without these bounds are played with.
impl Default for RuntimeLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl RuntimeLimits {
    /// The documented defaults.
    pub const DEFAULT: Self = Self {
        model_idle_ms: 300_000,
        model_total_ms: 1_800_000,
        model_attempts: 5,
        retry_wait_max_ms: 120_000,
        retry_total_ms: 600_000,
        retry_first_ms: 500,
        permission_ms: 600_000,
        client_call_ms: 600_000,
        describe_ms: 2_000,
        cancel_grace_ms: 200,
        tool_slack_ms: 1_000,
        tools_parallel: 8,
        inline_bytes: 32 * 1024,
        input_bytes: 1024 * 1024,
        event_inline_bytes: 64 * 1024,
        append_ms: 10_000,
        append_retry_ms: 5_000,
        summary_ms: 40,
        summary_last_ms: 2_000,
        checkpoint_entries: 1_000,
        checkpoint_last_entries: 250,
        checkpoint_bytes: 16 * 1024 * 1024,
        checkpoint_read_ms: 2_000,
        summary_bytes: 1024 * 1024,
        summary_total_ms: 120_000,
        summary_attempts: 3,
        window_unknown_tokens: 128_000,
        open_ms: 30_000,
        tools_ms: 60_000,
        grants_ms: 2_000,
        inputs_waiting: 256,
        key_bytes: KEY_BYTES,
        answer_bytes: 16 * 1024 * 1024,
        goal_tasks_ms: 600_000,
        idle_sleep_ms: 60_000,
        crashes_max: 3,
        children_open: 1_024,
        child_close_ms: 10_000,
        live_output_bytes: 16 * 1024,
        tasks_running: 64,
        task_total_ms: 24 * 3_600_000,
        task_inline_bytes: 8 * 1024,
        task_output_bytes: 64 * 1024,
        task_inputs: 16,
        autonomous_turns_max: 32,
        background: BackgroundProgressConfig::DEFAULT,
    };
}
