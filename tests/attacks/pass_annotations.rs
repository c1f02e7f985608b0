//! The author of a pod or an image writes annotations that an engine passes on. Those that act are the few of the
//! README's table, all of whose names an engine can leave out by what `kase features` says; no other changes anything,
//! and none does more than its line says. What properties of systemd's may do is tried in tests/cgroups/refused.rs.

use crate::common::{Bundle, Kase, Value, is_root, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

deeds! {
    what_engines_pass_on_changes_nothing,
    a_name_that_is_almost_one_that_acts_changes_nothing,
}
deeds! { user: an_annotation_reaches_no_file_that_its_caller_may_not_write }

#[test]
fn what_acts_is_what_features_names() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let table = readme.split_once("| annotation | what it does").unwrap().1;
    let table = table.split_once("\n\n").unwrap().0;
    let listed: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next())
        .flat_map(|cell| cell.split(['`', ',', ' ']))
        .filter(|word| word.contains('.'))
        .map(|word| word.trim_end_matches("NAME"))
        .collect();
    assert_eq!(listed, ACTING.into_iter().collect(), "the table of the README");
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    for name in &listed {
        assert!(UNSAFE.iter().any(|prefix| name.starts_with(prefix)), "{name} has none of {UNSAFE:?}");
        assert!(sources.contains(&format!("\"{name}\"")), "{name} is nowhere in src");
    }
    // Whatever looks like an annotation's name in the source is in the table.
    for word in sources.split('"').filter(|word| UNSAFE.iter().any(|prefix| word.starts_with(prefix))) {
        let is_name = word.bytes().all(|byte| byte.is_ascii_lowercase() || b"._-".contains(&byte));
        let is_listed = listed.contains(word) || UNSAFE.contains(&word);
        assert!(!is_name || is_listed, "{word} acts, and the README does not say so");
    }
}

/// The prefixes that `kase features` names.
const UNSAFE: [&str; 3] = ["kase.", "org.systemd.property.", "run.oci."];
const ACTING: [&str; 10] = [
    "kase.fake-root",
    "kase.overlay",
    "org.systemd.property.",
    "run.oci.hooks.stderr",
    "run.oci.hooks.stdout",
    "run.oci.keep_original_groups",
    "run.oci.mount_context_type",
    "run.oci.pidfd_receiver",
    "run.oci.seccomp_fail_unknown_syscall",
    "run.oci.systemd.subgroup",
];

/// The text of all files before their tests.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|end| end == "rs")
            && path.file_stem().is_some_and(|name| name != "tests")
        {
            let file = fs::read_to_string(path).unwrap();
            text += file.split("#[cfg(test)]").next().unwrap();
        }
    }
    text
}

/// Those that containerd, CRI-O, Podman, Docker and the images' configurations set, with words of the pod's author.
const PASSED_ON: [&str; 24] = [
    "com.docker.network.labels",
    "io.container.manager",
    "io.containerd.image-name",
    "io.kubernetes.cri-o.Annotations",
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.cri-o.LogPath",
    "io.kubernetes.cri-o.MountPoint",
    "io.kubernetes.cri-o.TTY",
    "io.kubernetes.cri-o.userns-mode",
    "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw",
    "io.kubernetes.cri-o.Devices",
    "io.kubernetes.cri.container-name",
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri.sandbox-id",
    "io.kubernetes.cri.sandbox-log-directory",
    "io.kubernetes.cri.sandbox-name",
    "io.podman.annotations.privileged",
    "io.podman.annotations.seccomp",
    "io.podman.annotations.userns",
    "module.wasm.image/variant",
    "org.criu.config",
    "org.opencontainers.image.stopSignal",
    "org.opencontainers.runc.exec.isolated-cpu-affinity-transition",
];

/// Words that would be paths, commands, or yes.
fn values(kase: &Kase) -> Vec<String> {
    let made = kase.path("made").display().to_string();
    vec![
        made.clone(),
        format!("$(touch {made})"),
        format!("`touch {made}`"),
        "true".into(),
        "../../..".into(),
        "\n\u{1b}[2J".into(),
    ]
}

/// All that the container's process sees of itself.
fn seen(kase: &Kase, bundle: Bundle) -> String {
    let bundle = bundle.args([
        "/probe", "caps", "--", "id", "--", "mounts", "--", "status", "Seccomp", "--", "env", "--", "maps",
    ]);
    let outcome = kase.run(&bundle);
    // Of a mount its place and its kind: the rest has numbers.
    let lines = outcome.stdout().lines().map(|line| match line.split_once(" - ") {
        Some((place, kind)) => format!("{:?} {:?}", place.split(' ').nth(4), kind.split(' ').next()),
        None => line.to_owned(),
    });
    lines.filter(|line| !line.contains(kase.name())).collect::<Vec<_>>().join("\n")
}

fn changes_nothing(kase: &Kase, names: &[&str]) {
    let plain = seen(kase, kase.bundle());
    for value in values(kase) {
        let bundle = kase.bundle().edit(|spec| {
            spec["annotations"] = names
                .iter()
                .map(|name| ((*name).to_owned(), json!(value)))
                .collect::<serde_json::Map<_, _>>()
                .into();
        });
        assert_eq!(seen(kase, bundle), plain, "{value:?}");
        assert!(!kase.path("made").exists(), "{value:?}");
        assert!(!bundle_made_anything(kase), "{value:?}");
    }
}

/// A file or directory in a bundle that no test has made.
fn bundle_made_anything(kase: &Kase) -> bool {
    let entries = fs::read_dir(kase.path("")).unwrap().map(|entry| entry.unwrap().path());
    let bundles = entries.filter(|path| path.join("config.json").exists());
    bundles.flat_map(|bundle| fs::read_dir(bundle).unwrap()).any(|entry| {
        let name = entry.unwrap().file_name();
        name != "config.json" && name != "rootfs"
    })
}

fn what_engines_pass_on_changes_nothing(kase: &Kase) {
    changes_nothing(kase, &PASSED_ON);
    // They are told to whoever asks, as they are.
    let value = values(kase).pop().unwrap();
    let bundle =
        kase.bundle().args(["/probe", "sleep"]).edit(|spec| spec["annotations"][PASSED_ON[0]] = json!(value));
    assert_eq!(kase.create(&bundle).state()["annotations"], json!({PASSED_ON[0]: value}));
    control(kase);
}

/// An engine that leaves out by name must not be read otherwise by kase.
fn a_name_that_is_almost_one_that_acts_changes_nothing(kase: &Kase) {
    let names: Vec<String> = ACTING
        .iter()
        .flat_map(|name| {
            [
                format!("{name} "),
                format!(" {name}"),
                name.to_uppercase(),
                format!("x.{name}"),
                format!("{name}\0"),
                name.replace('.', "\u{2024}"),
            ]
        })
        // A property of systemd's has any name.
        .filter(|name| !name.starts_with("org.systemd.property."))
        .collect();
    changes_nothing(kase, &names.iter().map(String::as_str).collect::<Vec<_>>());
    control(kase);
}

/// The names that do act make such a file.
fn control(kase: &Kase) {
    let made = kase.path("made");
    let bundle = kase.bundle().edit(|spec| {
        spec["hooks"]["poststart"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo hook"]}]);
        spec["annotations"]["run.oci.hooks.stdout"] = json!(made);
    });
    kase.run(&bundle).succeeded();
    assert_eq!(fs::read_to_string(&made).unwrap(), "hook\n", "the attack works on nobody");
    fs::remove_file(made).unwrap();
}

/// Nor becomes its owner, nor makes a directory there, nor keeps groups that it has not.
fn an_annotation_reaches_no_file_that_its_caller_may_not_write(kase: &Kase) {
    if !is_root() {
        skip!("needs root, to keep files from an ordinary user");
    }
    let private = kase.path("private");
    fs::create_dir(&private).unwrap();
    let file = private.join("file");
    fs::write(&file, "untouched").unwrap();
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo evil"]}]);
    for (name, value) in [
        ("run.oci.hooks.stdout", file.clone()),
        ("run.oci.hooks.stderr", file.clone()),
        ("run.oci.hooks.stdout", private.join("new")),
        ("kase.overlay", private.join("overlay")),
        ("run.oci.pidfd_receiver", file.clone()),
    ] {
        let bundle = kase.bundle().edit(|spec| {
            spec["hooks"]["createRuntime"] = hook.clone();
            spec["annotations"][name] = json!(value);
        });
        let outcome = kase.run(&bundle);
        outcome.refused(&[value.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "untouched", "{name}");
        assert_eq!(fs::read_dir(&private).unwrap().count(), 1, "{name}");
    }
    let features: Value = serde_json::from_str(kase.call(["features"]).stdout()).unwrap();
    assert_eq!(features["potentiallyUnsafeConfigAnnotations"], json!(UNSAFE));
    // The same file, of the caller's own.
    kase.identity.own(&file);
    let bundle = kase.bundle().edit(|spec| {
        spec["hooks"]["createRuntime"] = hook;
        spec["annotations"]["run.oci.hooks.stdout"] = json!(file);
    });
    kase.run(&bundle).succeeded();
    assert_eq!(fs::read_to_string(&file).unwrap(), "untouchedevil\n", "the attack works on nobody");
}
