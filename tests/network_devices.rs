//! Network devices that move from the host into the container.
//!
//! Each test makes a network namespace of its own to play the host's, so that nothing of the real host moves.

use crate::common::{Bundle, Kase, Outcome, Value, is_ours, json, words};
use std::process::Command;

deeds! {
    root: a_device_moves_with_its_addresses_and_goes_up,
    a_device_gets_another_name,
    a_template_becomes_a_free_name,
    a_joined_namespace_keeps_the_device,
    a_taken_name_moves_nothing,
    a_missing_device_moves_nothing,
    a_failure_half_way_brings_back_what_was_moved,
    a_failure_right_after_the_move_brings_it_back,
    a_container_that_cannot_be_made_gives_its_devices_back,
    the_hosts_own_namespace_is_refused,
    a_device_moves_into_a_user_namespace,
}
deeds! { names_that_no_device_has_are_refused, a_shared_network_namespace_is_refused }
deeds! { user: an_ordinary_user_is_refused }

/// A network namespace that plays the host's, with the device `kd0` in it.
struct Stage<'a> {
    kase: &'a Kase,
    name: String,
}

impl<'a> Stage<'a> {
    /// Nothing where this host has no ip(8), or makes no such devices.
    fn new(kase: &'a Kase) -> Option<Self> {
        let stage = Self { kase, name: kase.id() };
        if !ip(&["netns", "add", &stage.name]) {
            return None;
        }
        // The first kind that this kernel has. One end of a pair is as good a device as any.
        let kinds: [&[&str]; 3] = [
            &["kd0", "type", "dummy"],
            &["kd0", "type", "veth", "peer", "name", "kd1"],
            &["kd0", "type", "bridge"],
        ];
        kinds.into_iter().any(|kind| stage.ip(&[&["link", "add"], kind].concat())).then_some(stage)
    }

    /// ip(8) in the namespace.
    fn ip(&self, args: &[&str]) -> bool {
        ip(&[&["-n", &self.name], args].concat())
    }

    fn shows(&self, device: &str) -> bool {
        self.ip(&["link", "show", device])
    }

    /// `kase run` with the namespace as the host's.
    fn run(&self, bundle: &Bundle) -> Outcome {
        self.run_under(bundle, &[])
    }

    /// The same, by another program.
    fn run_under(&self, bundle: &Bundle, by: &[&str]) -> Outcome {
        let id = self.kase.id();
        let kase = self.kase.command(words(["run", "-b"], bundle.dir(), [id.as_str()]));
        let mut command = self.kase.program("ip");
        command.args(["netns", "exec", &self.name]).args(by).arg(kase.get_program()).args(kase.get_args());
        self.kase.finish(command)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.name]);
    }
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).output().is_ok_and(|output| output.status.success())
}

macro_rules! stage {
    ($kase:expr) => {
        match Stage::new($kase) {
            Some(stage) => stage,
            None => skip!("no ip(8) here, or no device that it could make"),
        }
    };
}

/// A container that takes these devices and prints what it has.
fn takes(kase: &Kase, devices: Value) -> Bundle {
    let bundle = kase.bundle().args(["/probe", "links"]);
    bundle.edit(|spec| spec["linux"]["netDevices"] = devices)
}

fn line<'a>(text: &'a str, device: &str) -> &'a str {
    let start = format!("{device} ");
    text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {device} in {text}"))
}

fn a_device_moves_with_its_addresses_and_goes_up(kase: &Kase) {
    let stage = stage!(kase);
    for args in [
        &["link", "set", "kd0", "address", "02:11:22:33:44:55", "mtu", "1789"] as &[_],
        &["address", "add", "192.0.2.7/24", "dev", "kd0"],
        &["address", "add", "192.0.2.9/32", "dev", "kd0"],
        &["address", "add", "198.51.100.1/24", "scope", "host", "dev", "kd0"],
        &["address", "add", "2001:db8::7/64", "nodad", "dev", "kd0"],
        &["link", "set", "kd0", "up"],
    ] {
        assert!(stage.ip(args), "ip {args:?}");
    }
    let outcome = stage.run(&takes(kase, json!({"kd0": {}})));
    let seen = line(outcome.stdout(), "kd0");
    assert!(seen.contains("mtu=1789 mac=02:11:22:33:44:55 up"), "{seen}");
    for address in ["192.0.2.7/24", "192.0.2.9/32", "2001:db8::7/64"] {
        // Other runtimes set the device down first, which takes the address of IPv6.
        assert!(seen.contains(address) || (!is_ours() && address.contains(':')), "{address}: {seen}");
    }
    assert!(!seen.contains("198.51.100.1"), "of the host alone: {seen}");
    assert!(!stage.shows("kd0"), "the device has left the host");
}

fn a_device_gets_another_name(kase: &Kase) {
    let stage = stage!(kase);
    stage.ip(&["address", "add", "192.0.2.7/24", "dev", "kd0"]);
    let outcome = stage.run(&takes(kase, json!({"kd0": {"name": "inside0"}})));
    assert!(line(outcome.stdout(), "inside0").contains("192.0.2.7/24"), "{outcome}");
}

fn a_template_becomes_a_free_name(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes look for the device under its template");
    }
    let stage = stage!(kase);
    stage.ip(&["address", "add", "192.0.2.7/24", "dev", "kd0"]);
    let outcome = stage.run(&takes(kase, json!({"kd0": {"name": "net%d"}})));
    assert!(line(outcome.stdout(), "net0").contains("192.0.2.7/24"), "{outcome}");
}

/// A network namespace to join, removed when dropped.
struct Joined(String);

impl Joined {
    fn new(kase: &Kase) -> Self {
        let joined = Self(kase.id());
        assert!(ip(&["netns", "add", &joined.0]));
        joined
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn a_joined_namespace_keeps_the_device(kase: &Kase) {
    let (stage, joined) = (stage!(kase), Joined::new(kase));
    stage.ip(&["address", "add", "192.0.2.7/24", "dev", "kd0"]);
    let bundle = takes(kase, json!({"kd0": {}})).namespace(json!({"type": "network", "path": joined.path()}));
    let outcome = stage.run(&bundle);
    assert!(line(outcome.stdout(), "kd0").contains("192.0.2.7/24"), "{outcome}");
    assert!(ip(&["-n", &joined.0, "link", "show", "kd0"]), "it stays with its namespace");
}

fn a_taken_name_moves_nothing(kase: &Kase) {
    let (stage, joined) = (stage!(kase), Joined::new(kase));
    assert!(ip(&["-n", &joined.0, "link", "add", "taken0", "type", "bridge"]));
    let bundle = takes(kase, json!({"kd0": {"name": "taken0"}}))
        .namespace(json!({"type": "network", "path": joined.path()}));
    stage.run(&bundle).refused(&["linux.netDevices[\"kd0\"]", "taken0"]);
    assert!(!is_ours() || stage.shows("kd0"), "the device is still the host's");
}

fn a_missing_device_moves_nothing(kase: &Kase) {
    let stage = stage!(kase);
    let bundle = takes(kase, json!({"kd0": {}, "no-such-dev": {}}));
    stage.run(&bundle).refused(&["linux.netDevices[\"no-such-dev\"]", "No such device"]);
    assert!(!is_ours() || stage.shows("kd0"), "the device is still the host's");
}

/// The second takes the name that the template has given to the first, which nobody could know.
fn a_failure_half_way_brings_back_what_was_moved(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes look for the device under its template");
    }
    let stage = stage!(kase);
    assert!(stage.ip(&["link", "add", "kd8", "type", "bridge"]));
    assert!(
        stage.ip(&["address", "add", "192.0.2.7/24", "dev", "kd0"])
            && stage.ip(&["link", "set", "kd0", "up"])
    );
    stage.run(&takes(kase, json!({"kd0": {"name": "net%d"}, "kd8": {"name": "net0"}}))).refused(&["kd8"]);
    let shown = Command::new("ip").args(["-n", &stage.name, "address", "show", "kd0"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("192.0.2.7/24") && shown.contains("UP"), "{shown}");
}

/// Has an address and is up, as it was.
fn is_whole(stage: &Stage<'_>) -> bool {
    let shown = Command::new("ip").args(["-n", &stage.name, "address", "show", "kd0"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    shown.contains("192.0.2.7/24") && shown.contains("UP")
}

fn a_failure_right_after_the_move_brings_it_back(kase: &Kase) {
    if !is_ours() || Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace, and kase");
    }
    for name in ["kd9", "net%d"] {
        let stage = stage!(kase);
        stage.ip(&["address", "add", "192.0.2.7/24", "dev", "kd0"]);
        stage.ip(&["link", "set", "kd0", "up"]);
        let bundle = takes(kase, json!({"kd0": {"name": name}}));
        let mut failed = 0;
        // What it says to the kernel of networks, and a little more.
        for nth in 1.. {
            let inject = format!("inject=sendto:error=ENOBUFS:when={nth}");
            let outcome = stage.run_under(&bundle, &["strace", "-o", "strace", "-e", &inject, "--"]);
            if outcome.code == 0 {
                break;
            }
            failed = nth;
            assert!(is_whole(&stage), "{nth}: {outcome}");
        }
        assert!(failed > 5, "{failed}");
    }
}

fn a_container_that_cannot_be_made_gives_its_devices_back(kase: &Kase) {
    if !is_ours() {
        skip!("others leave them to the namespace");
    }
    let stage = stage!(kase);
    stage.ip(&["address", "add", "192.0.2.7/24", "dev", "kd0"]);
    stage.ip(&["link", "set", "kd0", "up"]);
    let bundle = takes(kase, json!({"kd0": {}})).args(["/no/such/program"]);
    stage.run(&bundle).refused(&["/no/such/program"]);
    assert!(is_whole(&stage));
    let bundle = takes(kase, json!({"kd0": {}}));
    let fails = json!([{"path": "/bin/false"}]);
    stage.run(&bundle.edit(|spec| spec["hooks"]["createRuntime"] = fails)).refused(&["createRuntime"]);
    assert!(is_whole(&stage));
}

fn the_hosts_own_namespace_is_refused(kase: &Kase) {
    let stage = stage!(kase);
    let path = format!("/run/netns/{}", stage.name);
    let bundle = takes(kase, json!({"kd0": {}})).namespace(json!({"type": "network", "path": path}));
    let outcome = stage.run(&bundle);
    if is_ours() {
        outcome.refused(&["linux.netDevices", "host's own"]);
    }
}

fn a_device_moves_into_a_user_namespace(kase: &Kase) {
    let stage = stage!(kase);
    stage.ip(&["address", "add", "192.0.2.7/24", "dev", "kd0"]);
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = takes(kase, json!({"kd0": {}})).namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps;
    });
    let outcome = stage.run(&bundle);
    assert!(line(outcome.stdout(), "kd0").contains("192.0.2.7/24"), "{outcome}");
}

fn names_that_no_device_has_are_refused(kase: &Kase) {
    if !kase.is_root() {
        skip!("an ordinary user is refused whatever the names");
    }
    for (devices, place) in [
        (json!({"a/b": {}}), "linux.netDevices[\"a/b\"]"),
        (json!({"kd0": {"name": "a name of 16 b.."}}), "linux.netDevices[\"kd0\"].name"),
        (json!({"kd0": {}, "kd1": {"name": "kd0"}}), "linux.netDevices[\"kd1\"].name"),
        (json!({"kd0": {"name": 1}}), "linux.netDevices.kd0.name"),
    ] {
        kase.run(&takes(kase, devices)).refused(&[place]);
    }
}

fn a_shared_network_namespace_is_refused(kase: &Kase) {
    let bundle = takes(kase, json!({"lo": {}})).without_namespace("network");
    kase.run(&bundle).refused(&["linux.netDevices", "network namespace"]);
}

fn an_ordinary_user_is_refused(kase: &Kase) {
    let outcome = kase.run(&takes(kase, json!({"lo": {}})));
    outcome.refused(&["linux.netDevices", "rootless"]);
    assert!(!is_ours() || outcome.help().contains("CAP_NET_ADMIN"), "{outcome}");
}
