//! Files of our own that Podman and CRI-O read beside the user's.

use super::engine::Choice;
use super::file::read;
use super::toml::{Document, registered};
use crate::fault::{Fault, OrFault};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The lists of containers.conf that replace the ones before them.
const LISTS: [&str; 2] = ["runtime_supports_json", "runtime_supports_nocgroup"];

/// Podman's, with this program in quotes. Its lists also name what the user's files around `own` add to them.
///
/// # Errors
/// One of these files cannot be read, or is no TOML.
pub fn podman(own: &Path, program: &str, choice: Choice) -> anyhow::Result<String> {
    let mut text = registered(include_str!("../../extras/podman.conf"), program);
    for file in users_files(own)? {
        let Some(users) = read(&file)? else { continue };
        let document =
            Document::read(&users).map_err(|fault| fault.within(format!("read {}", file.display())))?;
        for list in LISTS {
            for name in document.strings(&["engine", list]) {
                add(&mut text, list, &serde_json::to_string(name)?);
            }
        }
    }
    if choice == Choice::OnRequest {
        text = text.split_inclusive('\n').filter(|line| !line.starts_with("runtime = ")).collect();
    }
    Ok(text)
}

/// CRI-O's.
pub fn crio(program: &str, choice: Choice) -> String {
    let text = registered(include_str!("../../extras/crio.conf"), program);
    match (text.split_once("[crio.runtime]\n"), choice) {
        (Some((head, rest)), Choice::OnRequest) => {
            head.to_owned() + rest.split_once("\n\n").map_or("", |(_, rest)| rest)
        }
        _ => text,
    }
}

fn users_files(own: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let drop_ins = own.parent().unwrap_or(own);
    let list = || -> std::io::Result<Vec<PathBuf>> {
        match fs::read_dir(drop_ins) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.path())).collect(),
        }
    };
    let doing = || {
        Fault::doing(format!("list {}", drop_ins.display())).remedy("call it as who may read this directory")
    };
    let mut files = list().or_fault(doing)?;
    files.retain(|file| file != own && file.extension() == Some(OsStr::new("conf")));
    files.sort();
    files.insert(0, drop_ins.with_file_name("containers.conf"));
    Ok(files)
}

/// Adds a name, in quotes, to one of our lists, each of which is on a line of its own.
fn add(text: &mut String, list: &str, name: &str) {
    let Some(at) = text.find(&format!("\n{list} = [")).map(|at| at + 1) else { return };
    let Some(end) = text[at..].find("]\n").map(|length| at + length) else { return };
    if !text[at..end].contains(name) {
        text.insert_str(end, &format!(", {name}"));
    }
}
