//! What comes into a container with the call: descriptors, standard input, the umask, a terminal; and the pid file.

use super::{agree, bundle, run_after, side_with};
use crate::common::{Before, Kase, words};
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};

deeds! {
    descriptors_are_passed_on,
    the_pid_file_is_written,
    a_pid_file_that_is_a_symlink,
    a_pid_file_that_is_a_fifo,
    the_umask_is_the_specifications,
}

/// The numbers from 3 on that the program has open, and what they are.
fn passed_on(kase: &Kase, number: &str, redirections: &str) -> String {
    let bundle = bundle(kase).args(["/probe", "fds"]);
    let outcome = run_after(
        kase,
        &Before::shell(&format!("exec {redirections}")),
        &["--preserve-fds", number],
        &bundle,
    );
    let open: Vec<&str> = outcome.out.lines().filter(|line| !line.starts_with(['0', '1', '2'])).collect();
    format!("{number} of {redirections}: {} {open:?}", outcome.code)
}

fn descriptors_are_passed_on(kase: &Kase) {
    agree(kase, |kase| passed_on(kase, "2", "3</dev/zero 4</dev/null"));
}

/// Creates and deletes a container with the pid file `pid`, and says what is there between the two.
fn pid_file(kase: &Kase, script: &str) -> String {
    let (bundle, id, path) = (bundle(kase), kase.id(), kase.path("pid"));
    let before = ["create", "--pid-file", path.to_str().unwrap(), "-b"];
    let outcome =
        kase.finish(kase.command_after(&Before::shell(script), words(before, bundle.dir(), [id.as_str()])));
    let kind = fs::symlink_metadata(&path).unwrap().file_type();
    let text = if kind.is_fifo() { String::new() } else { fs::read_to_string(&path).unwrap() };
    kase.call(["delete", "--force", &id]).succeeded();
    format!("{} {kind:?} a number {}", outcome.code, text.parse::<u32>().is_ok())
}

fn the_pid_file_is_written(kase: &Kase) {
    agree(kase, |kase| pid_file(kase, ":"));
    agree(kase, |kase| {
        kase.file("pid", "a longer text than any number");
        pid_file(kase, ":")
    });
}

fn a_pid_file_that_is_a_symlink(kase: &Kase) {
    side_with(kase, "crun", "runc replaces the symlink by a file", |kase| {
        symlink(kase.file("target", "before"), kase.path("pid")).unwrap();
        let seen = pid_file(kase, ":");
        format!("{seen} {}", fs::read_to_string(kase.path("target")).unwrap() == "before")
    });
}

fn a_pid_file_that_is_a_fifo(kase: &Kase) {
    side_with(kase, "crun", "runc replaces it, as it would replace a device", |kase| {
        let fifo = kase.path("pid");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        kase.identity.own(&fifo);
        // Open for reading as well, lest anybody waits.
        pid_file(kase, "exec 9<>pid")
    });
}

fn the_umask_is_the_specifications(kase: &Kase) {
    for mask in ["022", "077"] {
        agree(kase, |kase| {
            let bundle = bundle(kase).args(["/probe", "umask"]);
            run_after(kase, &Before::shell(&format!("umask {mask}")), &[], &bundle).out
        });
    }
}
