//! Values of the right type that no kernel takes, that are no word of the specification, or that contradict
//! others.

use crate::common::Value;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A config.json that is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The field of the table that is bad.
    pub field: String,
    /// Its value; without one, it is `with` that makes it bad.
    value: Option<Value>,
    /// Other fields of the table that are set before. What else is around a field is the sample's.
    #[serde(default)]
    with: BTreeMap<String, Value>,
    /// The place that the error names, if it is not the field itself.
    pub place: Option<String>,
    /// What is allowed, as a part of the error or of its help; `|` stands between what hosts say differently.
    pub says: String,
    /// `root` or `user`, if it is not for both.
    pub caller: Option<String>,
}

impl Case {
    /// What is set, in this order.
    pub fn set(&self) -> Vec<(&str, String)> {
        let own = self.value.iter().map(|value| (self.field.as_str(), value.to_string()));
        self.with.iter().map(|(field, value)| (field.as_str(), value.to_string())).chain(own).collect()
    }
}

/// Every case there is.
pub fn all() -> Vec<Case> {
    serde_json::from_str(include_str!("values.json")).unwrap()
}
