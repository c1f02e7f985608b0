//! Namespaces: new ones, the host's, and joined ones.

use crate::common::{Bundle, Container, Kase, json, words};
use std::fs;
use std::os::unix::fs::PermissionsExt;

deeds! {
    namespaces_of_the_config_are_new_and_all_others_the_hosts,
    hostname_and_domainname_are_those_of_the_config,
    the_first_process_of_a_pid_namespace_is_number_one,
    the_loopback_of_a_new_network_is_up,
    without_a_network_namespace_the_hosts_is_seen,
    a_cgroup_namespace_hides_where_the_container_lies,
    namespaces_of_another_container_are_joined_by_path,
    the_pid_namespace_of_another_container_is_joined,
    hooks_run_for_a_container_in_anothers_pid_namespace,
    a_hop_that_dies_leaves_nobody_waiting,
    time_offsets_hold_in_a_time_namespace,
    time_offsets_are_exact,
    ids_are_mapped_as_the_config_says,
}
deeds! { root:
    a_namespace_kept_by_a_file_is_joined,
    a_user_namespace_for_root_maps_its_ids,
    root_joins_the_user_namespace_of_another_container,
    a_source_that_only_root_reaches_is_there_in_a_joined_user_namespace,
}

fn host_namespace(kind: &str) -> String {
    format!("{kind}: {}\n", fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display())
}

fn namespaces_of_the_config_are_new_and_all_others_the_hosts(kase: &Kase) {
    let seen = kase.sees(kase.bundle(), ["namespaces"]);
    for kind in ["pid", "net", "ipc", "uts", "mnt"] {
        assert!(!seen.contains(&host_namespace(kind)), "{kind} is new: {seen}");
    }
    assert!(seen.contains(&host_namespace("cgroup")), "{seen}");
    assert!(seen.contains(&host_namespace("time")), "{seen}");
    assert_eq!(seen.contains(&host_namespace("user")), kase.is_root(), "{seen}");
}

fn hostname_and_domainname_are_those_of_the_config(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["hostname"] = json!("ark");
        spec["domainname"] = json!("flood.example");
    });
    assert_eq!(kase.sees(bundle, ["hostname", "--", "domainname"]), "ark\nflood.example\n");
}

fn the_first_process_of_a_pid_namespace_is_number_one(kase: &Kase) {
    assert_eq!(kase.sees(kase.bundle(), ["processes"]), "1 /probe processes\n");
}

fn the_loopback_of_a_new_network_is_up(kase: &Kase) {
    // IFF_UP | IFF_LOOPBACK
    assert_eq!(kase.sees(kase.bundle(), ["read", "/sys/class/net/lo/flags"]), "0x9\n");
}

fn without_a_network_namespace_the_hosts_is_seen(kase: &Kase) {
    let seen = kase.sees(kase.bundle().without_namespace("network"), ["namespaces"]);
    assert!(seen.contains(&host_namespace("net")), "{seen}");
}

fn a_cgroup_namespace_hides_where_the_container_lies(kase: &Kase) {
    let bundle = kase.bundle().namespace(json!({"type": "cgroup"}));
    let seen = kase.sees(bundle, ["namespaces", "--", "read", "/proc/self/cgroup"]);
    assert!(!seen.contains(&host_namespace("cgroup")), "{seen}");
    let cgroups = seen.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    for cgroup in cgroups {
        assert!(cgroup.ends_with(":/"), "{seen}");
    }
}

/// The namespaces of a running container by their paths; an ordinary user has to join its user
/// namespace too, which owns the others.
fn join(kase: &Kase, other: &Container, kinds: &[(&str, &str)]) -> Bundle {
    let own = [("user", "user")];
    let all = kinds.iter().chain(if kase.is_root() { &[][..] } else { &own[..] });
    all.fold(kase.bundle(), |bundle, (kind, file)| {
        bundle.namespace(json!({"type": kind, "path": format!("/proc/{}/ns/{file}", other.pid())}))
    })
}

fn sleeper(kase: &Kase) -> Container<'_> {
    kase.run_detached(&kase.bundle().args(["/probe", "namespaces", "--", "sleep"]))
}

fn namespaces_of_another_container_are_joined_by_path(kase: &Kase) {
    let other = sleeper(kase);
    other.says("uts: ");
    let bundle = join(kase, &other, &[("network", "net"), ("uts", "uts"), ("ipc", "ipc")]);
    let bundle = bundle.edit(|spec| spec["hostname"] = json!(null));
    let seen = kase.sees(bundle, ["namespaces", "--", "hostname"]);
    for line in other.stdout().lines() {
        let joined = ["net", "uts", "ipc"].contains(&line.split(':').next().unwrap());
        assert!(!joined || seen.contains(line), "{line} joined: {seen}");
    }
    assert!(seen.ends_with("kase\n"), "the other's hostname: {seen}");
}

fn the_pid_namespace_of_another_container_is_joined(kase: &Kase) {
    let other = sleeper(kase);
    other.says("uts: ");
    let seen = kase.sees(join(kase, &other, &[("pid", "pid")]), ["processes"]);
    assert!(seen.starts_with("1 /probe namespaces -- sleep\n"), "{seen}");
    assert!(seen.contains(" /probe processes\n"), "{seen}");
}

/// Whose user namespace the container joins too: root may enter the pid namespace before, and does.
fn hooks_run_for_a_container_in_anothers_pid_namespace(kase: &Kase) {
    let mut other = kase.bundle().args(["/probe", "sleep"]);
    if kase.is_root() {
        let map = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
        other = other.namespace(json!({"type": "user"})).edit(|spec| {
            spec["linux"]["uidMappings"] = map.clone();
            spec["linux"]["gidMappings"] = map;
        });
    }
    let other = kase.run_detached(&other);
    for (kind, program) in
        [("createRuntime", "/bin/true"), ("createContainer", "/bin/true"), ("startContainer", "/probe")]
    {
        let bundle = join(kase, &other, &[("pid", "pid"), ("user", "user")]).edit(|spec| {
            spec["hooks"][kind] = json!([{"path": program, "args": ["probe", "true"]}]);
        });
        kase.run(&bundle.args(["/probe", "true"])).succeeded();
    }
}

/// As by the kernel for want of memory, between init's birth and the word of it.
fn a_hop_that_dies_leaves_nobody_waiting(kase: &Kase) {
    if std::process::Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    // newuidmap(1), which a user needs here, has no privileges under strace.
    if kase.is_root() {
        let bundle = kase.bundle().namespace(json!({"type": "time"})).edit(|spec| {
            spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}});
        });
        dies(kase, &bundle, 1);
    }
    let other = sleeper(kase);
    other.says("uts: ");
    dies(kase, &join(kase, &other, &[("pid", "pid")]), 2);
}

/// Has the process that makes init be killed as it speaks of it, with its word number `word`.
fn dies(kase: &Kase, bundle: &Bundle, word: u32) {
    let (id, log) = (kase.id(), kase.path("calls"));
    let create = kase.command(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    let mut strace = kase.program("strace");
    strace
        .args(["-f", "-e", "trace=clone3,sendmsg", "-e"])
        .args([&format!("inject=sendmsg:signal=KILL:when={word}"), "-o"])
        .arg(&log);
    strace.arg("--").arg(create.get_program()).args(create.get_args());
    // strace itself ends when its last process does: init too.
    kase.finish(strace).refused(&["ended before it was ready: signal 9 ended it"]);
    let log = fs::read_to_string(log).unwrap();
    let killed = log.find("killed by SIGKILL").expect(&log);
    let dead = log[..killed].lines().last().unwrap().split(' ').next().unwrap();
    let made = log[..killed].lines().any(|line| line.starts_with(dead) && line.contains(" clone3("));
    assert!(made, "it made init and died: {log}");
    kase.call(["state", &id]).refused(&["does not exist"]);
}

fn time_offsets_hold_in_a_time_namespace(kase: &Kase) {
    let bundle = kase.bundle().namespace(json!({"type": "time"})).edit(|spec| {
        spec["linux"]["timeOffsets"] =
            json!({"boottime": {"secs": 31_536_000}, "monotonic": {"secs": 86_400}});
    });
    let seen = kase.sees(bundle, ["namespaces", "--", "read", "/proc/uptime"]);
    assert!(!seen.contains(&host_namespace("time")), "{seen}");
    let uptime: f64 = seen.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 31_536_000.0, "{seen}");
}

fn time_offsets_are_exact(kase: &Kase) {
    let bundle = kase.bundle().namespace(json!({"type": "time"})).edit(|spec| {
        spec["linux"]["timeOffsets"] = json!({
            "monotonic": {"secs": 86_400, "nanosecs": 7}, "boottime": {"secs": -1, "nanosecs": 999_999_999},
        });
    });
    let seen = kase.sees(bundle, ["read", "/proc/self/timens_offsets"]);
    let lines: Vec<Vec<&str>> = seen.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["monotonic", "86400", "7"], ["boottime", "-1", "999999999"]], "{seen}");
}

fn ids_are_mapped_as_the_config_says(kase: &Kase) {
    let own = kase.identity.clone();
    let bundle = kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = json!([{"containerID": 1000, "hostID": own.uid, "size": 1}]);
        spec["linux"]["gidMappings"] = json!([{"containerID": 1000, "hostID": own.gid, "size": 1}]);
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    // The gid of terminals is not mapped here.
    let bundle =
        bundle.edit(|spec| spec["mounts"][2]["options"] = json!(["nosuid", "noexec", "newinstance"]));
    let seen = kase.sees(bundle, ["maps", "--", "status", "Uid"]);
    assert!(seen.contains(&format!("uid_map: 1000 {} 1\n", own.uid)), "{seen}");
    assert!(seen.contains(&format!("gid_map: 1000 {} 1\n", own.gid)), "{seen}");
    assert!(seen.contains("Uid: 1000 1000 1000 1000\n"), "{seen}");
}

fn a_namespace_kept_by_a_file_is_joined(kase: &Kase) {
    let file = kase.file("kept", "");
    let mut unshare = kase.program("unshare");
    unshare.arg(format!("--uts={}", file.display())).args(["hostname", "kept-name"]);
    kase.finish(unshare).succeeded();
    let bundle = kase.bundle().namespace(json!({"type": "uts", "path": file}));
    let bundle = bundle.edit(|spec| spec["hostname"] = json!(null));
    let seen = kase.sees(bundle, ["hostname"]);
    nix::mount::umount(&file).unwrap();
    assert_eq!(seen, "kept-name\n");
}

fn mapped(kase: &Kase) -> Bundle {
    kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
        let mappings = json!([{"containerID": 0, "hostID": 2_000_000, "size": 65536}]);
        spec["linux"]["uidMappings"] = mappings.clone();
        spec["linux"]["gidMappings"] = mappings;
    })
}

fn a_user_namespace_for_root_maps_its_ids(kase: &Kase) {
    let bundle = mapped(kase).edit(|spec| spec["process"]["user"] = json!({"uid": 7, "gid": 8}));
    let seen = kase.sees(bundle, ["id", "--", "maps", "--", "stat", "/probe"]);
    assert!(seen.contains("Uid: 7 7 7 7\nGid: 8 8 8 8\n"), "{seen}");
    assert!(seen.contains("uid_map: 0 2000000 65536\ngid_map: 0 2000000 65536\n"), "{seen}");
    // Root of the host has no number in there.
    assert!(seen.contains("owner=65534:65534"), "{seen}");
}

fn root_joins_the_user_namespace_of_another_container(kase: &Kase) {
    let other = kase.run_detached(&mapped(kase).args(["/probe", "sleep"]));
    let path = format!("/proc/{}/ns/", other.pid());
    let bundle = kase.bundle().namespace(json!({"type": "user", "path": format!("{path}user")}));
    let bundle = bundle.namespace(json!({"type": "network", "path": format!("{path}net")}));
    let seen = kase.sees(bundle, ["maps"]);
    assert!(seen.contains("uid_map: 0 2000000 65536\n"), "{seen}");
}

fn a_source_that_only_root_reaches_is_there_in_a_joined_user_namespace(kase: &Kase) {
    let other = kase.run_detached(&mapped(kase).args(["/probe", "sleep"]));
    // As containerd keeps a pod's /dev/shm.
    let secret = kase.directory("secret");
    kase.file("secret/file", "seen\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    let join = json!({"type": "user", "path": format!("/proc/{}/ns/user", other.pid())});
    let bundle = kase.bundle().file("seen", "").namespace(join).mount(
        json!({"destination": "/seen", "source": secret.join("file"), "type": "bind", "options": ["bind", "ro"]}),
    );
    assert_eq!(kase.sees(bundle, ["read", "/seen"]), "seen\n");
}
