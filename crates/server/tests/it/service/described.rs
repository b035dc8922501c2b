//! The description of the service, held to the file that is checked in.

use oarlock_server::operations::operations;
use oarlock_server::rest::openapi;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

/// `OPENAPI_UPDATE=always cargo test -p oarlock-server --test it described` writes the file anew.
#[test]
fn the_description_that_is_checked_in_is_the_one_that_is_served() {
    let described = format!("{}\n", serde_json::to_string_pretty(&openapi()).unwrap());
    if std::env::var_os("OPENAPI_UPDATE").is_some() {
        std::fs::write(FILE, &described).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        kept == described,
        "docs/openapi.json is out of date: set OPENAPI_UPDATE=always and run this test"
    );
}

#[test]
fn every_operation_is_described_and_every_reference_leads_somewhere() {
    let described = openapi();
    for operation in operations() {
        let verb = format!("{:?}", operation.verb).to_lowercase();
        let found = &described["paths"][operation.path][verb];
        assert_eq!(found["operationId"], operation.name);
    }
    let text = described.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(described.pointer(pointer).is_some(), "{pointer}");
    }
}
