//! CVE-2019-5736: where a container could write kase's binary, kase runs from a file that nobody can write. A container
//! that tries is in attacks/overwrite_binary.rs.

use crate::common::{Kase, Outcome, is_ours, wait_until, words};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

deeds! {
    the_file_under_init_cannot_be_written_whoever_holds_it_open,
    a_sealed_kase_is_called_and_started_as_before,
    the_callers_descriptors_reach_the_container_and_none_of_ours,
    a_binary_that_others_may_write_is_executed_again,
    only_commands_with_a_container_to_make_execute_again,
}
deeds! { user:
    a_binary_of_root_is_executed_once,
    a_binary_of_the_users_is_executed_again,
    a_copy_that_is_busy_for_a_moment_is_sealed_all_the_same,
    a_binary_of_a_subordinate_id_is_executed_again,
    root_of_a_namespace_executes_again_what_its_namespace_owns,
    a_hidden_proc_is_enough,
    without_executable_memfds_the_user_is_told_what_to_do,
}
deeds! { root:
    what_root_executes_again_has_not_started_before,
    without_overlayfs_root_uses_a_memfd,
    without_either_root_is_told_what_to_do,
    a_file_system_without_writing_is_proof_enough,
}

/// A copy of kase that belongs to the caller.
pub fn own_binary(kase: &Kase) -> PathBuf {
    let path = kase.path("kase");
    let mut copy = kase.program("cp");
    copy.arg(crate::common::program()).arg(&path);
    kase.finish(copy).succeeded();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// As [`Kase::command`], with another binary.
pub fn with<'a>(kase: &Kase, binary: &Path, args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = kase.program(&binary.to_string_lossy());
    if kase.is_root() {
        command.arg("--root").arg(kase.path("state"));
    }
    command.args(args);
    command
}

/// How often the command executes itself again. It may fail for its own reasons.
fn executions(kase: &Kase, wrapper: &[&str], command: &Command) -> (usize, Outcome) {
    let mut strace = kase.program(wrapper.first().unwrap_or(&"strace"));
    strace.args(wrapper.iter().skip(1));
    if !wrapper.is_empty() {
        strace.arg("strace");
    }
    strace.args(["-qq", "-e", "trace=execveat", "-o", "trace", "--"]);
    strace.arg(command.get_program()).args(command.get_args());
    // Of an earlier call, or missing.
    let _ = fs::remove_file(kase.path("trace"));
    let outcome = kase.finish(strace);
    let trace = fs::read_to_string(kase.path("trace")).unwrap_or_else(|_| panic!("no trace: {outcome}"));
    (trace.matches(" = 0").count(), outcome)
}

/// Executions of `run` with a bundle that is not there: enough to see them, and nothing is made.
fn executions_of(kase: &Kase, wrapper: &[&str], binary: &Path) -> usize {
    let command = with(kase, binary, ["run", "-b", "/nowhere", "x"]);
    let (count, outcome) = executions(kase, wrapper, &command);
    outcome.fails(&["/nowhere/config.json"]);
    count
}

macro_rules! needs {
    ($($program:literal),*) => { $(
        if !is_ours() || Command::new($program).arg("--help").output().is_err() {
            skip!("needs kase and {}", $program);
        }
    )* };
}

fn a_binary_of_root_is_executed_once(kase: &Kase) {
    needs!("strace");
    if !crate::common::is_root() {
        skip!("needs root, to own the binary");
    }
    assert_eq!(executions_of(kase, &[], crate::common::program().as_ref()), 0);
}

fn a_binary_of_the_users_is_executed_again(kase: &Kase) {
    needs!("strace");
    assert_eq!(executions_of(kase, &[], &own_binary(kase)), 1);
}

/// The kernel answers EBUSY where it still holds a page of the copy itself.
fn a_copy_that_is_busy_for_a_moment_is_sealed_all_the_same(kase: &Kase) {
    needs!("strace");
    let binary = own_binary(kase);
    let traced = |inject: &[&str]| {
        let mut strace = kase.program("strace");
        strace.args(["-qq", "-e", "trace=fcntl", "-o", "trace"]).args(inject).arg("--");
        let command = with(kase, &binary, ["run", "-b", "/nowhere", "x"]);
        strace.arg(command.get_program()).args(command.get_args());
        let outcome = kase.finish(strace);
        (fs::read_to_string(kase.path("trace")).unwrap(), outcome)
    };
    let (trace, _) = traced(&[]);
    let seal =
        trace.lines().position(|line| line.contains("F_ADD_SEALS")).expect("a user's binary is copied") + 1;
    let (trace, outcome) = traced(&["-e", &format!("inject=fcntl:error=EBUSY:when={seal}")]);
    assert!(trace.contains("EBUSY"), "{trace}");
    outcome.fails(&["/nowhere/config.json"]);
}

fn a_binary_of_a_subordinate_id_is_executed_again(kase: &Kase) {
    needs!("strace");
    if !crate::common::is_root() {
        skip!("needs root, to give the binary away");
    }
    let binary = own_binary(kase);
    let (start, count) = crate::common::ranges("/etc/subuid", &kase.identity)[0];
    for (owner, expected) in [(start, 1), (start + count - 1, 1), (kase.identity.uid + 100, 0)] {
        chown(&binary, Some(owner), Some(0)).unwrap();
        assert_eq!(executions_of(kase, &[], &binary), expected, "owner {owner}");
    }
}

fn a_binary_that_others_may_write_is_executed_again(kase: &Kase) {
    needs!("strace");
    if !crate::common::is_root() {
        skip!("needs root, to own the binary");
    }
    let binary = own_binary(kase);
    chown(&binary, Some(0), Some(0)).unwrap();
    for (mode, expected) in [(0o755, usize::from(kase.is_root())), (0o775, 1), (0o757, 1)] {
        fs::set_permissions(&binary, Permissions::from_mode(mode)).unwrap();
        assert_eq!(executions_of(kase, &[], &binary), expected, "mode {mode:o}");
    }
}

fn root_of_a_namespace_executes_again_what_its_namespace_owns(kase: &Kase) {
    needs!("strace", "unshare");
    if !crate::common::is_root() {
        skip!("needs root, to own the binary");
    }
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let binary = own_binary(kase);
    assert_eq!(executions_of(kase, &unshare, &binary), 1, "its own");
    chown(&binary, Some(0), Some(0)).unwrap();
    assert_eq!(executions_of(kase, &unshare, &binary), 0, "root's, who is nobody there");
}

fn only_commands_with_a_container_to_make_execute_again(kase: &Kase) {
    needs!("strace");
    let binary = own_binary(kase);
    for args in [&["state", "run"][..], &["kill", "create"], &["delete", "run"], &["list"], &["features"]] {
        let (count, _) = executions(kase, &[], &with(kase, &binary, args.iter().copied()));
        assert_eq!(count, 0, "{args:?}");
    }
    for options in [&[][..], &["--debug"], &["--log", "list"], &["--log=list", "--systemd-cgroup"]] {
        let args = options.iter().copied().chain(["create", "-b", "/nowhere", "x"]);
        let (count, _) = executions(kase, &[], &with(kase, &binary, args));
        assert_eq!(count, 1, "{options:?}");
    }
}

fn what_root_executes_again_has_not_started_before(kase: &Kase) {
    needs!("strace");
    let command = with(kase, &own_binary(kase), ["run", "-b", "/nowhere", "x"]);
    let mut strace = kase.program("strace");
    strace.args(["-qq", "-o", "trace", "--"]).arg(command.get_program()).args(command.get_args());
    kase.finish(strace).fails(&["/nowhere/config.json"]);
    let trace = fs::read_to_string(kase.path("trace")).unwrap();
    let again = trace.find("execveat").expect("it is executed again");
    // The first deed of any libc is to set its thread up.
    let start = trace.find("set_tid_address").expect("libc starts in the end");
    assert!(again < start, "{trace}");
}

/// What the kernel says when `file`, held open, is written to after all. `outcome` of the open, of the write.
fn write_through(file: &File) -> String {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened = fs::OpenOptions::new().append(true).open(&path);
    match opened.and_then(|mut file| file.write_all(b"overwritten")) {
        Ok(()) => "written".to_owned(),
        Err(error) => format!("{:?}", nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0))),
    }
}

fn the_file_under_init_cannot_be_written_whoever_holds_it_open(kase: &Kase) {
    if !is_ours() || !crate::common::is_root() {
        skip!("needs kase, and root, to look into init");
    }
    let (binary, id, bundle) = (own_binary(kase), kase.id(), kase.bundle());
    let before = fs::read(&binary).unwrap();
    let bundle = bundle.path("");
    kase.finish(with(kase, &binary, ["create", "-b", bundle.to_str().unwrap(), &id])).succeeded();
    let state: crate::common::Value = serde_json::from_str(kase.call(["state", &id]).stdout()).unwrap();
    let own = format!("/proc/{}/exe", state["pid"]);
    let link = fs::read_link(&own).unwrap();
    let expected = if kase.is_root() { "/kase" } else { "/memfd:kase (deleted)" };
    assert_eq!(link, Path::new(expected));
    let held = File::open(&own).unwrap();
    // Before init has gone it may be "text file busy" as well.
    assert_ne!(write_through(&held), "written");
    kase.call(["start", &id]).succeeded();
    wait_until("the container's end", || !Path::new(&own).exists() || fs::read_link(&own).is_err());
    assert_eq!(write_through(&held), if kase.is_root() { "EROFS" } else { "EPERM" });
    kase.call(["delete", "--force", &id]).succeeded();
    assert!(fs::read(&binary).unwrap() == before, "the binary is what it was");
}

fn a_sealed_kase_is_called_and_started_as_before(kase: &Kase) {
    if !is_ours() {
        skip!("of kase only");
    }
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let (binary, id, directory) = (own_binary(kase), kase.id(), bundle.path(""));
    let mut run = with(kase, &binary, ["run", "-b", directory.to_str().unwrap(), &id]);
    run.env("EMPTY", "").env("SPACED", "a b\nc");
    let expected: Vec<_> =
        [run.get_program()].into_iter().chain(run.get_args()).map(ToOwned::to_owned).collect();
    let running = kase.spawn(run);
    wait_until("the container", || kase.call(["state", &id]).out.contains("running"));
    let file = |name: &str| fs::read(format!("/proc/{}/{name}", running.child.id())).unwrap();
    assert_eq!(file("comm"), b"kase\n");
    let line = file("cmdline");
    let words: Vec<&[u8]> = line.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
    assert_eq!(words, expected.iter().map(|word| word.as_encoded_bytes()).collect::<Vec<_>>());
    let environment = file("environ");
    let variables: Vec<&[u8]> = environment.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
    let count = if kase.is_root() { 5 } else { 6 };
    assert!(variables.contains(&&b"EMPTY="[..]) && variables.contains(&&b"SPACED=a b\nc"[..]));
    assert_eq!(variables.len(), count, "{}", String::from_utf8_lossy(&environment));
    assert_ne!(fs::read_link(format!("/proc/{}/exe", running.child.id())).unwrap(), binary);
    kase.call(["kill", &id, "KILL"]).succeeded();
    running.finish().exited(137);
}

fn the_callers_descriptors_reach_the_container_and_none_of_ours(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "fds"]);
    let (binary, directory) = (own_binary(kase), bundle.path(""));
    let passed = kase.file("passed", "");
    let id = kase.id();
    let run = with(kase, &binary, ["run", "-b", directory.to_str().unwrap(), "--preserve-fds", "1", &id]);
    // Two descriptors: one for the container, one to be closed.
    let mut shell = kase.program("sh");
    shell
        .args(["-c", "exec 3<passed 4<passed; exec \"$@\"", "sh"])
        .arg(run.get_program())
        .args(run.get_args());
    let outcome = kase.finish(shell);
    let numbers: Vec<&str> = outcome.stdout().lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(numbers, ["0", "1", "2", "3"], "{outcome}");
    assert!(outcome.out.contains(&format!("3 {}", passed.display())), "{outcome}");
}

/// `run` below a shell script that changes a mount or pid namespace of its own first.
fn run_after(kase: &Kase, binary: &Path, setup: &str, unshare: &[&str]) -> Outcome {
    let (bundle, id) = (kase.bundle().args(["/probe", "hostname"]), kase.id());
    let run = with(kase, binary, []);
    let script = format!("{setup}; exec setpriv --clear-groups \"$@\"");
    let mut command = Command::new("unshare");
    command.args(unshare).args(["--mount", "sh", "-ec", &script, "sh"]);
    command.args([format!("--reuid={}", kase.identity.uid), format!("--regid={}", kase.identity.gid)]);
    command.arg(run.get_program()).args(run.get_args());
    command.args(words(["run", "-b"], bundle.dir(), [id.as_str()])).current_dir(kase.path(""));
    command.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    kase.finish(command)
}

const OWN_PIDS: [&str; 4] = ["--fork", "--pid", "--kill-child", "--mount-proc"];
const NO_MEMFD: &str = "echo 2 >/proc/sys/vm/memfd_noexec";
const NO_OVERLAY: &str = "mount -t tmpfs none /sys";

fn a_hidden_proc_is_enough(kase: &Kase) {
    needs!("unshare", "setpriv");
    if !crate::common::is_root() {
        skip!("needs root, to mount");
    }
    let outcome = run_after(kase, &own_binary(kase), "mount -o remount,hidepid=2 /proc", &OWN_PIDS);
    assert_eq!(outcome.stdout(), "kase\n");
}

fn without_executable_memfds_the_user_is_told_what_to_do(kase: &Kase) {
    needs!("unshare", "setpriv");
    if !crate::common::is_root() || !Path::new("/proc/sys/vm/memfd_noexec").exists() {
        skip!("needs root, and vm.memfd_noexec");
    }
    let binary = own_binary(kase);
    let outcome = run_after(kase, &binary, NO_MEMFD, &OWN_PIDS);
    outcome.refused(&["CVE-2019-5736", "Permission denied"]);
    assert!(
        outcome.help().contains("vm.memfd_noexec=1") && outcome.help().contains("make install"),
        "{outcome}"
    );
    let allow = "echo 1 >/proc/sys/vm/memfd_noexec";
    assert_eq!(run_after(kase, &binary, allow, &OWN_PIDS).stdout(), "kase\n");
    // The other remedy.
    chown(&binary, Some(0), Some(0)).unwrap();
    assert_eq!(run_after(kase, &binary, NO_MEMFD, &OWN_PIDS).stdout(), "kase\n");
}

fn without_overlayfs_root_uses_a_memfd(kase: &Kase) {
    needs!("strace", "unshare");
    let script = format!("{NO_OVERLAY}; exec \"$@\"");
    assert_eq!(executions_of(kase, &["unshare", "--mount", "sh", "-c", &script, "sh"], &own_binary(kase)), 1);
    let trace = fs::read_to_string(kase.path("trace")).unwrap();
    assert!(trace.contains("AT_EMPTY_PATH"), "{trace}");
}

fn without_either_root_is_told_what_to_do(kase: &Kase) {
    needs!("unshare", "setpriv");
    if !Path::new("/proc/sys/vm/memfd_noexec").exists() {
        skip!("needs vm.memfd_noexec");
    }
    let binary = own_binary(kase);
    assert_eq!(run_after(kase, &binary, NO_MEMFD, &OWN_PIDS).stdout(), "kase\n", "the overlay is enough");
    let outcome = run_after(kase, &binary, &format!("{NO_MEMFD}; {NO_OVERLAY}"), &OWN_PIDS);
    outcome.refused(&["CVE-2019-5736", "Permission denied"]);
    assert!(outcome.help().contains("overlay") && outcome.help().contains("vm.memfd_noexec=1"), "{outcome}");
}

fn a_file_system_without_writing_is_proof_enough(kase: &Kase) {
    needs!("strace", "unshare", "mksquashfs");
    let (binary, mounted) = (own_binary(kase), kase.directory("mounted"));
    kase.finish({
        let mut pack = kase.program("mksquashfs");
        pack.arg(&binary).args(["image", "-quiet"]);
        pack
    })
    .succeeded();
    let script = "mount -o loop image mounted; exec \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-ec", script, "sh"];
    assert_eq!(executions_of(kase, &wrapper, &mounted.join("kase")), 0);
    // A mount that is merely read-only for now is no proof.
    let script = "mount --bind . mounted; mount -o remount,bind,ro mounted; exec \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-ec", script, "sh"];
    assert_eq!(executions_of(kase, &wrapper, &mounted.join("kase")), 1);
}
