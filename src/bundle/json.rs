//! Where the specification's JSON is stricter than serde, and says it in other words.

use crate::config::FIELDS;
use crate::json_tree::{Node, Tree};
use serde_json::Value;

/// serde names types as Rust does.
pub(super) fn in_words_of_json(said: &str) -> Option<String> {
    let (found, rest) = said.rsplit_once(", expected ")?;
    let (wanted, line) = rest.rsplit_once(" at line ")?;
    let found = match found {
        "invalid type: sequence" => "invalid type: list",
        "invalid type: map" => "invalid type: object",
        found => found,
    };
    let wanted = match wanted {
        "a sequence" => "a list",
        "a map" => "an object",
        "path string" => "a string",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "usize" => "an integer from 0 to 18446744073709551615",
        "i32" => "an integer from -2147483648 to 2147483647",
        "i64" => "an integer from -9223372036854775808 to 9223372036854775807",
        wanted if wanted.starts_with("struct ") => "an object",
        wanted => wanted,
    };
    Some(format!("{found}, expected {wanted} at line {line}"))
}

/// What one pass over a text has found: most have nothing of it, and are read by serde alone.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Scan {
    /// A list where no field has one.
    misplaced_list: bool,
    /// A backslash.
    pub(super) backslash: bool,
    /// A section of limits with capitals.
    capitals: bool,
}

impl Scan {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut found = Self::default();
        let mut at = 0;
        // An iterator was measurably slower, and each byte of an engine's config.json of 14 kB passes here.
        while at < text.len() {
            if SEEN[usize::from(text[at])] {
                found.see(text, at);
            }
            at += 1;
        }
        found
    }

    fn see(&mut self, text: &[u8], at: usize) {
        match text[at] {
            b'[' => self.misplaced_list = self.misplaced_list || is_misplaced(text, at),
            b'\\' => self.backslash = true,
            _ => self.capitals = self.capitals || is_capital(text, at),
        }
    }
}

/// The bytes that are looked at.
static SEEN: [bool; 256] = {
    let bytes = b"[\\CMPB";
    let (mut seen, mut at) = ([false; 256], 0);
    while at < bytes.len() {
        seen[bytes[at] as usize] = true;
        at += 1;
    }
    seen
};

/// Whether a section of limits is named here with capitals.
fn is_capital(text: &[u8], at: usize) -> bool {
    const SECTIONS: [&[u8]; 5] = [b"CPU\"", b"Cpu\"", b"Memory\"", b"Pids\"", b"BlockIO\""];
    text[..at].ends_with(b"\"") && SECTIONS.iter().any(|name| text[at..].starts_with(name))
}

/// The text with a number for each list that stands where no field has one, if there is any.
///
/// serde fills a struct from a list too: the elements would be the object's fields, and what is missing their
/// defaults. Where the number does not parse either, an object is expected.
pub(super) fn without_misplaced_lists(text: &[u8], scan: Scan) -> Option<Vec<u8>> {
    if !scan.misplaced_list {
        return None;
    }
    let mut other = text.to_vec();
    replace_lists(&Tree::read(text)?, "", &mut other);
    Some(other)
}

/// Replaces the lists in a value, the field's of this name, in their text.
fn replace_lists(tree: &Tree, name: &str, text: &mut [u8]) {
    match &tree.node {
        Node::Object(fields) => {
            fields.iter().for_each(|field| replace_lists(&field.value, &field.name, text));
        }
        Node::List(elements) if is_list(name.as_bytes()) => {
            elements.iter().for_each(|element| replace_lists(element, "", text));
        }
        Node::List(_) => {
            // Newlines stay, so that an error has the same line as in the file.
            text[tree.at..tree.end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            text[tree.at] = b'0';
        }
        Node::Text(_) | Node::Plain(_) => {}
    }
}

/// Whether the list that begins here is an element of another, or the value of a field that is no list. In a
/// string, the answer means nothing.
fn is_misplaced(text: &[u8], at: usize) -> bool {
    let before = text[..at].trim_ascii_end();
    match before.split_last() {
        Some((b':', name)) => {
            let name = name.trim_ascii_end().strip_suffix(b"\"").unwrap_or_default();
            let name = name.rsplit(|byte| *byte == b'"').next().unwrap_or_default();
            !is_list(name)
        }
        Some((b'[' | b',', _)) | None => true,
        Some(_) => false,
    }
}

/// Whether a field of this name is a list.
fn is_list(name: &[u8]) -> bool {
    LISTS.as_bytes().split(|byte| *byte == b' ').any(|list| list == name)
}

/// The fields of the specification that are lists: apart from the table of all, since each list of a text is looked up.
const LISTS: &str = "env args mounts options names syscalls architectures flags namespaces devices bounding \
    effective permitted inheritable ambient rlimits additionalGids maskedPaths readonlyPaths uidMappings \
    gidMappings prestart createRuntime createContainer startContainer poststart poststop hugepageLimits \
    weightDevice throttleReadBpsDevice throttleWriteBpsDevice throttleReadIOPSDevice throttleWriteIOPSDevice \
    priorities schemata";

/// The text with the names of limits as the specification writes them, if a section of them is there with capitals:
/// of all of it if it is the resources themselves, else of `linux.resources`. runc's JSON knows no case, and a limit
/// that a file has had for runc must not be lost. What is there by two names is one.
pub(super) fn without_capitals(text: &[u8], scan: Scan) -> Option<Vec<u8>> {
    if !scan.capitals {
        return None;
    }
    let mut whole: Value = serde_json::from_slice(text).ok()?;
    match whole.pointer_mut("/linux/resources") {
        Some(resources) => name_as_specified(resources),
        None => name_as_specified(&mut whole),
    }
    serde_json::to_vec_pretty(&whole).ok()
}

fn name_as_specified(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, mut value) in std::mem::take(fields) {
                let mut names = FIELDS.split([' ', '{', '}', '*']);
                let name = names.find(|name| name.eq_ignore_ascii_case(&key)).unwrap_or(&key);
                // The names in it are those of the kernel's files, in which case matters.
                if name != "unified" {
                    name_as_specified(&mut value);
                }
                match (fields.get_mut(name), value) {
                    (Some(Value::Object(first)), Value::Object(second)) => first.extend(second),
                    (_, value) => drop(fields.insert(name.to_string(), value)),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(name_as_specified),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::bundle::parse;
    use crate::config::Config;

    #[test]
    fn a_list_for_an_object_is_refused_and_elsewhere_it_is_none_of_ours() {
        let table = [
            ("[]", "config.json: "),
            (r#"{"linux": {"resources": {"pids": [4]}}}"#, "linux.resources.pids: "),
            (
                r#"{"linux": {"vendor": [[1]], "uidMappings":
               [{}, []]}}"#,
                "linux.uidMappings[1]: ",
            ),
            (
                r#"{"annotations": {"a": ",[1", "b": "\"x\": [["}, "process": {"user" : [1, 2]}}"#,
                "process.user: ",
            ),
        ];
        for (text, place) in table {
            let fault = parse::<Config>(text.as_bytes()).unwrap_err().to_string();
            assert!(fault.starts_with(place) && fault.contains(", expected an object at line"), "{fault}");
        }
        for text in
            [r#"{"vendor": [[1], {"user": []}]}"#, r#"{"annotations": {"a": "{\"process\":[], [[" }}"#]
        {
            parse::<Config>(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn types_are_named_as_in_json() {
        let table = [
            (r#"{"process": {"user": {"uid": -1}}}"#, "expected an integer from 0 to 4294967295 at line 1"),
            (r#"{"process": {"user": {"uid": {}}}}"#, "invalid type: object, expected an integer"),
            (
                r#"{"process": {"user": ", expected u32 at line 1"}}"#,
                "line 1\", expected an object at line 1",
            ),
            (r#"{"mounts": [{"destination": []}]}"#, "invalid type: list, expected a string"),
        ];
        for (text, words) in table {
            let fault = parse::<Config>(text.as_bytes()).unwrap_err().to_string();
            assert!(fault.contains(words), "{fault}");
        }
    }
}
