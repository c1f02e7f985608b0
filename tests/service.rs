//! What a service manager hands over: descriptors, and a socket to say on that the service is ready.

use crate::common::{Kase, Outcome, Running, wait_until, words};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

deeds! {
    descriptors_of_socket_activation_reach_the_container,
    descriptors_for_another_process_do_not,
    preserved_descriptors_reach_the_container,
    preserved_descriptors_reach_an_added_process,
    descriptors_between_preserved_ones_may_be_closed,
    a_preserved_descriptor_that_is_not_open_is_refused,
    a_detached_run_tells_when_the_container_is_ready,
    a_run_in_the_foreground_tells_too,
    start_tells_when_the_container_is_ready,
    a_container_that_ends_before_it_is_ready_is_not_waited_for,
    nothing_is_bound_without_a_manager,
}

/// kase with these words, after a shell has done `script`.
fn after<'a>(kase: &Kase, script: &str, words: impl IntoIterator<Item = &'a std::ffi::OsStr>) -> Outcome {
    let command = kase.command(words);
    let mut shell = kase.program("sh");
    shell.args(["-c", &format!("{script} exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    kase.finish(shell)
}

fn open_descriptors(listing: &str) -> Vec<i32> {
    listing.lines().filter_map(|line| line.split([' ', ':']).next()?.parse().ok()).collect()
}

fn descriptors_of_socket_activation_reach_the_container(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "env", "--", "fds"]);
    let id = kase.id();
    let script = "exec 3</dev/null 4</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web";
    let outcome = after(kase, script, words(["run", "-b"], bundle.dir(), [id.as_str()]));
    for variable in ["LISTEN_FDS=1", "LISTEN_PID=1"] {
        assert!(outcome.stdout().lines().any(|line| line == variable), "{outcome}");
    }
    assert!(outcome.out.contains("LISTEN_FDNAMES=web\n") || !crate::common::is_ours(), "{outcome}");
    assert_eq!(open_descriptors(&outcome.out), [0, 1, 2, 3], "{outcome}");
}

fn descriptors_for_another_process_do_not(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "env", "--", "fds"]);
    let id = kase.id();
    let script = "exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=2";
    let outcome = after(kase, script, words(["run", "-b"], bundle.dir(), [id.as_str()]));
    assert!(!outcome.stdout().contains("LISTEN_"), "{outcome}");
    assert_eq!(open_descriptors(&outcome.out), [0, 1, 2], "{outcome}");
}

fn preserved_descriptors_reach_the_container(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "fds"]);
    let id = kase.id();
    let script = "exec 3</dev/null 4</dev/null 5</dev/null;";
    let options = ["--preserve-fds", "2", id.as_str()];
    let outcome = after(kase, script, words(["run", "-b"], bundle.dir(), options));
    assert_eq!(open_descriptors(outcome.stdout()), [0, 1, 2, 3, 4], "{outcome}");
}

fn preserved_descriptors_reach_an_added_process(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let line = ["exec", "--preserve-fds", "1", container.id.as_str(), "/probe", "fds"];
    let script = "exec 3</dev/null 4</dev/null;";
    let outcome = after(kase, script, line.iter().map(std::ffi::OsStr::new));
    assert_eq!(open_descriptors(outcome.stdout()), [0, 1, 2, 3], "{outcome}");
}

/// Podman's `--preserve-fd=5` counts up to 5.
fn descriptors_between_preserved_ones_may_be_closed(kase: &Kase) {
    let script = "exec 3</dev/null 4<&- 5</dev/null 6<&-;";
    let bundle = kase.bundle().args(["/probe", "fds"]);
    let id = kase.id();
    let line = words(["run", "-b"], bundle.dir(), ["--preserve-fds", "3", id.as_str()]);
    assert_eq!(open_descriptors(after(kase, script, line).stdout()), [0, 1, 2, 3, 5]);
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let line = ["exec", "--preserve-fds", "3", container.id.as_str(), "/probe", "fds"];
    let outcome = after(kase, script, line.iter().map(std::ffi::OsStr::new));
    assert_eq!(open_descriptors(outcome.stdout()), [0, 1, 2, 3, 5], "{outcome}");
}

fn a_preserved_descriptor_that_is_not_open_is_refused(kase: &Kase) {
    let bundle = kase.bundle();
    let id = kase.id();
    let options = ["--preserve-fds", "2", id.as_str()];
    let script = "exec 3</dev/null 4<&-;";
    let outcome = after(kase, script, words(["run", "-b"], bundle.dir(), options));
    outcome.refused(&["--preserve-fds", "descriptor 4 is not open"]);
    let script = "exec 3<&-; export LISTEN_FDS=1;";
    let outcome = after(kase, script, words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
    outcome.refused(&["LISTEN_FDS", "descriptor 3 is not open"]);
    // Not even where the log would be descriptor 3 by then.
    let line = ["--log", "log", "exec", "--preserve-fds", "1", &id, "/probe", "true"];
    let outcome = after(kase, "exec 3<&-;", line.iter().map(std::ffi::OsStr::new));
    outcome.exited(if crate::common::is_ours() { 255 } else { outcome.code });
    assert!(outcome.err.contains("3") && fs::read_to_string(kase.path("log")).unwrap().contains("not open"));
}

/// The manager's socket.
fn manager(kase: &Kase) -> UnixDatagram {
    let socket = UnixDatagram::bind(kase.path("manager")).unwrap();
    fs::set_permissions(kase.path("manager"), Permissions::from_mode(0o777)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// kase with these words, under the manager.
fn managed<'a>(kase: &Kase, words: impl IntoIterator<Item = &'a std::ffi::OsStr>) -> Running {
    let mut command = kase.command(words);
    command.env("NOTIFY_SOCKET", kase.path("manager"));
    kase.spawn(command)
}

fn hears(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    // A time limit makes recv(2) one of those that a stop and a continue interrupt.
    let length = loop {
        match socket.recv(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received.unwrap(),
        }
    };
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn state_pid(kase: &Kase, id: &str) -> String {
    let state: crate::common::Value = serde_json::from_str(kase.call(["state", id]).stdout()).unwrap();
    state["pid"].to_string()
}

fn a_detached_run_tells_when_the_container_is_ready(kase: &Kase) {
    let socket = manager(kase);
    let bundle =
        kase.bundle().args(["/probe", "notify", "STATUS=soon", "--", "notify", "READY=1", "--", "sleep"]);
    let id = kase.id();
    let run = managed(kase, words(["run", "-d", "-b"], bundle.dir(), [id.as_str()]));
    assert_eq!(hears(&socket), "READY=1\n");
    assert_eq!(hears(&socket), format!("MAINPID={}\n", state_pid(kase, &id)));
    assert_eq!(hears(&socket), "BARRIER=1");
    run.finish().succeeded();
    kase.call(["delete", "--force", &id]).succeeded();
}

fn a_run_in_the_foreground_tells_too(kase: &Kase) {
    let socket = manager(kase);
    let bundle = kase.bundle().args(["/probe", "notify", "READY=1", "--", "exit", "7"]);
    let id = kase.id();
    let run = managed(kase, words(["run", "-b"], bundle.dir(), [id.as_str()]));
    let pid = run.child.id();
    assert_eq!(hears(&socket), "READY=1\n");
    if crate::common::is_ours() {
        assert_eq!(hears(&socket), format!("MAINPID={pid}\n"));
        run.finish().exited(7);
    }
}

fn start_tells_when_the_container_is_ready(kase: &Kase) {
    let socket = manager(kase);
    let bundle = kase.bundle().args(["/probe", "wait", "/tmp/go", "--", "notify", "READY=1", "--", "sleep"]);
    let id = kase.id();
    managed(kase, words(["create", "-b"], bundle.dir(), [id.as_str()])).finish().succeeded();
    let mut start = managed(kase, ["start", id.as_str()].iter().map(std::ffi::OsStr::new));
    wait_until("the container to run", || kase.call(["state", &id]).stdout().contains("running"));
    assert!(start.child.try_wait().unwrap().is_none(), "start returns before the container is ready");
    fs::write(bundle.rootfs("tmp/go"), "").unwrap();
    assert_eq!(hears(&socket), "READY=1\n");
    assert_eq!(hears(&socket), format!("MAINPID={}\n", state_pid(kase, &id)));
    assert_eq!(hears(&socket), "BARRIER=1");
    start.finish().succeeded();
    kase.call(["delete", "--force", &id]).succeeded();
}

fn a_container_that_ends_before_it_is_ready_is_not_waited_for(kase: &Kase) {
    let _socket = manager(kase);
    let bundle = kase.bundle();
    let id = kase.id();
    managed(kase, words(["run", "-d", "-b"], bundle.dir(), [id.as_str()])).finish().succeeded();
    kase.call(["delete", "--force", &id]).succeeded();
}

fn nothing_is_bound_without_a_manager(kase: &Kase) {
    let seen = kase.sees(kase.bundle(), ["env", "--", "mounts"]);
    assert!(!seen.contains("NOTIFY_SOCKET") && !seen.contains("/run/notify"), "{seen}");
}
