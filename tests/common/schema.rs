//! As much of JSON Schema as the files in extras/schemas use; any other word fails the test.

use serde_json::Value;
use std::fs;
use std::path::Path;

/// Asserts that `value` is as `extras/schemas/NAME.json` says.
pub fn assert_fits(value: &Value, name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("extras/schemas").join(name).with_extension("json");
    let schema = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    check(value, &schema, name);
}

fn check(value: &Value, schema: &Value, at: &str) {
    for (word, said) in schema.as_object().unwrap() {
        match word.as_str() {
            "$schema" | "title" | "description" => {}
            "type" => {
                let allowed = said.as_array().cloned().unwrap_or_else(|| vec![said.clone()]);
                assert!(
                    allowed.iter().any(|one| is(value, one.as_str().unwrap())),
                    "{at}: {value} is no {said}"
                );
            }
            "enum" => assert!(said.as_array().unwrap().contains(value), "{at}: {value} is none of {said}"),
            "minimum" => assert!(value.as_i64() >= said.as_i64(), "{at}: {value}"),
            "required" => {
                for name in said.as_array().unwrap() {
                    assert!(
                        value.get(name.as_str().unwrap()).is_some(),
                        "{at}: {name} is missing in {value}"
                    );
                }
            }
            "additionalProperties" => {
                assert_eq!(said, false);
                for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                    assert!(schema["properties"].get(name).is_some(), "{at}: {name} is not in the schema");
                }
            }
            "properties" => {
                for (name, schema) in said.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(value, schema, &format!("{at}.{name}"));
                    }
                }
            }
            "items" => {
                for (index, value) in value.as_array().unwrap().iter().enumerate() {
                    check(value, said, &format!("{at}[{index}]"));
                }
            }
            other => panic!("{at}: no test knows the schema's word {other}"),
        }
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("no test knows the schema's type {other}"),
    }
}
