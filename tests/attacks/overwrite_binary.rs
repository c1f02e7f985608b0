//! A container gets hold of the file that kase is executed from, by way of a process of its own that executes
//! `/proc/self/exe`, and writes to it as soon as nobody executes it any more: the host's root would run what it wrote
//! (CVE-2019-5736). It may get hold of the file, but never write to it.

use crate::common::{Bundle, Container, Kase, Running, json, wait_until};
use crate::seal::{own_binary, with};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

deeds! {
    an_entry_point_that_is_kase_itself_overwrites_nothing,
    a_script_whose_interpreter_is_kase_overwrites_nothing,
    an_added_process_that_is_kase_overwrites_nothing,
    a_hook_that_is_kase_overwrites_nothing,
    kases_own_processes_lead_to_nothing_that_can_be_written,
    a_binary_that_nobody_protects_is_overwritten,
}

/// What a container has: more than its attacker, and the attacker could not look at it.
const USUAL: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// What a container has in which an attacker waits for programs of this name.
fn attack<'a>(kase: &'a Kase, name: &str, capabilities: &[&str]) -> (Bundle, Container<'a>) {
    let bundle = kase.bundle().args(["/probe", "overwrite", name]).edit(|spec| {
        for set in ["bounding", "permitted", "effective"] {
            spec["process"]["capabilities"][set] = json!(capabilities);
        }
    });
    let attacker = kase.run_detached(&bundle);
    attacker.says("waiting");
    (bundle, attacker)
}

/// A bundle whose processes the attacker sees, with `/b/config.json` from which kase reads in there until nobody has the
/// FIFO open for writing any more.
fn victim(kase: &Kase, attacker: &Container<'_>) -> Bundle {
    let pid = attacker.pid();
    let join = |kind: &str| json!({"type": kind, "path": format!("/proc/{pid}/ns/{kind}")});
    let mut victim = kase.bundle().namespace(join("pid")).directory("b");
    if !kase.is_root() {
        victim = victim.namespace(join("user"));
    }
    fifo(kase, &victim);
    victim
}

fn fifo(kase: &Kase, bundle: &Bundle) {
    let fifo = bundle.rootfs("b/config.json");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    chown(&fifo, Some(kase.identity.uid), Some(kase.identity.gid)).unwrap();
}

/// Keeps kase in the container from its end, until it is dropped.
fn writer(bundle: &Bundle) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).open(bundle.rootfs("b/config.json")).unwrap()
}

/// Runs a copy of kase that the container's root could write to, by its owner and mode.
fn run(kase: &Kase, binary: &Path, bundle: &Bundle) -> Running {
    let directory = bundle.dir().to_str().unwrap();
    kase.spawn(with(kase, binary, ["run", "-b", directory, &kase.id()]))
}

/// The kase in the container goes on when the attacker holds its file, and says what it had to read.
fn held_kase_ends(attack: &(Bundle, Container<'_>), running: Running, writer: fs::File) {
    attack.1.says("holding");
    drop(writer);
    let outcome = running.finish();
    assert!(outcome.err.contains("config.json"), "kase ran in there: {outcome}");
}

/// The attacker tries for the last time, now that nobody executes the binary.
fn nothing_is_overwritten(attack: &(Bundle, Container<'_>), binary: &Path, before: &[u8]) {
    let (bundle, attacker) = attack;
    fs::write(bundle.rootfs("go"), "").unwrap();
    attacker.says("done");
    assert!(!attacker.stdout().contains("overwritten"), "{}", attacker.stdout());
    assert!(fs::read(binary).unwrap() == before, "the binary is what it was");
}

fn an_entry_point_that_is_kase_itself_overwrites_nothing(kase: &Kase) {
    let binary = own_binary(kase);
    let before = fs::read(&binary).unwrap();
    let attack = attack(kase, "kase", &USUAL);
    let victim = victim(kase, &attack.1).args(["/proc/self/exe", "lint", "-b", "/b"]);
    let writer = writer(&victim);
    let running = run(kase, &binary, &victim);
    held_kase_ends(&attack, running, writer);
    nothing_is_overwritten(&attack, &binary, &before);
}

/// Where the image's own program is a script, nothing in config.json looks suspicious.
fn a_script_whose_interpreter_is_kase_overwrites_nothing(kase: &Kase) {
    let binary = own_binary(kase);
    let before = fs::read(&binary).unwrap();
    let attack = attack(kase, "kase", &USUAL);
    let victim = victim(kase, &attack.1).program("script", b"#!/proc/self/exe\n").args(["/script"]);
    // It ends as soon as it has said that this is no command, which it cannot say into a FIFO that is full.
    let (path, full) = full_fifo(kase);
    let run = with(kase, &binary, ["run", "-b", victim.dir().to_str().unwrap(), &kase.id()]);
    let mut shell = kase.program("sh");
    shell.args(["-c", "exec \"$@\" 2>\"$0\""]).arg(path).arg(run.get_program()).args(run.get_args());
    let running = kase.spawn(shell);
    attack.1.says("holding");
    drop(full);
    running.finish().exited(1);
    nothing_is_overwritten(&attack, &binary, &before);
}

/// A FIFO that takes no more, as long as it is held open.
fn full_fifo(kase: &Kase) -> (PathBuf, fs::File) {
    let path = kase.path("full");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    kase.identity.own(&path);
    let options = fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).clone();
    let mut full = options.open(&path).unwrap();
    for size in [4096, 1] {
        while full.write(&[b'.'; 4096][..size]).is_ok() {}
    }
    (path, full)
}

fn an_added_process_that_is_kase_overwrites_nothing(kase: &Kase) {
    let binary = own_binary(kase);
    let before = fs::read(&binary).unwrap();
    let attack = attack(kase, "kase", &USUAL);
    fs::create_dir(attack.0.rootfs("b")).unwrap();
    fifo(kase, &attack.0);
    let writer = writer(&attack.0);
    let exec = ["exec", &attack.1.id, "/proc/self/exe", "lint", "-b", "/b"];
    let running = kase.spawn(with(kase, &binary, exec));
    held_kase_ends(&attack, running, writer);
    nothing_is_overwritten(&attack, &binary, &before);
}

/// A hook that runs in the container, where the image says what the path leads to.
fn a_hook_that_is_kase_overwrites_nothing(kase: &Kase) {
    let binary = own_binary(kase);
    let before = fs::read(&binary).unwrap();
    let attack = attack(kase, "kase", &USUAL);
    let victim = victim(kase, &attack.1).args(["/true"]).edit(|spec| {
        let args = ["kase", "lint", "-b", "/b"];
        spec["hooks"]["startContainer"] = json!([{"path": "/proc/self/exe", "args": args}]);
    });
    let writer = writer(&victim);
    let running = run(kase, &binary, &victim);
    held_kase_ends(&attack, running, writer);
    nothing_is_overwritten(&attack, &binary, &before);
}

/// The clones of kase that become the container's processes, and those that help: with every capability over them.
fn kases_own_processes_lead_to_nothing_that_can_be_written(kase: &Kase) {
    let binary = own_binary(kase);
    let before = fs::read(&binary).unwrap();
    let mighty = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_FOWNER"];
    let attack = attack(kase, "kase", &mighty);
    let victim = victim(kase, &attack.1).args(["/true"]).edit(|spec| {
        spec["hooks"]["createContainer"] = json!([{"path": "/bin/true"}]);
    });
    for _ in 0..10 {
        run(kase, &binary, &victim).finish().exited(0);
        kase.finish(with(kase, &binary, ["exec", &attack.1.id, "/true"])).exited(0);
    }
    nothing_is_overwritten(&attack, &binary, &before);
}

/// The control: another program of the same owner and mode, which enters the container as kase does.
fn a_binary_that_nobody_protects_is_overwritten(kase: &Kase) {
    let Some(binary) = unprotected(kase) else { skip!("needs a static busybox") };
    let (bundle, attacker) = attack(kase, "unprotected", &["CAP_SYS_PTRACE"]);
    let fifo = kase.path("until");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    kase.identity.own(&fifo);
    let mut nsenter = kase.program("nsenter");
    nsenter.args(["--target", &attacker.pid().to_string(), "--pid"]);
    if !kase.is_root() {
        nsenter.args(["--user", "--preserve-credentials"]);
    }
    nsenter.arg(&binary).arg("cat").arg(&fifo);
    let running = kase.spawn(nsenter);
    let mut writer = None;
    wait_until("it to read", || {
        // Refused as long as nobody reads.
        let nonblocking = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
        writer = nonblocking.ok();
        writer.is_some()
    });
    attacker.says("holding");
    drop(writer);
    running.finish().succeeded();
    attacker.says("overwritten");
    fs::write(bundle.rootfs("go"), "").unwrap();
    attacker.says("done 1");
    assert_eq!(fs::read_to_string(&binary).unwrap(), "overwritten");
}

fn unprotected(kase: &Kase) -> Option<PathBuf> {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists())?;
    // Its first word is what it does.
    let binary = kase.path("busybox-unprotected");
    crate::common::programs::copy_to(busybox.as_ref(), &binary);
    kase.identity.own(&binary);
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    Some(binary)
}
