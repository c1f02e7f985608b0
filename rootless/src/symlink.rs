//! Whose symbolic links are followed.

use nix::sys::stat::{FileStat, stat};

/// Whether a program that acts for `uid` may follow a symbolic link, found in `directory`: the user's own, and those of
/// root where only root and the user can have put them. Anybody else's would choose what the program reads and writes.
///
/// Stricter than fs.protected_symlinks (proc_sys_fs(5)), which heeds only directories with the sticky bit. Root is
/// uid 0, and whoever owns `/`, as which a user namespace shows the host's root.
#[must_use]
pub fn may_follow(link: &FileStat, directory: &FileStat, uid: u32) -> bool {
    if link.st_uid == uid {
        return true;
    }
    let is_roots = |owner: u32| owner == 0 || stat("/").is_ok_and(|root| root.st_uid == owner);
    is_roots(link.st_uid)
        && (directory.st_uid == uid || is_roots(directory.st_uid))
        && !others_replace(directory)
}

/// Whether others than its owner can put something else in the place of what lies in the directory: they may write to
/// it, and it has no sticky bit.
fn others_replace(directory: &FileStat) -> bool {
    directory.st_mode & 0o022 != 0 && directory.st_mode & 0o1000 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uid: u32, mode: u32) -> FileStat {
        let mut found = stat("/proc").unwrap();
        (found.st_uid, found.st_mode) = (uid, mode);
        found
    }

    #[test]
    fn own_links_are_followed_anywhere_and_roots_where_nobody_else_put_them() {
        const ALICE: u32 = 4_000_000;
        const OTHER: u32 = 4_000_001;
        for (link, directory, mode, followed) in [
            (ALICE, OTHER, 0o777, true),
            (0, 0, 0o755, true),
            (0, ALICE, 0o700, true),
            (0, 0, 0o1777, true),
            (0, 0, 0o775, false),
            (0, OTHER, 0o755, false),
            (OTHER, OTHER, 0o755, false),
            (OTHER, ALICE, 0o700, false),
            (OTHER, 0, 0o1777, false),
        ] {
            let found = may_follow(&of(link, 0o777), &of(directory, mode), ALICE);
            assert_eq!(found, followed, "{link} in {directory}'s {mode:o}");
        }
    }
}
