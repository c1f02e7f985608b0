//! `--overlay`: what the container changes goes elsewhere, and the bundle stays as it is.

use crate::common::{Bundle, Container, Kase, has, is_root, json, value, words};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

deeds! { all: what_changes_in_memory_is_gone_with_the_container, what_changes_in_a_directory_is_there_again }
deeds! {
    containers_share_a_bundle,
    the_root_is_what_it_is_without,
    mount_points_are_not_made_in_the_bundle,
    a_read_only_root_stays_one,
    an_annotation_asks_for_it_and_the_option_counts_more,
    names_may_have_colons_commas_and_backslashes,
    hooks_see_the_overlay_and_the_state_the_rootfs,
    an_empty_name_is_refused,
}
deeds! { root:
    a_user_namespace_of_roots_has_one_too,
    in_a_joined_mount_namespace_it_is_refused,
    a_shared_root_does_not_show_on_the_host,
    what_is_forbidden_on_the_rootfs_stays_so,
    an_idmapped_mount_may_lie_in_it,
}

/// Every file below, with all that a container could change.
fn sum(directory: &Path) -> String {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut text = String::new();
    for path in entries {
        let data = fs::symlink_metadata(&path).unwrap();
        let content = match () {
            () if data.is_file() => fs::read(&path).unwrap(),
            () if data.is_symlink() => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
            () => Vec::new(),
        };
        let hash = content.iter().fold(5381_u64, |sum, byte| sum.wrapping_mul(33) ^ u64::from(*byte));
        let of = (data.mode(), data.uid(), data.gid(), data.mtime_nsec(), data.ctime_nsec(), data.nlink());
        text.push_str(&format!("{} {of:?} {hash}\n", path.display()));
        if data.is_dir() {
            text.push_str(&sum(&path));
        }
    }
    text
}

pub fn bundle(kase: &Kase) -> Bundle {
    let bundle =
        kase.bundle().directory("etc/old").file("etc/old/file", "old\n").file("etc/name", "before\n");
    bundle.writable()
}

/// Every kind of change.
const CHANGES: [&str; 26] = [
    "/probe",
    "write",
    "/etc/name",
    "after",
    "--",
    "write",
    "/new",
    "new",
    "--",
    "remove",
    "/etc/old",
    "--",
    "mkdir",
    "/etc/old",
    "--",
    "list",
    "/etc/old",
    "--",
    "remove",
    "/tmp",
    "--",
    "read",
    "/etc/name",
    "--",
    "list",
    "/tmp",
];
const CHANGED: &str = "ok\nok\nok\nok\nok\nafter\nENOENT\n";

fn what_changes_in_memory_is_gone_with_the_container(kase: &Kase) {
    let bundle = bundle(kase).args(CHANGES);
    let before = sum(bundle.dir());
    for _ in 0..2 {
        assert_eq!(kase.run_with(&bundle, ["--overlay"]).stdout(), CHANGED);
        assert_eq!(sum(bundle.dir()), before);
    }
    assert_eq!(kase.run(&bundle).stdout(), CHANGED);
    assert_ne!(sum(bundle.dir()), before, "the sum tells");
}

fn what_changes_in_a_directory_is_there_again(kase: &Kase) {
    let bundle = bundle(kase).args(CHANGES);
    let before = sum(bundle.dir());
    let option = format!("--overlay={}", kase.path("changes").display());
    assert_eq!(kase.run_with(&bundle, [&option]).stdout(), CHANGED);
    assert_eq!(sum(bundle.dir()), before);
    let look = [
        "/probe",
        "read",
        "/etc/name",
        "--",
        "read",
        "/new",
        "--",
        "list",
        "/etc/old",
        "--",
        "stat",
        "/tmp",
        "--",
        "write",
        "/etc/name",
        "again",
        "--",
        "read",
        "/etc/name",
    ];
    let bundle = bundle.args(look);
    let before = sum(bundle.dir());
    assert_eq!(kase.run_with(&bundle, [&option]).stdout(), "after\nnew\nENOENT\nok\nagain\n");
    assert_eq!(sum(bundle.dir()), before);
    assert_eq!(fs::read_to_string(kase.path("changes/upper/new")).unwrap(), "new");
    assert_eq!(fs::metadata(kase.path("changes")).unwrap().mode() & 0o777, 0o700);
    // A relative one is the caller's.
    let relative = kase.run_with(&bundle, ["--overlay=changes"]);
    assert!(relative.stdout().starts_with("again\nnew\n"), "{relative}");
}

fn containers_share_a_bundle(kase: &Kase) {
    let bundle = bundle(kase).args(["/probe", "sleep"]);
    let before = sum(bundle.dir());
    let containers: Vec<Container<'_>> =
        (0..3).map(|_| Container::create(kase, &bundle, &["--overlay"])).collect();
    for (index, container) in containers.iter().enumerate() {
        container.start();
        let text = index.to_string();
        container.call("exec", ["/probe", "write", "/etc/name", &text]).succeeded();
    }
    for (index, container) in containers.iter().enumerate() {
        let read = container.call("exec", ["/probe", "read", "/etc/name"]);
        assert_eq!(read.stdout(), format!("{index}\n"));
    }
    assert_eq!(sum(bundle.dir()), before);
}

fn the_root_is_what_it_is_without(kase: &Kase) {
    let bundle = bundle(kase).args(["/probe", "stat", "/", "--", "stat", "/probe", "--", "mount", "/"]);
    fs::set_permissions(bundle.rootfs(""), fs::Permissions::from_mode(0o711)).unwrap();
    let without = kase.run(&bundle).stdout().to_owned();
    let option = format!("--overlay={}", kase.path("changes").display());
    for option in ["--overlay", &option] {
        let with = kase.run_with(&bundle, [option]).stdout().to_owned();
        assert_eq!(with.lines().take(2).collect::<Vec<_>>(), without.lines().take(2).collect::<Vec<_>>());
        assert_eq!(value(&with, "type"), "overlay", "{with}");
        assert!(!with.contains(bundle.dir().to_str().unwrap()), "tells nothing of the host: {with}");
    }
}

fn mount_points_are_not_made_in_the_bundle(kase: &Kase) {
    let bundle = kase.bundle().mount(json!({"destination": "/a/b/c", "type": "tmpfs", "source": "tmpfs"}));
    let before = sum(bundle.dir());
    let bundle = bundle.args(["/probe", "write", "/a/b/c/file", "x"]);
    let sums = sum(&bundle.rootfs(""));
    assert_eq!(kase.run_with(&bundle, ["--overlay"]).stdout(), "ok\n");
    assert_eq!(sum(&bundle.rootfs("")), sums);
    assert!(!bundle.rootfs("a").exists() && !before.is_empty());
}

fn a_read_only_root_stays_one(kase: &Kase) {
    let bundle =
        kase.bundle().args(["/probe", "write", "/etc/file", "x", "--", "write", "/dev/shm/file", "x"]);
    assert_eq!(kase.run_with(&bundle, ["--overlay"]).stdout(), "EROFS\nok\n");
}

fn an_annotation_asks_for_it_and_the_option_counts_more(kase: &Kase) {
    let annotated = |value: &str| {
        bundle(kase)
            .args(["/probe", "write", "/new", "x"])
            .edit(|spec| spec["annotations"] = json!({"kase.overlay": value}))
    };
    let bundle = annotated("tmpfs");
    assert_eq!(kase.run(&bundle).stdout(), "ok\n");
    assert!(!bundle.rootfs("new").exists());
    let bundle = annotated("changes");
    assert_eq!(kase.run(&bundle).stdout(), "ok\n");
    assert!(bundle.path("changes/upper/new").exists() && !bundle.rootfs("new").exists());
    fs::remove_file(bundle.path("changes/upper/new")).unwrap();
    assert_eq!(kase.run_with(&bundle, ["--overlay"]).stdout(), "ok\n");
    assert!(!bundle.path("changes/upper/new").exists());
}

fn names_may_have_colons_commas_and_backslashes(kase: &Kase) {
    let odd = kase.directory("odd");
    let bundle = bundle(kase).args(CHANGES);
    let strange = odd.join("a:b,c\\d e=\"f");
    fs::rename(bundle.dir(), &strange).unwrap();
    for upper in ["--overlay".to_owned(), format!("--overlay={}", odd.join("g:h,i\\j").display())] {
        let id = kase.id();
        assert_eq!(
            kase.call(words(["run", "-b"], &strange, [upper.as_str(), id.as_str()])).stdout(),
            CHANGED
        );
    }
    assert!(odd.join("g:h,i\\j/upper/new").exists() && !strange.join("rootfs/new").exists());
}

fn hooks_see_the_overlay_and_the_state_the_rootfs(kase: &Kase) {
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo hooked > etc/hooked"]}]);
    let bundle = bundle(kase).args(["/probe", "read", "/etc/hooked"]);
    let bundle = bundle.edit(|spec| spec["hooks"]["createContainer"] = hook);
    let before = sum(bundle.dir());
    let container = Container::create(kase, &bundle, &["--overlay"]);
    assert_eq!(container.state()["rootfs"], bundle.rootfs("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(container.output(), "hooked\n");
    assert_eq!(sum(bundle.dir()), before);
}

/// The bundle and the directory are in one that only the host's root may enter.
fn a_user_namespace_of_roots_has_one_too(kase: &Kase) {
    let maps = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    let bundle = bundle(kase).namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps;
    });
    let bundle = bundle.args(["/probe", "write", "/new", "x", "--", "stat", "/new", "--", "read", "/new"]);
    let secret = kase.directory("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    let option = format!("--overlay={}", secret.display());
    for option in ["--overlay", &option] {
        let outcome = kase.run_with(&bundle, [option]);
        assert_eq!(outcome.stdout(), "ok\nfile mode=0644 owner=0:0 rdev=0:0\nx\n");
    }
    assert_eq!(fs::metadata(secret.join("upper/new")).unwrap().uid(), 200_000);
    assert!(!bundle.rootfs("new").exists());
}

fn in_a_joined_mount_namespace_it_is_refused(kase: &Kase) {
    assert!(is_root());
    let joined = json!({"type": "mount", "path": "/proc/1/ns/mnt"});
    let bundle = kase.bundle().without_namespace("mount").namespace(joined);
    kase.run_with(&bundle, ["--overlay"]).refused(&["--overlay", "mount namespace"]);
}

fn a_shared_root_does_not_show_on_the_host(kase: &Kase) {
    let bundle = bundle(kase).args(["/probe", "mount", "/", "--", "sleep"]);
    let bundle = bundle.edit(|spec| spec["linux"]["rootfsPropagation"] = json!("shared"));
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let container = Container::create(kase, &bundle, &["--overlay"]);
    container.start();
    container.says("overlay");
    assert!(container.stdout().contains("shared:"), "{}", container.stdout());
    assert!(!mounts().contains(bundle.dir().to_str().unwrap()));
    let outcome = kase.run_with(&bundle.args(["/probe", "mount", "/"]), ["--overlay"]);
    assert!(outcome.err.contains("linux.rootfsPropagation: with --overlay"), "{outcome}");
}

fn what_is_forbidden_on_the_rootfs_stays_so(kase: &Kase) {
    // A mount of its own, made in a mount namespace that goes with the command.
    let bundle = bundle(kase).args(["/probe", "mount", "/"]);
    let id = kase.id();
    let run = kase.command(words(["run", "-b"], bundle.dir(), ["--overlay", id.as_str()]));
    let mut command = kase.program("unshare");
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,nosuid,nodev \"$0\" && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(bundle.rootfs(""));
    command.arg(run.get_program()).args(run.get_args());
    let outcome = kase.finish(command);
    let options = value(outcome.stdout(), "options");
    assert!(has(options, "nosuid") && has(options, "nodev") && !has(options, "noexec"), "{outcome}");
}

fn an_idmapped_mount_may_lie_in_it(kase: &Kase) {
    let source = kase.directory("source");
    fs::write(source.join("file"), "").unwrap();
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    let bundle = bundle(kase).mount(json!({
        "destination": "/data", "type": "bind", "source": source, "options": ["bind"],
        "uidMappings": maps, "gidMappings": maps,
    }));
    let outcome = kase.run_with(&bundle.args(["/probe", "stat", "/data/file"]), ["--overlay"]);
    assert_eq!(value(outcome.stdout(), "owner"), "1000:1000");
}

fn an_empty_name_is_refused(kase: &Kase) {
    let bundle = bundle(kase).args(["/probe", "write", "/new", "x"]);
    kase.run_with(&bundle, ["--overlay="]).refused(&["--overlay: is empty"]);
    assert_eq!(kase.run_with(&bundle, ["--overlay=tmpfs"]).stdout(), "ok\n");
    assert_eq!(kase.run_with(&bundle, ["--overlay=./tmpfs"]).stdout(), "ok\n");
    assert!(kase.path("tmpfs/upper/new").exists() && !bundle.rootfs("new").exists());
    let bundle = bundle.edit(|spec| spec["annotations"] = json!({"kase.overlay": ""}));
    kase.run(&bundle).refused(&["annotations[\"kase.overlay\"]: is empty"]);
}
