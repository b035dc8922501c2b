//! The log on stderr: what libraries notice and no event of a session tells.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::error::ConfigError;
use crate::config::typed::LogConfig;
use crate::config::{Loaded, Source};

/// Starts the log as it is configured. A second call changes nothing: a process has one log.
///
/// # Errors
/// [`ConfigError::Unusable`] when `log.filter` is no filter.
pub(super) fn begin(loaded: &Loaded) -> Result<(), ConfigError> {
    let LogConfig { filter, format } = &loaded.config.log;
    let filter = EnvFilter::builder().parse(filter).map_err(|error| ConfigError::Unusable {
        what: format!("`log.filter` is no filter ({error})"),
        source_place: Box::new(
            loaded.stack.source(&["log", "filter"]).cloned().unwrap_or(Source::BuiltIn),
        ),
        remedy: "write a level such as `warn` or `debug`, or `target=level,…`".to_owned(),
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    // The only failure is that there is a log already.
    drop(match format.as_str() {
        "jsonl" => log.json().finish().try_init(),
        _ => log.finish().try_init(),
    });
    tracing::debug!(user_file = %loaded.user_file.display(), "the configuration is read");
    Ok(())
}
