//! A container's life: created, running, stopped, gone; and what each command says of it.

use crate::common::{Container, Kase, is_ours, json, wait_until, words};

deeds! {
    a_container_is_created_started_stopped_and_deleted,
    nothing_of_the_container_runs_before_start,
    a_container_starts_once,
    run_gives_the_exit_code,
    run_gives_128_and_the_number_of_the_signal,
    run_passes_standard_input,
    run_leaves_nothing_when_it_ends,
    run_gives_the_exit_code_of_a_container_that_cannot_be_removed,
    run_detached_comes_back_at_once,
    the_pid_file_holds_the_first_process,
    a_pid_file_is_relative_to_the_working_directory,
    a_pid_file_is_not_led_elsewhere,
    keep_leaves_the_stopped_container,
    an_id_in_use_is_refused,
    forty_containers_live_at_once,
    a_running_container_is_deleted_only_by_force,
    deleting_what_is_not_there_is_an_error_but_not_by_force,
    the_bundle_is_the_working_directory_by_default,
    options_may_follow_the_id,
    a_killed_container_is_deleted_at_once,
    a_container_that_was_not_started_is_deleted_without_force,
    a_container_whose_start_failed_is_deleted_at_once,
    without_descriptors_nothing_is_left_and_nothing_is_said_to_be_gone,
}
deeds! { root: a_killed_container_that_takes_its_time_is_deleted }

fn a_container_is_created_started_stopped_and_deleted(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "signal"]));
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.says("waiting");
    container.call("kill", ["TERM"]).succeeded();
    container.becomes("stopped");
    assert_eq!(container.stdout(), "waiting\nSIGTERM\n");
    container.delete();
}

fn nothing_of_the_container_runs_before_start(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "write", "/tmp/ran", ""]);
    let bundle = bundle.edit(|spec| spec["root"]["readonly"] = json!(false));
    let container = kase.create(&bundle);
    assert!(!bundle.rootfs("tmp/ran").exists());
    assert_eq!(container.output(), "ok\n");
    assert!(bundle.rootfs("tmp/ran").exists());
}

fn a_container_starts_once(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    container.start();
    container.call("start", []).fails(&[&container.id, "already running"]);
}

fn run_gives_the_exit_code(kase: &Kase) {
    kase.run(&kase.bundle().args(["/probe", "exit", "0"])).exited(0);
    kase.run(&kase.bundle().args(["/probe", "exit", "42"])).exited(42);
    kase.run(&kase.bundle().args(["/probe", "exit", "255"])).exited(255);
}

fn run_gives_128_and_the_number_of_the_signal(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let id = kase.id();
    let running = kase.spawn(kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &id]));
    wait_until("the container to run", || kase.call(["state", &id]).out.contains("\"running\""));
    kase.call(["kill", &id, "KILL"]).succeeded();
    running.finish().exited(128 + 9);
}

fn run_passes_standard_input(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "cat"]);
    let text = kase.file("input", "from the outside\n");
    let id = kase.id();
    let mut command = kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &id]);
    command.stdin(std::fs::File::open(text).unwrap());
    assert_eq!(kase.finish(command).stdout(), "from the outside\n");
}

fn run_leaves_nothing_when_it_ends(kase: &Kase) {
    kase.run(&kase.bundle()).succeeded();
    assert_eq!(kase.call(["list", "-q"]).stdout(), "");
}

/// As runc does. What is left can be deleted as any stopped container.
fn run_gives_the_exit_code_of_a_container_that_cannot_be_removed(kase: &Kase) {
    if !is_ours() || std::process::Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace, and the name of a file of kase's");
    }
    let (bundle, id) = (kase.bundle().args(["/probe", "exit", "7"]), kase.id());
    let run = kase.command(words(["run", "-b"], bundle.dir(), [id.as_str()]));
    let mut strace = kase.program("strace");
    strace.args(["-o", "strace", "-P", "record", "-e", "inject=unlinkat:error=EPERM", "--"]);
    strace.arg(run.get_program()).args(run.get_args());
    let outcome = kase.finish(strace);
    let told = format!("warning: remove the container {id:?}, which has ended: ");
    assert!(outcome.code == 7 && outcome.err.contains(&told), "{outcome}");
    assert_eq!(kase.call(["list", "-q"]).stdout(), format!("{id}\n"));
    kase.call(["delete", &id]).succeeded();
}

fn run_detached_comes_back_at_once(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "signal"]));
    container.says("waiting");
    assert_eq!(container.status(), "running");
}

fn the_pid_file_holds_the_first_process(kase: &Kase) {
    let file = kase.path("pid");
    let options = ["--pid-file", file.to_str().unwrap()];
    let container = Container::create(kase, &kase.bundle().args(["/probe", "sleep"]), &options);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), container.pid().to_string());
    assert!(std::path::Path::new(&format!("/proc/{}", container.pid())).exists());
}

fn a_pid_file_is_relative_to_the_working_directory(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let container = Container::create(kase, &bundle, &["--pid-file", "pid"]);
    assert_eq!(std::fs::read_to_string(kase.path("pid")).unwrap(), container.pid().to_string());
}

/// In a directory where others may write, such as /tmp.
fn a_pid_file_is_not_led_elsewhere(kase: &Kase) {
    let (bundle, id) = (kase.bundle().args(["/probe", "sleep"]), kase.id());
    let elsewhere = kase.file("elsewhere", "untouched");
    let run = kase.command(["run", "-d", "--pid-file", "pid", "-b", bundle.dir().to_str().unwrap(), &id]);
    let mut shell = kase.program("sh");
    shell.args(["-c", "ln -s elsewhere .pid.$$; exec \"$0\" \"$@\""]);
    shell.arg(run.get_program()).args(run.get_args()).stdout(std::process::Stdio::null());
    kase.finish(shell).succeeded();
    let pid = std::fs::read_to_string(kase.path("pid")).unwrap();
    kase.call(["delete", "--force", &id]).succeeded();
    assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), "untouched");
    assert!(pid.parse::<u32>().is_ok(), "{pid:?}");
}

fn keep_leaves_the_stopped_container(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "exit", "3"]);
    let id = kase.id();
    kase.call(["run", "--keep", "-b", bundle.dir().to_str().unwrap(), &id]).exited(3);
    assert!(kase.call(["state", &id]).stdout().contains("\"stopped\""));
    kase.call(["delete", &id]).succeeded();
}

fn an_id_in_use_is_refused(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let container = kase.create(&bundle);
    let again = kase.call(["create", "-b", bundle.dir().to_str().unwrap(), &container.id]);
    again.refused(&[&container.id]);
    assert_eq!(container.status(), "created");
}

fn forty_containers_live_at_once(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let containers: Vec<Container> = (0..40).map(|_| kase.run_detached(&bundle)).collect();
    let list = kase.call(["list", "-q"]);
    assert_eq!(list.stdout().lines().count(), 40);
    for container in &containers {
        assert!(list.out.contains(&container.id));
        assert_eq!(container.status(), "running");
    }
}

fn a_running_container_is_deleted_only_by_force(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    container.call("delete", []).refused(&[&container.id]);
    assert_eq!(container.status(), "running");
    container.call("delete", ["--force"]).succeeded();
    container.call("state", []).refused(&[&container.id]);
}

fn deleting_what_is_not_there_is_an_error_but_not_by_force(kase: &Kase) {
    kase.call(["delete", "nobody"]).refused(&["nobody", "does not exist"]);
    kase.call(["delete", "--force", "nobody"]).succeeded();
}

fn the_bundle_is_the_working_directory_by_default(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "hostname"]);
    let mut command = kase.command(["run", &kase.id()]);
    command.current_dir(bundle.dir());
    assert_eq!(kase.finish(command).stdout(), "kase\n");
}

fn options_may_follow_the_id(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "exit", "7"]);
    kase.call(["run", &kase.id(), "--bundle", bundle.dir().to_str().unwrap()]).exited(7);
}

/// Scripts and engines delete right after they have killed.
fn a_killed_container_is_deleted_at_once(kase: &Kase) {
    for _ in 0..10 {
        let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
        container.call("kill", ["KILL"]).succeeded();
        container.call("delete", []).succeeded();
    }
}

/// As with runc and crun: engines clear away so what they have made.
fn a_container_that_was_not_started_is_deleted_without_force(kase: &Kase) {
    kase.create(&kase.bundle().args(["/probe", "sleep"])).delete();
}

fn a_container_whose_start_failed_is_deleted_at_once(kase: &Kase) {
    let hook = json!([{"path": "/no-such-hook"}]);
    let bundle = kase.bundle().edit(|spec| spec["hooks"]["startContainer"] = hook);
    for _ in 0..16 {
        let container = kase.create(&bundle);
        container.call("start", []).fails(&["no-such-hook"]);
        container.call("delete", []).succeeded();
    }
}

/// Its end waits for that of a process that somebody else has frozen.
fn a_killed_container_that_takes_its_time_is_deleted(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let record = std::fs::read_to_string(kase.state_dir().join(&container.id).join("record")).unwrap();
    let Some((_, path)) = record.split_once("\"freezer\":\"") else {
        skip!("needs the freezer of cgroup v1")
    };
    let own = std::path::Path::new(path.split('"').next().unwrap());
    container.call("exec", ["-d", "--pid-file", "added", "/probe", "sleep"]).succeeded();
    let added = std::fs::read_to_string(kase.path("added")).unwrap();
    let elsewhere = own.with_file_name(format!("{}-elsewhere", kase.name()));
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("cgroup.procs"), &added).unwrap();
    std::fs::write(elsewhere.join("freezer.state"), "FROZEN").unwrap();
    container.call("kill", ["KILL"]).succeeded();
    let mut delete = kase.spawn(kase.command(["delete", &container.id]));
    // Longer than whoever was not killed is waited for.
    std::thread::sleep(std::time::Duration::from_millis(400));
    let ended = delete.child.try_wait().unwrap();
    std::fs::write(elsewhere.join("freezer.state"), "THAWED").unwrap();
    let deleted = delete.finish();
    wait_until("the frozen process to be gone", || std::fs::remove_dir(&elsewhere).is_ok());
    assert!(ended.is_none(), "{deleted}");
    deleted.succeeded();
}

fn without_descriptors_nothing_is_left_and_nothing_is_said_to_be_gone(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let within = |limit: u32, words: &[&std::ffi::OsStr]| {
        let command = kase.command(words);
        let mut shell = kase.program("sh");
        shell.args(["-c", "ulimit -n $0; exec \"$@\"", &limit.to_string()]);
        shell.arg(command.get_program()).args(command.get_args());
        kase.finish(shell)
    };
    let container = kase.run_detached(&bundle);
    for limit in 3..16 {
        let id = kase.id();
        let created = within(limit, &words(["create", "-b"], bundle.dir(), [id.as_str()]));
        let entry = kase.state_dir().join(&id);
        assert_eq!(created.code == 0, entry.exists(), "{limit} descriptors: {created}");
        kase.call(["delete", "--force", &id]).succeeded();
        let state = within(limit, &["state".as_ref(), container.id.as_ref()]);
        assert!(state.code != 0 || state.out.contains("\"running\""), "{limit} descriptors: {state}");
        let list = within(limit, &["list".as_ref()]);
        assert!(list.code != 0 || list.out.contains("running"), "{limit} descriptors: {list}");
        let other = kase.run_detached(&bundle);
        let deleted = within(limit, &["delete".as_ref(), "--force".as_ref(), other.id.as_ref()]);
        let entry = kase.state_dir().join(&other.id);
        assert_eq!(deleted.code != 0, entry.join("record").exists(), "{limit} descriptors: {deleted}");
        assert_eq!(deleted.code != 0, entry.exists(), "{limit} descriptors: {deleted}");
    }
}
