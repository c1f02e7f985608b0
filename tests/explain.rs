//! `explain`: the plan in words and as JSON, of which nothing is made.

use crate::common::{Bundle, Kase, Outcome, Value, json, words};
use std::fs;

deeds! { all: the_json_has_its_shape }
deeds! {
    nothing_is_made,
    the_words_are_those_of_the_json,
    the_flags_of_a_mount_are_those_that_are_left,
    what_cannot_work_is_refused_as_by_create,
    the_options_of_create_count,
    what_create_refuses_of_its_command_line_is_refused,
    a_socket_for_readiness_is_told,
}
deeds! { root: cgroup_writes_and_devices_are_told }
deeds! { bare: a_change_is_told_with_its_reason }

fn explain<const N: usize>(kase: &Kase, bundle: &Bundle, options: [&str; N]) -> Outcome {
    kase.call(words(["explain", "-b"], bundle.dir(), options))
}

fn explained<const N: usize>(kase: &Kase, bundle: &Bundle, options: [&str; N]) -> Value {
    let options: Vec<&str> = options.into_iter().chain(["--format", "json"]).collect();
    serde_json::from_str(kase.call(words(["explain", "-b"], bundle.dir(), options)).stdout()).unwrap()
}

/// Each section, and what its entries have.
const SHAPE: [(&str, &str); 15] = [
    (
        "container",
        "rootfs root overlay overlaid entered hostname program directory user terminal noNewPrivileges",
    ),
    ("namespaces", "kind which"),
    ("ids", "kind inside outside count"),
    ("mounts", "destination what flags data ids place"),
    ("devices", "path kind number origin"),
    ("maskedPaths", "path"),
    ("readonlyPaths", "path"),
    ("sysctl", "name value"),
    ("capabilities", "set names"),
    ("cgroup", "hierarchy path"),
    ("cgroupWrites", "file value place"),
    ("deviceRules", "answer kind number access"),
    ("seccomp", "instructions flags listener"),
    ("hooks", "kind path"),
    ("notes", "text level"),
];

fn check(explained: &Value) {
    let sections = explained.as_object().unwrap();
    assert_eq!(sections.len(), SHAPE.len());
    for (name, fields) in SHAPE {
        for entry in sections[name].as_array().unwrap() {
            let entry = entry.as_object().unwrap();
            assert!(entry.values().all(Value::is_string), "{name}: {entry:?}");
            let mut fields: Vec<&str> = fields.split(' ').collect();
            fields.sort_unstable();
            assert!(entry.keys().eq(fields), "{name}: {entry:?}");
        }
    }
}

fn the_json_has_its_shape(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        spec["linux"]["sysctl"] = json!({"kernel.domainname": "example"});
        spec["hooks"]["poststop"] = json!([{"path": "/bin/true"}]);
    });
    let explained = explained(kase, &bundle, []);
    check(&explained);
    let kinds: Vec<&str> =
        explained["namespaces"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["user", "pid", "network", "ipc", "uts", "cgroup", "time", "mount"]);
    let user = if kase.is_root() { "the caller's" } else { "new" };
    assert_eq!(explained["namespaces"][0]["which"], user);
    assert_eq!(explained["ids"].as_array().unwrap().is_empty(), kase.is_root());
    assert_eq!(explained["mounts"].as_array().unwrap().len(), 6);
    assert_eq!(explained["devices"][0]["path"], "/dev/null");
    assert_eq!(explained["hooks"], json!([{"kind": "poststop", "path": "/bin/true"}]));
    assert_eq!(explained["sysctl"], json!([{"name": "kernel.domainname", "value": "example"}]));
    assert!(explained["seccomp"][0]["instructions"].as_str().unwrap().parse::<u32>().unwrap() > 1);
}

fn nothing_is_made(kase: &Kase) {
    let bundle = kase.bundle();
    let before = fs::read_dir(bundle.rootfs("")).unwrap().count();
    explain(kase, &bundle, ["--overlay=changes"]).succeeded();
    assert!(!kase.path("changes").exists());
    assert_eq!(fs::read_dir(bundle.rootfs("")).unwrap().count(), before);
    assert_eq!(kase.call(["list", "-q"]).stdout(), "");
}

fn the_words_are_those_of_the_json(kase: &Kase) {
    let bundle = kase.bundle();
    let (text, json) = (explain(kase, &bundle, []), explained(kase, &bundle, []));
    for (name, entries) in json.as_object().unwrap() {
        let entries = entries.as_array().unwrap();
        assert_eq!(text.stdout().lines().any(|line| line == name), !entries.is_empty(), "{name}: {text}");
        for value in entries.iter().flat_map(|entry| entry.as_object().unwrap().values()) {
            assert!(text.out.contains(value.as_str().unwrap()), "{name}: {value}: {text}");
        }
    }
    assert!(text.out.contains("\n  /dev/pts: a new devpts; flags noexec,nosuid; data "), "{text}");
}

fn the_flags_of_a_mount_are_those_that_are_left(kase: &Kase) {
    let source = kase.directory("source");
    let bundle = kase.bundle().mount(json!({
        "destination": "/mnt", "type": "bind", "source": source,
        "options": ["rbind", "rw", "ro", "noexec", "exec", "nosuid", "rnodev", "noatime", "rprivate", "mode=7"],
    }));
    let mount = explained(kase, &bundle, [])["mounts"][6].clone();
    assert_eq!(mount["flags"], "exec,noatime,nosuid,rnodev,ro,rprivate");
    assert_eq!(mount["data"], "mode=7");
    assert_eq!(mount["place"], "mounts[6]");
    let what = format!("{} of the host, and what is mounted below", source.display());
    assert_eq!(mount["what"], what);
}

fn what_cannot_work_is_refused_as_by_create(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["cwd"] = json!("relative"));
    explain(kase, &bundle, []).refused(&["explain", "process.cwd"]);
    let bundle = kase.bundle().edit(|spec| spec["root"]["path"] = json!("nowhere"));
    explain(kase, &bundle, []).refused(&["root.path"]);
}

fn the_options_of_create_count(kase: &Kase) {
    let bundle = kase.bundle();
    let container = |option: &str| explained(kase, &bundle, [option])["container"][0].clone();
    assert_eq!(container("--overlay")["overlay"], "in memory");
    assert_eq!(container("--overlay=/there")["overlay"], "/there");
    assert_eq!(container("--no-pivot")["entered"], "move and chroot");
    assert_eq!(container("name")["entered"], "pivot_root");
}

fn what_create_refuses_of_its_command_line_is_refused(kase: &Kase) {
    let bundle = kase.bundle();
    explain(kase, &bundle, ["a b/c"]).refused(&["explain", "invalid container ID format", "a b/c"]);
    explain(kase, &bundle, ["--strict"]).succeeded();
    let wrong = bundle.edit(|spec| spec["process"]["cwdd"] = json!("/"));
    explain(kase, &wrong, []).succeeded();
    let refused = explain(kase, &wrong, ["--strict"]);
    refused.refused(&["explain", "process.cwdd"]);
    let id = kase.id();
    let created = kase.call(words(["create", "--strict", "-b"], wrong.dir(), [id.as_str()]));
    assert_eq!(refused.err.replace("explain", &format!("create {id}")), created.err);
}

fn a_socket_for_readiness_is_told(kase: &Kase) {
    let (bundle, id) = (kase.bundle(), kase.id());
    let mut command = kase.command(words(["explain", "--format", "json", "-b"], bundle.dir(), [id.as_str()]));
    command.env("NOTIFY_SOCKET", "@nobody");
    let outcome = kase.finish(command);
    let explained: Value = serde_json::from_str(outcome.stdout()).unwrap();
    let mount = explained["mounts"].as_array().unwrap().last().unwrap();
    let source = kase.state_dir().join(&id).join("notify");
    assert_eq!(mount["destination"], "/run/notify");
    assert_eq!(mount["what"], format!("{} of the host", source.display()));
    assert_eq!(kase.call(["list", "-q"]).stdout(), "", "nothing is made");
}

fn cgroup_writes_and_devices_are_told(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["linux"]["resources"]["pids"] = json!({"limit": 77}));
    let explained = explained(kase, &bundle, ["name"]);
    let written = json!({"file": "pids.max", "value": "77", "place": "linux.resources.pids.limit"});
    assert!(explained["cgroupWrites"].as_array().unwrap().contains(&written), "{explained}");
    let cgroups = explained["cgroup"].as_array().unwrap();
    assert!(cgroups.iter().any(|one| one["path"].as_str().unwrap().ends_with("name")), "{explained}");
    assert_eq!(explained["deviceRules"][0]["answer"], "deny");
    assert_eq!(explained["devices"][0]["origin"], "made, 0666, of 0:0");
}

fn a_change_is_told_with_its_reason(kase: &Kase) {
    let explained = explained(kase, &kase.bundle(), ["--fake-root"]);
    let notes: Vec<&str> =
        explained["notes"].as_array().unwrap().iter().map(|note| note["text"].as_str().unwrap()).collect();
    assert!(
        notes.iter().any(|note| note.contains("mounts[2]: gid=5 is left out: the id is not mapped")),
        "{notes:?}"
    );
    assert_eq!(explained["devices"][0]["origin"], "the host's");
    assert_eq!(explained["seccomp"].as_array().unwrap().len(), 1);
}
