//! `oarlock session show --usage`: what each step of a session used, what its provider's cache did and what the vendor's rules predict of it. It
//! wakes nothing, and holds of the journal no more than a piece at a time.

mod chain;
mod ledger;
#[cfg(test)]
mod tests;

use std::io::Write;

use anyhow::bail;
use oarlock_core::ids::SessionId;
use oarlock_core::ports::model::Models;
use oarlock_core::spec::ModelSelection;
use oarlock_models::cache::Rules;
use serde::Serialize;

use crate::assembly::Assembled;
use crate::config::Loaded;
use crate::providers;
use crate::terminal::safe;
use ledger::{Cause, Forecast, Known, Ledger, Line, Total, Waste, name};

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    Step(&'a Line),
    Total(&'a Total),
}

/// Tells what a session used.
///
/// # Errors
/// When there is no such session, its journal cannot be read or `out` is closed.
pub(super) async fn tell(
    (assembled, loaded): (&Assembled, &Loaded),
    id: &SessionId,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let models = &assembled.core.ports().models;
    let mut ledger = Ledger::new(|model| known(loaded, models.as_ref(), model));
    let (mut after, mut lines) = (0, 0_u64);
    loop {
        let entries = assembled.core.entries(id, after).await?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        for line in entries.iter().filter_map(|entry| ledger.take(entry)) {
            if json {
                writeln!(out, "{}", serde_json::to_string(&Told::Step(&line))?)?;
            } else {
                if lines == 0 {
                    writeln!(out, "{HEAD}")?;
                }
                step(out, &line)?;
            }
            lines += 1;
        }
    }
    if after == 0 {
        bail!("there is no session {id}; see `oarlock session list --all`");
    }
    match json {
        true => writeln!(out, "{}", serde_json::to_string(&Told::Total(ledger.total()))?)?,
        false => total(out, ledger.total())?,
    }
    Ok(())
}

/// What is known of a model, whether or not it can be asked: a key is not needed for it.
fn known(loaded: &Loaded, models: &dyn Models, model: &str) -> Known {
    let Some((provider, model)) = model.split_once('/') else { return Known::default() };
    let selection = ModelSelection { provider: provider.to_owned(), model: model.to_owned() };
    match providers::with_key(loaded, provider, None) {
        Ok(config) => {
            let info = config.info(model);
            Known { rules: Rules::of(provider, config.wire, &info.family), price: info.price }
        }
        Err(_not_configured) => Known {
            rules: None,
            price: models.resolve(&selection).ok().and_then(|model| model.info().price),
        },
    }
}

const HEAD: &str = "turn.step      input       read    written     output        cost      predicted read/written  model";

fn step(out: &mut dyn Write, line: &Line) -> std::io::Result<()> {
    let usage = &line.usage;
    let predicted = line.predicted.as_ref().map_or_else(
        || "-".to_owned(),
        |Forecast { cache_read, cache_write, .. }| format!("{cache_read}/{cache_write}"),
    );
    writeln!(
        out,
        "{:>9} {:>10} {:>10} {:>10} {:>10} {:>11}  {predicted:>26}  {}{}",
        format!("{}.{}", line.turn, line.step),
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.output,
        line.cost_micros.map_or_else(|| "?".to_owned(), dollars),
        safe::line(&line.model, 60),
        if line.partial { "  (cut, estimated)" } else { "" }
    )?;
    let waste = line.waste.as_ref().map(lost);
    let words = match (line.prefix_break, waste) {
        (Some(why), Some(lost)) => format!("break: {}; {lost}", name(why)),
        (Some(why), None) => format!("break: {}", name(why)),
        (None, Some(lost)) => lost,
        (None, None) => return Ok(()),
    };
    writeln!(out, "{:>9} {words}", "")
}

/// What was lost, and by what.
fn lost(waste: &Waste) -> String {
    let why = match waste.cause {
        Cause::Break => "",
        Cause::Expired => "the cache had expired; ",
        Cause::Missed => "the cache did not have what it should; ",
    };
    let cost = waste.cost_micros.map(|cost| format!(", {} more", dollars(cost)));
    format!("{why}{} tokens not read from it{}", waste.tokens, cost.unwrap_or_default())
}

fn total(out: &mut dyn Write, total: &Total) -> std::io::Result<()> {
    let Total { steps, failed_calls, usage, .. } = total;
    let unknown = if total.cost_unknown { " where prices are known" } else { "" };
    writeln!(
        out,
        "\n{steps} steps, {failed_calls} failed calls: {} in, {} read from the cache, {} written to it, {} out ({} thought), {}{unknown}",
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.output,
        usage.reasoning,
        dollars(total.cost_micros)
    )?;
    let beside = total.beside_steps.total();
    if beside > 0 {
        writeln!(out, "of these, {beside} tokens were for summaries and hooks")?;
    }
    if total.told != Forecast::default() {
        let of = |of: &Forecast| {
            let cost = of.cost_micros.map(|cost| format!(", {}", dollars(cost)));
            format!(
                "{} read, {} written, {} in{}",
                of.cache_read,
                of.cache_write,
                of.input,
                cost.unwrap_or_default()
            )
        };
        writeln!(out, "caches: told {}; predicted {}", of(&total.told), of(&total.predicted))?;
    }
    if !total.breaks.is_empty() {
        let breaks = total.breaks.iter().map(|(why, times)| format!("{why} {times}"));
        writeln!(out, "breaks: {}", breaks.collect::<Vec<_>>().join(", "))?;
    }
    if total.waste_tokens > 0 {
        let (tokens, cost) = (total.waste_tokens, dollars(total.waste_micros));
        writeln!(out, "lost to breaks, expiry and misses: {tokens} tokens, {cost}")?;
    }
    Ok(())
}

fn dollars(micros: u64) -> String {
    format!("${}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
