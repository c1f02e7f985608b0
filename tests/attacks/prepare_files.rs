//! Another user prepares, replaces, and keeps replacing what kase is told to write to or to look into: logs, traces, pid
//! files, hooks' files and the state directory, by symlinks, FIFOs and directories of their own. Nothing of kase's
//! caller's is changed or run by that, and no command waits for it.

use crate::common::{Bundle, Kase, is_root, json, programs, wait_until, words};
use crate::output_files::{all_files, run};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

deeds! {
    a_file_that_is_swapped_again_and_again_leads_to_nothing_of_the_callers,
    a_state_directory_that_is_swapped_again_and_again_is_not_anothers,
    a_pipe_that_is_full_holds_nobody_up,
    a_socket_that_is_none_is_refused_wherever_it_is_named,
}

/// Whoever attacks: nobody, who is neither of the callers.
const NOBODY: u32 = 65534;
const ROUNDS: usize = 8;

/// A directory of the attacker's that everybody may write to, without the sticky bit, for which the kernel itself has a
/// defence (fs.protected_symlinks).
fn open_directory(kase: &Kase) -> PathBuf {
    let open = kase.directory("open");
    chown(&open, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    open
}

/// The attacker at work; ended when this is dropped.
struct Attacker(crate::common::Running);

impl Attacker {
    fn swaps(kase: &Kase, one: &Path, other: &Path) -> Self {
        let mut probe = Command::new("setpriv");
        probe.args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string(), "--clear-groups", "--"]);
        probe.arg(programs::probe()).arg("exchange").args([one, other]);
        probe.env("KASE_TEST", kase.name());
        let running = kase.spawn(probe);
        running.says("exchanging");
        Self(running)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGKILL);
        let _ = self.0.child.wait();
    }
}

fn a_file_that_is_swapped_again_and_again_leads_to_nothing_of_the_callers(kase: &Kase) {
    if !is_root() {
        skip!("needs root, to be another user too");
    }
    let open = open_directory(kase);
    let (file, target) = (open.join("file"), kase.file("target", "untouched"));
    let mut written = 0;
    for case in all_files(kase, file.to_str().unwrap()) {
        let attacker = attack(kase, &open, &target);
        for _ in 0..ROUNDS {
            written += usize::from(run(kase, &case).code == 0);
            assert_eq!(fs::read_to_string(&target).unwrap(), "untouched", "{:?}", case.1);
        }
        drop(attacker);
    }
    // Otherwise nothing was shown.
    assert!(written > 0);
    // A shell follows it, sooner or later.
    let attacker = attack(kase, &open, &target);
    let mut victim = kase.program("sh");
    victim.args(["-c", "until [ \"$(cat \"$1\")\" != untouched ]; do echo evil >>\"$0\"; done 2>/dev/null"]);
    victim.args([&file, &target]);
    kase.finish(victim).succeeded();
    drop(attacker);
}

/// Lets a file that everybody may write to change places with a symlink to the target. A pid file that is new takes the
/// place of the one or of the other.
fn attack(kase: &Kase, open: &Path, target: &Path) -> Attacker {
    let (file, link) = (open.join("file"), open.join("link"));
    for path in [&file, &link] {
        let _ = fs::remove_file(path);
    }
    symlink(target, &link).unwrap();
    lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::write(&file, "").unwrap();
    chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    Attacker::swaps(kase, &file, &link)
}

/// A container with a hook that would be run by its deletion, as somebody else's state says it.
fn forged(kase: &Kase, directory: &Path, mark: &Path) -> Bundle {
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo ran >>{}", mark.display())]}]);
    let bundle = kase.bundle().args(["/true"]).edit(|spec| spec["hooks"]["poststop"] = hook);
    let container = kase.run_detached(&bundle);
    container.becomes("stopped");
    let entry = directory.join("forged");
    fs::create_dir(&entry).unwrap();
    for name in ["record", "config.json"] {
        fs::copy(kase.state_dir().join(&container.id).join(name), entry.join(name)).unwrap();
    }
    // Its own deletion runs the hook; what is forged is another's from here on.
    container.delete();
    assert_eq!(fs::read_to_string(mark).unwrap(), "ran\n");
    fs::write(mark, "").unwrap();
    bundle
}

fn given(directory: &Path, owner: u32) {
    for path in [directory.to_path_buf(), directory.join("forged")] {
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    for name in ["record", "config.json"] {
        let file = directory.join("forged").join(name);
        chown(&file, Some(owner), Some(owner)).unwrap();
        // So that it is not for want of rights that nobody acts on it.
        fs::set_permissions(file, Permissions::from_mode(0o666)).unwrap();
    }
}

fn a_state_directory_that_is_swapped_again_and_again_is_not_anothers(kase: &Kase) {
    if !is_root() {
        skip!("needs root, to be another user too");
    }
    let open = open_directory(kase);
    let (state, theirs) = (open.join("state"), open.join("theirs"));
    fs::create_dir(&state).unwrap();
    fs::create_dir(&theirs).unwrap();
    kase.identity.own(&state);
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    let mark = kase.file("mark", "");
    let bundle = forged(kase, &theirs, &mark);
    given(&theirs, NOBODY);
    let with_root = |root: &Path, words: &[&str]| {
        let mut command = kase.program(&crate::common::program());
        command.arg("--root").arg(root).args(words);
        kase.finish(command)
    };
    let attacker = Attacker::swaps(kase, &state, &theirs);
    let in_bundle = bundle.dir().to_str().unwrap().to_owned();
    let mut made = Vec::new();
    for _ in 0..ROUNDS {
        let id = kase.id();
        let words: [&[&str]; 8] = [
            &["create", "-b", &in_bundle, &id],
            &["list"],
            &["state", &id],
            &["kill", "forged", "KILL"],
            &["delete", "--force", "forged"],
            &["delete", "--force", "--regex", "^forged$"],
            &["start", "forged"],
            &["gc"],
        ];
        words.iter().for_each(|words| drop(with_root(&state, words)));
        made.push(id);
        assert_eq!(fs::read_to_string(&mark).unwrap(), "", "somebody else's hook ran");
    }
    drop(attacker);
    // Which of the two names is whose by now does not matter.
    let is_theirs = |path: &&PathBuf| path.join("forged").exists();
    let (ours, theirs) = (
        [&state, &theirs].into_iter().find(|path| !is_theirs(path)),
        [&state, &theirs].into_iter().find(is_theirs),
    );
    let names =
        |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(theirs.unwrap()), ["forged"], "nothing is made in theirs");
    for id in made {
        let _ = with_root(ours.unwrap(), &["delete", "--force", &id]);
    }
    assert!(names(ours.unwrap()).is_empty());
    // As the caller's own, that state is taken at its word.
    fs::write(&mark, "").unwrap();
    given(theirs.unwrap(), kase.identity.uid);
    with_root(theirs.unwrap(), &["delete", "--force", "forged"]).succeeded();
    assert_eq!(fs::read_to_string(&mark).unwrap(), "ran\n", "the attack works on nobody");
}

/// The reader has it open and reads nothing.
fn a_pipe_that_is_full_holds_nobody_up(kase: &Kase) {
    let pipe = kase.path("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    kase.identity.own(&pipe);
    let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    let mut writer = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    for (before, options, bundle) in all_files(kase, pipe.to_str().unwrap()) {
        // A hook may wait for its reader, as long as it may run.
        let bundle = bundle.edit(|spec| {
            if let Some(hook) = spec.pointer_mut("/hooks/createRuntime/0") {
                hook["timeout"] = json!(1);
            }
        });
        // It may be told that it cannot be written.
        let outcome = run(kase, &(before, options, bundle));
        assert!(outcome.code == 0 || outcome.err.contains("kase: "), "{outcome}");
    }
    let mut victim = kase.program("sh");
    victim.args(["-c", "echo x >>\"$0\"", pipe.to_str().unwrap()]);
    let mut victim = kase.spawn(victim);
    assert_eq!(victim.ends_within(Duration::from_millis(200)), None, "the attack works on nobody");
    victim.signal(Signal::SIGKILL);
    victim.finish();
    drop(reader);
}

fn a_socket_that_is_none_is_refused_wherever_it_is_named(kase: &Kase) {
    let fifo = kase.path("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o666)).unwrap();
    symlink("loop", kase.path("loop")).unwrap();
    drop(UnixListener::bind(kase.path("left")).unwrap());
    let _datagrams = UnixDatagram::bind(kase.path("datagrams")).unwrap();
    for name in ["fifo", "left", "datagrams"] {
        kase.identity.own(&kase.path(name));
    }
    let long = "x/".repeat(60) + "socket";
    for path in ["fifo", "loop", "left", "datagrams", "missing", ".", &long] {
        let path = kase.path(path);
        let path = path.to_str().unwrap();
        let terminal = kase.bundle().edit(|spec| spec["process"]["terminal"] = json!(true));
        let id = kase.id();
        let create = |options: &[&str], bundle: &Bundle| {
            kase.call(words(["create", "-b"], bundle.dir(), options.iter().copied().chain([id.as_str()])))
        };
        create(&["--console-socket", path], &terminal).refused(&["console socket", path]);
        create(&["--pidfd-socket", path], &kase.bundle()).refused(&[path]);
        let filtered = kase.bundle().edit(|spec| {
            spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
                "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}]});
        });
        create(&[], &filtered).refused(&["linux.seccomp.listenerPath", path]);
        let annotated =
            kase.bundle().edit(|spec| spec["annotations"]["run.oci.pidfd_receiver"] = json!(path));
        create(&[], &annotated).refused(&[path]);
        // A service manager that has gone is nobody's fault: it is not told.
        let mut managed = kase.command(words(["run", "-b"], kase.bundle().dir(), [kase.id().as_str()]));
        managed.env("NOTIFY_SOCKET", path);
        let outcome = kase.finish(managed);
        assert!(outcome.code == 0 || outcome.err.contains("kase: "), "{outcome}");
    }
    assert_eq!(kase.leftovers(), [""; 0]);
    // One that is there is connected to.
    let path = kase.path("console");
    let listener = UnixListener::bind(&path).unwrap();
    kase.identity.own(&path);
    let terminal = kase.bundle().edit(|spec| spec["process"]["terminal"] = json!(true));
    let options = ["--console-socket", path.to_str().unwrap()];
    let container = crate::common::Container::create(kase, &terminal, &options);
    listener.set_nonblocking(true).unwrap();
    wait_until("the terminal", || listener.accept().is_ok());
    container.call("delete", ["--force"]).succeeded();
}
