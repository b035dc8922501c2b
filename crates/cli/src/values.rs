//! Durations, sizes and sums of money as people write them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is no value of its kind. The words say what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidValue {
    /// The refused text, cut to 80 characters.
    pub text: String,
    /// What would have been accepted, with an example.
    pub expected: &'static str,
}

impl InvalidValue {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), expected }
    }
}

/// Splits `12.5MB` into its digits and its unit.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Reads a decimal number times `scale`, exactly; `None` when it is no number, too large, or finer than one unit.
fn scaled(digits: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    if digits.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let numerator = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let product = numerator * u128::from(scale);
    if product % denominator != 0 {
        return None;
    }
    whole.checked_add(u64::try_from(product / denominator).ok()?)
}

/// A length of time in whole milliseconds, written `250ms`, `30s`, `5m` or `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// A sum in millionths of a US dollar, written `1.50` or `$1.50`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dollars(pub u64);

/// A number of bytes, written `4096`, `64KiB`, `10MB` or `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl std::str::FromStr for Millis {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (digits, unit) = split_unit(text.trim());
        let scale = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" | "min" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        scale.and_then(|scale| scaled(digits, scale)).map(Self).ok_or_else(|| {
            InvalidValue::new(text, "a duration such as `250ms`, `30s`, `5m` or `2h`")
        })
    }
}

impl std::str::FromStr for Dollars {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.trim().trim_start_matches('$');
        scaled(digits, 1_000_000).map(Self).ok_or_else(|| {
            InvalidValue::new(text, "a sum in US dollars such as `1.50`, with at most six decimals")
        })
    }
}

impl std::str::FromStr for Bytes {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (digits, unit) = split_unit(text.trim());
        let scale = match unit {
            "" | "B" => Some(1),
            "kB" | "KB" => Some(1_000),
            "MB" => Some(1_000_000),
            "GB" => Some(1_000_000_000),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        scale
            .and_then(|scale| scaled(digits, scale))
            .map(Self)
            .ok_or_else(|| InvalidValue::new(text, "a size such as `4096`, `64KiB` or `10MB`"))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:06}", self.0 % 1_000_000);
        let shown = fraction.trim_end_matches('0');
        write!(f, "${}.{shown:0<2}", self.0 / 1_000_000)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 30 && n % (1 << 30) == 0 => write!(f, "{}GiB", n >> 30),
            n if n >= 1 << 20 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n >= 1 << 10 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

/// Written as text, read from the same text.
macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(Millis, Dollars, Bytes);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_and_refused_without_one() {
        let table: [(&str, Option<u64>); 14] = [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("1.5s", Some(1_500)),
            ("5m", Some(300_000)),
            ("5min", Some(300_000)),
            ("2h", Some(7_200_000)),
            (" 2 h ", Some(7_200_000)),
            ("0s", Some(0)),
            ("30", None),
            ("", None),
            ("-5s", None),
            ("1.s", None),
            ("0.1ms", None),
            ("99999999999999999999s", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Millis>().ok().map(|ms| ms.0), expected, "{text:?}");
        }
    }

    #[test]
    fn money_is_read_exactly() {
        let table: [(&str, Option<u64>); 10] = [
            ("1.50", Some(1_500_000)),
            ("$1.50", Some(1_500_000)),
            ("0.000001", Some(1)),
            ("0.0000001", None),
            ("2", Some(2_000_000)),
            ("$", None),
            (".5", None),
            ("1,50", None),
            ("-1", None),
            ("1e3", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Dollars>().ok().map(|d| d.0), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_know_both_families_of_units() {
        let table: [(&str, Option<u64>); 8] = [
            ("4096", Some(4096)),
            ("64KiB", Some(65_536)),
            ("10MB", Some(10_000_000)),
            ("1 GiB", Some(1 << 30)),
            ("0.5KiB", Some(512)),
            ("10XB", None),
            ("KiB", None),
            ("1.2.3", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Bytes>().ok().map(|b| b.0), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for n in [0, 1, 999, 1_000, 60_000, 90_000, 3_600_000, 1_500_000, 65_536, 1 << 30] {
            assert_eq!(Millis(n).to_string().parse(), Ok(Millis(n)));
            assert_eq!(Dollars(n).to_string().parse(), Ok(Dollars(n)));
            assert_eq!(Bytes(n).to_string().parse(), Ok(Bytes(n)));
        }
    }
}
