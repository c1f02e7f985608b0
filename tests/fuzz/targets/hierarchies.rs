//! /proc/self/mountinfo and, behind an empty line, /proc/self/cgroup.

use crate::host::hierarchies;
use crate::host::mountinfo;
use std::path::Component;

pub fn execute(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (mounts, own) = text.split_once("\n\n").unwrap_or((&text, ""));
    for mount in mountinfo::mounts(mounts) {
        assert!(mounts.contains(mount.text) && !mount.text.contains('\n'));
        for part in [mount.root(), mount.point(), Some(mount.kind), Some(mount.options)].into_iter().flatten()
        {
            assert!(!part.contains(' ') && mount.text.contains(part), "{part:?} of {mount:?}");
        }
    }
    let found = hierarchies::parse(mounts, own);
    assert!(found.len() <= own.lines().count() + 1);
    for (index, hierarchy) in found.iter().enumerate() {
        let inside =
            hierarchy.own.strip_prefix(&hierarchy.point).expect("our cgroup is below the mount point");
        assert!(
            inside.components().all(|part| matches!(part, Component::Normal(_))),
            "{hierarchy:?} leaves it"
        );
        assert!(found[..index].iter().all(|other| other.controllers != hierarchy.controllers), "{found:?}");
        if let Some(of) = hierarchy.of(own).filter(|_| !hierarchy.is_unified()) {
            assert!(of.starts_with(&hierarchy.point));
        }
    }
}
