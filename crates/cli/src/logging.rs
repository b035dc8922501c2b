//! The log: what the parts of the runtime report for whoever looks after them, on stderr.

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::typed::LogConfig;

/// Reads a filter: `level`, or `target=level,…`.
///
/// # Errors
/// What is wrong with it. A word alone has to be a level: a mistyped one would otherwise be a target that nobody has.
pub fn filter(text: &str) -> Result<Targets, String> {
    let bare = text.split(',').map(str::trim).filter(|item| !item.contains('='));
    for item in bare {
        item.parse::<LevelFilter>().map_err(|_| format!("`{item}` is no level"))?;
    }
    text.parse().map_err(|error: ParseError| error.to_string())
}

/// A dependency that warns, at length, of every error that a client is answered with. It is heard below errors when the filter names it.
const CHATTY: &str = "agent_client_protocol";

/// Begins to log as configured. The first call of a process decides; a filter that is none was refused with its configuration.
pub fn start(config: &LogConfig) {
    let Ok(filter) = filter(&config.filter) else { return };
    let filter = match config.filter.contains(CHATTY) {
        true => filter,
        false => filter.with_target(CHATTY, LevelFilter::ERROR),
    };
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match config.format.as_str() {
        "jsonl" => lines.json().with_filter(filter).boxed(),
        _ => lines.with_filter(filter).boxed(),
    };
    // A command that loads the configuration twice goes on logging as it began.
    drop(tracing::subscriber::set_global_default(Registry::default().with(lines)));
}
