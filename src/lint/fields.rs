//! Every field of config.json, and what somebody who wrote another may have meant.

use super::findings::Findings;
use crate::config::{FIELDS, fields};
use crate::json_tree::{Field, Node, Tree};
use std::collections::HashSet;

/// Reports fields that nobody reads, and names that stand twice in an object.
pub fn check(config: &Tree, findings: &mut Findings) {
    object(config, "", FIELDS, findings);
}

fn object(tree: &Tree, path: &str, known: &'static str, findings: &mut Findings) {
    if let Node::List(elements) = &tree.node {
        for (index, element) in elements.iter().enumerate() {
            object(element, &format!("{path}[{index}]"), known, findings);
        }
        return;
    }
    let mut names = HashSet::new();
    for field in tree.fields() {
        let at = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
        twice(&mut names, field, &at, findings);
        match fields(known).find(|known| known.name == field.name) {
            Some(known) if !known.is_map => below(&field.value, &at, known.fields, findings),
            Some(known) => {
                let mut names = HashSet::new();
                for entry in field.value.fields() {
                    let at = format!("{at}[{:?}]", entry.name);
                    twice(&mut names, entry, &at, findings);
                    below(&entry.value, &at, known.fields, findings);
                }
            }
            None => unknown(field.at, &at, &field.name, known, findings),
        }
    }
}

/// Of a value without known fields, what is in it is not looked at.
fn below(tree: &Tree, path: &str, fields: &'static str, findings: &mut Findings) {
    if !fields.is_empty() {
        object(tree, path, fields, findings);
    }
}

fn twice<'tree>(names: &mut HashSet<&'tree str>, field: &'tree Field, path: &str, findings: &mut Findings) {
    if !names.insert(&field.name) {
        let what = "stands twice in this object; the last counts";
        findings.error(field.at, path, what, "leave one of them out");
    }
}

fn unknown(at: usize, path: &str, name: &str, siblings: &'static str, findings: &mut Findings) {
    // So many unknown fields are no slips, and looking for what was meant would take long.
    const SLIPS: usize = 1_000;
    let guessed = findings.count() < SLIPS;
    let near = || nearest(name, fields(siblings).map(|known| known.name));
    let remedy = match guessed.then(near).flatten() {
        Some(meant) => format!("did you mean {meant}?"),
        None => match guessed.then(|| elsewhere(name, FIELDS, "")).flatten() {
            Some(place) => format!("did you mean {place}? The field belongs there"),
            None => "leave the field out: nobody reads it, annotations are for one's own".to_string(),
        },
    };
    findings.error(at, path, "the specification has no such field", remedy);
}

/// Where a field of this very name is known.
fn elsewhere(name: &str, text: &'static str, path: &str) -> Option<String> {
    fields(text).find_map(|known| {
        let here = if path.is_empty() { known.name.to_string() } else { format!("{path}.{}", known.name) };
        if known.name == name { Some(here) } else { elsewhere(name, known.fields, &here) }
    })
}

/// The known word that is nearest to one that is not, if it is near enough for a slip.
pub fn nearest<'known>(word: &str, known: impl Iterator<Item = &'known str>) -> Option<&'known str> {
    let most = match word.len() {
        0..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    known
        .map(|known| (distance(word, known), known))
        .filter(|(distance, known)| *distance <= most && *distance < known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters are added, left out, changed or exchanged with their neighbour; the case of a letter is none
/// of these, unless nothing else differs.
fn distance(one: &str, other: &str) -> usize {
    let lower = |text: &str| text.bytes().map(|byte| byte.to_ascii_lowercase()).collect::<Vec<u8>>();
    let (one, other) = (lower(one), lower(other));
    if one.len().abs_diff(other.len()) > 3 {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        fn walk(text: &'static str, count: &mut usize) {
            for known in fields(text) {
                assert!(known.name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{:?}", known.name);
                *count += 1;
                walk(known.fields, count);
            }
        }
        let mut count = 0;
        walk(FIELDS, &mut count);
        assert_eq!(count, FIELDS.split([' ', '{', '}', '*']).filter(|name| !name.is_empty()).count());
        assert_eq!(FIELDS.matches('{').count(), FIELDS.matches('}').count());
    }

    #[test]
    fn slips_are_known_for_what_was_meant() {
        let near = |word, known: &[&'static str]| nearest(word, known.iter().copied());
        assert_eq!(near("readOnly", &["path", "readonly"]), Some("readonly"));
        assert_eq!(near("capabilites", &["capabilities", "rlimits"]), Some("capabilities"));
        assert_eq!(near("evn", &["env", "args"]), Some("env"));
        assert_eq!(near("x", &["uid"]), None);
        assert_eq!(near("banana", &["path", "readonly"]), None);
        assert_eq!(distance("abcd", "abdc"), 1);
    }

    #[test]
    fn a_field_in_the_wrong_place_is_sent_to_its_own() {
        assert_eq!(elsewhere("maskedPaths", FIELDS, "").as_deref(), Some("linux.maskedPaths"));
        assert_eq!(elsewhere("banana", FIELDS, ""), None);
    }
}
