//! The description of the service, held to the file that is checked in.

use oarlock_server::operations::{operations, shapes};
use oarlock_server::rest::openapi;

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
const SHAPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/operations/shapes.json");

/// `OPENAPI_UPDATE=always cargo test -p oarlock-server --test it described` writes the files anew.
fn holds(file: &str, of_the_types: &str) {
    if std::env::var_os("OPENAPI_UPDATE").is_some() {
        std::fs::write(file, of_the_types).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == of_the_types,
        "{file} is out of date: set OPENAPI_UPDATE=always and run this test"
    );
}

#[test]
fn the_description_that_is_checked_in_is_that_of_the_types() {
    let of_the_types = openapi::of_the_types();
    holds(DESCRIPTION, &format!("{}\n", serde_json::to_string_pretty(&of_the_types).unwrap()));
    // A file that was just written is packed by the next build.
    let is_served = openapi::agreed() == of_the_types.to_string();
    assert!(is_served || std::env::var_os("OPENAPI_UPDATE").is_some(), "another one is served");
}

#[test]
fn the_shapes_of_requests_that_are_checked_in_are_those_of_the_types() {
    holds(SHAPES, &shapes::of_the_types());
}

#[test]
fn every_operation_is_described_and_every_reference_leads_somewhere() {
    let described = openapi::of_the_types();
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
