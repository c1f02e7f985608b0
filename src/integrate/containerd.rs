//! kase in the config.toml of containerd: a block of its own at the end, between two comments.

use super::toml::{Document, registered};
use crate::fault::{Fault, OrFault};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// How the first comment begins; what follows said other things in an older kase.
const BEGIN: &str = "# kase: begin";
const END: &str = "# kase: end";
/// What follows is for where containerd has no other runtimes listed.
const ALONE: &str = "# containerd no longer";

/// The text with this program, in quotes, as the runtime kase.
///
/// # Errors
/// It is no TOML, or of another version than 2 and 3; kase is in it already; no block can be added to it.
pub fn add(text: &str, program: &str) -> anyhow::Result<String> {
    let document = Document::read(text)?;
    let is_empty = text.trim().is_empty();
    let version = match document.get(&["version"]) {
        Some(version) => version.to_owned(),
        None if is_empty => own_version()?,
        None => "1".to_owned(),
    };
    let (plugin, example) = match version.as_str() {
        "2" => ("io.containerd.grpc.v1.cri", include_str!("../../extras/containerd-2.toml")),
        "3" => ("io.containerd.cri.v1.runtime", include_str!("../../extras/containerd-3.toml")),
        _ => {
            let fault = Fault::doing(format!("its version is {version}, and not 2 or 3"));
            return Err(fault.remedy("write what `containerd config migrate` prints in its place").into());
        }
    };
    let runtime = |name| ["plugins", plugin, "containerd", "runtimes", name];
    if document.get(&runtime("kase")).is_some() {
        let line = document.line(&runtime("kase"));
        let fault = Fault::doing(format!("line {line}: a runtime kase is there already, by somebody else"));
        return Err(fault.remedy("remove it there, or leave it as it is").into());
    }
    let mut block = registered(example, program);
    // Where somebody has listed runtimes or chosen another default, runc is not added.
    let chosen = ["plugins", plugin, "containerd", "default_runtime_name"];
    if document.get(&runtime("runc")).or(document.get(&chosen)).is_some() {
        block.truncate(block.find(ALONE).unwrap_or(block.len()));
    }
    let text = if is_empty { &format!("version = {version}\n") } else { text };
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let begin = format!("{BEGIN} (`kase integrate containerd --remove` takes this out)");
    let new = format!("{text}{newline}{begin}\n{block}{END}\n");
    match Document::read(&new) {
        Ok(_) => Ok(new),
        Err(fault) => Err(closed(&document, &runtime("kase")).unwrap_or(fault).into()),
    }
}

/// Names what no block can be added to: the last that there is on the way to the runtime.
fn closed(document: &Document<'_>, runtime: &[&str]) -> Option<Fault> {
    let path = (1..runtime.len())
        .rev()
        .map(|length| &runtime[..length])
        .find(|path| document.get(path).is_some())?;
    let (line, name) = (document.line(path), path.last()?);
    let fault = Fault::doing(format!("line {line}: nothing can be added to `{name}` as it is written there"));
    Some(fault.remedy(format!("write `{name}`, and what holds it, as tables with [heads] of their own")))
}

/// The text without the block.
///
/// # Errors
/// The comment at the block's end is gone.
pub fn remove(text: &str) -> Result<String, Fault> {
    let mut begun = None;
    let mut rest = String::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match begun {
            None if line.starts_with(BEGIN) => begun = Some(index + 1),
            None => rest.push_str(line),
            Some(_) if line.trim_end() == END => begun = None,
            Some(_) => {}
        }
    }
    match begun {
        None => Ok(rest),
        Some(line) => Err(Fault::doing(format!("line {line}: no line `{END}` follows"))
            .remedy(format!("write `{END}` behind what kase added there"))),
    }
}

/// Asks containerd, if it is here, what it makes of the file.
pub fn check(file: &Path) -> anyhow::Result<()> {
    let words = ["--config".as_ref(), file.as_os_str(), "config".as_ref(), "dump".as_ref()];
    let Some(output) = ask(&words)? else { return Ok(()) };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let fault = Fault::doing(format!("containerd refuses it with kase: {}", said.trim()));
    Err(fault.remedy("correct what containerd names").into())
}

/// The version that containerd itself writes.
fn own_version() -> anyhow::Result<String> {
    let output = ask(&["config".as_ref(), "default".as_ref()])?;
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version =
        Document::read(&text).ok().and_then(|document| document.get(&["version"]).map(str::to_owned));
    Ok(version.unwrap_or_else(|| "2".to_owned()))
}

/// What containerd answers, if there is one: a directory of PATH that the caller may not search has none.
fn ask(words: &[&OsStr]) -> anyhow::Result<Option<Output>> {
    let Some(containerd) = rootless::program("containerd") else { return Ok(None) };
    let output = Command::new(containerd).args(words).output();
    output
        .map(Some)
        .or_fault(|| Fault::doing("run containerd").remedy("make it executable, or take it out of PATH"))
}
