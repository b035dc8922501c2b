//! The rules of the house that a machine can check: see ARCHITECTURE.md.

mod rules;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use rules::{LONGEST, RULES};
use source::{Source, crates, read, sources};

/// A crate, what it may build on besides `testkit` in tests, and its most lines of code.
const HOUSE: [(&str, &[&str], usize); 7] = [
    ("cli", &["core", "models", "server", "store", "tools"], 13_050),
    ("core", &[], 22_050),
    ("models", &["core"], 10_500),
    ("server", &["core"], 11_900),
    ("store", &["core"], 3_125),
    ("testkit", &["core"], 5_150),
    ("tools", &["core"], 10_000),
];

/// Most silenced lints in all crates.
const SILENCED: usize = 49;

/// Most packages in Cargo.lock, ours included.
const PACKAGES: usize = 498;

fn file(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

fn complaints(source: &Source) -> Vec<String> {
    RULES.iter().flat_map(|rule| rule(source)).collect()
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_file_keeps_the_rules() {
    let found: Vec<String> = sources().iter().flat_map(complaints).collect();
    assert_none(&found);
}

#[test]
fn each_rule_names_file_line_and_remedy_where_it_is_broken() {
    let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(LONGEST + 1));
    let cases = [
        ("crates/core/src/ids.rs", "fn f() {}\n", "crates/core/src/ids.rs:1: begin with"),
        ("crates/core/src/ids.rs", long.as_str(), "crates/core/src/ids.rs:502: line 501 of 501"),
        ("crates/core/src/utils.rs", "//! A.\n", "utils.rs:1: `utils` says nothing"),
        ("crates/tools/src/misc/a.rs", "//! A.\n", "misc/a.rs:1: `misc` says nothing"),
        (
            "crates/core/src/session/plan.rs",
            "//! A.\n\nuse tokio::time;\n",
            "plan.rs:3: `tokio` in a file that decides",
        ),
        (
            "crates/models/src/anthropic/decode.rs",
            "//! A.\nlet now = SystemTime::now();\n",
            "decode.rs:2: `SystemTime` in a file that decides",
        ),
        ("crates/core/src/ids.rs", "//! A.\n#[allow(dead_code)]\n", "ids.rs:2: `#[allow(`: write"),
        ("crates/core/src/ids.rs", "//! A.\nfn f() { todo!() }\n", "ids.rs:2: `todo!(`: write"),
        ("crates/cli/tests/it/a.rs", "//! A.\n// FIXME\n", "a.rs:2: `FIXME`: fix it"),
        (
            "crates/store/src/blobs.rs",
            "//! A.\nlet x = std::env::var(\"X\");\n",
            "blobs.rs:2: the environment is read in crates/cli alone",
        ),
        (
            "crates/tools/src/fetch/mod.rs",
            "//! A.\nuse reqwest::Client;\n",
            "mod.rs:2: tools connect through the port `HttpClient` alone",
        ),
    ];
    for (path, text, expected) in cases {
        let found = complaints(&file(path, text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].contains(expected), "{expected}: {found:?}");
    }
}

#[test]
fn comments_and_unit_tests_count_neither_as_length_nor_as_effects() {
    let text = "//! A.\n// tokio\nuse a;\n#[cfg(test)]\nmod faults;\n\n#[cfg(test)]\nmod tests {\n    use tokio::time;\n}\n";
    let source = file("crates/core/src/session/plan.rs", text);
    let code: Vec<usize> = source.code().map(|(number, _)| number).collect();
    assert_eq!(code, [3, 4, 5]);
    assert_none(&complaints(&source));
}

#[test]
fn the_files_that_must_be_pure_are_there() {
    let all = sources();
    for place in rules::pure_places() {
        assert!(
            all.iter().any(|source| source.path.starts_with(place)),
            "{place}: no such file; name its successor in rules.rs"
        );
    }
}

/// The crates of ours that a manifest names in this table.
fn ours(manifest: &toml::Table, table: &str) -> BTreeSet<String> {
    let Some(dependencies) = manifest.get(table).and_then(toml::Value::as_table) else {
        return BTreeSet::new();
    };
    let named = dependencies.keys().filter_map(|name| name.strip_prefix("oarlock-"));
    named.map(str::to_owned).collect()
}

/// What is wrong with the edges of the crate in `crates/{name}`.
fn wrong_edges(name: &str, allowed: &[&str], manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("cargo reads this manifest");
    let mut found = Vec::new();
    for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for other in ours(&manifest, table) {
            // The service keeps its promises on the store that it has in the program, too.
            let in_tests = table == "dev-dependencies"
                && (other == "testkit" || (name, other.as_str()) == ("server", "store"));
            if !in_tests && !allowed.contains(&other.as_str()) {
                found.push(format!(
                    "crates/{name}/Cargo.toml: [{table}] names oarlock-{other}, which {name} must not know: \
                     put what both need into core, or join them in crates/cli"
                ));
            }
        }
    }
    found
}

#[test]
fn crates_build_on_each_other_only_as_the_map_says() {
    let known: Vec<&str> = HOUSE.iter().map(|(name, ..)| *name).collect();
    assert_eq!(crates(), known, "a crate came or went: give HOUSE and ARCHITECTURE.md its line");
    let found: Vec<String> = HOUSE
        .iter()
        .flat_map(|(name, allowed, _)| {
            wrong_edges(name, allowed, &read(&format!("crates/{name}/Cargo.toml")))
        })
        .collect();
    assert_none(&found);
    let broken = "[dependencies]\noarlock-store.workspace = true\n[dev-dependencies]\noarlock-testkit.workspace = true\n";
    let found = wrong_edges("tools", &["core"], broken);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("crates/tools/Cargo.toml: [dependencies] names oarlock-store"));
}

#[test]
fn crates_stay_within_their_lines_of_code() {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources().iter().filter(|source| source.is_product()) {
        *lines.entry(source.krate().to_owned()).or_default() += source.code().count();
    }
    let over = HOUSE.iter().filter(|(name, _, most)| lines[*name] > *most);
    let words = |name: &str, most: usize| {
        let has = lines[name];
        format!(
            "crates/{name}: {has} lines of code, {most} are its budget: take out what is double, or argue for more in ARCHITECTURE.md and HOUSE"
        )
    };
    let found: Vec<String> = over.map(|(name, _, most)| words(name, *most)).collect();
    assert_none(&found);
    let map = read("ARCHITECTURE.md");
    for (name, _, most) in HOUSE {
        let row = format!("| `{name}` | {most} |");
        assert!(map.contains(&row), "ARCHITECTURE.md: the table of budgets needs the row `{row}`");
    }
}

#[test]
fn the_map_names_each_file_of_core_and_no_file_that_is_not_there() {
    let map = read("ARCHITECTURE.md");
    let all = sources();
    let mut found = Vec::new();
    for source in &all {
        if let Some(short) = source.path.strip_prefix("crates/core/src/")
            && !map.contains(&format!("`{short}`"))
        {
            found.push(format!("{}: ARCHITECTURE.md has no line for `{short}`", source.path));
        }
    }
    for (at, line) in map.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2).filter(|quoted| quoted.ends_with(".rs")) {
            if !all.iter().any(|source| source.path.ends_with(quoted)) {
                found.push(format!(
                    "ARCHITECTURE.md:{}: `{quoted}` is not there: take it out or name its successor",
                    at + 1
                ));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn words_of_the_glossary_are_explained_in_at_most_25_words() {
    let map = read("ARCHITECTURE.md");
    let (_, rest) = map.split_once("\n## Words\n").expect("the map has a chapter `Words`");
    let rows = rest.split("\n## ").next().unwrap_or_default().lines().enumerate();
    let rows: Vec<(usize, Vec<&str>)> =
        rows.map(|(at, row)| (at, row.split('|').collect())).collect();
    let cells = rows.iter().filter(|(_, cells)| cells.len() == 4);
    assert!(cells.clone().count() > 10, "the glossary is a table of two columns");
    for (_, cells) in cells {
        let words = cells[2].split_whitespace().count();
        assert!(words <= 25, "ARCHITECTURE.md: {} has {words} words, 25 are the most", cells[1]);
    }
}

#[test]
fn silenced_lints_and_packages_stay_few() {
    let mut places = Vec::new();
    for source in sources() {
        for (at, line) in source.text.lines().enumerate() {
            if line.contains("#[expect(") || line.contains("#![expect(") {
                places.push(format!("{}:{}", source.path, at + 1));
            }
        }
    }
    assert!(
        places.len() <= SILENCED,
        "{} silenced lints, {SILENCED} are the most: mend one of\n{}",
        places.len(),
        places.join("\n")
    );
    let packages = read("Cargo.lock").matches("\n[[package]]\n").count();
    assert!(
        packages <= PACKAGES,
        "Cargo.lock: {packages} packages, {PACKAGES} are the most: leave out a feature or a dependency (`cargo tree -d`)"
    );
}
