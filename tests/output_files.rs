//! Files that kase writes because its caller names them: what may be there already, and where symlinks may lead.

use crate::common::{Bundle, Container, Kase, Outcome, is_root, json, wait_until, words};
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

deeds! {
    a_pid_file_that_is_a_pipe_is_written_into,
    a_pid_file_that_is_a_symlink_is_followed,
    a_pid_file_replaces_a_regular_file,
    a_pid_file_that_is_replaced_is_there_all_the_time,
    a_kase_that_is_killed_leaves_nothing_beside_its_pid_file,
    a_pipe_that_nobody_reads_is_refused,
    a_pipe_that_nobody_writes_is_no_configuration,
    a_configuration_may_come_from_a_program,
    a_pipe_is_no_namespace,
    a_log_may_be_a_descriptor,
    a_symlink_of_another_user_where_others_may_write_is_refused,
}
deeds! { root: a_pid_file_that_is_a_device_is_written_into }

fn pipe(kase: &Kase, name: &str) -> String {
    let path = kase.path(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    kase.identity.own(&path);
    path.to_str().unwrap().to_owned()
}

/// Everywhere that kase takes a file to write: its options before the command, and the bundle.
pub fn all_files(kase: &Kase, file: &str) -> Vec<(Vec<String>, Vec<String>, Bundle)> {
    let plain = || kase.bundle().args(["/probe", "true"]);
    let option = |name: &str| vec![name.to_owned(), file.to_owned()];
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo hook"]}]);
    let annotated = |name: &str| {
        plain().edit(|spec| {
            spec["hooks"]["createRuntime"] = hook.clone();
            spec["annotations"][name] = json!(file);
        })
    };
    vec![
        (option("--log"), vec![], plain()),
        (option("--trace"), vec![], plain()),
        (vec![], option("--pid-file"), plain()),
        (vec![], vec![], annotated("run.oci.hooks.stdout")),
        (vec![], vec![], annotated("run.oci.hooks.stderr")),
    ]
}

pub fn run(kase: &Kase, (before, options, bundle): &(Vec<String>, Vec<String>, Bundle)) -> Outcome {
    let (id, text) = (kase.id(), |words: &[String]| words.to_vec());
    let mut all = text(before);
    all.extend(["run", "-b", bundle.dir().to_str().unwrap()].map(str::to_owned));
    all.extend(text(options));
    all.push(id);
    kase.call(all)
}

fn a_pid_file_that_is_a_pipe_is_written_into(kase: &Kase) {
    let pipe = pipe(kase, "pipe");
    let mut reader = kase.program("cat");
    reader.arg(&pipe);
    let reader = kase.spawn(reader);
    // Until it has it open, there is none.
    let mut made = None;
    wait_until("a reader", || {
        let bundle = kase.bundle().args(["/probe", "sleep"]);
        let id = kase.id();
        let options = ["--pid-file", &pipe, &id];
        match kase.call(words(["create", "-b"], bundle.dir(), options)).code {
            0 => made = Some(id),
            _ => return false,
        }
        true
    });
    let state = kase.call(["state", made.as_deref().unwrap()]);
    let state: serde_json::Value = serde_json::from_str(state.stdout()).unwrap();
    assert_eq!(reader.finish().stdout(), state["pid"].to_string());
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    kase.call(["delete", "--force", &made.unwrap()]).succeeded();
}

fn a_pid_file_that_is_a_device_is_written_into(kase: &Kase) {
    let null = kase.path("null");
    let made = kase.program("mknod").arg(&null).args(["c", "1", "3"]).status().unwrap();
    assert!(made.success());
    let options = ["--pid-file", null.to_str().unwrap()];
    Container::create(kase, &kase.bundle(), &options);
    assert!(fs::symlink_metadata(&null).unwrap().file_type().is_char_device());
}

fn a_pid_file_that_is_a_symlink_is_followed(kase: &Kase) {
    let real = kase.directory("real");
    for there in [false, true] {
        symlink("real", kase.path("way")).unwrap_or_default();
        symlink("way/target", kase.path("link")).unwrap_or_default();
        assert_eq!(real.join("target").exists(), there);
        let options = ["--pid-file", "link"];
        let container = Container::create(kase, &kase.bundle(), &options);
        assert!(kase.path("link").is_symlink());
        assert_eq!(fs::read_to_string(real.join("target")).unwrap(), container.pid().to_string());
    }
}

fn a_pid_file_replaces_a_regular_file(kase: &Kase) {
    let file = kase.file("pid", "an old one that is longer");
    let before = fs::File::open(&file).unwrap();
    let container = Container::create(kase, &kase.bundle(), &["--pid-file", "pid"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), container.pid().to_string());
    // Whoever reads sees the whole of one or of the other.
    assert_eq!(std::io::read_to_string(before).unwrap(), "an old one that is longer");
}

fn a_pid_file_that_is_replaced_is_there_all_the_time(kase: &Kase) {
    let (bundle, file) = (kase.bundle(), kase.path("pid"));
    let mut killed = 0;
    for call in ["linkat", "/^rename"] {
        for nth in 1.. {
            kase.file("pid", "old");
            let id = kase.id();
            let create = kase.command(words(["create", "-b"], bundle.dir(), ["--pid-file", "pid", &id]));
            let (status, _) = kase.killed_at(call, nth, &create);
            let text = fs::read_to_string(&file).expect("one of the two files");
            assert!(text == "old" || text.parse::<u32>().is_ok(), "{text:?}");
            kase.call(["delete", "--force", &id]).succeeded();
            if status.success() {
                break;
            }
            killed += 1;
        }
    }
    assert!(killed > 1, "it was killed {killed} times only");
}

fn a_kase_that_is_killed_leaves_nothing_beside_its_pid_file(kase: &Kase) {
    let (bundle, id, run) = (kase.bundle(), kase.id(), kase.directory("pids"));
    let file = run.join("pid");
    let words = words(["create", "-b"], bundle.dir(), ["--pid-file", file.to_str().unwrap(), &id]);
    let create = kase.command(words);
    let (status, _) = kase.killed_at("/^(linkat|rename.*)$", 1, &create);
    assert!(!status.success(), "it was not killed there: {status}");
    let left: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "pid"), "{left:?}");
    kase.call(["delete", "--force", &id]).succeeded();
}

fn a_pipe_that_nobody_reads_is_refused(kase: &Kase) {
    for case in all_files(kase, &pipe(kase, "pipe")) {
        run(kase, &case).refused(&["pipe"]);
    }
}

fn a_pipe_that_nobody_writes_is_no_configuration(kase: &Kase) {
    let file = pipe(kase, "pipe");
    kase.run_with(&kase.bundle(), ["--config", &file]).refused(&[&file, "pipe, and nobody writes into it"]);
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let outcome = container.call("exec", ["--process", &file]);
    outcome.exited(255);
    assert!(outcome.err.contains("nobody writes"), "{outcome}");
    container.call("update", ["--resources", &file]).refused(&["nobody writes"]);
}

fn a_pipe_is_no_namespace(kase: &Kase) {
    let file = pipe(kase, "pipe");
    for kind in ["network", "mount", "user", "pid"] {
        let bundle = kase.bundle().namespace(json!({"type": kind, "path": &file}));
        let outcome = kase.run(&bundle);
        outcome.exited(1);
        assert!(outcome.err.contains(&file), "{outcome}");
    }
}

fn a_configuration_may_come_from_a_program(kase: &Kase) {
    let (bundle, id) = (kase.bundle().args(["/probe", "exit", "3"]), kase.id());
    let words = kase.command(words(["run", "-b"], bundle.dir(), ["--config", "/dev/fd/9", &id]));
    let mut shell = kase.program("bash");
    let config = bundle.path("config.json");
    let script =
        format!("exec 9< <(head -c 100 {0}; sleep 0.2; tail -c +101 {0}); exec \"$@\"", config.display());
    shell.args(["-c", &script, "sh"]).arg(words.get_program()).args(words.get_args());
    kase.finish(shell).exited(3);
}

fn a_log_may_be_a_descriptor(kase: &Kase) {
    let state = kase.command(["--log", "/dev/stderr", "--log-format", "json", "state", "nobody"]);
    let mut shell = kase.program("sh");
    shell.args(["-c", "\"$@\" 2>&1 | cat", "sh"]).arg(state.get_program()).args(state.get_args());
    let outcome = kase.finish(shell);
    assert!(outcome.out.contains("{\"level\":\"error\""), "{outcome}");
}

fn a_symlink_of_another_user_where_others_may_write_is_refused(kase: &Kase) {
    if !is_root() {
        skip!("needs root to make another user's symlink");
    }
    const NOBODY: u32 = 65534;
    let open = kase.directory("open");
    chown(&open, Some(0), Some(0)).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    let target = kase.file("target", "untouched");
    let link = |name: &str, to: &Path, owner: u32| {
        symlink(to, open.join(name)).unwrap();
        lchown(open.join(name), Some(owner), Some(owner)).unwrap();
        open.join(name).to_str().unwrap().to_owned()
    };
    let theirs = link("theirs", &target, NOBODY);
    let private = kase.directory("private");
    chown(&private, Some(NOBODY), Some(NOBODY)).unwrap();
    symlink(&target, private.join("link")).unwrap();
    lchown(private.join("link"), Some(NOBODY), Some(NOBODY)).unwrap();
    let private = private.join("link").to_str().unwrap().to_owned();
    for case in all_files(kase, &private) {
        run(kase, &case).refused(&["link is a symlink of user 65534's"]);
    }
    let on_the_way = format!("{}/target", link("directory", &kase.path(""), NOBODY));
    for file in [theirs, on_the_way] {
        for case in all_files(kase, &file) {
            run(kase, &case)
                .refused(&["is a symlink of user 65534's in a directory that others may write to"]);
            assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
        }
    }
    let own = link("own", &target, kase.identity.uid);
    for case in all_files(kase, &own) {
        run(kase, &case).succeeded();
    }
    assert_ne!(fs::read_to_string(&target).unwrap(), "untouched");
}
