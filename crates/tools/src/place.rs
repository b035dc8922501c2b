//! How a call's paths are named for rules and people.

use std::path::Path;

use oarlock_core::ports::tool::Place;

/// How rules and people see a path: relative to the working folder when inside, else absolute.
pub(crate) fn shown(path: &Path, place: &Place) -> String {
    match path.strip_prefix(&place.cwd) {
        Ok(rest) if rest.as_os_str().is_empty() => ".".to_owned(),
        Ok(rest) => rest.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_sees_where_a_path_leads_and_not_how_it_is_written() {
        let place = Place { cwd: "/w/p".into(), roots: Vec::new() };
        let cases = [
            ("a.rs", "a.rs"),
            ("./src/../a.rs", "a.rs"),
            ("/w/p/a.rs", "a.rs"),
            ("../q/a.rs", "/w/q/a.rs"),
            ("src/../../../etc/passwd", "/etc/passwd"),
            (".", "."),
            ("../../../../..", "/"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(&place.absolute(text), &place), expected, "{text}");
        }
    }
}
