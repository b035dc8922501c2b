//! What the headers of an answer say of the requests that are left: whether there are none, and until when. Pure.
//!
//! `x-ratelimit-*` as OpenAI documents it (resets such as `1s`, `6m0s`, `120ms`) and those who follow it (seconds, or a moment since 1970), and
//! `anthropic-ratelimit-*` (resets in RFC 3339). A moment is compared with the answer's own `date`.

use jiff::Timestamp;

use crate::classify::{header, wait_ms};

/// Numbers from here on are moments in seconds since 1970, and from the other on in milliseconds.
const EPOCH_SECONDS: i64 = 1_000_000_000;
const EPOCH_MS: i64 = 1_000_000_000_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// The names of what is left and of when it is more.
const PAIRS: &[(&str, &str)] = &[
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
];

/// How long nothing is left, in milliseconds and at most a day; none where something is, or nothing is said.
pub(crate) fn spent_ms(headers: &[(String, String)]) -> Option<u64> {
    let now = header(headers, "date")
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|date| date.timestamp());
    let spent = PAIRS.iter().filter_map(|(left, reset)| {
        let left = header(headers, left)?.parse::<f64>().ok()?;
        (left <= 0.0).then(|| until(header(headers, reset)?, now)).flatten()
    });
    spent.max().filter(|ms| *ms > 0)
}

fn until(reset: &str, now: Option<Timestamp>) -> Option<u64> {
    let moment = match reset.parse::<i64>() {
        Ok(ms @ EPOCH_MS..) => Timestamp::from_millisecond(ms).ok(),
        Ok(seconds @ EPOCH_SECONDS..) => Timestamp::from_second(seconds).ok(),
        Ok(_) | Err(_) => reset.parse().ok(),
    };
    if let Some(moment) = moment {
        let left = moment.duration_since(now?);
        return u64::try_from(left.as_millis()).ok().map(|ms| ms.min(DAY_MS));
    }
    match reset.parse::<f64>() {
        Ok(seconds) => wait_ms(seconds * 1_000.0),
        Err(_) => wait_ms(duration_ms(reset)?),
    }
}

/// A duration such as `1h2m3.5s` or `120ms`.
fn duration_ms(text: &str) -> Option<f64> {
    let (mut sum, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit_ms = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * unit_ms;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_so_until_its_reset() {
        let date = ("date", "Sun, 22 Nov 2026 10:00:00 GMT");
        let (requests, tokens) = ("x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens");
        let (reset, reset_tokens) = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens");
        let anthropic = "anthropic-ratelimit-requests-remaining";
        let anthropic_reset = "anthropic-ratelimit-requests-reset";
        let table = [
            (vec![], None),
            (vec![(requests, "1"), (reset, "6m0s")], None),
            (vec![(requests, "0"), (reset, "6m0s")], Some(360_000)),
            (vec![(requests, "0"), (reset, "120ms")], Some(120)),
            (vec![(requests, "0"), (reset, "7.66s")], Some(7_660)),
            (vec![(requests, "0"), (reset, "1h2m3s")], Some(3_723_000)),
            (vec![(requests, "0"), (reset, "0s")], None),
            (vec![(requests, "0"), (reset, "soon")], None),
            (vec![(requests, "0"), (reset, "5 parsecs")], None),
            (vec![(requests, "0")], None),
            (
                vec![(requests, "0"), (reset, "1s"), (tokens, "0"), (reset_tokens, "9s")],
                Some(9_000),
            ),
            (vec![(requests, "0"), (reset, "99h")], Some(24 * 3_600_000)),
            (vec![date, (anthropic, "0"), (anthropic_reset, "2026-11-22T10:00:30Z")], Some(30_000)),
            (vec![date, (anthropic, "0"), (anthropic_reset, "2026-11-22T09:59:30Z")], None),
            (vec![date, (anthropic, "2"), (anthropic_reset, "2026-11-22T10:00:30Z")], None),
            (vec![(anthropic, "0"), (anthropic_reset, "2026-11-22T10:00:30Z")], None),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "12")], Some(12_000)),
            (
                vec![date, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795341605")],
                Some(5_000),
            ),
            (
                vec![date, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795341605000")],
                Some(5_000),
            ),
        ];
        for (headers, wanted) in table {
            let headers: Vec<(String, String)> =
                headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(spent_ms(&headers), wanted, "{headers:?}");
        }
    }
}
