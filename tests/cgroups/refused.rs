//! Limits and places that cannot be: refused with the place in config.json, the cause and a remedy, and nothing
//! is left behind.

use super::MIB;
use crate::common::{Bundle, Ground, Kase, Outcome, Value, is_ours, json, words};
use std::fs;
use std::path::{Path, PathBuf};

deeds! {
    negative_and_absurd_limits_are_refused,
    a_path_that_is_the_root_is_refused,
}
in_settings! { each, memory: memory_and_swap_that_contradict_are_refused }
in_settings! { each, cpuset: processors_that_do_not_exist_are_named_with_file_and_value }
in_settings! { each, cpu: a_period_that_the_kernel_refuses_is_named_with_file_and_value }
in_settings! { each, none: a_controller_that_is_not_there_is_named, a_cgroup_in_use_is_refused }
in_settings! { v1, none: files_by_name_are_refused_on_v1, shares_out_of_range_are_refused }
in_settings! { v2, none: a_file_that_is_not_there_is_named, files_that_are_no_limits_are_refused }
in_settings! { each, freezer: a_frozen_cgroup_is_refused }
in_settings! { cgroupfs, freezer: a_cgroup_of_a_stranger_is_left_as_it_is }
in_settings! { cgroupfs, none: a_tree_that_may_have_no_more_cgroups_is_not_helped_by_another_name }
in_settings! { systemd, none:
    a_slice_that_is_none_is_refused,
    a_unit_that_exists_is_refused,
    a_property_that_systemd_refuses_is_named,
    a_property_that_reaches_beyond_the_scope_is_refused,
    a_dead_bus_is_named,
    a_bus_without_the_users_systemd_is_refused,
}
deeds! { root: systemd_that_does_not_run_is_refused }
deeds! { user: the_users_bus_is_asked_where_run_is_a_copy, the_systems_bus_is_asked_where_it_is_ones_own }

/// `create` is refused with these words, and neither a container nor a cgroup is there afterwards.
fn refused(kase: &Kase, bundle: &Bundle, expected: &[&str]) -> Outcome {
    let id = kase.id();
    let outcome = kase.call(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    let state = kase.call(["state", &id]);
    kase.call(["delete", "--force", &id]);
    outcome.refused(expected);
    assert_ne!(state.code, 0, "state left behind: {state}");
    let left = crate::common::cgroups_of(kase);
    assert!(left.is_empty(), "{left:?}");
    outcome
}

fn limits(bundle: Bundle, resources: &Value) -> Bundle {
    bundle.edit(|spec| spec["linux"]["resources"] = resources.clone())
}

fn negative_and_absurd_limits_are_refused(kase: &Kase) {
    for (resources, place) in [
        (json!({"memory": {"limit": -2}}), "memory.limit: -2"),
        (json!({"memory": {"limit": 5, "swap": -3}}), "memory.swap: -3"),
        (json!({"memory": {"reservation": -9}}), "memory.reservation: -9"),
        (json!({"cpu": {"quota": -5}}), "cpu.quota: -5"),
        (json!({"cpu": {"idle": 2}}), "cpu.idle: 2"),
        (json!({"cpu": {"cpus": "3-1"}}), "cpu.cpus: \"3-1\""),
        (json!({"cpu": {"cpus": "0-99999999"}}), "cpu.cpus: \"0-99999999\""),
        (json!({"cpu": {"mems": "all"}}), "cpu.mems: \"all\""),
        (json!({"cpu": {"shares": -1}}), "cpu.shares: invalid value"),
        (json!({"pids": {"limit": 1e30}}), "pids.limit: invalid type"),
        (json!({"memory": {"limit": "1G"}}), "memory.limit: invalid type"),
        (json!({"blockIO": {"weight": 5}}), "blockIO.weight: 5"),
        (json!({"blockIO": {"weight": 1001}}), "blockIO.weight: 1001"),
        (
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}}),
            "blockIO.throttleReadBpsDevice[0]: -1:0",
        ),
        (json!({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}), "hugepageLimits[0].pageSize"),
        (json!({"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}), "hugepageLimits[0].limit: -1"),
        (json!({"rdma": {"": {"hcaHandles": 1}}}), "rdma."),
    ] {
        refused(kase, &limits(kase.bundle(), &resources), &[&format!("linux.resources.{place}")]);
    }
}

fn a_path_that_is_the_root_is_refused(kase: &Kase) {
    for path in ["/", "/./"] {
        let bundle = kase.bundle().edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
        refused(kase, &bundle, &["linux.cgroupsPath", "root of the tree"]);
    }
}

fn memory_and_swap_that_contradict_are_refused(ground: &Ground) {
    let less = json!({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}});
    refused(ground, &ground.limited(&less), &["linux.resources.memory.swap", "67108864", "33554432"]);
}

fn processors_that_do_not_exist_are_named_with_file_and_value(ground: &Ground) {
    let bundle = ground.limited(&json!({"cpu": {"cpus": "4000"}}));
    refused(ground, &bundle, &["linux.resources.cpu.cpus", "\"4000\"", "/cpuset.cpus"]);
}

fn a_period_that_the_kernel_refuses_is_named_with_file_and_value(ground: &Ground) {
    let bundle = ground.limited(&json!({"cpu": {"quota": 5000, "period": 1}}));
    let file = if ground.is_v1() { "/cpu.cfs_period_us" } else { "/cpu.max" };
    refused(ground, &bundle, &["linux.resources.cpu.", "1\"", file]);
}

fn a_controller_that_is_not_there_is_named(ground: &Ground) {
    let mut tried = 0;
    for (controller, resources) in [
        ("rdma", json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}})),
        ("hugetlb", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MIB}]})),
        ("net_cls", json!({"network": {"classID": 5}})),
    ] {
        let only_v1 = controller == "net_cls" && !ground.is_v1();
        if !ground.has(controller) && !only_v1 {
            refused(ground, &ground.limited(&resources), &["linux.resources.", controller]);
            tried += 1;
        }
    }
    if tried == 0 {
        skip!("every controller is there");
    }
}

fn files_by_name_are_refused_on_v1(ground: &Ground) {
    let bundle = ground.limited(&json!({"unified": {"memory.high": "1"}}));
    refused(ground, &bundle, &["linux.resources.unified", "cgroup v1"]);
}

fn shares_out_of_range_are_refused(ground: &Ground) {
    for shares in ["1", "262145"] {
        let bundle = ground.limited(&json!({"cpu": {"shares": shares.parse::<u64>().unwrap()}}));
        refused(ground, &bundle, &["linux.resources.cpu.shares", "allowed cpu-shares"]);
    }
}

fn a_file_that_is_not_there_is_named(ground: &Ground) {
    for file in ["nonsense.max", "pids.nonsense"] {
        let bundle = ground.limited(&json!({"unified": {file: "1"}}));
        refused(ground, &bundle, &["linux.resources.unified.", file]);
    }
}

fn files_that_are_no_limits_are_refused(ground: &Ground) {
    for (file, words) in [
        ("cgroup.procs", "is no limit"),
        ("cgroup.freeze", "is no limit"),
        ("../memory.max", "no slashes"),
        ("memory", "CONTROLLER.PARAMETER"),
    ] {
        let bundle = ground.limited(&json!({"unified": {file: "1"}}));
        refused(ground, &bundle, &["linux.resources.unified", words]);
    }
}

fn a_cgroup_in_use_is_refused(ground: &Ground) {
    let bundle = ground.bundle().args(["/probe", "sleep"]);
    let container = ground.run_detached(&bundle);
    let id = ground.id();
    let outcome = ground.call(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    outcome.refused(&["linux.cgroupsPath", "is not empty: 1 process"]);
    assert_ne!(ground.call(["state", &id]).code, 0, "{outcome}");
    assert_eq!(container.status(), "running", "the first is left alone");
    assert!(!ground.all().is_empty());
}

/// A cgroup that was there before, in every hierarchy; removed when let go of.
struct Before(Vec<PathBuf>);

impl Before {
    fn make(ground: &Ground, path: &str) -> Self {
        let top = Path::new("/sys/fs/cgroup");
        let names = if ground.is_v1() { vec!["freezer", "pids", "memory"] } else { vec![""] };
        // Where systemd would put the unit of a path without a slice.
        let place = path.replace(":kase:", "kase-");
        let (slice, end) = match (ground.by_systemd(), ground.is_root()) {
            (false, _) => (String::new(), ""),
            (true, true) => ("system.slice".to_owned(), ".scope"),
            (true, false) => {
                let uid = ground.identity.uid;
                (format!("user.slice/user-{uid}.slice/user@{uid}.service/user.slice"), ".scope")
            }
        };
        let place = format!("{}{end}", place.trim_start_matches('/'));
        let made: Vec<_> = names.into_iter().map(|name| top.join(name).join(&slice).join(&place)).collect();
        for path in &made {
            fs::create_dir(path).unwrap();
            ground.identity.own(path);
        }
        Self(made)
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::write(path.join("freezer.state"), "THAWED");
            let _ = fs::remove_dir(path);
        }
    }
}

fn a_frozen_cgroup_is_refused(ground: &Ground) {
    // systemd makes its slice for the first.
    let other = ground.by_systemd().then(|| ground.sleeper(&json!({})));
    let path = ground.new_path();
    let before = Before::make(ground, &path);
    let (file, word) = if ground.is_v1() { ("freezer.state", "FROZEN") } else { ("cgroup.freeze", "1") };
    fs::write(before.0[0].join(file), word).unwrap();
    let bundle = ground.bundle().edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    let id = ground.id();
    let outcome = ground.call(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    drop(other);
    outcome.refused(&["linux.cgroupsPath", "frozen", &before.0[0].display().to_string()]);
    assert_ne!(ground.call(["state", &id]).code, 0, "{outcome}");
    let mut left = ground.all();
    left.retain(|cgroup| !before.0.contains(cgroup));
    assert!(left.is_empty(), "{left:?}");
}

fn a_cgroup_of_a_stranger_is_left_as_it_is(ground: &Ground) {
    let path = ground.new_path();
    let before = Before::make(ground, &path);
    let bundle = ground.limited(&json!({"pids": {"limit": 5}, "cpu": {"cpus": "4000"}}));
    let bundle = bundle.edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    let id = ground.id();
    ground.call(words(["create", "-b"], bundle.dir(), [id.as_str()])).refused(&["cpu.cpus", "4000"]);
    assert!(before.0.iter().all(|cgroup| cgroup.is_dir()), "what was there before stays");
    let mut left = ground.all();
    left.retain(|cgroup| !before.0.contains(cgroup));
    assert!(left.is_empty(), "{left:?}");
}

fn a_slice_that_is_none_is_refused(ground: &Ground) {
    for (path, words) in [
        ("machine:kase:web", "invalid slice name: machine"),
        ("a--b.slice:kase:web", "invalid slice name"),
        ("a.slice:kase:web.slice", "takes no processes"),
        ("a.slice:kase:we/b", "is no unit name"),
        ("/a/b", "slice:prefix:name"),
    ] {
        let bundle = ground.bundle().edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
        let id = ground.id();
        let mut all = vec!["--systemd-cgroup", "create", "-b"];
        if ground.is_root() {
            all.remove(0);
        }
        let outcome = ground.call(crate::common::words(all, bundle.dir(), [id.as_str()]));
        outcome.refused(&["linux.cgroupsPath", words]);
        assert_ne!(ground.call(["state", &id]).code, 0, "{outcome}");
    }
}

fn a_unit_that_exists_is_refused(ground: &Ground) {
    let path = if ground.is_root() { "system.slice" } else { "app.slice" };
    let bundle = ground.bundle().args(["/probe", "sleep"]);
    let name = format!("{}-same", ground.name());
    let bundle = bundle.edit(|spec| spec["linux"]["cgroupsPath"] = json!(format!("{path}:kase:{name}")));
    let container = ground.run_detached(&bundle);
    let id = ground.id();
    let outcome = ground.call(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    outcome.refused(&["linux.cgroupsPath", "container's cgroup is not empty", &format!("kase-{name}.scope")]);
    assert_eq!(container.status(), "running");
}

fn a_property_that_systemd_refuses_is_named(ground: &Ground) {
    for (key, value, words) in [
        ("org.systemd.property.MemoryNoSuchProperty", "true", "MemoryNoSuchProperty"),
        ("org.systemd.property.TimeoutStopUSec", "what", "TimeoutStopUSec"),
    ] {
        let bundle = ground.bundle().edit(|spec| spec["annotations"] = json!({key: value}));
        refused(ground, &bundle, &[words]);
    }
}

/// CVE-2024-3154. runc and crun pass on whatever stands there.
fn a_property_that_reaches_beyond_the_scope_is_refused(ground: &Ground) {
    for (name, value) in [
        ("SuccessAction", "'none'"),
        ("Conflicts", "['none.service']"),
        ("PIDs", "[uint32 1]"),
        ("JobTimeoutSec", "5"),
    ] {
        let key = format!("org.systemd.property.{name}");
        let bundle = ground.bundle().edit(|spec| spec["annotations"] = json!({key.as_str(): value}));
        refused(ground, &bundle, &[&key, "about the container's scope alone"]);
    }
    let key = "org.systemd.property.SuccessAction";
    let bundle = ground.bundle().edit(|spec| spec["annotations"] = json!({key: "'none'"}));
    let id = ground.id();
    ground.call(words(["--systemd-properties", "any", "run", "-b"], bundle.dir(), [id.as_str()])).succeeded();
}

fn a_dead_bus_is_named(ground: &Ground) {
    if ground.is_root() {
        skip!("the system's bus is not ours to end");
    }
    // A socket that nobody listens at any more.
    let dead = ground.path("bus");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    refused_at(ground, &dead, &["connect to systemd on the user bus", &dead.display().to_string()]);
}

fn a_bus_without_the_users_systemd_is_refused(ground: &Ground) {
    if ground.is_root() {
        skip!("root's systemd is always on the system's bus");
    }
    let outcome = refused_at(ground, Path::new("/run/dbus/system_bus_socket"), &["start the systemd unit"]);
    assert!(!is_ours() || outcome.help().contains("unset DBUS_SESSION_BUS_ADDRESS"), "{outcome}");
}

/// `create` with this session bus is refused, and nothing is left of it.
fn refused_at(ground: &Ground, bus: &Path, expected: &[&str]) -> Outcome {
    let (bundle, id) = (ground.limited(&json!({"pids": {"limit": 5}})), ground.id());
    let mut command = ground.command(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus.display()));
    let outcome = ground.finish(command);
    outcome.refused(expected);
    assert_ne!(ground.call(["state", &id]).code, 0, "{outcome}");
    assert!(ground.all().is_empty(), "{:?}", ground.all());
    outcome
}

fn systemd_that_does_not_run_is_refused(kase: &Kase) {
    if Path::new("/run/systemd/system").exists() {
        skip!("systemd runs here");
    }
    let (bundle, id) = (kase.bundle(), kase.id());
    let outcome = kase.call(words(["--systemd-cgroup", "create", "-b"], bundle.dir(), [id.as_str()]));
    outcome.refused(&["systemd not running on this host"]);
    assert!(!is_ours() || outcome.help().contains("--cgroup-manager cgroupfs"), "{outcome}");
}

/// `create` for the root of a user namespace that has a /run of its own, as rootlesskit makes one, and a systemd
/// that was booted; `bus` makes the system's bus there. The user's one is a socket that nobody listens at.
fn refused_in_a_run_of_its_own(kase: &Kase, bus: &str) -> Outcome {
    // Of version 2, as the kernel has it beside version 1 too; nothing is mounted on itself.
    let script = format!(
        "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system /run/dbus; {bus} /run/dbus/system_bus_socket
         [ \"$(stat -fc %T /sys/fs/cgroup)\" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
         exec \"$@\""
    );
    let (bundle, id) = (kase.bundle(), kase.id());
    let create = kase.command(words(["--systemd-cgroup", "create", "-b"], bundle.dir(), [id.as_str()]));
    drop(std::os::unix::net::UnixListener::bind(kase.path("run/bus")).unwrap());
    let mut unshare = kase.program("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "--cgroup", "sh", "-ec", &script, "sh"]);
    unshare.arg(create.get_program()).args(create.get_args());
    let outcome = kase.finish(unshare);
    assert_ne!(kase.call(["state", &id]).code, 0, "{outcome}");
    outcome
}

fn the_users_bus_is_asked_where_run_is_a_copy(kase: &Kase) {
    // Root's, who is nobody there.
    let outcome = refused_in_a_run_of_its_own(kase, "ln -s /etc/passwd");
    outcome.refused(&["systemd on the user bus", &kase.path("run/bus").display().to_string()]);
}

fn the_systems_bus_is_asked_where_it_is_ones_own(kase: &Kase) {
    let outcome = refused_in_a_run_of_its_own(kase, "touch");
    outcome.refused(&["systemd on the system bus", "/run/dbus/system_bus_socket"]);
}

fn a_tree_that_may_have_no_more_cgroups_is_not_helped_by_another_name(ground: &Ground) {
    let top = Path::new(if ground.is_v1() { "/sys/fs/cgroup/unified" } else { "/sys/fs/cgroup" });
    if !top.exists() {
        skip!("needs a tree of v2");
    }
    let above = top.join(format!("{}-full", ground.name()));
    fs::create_dir(&above).unwrap();
    fs::write(above.join("cgroup.max.descendants"), "0").unwrap();
    let path = format!("/{}-full/container", ground.name());
    let bundle = ground.bundle().edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    let id = ground.id();
    let outcome = ground.call(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    fs::remove_dir(&above).unwrap();
    outcome.refused(&["linux.cgroupsPath", "Resource temporarily unavailable"]);
    assert!(outcome.help().starts_with("raise cgroup.max.descendants"), "{outcome}");
}
