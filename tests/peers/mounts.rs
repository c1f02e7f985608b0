//! Mounts that engines ask for, and what is unusual in them.

use super::{agree, bundle, run_after, side_with, stand_alone};
use crate::common::{Before, Bundle, Kase, Value, is_root, json};
use std::path::Path;

deeds! {
    either_word_of_a_recursive_bind_will_do,
    a_bind_knows_the_hosts_way_of_access_times,
    a_bind_lies_over_a_default_device,
    a_destination_with_a_slash_behind_works_again,
    a_path_that_is_relative_starts_at_the_root,
    what_cannot_be_a_mount_point_is_refused,
}
deeds! { user: a_read_only_bind_of_the_hosts_stays_so, an_access_time_that_is_locked_stays }

fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    json!({"type": "bind", "source": source, "destination": destination, "options": options})
}

/// The code, and what the probe says.
fn sees(kase: &Kase, bundle: Bundle, args: &[&str]) -> String {
    let args: Vec<&str> = ["/probe"].iter().chain(args).copied().collect();
    let outcome = kase.run(&bundle.edit(|spec| spec["process"]["args"] = json!(args)));
    format!("{}\n{}", outcome.code, outcome.out)
}

fn either_word_of_a_recursive_bind_will_do(kase: &Kase) {
    for options in [["rbind", "bind"], ["bind", "rbind"], ["bind", "bind"]] {
        agree(kase, |kase| {
            let bundle = bundle(kase).mount(bind(Path::new("/dev"), "/mnt", &options));
            format!("{options:?}: {}", sees(kase, bundle, &["stat", "/mnt/pts/ptmx"]))
        });
    }
}

fn access_time(kase: &Kase, word: &str) -> String {
    let source = kase.directory("source");
    let bundle = bundle(kase).mount(bind(&source, "/mnt", &["rbind", "ro", word]));
    format!("{word}: {}", sees(kase, bundle, &["mount", "/mnt"]))
}

fn a_bind_knows_the_hosts_way_of_access_times(kase: &Kase) {
    for word in ["relatime", "norelatime", "nostrictatime", "atime"] {
        side_with(kase, "runc", "crun 1.28 forbids symlinks where relatime is asked for", |kase| {
            access_time(kase, word)
        });
    }
}

fn an_access_time_that_is_locked_stays(kase: &Kase) {
    for word in ["strictatime", "noatime", "nodiratime"] {
        let why = "runc refuses, crun goes on without it and without ro; kase says so and goes on with ro";
        stand_alone(kase, why, |kase| access_time(kase, word));
    }
}

fn a_bind_lies_over_a_default_device(kase: &Kase) {
    for device in ["/dev/zero", "/dev/tty", "/dev/random"] {
        let question = |kase: &Kase| {
            let bundle = bundle(kase).mount(bind(&kase.file("source", "bound"), device, &["bind"]));
            format!("{device}: {}", sees(kase, bundle, &["stat", device]))
        };
        match kase.is_root() {
            true => agree(kase, question),
            false => stand_alone(
                kase,
                "for users the peers bind the host's node over what was asked for",
                question,
            ),
        }
    }
}

fn a_destination_with_a_slash_behind_works_again(kase: &Kase) {
    agree(kase, |kase| {
        let bundle = bundle(kase).mount(bind(&kase.directory("source"), "/new/place/", &["bind"]));
        let bundle = bundle.args(["/probe", "list", "/new"]);
        let both = [kase.run(&bundle), kase.run(&bundle)].map(|outcome| (outcome.code, outcome.out));
        format!("{both:?}")
    });
    side_with(kase, "runc", "crun refuses a file at a place that ends in a slash", |kase| {
        let bundle = bundle(kase).mount(bind(&kase.file("source", ""), "/new/", &["bind"]));
        format!("{:?}", [kase.run(&bundle).code, kase.run(&bundle).code])
    });
}

fn a_path_that_is_relative_starts_at_the_root(kase: &Kase) {
    let question = |key: &'static str| {
        move |kase: &Kase| {
            let bundle = bundle(kase).edit(|spec| spec["linux"][key] = json!(["proc/sys"]));
            format!("{key}: {}", sees(kase, bundle, &["can", "append", "/proc/sys/kernel/domainname"]))
        }
    };
    agree(kase, question("readonlyPaths"));
    side_with(kase, "crun", "runc 1.3 refuses it", question("maskedPaths"));
}

fn what_cannot_be_a_mount_point_is_refused(kase: &Kase) {
    agree(kase, |kase| {
        let (file, directory) = (kase.file("file", ""), kase.directory("directory"));
        let onto_directory = bundle(kase).mount(bind(&file, "/mnt", &["bind"]));
        let onto_file = bundle(kase).file("plain", "").mount(bind(&directory, "/plain", &["bind"]));
        let none = bundle(kase).mount(bind(&kase.path("none"), "/mnt", &["bind"]));
        format!("{:?}", [onto_directory, onto_file, none].map(|bundle| kase.run(&bundle).code))
    });
}

fn a_read_only_bind_of_the_hosts_stays_so(kase: &Kase) {
    if !is_root() {
        skip!("needs root to mount");
    }
    for options in [&["rbind", "rw"][..], &["bind", "rw"], &["bind"], &["bind", "exec", "suid", "dev"]] {
        side_with(kase, "crun", "runc refuses rw, which Podman writes for every volume", |kase| {
            let source = kase.directory("source");
            let bundle = bundle(kase).mount(bind(&source, "/mnt", options)).args(["/probe", "mount", "/mnt"]);
            let mount = "mount -t tmpfs -o ro,nosuid,nodev,noexec locked source";
            let outcome = run_after(kase, &Before::mounts(mount), &[], &bundle);
            format!("{options:?}: {} {}", outcome.code, outcome.out)
        });
    }
}
