//! The schema of a tool's input as the makers of models at Bedrock take it. Pure.

use serde_json::{Map, Value, json};

use super::kin::{Kin, Kind};

/// What the root may have for Nova; anything else is refused, or the tool is not seen (docs.aws.amazon.com/nova/latest/userguide/prompting-tool-troubleshooting.html
/// and tool-use-definition.html).
const ROOT_OF_NOVA: [&str; 3] = ["type", "properties", "required"];
/// Members whose members are schemas under names that anybody may choose.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
/// Members that are values, whatever they look like.
const VALUES: [&str; 5] = ["const", "enum", "default", "example", "examples"];
/// References that are followed within one another, and in all. What lies beyond is any value.
const DEPTH_MAX: usize = 32;
const FOLLOWED_MAX: usize = 1_000;

/// The schema for this kind of model. Its root is an `object` everywhere (Amazon Bedrock API reference, `ToolInputSchema`).
pub(super) fn input(kind: Kind<'_>, schema: &Value) -> Value {
    let mut root = match (kind.kin, schema) {
        (Kin::Nova, Value::Object(written)) => {
            // Where no reference can be kept, what is referred to stands in its place.
            let mut following = Following { root: schema, open: vec!["#"], left: FOLLOWED_MAX };
            let kept = |(name, _): &(&String, _)| ROOT_OF_NOVA.contains(&name.as_str());
            let members = written.iter().filter(kept);
            members.map(|(name, value)| (name.clone(), following.member(name, value))).collect()
        }
        (_, Value::Object(written)) => written.clone(),
        (_, _) => Map::new(),
    };
    if root.get("type").is_none_or(|kind| kind != "object") {
        root.insert("type".to_owned(), json!("object"));
    }
    Value::Object(root)
}

/// Puts schemas in the place of references to them.
struct Following<'a> {
    root: &'a Value,
    /// The references that lead here.
    open: Vec<&'a str>,
    /// How many may still be followed.
    left: usize,
}

impl<'a> Following<'a> {
    fn schema(&mut self, schema: &'a Value) -> Value {
        match schema {
            Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
                Some(reference) => self.referred(reference, members),
                None => Value::Object(self.members(members)),
            },
            Value::Array(schemas) => schemas.iter().map(|schema| self.schema(schema)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
        }
    }

    fn members(&mut self, members: &'a Map<String, Value>) -> Map<String, Value> {
        let kept = members.iter().filter(|(name, _)| *name != "$ref");
        kept.map(|(name, value)| (name.clone(), self.member(name, value))).collect()
    }

    fn member(&mut self, name: &str, value: &'a Value) -> Value {
        match value {
            _ if VALUES.contains(&name) => value.clone(),
            Value::Object(named) if NAMED.contains(&name) => {
                let schemas =
                    named.iter().map(|(name, schema)| (name.clone(), self.schema(schema)));
                Value::Object(schemas.collect())
            }
            _ => self.schema(value),
        }
    }

    /// What is referred to, and what stands beside the reference. A schema that contains itself is any value where it does.
    fn referred(&mut self, reference: &'a str, beside: &'a Map<String, Value>) -> Value {
        let found = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let is_open = self.open.contains(&reference) || self.open.len() > DEPTH_MAX;
        let mut whole = Map::new();
        if let Some(found) = found.filter(|_| !is_open && self.left > 0) {
            self.left -= 1;
            self.open.push(reference);
            let followed = self.schema(found);
            self.open.pop();
            whole = followed.as_object().cloned().unwrap_or_default();
        }
        whole.extend(self.members(beside));
        Value::Object(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVA: &str = "us.amazon.nova-pro-v1:0";

    fn sent(model: &str, schema: &Value) -> Value {
        input(Kind::of(model), schema)
    }

    #[test]
    fn the_root_has_what_the_maker_of_the_model_takes() {
        let schema = json!({"$schema": "s", "title": "T", "description": "d", "type": "object", "additionalProperties": false,
            "properties": {"title": {"type": "string", "title": "stays", "default": {"$ref": "#"}}}, "required": ["title"]});
        let wanted =
            json!({"type": "object", "properties": schema["properties"], "required": ["title"]});
        assert_eq!(sent(NOVA, &schema), wanted);
        for other in ["us.amazon.nova-2-lite-v1:0", "anthropic.claude-sonnet-4-5", "zai.glm-5"] {
            assert_eq!(sent(other, &schema), schema, "{other}");
        }
        let composed = json!({"anyOf": [{"required": ["a"]}], "properties": {"a": {}}});
        let typed =
            json!({"anyOf": [{"required": ["a"]}], "properties": {"a": {}}, "type": "object"});
        assert_eq!(sent("zai.glm-5", &composed), typed);
        assert_eq!(sent(NOVA, &composed), json!({"properties": {"a": {}}, "type": "object"}));
        for odd in [json!({}), json!(true), json!({"type": ["object", "null"]})] {
            assert_eq!(sent(NOVA, &odd), json!({"type": "object"}));
        }
    }

    #[test]
    fn what_is_referred_to_stands_in_the_place_of_the_reference() {
        let schema = json!({"type": "object",
        "$defs": {"n": {"type": "integer"}, "two": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
        "properties": {
            "one": {"$ref": "#/$defs/n", "description": "how many"},
            "two": {"$ref": "#/$defs/two"},
            "$ref": {"anyOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/elsewhere"}, {"$ref": "https://h/s"}]},
        }});
        let wanted = json!({"type": "object", "properties": {
            "one": {"type": "integer", "description": "how many"},
            "two": {"type": "array", "items": {"type": "integer"}},
            "$ref": {"anyOf": [{"type": "integer"}, {}, {}]},
        }});
        assert_eq!(sent(NOVA, &schema), wanted);
    }

    #[test]
    fn a_schema_that_contains_itself_or_doubles_at_each_step_has_an_end() {
        let list = json!({"type": "object", "$defs": {"l": {"type": "object", "properties": {"next": {"$ref": "#/$defs/l"}}}},
            "properties": {"list": {"$ref": "#/$defs/l"}, "all": {"$ref": "#"}}});
        let wanted = json!({"type": "object", "properties": {
            "list": {"type": "object", "properties": {"next": {}}}, "all": {}}});
        assert_eq!(sent(NOVA, &list), wanted);
        let two = |n: usize| json!({"anyOf": [{"$ref": format!("#/$defs/{n}")}, {"$ref": format!("#/$defs/{n}")}]});
        let defs: Map<String, Value> = (0..60).map(|n| (n.to_string(), two(n + 1))).collect();
        let doubling = json!({"type": "object", "$defs": defs, "properties": {"a": two(0)}});
        assert!(sent(NOVA, &doubling).to_string().len() < 100_000);
    }
}
