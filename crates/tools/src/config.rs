//! What can be configured about the built-in tools, with the defaults that apply when nothing is.

use std::path::PathBuf;

use oarlock_core::BackgroundProgressConfig;
use serde::{Deserialize, Serialize};

/// The `[tools]` table. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolsConfig {
    /// `[tools.bash]`.
    pub bash: BashConfig,
    /// `[tools.background]`: what inspecting a background task shows.
    pub background: BackgroundProgressConfig,
    /// `[tools.fs]`: `read_file`, `write_file` and `edit_file`.
    pub fs: FsConfig,
    /// `[tools.fetch]`.
    pub fetch: FetchConfig,
    /// `[tools.search]`.
    pub search: SearchConfig,
    /// Files, and folders with all their files, that `search` does not look into, as [`crate::LocalFiles::hiding`]: no key, but set by the program.
    #[serde(skip)]
    pub hidden_files: Vec<PathBuf>,
}

/// `[tools.bash]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BashConfig {
    /// Milliseconds a command may take when the call does not say.
    pub default_timeout_ms: u64,
    /// The longest time a call may ask for, in milliseconds.
    pub max_timeout_ms: u64,
    /// The time of a command in the background when the call does not say, and the longest it may ask for, in milliseconds.
    pub background_timeout_ms: u64,
    /// Bytes of output that are shown to the model. What is longer is kept whole as a blob and shown as head and tail.
    pub output_max_bytes: usize,
}

impl Default for BashConfig {
    fn default() -> Self {
        Self {
            default_timeout_ms: 30_000,
            max_timeout_ms: 600_000,
            background_timeout_ms: 3_600_000,
            output_max_bytes: 30_000,
        }
    }
}

/// `[tools.fs]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FsConfig {
    /// Lines that `read_file` returns when the call does not say.
    pub read_default_limit: usize,
    /// The most lines that a call may ask for.
    pub read_max_limit: usize,
}

impl Default for FsConfig {
    fn default() -> Self {
        Self { read_default_limit: 2000, read_max_limit: 5000 }
    }
}

/// Form in which `fetch` returns a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageFormat {
    /// The main content as Markdown.
    Markdown,
    /// The page as sent.
    Html,
    /// The main content as plain text.
    Text,
}

/// `[tools.fetch]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a separate switch of the configuration file"
)]
pub struct FetchConfig {
    /// Whether there is a `fetch` tool.
    pub enabled: bool,
    /// Seconds that a fetch may take when the call does not say.
    pub default_timeout_secs: u64,
    /// The most seconds a call may ask for.
    pub max_timeout_secs: u64,
    /// Bytes of a body after which the download stops.
    pub max_response_bytes: usize,
    /// Form of the result when the call does not say.
    pub default_format: PageFormat,
    /// Whether HTML is turned into Markdown at all; if not, `markdown` gives the HTML.
    pub html_to_markdown: bool,
    /// Whether redirects are followed, at most ten of them.
    pub follow_redirects: bool,
    /// Whether loopback, private and link-local addresses may be reached. Off, because they lead to this machine and its neighbours.
    pub allow_private_hosts: bool,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            default_timeout_secs: 30,
            max_timeout_secs: 120,
            max_response_bytes: 5 * 1024 * 1024,
            default_format: PageFormat::Markdown,
            html_to_markdown: true,
            follow_redirects: true,
            allow_private_hosts: false,
        }
    }
}

/// `[tools.search]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Whether there is a `search` tool.
    pub enabled: bool,
    /// Matching lines or files returned when the call does not say.
    pub default_head_limit: usize,
    /// The most a call may ask for.
    pub max_head_limit: usize,
    /// Files larger than so many bytes are not searched.
    pub max_file_size_bytes: u64,
    /// Bytes after which a result is cut.
    pub max_result_bytes: usize,
    /// Files and folders after which the walk stops.
    pub max_walk_files: usize,
    /// Whether ignore files are honoured when the call does not say.
    pub respect_gitignore_default: bool,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            default_head_limit: 100,
            max_head_limit: 1000,
            max_file_size_bytes: 16 * 1024 * 1024,
            max_result_bytes: 256 * 1024,
            max_walk_files: 100_000,
            respect_gitignore_default: true,
        }
    }
}

/// A configuration with which a tool could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A limit is zero.
    #[error("`tools.{key}` is 0; give at least 1")]
    Zero {
        /// The key, without its `tools.`.
        key: &'static str,
    },
    /// A default is more than what is allowed.
    #[error("`tools.{key}` is more than `tools.{max_key}`; lower the one or raise the other")]
    DefaultAboveMax {
        /// The default's key.
        key: &'static str,
        /// The key of the bound.
        max_key: &'static str,
    },
}

impl ToolsConfig {
    /// Looks for limits that contradict each other.
    ///
    /// # Errors
    /// [`ConfigError`], naming the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (bash, fs, fetch, search) = (&self.bash, &self.fs, &self.fetch, &self.search);
        let sizes = [
            ("bash.background_timeout_ms", bash.background_timeout_ms),
            ("bash.output_max_bytes", bash.output_max_bytes as u64),
            ("fetch.max_response_bytes", fetch.max_response_bytes as u64),
            ("search.max_file_size_bytes", search.max_file_size_bytes),
            ("search.max_result_bytes", search.max_result_bytes as u64),
            ("search.max_walk_files", search.max_walk_files as u64),
        ];
        let pairs = [
            (
                "bash.default_timeout_ms",
                bash.default_timeout_ms,
                "bash.max_timeout_ms",
                bash.max_timeout_ms,
            ),
            (
                "fs.read_default_limit",
                fs.read_default_limit as u64,
                "fs.read_max_limit",
                fs.read_max_limit as u64,
            ),
            (
                "fetch.default_timeout_secs",
                fetch.default_timeout_secs,
                "fetch.max_timeout_secs",
                fetch.max_timeout_secs,
            ),
            (
                "search.default_head_limit",
                search.default_head_limit as u64,
                "search.max_head_limit",
                search.max_head_limit as u64,
            ),
        ];
        let zero = sizes.iter().find(|size| size.1 == 0).map(|size| size.0);
        if let Some(key) = zero.or_else(|| pairs.iter().find(|pair| pair.1 == 0).map(|pair| pair.0))
        {
            return Err(ConfigError::Zero { key });
        }
        match pairs.iter().find(|pair| pair.1 > pair.3) {
            Some((key, _, max_key, _)) => Err(ConfigError::DefaultAboveMax { key, max_key }),
            None => Ok(()),
        }
    }
}
