//! The cgroup hierarchies that are mounted, and where the caller is in each.

use super::mountinfo::{self, Mount};
use std::path::{Path, PathBuf};

/// Where every distribution mounts them.
pub const USUAL: &str = "/sys/fs/cgroup";

/// A hierarchy that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// v1's controllers, or `name=systemd`; none for a v2 tree.
    pub controllers: Vec<String>,
    /// The mount point.
    pub point: PathBuf,
    /// What of the tree is mounted there.
    pub root: PathBuf,
    /// Our own cgroup, as a directory at or below it.
    pub own: PathBuf,
}

impl Hierarchy {
    /// Whether it is a v2 tree.
    pub fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Whether containers get a cgroup in it: of those that have a name alone, only systemd's.
    pub fn is_for_containers(&self) -> bool {
        self.controllers.iter().all(|name| name == "name=systemd" || !name.starts_with("name="))
    }

    /// The directory of a process's cgroup, if its /proc/PID/cgroup, `own`, has this hierarchy.
    pub fn of(&self, own: &str) -> Option<PathBuf> {
        let (_, path) = places(own).find(|(list, _)| self.is(list))?;
        Some(below(&self.point, &self.root, path))
    }

    fn is(&self, list: &str) -> bool {
        parts(list).eq(self.controllers.iter().map(String::as_bytes))
    }

    /// `cpu,cpuacct`; nothing for a v2 tree.
    pub fn name(&self) -> String {
        self.controllers.join(",")
    }
}

/// The v2 tree that is mounted at `point`.
pub fn unified(own: &str, point: &Path, root: &Path) -> Hierarchy {
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    Hierarchy {
        controllers: Vec::new(),
        point: point.to_path_buf(),
        root: root.to_path_buf(),
        own: below(point, root, path),
    }
}

/// The controllers and the path in each hierarchy of v1.
fn places(own: &str) -> impl Iterator<Item = (&str, &str)> {
    let places = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    places.filter(|(list, _)| !list.is_empty())
}

/// The directory of the cgroup `path` when `root` is what is mounted at `point`. A cgroup outside of it, as
/// after a cgroup namespace was joined, cannot be seen: the mount point has to do.
fn below(point: &Path, root: &Path, path: &str) -> PathBuf {
    match Path::new(path).strip_prefix(root) {
        // What is absolute would take the mount point's place: after a root of nothing, which no kernel writes.
        Ok(rest)
            if !rest.as_os_str().is_empty()
                && rest.is_relative()
                && !path.split('/').any(|part| part == "..") =>
        {
            point.join(rest)
        }
        _ => point.to_path_buf(),
    }
}

/// Every hierarchy in /proc/self/mountinfo, with the caller's place by /proc/self/cgroup; a v2 tree comes last.
///
/// Lines of /proc/self/cgroup are
/// `N:LIST:PATH`, where LIST has the controllers that are among the mount's options too.
pub fn parse(mountinfo: &str, own: &str) -> Vec<Hierarchy> {
    let places: Vec<_> = places(own).collect();
    let mut found: Vec<Hierarchy> = Vec::new();
    let mut tree = None;
    for mount in mounts(mountinfo) {
        let Some((root, point)) = mount.root().zip(mount.point()) else { continue };
        let (root, point) = (Path::new(&*root), Path::new(&*point));
        if mount.kind == "cgroup2" {
            tree.get_or_insert_with(|| unified(own, point, root));
            continue;
        }
        for (list, path) in places.iter().filter(|(list, _)| has(&mount, list)) {
            // A hierarchy may be mounted several times, also below a rootfs. The first mount at the usual place
            // counts, or else the first.
            let earlier = found.iter().position(|earlier| earlier.is(list));
            let is_usual = |point: &Path| point.starts_with(USUAL);
            if earlier.is_some_and(|earlier| is_usual(&found[earlier].point) || !is_usual(point)) {
                continue;
            }
            let hierarchy = Hierarchy {
                controllers: list.split(',').map(String::from).collect(),
                point: point.to_path_buf(),
                root: root.to_path_buf(),
                own: below(point, root, path),
            };
            match earlier {
                Some(earlier) => found[earlier] = hierarchy,
                None => found.push(hierarchy),
            }
        }
    }
    found.extend(tree);
    found
}

/// The lines of mountinfo that mount hierarchies.
pub fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo::mounts(mountinfo).filter(|mount| matches!(mount.kind, "cgroup" | "cgroup2"))
}

/// The parts between commas.
fn parts(list: &str) -> impl Iterator<Item = &[u8]> {
    list.as_bytes().split(|byte| *byte == b',')
}

/// Whether the mount has the controllers of `list`.
fn has(mount: &Mount<'_>, list: &str) -> bool {
    parts(list).all(|part| parts(mount.options).any(|option| option == part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
        23 1 0:21 / /proc rw - proc proc rw\n\
        30 1 0:29 / /early/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        36 31 0:32 / /other/memory rw - cgroup cgroup rw,memory\n\
        37 31 0:35 / /sys/fs/cgroup/odd rw - cgroup cgroup rw,name=odd\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const OWN: &str = "5:name=odd:/\n4:memory:/docker/1/sub\n3:cpu,cpuacct:/a\n1:name=systemd:/s\n0::/u\n";

    #[test]
    fn hierarchies_are_found_with_our_place_in_them() {
        let found = parse(MOUNTINFO, OWN);
        let names: Vec<_> = found.iter().map(Hierarchy::name).collect();
        assert_eq!(names, ["cpu,cpuacct", "memory", "name=odd", "name=systemd", ""]);
        assert_eq!(found[0].own, Path::new("/sys/fs/cgroup/cpu,cpuacct/a"));
        assert_eq!(found[1].own, Path::new("/sys/fs/cgroup/memory/sub"));
        assert!(!found[2].is_for_containers() && found[3].is_for_containers());
        assert_eq!(found[4].own, Path::new("/sys/fs/cgroup/unified/u"));
    }

    /// As of a unit that systemd had to rename.
    #[test]
    fn a_backslash_is_the_same_in_both_files() {
        let mount = "35 31 0:32 /a\\134x2db /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory\n";
        let found = parse(mount, "4:memory:/a\\x2db/sub\n");
        assert_eq!(found[0].own, Path::new("/sys/fs/cgroup/my memory/sub"));
    }

    #[test]
    fn a_cgroup_that_cannot_be_seen_counts_as_the_mount_point() {
        let point = Path::new("/sys/fs/cgroup");
        assert_eq!(below(point, Path::new("/"), "/../other"), point);
        assert_eq!(below(point, Path::new("/a"), "/b"), point);
        assert_eq!(below(point, Path::new("/"), "/"), point);
        assert_eq!(below(point, Path::new(""), "/u"), point);
    }
}
