//! Changes one value of a JSON object and leaves every other byte of its text as it is.

use crate::fault::Fault;
use crate::json_tree::{Cursor, Node, Tree};
use serde_json::Value;
use std::ops::Range;

/// The text of the value at this path of names, if there is one.
pub fn get<'text>(text: &'text str, path: &[&str]) -> Result<Option<&'text str>, Fault> {
    Ok(read(text)?.down(path).map(|value| &text[value.at..value.end]))
}

/// The text with this value, itself JSON, in the place of the old one or added behind the last of its object.
///
/// # Errors
/// The text is no JSON object, or on the way to the value there is something else than an object.
pub fn put(text: &str, path: &[&str], value: &str) -> Result<String, Fault> {
    let tree = read(text)?;
    let Some((name, parents)) = path.split_last() else { return Ok(value.to_owned()) };
    if let Some(old) = tree.down(path) {
        return Ok(splice(text, old.at..old.end, value));
    }
    let member = format!("\"{name}\": {value}");
    let Some(parent) = tree.down(parents) else {
        return put(text, parents, &format!("{{{member}}}"));
    };
    let Node::Object(fields) = &parent.node else { return Err(no_object(text, parent.at)) };
    Ok(match (fields.first(), fields.last()) {
        (Some(first), Some(last)) => {
            let space = &text[parent.at + 1..first.at];
            let space = if space.is_empty() { " " } else { space };
            splice(text, last.value.end..last.value.end, &format!(",{space}{member}"))
        }
        _ => {
            // What is between the braces stays, so that it is there again when the member is removed.
            let is_open = text[parent.at..parent.end].contains('\n');
            let space = if is_open { "\n    " } else { "" };
            splice(text, parent.at + 1..parent.at + 1, &format!("{space}{member}"))
        }
    })
}

/// The text without this value: exactly what [`put`] adds goes, so that what stands before the next value stays
/// before it.
pub fn remove(text: &str, path: &[&str]) -> Result<String, Fault> {
    let tree = read(text)?;
    let found = path.split_last().and_then(|(name, parents)| {
        let parent = tree.down(parents)?;
        Some((parent, parent.fields().iter().rposition(|field| field.name == *name)?))
    });
    let Some((parent, index)) = found else { return Ok(text.to_owned()) };
    let fields = parent.fields();
    let gone = match (index.checked_sub(1), fields.get(index + 1)) {
        (Some(before), _) => fields[before].value.end..fields[index].value.end,
        (None, Some(next)) => fields[index].at..next.at,
        (None, None) => parent.at + 1..fields[index].value.end,
    };
    Ok(splice(text, gone, ""))
}

fn read(text: &str) -> Result<Tree, Fault> {
    let value: Value = serde_json::from_str(text).map_err(|error| Fault::doing(error.to_string()))?;
    // The tree and serde have the same limit of depth.
    let tree = Tree::read(text.as_bytes()).ok_or_else(|| no_object(text, 0))?;
    if value.is_object() { Ok(tree) } else { Err(no_object(text, tree.at)) }
}

fn no_object(text: &str, at: usize) -> Fault {
    let (line, column) = Cursor::new(text.as_bytes()).line_and_column(at);
    Fault::doing(format!("expected an object at line {line} column {column}"))
}

fn splice(text: &str, range: Range<usize>, with: &str) -> String {
    [&text[..range.start], with, &text[range.end..]].concat()
}
