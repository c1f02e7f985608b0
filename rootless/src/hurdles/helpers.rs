//! newuidmap(1) and newgidmap(1): not there, without power, or with reason to refuse.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::caller::Caller;
use crate::id_map::IdMap;
use crate::root::Root;
use crate::subid::{Range, Subordinate, subtract};

use super::packages::Package;
use super::{Hurdle, no_ranges_in, status};

/// A helper that is nowhere: how this distribution installs it.
pub(super) fn missing(root: &Root, name: &str) -> Hurdle {
    Hurdle::new(format!("{name} is not installed"), Package::IdHelpers.remedy_in(root))
}

/// What a helper's own words, and the host, say of its failure.
///
/// The words are those of the shadow suite, which every distribution has the helpers from.
pub(super) fn failed(root: &Root, program: &Path, said: &str, caller: &Caller) -> Option<Hurdle> {
    if said.contains("not allowed") {
        return Some(not_allowed(root, caller));
    }
    if said.contains("Cannot determine your user name") {
        return Some(Hurdle::new(
            format!("uid {} has no name in the user database", caller.uid),
            format!("have root add uid {} to /etc/passwd", caller.uid),
        ));
    }
    if said.contains("owned by a different user") {
        return stranger(said);
    }
    if said.contains("Operation not permitted") || said.contains("Permission denied") {
        return powerless(root, program).or_else(|| unmapped(root, caller));
    }
    None
}

fn not_allowed(root: &Root, caller: &Caller) -> Hurdle {
    match Subordinate::look_in(root, caller) {
        Ok(have) if !have.is_lacking() => Hurdle::new(
            format!("{} may not map all of these ids by /etc/subuid and /etc/subgid", caller.called()),
            "map only ids out of your ranges there",
        ),
        _ => no_ranges_in(root, caller),
    }
}

/// The helpers compare the process's owner with the caller's entry in the user database.
fn stranger(said: &str) -> Option<Hurdle> {
    let number = |name: &str| -> Option<u32> {
        let words = said.split([' ', ',', ';']);
        words.into_iter().find_map(|word| word.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
    };
    if let (Some(gid), Some(login)) = (number("gid"), number("pw_gid"))
        && gid != login
    {
        return Some(Hurdle::new(
            format!("the group in effect is {gid}, not the login group {login}"),
            format!("leave newgrp or sg, so that group {login} is in effect"),
        ));
    }
    (number("st_uid")? == 0 && number("uid")? != 0).then(|| {
        Hurdle::new(
            "the process is not dumpable, so that it belongs to root in /proc",
            "make the program readable for you (chmod +r), or set PR_SET_DUMPABLE in it",
        )
    })
}

/// The kernel maps only what this user namespace has itself, whatever /etc/subuid says in it.
fn unmapped(root: &Root, caller: &Caller) -> Option<Hurdle> {
    let have = Subordinate::look_in(root, caller).ok()?;
    let maps = caller.maps().ok()?;
    let lacking = |ranges: &[Range], map: &IdMap| {
        let mapped: Vec<Range> = map.0.iter().map(|line| line.inside_range()).collect();
        ranges.iter().copied().find(|range| !subtract(*range, &mapped).is_empty())
    };
    let range = lacking(&have.uids, &maps.uids).or_else(|| lacking(&have.gids, &maps.gids))?;
    Some(Hurdle::new(
        format!("this user namespace does not map all of {range}"),
        "have root give you ids in /etc/subuid and /etc/subgid that are mapped here (cat /proc/self/uid_map)",
    ))
}

/// Why a setuid program does not become root.
pub(super) fn powerless(root: &Root, program: &Path) -> Option<Hurdle> {
    let path = program.display();
    if status(root, "NoNewPrivs").as_deref() == Some("1") {
        return Some(Hurdle::new(
            format!("no_new_privs is set on this process, so that {path} gains no privilege"),
            "start it without no_new_privs (NoNewPrivileges= of a systemd unit, setpriv, or a container's \
             no-new-privileges)",
        ));
    }
    if statvfs(program).is_ok_and(|filesystem| filesystem.flags().contains(FsFlags::ST_NOSUID)) {
        return Some(Hurdle::new(
            format!("{path} is on a filesystem that is mounted nosuid"),
            format!("remount the filesystem of {path} with suid"),
        ));
    }
    let found = program.metadata().ok()?;
    (!becomes_root(&found) && !has_capabilities(program)).then(|| {
        Hurdle::new(
            format!("{path} is not setuid root and has no file capabilities"),
            format!("run as root: chown root {path} && chmod u+s {path}"),
        )
    })
}

fn becomes_root(program: &Metadata) -> bool {
    program.uid() == 0 && program.mode() & 0o4000 != 0
}

fn has_capabilities(program: &Path) -> bool {
    // Longer than any vfs_cap_data; only whether there is one matters.
    let mut value = [0_u8; 64];
    rustix::fs::getxattr(program, "security.capability", &mut value[..]).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::caller::Standing;
    use crate::root::stand_in::StandIn;

    fn alice() -> Caller {
        Caller::assumed(Standing::User, 1000, 1000).with_name(Some("alice"))
    }

    fn hurdle(host: &StandIn, said: &str) -> Hurdle {
        failed(&host.root(), &host.root().join("/newuidmap"), said, &alice()).unwrap()
    }

    #[test]
    fn ids_outside_the_ranges_are_told_from_no_ranges() {
        let said = "newuidmap: uid range [1-4) -> [500000-500003) not allowed";
        let host = StandIn::new();
        assert!(hurdle(&host, said).cause.starts_with("alice has no range"));
        let host =
            host.file("/etc/subuid", "alice:100000:65536\n").file("/etc/subgid", "alice:100000:65536\n");
        assert!(hurdle(&host, said).cause.starts_with("alice may not map all"));
    }

    #[test]
    fn a_group_that_is_not_the_login_group_is_named() {
        let said = "newuidmap: Target process 7 is owned by a different user: \
            uid:1001 pw_uid:1001 st_uid:1001, gid:100 pw_gid:1001 st_gid:100";
        let hurdle = hurdle(&StandIn::new(), said);
        assert_eq!(hurdle.cause, "the group in effect is 100, not the login group 1001");
    }

    #[test]
    fn a_process_that_is_not_dumpable_is_told() {
        let said = "newuidmap: Target process 7 is owned by a different user: \
            uid:1001 pw_uid:1001 st_uid:0, gid:1001 pw_gid:1001 st_gid:0";
        assert!(hurdle(&StandIn::new(), said).cause.contains("dumpable"));
    }

    #[test]
    fn a_caller_without_a_name_is_told() {
        assert!(
            hurdle(&StandIn::new(), "newuidmap: Cannot determine your user name.").cause.contains("1000")
        );
    }

    #[test]
    fn no_new_privs_takes_the_helpers_power() {
        let host = StandIn::new().file("/proc/self/status", "NoNewPrivs:\t1\n").file("/newuidmap", "");
        let said = "newuidmap: write to uid_map failed: Operation not permitted";
        assert!(hurdle(&host, said).cause.starts_with("no_new_privs"));
    }

    #[test]
    fn a_helper_without_the_setuid_bit_is_told() {
        let host = StandIn::new().file("/newuidmap", "");
        let path = host.root().join("/newuidmap");
        let nosuid = statvfs(&path).unwrap().flags().contains(FsFlags::ST_NOSUID);
        let said = "newuidmap: write to uid_map failed: Operation not permitted";
        let expected = if nosuid { "nosuid" } else { "not setuid root" };
        assert!(hurdle(&host, said).cause.contains(expected));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
        let setuid_root = becomes_root(&path.metadata().unwrap());
        assert_eq!(setuid_root, nix::unistd::geteuid().is_root());
    }

    #[test]
    fn ids_that_are_not_mapped_here_are_told() {
        let path = "/newuidmap";
        let host = StandIn::new()
            .file("/etc/subuid", "alice:100000:65536\n")
            .file("/etc/subgid", "alice:100000:65536\n");
        let map: IdMap = "0 1000 1\n1 100000 65536\n".parse().unwrap();
        let alice = alice().with_maps(crate::IdMaps { uids: map.clone(), gids: map });
        let hurdle = unmapped(&host.root(), &alice).unwrap();
        assert_eq!(hurdle.cause, "this user namespace does not map all of 100000-165535", "{path}");
    }

    #[test]
    fn words_that_nobody_knows_get_no_answer() {
        let host = StandIn::new();
        assert_eq!(failed(&host.root(), Path::new("/nowhere"), "newuidmap: what?", &alice()), None);
    }
}
