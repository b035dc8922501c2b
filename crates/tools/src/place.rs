//! Where a call's paths point: made absolute against the working folder, and named for rules and people.

use std::path::{Component, Path, PathBuf};

use oarlock_core::ports::tool::Place;

/// The absolute path that `text` names, with `.` and `..` taken out by name alone. Links are the business of the `Files` port.
pub(crate) fn absolute(text: &str, place: &Place) -> PathBuf {
    let mut path = PathBuf::new();
    for component in place.cwd.join(text).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                path.push(component);
            }
        }
    }
    path
}

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
            assert_eq!(shown(&absolute(text, &place), &place), expected, "{text}");
        }
    }
}
