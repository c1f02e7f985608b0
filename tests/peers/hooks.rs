//! What hooks get with them: environment and umask.

use super::{bundle, run_after, side_with};
use crate::common::{Before, Bundle, Kase, json};
use std::fs;

deeds! {
    a_hook_without_an_environment_has_the_callers,
    a_hook_inside_has_nothing_of_the_callers,
    a_hook_has_the_callers_umask,
}

const OUTSIDE: [&str; 4] = ["prestart", "createRuntime", "poststart", "poststop"];

/// A bundle whose hook leaves in the test's `log` what `script` says.
fn with_hook(kase: &Kase, kind: &str, script: &str) -> Bundle {
    let script = format!("{{ {script}; }} > {}", kase.file("log", "").display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    bundle(kase).edit(|spec| spec["hooks"][kind] = json!([hook]))
}

/// Variables, but for those that a shell or crun sets by itself.
fn variables(kase: &Kase, kind: &str) -> String {
    let names = "PATH HOME KASE_TEST XDG_RUNTIME_DIR";
    // Without a PATH the shell has one that it does not export.
    let script = format!("for name in {names}; do /usr/bin/printenv $name || echo no $name; done");
    let outcome = kase.run(&with_hook(kase, kind, &script));
    format!("{kind}: {} {}", outcome.code, fs::read_to_string(kase.path("log")).unwrap())
}

fn a_hook_without_an_environment_has_the_callers(kase: &Kase) {
    for kind in OUTSIDE {
        super::agree(kase, |kase| variables(kase, kind));
    }
}

fn a_hook_inside_has_nothing_of_the_callers(kase: &Kase) {
    side_with(kase, "runc", "crun gives it the caller's", |kase| variables(kase, "createContainer"));
}

fn a_hook_has_the_callers_umask(kase: &Kase) {
    for kind in OUTSIDE.into_iter().chain(["createContainer"]) {
        side_with(
            kase,
            "runc",
            "crun gives every hook 0, and with it files that everybody may write",
            |kase| {
                let bundle = with_hook(kase, kind, "umask");
                let code = run_after(kase, &Before::shell("umask 027"), &[], &bundle).code;
                format!("{kind}: {code} {}", fs::read_to_string(kase.path("log")).unwrap())
            },
        );
    }
}
