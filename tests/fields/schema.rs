//! The fields of the specification's JSON schema, from a checkout of opencontainers/runtime-spec.

use crate::common::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Sections that are about other systems.
const OTHERS: [&str; 5] = ["solaris", "windows", "vm", "zos", "freebsd"];

/// Every field that `schema/config-schema.json` has for Linux, with its type in the words of the table.
pub fn fields_of(checkout: &Path) -> BTreeMap<String, String> {
    let mut walk =
        Walk { directory: checkout.join("schema"), files: BTreeMap::new(), found: BTreeMap::new() };
    let (file, root) = walk.follow("", "config-schema.json");
    for (name, field) in properties(&root) {
        if !OTHERS.contains(&name.as_str()) {
            walk.field(name, &file, &field);
        }
    }
    super::table::fold(walk.found)
}

struct Walk {
    directory: PathBuf,
    files: BTreeMap<String, Value>,
    found: BTreeMap<String, String>,
}

impl Walk {
    /// What a reference from `file` points at, and in which file that is.
    fn follow(&mut self, file: &str, reference: &str) -> (String, Value) {
        let (name, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let name = if name.is_empty() { file } else { name }.to_owned();
        let whole = self.files.entry(name.clone()).or_insert_with(|| {
            let path = self.directory.join(&name);
            let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_slice(&text).unwrap()
        });
        let found = whole.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
        (name, found.clone())
    }

    fn field(&mut self, path: String, file: &str, schema: &Value) {
        if let Some(reference) = schema["$ref"].as_str() {
            let (file, schema) = self.follow(file, reference);
            return self.field(path, &file, &schema);
        }
        for parts in ["allOf", "anyOf"] {
            for part in schema[parts].as_array().into_iter().flatten() {
                self.field(path.clone(), file, part);
            }
        }
        let kind = match schema["type"].as_str() {
            None => return,
            Some("string") if schema["enum"].is_array() => "word",
            Some("string") => "text",
            Some("integer") => integer(schema),
            Some("array") => "list",
            Some("object") if element(schema).is_some() => "map",
            Some(kind) => kind,
        };
        self.found.insert(path.clone(), kind.to_owned());
        for (name, field) in properties(schema) {
            self.field(format!("{path}.{name}"), file, &field);
        }
        if schema["items"].is_object() {
            self.field(format!("{path}[]"), file, &schema["items"]);
        }
        if let Some(element) = element(schema) {
            self.field(format!("{path}{{}}"), file, element);
        }
    }
}

fn properties(schema: &Value) -> Vec<(String, Value)> {
    let fields = schema["properties"].as_object().into_iter().flatten();
    fields.map(|(name, field)| (name.clone(), field.clone())).collect()
}

/// What the values of a map are.
fn element(schema: &Value) -> Option<&Value> {
    let patterns = schema["patternProperties"].as_object().and_then(|patterns| patterns.values().next());
    patterns.or_else(|| schema.get("additionalProperties").filter(|element| element.is_object()))
}

fn integer(schema: &Value) -> &'static str {
    let bound = |name: &str| schema[name].to_string();
    match (bound("minimum").as_str(), bound("maximum").as_str()) {
        ("0", "65535") => "u16",
        ("0", "4294967295") => "u32",
        ("0", "18446744073709551615") => "u64",
        ("-2147483648", "2147483647") => "i32",
        ("-9223372036854775808", "9223372036854775807") => "i64",
        _ => "integer",
    }
}
