//! Words from outside without the secrets that are known to be in them.

/// Shorter texts are no secrets, and removing them would garble messages.
const SECRET_BYTES_MIN: usize = 6;

/// The words with `(hidden)` in the place of each secret, and of a beginning of one at their end, where they may have been cut. Secrets of less than
/// 6 bytes stay. One that is part of another is hidden with it.
#[must_use]
pub fn without_secrets<'a>(words: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut secrets: Vec<&str> =
        secrets.into_iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN).collect();
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(words.to_owned(), |words, secret| without(&words, secret))
}

fn without(words: &str, secret: &str) -> String {
    let mut kept = words.replace(secret, "(hidden)");
    // The marks of a cut, between words and between bytes.
    let end = kept.trim_end_matches(['…', char::REPLACEMENT_CHARACTER]).len();
    let starts = secret.char_indices().map(|(at, _)| at).filter(|at| *at >= SECRET_BYTES_MIN);
    if let Some(cut) = starts.rev().find(|at| kept[..end].ends_with(&secret[..*at])) {
        kept.replace_range(end - cut..end, "(hidden)");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_whole_whatever_stands_before_it() {
        let table = [
            ("no Bearer eyJ-token!", vec!["Bearer", "Bearer eyJ-token"], "no (hidden)!"),
            ("no Bearer eyJ-to", vec!["Bearer", "Bearer eyJ-token"], "no (hidden)"),
            ("no eyJ-tok…", vec!["eyJ-token"], "no (hidden)…"),
            ("no eyJ-tok\u{fffd}", vec!["eyJ-token"], "no (hidden)\u{fffd}"),
            ("short", vec!["short"], "short"),
        ];
        for (words, secrets, expected) in table {
            assert_eq!(without_secrets(words, secrets), expected);
        }
    }
}
