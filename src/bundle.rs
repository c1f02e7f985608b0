//! The bundle: a directory with config.json, which is read and parsed here and nowhere else.

mod json;

use crate::config::{Config, FIELDS, fields};
use crate::fault::{Fault, OrFault};
use crate::json_tree::Tree;
use crate::kernel::text::read_bytes;
use json::Scan;
use nix::unistd::getcwd;
use oci_spec::runtime::LinuxResources;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
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
        let config =
            self::config(&text).map_err(|fault| fault.within(format!("parse {}", file.display())))?;
        Ok(Self { directory, text, config })
    }
}

/// Reads the text of a config.json.
///
/// # Errors
/// The field, the line and the column of what is wrong.
pub fn config(text: &[u8]) -> Result<Config, Fault> {
    let scan = Scan::of(text);
    let mut config: Config = parse_scanned(text, scan)?;
    if let Some(resources) = resources_of(&mut config) {
        let other = json::without_capitals(text, scan);
        if let Some(other) = &other {
            *resources = resources_again(other)?;
        }
        correct(resources, other.as_deref().unwrap_or(text), &["linux", "resources"]);
    }
    Ok(config)
}

/// Reads `linux.resources` alone, as `update` gets them.
///
/// # Errors
/// The field, the line and the column of what is wrong.
pub fn resources(text: &[u8]) -> Result<LinuxResources, Fault> {
    let scan = Scan::of(text);
    let mut resources = parse_scanned(text, scan)?;
    let other = json::without_capitals(text, scan);
    if let Some(other) = &other {
        resources = parse(other)?;
    }
    correct(&mut resources, other.as_deref().unwrap_or(text), &[]);
    Ok(resources)
}

/// Apart from its caller, whose frame need not have room for a second configuration.
#[cold]
#[inline(never)]
fn resources_again(text: &[u8]) -> Result<LinuxResources, Fault> {
    let mut config: Config = parse(text)?;
    Ok(resources_of(&mut config).map(std::mem::take).unwrap_or_default())
}

fn resources_of(config: &mut Config) -> Option<&mut LinuxResources> {
    config.linux.as_mut()?.resources_mut().as_mut()
}

/// A pids limit of 0 is one; `"pids": {}` is none. runc's JSON knows no case, and some files that were written for it
/// have `pagesize`, without which a limit of huge pages would be lost.
fn correct(resources: &mut LinuxResources, text: &[u8], section: &[&str]) {
    let has_no_limit = resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0);
    let mut pages = resources.hugepage_limits().iter().flatten();
    if !has_no_limit && pages.all(|limit| !limit.page_size().is_empty()) {
        return;
    }
    let tree = Tree::read(text);
    let Some(written) = tree.as_ref().and_then(|tree| tree.down(section)) else { return };
    if has_no_limit && written.down(&["pids", "limit"]).is_none() {
        resources.set_pids(None);
    }
    let limits = written.get("hugepageLimits").map_or(&[][..], Tree::elements);
    for (limit, written) in resources.hugepage_limits_mut().iter_mut().flatten().zip(limits) {
        if limit.page_size().is_empty() {
            limit.set_page_size(written.get("pagesize").and_then(Tree::text).unwrap_or_default().to_string());
        }
    }
}

/// The text of the bundle's config.json, or of the file that takes its place.
pub fn read(directory: &Path, config: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let file = directory.join(config.unwrap_or(Path::new("config.json")));
    read_bytes(&file).or_fault(|| {
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
    parse_scanned(text, Scan::of(text))
}

fn parse_scanned<T: DeserializeOwned>(text: &[u8], scan: Scan) -> Result<T, Fault> {
    let parsed = serde_json::from_slice(text).map_err(|error| fault(text, &error))?;
    if let Some(other) = json::without_misplaced_lists(text, scan) {
        check::<T>(&other)?;
    }
    match nul(text, scan) {
        Some(place) => {
            Err(Fault::at(place, "a NUL byte ends every name, path and argument").remedy("take it out"))
        }
        None => Ok(parsed),
    }
}

/// Apart from its caller, whose frame need not have room for a second result.
#[cold]
#[inline(never)]
fn check<T: DeserializeOwned>(text: &[u8]) -> Result<(), Fault> {
    serde_json::from_slice::<T>(text).map(drop).map_err(|error| fault(text, &error))
}

/// The place of the first string with a NUL byte that kase reads.
fn nul(text: &[u8], scan: Scan) -> Option<String> {
    // JSON can write it only like this, which is something else where a backslash stands before.
    if !scan.backslash || !text.split(|byte| *byte == b'\\').any(|part| part.starts_with(b"u0000")) {
        return None;
    }
    let Some(tree) = Tree::read(text) else { return Some("config.json".to_string()) };
    let strings = tree.strings().into_iter().filter(|(_, string)| string.contains('\0'));
    strings.map(|(at, _)| tree.path(at)).find(|place| !is_opaque(place))
}

/// Whether the text there is nobody's but the user's.
fn is_opaque(place: &str) -> bool {
    let top = place.split(['.', '[']).next().unwrap_or_default();
    !fields(FIELDS).any(|field| field.name == top && !field.is_map)
        || place == "linux.seccomp.listenerMetadata"
}

fn fault(text: &[u8], error: &serde_json::Error) -> Fault {
    let said = error.to_string();
    let (line, mut column) = (error.line(), error.column());
    let said = match error.classify() {
        Category::Data | Category::Io => json::in_words_of_json(&said).unwrap_or(said),
        // Where a word is expected, serde_json takes any other type for broken JSON.
        Category::Syntax | Category::Eof if serde_json::from_slice::<IgnoredAny>(text).is_ok() => {
            // serde_json has stopped behind the bracket of a list: the column of the bracket is meant.
            if text
                .split(|byte| *byte == b'\n')
                .nth(line.saturating_sub(1))
                .and_then(|line| line.get(column.wrapping_sub(1)))
                == Some(&b'[')
            {
                column -= 1;
            }
            said.replacen("expected value", "invalid type, expected a word", 1)
        }
        Category::Syntax if text.starts_with(b"\xEF\xBB\xBF") => {
            return Fault::doing("the file begins with a byte order mark, which JSON does not have")
                .remedy("remove its first three bytes: sed -i '1s/^\\xEF\\xBB\\xBF//'");
        }
        Category::Syntax if said.starts_with("trailing characters") => {
            return Fault::doing(format!(
                "there is more behind the end of the JSON, {}",
                said.replacen("trailing characters ", "", 1)
            ))
            .remedy("remove what begins there: the file may hold one JSON object only");
        }
        Category::Syntax | Category::Eof => {
            return Fault::doing(said).remedy("correct the JSON there; `jq . config.json` checks it");
        }
    };
    Fault::at(place(text, line, column), said)
        .remedy("write there what the runtime specification's config.md allows")
}

/// Which field ends at this line and column, as a path. Read again only after a failure: to keep track while
/// parsing would cost every container time and kase some 400 kB.
fn place(text: &[u8], line: usize, column: usize) -> String {
    let start: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let path = Tree::read_part(text).map(|tree| tree.path((start + column).saturating_sub(1)));
    path.filter(|path| !path.is_empty()).unwrap_or_else(|| "config.json".to_string())
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
    fn what_is_no_word_is_reported_with_its_place() {
        let fault = fault(r#"{"linux": {"namespaces": [{"type": "pid"}, {"type": {}}]}}"#);
        assert!(fault.starts_with("linux.namespaces[1].type: invalid type, expected a word"), "{fault}");
    }

    #[test]
    fn what_is_no_utf_8_is_reported_with_its_place_where_it_is_read() {
        let parsed = |text: &[u8]| parse::<Config>(text).map(drop).map_err(|fault| fault.to_string());
        parsed(b"{\"vendor\": \"caf\xe9\"}").unwrap();
        let fault = parsed(b"{\"hostname\": \"caf\xe9\"}").unwrap_err();
        assert!(fault.contains("invalid unicode code point at line 1"), "{fault}");
    }

    #[test]
    fn a_nul_byte_is_reported_with_its_place() {
        let table = [
            (r#"{"process": {"cwd": "/a\\\u0000"}}"#, Some("process.cwd: a NUL byte")),
            (r#"{"linux": {"maskedPaths": ["/a", "/\u0000"]}}"#, Some("linux.maskedPaths[1]: a NUL byte")),
            (r#"{"process": {"cwd": "/a\\u0000"}, "annotations": {"a": "\u0000"}}"#, None),
            (
                r#"{"vendor": {"x": ["\u0000"]}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "\u0000"}}}"#,
                None,
            ),
            (
                r#"{"annotations": {"\u0000": "\u0000"}, "hostname": "\\\u0000"}"#,
                Some("hostname: a NUL byte"),
            ),
        ];
        for (text, expected) in table {
            match expected {
                Some(expected) => assert!(fault(text).starts_with(expected), "{text}"),
                None => drop(parse::<Config>(text.as_bytes()).unwrap()),
            }
        }
    }

    #[test]
    fn broken_json_is_reported_with_line_and_column() {
        let fault = fault("{\n  \"ociVersion\": \"1.0.0\"\n  \"root\": {}\n}");
        assert!(fault.contains("line 3 column 3"), "{fault}");
    }

    #[test]
    fn limits_are_found_in_any_case_as_runc_finds_them() {
        let text =
            br#"{"CPU": {"Cpus": "0", "SHARES" : 5}, "Pids": {"limit": 0}, "unified": {"Limit": "Limit"}}"#;
        let found = resources(text).unwrap();
        let cpu = found.cpu().as_ref().unwrap();
        assert_eq!((cpu.cpus().as_deref(), cpu.shares()), (Some("0"), Some(5)));
        assert_eq!(found.pids().as_ref().unwrap().limit(), 0);
        let twice = br#"{"cpu": {"shares": 5, "quota": 7}, "x": {}, "CPU": {"Cpus": "0", "Mems": "1"}}"#;
        let other_order = br#"{"CPU": {"Cpus": "0", "Mems": "1"}, "cpu": {"shares": 5, "quota": 7}}"#;
        assert_eq!(resources(twice).unwrap(), resources(other_order).unwrap());
        let cpu = resources(twice).unwrap().cpu().clone().unwrap();
        assert_eq!((cpu.cpus().as_deref(), cpu.mems().as_deref()), (Some("0"), Some("1")));
        assert_eq!((cpu.shares(), cpu.quota()), (Some(5), Some(7)));
        assert!(fault_of_resources(br#"{"Memory": {"Limit": "x"}}"#).starts_with("memory.limit: "));
    }

    fn fault_of_resources(text: &[u8]) -> String {
        resources(text).unwrap_err().to_string()
    }

    #[test]
    fn a_page_size_may_be_in_small_letters() {
        let text =
            r#"{"hugepageLimits": [{"pageSize": "1GB", "limit": 0}, {"limit": 5, "pagesize": "2MB"}]}"#;
        let read = resources(text.as_bytes()).unwrap();
        let sizes: Vec<_> = read
            .hugepage_limits()
            .iter()
            .flatten()
            .map(oci_spec::runtime::LinuxHugepageLimit::page_size)
            .collect();
        assert_eq!(sizes, ["1GB", "2MB"]);
    }

    #[test]
    fn a_pids_limit_of_0_is_one_and_none_is_none() {
        let limit = |text: &str| resources(text.as_bytes()).unwrap().pids().map(|pids| pids.limit());
        assert_eq!(limit(r#"{"pids": {}}"#), None);
        assert_eq!(limit(r#"{"unified": {"limit": "1"}, "pids": {}}"#), None);
        assert_eq!(limit(r#"{"pids": {"limit": 0}}"#), Some(0));
    }

    #[test]
    fn any_text_at_all_gives_a_place() {
        for text in ["", "{", "\"", "\"\\", "]}", "{\"a", "[[[1,", "{\"a\":\"\\\"}"] {
            place(text.as_bytes(), 1, text.len());
            place(text.as_bytes(), 9, 9);
        }
    }
}
