//! `--fake-root`: where there is one id, calls that change owners and users succeed without effect.

use crate::common::{Bundle, Container, Kase, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

deeds! { all: nothing_is_faked_without_it, apt_is_told_nothing_by_an_added_process_without_it }
deeds! { user: a_config_with_one_id_has_it_too, with_more_ids_it_is_left_out_and_it_is_said }
deeds! { root: with_one_group_and_many_users_it_is_left_out }
deeds! { bare:
    owners_and_users_change_in_words_only,
    an_annotation_asks_for_it,
    an_annotation_that_is_no_answer_is_refused,
    it_is_merged_into_the_containers_filter,
    what_the_containers_filter_kills_for_is_still_killed,
    an_added_process_has_it_too,
    dpkg_installs_what_changes_owners,
    apt_installs_without_being_told,
    apt_is_told_nothing_where_it_is_not_or_was_told,
    apt_is_told_by_an_added_process,
}

const CALLS: [&str; 12] =
    ["/probe", "can", "chown", "/etc", "33", "--", "can", "setgroups", "33", "--", "stat", "/etc"];

fn nothing_is_faked_without_it(kase: &Kase) {
    let faked = kase
        .sees(kase.bundle().writable(), ["can", "chown", "/etc", "70000", "--", "can", "setuid", "70000"]);
    assert!(!faked.contains("ok"), "{faked}");
}

fn owners_and_users_change_in_words_only(kase: &Kase) {
    let bundle = kase.bundle().writable().args(CALLS);
    assert!(kase.run(&bundle).stdout().starts_with("EINVAL\nEPERM\n"));
    let outcome = kase.run_with(&bundle, ["--fake-root"]);
    assert!(outcome.stdout().starts_with("ok\nok\ndirectory "), "{outcome}");
    assert!(outcome.out.contains("owner=0:0"), "{outcome}");
    let bundle = bundle.args([
        "/probe",
        "can",
        "setuid",
        "33",
        "--",
        "status",
        "Uid",
        "--",
        "can",
        "sethostname",
        "x",
    ]);
    assert_eq!(kase.run_with(&bundle, ["--fake-root"]).stdout(), "ok\nUid: 0 0 0 0\nEPERM\n");
}

fn a_config_with_one_id_has_it_too(kase: &Kase) {
    let maps = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    let bundle = kase.bundle().writable().args(CALLS).namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = maps(kase.identity.uid);
        spec["linux"]["gidMappings"] = maps(kase.identity.gid);
    });
    assert!(kase.run_with(&bundle, ["--fake-root"]).stdout().starts_with("ok\nok\n"));
}

fn with_more_ids_it_is_left_out_and_it_is_said(kase: &Kase) {
    let outcome = kase.run_with(&kase.bundle().writable().args(CALLS), ["--fake-root"]);
    assert!(outcome.stdout().starts_with("EPERM\n") || outcome.stdout().starts_with("ok\n"), "{outcome}");
    assert!(outcome.err.contains("--fake-root is left out"), "{outcome}");
    let more = kase.bundle().writable().args(["/probe", "can", "chown", "/etc", "70000"]);
    assert_eq!(kase.run_with(&more, ["--fake-root"]).stdout(), "EINVAL\n");
}

fn with_one_group_and_many_users_it_is_left_out(kase: &Kase) {
    let map = |size: u32| json!([{"containerID": 0, "hostID": 200_000, "size": size}]);
    let look = ["/probe", "can", "setuid", "33", "--", "status", "Uid"];
    let bundle = kase.bundle().namespace(json!({"type": "user"})).args(look).edit(|spec| {
        spec["linux"]["uidMappings"] = map(65536);
        spec["linux"]["gidMappings"] = map(1);
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(["CAP_SETUID"]);
        }
    });
    let outcome = kase.run_with(&bundle, ["--fake-root"]);
    assert_eq!(outcome.stdout(), "ok\nUid: 33 33 33 33\n", "{outcome}");
    assert!(outcome.err.contains("--fake-root is left out"), "{outcome}");
}

fn an_annotation_asks_for_it(kase: &Kase) {
    let bundle = kase.bundle().writable().args(CALLS);
    let bundle = bundle.edit(|spec| spec["annotations"] = json!({"kase.fake-root": "true"}));
    assert!(kase.run(&bundle).stdout().starts_with("ok\nok\n"));
}

fn an_annotation_that_is_no_answer_is_refused(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["annotations"] = json!({"kase.fake-root": "maybe"}));
    kase.run(&bundle).refused(&["annotations[\"kase.fake-root\"]", "maybe"]);
}

fn it_is_merged_into_the_containers_filter(kase: &Kase) {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["chown", "fchownat", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100},
    ]});
    let commands = [
        "/probe",
        "can",
        "chown",
        "/etc",
        "33",
        "--",
        "syscall",
        "mkdir",
        "/new",
        "--",
        "can",
        "setgroups",
        "33",
    ];
    for quiet in [true, false] {
        let bundle = kase.bundle().writable().args(commands).edit(|spec| {
            spec["linux"]["seccomp"] = filter.clone();
            spec["process"]["noNewPrivileges"] = json!(quiet);
        });
        assert_eq!(kase.run(&bundle).stdout(), "ENETDOWN\nENETDOWN\nEPERM\n");
        assert_eq!(kase.run_with(&bundle, ["--fake-root"]).stdout(), "ok\nENETDOWN\nok\n");
    }
}

fn what_the_containers_filter_kills_for_is_still_killed(kase: &Kase) {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["setuid"], "action": "SCMP_ACT_KILL_PROCESS"},
    ]});
    let commands = ["/probe", "can", "chown", "/etc", "33", "--", "can", "setuid", "33"];
    let bundle = kase.bundle().writable().args(commands).edit(|spec| spec["linux"]["seccomp"] = filter);
    let outcome = kase.run_with(&bundle, ["--fake-root"]);
    outcome.exited(128 + 31);
    assert_eq!(outcome.out, "ok\n");
    assert!(outcome.err.contains("--fake-root leaves calls alone"), "{outcome}");
    assert!(outcome.err.contains(": setuid\n"), "{outcome}");
}

fn an_added_process_has_it_too(kase: &Kase) {
    let bundle = kase.bundle().writable().args(["/probe", "sleep"]);
    let container = Container::create(kase, &bundle, &["--fake-root"]);
    container.start();
    assert!(container.call("exec", CALLS).stdout().starts_with("ok\nok\n"));
}

/// A package whose program's owner is another user, as made by dpkg-deb.
fn package(kase: &Kase) -> PathBuf {
    let tree = kase.path("package");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("opt/thing")).unwrap();
    fs::set_permissions(tree.join("opt"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(tree.join("opt/thing"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(tree.join("opt/thing/file"), "installed\n").unwrap();
    let control = "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: a thing\n";
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let script = tree.join("DEBIAN/postinst");
    fs::write(&script, "#!/bin/sh\nset -e\nchown daemon:daemon /opt/thing/file\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let deb = kase.path("thing.deb");
    let built = Command::new("dpkg-deb")
        .arg("--root-owner-group")
        .arg("--build")
        .args([&tree, &deb])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    deb
}

/// The host's /usr, and a dpkg without a package.
fn debian(kase: &Kase, deb: &Path) -> Bundle {
    let bundle = [
        "usr",
        "opt",
        "root",
        "var",
        "var/lib",
        "var/lib/dpkg",
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/log",
    ]
    .iter()
    .fold(kase.bundle().writable(), |bundle, name| bundle.directory(name));
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), bundle.rootfs(name)).unwrap();
    }
    fs::copy(deb, bundle.rootfs("thing.deb")).unwrap();
    bundle
        .file("var/lib/dpkg/status", "")
        .file("var/lib/dpkg/available", "")
        .file("etc/passwd", "root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n")
        .file("etc/group", "root:x:0:\ndaemon:x:1:\n")
        .mount(json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}))
        .edit(|spec| {
            let all = json!([
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_SETUID",
                "CAP_SETGID"
            ]);
            for set in ["bounding", "effective", "permitted"] {
                spec["process"]["capabilities"][set] = all.clone();
            }
            spec["process"]["env"].as_array_mut().unwrap().push(json!("PATH=/usr/sbin:/usr/bin:/sbin:/bin"));
        })
        .args(["/usr/bin/dpkg", "-i", "/thing.deb"])
}

fn dpkg_installs_what_changes_owners(kase: &Kase) {
    if !Path::new("/usr/bin/dpkg").exists() || !Path::new("/usr/bin/dpkg-deb").exists() {
        skip!("needs dpkg");
    }
    let bundle = debian(kase, &package(kase));
    let without = kase.run_with(&bundle, ["--overlay"]);
    assert_ne!(without.code, 0, "{without}");
    assert!(without.err.contains("daemon:daemon") || without.err.contains("changing ownership"), "{without}");
    let with = kase.run_with(&bundle, ["--fake-root"]);
    assert!(with.stdout().contains("Setting up thing (1)"), "{with}");
    assert_eq!(fs::read_to_string(bundle.rootfs("opt/thing/file")).unwrap(), "installed\n");
    assert!(
        fs::read_to_string(bundle.rootfs("var/lib/dpkg/status")).unwrap().contains("install ok installed")
    );
}

/// The rootfs of [`debian`] with a repository in it, whose only package is that one.
fn repository(kase: &Kase) -> Bundle {
    let deb = package(kase);
    let sum = Command::new("sha256sum").arg(&deb).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap();
    let size = fs::metadata(&deb).unwrap().len();
    let packages = format!(
        "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\n\
         Filename: ./thing.deb\nSize: {size}\nSHA256: {}\nDescription: a thing\n",
        sum.split_whitespace().next().unwrap()
    );
    let names = "etc/apt etc/apt/apt.conf.d repository var/lib/apt var/lib/apt/lists var/lib/apt/lists/partial \
                 var/cache var/cache/apt var/cache/apt/archives var/cache/apt/archives/partial";
    let bundle = names.split(' ').fold(debian(kase, &deb), Bundle::directory);
    fs::copy(&deb, bundle.rootfs("repository/thing.deb")).unwrap();
    fs::set_permissions(bundle.rootfs("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let users = "root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n_apt:x:42:65534::/nonexistent:/bin/sh\n";
    bundle
        .file("repository/Packages", &packages)
        .file("etc/apt/sources.list", "deb [trusted=yes] file:/repository ./\n")
        .file("etc/passwd", users)
        .file("etc/group", "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n")
}

const INSTALL: &str = "apt-get update && apt-get install -y thing && apt-get remove -y thing && \
                       apt-get install -y ./thing.deb && cat /opt/thing/file";

macro_rules! needs_apt {
    () => {
        if !Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/bin/dpkg-deb").exists() {
            skip!("needs apt");
        }
    };
}

fn apt_installs_without_being_told(kase: &Kase) {
    needs_apt!();
    let bundle = repository(kase).args(["/bin/sh", "-c", INSTALL]);
    let before = fs::read_dir(bundle.rootfs("dev")).map_or(0, Iterator::count);
    let installed = kase.run_with(&bundle, ["--fake-root", "--overlay"]);
    assert!(installed.stdout().ends_with("installed\n"), "{installed}");
    assert_eq!(fs::read_dir(bundle.rootfs("dev")).map_or(0, Iterator::count), before);
    assert!(!bundle.rootfs("opt/thing").exists());
    // As an added process, and without the option.
    let bundle = bundle.args(["/probe", "sleep"]);
    let container = Container::create(kase, &bundle, &["--fake-root", "--overlay"]);
    container.start();
    assert!(container.call("exec", ["/bin/sh", "-c", INSTALL]).stdout().ends_with("installed\n"));
    let without = kase.run_with(&bundle.args(["/bin/sh", "-c", INSTALL]), ["--overlay"]);
    assert_ne!(without.code, 0, "{without}");
}

fn apt_is_told_nothing_where_it_is_not_or_was_told(kase: &Kase) {
    needs_apt!();
    let look = ["/bin/sh", "-c", "echo $APT_CONFIG; ls /dev/apt.conf"];
    let bundle = repository(kase).args(look);
    assert_eq!(kase.run_with(&bundle, ["--fake-root"]).stdout(), "/dev/apt.conf\n/dev/apt.conf\n");
    let bundle = bundle.edit(|spec| {
        spec["process"]["env"].as_array_mut().unwrap().push(json!("APT_CONFIG=/dev/null"));
    });
    assert_eq!(kase.run_with(&bundle, ["--fake-root"]).stdout(), "/dev/null\n/dev/apt.conf\n");
    // It would not do by itself.
    let alone = kase.run_with(&bundle.args(["/usr/bin/apt-get", "update"]), ["--fake-root", "--overlay"]);
    assert!(alone.code != 0 && alone.err.contains("Could not switch"), "{alone}");
    let other = debian(kase, &package(kase)).args(look);
    let outcome = kase.run_with(&other, ["--fake-root"]);
    assert_eq!(outcome.out, "\n", "{outcome}");
}

/// What an added process has as APT_CONFIG, in a container with a filter and a file /dev/apt.conf.
fn is_told_to_an_added_process(kase: &Kase, options: &[&str]) -> bool {
    let words = ["/probe", "write", "/dev/apt.conf", "x", "--", "args", "written", "--", "sleep"];
    let bundle = kase.bundle().args(words).edit(|spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}],
        });
    });
    let container = Container::create(kase, &bundle, options);
    container.start();
    container.says("written");
    container.call("exec", ["/probe", "env"]).stdout().contains("APT_CONFIG=/dev/apt.conf\n")
}

fn apt_is_told_nothing_by_an_added_process_without_it(kase: &Kase) {
    assert!(!is_told_to_an_added_process(kase, &[]));
}

fn apt_is_told_by_an_added_process(kase: &Kase) {
    assert!(is_told_to_an_added_process(kase, &["--fake-root"]));
}
