//! A process added to a container: as whom, where, with what, and what becomes of its exit code.

use crate::common::{Container, Kase, json, value};
use std::fs;

deeds! {
    exec_works_before_start_too,
    exec_finds_a_program_that_only_the_process_itself_sees,
    what_is_added_ends_with_a_container_that_nothing_holds_together,
    exec_runs_in_the_containers_namespaces,
    exec_gives_the_programs_exit_code,
    exec_gives_128_and_the_number_of_the_signal,
    what_cannot_be_executed_gives_255,
    exec_passes_standard_input,
    exec_has_the_containers_environment_and_more,
    exec_takes_a_working_directory,
    exec_makes_no_working_directory,
    an_empty_option_of_exec_is_none,
    exec_has_the_containers_limits_and_privileges,
    a_capability_is_added,
    exec_takes_a_process_file,
    exec_detached_writes_its_pid,
    no_descriptor_of_ours_reaches_the_process,
    a_name_is_looked_up_in_the_containers_passwd,
    nothing_of_the_container_is_opened_for_numbers,
    exec_in_a_stopped_container_is_refused,
    a_later_change_of_the_bundle_does_not_matter,
}
deeds! { root:
    exec_joins_a_network_that_the_user_namespace_does_not_own,
}

fn exec_joins_a_network_that_the_user_namespace_does_not_own(kase: &Kase) {
    let owner = sleeper(kase);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    let network = format!("/proc/{}/ns/net", owner.pid());
    let bundle = kase
        .bundle()
        .args(["/probe", "sleep"])
        .namespace(json!({"type": "network", "path": network}))
        .namespace(json!({"type": "user"}))
        .edit(|spec| {
            spec["linux"]["uidMappings"] = map.clone();
            spec["linux"]["gidMappings"] = map.clone();
        });
    let container = kase.run_detached(&bundle);
    for kind in ["user", "net", "mnt", "pid"] {
        let link = format!("/proc/self/ns/{kind}");
        let expected = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid())).unwrap();
        assert_eq!(sees(&container, [], ["readlink", &link]).trim_end(), expected.to_str().unwrap());
    }
}

fn sleeper(kase: &Kase) -> Container<'_> {
    kase.run_detached(&kase.bundle().args(["/probe", "sleep"]))
}

/// What the probe prints, executed in the container with these flags.
fn sees<const F: usize, const N: usize>(
    container: &Container<'_>,
    flags: [&str; F],
    args: [&str; N],
) -> String {
    let words: Vec<&str> =
        ["exec"].into_iter().chain(flags).chain([container.id.as_str(), "/probe"]).chain(args).collect();
    container.kase.call(words).stdout().to_string()
}

fn exec_runs_in_the_containers_namespaces(kase: &Kase) {
    let container = sleeper(kase);
    let seen = sees(&container, [], ["namespaces"]);
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let own = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid())).unwrap();
        assert!(seen.contains(own.to_str().unwrap()), "{kind} {own:?} in {seen}");
    }
    assert_eq!(sees(&container, [], ["hostname"]), "kase\n");
}

fn exec_gives_the_programs_exit_code(kase: &Kase) {
    let container = sleeper(kase);
    kase.call(["exec", &container.id, "/probe", "exit", "0"]).exited(0);
    kase.call(["exec", &container.id, "/probe", "exit", "42"]).exited(42);
}

fn exec_gives_128_and_the_number_of_the_signal(kase: &Kase) {
    let container = sleeper(kase);
    let process = kase.spawn(kase.command(["exec", &container.id, "/probe", "cwd", "--", "sleep"]));
    process.says("/");
    process.signal(nix::sys::signal::Signal::SIGTERM);
    process.finish().exited(128 + 15);
}

fn what_cannot_be_executed_gives_255(kase: &Kase) {
    let container = sleeper(kase);
    for (args, words) in [
        (vec!["exec", container.id.as_str(), "/no/such"], "no such file or directory"),
        (vec!["exec", container.id.as_str(), "no-such"], "executable file not found in $PATH"),
        (vec!["exec", "nobody", "true"], "does not exist"),
        (vec!["exec", container.id.as_str()], "no program"),
        (vec!["exec", "-p", "/no/such/file", container.id.as_str()], "/no/such/file"),
        (vec!["exec", "-u", "nobody-here", container.id.as_str(), "true"], "nobody-here"),
    ] {
        let outcome = kase.call(args);
        outcome.exited(255);
        assert!(outcome.err.contains(words) && outcome.err.contains("\n  help: "), "{outcome}");
    }
}

fn exec_passes_standard_input(kase: &Kase) {
    let container = sleeper(kase);
    let input = kase.file("input", "from outside\n");
    let mut command = kase.command(["exec", &container.id, "/probe", "cat"]);
    command.stdin(fs::File::open(input).unwrap());
    assert_eq!(kase.finish(command).stdout(), "from outside\n");
}

fn exec_has_the_containers_environment_and_more(kase: &Kase) {
    let container = sleeper(kase);
    let seen = sees(&container, ["-e", "MORE=1", "--env", "TERM=dumb"], ["env"]);
    assert!(seen.lines().any(|line| line == "MORE=1"), "{seen}");
    assert!(seen.lines().any(|line| line == "TERM=dumb"), "the later value wins: {seen}");
    assert!(seen.lines().any(|line| line.starts_with("PATH=")), "{seen}");
    assert!(seen.lines().any(|line| line == "HOME=/"), "{seen}");
}

fn exec_takes_a_working_directory(kase: &Kase) {
    let container = sleeper(kase);
    assert_eq!(sees(&container, [], ["cwd"]), "/\n");
    assert_eq!(sees(&container, ["--cwd", "/proc"], ["cwd"]), "/proc\n");
}

fn exec_makes_no_working_directory(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().writable().args(["/probe", "sleep"]));
    let outcome = kase.call(["exec", "--cwd", "/no/such", &container.id, "/probe", "cwd"]);
    outcome.exited(255);
    assert!(outcome.err.contains("process.cwd: enter /no/such: No such file"), "{outcome}");
    kase.call(["exec", "--cwd", "/no", &container.id, "/probe", "cwd"]).exited(255);
}

fn an_empty_option_of_exec_is_none(kase: &Kase) {
    let container = sleeper(kase);
    let (none, paths) = (
        ["--user", "", "--cwd", "", "--apparmor", "", "--process-label", ""],
        ["--process", "", "--pid-file", "", "--console-socket", "", "--pidfd-socket", ""],
    );
    assert_eq!(sees(&container, none, ["cwd"]), "/\n");
    assert_eq!(sees(&container, paths, ["cwd"]), "/\n");
}

fn exec_has_the_containers_limits_and_privileges(kase: &Kase) {
    let container = sleeper(kase);
    let own = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(String::from).unwrap()
    };
    let seen = sees(&container, [], ["read", "/proc/self/status"]);
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:"] {
        assert_eq!(field(&seen, name), field(&own, name), "{name}");
    }
    let limits = |text: &str| text.lines().find(|line| line.starts_with("Max open files")).map(String::from);
    let own = fs::read_to_string(format!("/proc/{}/limits", container.pid())).unwrap();
    assert_eq!(limits(&sees(&container, [], ["read", "/proc/self/limits"])), limits(&own));
}

fn a_capability_is_added(kase: &Kase) {
    let container = sleeper(kase);
    let before = sees(&container, [], ["caps"]);
    let after = sees(&container, ["--cap", "CAP_NET_RAW"], ["caps"]);
    // CAP_NET_RAW is number 13.
    let set = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap().to_string();
        u64::from_str_radix(line.rsplit(' ').next().unwrap(), 16).unwrap()
    };
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(set(&after, name), set(&before, name) | 1 << 13, "{name}");
    }
    for name in ["CapInh", "CapAmb"] {
        assert_eq!(set(&after, name), set(&before, name), "{name}");
    }
}

fn exec_takes_a_process_file(kase: &Kase) {
    let container = sleeper(kase);
    let process = json!({
        "args": ["/probe", "env", "--", "cwd"], "cwd": "/dev", "env": ["ONLY=this"], "user": {"uid": 0, "gid": 0},
    });
    let file = kase.file("process.json", &process.to_string());
    let outcome = kase.call(["exec", "--process", file.to_str().unwrap(), &container.id]);
    assert_eq!(outcome.stdout(), "ONLY=this\nHOME=/\n/dev\n", "the file's environment alone, and HOME");
}

fn exec_detached_writes_its_pid(kase: &Kase) {
    let container = sleeper(kase);
    kase.call(["exec", "-d", "--pid-file", "added", &container.id, "/probe", "sleep"]).succeeded();
    let pid: i32 = fs::read_to_string(kase.path("added")).unwrap().parse().unwrap();
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.starts_with("/probe\0sleep"), "{line}");
    let namespace = |pid| fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_eq!(namespace(pid), namespace(container.pid()));
}

fn no_descriptor_of_ours_reaches_the_process(kase: &Kase) {
    let container = sleeper(kase);
    let seen = sees(&container, [], ["fds"]);
    assert!(
        seen.lines().all(|line| ["0", "1", "2"].contains(&line.split([' ', ':']).next().unwrap())),
        "{seen}"
    );
}

fn a_name_is_looked_up_in_the_containers_passwd(kase: &Kase) {
    let passwd = "root:x:0:0::/:\nzero:x:0:0::/home/zero:\n";
    let bundle = kase.bundle().args(["/probe", "sleep"]).file("etc/passwd", passwd);
    let container = kase.run_detached(&bundle);
    assert!(sees(&container, ["--user", "zero"], ["id"]).starts_with("Uid: 0 0 0 0\nGid: 0 0 0 0\n"));
    assert!(sees(&container, ["--user", "0:0"], ["id"]).starts_with("Uid: 0 0 0 0\nGid: 0 0 0 0\n"));
}

fn nothing_of_the_container_is_opened_for_numbers(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]).file("etc/passwd", "zero:x:0:0::/:\n");
    let container = kase.run_detached(&bundle);
    for (user, opened) in [("0", false), ("0:0", false), ("zero", true)] {
        let log = kase.file("calls", "");
        let exec = kase.command(["exec", "--user", user, &container.id, "/probe", "id"]);
        let mut strace = kase.program("strace");
        if strace.arg("--version").output().is_err() {
            skip!("needs strace");
        }
        let mut strace = kase.program("strace");
        strace.args(["-e", "trace=openat,openat2", "-o"]).arg(&log).arg("--");
        strace.arg(exec.get_program()).args(exec.get_args());
        let outcome = kase.finish(strace);
        assert!(outcome.stdout().starts_with("Uid: 0 0 0 0\nGid: 0 0 0 0\n"), "{outcome}");
        let calls = fs::read_to_string(log).unwrap();
        assert_eq!(calls.contains("/etc/passwd"), opened, "--user {user}: {calls}");
    }
}

/// What prepares the process is in another pid namespace, where procfs has no /proc/self.
fn exec_finds_a_program_that_only_the_process_itself_sees(kase: &Kase) {
    let container = sleeper(kase);
    let outcome = kase.call(["exec", &container.id, "/proc/self/root/probe", "hostname"]);
    assert_eq!(outcome.stdout(), "kase\n");
}

fn exec_works_before_start_too(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    assert_eq!(sees(&container, [], ["hostname"]), "kase\n");
    assert_eq!(container.status(), "created");
}

fn exec_in_a_stopped_container_is_refused(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    container.call("kill", ["KILL"]).succeeded();
    container.becomes("stopped");
    let outcome = kase.call(["exec", &container.id, "/probe", "true"]);
    outcome.exited(255);
    assert!(outcome.err.contains("stopped"), "{outcome}");
    let again = format!("delete it and create it again: kase delete {}", container.id);
    for refused in [outcome, container.call("events", ["--stats"]), container.call("start", [])] {
        assert_eq!(refused.help(), again, "{refused}");
    }
}

fn a_later_change_of_the_bundle_does_not_matter(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let container = kase.run_detached(&bundle);
    fs::write(bundle.path("config.json"), "{}").unwrap();
    assert_eq!(value(&sees(&container, [], ["mount", "/proc"]), "type"), "proc");
}

/// Neither a cgroup, where the caller has none, nor a pid namespace.
fn what_is_added_ends_with_a_container_that_nothing_holds_together(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().without_namespace("pid").args(["/probe", "sleep"]));
    kase.call(["exec", "-d", "--pid-file", "added", &container.id, "/probe", "sleep"]).succeeded();
    let added = fs::read_to_string(kase.path("added")).unwrap();
    let runs = || fs::read(format!("/proc/{added}/cmdline")).is_ok_and(|words| !words.is_empty());
    assert!(runs());
    container.call("delete", ["--force"]).succeeded();
    assert!(!runs());
}
