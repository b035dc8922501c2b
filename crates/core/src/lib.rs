//! The runtime: sessions as append-only journals, the pure logic that decides and plans over them, and the ports to the world.
//!
//! Core does no I/O and knows no HTTP, SQL, protocol, file system or environment. Start with [`Event`] (what can happen), [`Command`]
//! (what a session can be told) and `session/mod.rs` (the loop that turns one into the other).

pub mod agent;
pub mod alike;
pub mod command;
pub mod event;
pub mod ids;
pub mod limits;
pub mod memory;
pub mod message;
pub mod ports;
pub mod prompt;
pub mod queue;
pub mod registry;
pub mod replay;
pub mod runtime;
pub mod service;
pub mod session;
pub mod spec;
pub mod turn;

pub use agent::background::{
    AttachTask, BackgroundError, BackgroundOutcome, BackgroundProgressConfig, BackgroundResult,
    BackgroundTasks, BlockKind, ProgressBlock, TaskHandle, TaskSnapshot, TaskStatus,
    format_background_outcome,
};
pub use agent::builder::{BuildError, DefaultAgentCoreBuilder};
pub use agent::context::{Frontend, RunningContext};
pub use agent::core::AgentCore;
pub use agent::dispatcher::{AgentToolDispatcher, ToolCall};
pub use agent::emitter::EventEmitter;
pub use agent::error::{AgentError, SessionError, SessionInitError, TurnError};
pub use agent::handle::DefaultSession;
pub use agent::history::{History, HistoryError, LiveHistory, VecHistory};
pub use agent::loader::{LoadedSession, SessionLoader};
pub use agent::nowhere::Nowhere;
pub use agent::observer::{SessionCreateInfo, SessionObserver};
pub use agent::origin::{Backends, ChildOrder, ForkSession, LoadSession, NewSession, Origin};
pub use agent::registry::{
    AllowlistMatch, CompositeRegistry, SPAWN_AGENT, StaticToolRegistry, StaticToolRegistryBuilder,
    ToolRegistry, filter_registry_by_allowlist, match_tool_allowlist,
};
pub use agent::session::Session;
pub use agent::subagent::{AgentOrder, AgentReport, AgentTask, Agents, SubagentError};
pub use command::{Admit, Attached, Command, ContextStatus, Rejection, Reply, Status};
pub use event::{AgentEvent, Delta, Entry, Event, InputSource as IngestSource, StopReason};
pub use ids::{BlobId, CallId, FrameId, NodeId, Seq, SessionId, Timestamp};
pub use message::{Block, Content, Message, Part, Part as ContentBlock, Usage};
pub use ports::clock::new_session_id;
pub use ports::files::Files as FsBackend;
pub use ports::hook::{HookEngine, HookStep, NoopHookEngine};
pub use ports::http::{HttpClient, HttpError, HttpGet, HttpResponse, NoopHttpClient};
pub use ports::model::{
    HostedCapabilities, ModelCandidate, ModelError as ProviderError,
    ModelErrorKind as ProviderErrorKind, ModelInfo, Models as LlmProvider, ProviderInfo,
};
pub use ports::shell::Shell as ShellBackend;
pub use ports::tool::{SessionToolFactory, Tool};
pub use prompt::{BasePromptConfig, PromptConfig, load_project_prompt, resolve_system_prompt};
pub use registry::{ModelSource as ProviderEntry, ProviderRegistry};
pub use runtime::{DefaultAgentCore, Ports};
pub use service::{ScopedAgentEvent, SessionCheckpointer, StreamScopeFrame};
pub use session::feed::LocalBus;
pub use session::follow::EventStream;
pub use session::forget::{CompactionReport, CompactionSlot};
pub use session::gate::{PermissionGate, PermissionResolution};
pub use session::goal::GoalState;
pub use session::recover::Recovery;
pub use session::state::RequestAuditTracker;
pub use spec::{
    AskWritesPolicy, EffortChange, HookRunOverrides, Limits, Mode, ModeCatalog, ModeDescriptor,
    ModelSelection, OutputSchema, ReasoningEffort, ResolvedSessionCapabilities, SandboxPolicy,
    SessionCapabilitiesConfig, SessionSpec, Settings, StructuredOutput, TurnConfig,
    TurnRequestLimit, WebSearchCapabilityConfig, WebSearchCapabilityMode,
};
pub use turn::TurnRunner;
