//! The documentation says what the table of keys says.

use oarlock::config::given::OTHER_VARIABLES;
use oarlock::config::keys::KEYS;

const PAGE: &str = include_str!("../../../../docs/configuration.md");

#[test]
fn the_table_of_the_documentation_is_the_table_of_keys() {
    let mut table = String::from(
        "| key | takes | default | may be set by | what it is |\n|---|---|---|---|---|\n",
    );
    for key in KEYS {
        let default =
            if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let (takes, by, doc) = (key.kind.describe(), key.need.name(), key.doc.replace('|', "\\|"));
        table.push_str(&format!("| `{}` | {takes} | {default} | {by} | {doc} |\n", key.path));
    }
    assert!(PAGE.contains(&table), "docs/configuration.md should hold this table:\n{table}");
}

#[test]
fn every_variable_that_is_no_key_is_documented() {
    for (name, doc) in OTHER_VARIABLES {
        assert!(PAGE.contains(&format!("| `{name}` | {doc} |")), "{name}");
    }
}
