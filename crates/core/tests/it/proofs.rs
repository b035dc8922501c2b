//! Every test that `docs/laws.md` names exists.

use std::path::Path;

#[test]
fn every_test_that_the_laws_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let laws = std::fs::read_to_string(root.join("docs/laws.md")).unwrap();
    let named = laws.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(".rs::"));
    let mut count = 0;
    for (file, test) in named {
        let path = match file.contains('/') {
            true => root.join(format!("{file}.rs")),
            false => root.join(format!("crates/core/tests/it/{file}.rs")),
        };
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "{} has no test {test}", path.display());
        count += 1;
    }
    assert!(count > 20, "{count} tests are named");
    for law in 1..=11 {
        assert!(laws.contains(&format!("\n| {law} ")), "law {law} has no row");
    }
}
