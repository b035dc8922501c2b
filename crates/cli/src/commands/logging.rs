//! The log on stderr: what libraries notice and no event of a session tells.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

use crate::config::error::ConfigError;
use crate::config::typed::LogConfig;
use crate::config::{Loaded, Source};

/// Starts the log as it is configured. A second call changes nothing: a process has one log.
///
/// # Errors
/// [`ConfigError::Unusable`] when `log.filter` is no filter.
pub(super) fn begin(loaded: &Loaded) -> Result<(), ConfigError> {
    let LogConfig { filter, format } = &loaded.config.log;
    let filter: Targets = filter.parse().map_err(|error| ConfigError::Unusable {
        what: format!("`log.filter` is no filter ({error})"),
        source_place: Box::new(
            loaded.stack.source(&["log", "filter"]).cloned().unwrap_or(Source::BuiltIn),
        ),
        remedy: "write a level such as `warn` or `debug`, or `target=level,…`".to_owned(),
    })?;
    let lines = layer().with_ansi(false).with_writer(std::io::stderr);
    let lines = match format.as_str() {
        "jsonl" => lines.json().boxed(),
        _ => lines.boxed(),
    };
    // The only failure is that there is a log already.
    drop(registry().with(lines.with_filter(filter)).try_init());
    tracing::debug!(user_file = %loaded.user_file.display(), "the configuration is read");
    Ok(())
}
