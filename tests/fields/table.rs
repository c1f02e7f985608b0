//! The table, read.

use std::collections::BTreeMap;

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// `mounts[].options`: `[]` stands for every element of a list, `{}` for every value of a map.
    pub path: &'static str,
    /// `u32`, `list of text`, `object`.
    pub kind: &'static str,
    /// The test that shows it working as root, or `-` and why there is none.
    pub root: &'static str,
    /// As an ordinary user.
    pub user: &'static str,
    /// The test that shows it refused.
    pub refused: &'static str,
}

/// Every line.
pub fn fields() -> Vec<Field> {
    let lines = include_str!("table.md").lines().filter_map(|line| line.strip_prefix("| `"));
    lines.map(line).collect()
}

fn line(text: &'static str) -> Field {
    let cells: Vec<_> = text.trim_end_matches('|').split('|').map(str::trim).collect();
    let [path, kind, root, user, refused] = cells[..] else { panic!("five cells expected: {text}") };
    Field { path: path.trim_end_matches('`'), kind, root, user, refused }
}

/// Elements that are no objects are told with their list: `list of text` instead of two fields.
pub fn fold(mut found: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let elements: Vec<String> =
        found.keys().filter(|path| path.ends_with("[]") || path.ends_with("{}")).cloned().collect();
    for path in elements {
        let element = found.remove(&path).unwrap();
        let plural = if element == "object" { "objects" } else { &element };
        let whole = found.get_mut(&path[..path.len() - 2]).unwrap();
        *whole = format!("{whole} of {plural}");
    }
    found
}
