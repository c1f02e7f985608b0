//! kase in the daemon.json of Docker.

use super::engine::Choice;
use super::json;
use crate::fault::Fault;

const RUNTIME: [&str; 2] = ["runtimes", "kase"];
const RUNTIMES: [&str; 1] = ["runtimes"];
const DEFAULT: [&str; 1] = ["default-runtime"];
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text with this program, in quotes, as the runtime kase.
///
/// # Errors
/// It is no JSON object, or its runtimes are none.
pub fn add(text: &str, program: &str, choice: Choice) -> Result<String, Fault> {
    let (mark, text) = split(text);
    let text = json::put(or_empty(text), &RUNTIME, &format!("{{\"path\": {program}}}"))?;
    Ok(match choice {
        Choice::Default => mark + &json::put(&text, &DEFAULT, "\"kase\"")?,
        Choice::OnRequest => mark + &text,
    })
}

/// The text without kase, and with what it hid of how the text was before.
pub fn remove(text: &str, before: &str) -> Result<String, Fault> {
    let ((mark, text), (_, before)) = (split(text), split(before));
    if text.trim().is_empty() {
        return Ok(mark + text);
    }
    let before = or_empty(before);
    let mut text = restore(text, before, &RUNTIME)?;
    if json::get(&text, &DEFAULT)? == Some("\"kase\"") {
        text = restore(&text, before, &DEFAULT)?;
    }
    let is_left_empty = json::get(&text, &RUNTIMES)?
        .is_some_and(|runtimes| runtimes.strip_prefix('{').is_some_and(|rest| rest.trim_start() == "}"));
    if is_left_empty && json::get(before, &RUNTIMES)?.is_none() {
        text = json::remove(&text, &RUNTIMES)?;
    }
    Ok(mark + &text)
}

/// The value is what it was before kase, or gone.
fn restore(text: &str, before: &str, path: &[&str]) -> Result<String, Fault> {
    match json::get(before, path)? {
        Some(value) => json::put(text, path, value),
        None => json::remove(text, path),
    }
}

fn or_empty(text: &str) -> &str {
    if text.trim().is_empty() { "{\n}\n" } else { text }
}

/// Docker reads a file that begins with a byte order mark, serde does not.
fn split(text: &str) -> (String, &str) {
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => (BYTE_ORDER_MARK.into(), rest),
        None => (String::new(), text),
    }
}
