//! newuidmap(1) and newgidmap(1): not there, without power, or with reason to refuse.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::caller::Caller;
use crate::diagnose::packages::Package;
use crate::diagnose::ranges::no_ranges_in;
use crate::diagnosis::Diagnosis;
use crate::id_map::IdMap;
use crate::range::Range;
use crate::subid::Subordinate;
use crate::sysroot::Sysroot;

/// A helper that is nowhere: how this distribution installs it.
pub(crate) fn missing(root: &Sysroot, name: &str) -> Diagnosis {
    Diagnosis::new(format!("{name} is not installed"), Package::IdHelpers.remedy_in(root))
}

/// What a helper's own words, and the host, say of its failure.
///
/// The words are those of the shadow suite, which every distribution has the helpers from.
pub(crate) fn failed(root: &Sysroot, program: &Path, said: &str, caller: &Caller) -> Option<Diagnosis> {
    if said.contains("not allowed") {
        return Some(not_allowed(root, caller));
    }
    if said.contains("Cannot determine your user name") {
        return Some(Diagnosis::new(
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

fn not_allowed(root: &Sysroot, caller: &Caller) -> Diagnosis {
    match Subordinate::look_in(root, caller) {
        Ok(have) if !have.is_incomplete() => Diagnosis::new(
            format!("{} may not map all of these ids by /etc/subuid and /etc/subgid", caller.called()),
            "map only ids out of your ranges there",
        ),
        _ => no_ranges_in(root, caller),
    }
}

/// The helpers compare the process's owner with the caller's entry in the user database.
fn stranger(said: &str) -> Option<Diagnosis> {
    let number = |name: &str| -> Option<u32> {
        let words = said.split([' ', ',', ';']);
        words.into_iter().find_map(|word| word.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
    };
    if let (Some(gid), Some(login)) = (number("gid"), number("pw_gid"))
        && gid != login
    {
        return Some(Diagnosis::new(
            format!("the group in effect is {gid}, not the login group {login}"),
            format!("leave newgrp or sg, so that group {login} is in effect"),
        ));
    }
    (number("st_uid")? == 0 && number("uid")? != 0).then(|| {
        Diagnosis::new(
            "the process is not dumpable, so that it belongs to root in /proc",
            "make the program readable for you (chmod +r), or set PR_SET_DUMPABLE in it",
        )
    })
}

/// The kernel maps only what this user namespace has itself, whatever /etc/subuid says in it.
fn unmapped(root: &Sysroot, caller: &Caller) -> Option<Diagnosis> {
    let have = Subordinate::look_in(root, caller).ok()?;
    let maps = caller.maps().ok()?;
    let first_unmapped = |ranges: &[Range], map: &IdMap| {
        let mapped: Vec<Range> = map.0.iter().map(|line| line.inside_range()).collect();
        ranges.iter().copied().find(|range| !range.subtract(&mapped).is_empty())
    };
    let range = first_unmapped(&have.uids, &maps.uids).or_else(|| first_unmapped(&have.gids, &maps.gids))?;
    Some(Diagnosis::new(
        format!("this user namespace does not map all of {range}"),
        "have root give you ids in /etc/subuid and /etc/subgid that are mapped here (cat /proc/self/uid_map)",
    ))
}

/// What is wrong with newuidmap(1) or newgidmap(1), found at this path, before it is needed.
#[must_use]
pub fn powerless_helper(program: &Path) -> Option<Diagnosis> {
    powerless(&Sysroot::host(), program)
}

/// Why a setuid program does not become root.
fn powerless(root: &Sysroot, program: &Path) -> Option<Diagnosis> {
    let path = program.display();
    if root.status("NoNewPrivs").as_deref() == Some("1") {
        return Some(Diagnosis::new(
            format!("no_new_privs is set on this process, so that {path} gains no privilege"),
            "start it without no_new_privs (NoNewPrivileges= of a systemd unit, setpriv, or a container's \
             no-new-privileges)",
        ));
    }
    if statvfs(program).is_ok_and(|filesystem| filesystem.flags().contains(FsFlags::ST_NOSUID)) {
        return Some(Diagnosis::new(
            format!("{path} is on a filesystem that is mounted nosuid"),
            format!("remount the filesystem of {path} with suid"),
        ));
    }
    let found = program.metadata().ok()?;
    (!becomes_root(&found) && !has_capabilities(program)).then(|| {
        Diagnosis::new(
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
    use crate::sysroot::stand_in::StandIn;

    fn alice() -> Caller {
        Caller::assumed(Standing::User, 1000, 1000).with_name(Some("alice"))
    }

    fn diagnosis(host: &StandIn, said: &str) -> Diagnosis {
        failed(&host.root(), &host.root().join("/newuidmap"), said, &alice()).unwrap()
    }

    #[test]
    fn ids_outside_the_ranges_are_told_from_no_ranges() {
        let said = "newuidmap: uid range [1-4) -> [500000-500003) not allowed";
        let host = StandIn::new();
        assert!(diagnosis(&host, said).cause.starts_with("alice has no range"));
        let host =
            host.file("/etc/subuid", "alice:100000:65536\n").file("/etc/subgid", "alice:100000:65536\n");
        assert!(diagnosis(&host, said).cause.starts_with("alice may not map all"));
    }

    #[test]
    fn a_group_that_is_not_the_login_group_is_named() {
        let said = "newuidmap: Target process 7 is owned by a different user: \
            uid:1001 pw_uid:1001 st_uid:1001, gid:100 pw_gid:1001 st_gid:100";
        let diagnosis = diagnosis(&StandIn::new(), said);
        assert_eq!(diagnosis.cause, "the group in effect is 100, not the login group 1001");
    }

    #[test]
    fn a_process_that_is_not_dumpable_is_told() {
        let said = "newuidmap: Target process 7 is owned by a different user: \
            uid:1001 pw_uid:1001 st_uid:0, gid:1001 pw_gid:1001 st_gid:0";
        assert!(diagnosis(&StandIn::new(), said).cause.contains("dumpable"));
    }

    #[test]
    fn a_caller_without_a_name_is_told() {
        assert!(
            diagnosis(&StandIn::new(), "newuidmap: Cannot determine your user name.").cause.contains("1000")
        );
    }

    #[test]
    fn no_new_privs_takes_the_helpers_power() {
        let host = StandIn::new().file("/proc/self/status", "NoNewPrivs:\t1\n").file("/newuidmap", "");
        let said = "newuidmap: write to uid_map failed: Operation not permitted";
        assert!(diagnosis(&host, said).cause.starts_with("no_new_privs"));
    }

    #[test]
    fn a_helper_without_the_setuid_bit_is_told() {
        let host = StandIn::new().file("/newuidmap", "");
        let path = host.root().join("/newuidmap");
        let nosuid = statvfs(&path).unwrap().flags().contains(FsFlags::ST_NOSUID);
        let said = "newuidmap: write to uid_map failed: Operation not permitted";
        let expected = if nosuid { "nosuid" } else { "not setuid root" };
        assert!(diagnosis(&host, said).cause.contains(expected));

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
        let alice = alice().with_maps(crate::id_map::IdMaps { uids: map.clone(), gids: map });
        let diagnosis = unmapped(&host.root(), &alice).unwrap();
        assert_eq!(diagnosis.cause, "this user namespace does not map all of 100000-165535", "{path}");
    }

    #[test]
    fn words_that_nobody_knows_get_no_answer() {
        let host = StandIn::new();
        assert_eq!(failed(&host.root(), Path::new("/nowhere"), "newuidmap: what?", &alice()), None);
    }
}
