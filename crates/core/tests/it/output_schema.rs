//! Schemas of answers as tables: what is taken for one, and what is of one.

use oarlock_core::spec::{Misfit, OutputSchema, SCHEMA_BYTES, SchemaCompat, StructuredOutput};
use serde_json::{Value, json};

fn parse(value: Value) -> Result<OutputSchema, String> {
    OutputSchema::parse(value).map_err(|error| error.to_string())
}

#[test]
fn a_wrapper_is_told_from_a_schema_by_its_members() {
    let inner = json!({"type": "object"});
    let plain = OutputSchema::new(inner.clone());
    let strict = OutputSchema {
        name: Some("boat".to_owned()),
        strict: true,
        compat: SchemaCompat::Strict,
        ..plain.clone()
    };
    let own = |schema: Value| OutputSchema::new(schema);
    let odd = json!({"type": "object", "schema": 1});
    let table = [
        (inner.clone(), plain.clone()),
        (json!({"schema": inner}), plain.clone()),
        (json!({"schema": inner, "format": "json_schema", "strict": false}), plain.clone()),
        (json!({"schema": inner, "name": "boat", "strict": true, "compat": "strict"}), strict),
        (odd.clone(), own(odd)),
    ];
    for (value, wanted) in table {
        assert_eq!(parse(value.clone()), Ok(wanted.clone()), "{value}");
        // What is written is a wrapper, and reads as the same.
        let written = serde_json::to_value(&wanted).unwrap();
        assert_eq!(serde_json::from_value::<OutputSchema>(written).unwrap(), wanted);
    }
    let unknown = json!({"schema": {"type": "object"}, "format": "json_schema", "stricter": true});
    assert!(parse(unknown).unwrap_err().contains("stricter"));
    assert!(parse(json!({"schema": {"type": "object"}, "compat": "some"})).is_err());
}

#[test]
fn a_schema_that_cannot_be_held_against_answers_is_refused_with_its_place() {
    let long = "x".repeat(SCHEMA_BYTES);
    let many: Vec<Value> = (0..300).map(|n| json!({"pattern": format!("^{n}$")})).collect();
    let huge = "(a{1000}){1000}";
    let table = [
        (json!([]), "a JSON object"),
        (json!(true), "a JSON object"),
        (json!({"properties": {"a": {"type": "strng"}}}), "/properties/a/type"),
        (json!({"required": "a"}), "/required"),
        (json!({"$ref": "https://example.com/s.json"}), "refers to \"https://example.com/s.json\""),
        (json!({"$anchor": "a", "properties": {"a": {"$ref": "#a"}}}), "refers to \"#a\""),
        (json!({"$ref": "file:///etc/passwd"}), "nothing is fetched"),
        (json!({"$ref": "#/$defs/none"}), "none"),
        (json!({"properties": {"a": {"pattern": "(?<=a)b"}}}), "/properties/a: "),
        (json!({"properties": {"a": {"pattern": huge}}}), "/properties/a: "),
        (json!({"anyOf": many}), "300 regular expressions"),
        (json!({"description": long}), "may have 65536"),
        (json!({"schema": {"type": "object"}, "name": "a boat"}), "its name"),
    ];
    for (value, wanted) in table {
        let error = parse(value).unwrap_err();
        assert!(error.starts_with("the output schema is refused"), "{error}");
        assert!(error.contains(wanted) && error.len() < 600, "{wanted}: {error}");
    }
    let eager =
        StructuredOutput { retries: 17, ..StructuredOutput::new(OutputSchema::new(json!({}))) };
    assert!(eager.check().unwrap_err().contains("16 times at most"));
}

fn chain(links: usize, link: fn(String) -> Value, last: Value) -> Value {
    let mut defs = serde_json::Map::new();
    for n in 0..links {
        defs.insert(format!("d{n}"), link(format!("#/$defs/d{}", n + 1)));
    }
    defs.insert(format!("d{links}"), last);
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

#[test]
fn neither_schemas_nor_answers_are_deep_enough_to_end_the_stack() {
    let plain = |to: String| json!({ "$ref": to });
    let nested = |to: String| json!({"allOf": [{"anyOf": [{"not": {"not": {"$ref": to}}}]}]});
    let object = json!({"type": "object"});
    let answer = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let short = parse(chain(400, plain, object.clone())).unwrap();
    assert_eq!(short.validate("{}"), Ok("{}"));
    assert!(short.validate("[]").is_err());
    let short = parse(chain(40, nested, object.clone())).unwrap();
    assert_eq!(short.validate("{}"), Ok("{}"));
    for long in [chain(600, plain, object.clone()), chain(100, nested, object)] {
        assert!(parse(long).unwrap_err().contains("may have 512"));
    }
    // Each level of an answer goes through all of a schema that contains itself.
    let around = json!({"items": {"$ref": "#/$defs/d0"}});
    let round = parse(chain(450, plain, around.clone())).unwrap();
    let deep = answer(64);
    assert!(round.validate(&deep).unwrap_err().to_string().contains("too much work"));
    let less = parse(chain(150, plain, around.clone())).unwrap();
    assert_eq!(less.validate(&deep), Ok(deep.as_str()));
    assert!(round.validate(&answer(65)).unwrap_err().to_string().contains("deeper than 64"));
    assert!(round.validate(&answer(10_000)).is_err());
    assert!(parse(chain(600, plain, around)).unwrap_err().contains("may have 512"));
    let text = format!("\"{}\"", "[".repeat(100));
    assert_eq!(OutputSchema::new(json!({})).validate(&text), Ok(text.as_str()));
}

#[test]
fn an_answer_is_the_json_that_it_is_or_that_its_fence_holds() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": 5}},
        "required": ["n"], "additionalProperties": false});
    let schema = OutputSchema::new(schema);
    let taken = [
        ("{\"n\":1}", "{\"n\":1}"),
        ("  {\"n\": 1}\n", "{\"n\": 1}"),
        ("```json\n{\"n\": 1.0}\n```", "{\"n\": 1.0}"),
        ("```\n{ \"n\" : 2 }\n```\n", "{ \"n\" : 2 }"),
    ];
    for (answer, wanted) in taken {
        assert_eq!(schema.validate(answer), Ok(wanted), "{answer}");
    }
    let refused = [
        ("", "is empty"),
        ("```json\n```", "is empty"),
        ("Here: {\"n\":1}", "not JSON alone"),
        ("{\"n\":1} {}", "not JSON alone"),
        ("{\"n\":9}", "/n: 9 is greater"),
        ("{\"m\":1}", "the whole: "),
        ("[]", "the whole: "),
    ];
    for (answer, wanted) in refused {
        let faults = schema.validate(answer).unwrap_err().to_string();
        assert!(faults.contains(wanted), "{answer}: {faults}");
    }
    let many =
        format!("{{{}}}", (0..30).map(|n| format!("\"n{n}\":1")).collect::<Vec<_>>().join(","));
    let strings = OutputSchema::new(json!({"additionalProperties": {"type": "string"}}));
    let faults = strings.validate(&many).unwrap_err().to_string();
    assert_eq!(faults.lines().count(), 9, "{faults}");
    let long = format!("{{\"n\": \"{}\"}}", "y".repeat(100_000));
    assert!(schema.validate(&long).unwrap_err().to_string().len() < 1_000);
}

#[test]
fn a_pattern_that_would_be_tried_for_ever_takes_no_time() {
    let schema = OutputSchema::new(json!({"type": "string", "pattern": "^(a+)+$"}));
    let answer = format!("\"{}!\"", "a".repeat(50_000));
    assert!(schema.validate(&answer).is_err());
}

#[test]
fn a_schema_that_comes_back_to_itself_in_one_place_of_the_answer_is_refused() {
    let to = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    let two = |a: Value, b: Value| json!({"$ref": "#/$defs/a", "$defs": {"a": a, "b": b}});
    for round in [
        json!({"anyOf": [{"type": "null"}, {"$ref": "#"}]}),
        json!({"$ref": "#"}),
        json!({"properties": {"x": {"not": {"$ref": "#/properties/x"}}}}),
        json!({"if": {"$ref": "#"}, "then": {"type": "object"}}),
        json!({"dependentSchemas": {"x": {"allOf": [{"$ref": "#"}]}}}),
        two(json!({"oneOf": [to("b")]}), json!({"allOf": [to("a")]})),
    ] {
        let why = parse(round.clone()).unwrap_err();
        assert!(why.contains("without going down"), "{round}: {why}");
    }
    let tree = json!({"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["right"]});
    let tree = parse(tree).unwrap();
    assert_eq!(tree.validate(r#"{"right":null}"#), Ok(r#"{"right":null}"#));
    assert!(tree.validate(r#"{"right":{}}"#).is_err());
    let list = two(json!({"items": to("b")}), json!({"additionalProperties": to("a")}));
    assert_eq!(parse(list).unwrap().validate("[{}]"), Ok("[{}]"));
}

#[test]
fn an_answer_that_would_take_for_ever_to_be_held_against_a_schema_does_not() {
    let twice = |to: String| json!({"anyOf": [{"$ref": &to}, {"$ref": &to}]});
    let doubling = chain(100, twice, json!({"type": "string"}));
    let ways =
        json!({"type": "array", "anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]});
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    for (schema, answer) in [(doubling, "7"), (ways, &deep)] {
        match parse(schema) {
            Ok(schema) => {
                let why = schema.validate(answer).unwrap_err();
                assert!(
                    matches!(&why, Misfit::Answer(why) if why.contains("too much work")),
                    "{why}"
                );
            }
            Err(why) => assert!(why.contains("too much work"), "{why}"),
        }
    }
    let many = serde_json::to_string(&vec![json!({"x": 1, "y": "two"}); 20_000]).unwrap();
    let row = json!({"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "string"}}, "additionalProperties": false});
    let rows = parse(json!({"type": "array", "items": row})).unwrap();
    assert_eq!(rows.validate(&many), Ok(many.as_str()), "as much as a model says is little");
}
