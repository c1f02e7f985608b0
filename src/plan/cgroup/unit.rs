//! The transient unit that systemd makes for a container.

use super::annotated::Properties;
use super::setting::{Setting, Systemd};
use crate::fault::{Fault, Place};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// A scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `kase-web.scope`.
    pub name: String,
    /// The slice it is in: `system.slice`.
    pub slice: String,
    /// Who makes it.
    pub bus: Systemd,
    /// `org.systemd.property.*`.
    pub properties: Vec<(String, Property)>,
    /// `run.oci.systemd.subgroup`: a cgroup below the unit's own that has the container.
    pub subgroup: Option<PathBuf>,
}

/// A property's value, in the types of D-Bus that an annotation can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// `b`
    Bool(bool),
    /// `s`
    Text(String),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Uint32s(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(st)`
    Numbers(Vec<(String, u64)>),
}

const PATH: Place = Place::of("linux.cgroupsPath");
const ANNOTATIONS: Place = Place::of("annotations");
const PREFIX: &str = "org.systemd.property.";
const SUBGROUP: &str = "run.oci.systemd.subgroup";

/// `slice:prefix:name`, if that is what it is.
pub fn parts(path: &Path) -> Option<(&str, &str, &str)> {
    let text = path.to_str().filter(|text| !text.starts_with('/'))?;
    let mut parts = text.split(':');
    let found = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(found)
}

/// Decides the unit's names and properties.
///
/// # Errors
/// A path of another form, names that systemd refuses, annotations that are no values.
pub fn decide(
    path: Option<&Path>,
    annotations: Option<&HashMap<String, String>>,
    setting: &Setting<'_>,
    bus: Systemd,
) -> Result<Unit, Fault> {
    let default = match bus {
        Systemd::System => "system.slice",
        Systemd::User => "user.slice",
    };
    let (slice, prefix, name) = match path {
        None => ("", "kase", setting.id),
        Some(path) => parts(path).ok_or_else(|| {
            Fault::at(
                PATH,
                format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {:?} instead",
                    path.display().to_string()
                ),
            )
            .remedy("write it as machine.slice:kase:web, or leave --systemd-cgroup out")
        })?,
    };
    let slice = if slice.is_empty() { default } else { slice };
    expand(slice).ok_or_else(|| invalid(slice))?;
    if name.ends_with(".slice") {
        return Err(Fault::at(PATH, format!("{name} is a slice, which takes no processes"))
            .remedy("name a scope in it: machine.slice:kase:web"));
    }
    let unit = match prefix {
        "" => format!("{name}.scope"),
        prefix => format!("{prefix}-{name}.scope"),
    };
    check_name(&unit)?;
    let (properties, subgroup) = annotated(annotations, setting.manager.properties)?;
    Ok(Unit { name: unit, slice: slice.to_string(), bus, properties, subgroup })
}

fn invalid(slice: &str) -> Fault {
    Fault::at(PATH, format!("invalid slice name: {slice}"))
        .remedy("use a name such as machine.slice, or machine-web.slice for a slice in a slice")
}

fn check_name(unit: &str) -> Result<(), Fault> {
    /// systemd's UNIT_NAME_MAX.
    const LONGEST: usize = 255;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if let Some(letter) = unit.chars().find(|letter| !letter.is_ascii() || !allowed(*letter as u8)) {
        return Err(Fault::at(PATH, format!("{unit:?} is no unit name, because of {letter:?}"))
            .remedy("use letters, digits and : - _ . \\ @"));
    }
    if unit.len() > LONGEST {
        return Err(Fault::at(PATH, format!("{unit:?} is too long for a unit name"))
            .remedy(format!("use at most {LONGEST} letters, with prefix and .scope")));
    }
    Ok(())
}

/// Where a slice is below the root of systemd's tree: `a-b.slice` is `a.slice/a-b.slice`.
pub fn expand(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty() && !name.contains('/'))?;
    let mut path = PathBuf::new();
    if name == "-" {
        return Some(path);
    }
    let mut above = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return None;
        }
        above.push_str(part);
        path.push(format!("{above}.slice"));
        above.push('-');
    }
    Some(path)
}

type Annotated = (Vec<(String, Property)>, Option<PathBuf>);

fn annotated(annotations: Option<&HashMap<String, String>>, taken: Properties) -> Result<Annotated, Fault> {
    let mut properties = Vec::new();
    let mut subgroup = None;
    for (key, value) in annotations.into_iter().flatten() {
        if let Some(name) = key.strip_prefix(PREFIX) {
            let property = property(name, value).map_err(|words| {
                Fault::at(ANNOTATIONS, format!("{key}={value:?}: {words}"))
                    .remedy("write the value as gdbus(1) would: true, 5, uint64 5, 'text', ['a', 'b']")
            })?;
            if !taken.take(&property.0) {
                return Err(Fault::at(
                    ANNOTATIONS,
                    format!("{key} is not about the container's scope alone"),
                )
                .remedy("take the annotation out, or give --systemd-properties any before the command"));
            }
            properties.push(property);
        } else if key == SUBGROUP {
            subgroup = sub(value)?;
        }
    }
    properties.sort_by(|(one, _), (two, _)| one.cmp(two));
    Ok((properties, subgroup))
}

fn sub(value: &str) -> Result<Option<PathBuf>, Fault> {
    let path = Path::new(value);
    if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir)) {
        return Err(Fault::at(ANNOTATIONS, format!("{SUBGROUP}={value:?} leads out of the unit"))
            .remedy("name a cgroup below the unit, such as container"));
    }
    let path: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
}

/// An annotation as a property. `NAMESec` stands for `NAMEUSec`, in seconds.
fn property(name: &str, value: &str) -> Result<(String, Property), String> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(format!("{name:?} is no property name"));
    }
    let parsed = parse(value.trim())?;
    let Some(stem) = name.strip_suffix("Sec").filter(|stem| stem.len() > 2 && !stem.ends_with('U')) else {
        return Ok((name.to_string(), parsed));
    };
    let seconds = match parsed {
        Property::Int32(value) => f64::from(value),
        Property::Uint32(value) => f64::from(value),
        Property::Int64(value) => value as f64,
        Property::Uint64(value) => value as f64,
        _ => return Err("seconds are a number".to_string()),
    };
    if seconds < 0.0 {
        return Err("seconds are not negative".to_string());
    }
    Ok((format!("{stem}USec"), Property::Uint64((seconds * 1e6) as u64)))
}

/// The part of GVariant's text format that unit properties need.
fn parse(text: &str) -> Result<Property, String> {
    let number = |text: &str| text.parse::<i128>().map_err(|_| format!("{text:?} is no value"));
    let fit = |kind: &str| format!("does not fit into {kind}");
    match text {
        "true" => return Ok(Property::Bool(true)),
        "false" => return Ok(Property::Bool(false)),
        _ => {}
    }
    if let Some((kind, rest)) =
        text.split_once(' ').filter(|(kind, _)| kind.bytes().all(|b| b.is_ascii_alphanumeric()))
    {
        let value = number(rest.trim())?;
        return match kind {
            "int32" => value.try_into().map(Property::Int32),
            "uint32" => value.try_into().map(Property::Uint32),
            "int64" => value.try_into().map(Property::Int64),
            "uint64" => value.try_into().map(Property::Uint64),
            _ => return Err(format!("{kind:?} is no type")),
        }
        .map_err(|_| fit(kind));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return list(inner);
    }
    if text.starts_with(['\'', '"']) {
        let (word, rest) = quoted(text)?;
        return if rest.trim().is_empty() {
            Ok(Property::Text(word))
        } else {
            Err(format!("{rest:?} is left over"))
        };
    }
    number(text)?.try_into().map(Property::Int32).map_err(|_| fit("int32; write its type before it"))
}

fn list(inner: &str) -> Result<Property, String> {
    let inner = inner.trim();
    let numbers = inner.strip_prefix("uint32 ").or(inner.strip_prefix("byte "));
    if let Some(numbers) = numbers {
        let values: Option<Vec<u32>> = numbers.split(',').map(|word| number(word.trim())).collect();
        let values = values.ok_or_else(|| format!("{inner:?} is no list of numbers"))?;
        if inner.starts_with("uint32 ") {
            return Ok(Property::Uint32s(values));
        }
        let bytes: Result<Vec<u8>, _> = values.into_iter().map(u8::try_from).collect();
        return bytes.map(Property::Bytes).map_err(|_| "a byte is at most 255".to_string());
    }
    let (mut rest, mut texts, mut pairs) = (inner, Vec::new(), Vec::new());
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('(') {
            let (one, after) = quoted(after.trim_start())?;
            let after = after.trim_start().strip_prefix(',').ok_or("a pair has two parts")?;
            let (two, after) = quoted(after.trim_start())?;
            rest = after.trim_start().strip_prefix(')').ok_or("a pair ends with )")?.trim_start();
            pairs.push((one, two));
        } else {
            let (word, after) = quoted(rest)?;
            rest = after.trim_start();
            texts.push(word);
        }
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(format!("{rest:?} is left over")),
        };
    }
    match (texts.is_empty(), pairs.is_empty()) {
        (true, false) => Ok(Property::Pairs(pairs)),
        (_, true) => Ok(Property::Texts(texts)),
        (false, false) => Err("a list has values of one type".to_string()),
    }
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// A quoted word, and what is after it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut letters = text.char_indices();
    let (_, quote) = letters
        .next()
        .filter(|(_, c)| matches!(c, '\'' | '"'))
        .ok_or_else(|| format!("{text:?} is no value"))?;
    let mut word = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => word.push(letters.next().ok_or("a backslash ends the value")?.1),
            letter if letter == quote => return Ok((word, &text[at + 1..])),
            letter => word.push(letter),
        }
    }
    Err("a quotation mark is missing".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::{Driver, Manager, Version};
    use rootless::caller::Standing;

    fn setting(id: &str) -> Setting<'_> {
        Setting {
            version: Some(Version::V2),
            systemd: Some(Systemd::System),
            manager: Manager { driver: Driver::Systemd, properties: Properties::Scope },
            standing: Standing::Root,
            id,
            owner: None,
        }
    }

    fn unit(path: &str) -> Result<Unit, Fault> {
        decide(Some(Path::new(path)), None, &setting("id"), Systemd::System)
    }

    #[test]
    fn a_path_has_slice_prefix_and_name() {
        let web = unit("machine-a.slice:libpod:web").unwrap();
        assert_eq!((web.name.as_str(), web.slice.as_str()), ("libpod-web.scope", "machine-a.slice"));
        assert_eq!(unit(":kase:web").unwrap().slice, "system.slice");
        assert_eq!(unit("a.slice::web").unwrap().name, "web.scope");
        assert_eq!(decide(None, None, &setting("web"), Systemd::User).unwrap().name, "kase-web.scope");
    }

    #[test]
    fn other_paths_are_refused() {
        for (path, words) in [
            ("/a/b", "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\""),
            ("a:b:c:d", "linux.cgroupsPath: expected cgroupsPath"),
            ("a.slice:b:c.slice", "linux.cgroupsPath: c.slice is a slice, which takes no processes"),
            ("a:b:c", "linux.cgroupsPath: invalid slice name: a"),
            ("a--b.slice:b:c", "linux.cgroupsPath: invalid slice name"),
            ("a.slice:b:c/d", "linux.cgroupsPath: \"b-c/d.scope\" is no unit name, because of '/'"),
        ] {
            let fault = unit(path).unwrap_err().to_string();
            assert!(fault.starts_with(words), "{fault}");
        }
    }

    #[test]
    fn a_slice_is_in_the_slices_that_its_name_begins_with() {
        assert_eq!(expand("a-b-c.slice").unwrap(), Path::new("a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(expand("-.slice").unwrap(), Path::new(""));
        assert_eq!(expand("-a.slice"), None);
        assert_eq!(expand(".slice"), None);
    }

    #[test]
    fn annotations_become_properties() {
        for (name, value, expected) in [
            (
                "CollectMode",
                "'inactive-or-failed'",
                ("CollectMode", Property::Text("inactive-or-failed".into())),
            ),
            ("TimeoutStopUSec", "uint64 123456789", ("TimeoutStopUSec", Property::Uint64(123_456_789))),
            ("TimeoutStopSec", "30", ("TimeoutStopUSec", Property::Uint64(30_000_000))),
            ("SendSIGHUP", "true", ("SendSIGHUP", Property::Bool(true))),
            (
                "After",
                "['a.service', 'b.service']",
                ("After", Property::Texts(vec!["a.service".into(), "b.service".into()])),
            ),
            (
                "DeviceAllow",
                "[('/dev/null', 'rw')]",
                ("DeviceAllow", Property::Pairs(vec![("/dev/null".into(), "rw".into())])),
            ),
            ("AllowedCPUs", "[byte 0x03, 0x01]", ("AllowedCPUs", Property::Bytes(vec![3, 1]))),
        ] {
            let (key, found) = property(name, value).unwrap();
            assert_eq!((key.as_str(), found), expected);
        }
        for (name, value) in [
            ("CPU", "5 x"),
            ("X", "true"),
            ("Aa-b", "1"),
            ("Abc", "'x"),
            ("Abc", "uint32 -1"),
            ("Abc", "99999999999"),
        ] {
            assert!(property(name, value).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_subgroup_stays_below_the_unit() {
        assert_eq!(sub("/container").unwrap(), Some("container".into()));
        assert_eq!(sub("").unwrap(), None);
        assert!(sub("../x").is_err());
    }
}
