//! Nobody of the container's has a descriptor of its state, which holds what kase does in its name.

use crate::common::{Kase, is_root, json, wait_until, words};
use std::fs;

deeds! {
    neither_init_nor_a_hook_has_a_descriptor_of_the_state,
    a_created_container_holds_nothing_but_its_way_to_the_start,
}
deeds! { root: init_in_anothers_pid_namespace_has_no_descriptor_of_the_state }

/// What the descriptors of a process lead to.
fn descriptors(pid: &str) -> Vec<String> {
    let list = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = list.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

fn assert_none_of_the_state(kase: &Kase, pid: &str, who: &str) {
    let state = kase.state_dir().display().to_string();
    let found: Vec<String> = descriptors(pid).into_iter().filter(|link| link.starts_with(&state)).collect();
    assert!(found.is_empty(), "{who} has {found:?}");
}

/// Looks at both while a hook waits.
fn neither_init_nor_a_hook_has_a_descriptor_of_the_state(kase: &Kase) {
    if !is_root() {
        skip!("only root sees the descriptors of an init");
    }
    for kind in ["prestart", "createContainer", "poststart", "poststop"] {
        let (at, go) = (kase.path(format!("at-{kind}")), kase.path(format!("go-{kind}")));
        // The id in the host's pid namespace, where the hook has another.
        let script = format!(
            "grep -m1 ^NSpid /proc/self/status >/dev/null; touch {}; until [ -e {} ]; do sleep 0.01; done",
            at.display(),
            go.display()
        );
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
        let bundle = kase.bundle().args(["/probe", "sleep"]).edit(|spec| spec["hooks"][kind] = hook);
        let id = kase.id();
        let run = kase.spawn(kase.command(words(["run", "-d", "-b"], bundle.dir(), [id.as_str()])));
        let command = match kind {
            "poststop" => {
                run.finish().succeeded();
                kase.spawn(kase.command(["delete", "--force", &id]))
            }
            _ => run,
        };
        wait_until("the hook", || at.exists());
        let ours = script.as_bytes();
        let mut seen = 0;
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let pid = process.file_name().to_string_lossy().into_owned();
            let text = fs::read(process.path().join("cmdline")).unwrap_or_default();
            if text.starts_with(b"sh\0-c\0") && text.windows(ours.len()).any(|part| part == ours) {
                assert_none_of_the_state(kase, &pid, &format!("the {kind} hook"));
                seen += 1;
            }
        }
        let record = fs::read_to_string(kase.state_dir().join(&id).join("record")).unwrap_or_default();
        if let Some((_, rest)) = record.split_once("{\"init\":{\"pid\":") {
            let pid = rest.split([',', '}']).next().unwrap();
            assert_none_of_the_state(kase, pid, &format!("init beside the {kind} hook"));
            seen += 1;
        }
        fs::write(&go, "").unwrap();
        command.finish().succeeded();
        kase.call(["delete", "--force", &id]).succeeded();
        assert!(seen >= if kind == "poststop" { 1 } else { 2 }, "{kind}");
    }
}

fn a_created_container_holds_nothing_but_its_way_to_the_start(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    let pid = container.pid().to_string();
    assert_none_of_the_state(kase, &pid, "init");
    let mut kinds: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_str().unwrap().parse::<u32>().unwrap() > 2)
        .map(|entry| fs::read_link(entry.path()).unwrap().display().to_string())
        .collect();
    kinds.retain(|link| !link.starts_with("socket:["));
    assert!(kinds.is_empty(), "{kinds:?}");
}

/// As in a pod, where a neighbour could look into it before it closes anything.
fn init_in_anothers_pid_namespace_has_no_descriptor_of_the_state(kase: &Kase) {
    let first = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let shared = json!({"type": "pid", "path": format!("/proc/{}/ns/pid", first.pid())});
    let second = kase.create(&kase.bundle().args(["/probe", "sleep"]).namespace(shared));
    assert_none_of_the_state(kase, &second.pid().to_string(), "init");
}
