//! `kase integrate` itself: whose files it finds, how it writes them, whom it tells, what it refuses.

use super::USERS;
use crate::common::{Kase, Outcome, Value, is_ours, is_root, program};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;

deeds! {
    the_kase_that_is_called_is_registered_where_the_user_has_it,
    a_user_needs_no_more_than_a_directory,
    owner_and_mode_stay,
    a_users_file_need_not_have_been_the_users,
    a_symlink_may_lead_to_where_nothing_is_yet,
    a_dockerd_that_runs_is_told,
    no_other_process_is_told,
    what_is_no_text_file_is_refused,
    what_may_not_be_written_is_refused,
    containerd_is_asked_before_anything_changes,
    a_changed_file_of_our_own_is_kept_beside,
    podmans_files_are_named_where_they_are_wrong,
    unknown_engines_are_refused,
}

/// Other runtimes have no such command.
macro_rules! ours {
    () => {
        if !is_ours() {
            skip!("a command of kase's own");
        }
    };
}

/// `kase integrate` for a directory of the test's, with no dockerd.
fn integrate(kase: &Kase, engine: &str, words: &[&str]) -> Outcome {
    let directory = kase.directory("etc");
    let mut all = vec!["integrate", engine, "--config-dir", directory.to_str().unwrap()];
    if !words.contains(&"--pid-file") {
        all.extend(["--pid-file", "/none"]);
    }
    kase.call([&all, words].concat())
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

fn names(directory: PathBuf) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn the_kase_that_is_called_is_registered_where_the_user_has_it(kase: &Kase) {
    ours!();
    kase.call(["integrate", "docker-rootless", "--pid-file", "/none"]).succeeded();
    let value: Value = serde_json::from_str(&read(kase.path(".config/docker/daemon.json"))).unwrap();
    assert_eq!(value["runtimes"]["kase"]["path"], fs::canonicalize(program()).unwrap().to_str().unwrap());
    kase.call(["integrate", "docker-rootless", "--remove"]).succeeded();
    assert!(!kase.path(".config").exists());

    let mut command = kase.command(["integrate", "docker-rootless"]);
    let output = command.env("XDG_CONFIG_HOME", kase.path("xdg")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(kase.path("xdg/docker/daemon.json").exists());
}

fn a_user_needs_no_more_than_a_directory(kase: &Kase) {
    ours!();
    for engine in ["docker", "docker-rootless", "podman", "containerd", "crio"] {
        let outcome = integrate(kase, engine, &["--binary", "/none/kase"]);
        assert!(outcome.stdout().contains("has kase now\nthere is no /none/kase yet\n"), "{outcome}");
        assert!(integrate(kase, engine, &["--binary", "/none/kase"]).stdout().contains("has kase already"));
        assert!(integrate(kase, engine, &["--remove"]).stdout().contains("is without kase"));
        assert!(integrate(kase, engine, &["--remove"]).stdout().contains("nothing of ours"));
    }
    assert!(names(kase.path("etc")).is_empty());
    // What somebody has put there meanwhile stays.
    integrate(kase, "podman", &[]).succeeded();
    kase.file("etc/containers.conf.d/own.conf", "");
    integrate(kase, "podman", &["--remove"]).succeeded();
    integrate(kase, "podman", &[]).succeeded();
    integrate(kase, "podman", &["--remove"]).succeeded();
    assert_eq!(names(kase.path("etc/containers.conf.d")), ["own.conf"]);
}

fn a_users_file_need_not_have_been_the_users(kase: &Kase) {
    ours!();
    if !is_root() || kase.is_root() {
        skip!("needs root to give a user a file of another's");
    }
    let file = kase.directory("etc").join("daemon.json");
    fs::write(&file, USERS).unwrap();
    integrate(kase, "docker", &[]).succeeded();
    assert!(read(file.clone()).contains("kase"));
    integrate(kase, "docker", &["--remove"]).succeeded();
    assert_eq!(read(file), USERS);
}

fn owner_and_mode_stay(kase: &Kase) {
    ours!();
    kase.directory("etc");
    let file = kase.file("etc/daemon.json", USERS);
    // Root changes somebody else's file.
    let owner = if kase.is_root() { (1234, 4321) } else { (kase.identity.uid, kase.identity.gid) };
    chown(&file, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    let is_the_same = |name: &str| {
        let metadata = fs::metadata(kase.path("etc").join(name)).unwrap();
        assert_eq!(
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777),
            (owner.0, owner.1, 0o604),
            "{name}"
        );
    };
    integrate(kase, "docker", &[]).succeeded();
    let now = ["daemon.json", "daemon.json.before-kase", "daemon.json.with-kase"];
    assert_eq!(names(kase.path("etc")), now);
    now.into_iter().for_each(is_the_same);
    integrate(kase, "docker", &["--remove"]).succeeded();
    assert_eq!(names(kase.path("etc")), ["daemon.json"]);
    is_the_same("daemon.json");
}

fn a_symlink_may_lead_to_where_nothing_is_yet(kase: &Kase) {
    ours!();
    symlink("../real/daemon.json", kase.directory("etc").join("daemon.json")).unwrap();
    kase.directory("real");
    integrate(kase, "docker", &[]).succeeded();
    assert!(read(kase.path("real/daemon.json")).contains("kase"));
    integrate(kase, "docker", &["--remove"]).succeeded();
    assert_eq!((names(kase.path("etc")), names(kase.path("real"))), (vec!["daemon.json".into()], vec![]));
    assert!(fs::symlink_metadata(kase.path("etc/daemon.json")).unwrap().is_symlink());
}

/// A process of this name with its id in a file.
fn process(kase: &Kase, name: &str) -> (Child, String) {
    let program = kase.path(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let child = kase.program(program.to_str().unwrap()).arg("60").spawn().unwrap();
    let file = kase.file("pid", &format!("{}\n", child.id()));
    (child, file.to_str().unwrap().to_owned())
}

fn a_dockerd_that_runs_is_told(kase: &Kase) {
    ours!();
    for words in [&[] as &[&str], &["--remove"]] {
        let (mut child, file) = process(kase, "dockerd");
        let outcome = integrate(kase, "docker", &[words, &["--pid-file", &file]].concat());
        assert!(
            outcome.stdout().contains(&format!("dockerd ({}) has read it anew", child.id())),
            "{outcome}"
        );
        // Nothing has this signal handled here.
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGHUP));
    }
}

fn no_other_process_is_told(kase: &Kase) {
    ours!();
    let (mut child, file) = process(kase, "docker");
    let without = |outcome: Outcome| assert!(outcome.stdout().contains("no dockerd runs here"), "{outcome}");
    without(integrate(kase, "docker", &["--pid-file", &file]));
    for id in ["", "x", "-1", "0", "99999999999"] {
        integrate(kase, "docker", &["--remove"]).succeeded();
        kase.file("pid", id);
        without(integrate(kase, "docker", &["--pid-file", &file]));
    }
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

fn what_is_no_text_file_is_refused(kase: &Kase) {
    ours!();
    let etc = kase.directory("etc");
    for (engine, name) in [("docker", "daemon.json"), ("containerd", "config.toml")] {
        let file = etc.join(name);
        let refused = |why: &str| {
            integrate(kase, engine, &[]).refused(&[file.to_str().unwrap(), why]);
            assert_eq!(names(etc.clone()), [name]);
        };
        fs::create_dir(&file).unwrap();
        refused("not a regular file");
        fs::remove_dir(&file).unwrap();
        mkfifo(&file, Mode::from_bits_truncate(0o666)).unwrap();
        refused("not a regular file");
        fs::remove_file(&file).unwrap();
        fs::write(&file, b"{\n\xff}").unwrap();
        refused("line 2");
        fs::write(&file, "\n{\"a\": x").unwrap();
        refused("line 2 column ");
        fs::remove_file(&file).unwrap();
    }
}

fn what_may_not_be_written_is_refused(kase: &Kase) {
    ours!();
    if kase.is_root() {
        integrate_below_a_file(kase);
        return;
    }
    let etc = kase.directory("etc");
    kase.file("etc/daemon.json", USERS);
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o555)).unwrap();
    integrate(kase, "docker", &[]).refused(&["daemon.json", "stays as it was", "Permission denied"]);
    integrate(kase, "podman", &[]).refused(&["containers.conf.d", "Permission denied"]);
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!((names(etc), read(kase.path("etc/daemon.json"))), (vec!["daemon.json".into()], USERS.into()));
}

fn integrate_below_a_file(kase: &Kase) {
    kase.directory("etc");
    kase.file("etc/containers.conf.d", "");
    integrate(kase, "podman", &[]).refused(&["containers.conf.d", "Not a directory"]);
}

/// A containerd that answers so when asked for what it makes of a file.
fn containerd(kase: &Kase, answer: &str) -> String {
    let program = kase.directory("bin").join("containerd");
    let text = format!(
        "#!/bin/sh\n[ \"$1 $2\" != 'config default' ] || {{ echo 'version = 3'; exit; }}\n{answer}\n"
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", kase.path("bin").display())
}

fn containerd_is_asked_before_anything_changes(kase: &Kase) {
    ours!();
    let etc = kase.directory("etc");
    let call = |answer: &str| {
        let path = containerd(kase, answer);
        let directory = etc.to_str().unwrap();
        let output =
            kase.command(["integrate", "containerd", "--config-dir", directory]).env("PATH", path).output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (done, said) = call("echo 'no such plugin' >&2; exit 1");
    assert!(!done && said.contains("stays as it was") && said.contains("no such plugin"), "{said}");
    assert!(names(etc.clone()).is_empty());
    let (done, said) = call("grep -q 'runtimes.kase]' \"$2\" && [ \"$1 $3 $4\" = '--config config dump' ]");
    assert!(done, "{said}");
    assert!(read(etc.join("config.toml")).starts_with("version = 3\n"));
}

fn a_changed_file_of_our_own_is_kept_beside(kase: &Kase) {
    ours!();
    integrate(kase, "podman", &[]).succeeded();
    let file = kase.path("etc/containers.conf.d/kase.conf");
    fs::write(&file, "# mine\n").unwrap();
    let outcome = integrate(kase, "podman", &["--remove"]);
    assert!(outcome.stdout().contains("was changed since: see"), "{outcome}");
    assert!(!Path::new(&file).exists());
    assert_eq!(names(kase.path("etc")), ["podman-kase.conf.changed"]);
    assert_eq!(read(kase.path("etc/podman-kase.conf.changed")), "# mine\n");
}

fn podmans_files_are_named_where_they_are_wrong(kase: &Kase) {
    ours!();
    kase.directory("etc");
    kase.directory("etc/containers.conf.d");
    let file =
        kase.file("etc/containers.conf.d/mine.conf", "[engine]\nruntime_supports_json = [\"x\"\n[a]\n");
    integrate(kase, "podman", &[]).refused(&[file.to_str().unwrap(), "line 3", "stays as it was"]);
    kase.file(
        "etc/containers.conf.d/mine.conf",
        "engine.runtime_supports_json = ['a\"b', 5, 'runc', 'kase']\n",
    );
    integrate(kase, "podman", &[]).succeeded();
    let text = read(kase.path("etc/containers.conf.d/kase.conf"));
    assert!(text.contains(", \"kase\", \"a\\\"b\"]\nruntime_supports_nocgroup"), "{text}");
}

fn unknown_engines_are_refused(kase: &Kase) {
    ours!();
    kase.call(["integrate"]).refused(&["ENGINE", "is missing"]);
    kase.call(["integrate", "dockr"]).refused(&["dockr"]);
    integrate(kase, "docker", &["--binary", "kase"]).refused(&["\"kase\"", "absolute"]);
    assert!(names(kase.path("etc")).is_empty());
}
