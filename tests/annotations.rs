//! Annotations that change what kase does, as crun defines them, and the option `copy-symlink`.

use crate::common::{Kase, is_ours, json, words};
use std::fs;

deeds! {
    hooks_write_to_the_files_of_the_annotations,
    a_hooks_file_that_cannot_be_opened_is_refused,
    a_symlink_is_copied,
    a_symlink_that_is_there_is_left,
    a_copied_symlink_needs_a_free_place,
    a_source_that_is_no_symlink_is_bound,
    copying_a_symlink_needs_a_bind_mount,
}
deeds! { root: the_callers_groups_are_kept }

fn hooks_write_to_the_files_of_the_annotations(kase: &Kase) {
    let (out, err) = (kase.path("hooks-out"), kase.path("hooks-err"));
    let hook = |word: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo {word}; echo not {word} >&2")]}]);
    let bundle = kase.bundle().edit(|spec| {
        spec["annotations"] = json!({"run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err});
        spec["hooks"] = json!({
            "prestart": hook("one"), "createRuntime": hook("two"), "createContainer": hook("three"),
            "poststart": hook("five"), "poststop": hook("six"),
        });
    });
    kase.run(&bundle).succeeded();
    assert_eq!(fs::read_to_string(out).unwrap(), "one\ntwo\nthree\nfive\nsix\n");
    assert_eq!(fs::read_to_string(err).unwrap(), "not one\nnot two\nnot three\nnot five\nnot six\n");
}

fn a_hooks_file_that_cannot_be_opened_is_refused(kase: &Kase) {
    if !is_ours() {
        skip!("the annotation is crun's");
    }
    let bundle = kase.bundle().edit(|spec| {
        spec["annotations"] = json!({"run.oci.hooks.stderr": "/no/such/directory/file"});
    });
    kase.run(&bundle).refused(&["annotations[\"run.oci.hooks.stderr\"]", "/no/such/directory/file"]);
}

fn the_callers_groups_are_kept(kase: &Kase) {
    if !is_ours() {
        skip!("the annotation is crun's");
    }
    let groups = |value: &str| {
        let bundle = kase.bundle().args(["/probe", "id"]).edit(|spec| {
            spec["annotations"] = json!({"run.oci.keep_original_groups": value});
        });
        let id = kase.id();
        let run = kase.command(words(["run", "-b"], bundle.dir(), [id.as_str()]));
        let mut command = kase.program("setpriv");
        command.arg("--groups=12,34").arg(run.get_program()).args(run.get_args());
        kase.finish(command).stdout().lines().last().unwrap().to_owned()
    };
    assert_eq!(groups("1"), "Groups: 12 34");
    assert_eq!(groups("0"), "Groups: ");
}

fn copied(source: &std::path::Path, destination: &str) -> crate::common::Value {
    json!({"destination": destination, "type": "bind", "source": source,
           "options": ["rbind", "copy-symlink"]})
}

fn a_symlink_is_copied(kase: &Kase) {
    if !is_ours() {
        skip!("the option is crun's");
    }
    let link = kase.path("link");
    std::os::unix::fs::symlink("../no/such/place", &link).unwrap();
    let bundle = kase.bundle().mount(copied(&link, "/etc/deep/link"));
    assert_eq!(kase.sees(bundle, ["readlink", "/etc/deep/link"]), "../no/such/place\n");
}

fn a_symlink_that_is_there_is_left(kase: &Kase) {
    if !is_ours() {
        skip!("the option is crun's");
    }
    let link = kase.path("link");
    std::os::unix::fs::symlink("/target", &link).unwrap();
    let bundle = kase.bundle().link("etc/link", "/target").mount(copied(&link, "/etc/link"));
    assert_eq!(kase.sees(bundle, ["readlink", "/etc/link"]), "/target\n");
}

fn a_copied_symlink_needs_a_free_place(kase: &Kase) {
    if !is_ours() {
        skip!("the option is crun's");
    }
    let link = kase.path("link");
    std::os::unix::fs::symlink("/target", &link).unwrap();
    let bundle = kase.bundle().link("etc/link", "/other").mount(copied(&link, "/etc/link"));
    let place = bundle.last_mount();
    kase.run(&bundle).refused(&[&place, "/etc/link", "File exists"]);
}

fn a_source_that_is_no_symlink_is_bound(kase: &Kase) {
    if !is_ours() {
        skip!("the option is crun's");
    }
    let file = kase.file("file", "text");
    let bundle = kase.bundle().mount(copied(&file, "/etc/file"));
    assert_eq!(kase.sees(bundle, ["read", "/etc/file"]), "text\n");
}

fn copying_a_symlink_needs_a_bind_mount(kase: &Kase) {
    if !is_ours() {
        skip!("the option is crun's");
    }
    let bundle = kase.bundle().mount(json!({
        "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["copy-symlink"],
    }));
    kase.run(&bundle).refused(&[&format!("{}.options", bundle.last_mount())]);
}
