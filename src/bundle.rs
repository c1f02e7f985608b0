//! The bundle: a directory with config.json, which is read and parsed here and nowhere else.

use crate::fault::{Fault, OrFault};
use nix::unistd::getcwd;
use oci_spec::runtime::Spec;
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
    pub spec: Spec,
}

impl Bundle {
    /// Reads the bundle in `directory`; `config` names the file if it is not config.json.
    ///
    /// # Errors
    /// A file that is missing, or that is no configuration: the line, the column and the field.
    pub fn open(directory: &Path, config: Option<&Path>) -> anyhow::Result<Self> {
        let directory = absolute(directory)?;
        let file = directory.join(config.unwrap_or(Path::new("config.json")));
        let text = fs::read(&file).or_fault(|| {
            Fault::doing(format!("read {}", file.display()))
                .remedy("name the bundle's directory with --bundle; `kase spec` writes a config.json into it")
        })?;
        let spec = parse(&text).map_err(|fault| fault.within(format!("parse {}", file.display())))?;
        Ok(Self { directory, text, spec })
    }
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

/// Parses config.json. What the strict types of the crate refuse, but engines may send, is looked at only
/// when parsing has failed: names of capabilities that are newer than kase are left out then.
fn parse(text: &[u8]) -> Result<Spec, Fault> {
    match serde_json::from_slice(text) {
        Ok(spec) => Ok(spec),
        Err(first) => match lenient(text) {
            Some(spec) => Ok(spec),
            None => Err(malformed(text, &first)),
        },
    }
}

fn lenient(text: &[u8]) -> Option<Spec> {
    let mut value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let sets = value.pointer_mut("/process/capabilities")?.as_object_mut()?;
    for (set, names) in sets {
        let Some(names) = names.as_array_mut() else { continue };
        names.retain(|name| {
            let known = serde_json::from_value::<oci_spec::runtime::Capability>(name.clone()).is_ok();
            if !known && name.is_string() {
                tracing::warn!("process.capabilities.{set}: {name} is unknown; it is left out");
            }
            known || !name.is_string()
        });
    }
    serde_json::from_value(value).ok()
}

/// The error of a second, slower parse that keeps track of where it is.
fn malformed(text: &[u8], first: &serde_json::Error) -> Fault {
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_slice(text);
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let parsed: Result<Spec, _> = serde::Deserialize::deserialize(tracked);
    let error =
        parsed.err().unwrap_or_else(|| serde_json::Error::io(std::io::Error::other(first.to_string())));
    let path = track.path().to_string();
    let remedy = match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            "correct the JSON there; `jq . config.json` checks it"
        }
        _ => "write there what the runtime specification's config.md allows",
    };
    match path.as_str() {
        "." => Fault::doing(error.to_string()),
        path => Fault::at(path, error.to_string()),
    }
    .remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_reported_with_its_place_and_line() {
        let text = br#"{"ociVersion": "1.0.0",
            "process": {"cwd": "/", "user": {"uid": "root"}}}"#;
        let fault = parse(text).unwrap_err().to_string();
        assert!(fault.starts_with("process.user.uid: invalid type"), "{fault}");
        assert!(fault.contains("line 2"), "{fault}");
    }

    #[test]
    fn an_unknown_capability_is_left_out() {
        let text = br#"{"ociVersion": "1.0.0", "process": {"cwd": "/", "user": {},
            "capabilities": {"bounding": ["CAP_KILL", "CAP_TIME_TRAVEL"]}}}"#;
        let spec = parse(text).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn broken_json_is_reported_with_line_and_column() {
        let fault = parse(b"{\n  \"ociVersion\": \"1.0.0\"\n  \"root\": {}\n}").unwrap_err().to_string();
        assert!(fault.contains("line 3 column 3"), "{fault}");
    }
}
