//! /proc/self/mountinfo and, behind an empty line, /proc/self/cgroup.

use crate::host::hierarchies;
use crate::host::mountinfo;
use std::path::Component;

pub fn execute(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (mounts, own) = text.split_once("\n\n").unwrap_or((&text, ""));
    for mount in mountinfo::mounts(mounts) {
        assert!(mounts.contains(mount.text) && !mount.text.contains('\n'));
        for part in [mount.kind, mount.options] {
            assert!(!part.contains(' ') && mount.text.contains(part), "{part:?} of {mount:?}");
        }
    }
    is_read_as_it_was_written(own);
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

/// The kernel's seq_path(9): a mount point with these four in octal.
fn is_read_as_it_was_written(point: &str) {
    let escaped = [("\\", "\\134"), (" ", "\\040"), ("\t", "\\011"), ("\n", "\\012")];
    let escaped =
        escaped.iter().fold(point.to_owned(), |text, (character, code)| text.replace(character, code));
    let line = format!("30 1 0:9 / {escaped} rw - tmpfs none rw");
    let found: Vec<_> = mountinfo::mounts(&line).map(|mount| mount.point()).collect();
    assert_eq!(found, [Some(point.into())], "{line:?}");
}
