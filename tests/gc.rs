//! `gc`: what a crash or a reboot left goes, and nothing else.

use crate::common::{Container, Kase, Value, json, wait_until, words};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_WRLCK, SEEK_SET, flock};
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

deeds! {
    killed_at_any_system_call_create_leaves_nothing_that_gc_does_not_clear,
    containers_are_left_alone_in_every_state,
    an_entry_of_another_boot_goes_and_no_process_with_it,
    an_interrupted_creation_shows_in_the_table_and_goes,
    an_entry_that_is_just_being_made_is_left_alone,
    hooks_run_for_what_goes,
    a_cgroup_that_was_only_planned_is_left_to_whoever_uses_it,
    a_record_that_is_a_symlink_is_not_followed,
}
deeds! { of_two_that_remove_a_container_the_second_looks_again }
deeds! { root:
    an_id_that_is_anew_anothers_keeps_its_state,
    another_users_entry_is_left_alone,
    another_users_container_is_nobodys_to_act_on,
}

fn entries(kase: &Kase) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(kase.state_dir()) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn gc<const N: usize>(kase: &Kase, options: [&str; N]) -> Value {
    let words = ["gc", "--format", "json"].into_iter().chain(options);
    let removed: Value = serde_json::from_str(kase.call(words).stdout()).unwrap();
    for one in removed.as_array().unwrap() {
        let mut keys: Vec<&String> = one.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["bundle", "id", "reason"]);
        assert!(["interrupted", "rebooted"].contains(&one["reason"].as_str().unwrap()), "{one}");
        assert!(one["id"].is_string() && one["bundle"].is_string(), "{one}");
    }
    removed
}

/// As if an entry without a word in its record had been there for an hour.
fn age(kase: &Kase) {
    let old = fs::FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(3600));
    let begun =
        |entry: &PathBuf| fs::read_to_string(entry.join("record")).is_ok_and(|record| record.contains('\n'));
    for entry in entries(kase).iter().filter(|entry| !begun(entry)) {
        fs::File::open(entry).unwrap().set_times(old).unwrap();
    }
}

/// strace kills kase as it enters each of these calls for the n-th time; every leftover is checked against what gc
/// says of it.
fn killed_at_any_system_call_create_leaves_nothing_that_gc_does_not_clear(kase: &Kase) {
    let Ok(output) = Command::new("strace").arg("--version").output() else {
        skip!("needs strace");
    };
    assert!(output.status.success());
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let mut cleared = 0;
    for name in ["openat", "write", "clone3", "mkdirat", "sendmsg", "recvmsg", "fcntl", "socketpair"] {
        for call in 1.. {
            let id = kase.id();
            let create = kase.command(words(["create", "-b"], bundle.dir(), [id.as_str()]));
            let (status, _) = kase.killed_at(name, call, &create);
            let record = fs::read_to_string(kase.state_dir().join(&id).join("record")).unwrap_or_default();
            if record.contains("\"ready\"") {
                // It came to be, whatever has become of the kase that made it.
                assert_eq!(gc(kase, []), json!([]), "at {name} {call}");
                kase.call(["delete", "--force", &id]).succeeded();
            } else {
                age(kase);
                // Its init may have a moment to live.
                wait_until("gc to clear it", || {
                    cleared += gc(kase, []).as_array().unwrap().len();
                    entries(kase).is_empty()
                });
            }
            if status.signal() != Some(9) {
                break;
            }
        }
    }
    assert!(cleared > 20, "{cleared}");
}

fn containers_are_left_alone_in_every_state(kase: &Kase) {
    let sleeping = kase.bundle().args(["/probe", "sleep"]);
    let containers =
        [kase.create(&sleeping), kase.run_detached(&sleeping), kase.run_detached(&kase.bundle())];
    containers[2].becomes("stopped");
    assert_eq!(gc(kase, []), json!([]));
    assert_eq!(kase.call(["gc"]).stdout().lines().count(), 1);
    let states: Vec<String> = containers.iter().map(Container::status).collect();
    assert_eq!(states, ["created", "running", "stopped"]);
}

fn record(container: &Container<'_>) -> PathBuf {
    container.kase.state_dir().join(&container.id).join("record")
}

fn an_entry_of_another_boot_goes_and_no_process_with_it(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let pid = container.pid();
    let text = fs::read_to_string(record(&container)).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.contains(boot.trim_end()));
    let other = text.replace(boot.trim_end(), "01234567-89ab-cdef-0123-456789abcdef");
    fs::write(record(&container), &other).unwrap();
    let expected = json!([{"id": container.id, "reason": "rebooted", "bundle": container.state()["bundle"]}]);
    assert_eq!(gc(kase, ["--dry-run"]), expected);
    assert_eq!(container.status(), "stopped");
    assert_eq!(gc(kase, []), expected);
    assert!(entries(kase).is_empty());
    // With that id a process of this boot is somebody else's, and so is the cgroup.
    let alive = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(alive(), "{pid}");
    // Put back, so that what runs is cleared away.
    let directory = kase.directory(record(&container).parent().unwrap().to_str().unwrap());
    kase.file(directory.join("record").to_str().unwrap(), &text);
    container.call("delete", ["--force"]).succeeded();
    assert!(!alive());
}

fn interrupted(kase: &Kase) -> Container<'_> {
    let container = kase.run_detached(&kase.bundle());
    container.becomes("stopped");
    let text = fs::read_to_string(record(&container)).unwrap();
    fs::write(record(&container), text.replace("\"ready\"\n", "")).unwrap();
    container
}

fn an_interrupted_creation_shows_in_the_table_and_goes(kase: &Kase) {
    let container = interrupted(kase);
    for options in [["gc", "--dry-run"].as_slice(), &["gc"]] {
        let table = kase.call(options);
        let rows: Vec<Vec<&str>> =
            table.stdout().lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["ID", "REASON", "BUNDLE"]);
        assert_eq!(rows[1][..2], [container.id.as_str(), "interrupted"], "{table}");
        assert_eq!(rows.len(), 2);
    }
    assert!(entries(kase).is_empty());
}

fn an_entry_that_is_just_being_made_is_left_alone(kase: &Kase) {
    let state = kase.state_dir();
    kase.directory(state.to_str().unwrap());
    let entry = kase.directory(state.join("young").to_str().unwrap());
    assert_eq!(gc(kase, []), json!([]));
    assert!(entry.exists());
    age(kase);
    assert_eq!(gc(kase, []), json!([{"id": "young", "reason": "interrupted", "bundle": ""}]));
    assert!(!entry.exists());
}

fn hooks_run_for_what_goes(kase: &Kase) {
    let log = kase.file("log", "");
    let script = format!("echo ran >> {}", log.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let container = kase.run_detached(&kase.bundle().edit(|spec| spec["hooks"]["poststop"] = hook));
    container.becomes("stopped");
    let text = fs::read_to_string(record(&container)).unwrap();
    fs::write(record(&container), text.replace("\"ready\"\n", "")).unwrap();
    gc(kase, []);
    assert_eq!(fs::read_to_string(&log).unwrap(), "ran\n");
}

/// The record of a creation that ended before its cgroup was made, which is the one of a container that runs.
fn a_cgroup_that_was_only_planned_is_left_to_whoever_uses_it(kase: &Kase) {
    let bundle = kase.bundle().without_namespace("pid").args(["/probe", "sleep"]);
    let running = kase.run_detached(&bundle);
    let text = fs::read_to_string(record(&running)).unwrap();
    let Some(cgroup) =
        text.lines().find(|line| line.starts_with("{\"cgroup\"")).filter(|line| line.len() > 14)
    else {
        skip!("needs a cgroup");
    };
    for verb in [["gc"].as_slice(), &["delete", "--force"], &["kill", "--all"], &["kill"]] {
        let planned = Container::create(kase, &bundle, &[]);
        kase.call(["kill", &planned.id, "KILL"]).succeeded();
        planned.becomes("stopped");
        let own = fs::read_to_string(record(&planned)).unwrap();
        let facts = own.lines().next().unwrap();
        fs::write(record(&planned), format!("{facts}\n{cgroup}\n")).unwrap();
        let id = planned.id.as_str();
        match verb {
            ["gc"] => assert_eq!(kase.call(["gc"]).stdout().lines().count(), 2),
            ["kill", ..] => drop(kase.call(verb.iter().copied().chain([id, "KILL"]))),
            _ => kase.call(verb.iter().copied().chain([id])).succeeded(),
        }
        assert_eq!(running.status(), "running", "after {verb:?}");
        // Put back, so that its own cgroup goes.
        let directory = kase.directory(record(&planned).parent().unwrap().to_str().unwrap());
        kase.file(directory.join("record").to_str().unwrap(), &own);
        planned.delete();
    }
}

/// While gc waits for a cgroup to become empty, its entry makes room for a new container of the same id.
fn an_id_that_is_anew_anothers_keeps_its_state(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let running = kase.run_detached(&bundle);
    let text = fs::read_to_string(record(&running)).unwrap();
    let Some(cgroup) = text.lines().find(|line| line.starts_with("{\"cgroup\":{\"v")) else {
        skip!("needs a cgroup");
    };
    let facts = text.lines().next().unwrap();
    let id = kase.id();
    let entry = kase.directory(kase.state_dir().join(&id).to_str().unwrap());
    kase.file(entry.join("record").to_str().unwrap(), &format!("{facts}\n{cgroup}\n"));
    let config = kase.file(entry.join("config.json").to_str().unwrap(), "{}");
    let gc = kase.spawn(kase.command(["gc"]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(config.exists(), "gc still waits");
    fs::rename(&entry, kase.path("aside")).unwrap();
    let created = kase.command(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    kase.finish(created).succeeded();
    gc.finish().succeeded();
    let status = json_of(kase, &id)["status"].clone();
    kase.call(["delete", "--force", &id]).succeeded();
    assert_eq!(status, "created");
}

fn json_of(kase: &Kase, id: &str) -> Value {
    serde_json::from_str(kase.call(["state", id]).stdout()).unwrap()
}

fn another_users_entry_is_left_alone(kase: &Kase) {
    let log = kase.path("log");
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo ran >> {}", log.display())]}]);
    let container = kase.run_detached(&kase.bundle().edit(|spec| spec["hooks"]["poststop"] = hook));
    container.becomes("stopped");
    let text = fs::read_to_string(record(&container)).unwrap();
    fs::write(record(&container), text.replace("\"ready\"\n", "")).unwrap();
    let entry = record(&container).parent().unwrap().to_path_buf();
    chown(&entry, Some(12345), None).unwrap();
    let outcome = kase.call(["gc"]);
    assert_eq!(outcome.stdout().lines().count(), 1, "{outcome}");
    assert!(outcome.err.contains("user 12345's"), "{outcome}");
    assert!(!log.exists() && entry.exists());
    chown(&entry, Some(0), None).unwrap();
    assert_eq!(kase.call(["gc"]).stdout().lines().count(), 2);
    assert!(log.exists() && !entry.exists());
}

/// A record names processes, cgroups and hooks; root does nothing of it for a user who could have written it.
fn another_users_container_is_nobodys_to_act_on(kase: &Kase) {
    let log = kase.path("log");
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo ran >> {}", log.display())]}]);
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let bundle = bundle.edit(|spec| spec["hooks"] = json!({"poststop": hook, "poststart": hook}));
    let container = kase.create(&bundle);
    let entry = record(&container).parent().unwrap().to_path_buf();
    chown(&entry, Some(12345), None).unwrap();
    let id = container.id.as_str();
    for verb in [
        ["delete"].as_slice(),
        &["delete", "--force"],
        &["kill"],
        &["start"],
        &["pause"],
        &["resume"],
        &["update", "--memory", "100M"],
    ] {
        kase.call(verb.iter().copied().chain([id])).refused(&[id, "is user 12345's"]);
    }
    let added = kase.call(["exec", id, "/probe", "hostname"]);
    assert!(added.code == 255 && added.err.contains("is user 12345's"), "{added}");
    assert_eq!(container.status(), "created");
    assert!(!log.exists());
    chown(&entry, Some(0), None).unwrap();
    container.call("delete", ["--force"]).succeeded();
    assert!(log.exists() && !entry.exists());
}

/// The first removal holds a lock. What is there when it lets go may be a new container with the old one's cgroup.
fn of_two_that_remove_a_container_the_second_looks_again(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let old = kase.create(&bundle);
    kase.call(["kill", &old.id, "KILL"]).succeeded();
    old.becomes("stopped");
    let file = fs::File::options().write(true).open(record(&old)).unwrap();
    let lock = flock { l_type: F_WRLCK as i16, l_whence: SEEK_SET as i16, l_start: 2, l_len: 1, l_pid: 0 };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    let second = kase.spawn(kase.command(["delete", "--force", &old.id]));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(old.status(), "stopped", "the second removal waits");
    // The first is done, and the id is taken again.
    let entry = record(&old).parent().unwrap().to_path_buf();
    fs::rename(&entry, kase.state_dir().join("aside")).unwrap();
    let create = kase.command(words(["create", "-b"], bundle.dir(), [old.id.as_str()]));
    kase.finish(create).succeeded();
    drop(file);
    second.finish().succeeded();
    old.start();
    assert_eq!(old.status(), "running");
    assert_eq!(old.call("exec", ["/probe", "hostname"]).stdout(), "kase\n");
    old.call("delete", ["--force"]).succeeded();
    kase.call(["delete", "--force", "aside"]).succeeded();
}

fn a_record_that_is_a_symlink_is_not_followed(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    let (there, elsewhere) = (record(&container), kase.path("elsewhere"));
    fs::rename(&there, &elsewhere).unwrap();
    symlink(&elsewhere, &there).unwrap();
    for verb in ["state", "delete"] {
        container.call(verb, []).fails(&["record is a symbolic link"]);
    }
    fs::remove_file(&there).unwrap();
    fs::rename(&elsewhere, &there).unwrap();
    assert_eq!(container.status(), "created");
}
