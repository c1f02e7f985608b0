//! Subordinate ids: which of them a container gets, by /etc/subuid, /etc/subgid and the helpers that read these.

use crate::common::{Bundle, Kase, Outcome, is_root, json, ranges, words};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

deeds! { user:
    the_users_ranges_are_mapped_behind_the_own_id,
    without_the_helpers_one_id_is_mapped_and_it_is_said,
    what_the_helpers_complain_of_is_told,
    a_line_that_newuidmap_does_not_read_is_told,
    neighbouring_ranges_are_one_and_what_does_not_fit_is_told,
    a_file_that_cannot_be_read_is_named,
    a_namespace_without_uid_0_maps_one_id_and_it_is_said,
    one_subordinate_id_may_be_mapped_alone,
    maps_that_cannot_be_read_are_an_error,
}

fn the_users_ranges_are_mapped_behind_the_own_id(kase: &Kase) {
    let own = &kase.identity;
    let seen = kase.sees(kase.bundle(), ["maps"]);
    for (map, id, file) in [("uid_map", own.uid, "/etc/subuid"), ("gid_map", own.gid, "/etc/subgid")] {
        let mut expected = format!("{map}: 0 {id} 1\n");
        let mut next = 1;
        for (start, length) in ranges(file, own) {
            expected.push_str(&format!("{map}: {next} {start} {length}\n"));
            next += length;
        }
        assert!(seen.contains(&expected), "{expected} in {seen}");
    }
}

/// `run` where newuidmap and newgidmap are another file.
fn run_with_helpers(kase: &Kase, bundle: &Bundle, stand_in: &Path) -> Outcome {
    run_with(kase, bundle, &[("/usr/bin/newuidmap", stand_in), ("/usr/bin/newgidmap", stand_in)])
}

/// `run` where files of the host are others: bound over them in a mount namespace.
fn run_with(kase: &Kase, bundle: &Bundle, files: &[(&str, &Path)]) -> Outcome {
    let script = "while [ \"$1\" != -- ]; do mount --bind \"$2\" \"$1\"; shift 2; done
                  shift; exec setpriv --clear-groups \"$@\"";
    let run = kase.command(words(["--log-level", "info", "run", "-b"], bundle.dir(), [kase.id().as_str()]));
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]);
    files.iter().for_each(|(path, stand_in)| {
        unshare.arg(path).arg(stand_in);
    });
    unshare.arg("--");
    unshare.args([format!("--reuid={}", kase.identity.uid), format!("--regid={}", kase.identity.gid)]);
    unshare.arg(run.get_program()).args(run.get_args()).current_dir(kase.path(""));
    unshare.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    kase.finish(unshare)
}

fn helpers_can_be_replaced() -> bool {
    is_root() && Path::new("/usr/bin/newuidmap").exists()
}

fn without_the_helpers_one_id_is_mapped_and_it_is_said(kase: &Kase) {
    if !helpers_can_be_replaced() {
        skip!("needs root, and newuidmap to hide");
    }
    let outcome = run_with_helpers(kase, &kase.bundle().args(["/probe", "maps"]), &kase.file("nothing", ""));
    let own = &kase.identity;
    let expected = format!("uid_map: 0 {} 1\ngid_map: 0 {} 1\nsetgroups: deny\n", own.uid, own.gid);
    assert_eq!(outcome.stdout(), expected, "{outcome}");
    assert!(outcome.err.contains("newuidmap"), "{outcome}");
}

fn what_the_helpers_complain_of_is_told(kase: &Kase) {
    if !helpers_can_be_replaced() {
        skip!("needs root, and newuidmap to replace");
    }
    let stand_in = kase.file("stand-in", "#!/bin/sh\necho out of ids today >&2\nexit 3\n");
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    run_with_helpers(kase, &kase.bundle(), &stand_in).fails(&["map", "exit status: 3", "out of ids today"]);
}

/// `run` with these lines in /etc/subuid and /etc/subgid, whose `NAME` is the user's.
fn run_with_subids(kase: &Kase, bundle: &Bundle, text: &str) -> Outcome {
    let subids = kase.file("subids", &text.replace("NAME", &kase.identity.name));
    run_with(kase, bundle, &[("/etc/subuid", &subids), ("/etc/subgid", &subids)])
}

fn a_line_that_newuidmap_does_not_read_is_told(kase: &Kase) {
    if !helpers_can_be_replaced() {
        skip!("needs root, and newuidmap");
    }
    let maps = || kase.bundle().args(["/probe", "maps"]);
    for line in [
        "NAME:500000:10 ",
        "NAME:500000:10\t",
        "NAME:500000:10\r",
        "NAME:500000:10 # of mine",
        " NAME:500000:10",
    ] {
        let outcome = run_with_subids(kase, &maps(), &format!("NAME:600000:5\n{line}\n"));
        assert!(outcome.stdout().contains("\nuid_map: 1 600000 5\ngid_map: 0"), "{line:?}: {outcome}");
        assert!(
            outcome.err.contains("newuidmap reads nothing in line 2 of /etc/subuid"),
            "{line:?}: {outcome}"
        );
        let outcome = run_with_subids(kase, &maps(), &format!("{line}\n"));
        assert!(
            outcome.stdout().starts_with(&format!("uid_map: 0 {} 1\ngid_map", kase.identity.uid)),
            "{outcome}"
        );
        let map = json!([{"containerID": 0, "hostID": 500_000, "size": 5}]);
        let bundle = maps().namespace(json!({"type": "user"})).edit(|spec| {
            spec["linux"]["uidMappings"] = map.clone();
            spec["linux"]["gidMappings"] = map.clone();
        });
        let refused = run_with_subids(kase, &bundle, &format!("{line}\n"));
        refused.fails(&["linux.uidMappings[0]"]);
        assert!(refused.help().starts_with("correct line 1 of /etc/subuid and line 1 of "), "{refused}");
    }
}

fn neighbouring_ranges_are_one_and_what_does_not_fit_is_told(kase: &Kase) {
    if !helpers_can_be_replaced() {
        skip!("needs root, and newuidmap");
    }
    let ranges = |step: u32| -> String {
        (0..400).map(|number| format!("NAME:{}:10\n", 500_000 + number * step)).collect()
    };
    let maps = || kase.bundle().args(["/probe", "maps"]);
    let outcome = run_with_subids(kase, &maps(), &ranges(10));
    assert!(outcome.stdout().contains("\nuid_map: 1 500000 4000\ngid_map: 0"), "{outcome}");
    let outcome = run_with_subids(kase, &maps(), &ranges(20));
    assert!(outcome.stdout().contains("\nuid_map: 1 500000 10\nuid_map: 11 500020 10\n"), "{outcome}");
    assert!(outcome.err.contains("of your uids are left out of the container"), "{outcome}");
}

fn a_file_that_cannot_be_read_is_named(kase: &Kase) {
    if !helpers_can_be_replaced() {
        skip!("needs root, and newuidmap");
    }
    let closed = kase.file("closed", "");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    for file in ["/etc/subuid", "/etc/subgid", "/etc/passwd"] {
        let outcome = run_with(kase, &kase.bundle(), &[(file, &closed)]);
        outcome.fails(&[&format!("read {file}: Permission denied")]);
        assert_eq!(outcome.help(), format!("run as root: chmod a+r {file}"), "{outcome}");
    }
}

fn a_namespace_without_uid_0_maps_one_id_and_it_is_said(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "maps"]);
    let run = kase.command(words(["--log-level", "info", "run", "-b"], bundle.dir(), [kase.id().as_str()]));
    let mut unshare = kase.program("unshare");
    unshare.args(["--user", "--map-current-user", "--mount"]).arg(run.get_program()).args(run.get_args());
    let outcome = kase.finish(unshare);
    let own = &kase.identity;
    let expected = format!("uid_map: 0 {} 1\ngid_map: 0 {} 1\nsetgroups: deny\n", own.uid, own.gid);
    assert_eq!(outcome.stdout(), expected, "{outcome}");
    assert!(outcome.err.contains("does not map uid 0"), "{outcome}");
}

/// To take the namespace's root for uid 0 outside too would look for its containers in another place.
fn maps_that_cannot_be_read_are_an_error(kase: &Kase) {
    let list = kase.command(["list"]);
    let mut unshare = kase.program("unshare");
    if unshare.args(["--user", "--map-root-user", "strace", "--version"]).output().is_err() {
        skip!("needs strace");
    }
    let mut unshare = kase.program("unshare");
    unshare.args(["--user", "--map-root-user", "strace", "-qqq", "-o", "strace", "-P", "/proc/self/uid_map"]);
    unshare.args(["-e", "inject=openat,open:error=EIO", "--"]).arg(list.get_program()).args(list.get_args());
    let outcome = kase.finish(unshare);
    assert_eq!(outcome.code, 1, "{outcome}");
    // The C libraries have different words for the errno.
    assert!(
        outcome.err.contains("kase: read /proc/self/uid_map: ") && outcome.err.contains("(os error 5)"),
        "{outcome}"
    );
}

/// Not the user's own id, which needs no help to be mapped.
fn one_subordinate_id_may_be_mapped_alone(kase: &Kase) {
    let (uid, gid) = (ranges("/etc/subuid", &kase.identity)[0].0, ranges("/etc/subgid", &kase.identity)[0].0);
    let bundle = kase.bundle().args(["/probe", "maps"]).namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    });
    // The bundle is the caller's, whom the container's root is not.
    fs::set_permissions(bundle.rootfs(""), fs::Permissions::from_mode(0o777)).unwrap();
    let seen = kase.run(&bundle).stdout().to_owned();
    assert!(seen.starts_with(&format!("uid_map: 0 {uid} 1\ngid_map: 0 {gid} 1\n")), "{seen}");
}
