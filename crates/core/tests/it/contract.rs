//! `docs/contract.md` says what is exported, where it is declared and which test holds it.

use std::collections::BTreeSet;
use std::path::Path;

/// What the page has to speak of.
macro_rules! published {
    ($($name:ident),* $(,)?) => {
        const PUBLISHED: &[&str] = &[$(stringify!($name)),*];
    };
}

published!(
    AgentCore,
    DefaultAgentCore,
    DefaultAgentCoreBuilder,
    Session,
    DefaultSession,
    History,
    VecHistory,
    SessionLoader,
    LoadedSession,
    SessionObserver,
    SessionCreateInfo,
    SessionToolFactory,
    HttpClient,
    NoopHttpClient,
    ToolRegistry,
    StaticToolRegistry,
    StaticToolRegistryBuilder,
    CompositeRegistry,
    AllowlistMatch,
    match_tool_allowlist,
    filter_registry_by_allowlist,
    EventEmitter,
    EventStream,
    PermissionGate,
    PermissionResolution,
    TurnConfig,
    TurnRequestLimit,
    TurnRunner,
    GoalState,
    OutputSchema,
    RunningContext,
    Frontend,
    new_session_id,
    IngestSource,
    AgentError,
    SessionInitError,
    TurnError,
    ModelSelection,
    ModelInfo,
    ModelCandidate,
    ProviderInfo,
    ProviderRegistry,
    ProviderError,
    ProviderErrorKind,
    ReasoningEffort,
    HostedCapabilities,
    SessionCapabilitiesConfig,
    ResolvedSessionCapabilities,
    WebSearchCapabilityConfig,
    WebSearchCapabilityMode,
    ModeDescriptor,
    ModeCatalog,
    SandboxPolicy,
    AskWritesPolicy,
    ContextStatus,
    CompactionSlot,
    CompactionReport,
    resolve_system_prompt,
    load_project_prompt,
    BasePromptConfig,
    PromptConfig,
    AgentEvent,
    StopReason,
    ContentBlock,
    Tool,
    FsBackend,
    ShellBackend,
    LlmProvider,
    ProviderEntry,
    RequestAuditTracker,
    CliAgentBuilder,
    DefaultFeatureSet,
    BackgroundTasks,
    TaskHandle,
    TaskSnapshot,
    TaskStatus,
    ProgressBlock,
    BlockKind,
    BackgroundOutcome,
    BackgroundResult,
    BackgroundProgressConfig,
    format_background_outcome,
    HookEngine,
    HookStep,
    NoopHookEngine,
    HookRunOverrides,
    ScopedAgentEvent,
    StreamScopeFrame,
    AgentToolDispatcher,
    SessionCheckpointer,
);

/// Whether a file declares the name, or gives it to something by `as` in the list of exports.
fn declares(text: &str, exports: &str, name: &str) -> bool {
    let kinds = ["struct", "enum", "trait", "fn", "type"];
    let word = |text: &str, words: &str| {
        text.match_indices(words).any(|(at, _)| {
            !text[at + words.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
    };
    kinds.iter().any(|kind| word(text, &format!("pub {kind} {name}")))
        || word(text, &format!("pub async fn {name}"))
        || word(exports, &format!(" as {name}"))
}

#[test]
fn every_published_name_has_its_row_its_file_and_its_test() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let page = read(&core.join("../../docs/contract.md"));
    let exports = read(&core.join("src/lib.rs"));
    let mut rows = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, file, meaning, test, difference] = cells[..] else {
            panic!("five cells make a row: {line}")
        };
        let [name, file, test] = [name, file, test].map(|cell| cell.trim_matches('`'));
        // A file of another crate is named from the folder of all crates, and exported by its own.
        let (root, exports) = match file.split_once('/') {
            Some(("cli", _)) => (core.join(".."), &read(&core.join("../cli/src/lib.rs"))),
            _ => (core.join("src"), &exports),
        };
        let text = read(&root.join(file));
        let words = |c: char| !(c.is_alphanumeric() || c == '_');
        assert!(exports.split(words).any(|word| word == name), "lib.rs does not export {name}");
        assert!(declares(&text, exports, name), "{file} does not declare {name}");
        let (suite, case) = test.split_once("::").expect("a test is named as file::name");
        let suite = match suite.starts_with("cli/") {
            true => read(&core.join("..").join(suite)),
            false => read(&core.join("tests/it").join(suite)),
        };
        assert!(suite.contains(&format!("fn {case}(")), "there is no test {test}");
        assert!(!meaning.is_empty() && !difference.is_empty(), "{line}");
        assert!(rows.insert(name.to_owned()), "{name} has two rows");
    }
    let published: BTreeSet<String> = PUBLISHED.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(rows, published, "the page and the list of exports differ");
}

#[test]
fn a_name_is_not_found_where_it_is_only_mentioned() {
    assert!(declares("pub struct History {", "", "History"));
    assert!(!declares("pub struct HistoryError {", "", "History"));
    assert!(!declares("// pub History", "", "History"));
    assert!(declares("", "pub use a::{B as IngestSource, C};", "IngestSource"));
}
