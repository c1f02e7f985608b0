//! The container's process: who it is, what it may do, what it starts with.

use crate::common::{Kase, is_ours, is_root, json, peer, words};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

deeds! {
    capabilities_are_those_of_the_config,
    ambient_capabilities_reach_the_process,
    builders_that_list_all_as_ambient_are_not_warned,
    without_capabilities_there_are_none,
    an_unknown_capability_is_a_warning,
    no_new_privileges_is_set_when_asked,
    user_group_and_additional_groups_are_taken,
    an_ordinary_user_in_the_container_has_no_capabilities,
    umask_is_taken,
    rlimits_are_exact,
    oom_score_adj_is_taken,
    sysctls_are_written,
    the_working_directory_is_entered_and_made,
    the_environment_is_the_one_of_the_config,
    home_comes_from_the_containers_passwd,
    the_last_of_a_repeated_variable_wins,
    the_program_is_found_in_the_containers_path,
    no_descriptor_of_ours_reaches_the_container,
    arguments_are_passed_as_they_are,
    the_argument_zero_is_as_given,
    no_signal_is_ignored,
    a_variable_that_is_none_is_not_printed,
    more_groups_than_there_may_be_are_refused,
    an_empty_name_is_a_program_that_is_not_found,
    a_closed_rootfs_is_what_keeps_programs_from_being_found,
    a_file_as_standard_output_keeps_its_owner,
    a_pipe_as_standard_output_is_the_users,
    more_arguments_than_the_kernel_takes_are_told,
}
deeds! { root: a_device_or_a_file_to_be_read_stays_the_hosts, what_a_lower_oom_score_takes_is_told }

/// CAP_KILL, CAP_NET_BIND_SERVICE and CAP_AUDIT_WRITE, as the default config has them.
const DEFAULT: &str = "0000000020000420";
const NONE: &str = "0000000000000000";

fn capabilities_are_those_of_the_config(kase: &Kase) {
    let caps = kase.sees(kase.bundle(), ["caps"]);
    let expected =
        format!("CapInh: {NONE}\nCapPrm: {DEFAULT}\nCapEff: {DEFAULT}\nCapBnd: {DEFAULT}\nCapAmb: {NONE}\n");
    assert_eq!(caps, format!("{expected}NoNewPrivs: 1\n"));
}

fn ambient_capabilities_reach_the_process(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["process"]["capabilities"] = json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
            "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
        });
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let expected = "CapInh: 0000000000000020\nCapPrm: 0000000000000020\nCapEff: 0000000000000020\n\
                    CapBnd: 0000000000000021\nCapAmb: 0000000000000020\nNoNewPrivs: 1\n";
    assert_eq!(kase.sees(bundle, ["caps"]), expected);
}

/// buildah grants no inheritable capabilities, and lists those that it grants as ambient too.
fn builders_that_list_all_as_ambient_are_not_warned(kase: &Kase) {
    let all = json!(["CAP_KILL", "CAP_CHOWN"]);
    let bundle = kase.bundle().args(["/probe", "caps"]).edit(|spec| {
        spec["process"]["capabilities"] =
            json!({"bounding": all, "permitted": all, "effective": all, "ambient": all});
    });
    let outcome = kase.run(&bundle);
    assert!(outcome.stdout().contains(&format!("CapAmb: {NONE}\n")), "{outcome}");
    assert!(!outcome.err.contains("ambient"), "{outcome}");

    let bundle = bundle.edit(|spec| spec["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]));
    let outcome = kase.run(&bundle);
    assert!(outcome.err.contains("process.capabilities.ambient") || !is_ours(), "{outcome}");
}

fn without_capabilities_there_are_none(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["capabilities"] = json!({}));
    let caps = kase.sees(bundle, ["caps"]);
    assert_eq!(caps.matches(NONE).count(), 5, "{caps}");
}

fn an_unknown_capability_is_a_warning(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "caps"]).edit(|spec| {
        spec["process"]["capabilities"]["permitted"] = json!(["CAP_KILL", "CAP_FLY"]);
        spec["process"]["capabilities"]["effective"] = json!(["CAP_KILL"]);
    });
    let outcome = kase.run(&bundle);
    assert!(outcome.stdout().contains("CapPrm: 0000000000000020\n"), "{outcome}");
    assert!(outcome.err.contains("CAP_FLY"), "{outcome}");
}

fn no_new_privileges_is_set_when_asked(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["noNewPrivileges"] = json!(false));
    assert_eq!(kase.sees(bundle, ["status", "NoNewPrivs"]), "NoNewPrivs: 0\n");
}

fn user_group_and_additional_groups_are_taken(kase: &Kase) {
    let bundle = kase
        .bundle()
        .edit(|spec| spec["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 100]}));
    let expected = "Uid: 1000 1000 1000 1000\nGid: 1001 1001 1001 1001\nGroups: 5 100\n";
    assert_eq!(kase.sees(bundle, ["id"]), expected);
}

fn an_ordinary_user_in_the_container_has_no_capabilities(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let caps = kase.sees(bundle, ["status", "CapEff", "CapBnd"]);
    assert_eq!(caps, format!("CapEff: {NONE}\nCapBnd: {DEFAULT}\n"));
}

fn umask_is_taken(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["user"]["umask"] = json!(0o027));
    assert_eq!(kase.sees(bundle, ["umask"]), "Umask: 0027\n");
    assert_eq!(kase.sees(kase.bundle(), ["umask"]), "Umask: 0022\n");
}

fn rlimits_are_exact(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ]);
    });
    let limits = kase.sees(bundle, ["rlimits"]);
    assert!(limits.contains("open files: 100 200\n"), "{limits}");
    assert!(limits.contains("core file size: 0 0\n"), "{limits}");
}

fn oom_score_adj_is_taken(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["oomScoreAdj"] = json!(500));
    assert_eq!(kase.sees(bundle, ["oom"]), "500\n");
}

fn sysctls_are_written(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["sysctl"] =
            json!({"net.ipv4.ip_forward": "1", "net.ipv4.ip_unprivileged_port_start": "80"});
    });
    let seen = kase.sees(
        bundle,
        ["sysctl", "net.ipv4.ip_forward", "--", "sysctl", "net/ipv4/ip_unprivileged_port_start"],
    );
    assert_eq!(seen, "1\n80\n");
}

fn the_working_directory_is_entered_and_made(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["cwd"] = json!("/etc"));
    assert_eq!(kase.sees(bundle, ["cwd"]), "/etc\n");
    let bundle = kase.bundle().writable().edit(|spec| spec["process"]["cwd"] = json!("/made/for/it"));
    assert_eq!(kase.sees(bundle, ["cwd"]), "/made/for/it\n");
}

fn the_environment_is_the_one_of_the_config(kase: &Kase) {
    let marker = kase.marker();
    let bundle = kase
        .bundle()
        .edit(|spec| spec["process"]["env"] = json!(["PATH=/bin", "HOME=/here", "WORD=a b=c", marker]));
    assert_eq!(kase.sees(bundle, ["env"]), format!("PATH=/bin\nHOME=/here\nWORD=a b=c\n{marker}\n"));
}

fn home_comes_from_the_containers_passwd(kase: &Kase) {
    assert!(kase.sees(kase.bundle(), ["env"]).contains("HOME=/\n"));
    let passwd = "root:x:0:0:root:/home/of/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
    let bundle = kase.bundle().file("etc/passwd", passwd);
    assert!(kase.sees(bundle, ["env"]).contains("HOME=/home/of/root\n"));
    let bundle = kase.bundle().file("etc/passwd", passwd);
    let bundle = bundle.edit(|spec| spec["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    assert!(kase.sees(bundle, ["env"]).contains("HOME=/home/user\n"));
}

fn the_last_of_a_repeated_variable_wins(kase: &Kase) {
    let marker = kase.marker();
    let bundle = kase.bundle().edit(|spec| spec["process"]["env"] = json!(["A=1", "B=2", "A=3", marker]));
    let env = kase.sees(bundle, ["env"]);
    assert!(env.contains("A=3\n") && !env.contains("A=1\n"), "{env}");
}

fn the_program_is_found_in_the_containers_path(kase: &Kase) {
    let bundle = kase.bundle().directory("usr").directory("usr/bin").link("usr/bin/payload", "/probe");
    let bundle = bundle.args(["payload", "args", "found"]);
    assert_eq!(kase.run(&bundle).stdout(), "found\n");
}

fn no_descriptor_of_ours_reaches_the_container(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "fds"]);
    let words = kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
    // A caller's descriptors are not the container's either.
    let mut shell = kase.program("/bin/sh");
    shell
        .args(["-c", "exec 5</etc/passwd 9</; exec \"$0\" \"$@\""])
        .arg(words.get_program())
        .args(words.get_args());
    let outcome = kase.finish(shell);
    let fds: Vec<&str> = outcome.stdout().lines().map(|line| &line[..1]).collect();
    assert_eq!(fds, ["0", "1", "2"], "{outcome}");
}

fn arguments_are_passed_as_they_are(kase: &Kase) {
    assert_eq!(kase.sees(kase.bundle(), ["args", "", "a b", "$HOME", "*"]), "\na b\n$HOME\n*\n");
}

fn the_argument_zero_is_as_given(kase: &Kase) {
    let seen = kase.sees(kase.bundle(), ["read", "/proc/self/cmdline"]);
    assert_eq!(seen.split('\0').next(), Some("/probe"), "with {}", peer());
}

/// Not one of those that its caller ignores, as a shell does for what it starts in the background; nor those that a C
/// library keeps for itself.
fn no_signal_is_ignored(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "status", "SigIgn", "--", "status", "SigBlk"]);
    let words = kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
    // Not env(1), whose C library leaves some out.
    let mut python = kase.program("python3");
    python.args([
        "-c",
        "import ctypes, os, sys\n\
        sigaction = [1, 0, 0, 0]\n\
        ignore = (ctypes.c_ulong * 4)(*sigaction)\n\
        numbers = [n for n in range(1, 65) if n not in (9, 19)]\n\
        assert all(ctypes.CDLL(None).syscall(SYS, n, ignore, None, 8) == 0 for n in numbers)\n\
        os.execv(sys.argv[1], sys.argv[1:])"
            .replace("SYS", &libc::SYS_rt_sigaction.to_string())
            .as_str(),
    ]);
    python.arg(words.get_program()).args(words.get_args());
    let seen = kase.finish(python);
    let set = |name: &str| {
        let line = seen.stdout().lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    // The probe's own start ignores SIGPIPE.
    assert_eq!((set("SigIgn:") & !(1 << 12), set("SigBlk:")), (0, 0), "{seen}");
}

fn a_variable_that_is_none_is_not_printed(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["env"] = json!(["A=1", "hunter2"]));
    let outcome = kase.run(&bundle);
    outcome.refused(&["process.env[1]: this is no NAME=value"]);
    assert!(!outcome.err.contains("hunter2"), "{outcome}");
}

fn more_groups_than_there_may_be_are_refused(kase: &Kase) {
    let groups: Vec<u32> = vec![0; 66_000];
    let bundle = kase.bundle().edit(|spec| spec["process"]["user"]["additionalGids"] = json!(groups));
    kase.run(&bundle).refused(&["process.user.additionalGids: 66000 groups, but the kernel takes 65536"]);
}

/// Podman makes its exit code 127 of these words.
fn an_empty_name_is_a_program_that_is_not_found(kase: &Kase) {
    let outcome = kase.run(&kase.bundle().args([""]));
    assert_ne!(outcome.code, 0);
    assert!(outcome.err.contains("executable file not found in $PATH"), "{outcome}");
}

fn a_closed_rootfs_is_what_keeps_programs_from_being_found(kase: &Kase) {
    let closed = |name| {
        let bundle = kase.bundle().args([name]).edit(|spec| {
            spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            spec["process"]["capabilities"] = json!({});
        });
        fs::set_permissions(bundle.rootfs(""), fs::Permissions::from_mode(0o700)).unwrap();
        kase.run(&bundle)
    };
    let outcome = closed("no-such-program");
    assert!(
        outcome
            .err
            .contains("executable file not found in $PATH, of which / may not be searched by uid 1000"),
        "{outcome}"
    );
    let whole = closed("/probe");
    assert!(
        whole.err.contains("\"/probe\": permission denied: / may not be searched by uid 1000"),
        "{whole}"
    );
    for outcome in [outcome, whole] {
        assert!(outcome.help().contains("chmod o+x /)"), "{outcome}");
    }
}

fn more_arguments_than_the_kernel_takes_are_told(kase: &Kase) {
    let long = "x".repeat(200_000);
    let outcome = kase.run(&kase.bundle().args(["/probe", &long]));
    assert_ne!(outcome.code, 0);
    assert!(outcome.err.contains("Argument list too long"), "{}", &outcome.err[..200]);
    assert!(outcome.help().starts_with("shorten process.args and process.env"), "{}", outcome.help());
}

/// `run` as another user of the container's, with this standard output.
fn run_onto(kase: &Kase, output: impl Into<std::process::Stdio>) {
    let bundle = kase.bundle().args(["/probe", "id"]).edit(|spec| {
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let id = kase.id();
    let mut command = kase.command(words(["run", "-b"], bundle.dir(), [id.as_str()]));
    assert!(command.stdout(output).status().unwrap().success());
}

/// Rootless it would become a subordinate id's. Of root's own files the container gets what it is to write.
fn a_file_as_standard_output_keeps_its_owner(kase: &Kase) {
    let owned = |file: &std::path::Path| (file.metadata().unwrap().uid(), file.metadata().unwrap().gid());
    let own = kase.file("own", "");
    run_onto(kase, fs::File::options().append(true).open(&own).unwrap());
    let expected = if kase.is_root() { 1000 } else { kase.identity.uid };
    assert_eq!(owned(&own), (expected, kase.identity.gid), "the group stays in any case");
    if is_root() {
        let foreign = kase.file("foreign", "");
        std::os::unix::fs::chown(&foreign, Some(12345), Some(12345)).unwrap();
        run_onto(kase, fs::File::options().append(true).open(&foreign).unwrap());
        assert_eq!(owned(&foreign), (12345, 12345));
    }
}

fn a_pipe_as_standard_output_is_the_users(kase: &Kase) {
    let pipe = kase.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    kase.identity.own(&pipe);
    let output = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    run_onto(kase, output.try_clone().unwrap());
    assert_ne!(output.metadata().unwrap().uid(), kase.identity.uid);
}

fn a_device_or_a_file_to_be_read_stays_the_hosts(kase: &Kase) {
    let device = kase.path("zero");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::sys::stat::mknod(&device, nix::sys::stat::SFlag::S_IFCHR, mode, libc::makedev(1, 5)).unwrap();
    run_onto(kase, fs::File::options().write(true).open(&device).unwrap());
    let read = kase.file("read", "");
    run_onto(kase, fs::File::open(&read).unwrap());
    for path in [device, read] {
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (0, 0), "{}", path.display());
    }
}

fn what_a_lower_oom_score_takes_is_told(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["oomScoreAdj"] = json!(-1000));
    let run = kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
    let mut without = kase.program("setpriv");
    without.arg("--bounding-set=-sys_resource").arg(run.get_program()).args(run.get_args());
    let outcome = kase.finish(without);
    outcome.refused(&["process.oomScoreAdj: set the score to -1000"]);
    assert!(outcome.help().contains("CAP_SYS_RESOURCE"), "{outcome}");
}
