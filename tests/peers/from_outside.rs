//! What comes into a container with the call: descriptors, standard input, the umask, a terminal; and the pid file.

use super::{agree, bundle, run_after, side_with, stand_alone};
use crate::common::{Before, Kase, Terminal, json, words};
use crate::terminal::receive;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;

deeds! {
    descriptors_are_passed_on,
    those_that_are_open_are_passed_on,
    standard_input_keeps_its_owner,
    the_pid_file_is_written,
    a_pid_file_that_is_a_symlink,
    a_pid_file_that_is_a_fifo,
    the_umask_is_the_specifications,
    a_terminal_ends_its_lines_likewise,
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

fn those_that_are_open_are_passed_on(kase: &Kase) {
    side_with(kase, "crun", "runc passes on what it has open itself at these numbers", |kase| {
        passed_on(kase, "3", "3<&- 4<&- 5</dev/null")
    });
    stand_alone(kase, "a last number that is closed is a slip, which the peers do not see", |kase| {
        passed_on(kase, "1", "3<&-")
    });
}

fn standard_input_keeps_its_owner(kase: &Kase) {
    for user in [0, 33] {
        side_with(kase, "runc", "crun gives the container's user a file of its caller's", |kase| {
            let input = kase.file("input", "");
            let bundle =
                bundle(kase).edit(|spec| spec["process"]["user"] = json!({"uid": user, "gid": user}));
            let outcome =
                run_after(kase, &Before::shell(&format!("exec < {}", input.display())), &[], &bundle);
            let data = fs::metadata(&input).unwrap();
            format!("as {user}: {} {}:{}", outcome.code, data.uid(), data.gid())
        });
    }
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

/// On a console of an engine's: the container prints two lines; who turns their ends is told by the modes.
fn a_terminal_ends_its_lines_likewise(kase: &Kase) {
    agree(kase, |kase| {
        let bundle = bundle(kase).args(["/probe", "args", "one", "two", "--", "cat"]);
        let bundle = bundle.edit(|spec| spec["process"]["terminal"] = json!(true));
        let (id, path) = (kase.id(), kase.path("console"));
        let listener = UnixListener::bind(&path).unwrap();
        kase.identity.own(&path);
        let before = ["create", "--console-socket", path.to_str().unwrap(), "-b"];
        kase.call(words(before, bundle.dir(), [id.as_str()])).succeeded();
        let outer = receive(&listener.accept().unwrap().0).expect("a descriptor in the message");
        kase.call(["start", &id]).succeeded();
        let mut terminal = Terminal::of(outer, None);
        terminal.shows("two");
        kase.call(["delete", "--force", &id]).succeeded();
        terminal.modes()
    });
}
