//! Each remedy: its error is provoked on a host that is broken for it, and what the help says is done.

use crate::common::{Kase, Surroundings, is_ours, is_root, json, ranges, words};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

deeds! {
    a_mount_of_a_noexec_file_system_is_named,
    an_interpreter_on_a_noexec_file_system_is_named,
    overlay_names_the_directory_that_is_missing,
    overlay_names_a_file_system_that_cannot_be_upper,
    an_unknown_file_system_names_its_module,
}
deeds! { user:
    user_namespaces_that_are_switched_off_can_be_switched_on,
    namespaces_that_are_used_up_name_the_limit,
    namespaces_that_are_nested_too_deep_are_told,
    a_user_namespace_without_its_own_mounts_is_told,
    helpers_that_are_not_installed_name_the_package,
    helpers_without_power_are_given_it,
    helpers_on_a_nosuid_file_system_are_told,
    no_new_privileges_around_us_are_told,
    a_limit_above_the_hard_one_is_named_with_its_value,
    what_covers_proc_is_named,
    a_flag_that_the_host_has_locked_is_named,
    a_rootfs_on_a_noexec_file_system_is_told,
    ranges_of_a_directory_service_count,
}
deeds! { bare:
    an_unmapped_owner_of_a_mount_is_named,
    maps_without_ranges_name_the_command_that_gives_one,
    a_quota_of_keys_that_is_used_up_is_named,
}

fn run(kase: &Kase, bundle: &crate::common::Bundle) -> Command {
    kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]))
}

/// A bundle with a user namespace, for a caller who would not get one.
fn with_user_namespace(kase: &Kase) -> crate::common::Bundle {
    kase.bundle().namespace(json!({"type": "user"})).args(["/probe", "hostname"])
}

/// A bundle whose maps take the helpers.
fn with_maps(kase: &Kase) -> crate::common::Bundle {
    let own = &kase.identity;
    let (uids, gids) = (ranges("/etc/subuid", own)[0], ranges("/etc/subgid", own)[0]);
    let maps = |own: u32, start: u32| json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": start, "size": 9}]);
    with_user_namespace(kase).edit(|spec| {
        spec["linux"]["uidMappings"] = maps(own.uid, uids.0);
        spec["linux"]["gidMappings"] = maps(own.gid, gids.0);
    })
}

macro_rules! needs_root {
    () => {
        if !is_root() {
            skip!("needs root to break something");
        }
    };
}

macro_rules! needs_helpers {
    () => {
        needs_root!();
        if !Path::new("/usr/bin/newuidmap").exists() {
            skip!("needs newuidmap");
        }
    };
}

fn user_namespaces_that_are_switched_off_can_be_switched_on(kase: &Kase) {
    let host = Surroundings::user_namespace(kase, "echo 0 >/proc/sys/user/max_user_namespaces");
    let run = run(kase, &with_user_namespace(kase));
    host.once(&run).refused(&["linux.namespaces", "user.max_user_namespaces is 0"]);
    let (outcome, followed) = host.followed(&run);
    assert_eq!(followed, "sysctl -w user.max_user_namespaces=15000\n", "{outcome}");
    assert!(outcome.stdout().ends_with("kase\n"), "{outcome}");
}

fn namespaces_that_are_used_up_name_the_limit(kase: &Kase) {
    // Namespaces of a running process, for as long as the container's are made.
    let before = "echo 1 >/proc/sys/user/max_ipc_namespaces; unshare --ipc sleep 20 & holder=$!
        trap 'kill $holder' EXIT; while ! ls /proc/$holder/exe -l | grep -q sleep; do sleep 0.01; done";
    let host = Surroundings::user_namespace(kase, before);
    let run = run(kase, &kase.bundle().args(["/probe", "hostname"]));
    let outcome = host.once(&run);
    outcome.refused(&["linux.namespaces", "ipc namespaces are used up (user.max_ipc_namespaces is 1)"]);
    assert!(outcome.help().contains("sysctl -w user.max_ipc_namespaces=2,"), "{outcome}");
    let repaired = format!("{before}; echo 2 >/proc/sys/user/max_ipc_namespaces");
    assert_eq!(Surroundings::user_namespace(kase, &repaired).once(&run).stdout(), "kase\n");
}

fn namespaces_that_are_nested_too_deep_are_told(kase: &Kase) {
    let nest = kase.file(
        "nest",
        "#!/bin/sh\nn=$1; shift; [ $n = 0 ] && exec \"$@\"\n\
         exec unshare --user --map-root-user --mount \"$0\" $((n - 1)) \"$@\"\n",
    );
    fs::set_permissions(&nest, fs::Permissions::from_mode(0o755)).unwrap();
    let run = run(kase, &with_user_namespace(kase));
    let at_depth = |depth: &str| {
        let mut command = kase.program(nest.to_str().unwrap());
        command.arg(depth).arg(run.get_program()).args(run.get_args());
        kase.finish(command)
    };
    // The kernel has the initial one and 33 below it.
    let outcome = at_depth("33");
    outcome.refused(&["linux.namespaces", "nested too deep"]);
    assert!(outcome.help().contains("nest fewer than 32"), "{outcome}");
    assert_eq!(at_depth("20").stdout(), "kase\n");
}

fn a_user_namespace_without_its_own_mounts_is_told(kase: &Kase) {
    let run = run(kase, &with_user_namespace(kase));
    let inside = |options: &[&str]| {
        let mut unshare = kase.program("unshare");
        unshare.args(options).arg(run.get_program()).args(run.get_args());
        kase.finish(unshare)
    };
    let outcome = inside(&["--user", "--map-root-user"]);
    outcome.refused(&["root.path", "Operation not permitted"]);
    assert!(outcome.help().contains("unshare --user --map-root-user --mount"), "{outcome}");
    assert_eq!(inside(&["--user", "--map-root-user", "--mount"]).stdout(), "kase\n");
}

fn helpers_that_are_not_installed_name_the_package(kase: &Kase) {
    needs_helpers!();
    let nothing = kase.file("nothing", "");
    let hide = format!(
        "for name in newuidmap newgidmap; do mount --bind {} /usr/bin/$name; done",
        nothing.display()
    );
    let run = run(kase, &with_maps(kase));
    let outcome = Surroundings::mounts(kase, &hide).once(&run);
    outcome.refused(&["linux.uidMappings", "newuidmap is not installed"]);
    if fs::read_to_string("/etc/os-release").is_ok_and(|text| text.contains("ID=debian")) {
        assert_eq!(outcome.help(), "run as root: apt install uidmap", "{outcome}");
    }
    // What the package would do.
    let install = format!("{hide}; umount /usr/bin/newuidmap /usr/bin/newgidmap");
    assert_eq!(Surroundings::mounts(kase, &install).once(&run).stdout(), "kase\n");
}

fn helpers_without_power_are_given_it(kase: &Kase) {
    needs_helpers!();
    let copies = kase.directory("copies");
    let weaken = format!(
        "for name in newuidmap newgidmap; do path=$(command -v $name); cat $path >{0}/$name; chmod 755 {0}/$name
            mount --bind {0}/$name $path; done",
        copies.display()
    );
    let host = Surroundings::mounts(kase, &weaken);
    let run = run(kase, &with_maps(kase));
    host.once(&run).refused(&["map", "is not setuid root and has no file capabilities"]);
    let (outcome, followed) = host.followed(&run);
    assert!(
        followed.starts_with("chown root /") && followed.contains("&& chmod u+s /"),
        "{followed}{outcome}"
    );
    assert_eq!(outcome.stdout(), "kase\n", "{followed}");
}

fn helpers_on_a_nosuid_file_system_are_told(kase: &Kase) {
    needs_helpers!();
    let lock = "for name in newuidmap newgidmap; do path=$(command -v $name); mount --bind $path $path
        mount -o remount,bind,nosuid $path; done";
    let run = run(kase, &with_maps(kase));
    let outcome = Surroundings::mounts(kase, lock).once(&run);
    outcome.refused(&["map", "is on a filesystem that is mounted nosuid"]);
    assert!(outcome.help().starts_with("remount the filesystem of"), "{outcome}");
    let repaired = format!(
        "{lock}; for name in newuidmap newgidmap; do mount -o remount,bind,suid $(command -v $name); done"
    );
    assert_eq!(Surroundings::mounts(kase, &repaired).once(&run).stdout(), "kase\n");
}

fn no_new_privileges_around_us_are_told(kase: &Kase) {
    needs_helpers!();
    let run = run(kase, &with_maps(kase));
    let host = Surroundings::mounts(kase, "");
    let outcome = host.run("as setpriv --no-new-privs \"$@\"", &run);
    outcome.refused(&["map", "no_new_privs is set on this process"]);
    assert!(outcome.help().starts_with("start it without no_new_privs"), "{outcome}");
    assert_eq!(host.once(&run).stdout(), "kase\n");
}

fn maps_without_ranges_name_the_command_that_gives_one(kase: &Kase) {
    needs_helpers!();
    let etc = kase.path("etc");
    let private = format!("cp -a /etc {0} && mount --bind {0} /etc", etc.display());
    let host = Surroundings::mounts(kase, &private);
    let own = &kase.identity;
    let bundle = |start: &str| {
        with_user_namespace(kase).edit(|spec| {
            for (maps, own) in [("uidMappings", own.uid), ("gidMappings", own.gid)] {
                spec["linux"][maps] = json!([
                    {"containerID": 0, "hostID": own, "size": 1},
                    {"containerID": 1, "hostID": start.parse::<u32>().unwrap(), "size": 9},
                ]);
            }
        })
    };
    let outcome = host.once(&run(kase, &bundle("100000")));
    outcome.refused(&["linux.uidMappings[1]", "may not map the uids 100000-100008"]);
    let remedy = outcome.help().strip_prefix("run as root: usermod --add-subuids ").unwrap_or_default();
    let start = remedy.split('-').next().unwrap();
    assert!(remedy.ends_with(&own.name) && !start.is_empty(), "{outcome}");
    fs::remove_dir_all(&etc).unwrap();
    let granted = format!("{private}; usermod --add-subuids {remedy}");
    let outcome = Surroundings::mounts(kase, &granted).once(&run(kase, &bundle(start)));
    assert_eq!(outcome.stdout(), "kase\n");
}

fn ranges_of_a_directory_service_count(kase: &Kase) {
    needs_root!();
    if !Path::new("/usr/bin/getsubids").exists() {
        skip!("needs getsubids");
    }
    let name = &kase.identity.name;
    let service = kase.file(
        "getsubids",
        &format!("#!/bin/sh\n[ \"$1\" = -g ] && shift\n[ $1 = {name} ] && echo 0: {name} 700000 1000\n"),
    );
    fs::set_permissions(&service, fs::Permissions::from_mode(0o755)).unwrap();
    let nsswitch = kase.file("nsswitch", "subid: sss\n");
    let empty = kase.file("empty", "");
    let before = format!(
        "mount --bind {} /usr/bin/getsubids; mount --bind {} /etc/nsswitch.conf
         for file in /etc/subuid /etc/subgid; do mount --bind {} $file; done",
        service.display(),
        nsswitch.display(),
        empty.display()
    );
    let doctor = kase.command(["doctor"]);
    let outcome = Surroundings::mounts(kase, &before).once(&doctor);
    assert!(outcome.out.contains("1000 uids, 1000 gids"), "{outcome}");
}

fn a_limit_above_the_hard_one_is_named_with_its_value(kase: &Kase) {
    let limits = |hard: u64| {
        kase.bundle().args(["/probe", "hostname"]).edit(|spec| {
            spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": hard}]);
        })
    };
    let lowered = |bundle: &crate::common::Bundle| {
        let words = run(kase, bundle);
        let mut prlimit = kase.program("prlimit");
        kase.finish({
            prlimit.arg("--nofile=512:1000").arg(words.get_program()).args(words.get_args());
            prlimit
        })
    };
    let outcome = lowered(&limits(4000));
    outcome.refused(&["process.rlimits[0].hard", "RLIMIT_NOFILE", "4000"]);
    assert!(outcome.help().starts_with("ask for at most 1000,"), "{outcome}");
    assert_eq!(lowered(&limits(1000)).stdout(), "kase\n");
}

fn what_covers_proc_is_named(kase: &Kase) {
    needs_root!();
    let cover = "mount --bind /dev/null /proc/cpuinfo; mount --bind /dev/null /proc/meminfo";
    let host = Surroundings::mounts(kase, cover);
    let bundle = kase.bundle().args(["/probe", "hostname"]);
    let outcome = host.once(&run(kase, &bundle));
    outcome.refused(&["mounts[0]", "/proc/cpuinfo, /proc/meminfo are covered here"]);
    assert!(outcome.help().contains("leave {\"type\": \"pid\"} out of linux.namespaces"), "{outcome}");
    let shared = bundle.without_namespace("pid");
    assert_eq!(host.once(&run(kase, &shared)).stdout(), "kase\n");
}

fn a_flag_that_the_host_has_locked_is_named(kase: &Kase) {
    needs_root!();
    let source = kase.directory("locked");
    let host = Surroundings::mounts(kase, &format!("mount -t tmpfs -o nosuid tmpfs {}", source.display()));
    let bound = |options: &[&str]| {
        kase.bundle()
            .args(["/probe", "hostname"])
            .mount(json!({"destination": "/mnt", "type": "bind", "source": source, "options": options}))
    };
    let bundle = bound(&["bind", "rsuid"]);
    let outcome = host.once(&run(kase, &bundle));
    outcome.refused(&[&bundle.last_mount(), "the host has locked a flag of the mount"]);
    assert!(outcome.help().starts_with("leave out the words that change it: rrw, rdev, rsuid"), "{outcome}");
    assert_eq!(host.once(&run(kase, &bound(&["bind"]))).stdout(), "kase\n");
}

fn a_rootfs_on_a_noexec_file_system_is_told(kase: &Kase) {
    needs_root!();
    let bundle = kase.bundle().args(["/probe", "hostname"]);
    let lock = format!("mount --bind {0} {0}; mount -o remount,bind,noexec {0}", bundle.dir().display());
    let outcome = Surroundings::mounts(kase, &lock).once(&run(kase, &bundle));
    outcome.refused(&["process.args[0]", "/probe is on a file system that is mounted noexec"]);
    assert!(
        outcome.help().starts_with("put the bundle on a file system that is mounted with exec"),
        "{outcome}"
    );
    let repaired = format!("{lock}; mount -o remount,bind,exec {}", bundle.dir().display());
    assert_eq!(Surroundings::mounts(kase, &repaired).once(&run(kase, &bundle)).stdout(), "kase\n");
}

fn an_unmapped_owner_of_a_mount_is_named(kase: &Kase) {
    let owned = |options: &[&str]| {
        kase.bundle()
            .args(["/probe", "hostname"])
            .mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}))
    };
    let bundle = owned(&["uid=33", "size=64k"]);
    let outcome = kase.run(&bundle);
    outcome.refused(&[&bundle.last_mount(), "uid=33 is not mapped in this user namespace"]);
    assert!(outcome.help().starts_with("leave uid=33 out"), "{outcome}");
    assert_eq!(kase.run(&owned(&["size=64k"])).stdout(), "kase\n");
}

fn a_quota_of_keys_that_is_used_up_is_named(kase: &Kase) {
    if !is_ours() || Command::new("perl").arg("-v").output().is_err() || !cfg!(target_arch = "x86_64") {
        skip!("needs perl, and x86_64's number of add_key(2)");
    }
    let most = fs::read_to_string("/proc/sys/kernel/keys/maxkeys").unwrap_or_default();
    let Ok(most) = most.trim().parse::<u32>() else { skip!("this kernel has no keys") };
    // Into a session keyring of the process's own, which goes with it. Nobody else has this user's keys.
    let script = format!(
        "my ($own, $kind, $text) = ('mine', 'user', 'x'); syscall(250, 1, $own); \
         for (0..{most}) {{ my $name = \"key$_\"; syscall(248, $kind, $name, $text, 1, -3) }} \
         system @ARGV; exit $? >> 8"
    );
    let words = run(kase, &kase.bundle().args(["/probe", "hostname"]));
    let mut perl = kase.program("perl");
    perl.args(["-e", &script]).arg(words.get_program()).args(words.get_args());
    let outcome = kase.finish(perl);
    // It runs all the same.
    assert_eq!(outcome.stdout(), "kase\n");
    let expected = format!("uid {} has used up its quota of keys: {most} of {most}", kase.identity.uid);
    assert!(outcome.err.contains(&expected), "{expected}: {outcome}");
    assert!(outcome.err.contains(&format!("sysctl -w kernel.keys.maxkeys={}", most * 10)), "{outcome}");
    let spared = ["run", "--no-new-keyring", "-b"];
    let words = kase.command(crate::common::words(
        spared,
        kase.bundle().args(["/probe", "hostname"]).dir(),
        [kase.id().as_str()],
    ));
    assert_eq!(kase.finish(words).stdout(), "kase\n");
}

fn noexec_bind(kase: &Kase, options: &[&str]) -> crate::common::Bundle {
    let source = kase.directory("programs");
    crate::common::programs::copy_to(crate::common::programs::probe(), &source.join("probe"));
    fs::set_permissions(source.join("probe"), fs::Permissions::from_mode(0o755)).unwrap();
    kase.bundle().mount(json!({"destination": "/mnt", "type": "bind", "source": source, "options": options}))
}

fn a_mount_of_a_noexec_file_system_is_named(kase: &Kase) {
    let args = ["/mnt/probe", "hostname"];
    let outcome = kase.run(&noexec_bind(kase, &["bind", "noexec"]).args(args));
    outcome.refused(&["process.args[0]", "/mnt/probe is on a file system that is mounted noexec"]);
    assert!(outcome.help().contains("leave noexec out of the options of the mount on /mnt"), "{outcome}");
    assert_eq!(kase.run(&noexec_bind(kase, &["bind"]).args(args)).stdout(), "kase\n");
}

fn an_interpreter_on_a_noexec_file_system_is_named(kase: &Kase) {
    let script = |options: &[&str]| {
        noexec_bind(kase, options).program("tmp/script", b"#!/mnt/probe\n").args(["/tmp/script"])
    };
    let outcome = kase.run(&script(&["bind", "noexec"]));
    outcome.refused(&["/tmp/script", "/mnt/probe is on a file system that is mounted noexec"]);
    // The probe, which is no shell, has come to see its name.
    let outcome = kase.run(&script(&["bind"]));
    assert!(!outcome.err.contains("kase: run") && outcome.err.contains("/tmp/script"), "{outcome}");
}

fn overlay(kase: &Kase, upper: &Path, work: &Path) -> crate::common::Bundle {
    let lower = kase.directory("lower");
    let options = [
        format!("lowerdir={}", lower.display()),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
    ];
    kase.bundle()
        .args(["/probe", "hostname"])
        .mount(json!({"destination": "/mnt", "type": "overlay", "source": "overlay", "options": options}))
}

fn overlay_names_the_directory_that_is_missing(kase: &Kase) {
    let (upper, work) = (kase.directory("upper"), kase.path("work"));
    let bundle = overlay(kase, &upper, &work);
    let outcome = kase.run(&bundle);
    outcome
        .refused(&[&bundle.last_mount(), &format!("overlay's workdir {} is no directory", work.display())]);
    assert_eq!(outcome.help(), format!("create it: mkdir -p {}", work.display()));
    kase.directory("work");
    let outcome = kase.run(&bundle);
    // overlay's own directory in it is root's, and of mode 0.
    let _ = fs::remove_dir_all(work.join("work"));
    if outcome.err.contains("makes no overlay in a user namespace") {
        skip!("this kernel makes no overlay in a user namespace");
    }
    assert_eq!(outcome.stdout(), "kase\n");
}

fn overlay_names_a_file_system_that_cannot_be_upper(kase: &Kase) {
    let bundle = overlay(kase, Path::new("/proc/self"), Path::new("/proc/self/task"));
    let outcome = kase.run(&bundle);
    outcome.refused(&[&bundle.last_mount(), "is on proc, which cannot hold an upper layer"]);
    assert!(outcome.help().starts_with("put upperdir and workdir on tmpfs, ext4"), "{outcome}");
    let bundle = overlay(kase, &kase.directory("upper"), Path::new("/proc/self"));
    kase.run(&bundle).refused(&[&bundle.last_mount(), "are on different mounts"]);
}

fn an_unknown_file_system_names_its_module(kase: &Kase) {
    let bundle = kase.bundle().mount(json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"}));
    let outcome = kase.run(&bundle);
    outcome.refused(&[&bundle.last_mount(), "this kernel has no file system nosuchfs"]);
    assert!(outcome.help().contains("modprobe nosuchfs"), "{outcome}");
}
