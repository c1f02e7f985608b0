//! The container's cgroup in each hierarchy of v1.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The controller that stops processes.
pub const FREEZER: &str = "freezer";

/// The container's cgroup in each hierarchy, by the hierarchy's name: `cpu,cpuacct`, `name=systemd`, and
/// the empty name for a v2 tree.
pub type Paths = BTreeMap<String, PathBuf>;

/// The directory that has a controller's files.
pub fn directory_of<'a>(paths: &'a Paths, controller: &str) -> Option<&'a Path> {
    paths.iter().find(|(name, _)| has(name, controller)).map(|(_, path)| path.as_path())
}

/// Whether a hierarchy of this name has the controller.
fn has(name: &str, controller: &str) -> bool {
    !name.is_empty() && name.split(',').any(|one| one == controller)
}

/// The cgroup in the v2 tree beside the controllers.
pub fn tree_of(paths: &Paths) -> Option<&Path> {
    paths.get("").map(PathBuf::as_path)
}
