//! What later commands need to know of a cgroup, as it is on disk.

use super::freezer::{Host, State, asked};
use super::systemd::UnitFacts;
use super::{v1, v2};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CgroupFacts {
    /// The cgroup in the one tree of v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2: Option<PathBuf>,
    /// The cgroup in each hierarchy of v1.
    #[serde(default, skip_serializing_if = "v1::Paths::is_empty")]
    pub v1: v1::Paths,
    /// The systemd unit that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitFacts>,
    /// Where in the unit's cgroup the container is, if not in itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<PathBuf>,
}

impl CgroupFacts {
    /// Whether there is a cgroup at all.
    pub fn is_none(&self) -> bool {
        self.v2.is_none() && self.v1.is_empty() && self.unit.is_none()
    }

    /// The directories, each with its hierarchy's name: `v2`, or as /proc/PID/cgroup has it.
    pub fn hierarchies(&self) -> impl Iterator<Item = (&str, &PathBuf)> {
        // The tree of v2 beside v1 has no controllers and no name.
        let v1 = self.v1.iter().map(|(name, path)| (if name.is_empty() { "v2" } else { name }, path));
        self.v2.iter().map(|path| ("v2", path)).chain(v1)
    }

    /// Whether the cgroup is frozen.
    pub fn state(&self) -> anyhow::Result<State> {
        match Freezer::from(self.clone()).0 {
            Some((directory, file)) => asked(Path::new(&*directory), file),
            None => Ok(State::Thawed),
        }
    }
}

/// Of [`CgroupFacts`], where the freezer is: the directory, and the file that tells.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "CgroupFacts")]
pub struct Freezer<'a>(pub(super) Option<(Cow<'a, str>, &'static str)>);

impl From<CgroupFacts> for Freezer<'_> {
    fn from(facts: CgroupFacts) -> Self {
        let (directory, file) = match facts.v2 {
            Some(path) => (Some(path), v2::freezer::STATE),
            None => (v1::freezer::directory(&facts.v1).map(Path::to_path_buf), v1::freezer::STATE),
        };
        let directory = directory.and_then(|path| path.into_os_string().into_string().ok());
        Self(directory.map(|directory| (directory.into(), file)))
    }
}

impl<'a> Freezer<'a> {
    /// Finds it in the JSON without parsing all of that; nothing where it takes a parser. A quote within a value has a
    /// backslash before it, so what looks like one of these keys is one.
    pub fn find(json: &'a str) -> Option<Self> {
        let (file, rest) = match json.strip_prefix(r#"{"v2":""#) {
            Some(rest) => (v2::freezer::STATE, rest),
            None => (v1::freezer::STATE, json.split_once(r#""freezer":""#)?.1),
        };
        let (path, _) = rest.split_once('"')?;
        (!path.contains('\\')).then(|| Self(Some((path.into(), file))))
    }

    /// As [`CgroupFacts::state`].
    pub fn state(&self, host: &Host) -> anyhow::Result<State> {
        self.0.as_ref().map_or(Ok(State::Thawed), |(directory, file)| host.state(directory, file))
    }
}
