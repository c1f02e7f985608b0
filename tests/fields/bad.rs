//! Bad input for every field: of the wrong type, out of range, no word that is known, contradictory.

use super::{table, values};
use crate::common::{Bundle, Kase, Value, is_ours, json, words};
use std::fs;

deeds! { wrong_types_are_refused, bad_values_are_refused }

/// The help of what does not parse, where the error itself says what is expected.
const GENERAL: &str = "write there what the runtime specification's config.md allows";

fn wrong_types_are_refused(kase: &Kase) {
    if !is_ours() {
        skip!("places and help are asked of kase alone");
    }
    let trial = Trial::new(kase);
    let fields = table::fields();
    let mut flaws = Vec::new();
    for field in fields.iter().filter(|field| !field.refused.starts_with('-')) {
        for (value, tail) in wrong_types(field.kind) {
            let place = place(&trial.sample, field.path) + tail;
            flaws.extend(trial.flaw(&[(field.path, value)], &place, None));
        }
    }
    assert!(flaws.is_empty(), "{} flaws:\n{}", flaws.len(), flaws.join("\n"));
}

fn bad_values_are_refused(kase: &Kase) {
    if !is_ours() {
        skip!("places and help are asked of kase alone");
    }
    let trial = Trial::new(kase);
    let mut flaws = Vec::new();
    let caller = if kase.is_root() { "root" } else { "user" };
    for case in values::all() {
        if case.caller.as_deref().is_none_or(|only| only == caller) {
            let place = case.place.clone().unwrap_or_else(|| place(&trial.sample, &case.field));
            flaws.extend(trial.flaw(&case.set(), &place, Some(&case.says)));
        }
    }
    assert!(flaws.is_empty(), "{} flaws:\n{}", flaws.len(), flaws.join("\n"));
}

/// Values of other types than this, and integers beyond its range; with what follows the field's own place.
fn wrong_types(kind: &str) -> Vec<(String, &'static str)> {
    let own = |values: [&str; 2]| values.map(|value| (value.to_owned(), "")).into_iter();
    let wrong = |kind| wrong_values(kind).into_iter();
    if let Some(element) = kind.strip_prefix("list of ") {
        let elements = wrong(element).map(|value| (format!("[{value}]"), "[0]"));
        return own(["{}", "7"]).chain(elements).collect();
    }
    if let Some(element) = kind.strip_prefix("map of ") {
        let elements = wrong(element).map(|value| (format!("{{\"x\": {value}}}"), ".x"));
        return own(["[]", "7"]).chain(elements).collect();
    }
    wrong(kind).map(|value| (value, "")).collect()
}

fn wrong_values(kind: &str) -> Vec<String> {
    let range: Option<(i128, i128)> = match kind {
        "u16" => Some((0, u16::MAX.into())),
        "u32" => Some((0, u32::MAX.into())),
        "u64" => Some((0, u64::MAX.into())),
        "i32" => Some((i32::MIN.into(), i32::MAX.into())),
        "i64" => Some((i64::MIN.into(), i64::MAX.into())),
        _ => None,
    };
    if let Some((least, most)) = range {
        let beyond = [(least - 1).to_string(), (most + 1).to_string()];
        return ["\"7\"", "1.5"].map(String::from).into_iter().chain(beyond).collect();
    }
    let values: &[&str] = match kind {
        "boolean" => &["\"true\"", "1"],
        "text" => &["7", "[]"],
        "word" => &["7", "{}", "[]", "\"no-such-word\""],
        "integer" => &["\"7\"", "1.5"],
        "object" | "objects" => &["7", "[]", "\"text\""],
        kind => panic!("{kind:?} is no type of the table's"),
    };
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// Where one bad value after the other is tried.
struct Trial<'a> {
    kase: &'a Kase,
    bundle: Bundle,
    /// The config without it, and one that has every field.
    base: Value,
    sample: Value,
}

impl<'a> Trial<'a> {
    fn new(kase: &'a Kase) -> Self {
        let mut base = Value::Null;
        let bundle = kase.bundle().edit(|spec| base = spec.clone());
        let sample = serde_json::from_str(include_str!("sample.json")).unwrap();
        Self { kase, bundle, base, sample }
    }

    /// What is wrong with kase's answer to these values. `allowed` is what it must say; without it, that
    /// something else was expected.
    fn flaw(&self, set: &[(&str, String)], place: &str, allowed: Option<&str>) -> Option<String> {
        let mut config = self.base.clone();
        // The default config's own are not added to.
        for list in ["/mounts", "/linux/namespaces"] {
            if set.iter().any(|(field, _)| field.starts_with(&list[1..].replace('/', "."))) {
                *config.pointer_mut(list).unwrap() = Value::Null;
            }
        }
        // A marker stands for each value until the config is written: no `Value` holds a number beyond u64.
        let marker = |index: usize| json!(format!("\u{1}{index}"));
        for (index, (field, _)) in set.iter().enumerate() {
            plant(&mut config, &self.sample, field, marker(index));
            if index + 1 < set.len() {
                let value = serde_json::from_str(&set[index].1).unwrap();
                plant(&mut config, &self.sample, field, value);
            }
        }
        let (_, last) = set.last().unwrap();
        let text = config.to_string().replace(&marker(set.len() - 1).to_string(), last);
        fs::write(self.bundle.path("config.json"), text).unwrap();

        let id = self.kase.id();
        let outcome = self.kase.call(words(["create", "-b"], self.bundle.dir(), [id.as_str()]));
        let left = self.kase.state_dir().join(&id).exists();
        if left {
            self.kase.call(["delete", "--force", &id]);
        }
        let fault = outcome.err.lines().rfind(|line| !line.starts_with("  help: ")).unwrap_or_default();
        let help = outcome.help();
        let is_said = match allowed {
            Some(words) => words.split('|').any(|words| fault.contains(words) || help.contains(words)),
            None => fault.contains("expected ") || !help.is_empty() && help != GENERAL,
        };
        let why = if outcome.code != 1 {
            format!("exit code {}", outcome.code)
        } else if left {
            "state is left".to_owned()
        } else if !fault.contains(&format!(" {place}: ")) {
            format!("the place is not {place}")
        } else if !is_said {
            format!("what is allowed is not said ({allowed:?})")
        } else {
            return None;
        };
        Some(format!("{set:?}: {why}: {}", outcome.err.trim_end()))
    }
}

/// Objects of the default config that keep what they have; anything else comes from the sample whole.
const SHARED: [&str; 5] = ["root", "process", "hooks", "linux", "linux.resources"];

/// Gives a field a value. What is around it is what is there, or else the sample's.
fn plant(config: &mut Value, sample: &Value, field: &str, value: Value) {
    let (mut at, mut sample, mut path) = (config, sample, String::new());
    for name in steps(field) {
        if at.is_null() && !SHARED.contains(&path.as_str()) {
            *at = sample.clone();
        }
        path += if path.is_empty() { "" } else { "." };
        path += &name;
        (at, sample) = match name.as_str() {
            "[]" => (&mut at[0], &sample[0]),
            "{}" => {
                let key = first_key(sample);
                (&mut at[key], &sample[key])
            }
            name => (&mut at[name], &sample[name]),
        };
    }
    *at = value;
}

/// The field's place in a config with the sample's values, as errors name it.
fn place(sample: &Value, field: &str) -> String {
    let (mut sample, mut place) = (sample, String::new());
    for name in steps(field) {
        sample = match name.as_str() {
            "[]" => {
                place += "[0]";
                &sample[0]
            }
            "{}" => {
                let key = first_key(sample);
                place = format!("{place}.{key}");
                &sample[key]
            }
            name => {
                place = if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
                &sample[name]
            }
        };
    }
    place
}

/// `mounts[].type` as `mounts`, `[]`, `type`.
fn steps(field: &str) -> Vec<String> {
    field.replace("[]", ".[]").replace("{}", ".{}").split('.').map(str::to_owned).collect()
}

fn first_key(map: &Value) -> &String {
    map.as_object().unwrap().keys().next().unwrap()
}
