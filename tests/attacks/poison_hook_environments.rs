//! An image sets variables by which the host's programs load its libraries and scripts, and lays these where a hook has
//! its working directory: a hook of the host's that sees them runs the image's code with the rights of kase's caller
//! (CVE-2025-23266).

use crate::common::{Bundle, Kase, json, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

deeds! { no_hook_of_the_host_runs_what_the_image_brings }

/// Where each kind of hook of the host's runs.
const KINDS: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

/// The hook says whether one of the image's libraries is in what it runs, and runs a command by its name; `done` at last.
const HOOK: &str =
    "grep -q evil.so /proc/self/maps && echo loaded >>\"$MARK\"; id >/dev/null; echo done >>\"$MARK\"";

/// What the image sets, without the marks.
const VARIABLES: [&str; 6] = [
    "LD_PRELOAD=./evil.so",
    "LD_LIBRARY_PATH=.",
    "BASH_ENV=./evil.sh",
    "ENV=./evil.sh",
    "SHELLOPTS=xtrace",
    "PATH=.:/usr/bin:/bin",
];

/// A library that any program can load.
fn library(kase: &Kase) -> Vec<u8> {
    let mut find = kase.program("ldconfig");
    find.arg("-p");
    let listed = kase.finish(find);
    let path =
        listed.stdout().lines().find_map(|line| line.trim().strip_prefix("libm.so.6 ")?.split("=> ").nth(1));
    fs::read(path.expect("the C library's libm")).unwrap()
}

fn script(mark: &Path) -> String {
    HOOK.replace("$MARK", &mark.display().to_string())
}

fn victim(kase: &Kase, mark: &Path) -> Bundle {
    let evil = format!("#!/bin/sh\necho sourced >>{}\n", mark.display());
    let bundle = kase
        .bundle()
        .args(["/true"])
        .program("evil.so", &library(kase))
        .program("evil.sh", evil.as_bytes())
        .program("id", evil.as_bytes());
    // Some hooks of the host's have the bundle as their working directory.
    for name in ["evil.so", "evil.sh", "id"] {
        fs::copy(bundle.rootfs(name), bundle.path(name)).unwrap();
        fs::set_permissions(bundle.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    bundle.edit(|spec| spec["process"]["env"].as_array_mut().unwrap().extend(VARIABLES.map(|one| json!(one))))
}

fn no_hook_of_the_host_runs_what_the_image_brings(kase: &Kase) {
    let mark = kase.path("mark");
    for kind in KINDS {
        kase.file("mark", "");
        let hook = json!([{"path": "/bin/bash", "args": ["bash", "-c", script(&mark)]}]);
        let bundle = victim(kase, &mark).edit(|spec| spec["hooks"][kind] = hook);
        kase.run(&bundle).succeeded();
        assert_eq!(fs::read_to_string(&mark).unwrap(), "done\n", "{kind}");
        control(kase, &bundle, &mark);
    }
}

/// The same hook with the image's variables, in the rootfs.
fn control(kase: &Kase, bundle: &Bundle, mark: &Path) {
    kase.file("mark", "");
    let mut hook = kase.program("/bin/bash");
    hook.args(["-c", &script(mark)]).current_dir(bundle.rootfs(""));
    hook.env_clear().envs(VARIABLES.iter().filter_map(|variable| variable.split_once('=')));
    kase.finish(hook).succeeded();
    let seen = || fs::read_to_string(mark).unwrap();
    wait_until("the hook's end", || seen().contains("done"));
    assert!(
        seen().contains("loaded") && seen().contains("sourced"),
        "the attack works on nobody: {}",
        seen()
    );
}
