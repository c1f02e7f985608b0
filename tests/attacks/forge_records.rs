//! Whoever owns a state directory writes what its records say: processes, cgroups, hooks and boots of somebody else's,
//! FIFOs and files without end in their place. Root, who looks at a user's containers, does nothing in their name and
//! waits for none of it.

use crate::common::{Container, Kase, Value, cgroups_of, json};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

deeds! { root:
    nothing_is_done_to_what_anothers_record_names,
    nothing_is_read_for_ever_in_anothers_state,
}
deeds! {
    nobody_waits_for_a_file_of_their_own_state,
    nothing_of_another_boot_is_anybodys,
}

/// The user whose state directory it is.
const MALLORY: u32 = 65534;

/// Their state directory, with a container in it that is, by its record, the victim's.
fn forged(kase: &Kase, victim: &Container<'_>, change: impl Fn(String) -> String) -> PathBuf {
    let theirs = kase.path("theirs");
    let entry = theirs.join("forged");
    fs::create_dir_all(&entry).unwrap();
    let own = kase.state_dir().join(&victim.id);
    for name in ["record", "config.json"] {
        let text = fs::read_to_string(own.join(name)).unwrap();
        fs::write(entry.join(name), if name == "record" { change(text) } else { text }).unwrap();
    }
    give(&theirs, MALLORY, MALLORY);
    theirs
}

fn give(directory: &Path, owner: u32, group: u32) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            give(&path, owner, group);
        }
        std::os::unix::fs::lchown(&path, Some(owner), Some(group)).unwrap();
    }
    chown(directory, Some(owner), Some(group)).unwrap();
}

fn call(kase: &Kase, root: &Path, words: &[&str]) -> crate::common::Outcome {
    let mut command = kase.program(&crate::common::program());
    command.arg("--root").arg(root).args(words);
    kase.finish(command)
}

/// What acts on a container, but for `wait`, which has an end only if the container has.
const DEEDS: [&[&str]; 13] = [
    &["kill", "forged", "KILL"],
    &["kill", "--all", "forged", "KILL"],
    &["kill", "--regex", "^forged$", "KILL"],
    &["delete", "forged"],
    &["delete", "--force", "forged"],
    &["delete", "--force", "--regex", "."],
    &["start", "forged"],
    &["pause", "forged"],
    &["resume", "forged"],
    &["update", "--pids-limit", "1", "forged"],
    &["exec", "forged", "/true"],
    &["exec", "-d", "forged", "/probe", "sleep"],
    &["gc"],
];
const LOOKS: [&[&str]; 5] = [
    &["list"],
    &["list", "--format", "json"],
    &["state", "forged"],
    &["ps", "forged"],
    &["events", "--stats", "forged"],
];

fn nothing_is_done_to_what_anothers_record_names(kase: &Kase) {
    let mark = kase.file("mark", "");
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo ran >>{}", mark.display())]}]);
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let bundle = bundle.edit(|spec| spec["hooks"] = json!({"poststop": hook, "poststart": hook}));
    let victim = kase.create(&bundle);
    let cgroups = cgroups_of(kase);
    // Ready, and interrupted: then gc would clear it away.
    for change in [|text: String| text, |text: String| text.replace("\"ready\"\n", "")] {
        let theirs = forged(kase, &victim, change);
        for words in DEEDS.iter().chain(&LOOKS) {
            call(kase, &theirs, words);
            assert_eq!(victim.status(), "created", "after {words:?}");
            assert_eq!(fs::read_to_string(&mark).unwrap(), "", "after {words:?}");
            assert_eq!(cgroups_of(kase), cgroups, "after {words:?}");
            assert!(theirs.join("forged/record").exists(), "after {words:?}");
        }
    }
    // As root's own, the same record is taken at its word.
    let theirs = forged(kase, &victim, |text| text);
    give(&theirs, 0, 0);
    call(kase, &theirs, &["kill", "forged", "KILL"]).succeeded();
    victim.becomes("stopped");
    call(kase, &theirs, &["delete", "--force", "forged"]).succeeded();
    assert_eq!(fs::read_to_string(&mark).unwrap(), "ran\n", "the attack works on nobody");
}

/// Files that no reader comes to the end of.
fn hostile(path: &Path, kind: &str) {
    let _ = fs::remove_file(path);
    match kind {
        "a FIFO" => mkfifo(path, Mode::from_bits_truncate(0o666)).unwrap(),
        "a directory" => fs::create_dir(path).unwrap(),
        "a symlink to a device" => symlink("/dev/zero", path).unwrap(),
        "a symlink to a log" => symlink("/proc/kmsg", path).unwrap(),
        _ => File::create(path).unwrap().set_len(8 << 40).unwrap(),
    }
}

const KINDS: [&str; 5] =
    ["a FIFO", "a directory", "a symlink to a device", "a symlink to a log", "terabytes"];

fn nothing_is_read_for_ever_in_anothers_state(kase: &Kase) {
    let victim = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    for name in ["record", "config.json", "filter"] {
        for kind in KINDS {
            let theirs = forged(kase, &victim, |text| text);
            hostile(&theirs.join("forged").join(name), kind);
            give(&theirs, MALLORY, MALLORY);
            // Each comes to its end: what hangs fails the test.
            for words in LOOKS.iter().chain(&DEEDS) {
                call(kase, &theirs, words);
            }
            assert_eq!(victim.status(), "created", "{name} is {kind}");
            fs::remove_dir_all(theirs).unwrap();
        }
    }
    // Whoever reads the FIFO as a file does not come to its end.
    let theirs = forged(kase, &victim, |text| text);
    hostile(&theirs.join("forged/record"), "a FIFO");
    let mut cat = kase.program("cat");
    cat.arg(theirs.join("forged/record"));
    let mut reader = kase.spawn(cat);
    let waited = reader.ends_within(std::time::Duration::from_millis(200));
    assert_eq!(waited, None, "the attack works on nobody");
    reader.signal(nix::sys::signal::Signal::SIGKILL);
    reader.finish();
}

/// As a container's directory that a stranger could write to for a moment.
fn nobody_waits_for_a_file_of_their_own_state(kase: &Kase) {
    for kind in KINDS {
        let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
        let entry = kase.state_dir().join(&container.id);
        for name in ["config.json", "filter"] {
            let (file, aside) = (entry.join(name), kase.path("aside"));
            let was_there = fs::rename(&file, &aside).is_ok();
            hostile(&file, kind);
            let added = container.call("exec", ["/true"]);
            assert_eq!(added.code, 255, "{name} is {kind}: {added}");
            match kind {
                "a directory" => fs::remove_dir(&file).unwrap(),
                _ => fs::remove_file(&file).unwrap(),
            }
            if was_there {
                fs::rename(&aside, &file).unwrap();
            }
        }
        container.call("exec", ["/true"]).succeeded();
    }
}

/// No process and no cgroup outlives a boot, but their ids and names come again.
fn nothing_of_another_boot_is_anybodys(kase: &Kase) {
    let bundle = kase.bundle().without_namespace("pid").args(["/probe", "sleep"]);
    let running = kase.run_detached(&bundle);
    let own = kase.state_dir().join(&running.id);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(own.join("record")).unwrap();
    let entry = kase.state_dir().join("forged");
    for boot_then in ["01234567-89ab-cdef-0123-456789abcdef", "x", "\\n"] {
        for words in DEEDS.iter().filter(|words| words.contains(&"forged")) {
            fs::create_dir_all(&entry).unwrap();
            fs::write(entry.join("record"), text.replace(boot.trim_end(), boot_then)).unwrap();
            fs::copy(own.join("config.json"), entry.join("config.json")).unwrap();
            give(&entry, kase.identity.uid, kase.identity.gid);
            let state: Value = serde_json::from_str(kase.call(["state", "forged"]).stdout()).unwrap();
            assert_eq!((&state["status"], &state["pid"]), (&json!("stopped"), &json!(0)));
            kase.call(*words);
            assert_eq!(running.status(), "running", "after {words:?} of boot {boot_then:?}");
            let _ = fs::remove_dir_all(&entry);
        }
    }
    // Of this boot, the same record is taken at its word.
    fs::create_dir_all(&entry).unwrap();
    fs::write(entry.join("record"), &text).unwrap();
    give(&entry, kase.identity.uid, kase.identity.gid);
    kase.call(["kill", "forged", "KILL"]).succeeded();
    running.becomes("stopped");
    fs::remove_dir_all(&entry).unwrap();
}
