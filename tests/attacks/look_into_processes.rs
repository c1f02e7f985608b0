//! A container looks into each process that is made beside it, before that is the container's own: through its root,
//! its working directory and its descriptors it would reach the host (CVE-2016-9962, CVE-2024-21626). With
//! CAP_SYS_PTRACE nothing that the process could say of itself keeps it from that.

use crate::common::{Bundle, Container, Kase, json, patience};
use std::fs;
use std::process::Command;
use std::time::Instant;

deeds! {
    exec_shows_nothing_of_the_host,
    exec_in_the_hosts_pid_namespace_shows_nothing_of_the_host,
    exec_shows_no_privilege_that_the_program_does_not_get,
    a_container_in_anothers_pid_namespace_shows_nothing_of_the_host,
    init_in_the_hosts_pid_namespace_shows_nothing_of_the_host,
}
deeds! { root: a_hook_of_a_container_in_anothers_namespaces_shows_nothing_of_the_host }
deeds! { root: a_hook_of_a_container_with_a_new_user_namespace_shows_nothing_of_the_host }

/// The capabilities that an attacker has.
const WEAK: &[&str] = &[];
const MAY_TRACE: &[&str] = &["CAP_SYS_PTRACE"];
const MIGHTY: &[&str] =
    &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_KILL"];

/// A file of the host's that only the caller may read.
fn secret(kase: &Kase) -> String {
    let file = kase.file("secret", "of the host");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file.display().to_string()
}

fn attacker<'a>(kase: &'a Kase, bundle: Bundle, capabilities: &[&str]) -> Container<'a> {
    let bundle = bundle.args(["/probe", "look-into", &secret(kase)]).edit(|spec| {
        for set in ["bounding", "permitted", "effective"] {
            spec["process"]["capabilities"][set] = json!(capabilities);
        }
    });
    let container = kase.run_detached(&bundle);
    container.says("looking");
    container
}

/// The command with each of its system calls slowed down, so that no moment of it is missed.
fn slowly(kase: &Kase, command: &Command) -> Command {
    let mut slow = kase.program("strace");
    // Its own openat comes after all of the program's moments are over, or before they begin.
    slow.args(["-f", "-qq", "-o"]).arg(kase.path("strace")).args(["-e", "inject=all:delay_exit=2000", "--"]);
    slow.arg(command.get_program()).args(command.get_args());
    slow
}

/// Has the command run slowly until the attacker has had a look at a process of it: on a busy machine it may come late.
fn until_seen(kase: &Kase, attacker: &Container<'_>, command: impl Fn() -> Command) {
    until(kase, attacker, command, || attacker.stdout().contains("permitted "));
}

/// The same until the attacker has seen the process whose id the command writes into the file `pid`, where it sees
/// others too.
fn until_seen_by_its_id(kase: &Kase, attacker: &Container<'_>, command: impl Fn() -> Command) {
    until(kase, attacker, command, || {
        let pid = fs::read_to_string(kase.path("pid")).unwrap();
        attacker.stdout().contains(&format!("process {pid}\n"))
    });
}

fn until(kase: &Kase, attacker: &Container<'_>, command: impl Fn() -> Command, is_seen: impl Fn() -> bool) {
    let begun = Instant::now();
    loop {
        kase.finish(slowly(kase, &command())).exited(0);
        if is_seen() {
            return;
        }
        assert!(begun.elapsed() < patience() / 2, "the attacker sees no process: {}", attacker.stdout());
    }
}

/// What the attacker saw that is the host's: a descriptor may only be what the program has, or a way to talk.
fn seen(kase: &Kase, attacker: &Container<'_>) -> Vec<String> {
    let own = kase.path("").display().to_string();
    let text = attacker.stdout();
    let harmless = |line: &str| {
        let Some((_, target)) = line.strip_prefix("fd ").and_then(|line| line.split_once(' ')) else {
            return false;
        };
        // The program itself begins by reading where its stack is.
        target.ends_with("/maps") && target.starts_with("/proc/")
            || ["socket:", "pipe:", "anon_inode:"].iter().any(|kind| target.starts_with(kind))
            || ["/dev/null", "/null"].contains(&target)
            || target
                .strip_prefix(&own)
                .is_some_and(|name| name.starts_with("out-") || name.starts_with("err-"))
            || ["out-", "err-"].iter().any(|name| target.trim_start_matches('/').starts_with(name))
    };
    text.lines()
        .filter(|line| {
            *line != "looking"
                && !["process ", "permitted "].iter().any(|other| line.starts_with(other))
                && !harmless(line)
        })
        .map(String::from)
        .collect()
}

/// A process of the host's in the attacker's pid namespace is seen whole by who may trace.
fn control(kase: &Kase, attacker: &Container<'_>) {
    let mut nsenter = kase.program("nsenter");
    nsenter.args(["--target", &attacker.pid().to_string(), "--pid"]);
    if !kase.is_root() {
        nsenter.args(["--user", "--preserve-credentials"]);
    }
    nsenter.args(["sleep", "30"]);
    let victim = kase.spawn(nsenter);
    attacker.says("root of the host");
    victim.signal(nix::sys::signal::Signal::SIGTERM);
    victim.finish();
}

fn exec_shows_nothing_of_the_host(kase: &Kase) {
    for capabilities in [WEAK, MAY_TRACE, MIGHTY] {
        let attacker = attacker(kase, kase.bundle(), capabilities);
        until_seen(kase, &attacker, || kase.command(["exec", &attacker.id, "/true"]));
        for _ in 0..10 {
            kase.call(["exec", &attacker.id, "/true"]).exited(0);
        }
        assert_eq!(seen(kase, &attacker), [""; 0], "{capabilities:?}");
        if capabilities != WEAK {
            control(kase, &attacker);
        }
    }
}

/// There it sees every process of kase's. With CAP_SYS_PTRACE it may look into all of the host's anyway, unless it has a
/// user namespace of its own.
fn exec_in_the_hosts_pid_namespace_shows_nothing_of_the_host(kase: &Kase) {
    let strengths: &[&[&str]] = if kase.is_root() { &[WEAK] } else { &[WEAK, MAY_TRACE, MIGHTY] };
    for capabilities in strengths {
        let attacker = attacker(kase, kase.bundle().without_namespace("pid"), capabilities);
        let exec = || kase.command(["exec", "--pid-file", "pid", &attacker.id, "/true"]);
        until_seen_by_its_id(kase, &attacker, exec);
        let seen = attacker.stdout();
        assert!(!seen.contains("of the host"), "{capabilities:?}: {seen}");
    }
}

/// Without no_new_privs, CAP_SYS_ADMIN is what a filter takes to be installed: whoever traces the process would have it.
fn exec_shows_no_privilege_that_the_program_does_not_get(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["process"]["noNewPrivileges"] = json!(false);
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["clone3", "acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
        });
    });
    let attacker = attacker(kase, bundle, MAY_TRACE);
    until_seen(kase, &attacker, || kase.command(["exec", &attacker.id, "/true"]));
    let seen = attacker.stdout();
    // CAP_SYS_PTRACE is number 19.
    let permitted: Vec<&str> = seen.lines().filter_map(|line| line.strip_prefix("permitted ")).collect();
    assert_eq!(permitted, ["0000000000080000"]);
    let filters = kase.call(["exec", &attacker.id, "/probe", "status", "Seccomp", "Seccomp_filters"]);
    assert_eq!(filters.stdout(), "Seccomp: 2\nSeccomp_filters: 1\n");
}

/// A rootless pod shares its user namespace too, which owns the other.
fn a_container_in_anothers_pid_namespace_shows_nothing_of_the_host(kase: &Kase) {
    for capabilities in [WEAK, MAY_TRACE, MIGHTY] {
        let attacker = attacker(kase, kase.bundle(), capabilities);
        let join = |kind: &str| json!({"type": kind, "path": format!("/proc/{}/ns/{kind}", attacker.pid())});
        let mut bundle = kase.bundle().args(["/true"]).namespace(join("pid"));
        if !kase.is_root() {
            bundle = bundle.namespace(join("user"));
        }
        let dir = bundle.dir().display().to_string();
        until_seen(kase, &attacker, || kase.command(["run", "-b", &dir, &kase.id()]));
        for _ in 0..10 {
            kase.run(&bundle).exited(0);
        }
        assert_eq!(seen(kase, &attacker), [""; 0], "{capabilities:?}");
        if capabilities != WEAK {
            control(kase, &attacker);
        }
    }
}

/// A pod with a user namespace of its own: its root may trace there, and sees hooks only after they are outside of it.
fn a_hook_of_a_container_in_anothers_namespaces_shows_nothing_of_the_host(kase: &Kase) {
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
    let bundle = kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
    });
    let attacker = attacker(kase, bundle, MIGHTY);
    let join = |kind: &str| json!({"type": kind, "path": format!("/proc/{}/ns/{kind}", attacker.pid())});
    let bundle = kase.bundle().args(["/true"]).namespace(join("pid")).namespace(join("user")).edit(|spec| {
        spec["hooks"]["createContainer"] = json!([{"path": "/bin/sleep", "args": ["sleep", "0.2"]}]);
    });
    let dir = bundle.dir().display().to_string();
    until_seen(kase, &attacker, || kase.command(["run", "-b", &dir, &kase.id()]));
    assert_eq!(seen(kase, &attacker), [""; 0]);
}

/// A pod that is the host's, and a container in it that has a user namespace of its own.
fn a_hook_of_a_container_with_a_new_user_namespace_shows_nothing_of_the_host(kase: &Kase) {
    let attacker = attacker(kase, kase.bundle(), MIGHTY);
    let path = format!("/proc/{}/ns/pid", attacker.pid());
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
    let bundle = kase.bundle().args(["/true"]).namespace(json!({"type": "pid", "path": path}));
    let done = kase.path("done");
    let script = format!("sleep 0.2; pwd >{}; umask >>{0}; exec cat >>{0}", done.display());
    let bundle = bundle.namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        spec["hooks"]["createContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        // It may mount none of a pid namespace that it does not own.
        spec["mounts"][0] =
            json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]});
    });
    let dir = bundle.dir().display().to_string();
    until_seen(kase, &attacker, || kase.command(["run", "-b", &dir, &kase.id()]));
    assert_eq!(seen(kase, &attacker), [""; 0]);
    let done = fs::read_to_string(done).unwrap();
    let mut lines = done.lines();
    assert_eq!(lines.next(), bundle.rootfs("").to_str().map(|path| path.trim_end_matches('/')));
    assert_eq!(lines.next(), Some("0022"));
    assert!(done.contains("\"status\":\"created\""), "{done}");
    let fails = bundle.edit(|spec| spec["hooks"]["createContainer"] = json!([{"path": "/bin/false"}]));
    kase.run(&fails).refused(&["hooks.createContainer[0]", "/bin/false"]);
}

/// Root of a host is the owner of the user namespaces that it makes, and has all capabilities over what lives in them:
/// a process that lets itself be looked into shows itself to each of root's containers that sees it.
/// What an ordinary user's container sees is another user namespace's.
fn init_in_the_hosts_pid_namespace_shows_nothing_of_the_host(kase: &Kase) {
    let strengths: &[&[&str]] = if kase.is_root() { &[WEAK] } else { &[WEAK, MAY_TRACE, MIGHTY] };
    for capabilities in strengths {
        let attacker = attacker(kase, kase.bundle().without_namespace("pid"), capabilities);
        // An ordinary user's own id needs no program with root's rights, which strace would take away.
        let map = |own: u32| match kase.is_root() {
            true => json!([{"containerID": 0, "hostID": 400_000, "size": 65536}]),
            false => json!([{"containerID": 0, "hostID": own, "size": 1}]),
        };
        let bundle = kase.bundle().args(["/true"]).namespace(json!({"type": "user"})).edit(|spec| {
            spec["linux"]["uidMappings"] = map(kase.identity.uid);
            spec["linux"]["gidMappings"] = map(kase.identity.gid);
        });
        let dir = bundle.dir().display().to_string();
        let run = || kase.command(["run", "--pid-file", "pid", "-b", &dir, &kase.id()]);
        until_seen_by_its_id(kase, &attacker, run);
        let seen = attacker.stdout();
        assert!(!seen.contains("of the host"), "{capabilities:?}: {seen}");
    }
}
