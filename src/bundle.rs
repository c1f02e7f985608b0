//! The bundle: a directory with config.json, which is read and parsed here and nowhere else.

use crate::config::Config;
use crate::fault::{Fault, OrFault};
use nix::unistd::getcwd;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::fs;
use std::path::{Path, PathBuf};

/// A bundle that has been read.
#[derive(Debug)]
pub struct Bundle {
    /// Its directory, absolute.
    pub directory: PathBuf,
    /// config.json as it was read, to be kept with the container.
    pub text: Vec<u8>,
    /// config.json.
    pub config: Config,
}

impl Bundle {
    /// Reads the bundle in `directory`; `config` names the file if it is not config.json.
    ///
    /// # Errors
    /// A file that is missing, or that is no configuration: the line, the column and the field.
    pub fn open(directory: &Path, config: Option<&Path>) -> anyhow::Result<Self> {
        let directory = absolute(directory)?;
        let text = read(&directory, config)?;
        let file = directory.join(config.unwrap_or(Path::new("config.json")));
        let config = parse(&text).map_err(|fault| fault.within(format!("parse {}", file.display())))?;
        Ok(Self { directory, text, config })
    }
}

/// The text of the bundle's config.json, or of the file that takes its place.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn read(directory: &Path, config: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let file = directory.join(config.unwrap_or(Path::new("config.json")));
    fs::read(&file).or_fault(|| {
        Fault::doing(format!("read {}", file.display()))
            .remedy("name the bundle's directory with --bundle; `kase spec` writes a config.json into it")
    })
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path.to_path_buf());
    }
    let here = getcwd().or_fault(|| {
        Fault::doing("find the working directory")
            .remedy("change to a directory that exists, or give --bundle a whole path")
    })?;
    Ok(here.join(path).components().collect())
}

/// Parses JSON of the specification's.
///
/// # Errors
/// The field, the line and the column of what is wrong.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(text).map_err(|error| {
        let said = error.to_string();
        match error.classify() {
            Category::Data | Category::Io => Fault::at(place(text, error.line(), error.column()), said)
                .remedy("write there what the runtime specification's config.md allows"),
            Category::Syntax | Category::Eof => {
                Fault::doing(said).remedy("correct the JSON there; `jq . config.json` checks it")
            }
        }
    })
}

/// Which field ends at this line and column, as a path. Walked only after a failure: to keep track while
/// parsing would cost every container time and kase some 400 kB.
fn place(text: &[u8], line: usize, column: usize) -> String {
    let start: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let text = &text[..text.len().min(start + column)];
    let mut path: Vec<Step> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'{' => path.push(Step::Field(String::new(), Expected::Name)),
            b'[' => path.push(Step::Element(0)),
            b'}' | b']' => drop(path.pop()),
            b':' => {
                if let Some(Step::Field(_, expected)) = path.last_mut() {
                    *expected = Expected::Value;
                }
            }
            b',' => match path.last_mut() {
                Some(Step::Field(_, expected)) => *expected = Expected::Name,
                Some(Step::Element(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let end = string_end(text, at);
                if let Some(Step::Field(name, Expected::Name)) = path.last_mut() {
                    *name = String::from_utf8_lossy(&text[at + 1..end]).into_owned();
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    let mut shown = String::new();
    for step in path {
        match step {
            Step::Field(name, _) if shown.is_empty() => shown.push_str(&name),
            Step::Field(name, _) => shown.extend([".", &name]),
            Step::Element(index) => shown.push_str(&format!("[{index}]")),
        }
    }
    if shown.is_empty() { "config.json".to_string() } else { shown }
}

enum Step {
    Field(String, Expected),
    Element(usize),
}

enum Expected {
    Name,
    Value,
}

/// Where the string that begins at `start` has its closing quote.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        parse::<Config>(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_type_is_reported_with_its_place_and_line() {
        let fault = fault(
            r#"{"ociVersion": "1.0.0", "annotations": {"a": "x{,\"["},
            "process": {"cwd": "/", "args": ["a", "b", 3]}}"#,
        );
        assert!(fault.starts_with("process.args[2]: invalid type"), "{fault}");
        assert!(fault.contains("line 2"), "{fault}");
    }

    #[test]
    fn a_missing_field_is_reported_with_the_object_that_lacks_it() {
        let fault = fault(r#"{"ociVersion": "1.0.0", "mounts": [{"destination": "/a"}, {"source": "/b"}]}"#);
        assert!(fault.starts_with("mounts[1]: missing field `destination`"), "{fault}");
    }

    #[test]
    fn an_unknown_word_is_reported_with_those_that_are_known() {
        let fault = fault(r#"{"linux": {"namespaces": [{"type": "pid"}, {"type": "moon"}]}}"#);
        assert!(
            fault.starts_with("linux.namespaces[1].type: unknown variant `moon`, expected one of"),
            "{fault}"
        );
    }

    #[test]
    fn broken_json_is_reported_with_line_and_column() {
        let fault = fault("{\n  \"ociVersion\": \"1.0.0\"\n  \"root\": {}\n}");
        assert!(fault.contains("line 3 column 3"), "{fault}");
    }

    #[test]
    fn any_text_at_all_gives_a_place() {
        for text in ["", "{", "\"", "\"\\", "]}", "{\"a", "[[[1,", "{\"a\":\"\\\"}"] {
            place(text.as_bytes(), 1, text.len());
            place(text.as_bytes(), 9, 9);
        }
    }
}
