//! `--overlay` where the kernel or the file system refuses: fuse-overlayfs answers, and goes with the container.

use crate::common::{Bundle, Kase, Outcome, Surroundings, Value, is_root, json, wait_until, words};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

deeds! { all:
    where_the_kernel_refuses_the_upper_layer_a_program_has_it,
    where_the_kernel_refuses_the_lower_layer_a_program_has_both,
}
deeds! {
    a_file_system_without_attributes_is_given_a_program,
    where_the_kernel_has_an_overlay_no_program_is_started,
    the_program_is_none_of_the_containers_and_ends_with_it,
    the_program_ends_with_an_init_that_is_killed_or_never_started,
    the_program_shows_nothing_of_the_host,
    the_program_begins_without_the_hosts_files,
    a_program_that_is_stopped_goes_on,
    without_the_program_its_package_is_named,
    what_the_program_says_is_told,
    names_may_have_colons_commas_and_backslashes,
}
deeds! { user: a_device_that_is_closed_is_opened }
deeds! { root: a_user_namespace_of_roots_has_one_too }

const PROGRAM: &str = "/usr/bin/fuse-overlayfs";

macro_rules! needs_fuse {
    () => {
        if !is_root() {
            skip!("needs root to break something");
        }
        if !Path::new(PROGRAM).exists() || !Path::new("/dev/fuse").exists() {
            skip!("needs fuse-overlayfs and /dev/fuse");
        }
    };
}

/// A host whose /dev/fuse everybody may open, with a directory `upper` that is no upper layer for the kernel, and
/// with what `more` does.
fn host<'a>(kase: &'a Kase, more: &str) -> Surroundings<'a> {
    let (dir, own) = (kase.directory("host"), &kase.identity);
    Surroundings::mounts(
        kase,
        &format!(
            "set -e; mount -t tmpfs none {0}; cd {0}; mkdir l u w m; mknod fuse c 10 229; chmod 666 fuse
             mount --bind fuse /dev/fuse; mount -t overlay none -o lowerdir=l,upperdir=u,workdir=w m
             mkdir -m 700 m/upper; chown {1}:{2} . m m/upper; {more}
             cd ..; set +e",
            dir.display(),
            own.uid,
            own.gid
        ),
    )
}

fn option() -> &'static str {
    "--overlay=host/m/upper"
}

fn run(kase: &Kase, bundle: &Bundle, option: &str) -> Command {
    kase.command(words(["run", "-b"], bundle.dir(), [option, kase.id().as_str()]))
}

/// Everything that a container changes goes through the overlay.
fn bundle(kase: &Kase) -> Bundle {
    let words = "/probe write /etc/name after -- write /new new -- remove /etc/old -- mkdir /etc/old -- \
                 list /etc/old -- stat /etc/name -- mount /";
    let words: Vec<&str> = words.split(' ').collect();
    crate::overlay::bundle(kase).edit(|spec| spec["process"]["args"] = json!(words))
}

fn changed_by_a_program(outcome: &Outcome, bundle: &Bundle) {
    assert!(outcome.stdout().starts_with("ok\nok\nok\nok\nfile mode=0644 owner=0:0 rdev=0:0\n"), "{outcome}");
    assert!(outcome.out.contains("type=fuse"), "{outcome}");
    assert_eq!(fs::read_to_string(bundle.rootfs("etc/name")).unwrap(), "before\n");
    assert!(bundle.rootfs("etc/old/file").exists() && !bundle.rootfs("new").exists());
}

fn where_the_kernel_refuses_the_upper_layer_a_program_has_it(kase: &Kase) {
    needs_fuse!();
    let bundle = bundle(kase);
    let again = kase.file("again", "");
    let words = run(kase, &bundle, option());
    let read = format!(
        "as \"$@\"; cat host/m/upper/upper/etc/name host/m/upper/upper/new >{}; ls -A host/m/upper >names",
        again.display()
    );
    kase.file("names", "");
    changed_by_a_program(&host(kase, "").run(&read, &words), &bundle);
    assert_eq!(fs::read_to_string(again).unwrap(), "afternew");
    assert_eq!(fs::read_to_string(kase.path("names")).unwrap(), "container\nupper\nwork\n");
}

/// Puts the rootfs on as many overlays as the kernel stacks.
fn stack(bundle: &Bundle) -> String {
    let root = bundle.rootfs("");
    format!("for n in 1 2; do mount -t overlay none -o lowerdir={0}:l {0}; done", root.display())
}

fn where_the_kernel_refuses_the_lower_layer_a_program_has_both(kase: &Kase) {
    needs_fuse!();
    let bundle = bundle(kase);
    changed_by_a_program(&host(kase, &stack(&bundle)).once(&run(kase, &bundle, "--overlay")), &bundle);
}

fn a_file_system_without_attributes_is_given_a_program(kase: &Kase) {
    needs_fuse!();
    let bundle = bundle(kase);
    let ramfs = format!("mkdir r; mount -t ramfs none r; chmod 700 r; chown {} r", kase.identity.uid);
    let words = run(kase, &bundle, "--overlay=host/r");
    changed_by_a_program(&host(kase, &ramfs).once(&words), &bundle);
    // Without one, there is what the kernel can do.
    let alone = format!("{ramfs}; mount --bind /dev/null {PROGRAM}");
    let outcome = host(kase, &alone).once(&words);
    assert!(outcome.stdout().starts_with("ok\nok\nEIO\n"), "{outcome}");
    assert!(outcome.out.contains("type=overlay"), "{outcome}");
    assert!(outcome.err.contains("no extended attributes"), "{outcome}");
}

fn where_the_kernel_has_an_overlay_no_program_is_started(kase: &Kase) {
    needs_fuse!();
    let bundle = bundle(kase);
    let decoy = kase.file("decoy", "#!/bin/sh\necho it has started >&2\n");
    fs::set_permissions(&decoy, fs::Permissions::from_mode(0o755)).unwrap();
    let host = host(kase, &format!("mount --bind {} {PROGRAM}", decoy.display()));
    for (option, kind, started) in
        [("--overlay", "overlay", false), ("--overlay=changes", "overlay", false), (option(), "", true)]
    {
        let outcome = host.once(&run(kase, &bundle, option));
        assert!(kind.is_empty() || outcome.stdout().contains("type=overlay"), "{outcome}");
        assert_eq!(outcome.err.contains("(it has started)"), started, "{outcome}");
    }
}

/// The programs of this test's, by what their environment says.
fn programs(kase: &Kase) -> Vec<PathBuf> {
    let mark = kase.marker();
    let of_ours = |process: &PathBuf| {
        let file = |name: &str| fs::read(process.join(name)).unwrap_or_default();
        file("cmdline").windows(14).any(|part| part == b"fuse-overlayfs")
            && file("environ").split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes.filter(of_ours).collect()
}

/// A detached container in such a host, by its id.
fn detached(kase: &Kase, verb: &[&str]) -> String {
    let bundle = kase.bundle().writable().args(["/probe", "write", "/new", "x", "--", "sleep"]);
    let id = kase.id();
    let before = verb.iter().copied().chain(["-b"]);
    let words = kase.command(words(before, bundle.dir(), [option(), id.as_str()]));
    host(kase, "").once(&words).succeeded();
    id
}

fn state(kase: &Kase, id: &str) -> Value {
    serde_json::from_str(kase.call(["state", id]).stdout()).unwrap()
}

fn the_program_is_none_of_the_containers_and_ends_with_it(kase: &Kase) {
    needs_fuse!();
    let id = detached(kase, &["run", "-d"]);
    let running = programs(kase);
    let [program] = &running[..] else { panic!("{running:?}") };
    let own = |process: &Path, name: &str| fs::read_link(process.join("ns").join(name)).unwrap();
    let init = PathBuf::from(format!("/proc/{}", state(kase, &id)["pid"]));
    assert_eq!(own(program, "pid"), own(Path::new("/proc/self"), "pid"));
    assert_eq!(own(program, "user"), own(&init, "user"));
    assert_ne!(own(program, "mnt"), own(&init, "mnt"));
    let cgroup = |process: &Path| fs::read_to_string(process.join("cgroup")).unwrap();
    assert!(!cgroup(program).contains(&id), "{}", cgroup(program));
    assert!(!kase.call(["ps", &id]).stdout().contains("fuse-overlayfs"));
    let name = |fd: PathBuf| match fs::metadata(&fd) {
        // Their mounts have gone from the program's.
        Ok(found) if found.file_type().is_char_device() => format!("device {:#x}", found.rdev()),
        _ => fs::read_link(fd).unwrap().display().to_string(),
    };
    let mut open: Vec<String> =
        fs::read_dir(program.join("fd")).unwrap().map(|fd| name(fd.unwrap().path())).collect();
    // Pipes of its own have both ends here, and the layers are in its own mounts.
    let ends = open.clone();
    open.retain(|file| ends.iter().filter(|end| *end == file).count() != 2 || !file.starts_with("pipe:"));
    open.retain(|file| {
        !file.starts_with("/sys/") && !file.starts_with("/lower") && !file.starts_with("/changes")
    });
    open.sort();
    open.dedup();
    let log = kase.state_dir().join(&id).join("fuse-overlayfs.log");
    let (null, fuse) = ("device 0x103", "device 0xae5");
    assert_eq!(open, [log.to_str().unwrap(), null, fuse], "nothing of kase's or its caller's");
    // By the container's program, which goes on when `run` has returned.
    let written = || kase.call(["exec", &id, "/probe", "read", "/new"]).stdout() == "x\n";
    wait_until("the program's file to be there", written);
    assert_eq!(kase.call(["exec", &id, "/probe", "write", "/more", "y"]).stdout(), "ok\n");
    kase.call(["kill", &id, "KILL"]).succeeded();
    wait_until("the program to end", || programs(kase).is_empty());
    kase.call(["delete", "--force", &id]).succeeded();
}

fn the_program_ends_with_an_init_that_is_killed_or_never_started(kase: &Kase) {
    needs_fuse!();
    let id = detached(kase, &["create"]);
    assert_eq!(programs(kase).len(), 1);
    kase.call(["delete", "--force", &id]).succeeded();
    wait_until("the program to end", || programs(kase).is_empty());
    // What is killed by others leaves a container that can be deleted.
    let id = detached(kase, &["run", "-d"]);
    let init = state(kase, &id)["pid"].as_i64().unwrap();
    let kill = |pid: &str| assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    kill(programs(kase)[0].file_name().unwrap().to_str().unwrap());
    wait_until("the program to end", || programs(kase).is_empty());
    kill(&init.to_string());
    wait_until("init to end", || state(kase, &id)["status"] == "stopped");
    kase.call(["delete", &id]).succeeded();
    // A creation that fails later.
    let bundle = kase.bundle().args(["/no/such/program"]);
    host(kase, "").once(&run(kase, &bundle, option())).refused(&["/no/such/program"]);
    wait_until("the program to end", || programs(kase).is_empty());
}

/// To a container that sees it, and may trace it: the pid namespace is the host's.
fn the_program_shows_nothing_of_the_host(kase: &Kase) {
    needs_fuse!();
    for root in [None, Some("--no-pivot")] {
        shows_nothing_of_the_host(kase, root);
    }
}

fn shows_nothing_of_the_host(kase: &Kase, root: Option<&str>) {
    let id = kase.id();
    let bundle = kase.bundle().writable().without_namespace("pid").args(["/probe", "sleep"]);
    let more = [option(), id.as_str()];
    let words = kase.command(words(["run", "-d", "-b"], bundle.dir(), root.into_iter().chain(more)));
    host(kase, "").once(&words).succeeded();
    let running = programs(kase);
    let [program] = &running[..] else { panic!("{running:?}") };
    let list = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(program.join(path)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    // What it has loaded was in the others.
    let is_filled = |name: &String| {
        fs::read_dir(program.join("root").join(name)).is_ok_and(|mut entries| entries.next().is_some())
    };
    let filled: Vec<_> = list("root").into_iter().filter(is_filled).collect();
    assert_eq!(filled, ["changes", "etc", "lower", "proc"]);
    assert_eq!(list("root/etc"), ["ld.so.cache"]);
    assert_eq!(fs::read(program.join("root/etc/ld.so.cache")).unwrap(), b"");
    assert_eq!(list("root/proc"), ["self", "sys"]);
    assert_eq!(fs::read(program.join("root/proc/sys/kernel/overflowuid")).unwrap(), b"");
    assert_eq!(list("cwd"), list("root"));
    let own = |process: &Path, name: &str| fs::read_link(process.join("ns").join(name)).unwrap();
    for name in ["net", "ipc", "uts", "mnt"] {
        assert_ne!(own(program, name), own(Path::new("/proc/self"), name), "{name}");
    }
    let mounts = fs::read_to_string(program.join("mountinfo")).unwrap();
    let mut points: Vec<_> = mounts.lines().map(|line| line.split(' ').nth(4).unwrap()).collect();
    points.sort_unstable();
    assert_eq!(points, ["/", "/changes", "/lower", "/proc/self"]);
    // It finds what it needs all the same: attributes and new files, by way of /proc/self.
    let exec = ["exec", &id, "/probe", "write", "/new", "x", "--", "mkdir", "/made", "--", "list", "/made"];
    assert_eq!(kase.call(exec).stdout(), "ok\nok\n");
    kase.call(["delete", "--force", &id]).succeeded();
    wait_until("the program to end", || programs(kase).is_empty());
}

/// A pod's other containers may be there before it has loaded what it needs.
fn the_program_begins_without_the_hosts_files(kase: &Kase) {
    needs_fuse!();
    let decoy = kase.file("decoy", "#!/bin/sh\ncd /; [ -w usr ] && echo writable; echo * etc/*\n");
    fs::set_permissions(&decoy, fs::Permissions::from_mode(0o755)).unwrap();
    let host = host(kase, &format!("mount --bind {} {PROGRAM}", decoy.display()));
    let bundle = bundle(kase);
    for root in [None, Some("--no-pivot")] {
        let (id, more) = (kase.id(), root.into_iter().chain([option()]));
        let words = words(["run", "-b"], bundle.dir(), more.chain([id.as_str()]));
        let outcome = host.once(&kase.command(words));
        outcome.refused(&["fuse-overlayfs could not help", "(bin "]);
        let seen = outcome.err.split_once("(bin ").unwrap().1;
        let names = seen.split(')').next().unwrap().split_whitespace();
        let known =
            "bin changes etc etc/ld.so.cache gnu lib lib32 lib64 libx32 lower nix proc program sbin usr";
        for name in names.filter(|name| name.chars().next().is_some_and(char::is_alphanumeric)) {
            assert!(known.split(' ').any(|known| known == name), "{name}: {outcome}");
        }
    }
}

fn a_program_that_is_stopped_goes_on(kase: &Kase) {
    needs_fuse!();
    let id = detached(kase, &["run", "-d"]);
    let program = programs(kase)[0].clone();
    let pid = program.file_name().unwrap().to_str().unwrap().to_owned();
    wait_until("the file", || kase.call(["exec", &id, "/probe", "read", "/new"]).stdout() == "x\n");
    for _ in 0..3 {
        assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
        assert_eq!(kase.call(["exec", &id, "/probe", "read", "/new"]).stdout(), "x\n");
    }
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    kase.call(["delete", "--force", &id]).succeeded();
    wait_until("the program to end", || programs(kase).is_empty());
}

fn without_the_program_its_package_is_named(kase: &Kase) {
    needs_fuse!();
    let bundle = bundle(kase);
    let hide = format!("mount --bind /dev/null {PROGRAM}");
    let outcome = host(kase, &hide).once(&run(kase, &bundle, option()));
    outcome.refused(&["lay an overlay", "Invalid argument", "fuse-overlayfs is not installed"]);
    if fs::read_to_string("/etc/os-release").is_ok_and(|text| text.contains("ID=debian")) {
        assert_eq!(outcome.help(), "run as root: apt install fuse-overlayfs", "{outcome}");
    }
    // What the package would do.
    let install = format!("{hide}; umount {PROGRAM}");
    changed_by_a_program(&host(kase, &install).once(&run(kase, &bundle, option())), &bundle);
    let both = format!("{hide}; chmod 0 fuse; mount --bind /dev/null /dev/fuse; chmod 600 /dev/fuse");
    if !kase.is_root() {
        let both = both.split("; mount --bind /dev/null /dev/fuse").next().unwrap();
        let outcome = host(kase, both).once(&run(kase, &bundle, option()));
        outcome.refused(&["fuse-overlayfs is not installed, and /dev/fuse cannot be opened"]);
        assert!(outcome.help().ends_with("chmod 666 /dev/fuse"), "{outcome}");
    }
}

fn a_device_that_is_closed_is_opened(kase: &Kase) {
    needs_fuse!();
    let bundle = bundle(kase);
    let host = host(kase, "chmod 600 fuse");
    let words = run(kase, &bundle, option());
    host.once(&words).refused(&["/dev/fuse cannot be opened: Permission denied"]);
    let (outcome, followed) = host.followed(&words);
    assert_eq!(followed, "chmod 666 /dev/fuse\n", "{outcome}");
    changed_by_a_program(&outcome, &bundle);
}

fn what_the_program_says_is_told(kase: &Kase) {
    needs_fuse!();
    let decoy = kase.file("decoy", "#!/bin/sh\necho it is too early >&2; exit 3\n");
    fs::set_permissions(&decoy, fs::Permissions::from_mode(0o755)).unwrap();
    let host = host(kase, &format!("mount --bind {} {PROGRAM}", decoy.display()));
    host.once(&run(kase, &bundle(kase), option())).refused(&[
        "lay an overlay",
        "Invalid argument",
        "fuse-overlayfs could not help",
        "(it is too early)",
    ]);
}

fn names_may_have_colons_commas_and_backslashes(kase: &Kase) {
    needs_fuse!();
    let bundle = bundle(kase);
    let strange = kase.path("a:b,c\\d e=\"f");
    fs::rename(bundle.dir(), &strange).unwrap();
    let words = kase.command(words(["run", "-b"], &strange, ["--overlay=host/m/upper/g:h,i\\j", &kase.id()]));
    let outcome = host(kase, "").once(&words);
    assert!(outcome.stdout().contains("type=fuse"), "{outcome}");
    assert!(!strange.join("rootfs/new").exists());
}

/// Bundle and directory are in one that only the host's root may enter, and files of the host's root are nobody's.
fn a_user_namespace_of_roots_has_one_too(kase: &Kase) {
    needs_fuse!();
    let maps = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    let bundle = bundle(kase).namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps;
    });
    let bundle = bundle.args(["/probe", "write", "/new", "x", "--", "stat", "/new", "--", "mount", "/"]);
    let by_a_program = |outcome: &Outcome| {
        assert!(
            outcome.stdout().starts_with("ok\nfile mode=0644 owner=0:0 rdev=0:0\ntype=fuse"),
            "{outcome}"
        );
        assert!(!bundle.rootfs("new").exists());
    };
    let closed = format!("chmod 700 {}", kase.directory("host").display());
    let stacked = format!("{}; {closed}", stack(&bundle));
    by_a_program(&host(kase, &stacked).once(&run(kase, &bundle, "--overlay")));
    let host = host(kase, &closed);
    let words = run(kase, &bundle, option());
    host.once(&words).refused(&["may not enter", "host/m/upper: Permission denied"]);
    let owner = kase.file("owner", "");
    let script = format!(
        "as \"$@\" 2>err; follow err; as \"$@\"; code=$?; stat -c %u:%g host/m/upper/upper/new >{}; exit $code",
        owner.display()
    );
    by_a_program(&host.run(&script, &words));
    assert_eq!(fs::read_to_string(owner).unwrap(), "200000:200000\n");
}
