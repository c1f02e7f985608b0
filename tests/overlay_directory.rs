//! `--overlay=DIR`: whose the directory has to be, and that one container has it at a time.

use crate::common::{Container, Kase, programs, words};
use crate::overlay::bundle;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

deeds! {
    two_containers_at_once_do_not_share_a_directory,
    nor_do_those_of_two_roots,
    the_same_root_by_another_way_is_the_same,
    a_directory_that_is_another_by_the_time_it_is_used_is_refused,
    a_directory_that_others_may_write_to_is_refused,
    a_directory_that_others_may_enter_is_warned_of,
    a_directory_in_the_rootfs_is_refused,
    a_directory_that_cannot_be_made_is_refused,
    a_file_of_the_users_is_not_written_over,
}
deeds! { root: a_directory_of_another_user_is_refused }

fn two_containers_at_once_do_not_share_a_directory(kase: &Kase) {
    let bundle = bundle(kase).args(["/probe", "sleep"]);
    let option = format!("--overlay={}", kase.path("changes").display());
    let first = Container::create(kase, &bundle, &[&option]);
    symlink(kase.path("changes"), kase.path("link")).unwrap();
    let other = format!("--overlay={}", kase.path("link").display());
    for option in [&option, &other] {
        kase.run_with(&bundle, [option]).refused(&["--overlay", "in use by container", &first.id]);
    }
    first.start();
    kase.run_with(&bundle, [&option]).refused(&["--overlay", "in use by container", &first.id]);
    first.call("kill", ["KILL"]).succeeded();
    first.becomes("stopped");
    Container::create(kase, &bundle, &[&option]).call("delete", ["--force"]).succeeded();
}

/// What it had before is not taken for somebody else's.
fn the_same_root_by_another_way_is_the_same(kase: &Kase) {
    let bundle = bundle(kase);
    let option = format!("--overlay={}", kase.path("changes").display());
    kase.directory("real/root");
    symlink(kase.path("real"), kase.path("way")).unwrap();
    for root in ["real/root", "way/root"] {
        let mut command = kase.program(programs::kase().to_str().unwrap());
        command
            .arg("--root")
            .arg(kase.path(root))
            .args(["run", "-b"])
            .arg(bundle.dir())
            .args([&option, "same"]);
        kase.finish(command).succeeded();
    }
}

/// Nor while one of them is still being made.
fn nor_do_those_of_two_roots(kase: &Kase) {
    let sleeping = bundle(kase).args(["/probe", "sleep"]);
    let option = format!("--overlay={}", kase.path("changes").display());
    let first = Container::create(kase, &sleeping, &[&option]);
    let root = kase.directory("other");
    let other = |verb: &[&str], id: &str| {
        let mut command = kase.program(programs::kase().to_str().unwrap());
        command.arg("--root").arg(&root).args(verb).arg(id);
        kase.finish(command)
    };
    let bundle = bundle(kase);
    let run = ["run", "-b", bundle.dir().to_str().unwrap(), &option];
    other(&run, "second").refused(&["--overlay", "in use by container", &first.id]);
    first.call("delete", ["--force"]).succeeded();
    other(&run, "second").succeeded();
    let create = ["create", "-b", sleeping.dir().to_str().unwrap(), &option];
    other(&create, "second").succeeded();
    let third = kase.run_with(&bundle, [&option]);
    third.refused(&["in use by container \"second\"", root.to_str().unwrap()]);
    other(&["delete", "--force"], "second").succeeded();
    // Whoever is at it holds the directory's lock.
    let making = fs::File::open(kase.path("changes")).unwrap();
    making.lock().unwrap();
    let being_made = ["--overlay", "is in use by a container that is being created"];
    kase.run_with(&bundle, [&option]).refused(&being_made);
    fs::write(kase.path("changes/container"), "").unwrap();
    kase.run_with(&bundle, [&option]).refused(&being_made);
    drop(making);
    kase.run_with(&bundle, [&option]).succeeded();
    assert_eq!(fs::metadata(kase.path("changes/container")).unwrap().mode() & 0o777, 0o600);
}

/// kase stands still when the directory is checked, and another comes to its name.
fn a_directory_that_is_another_by_the_time_it_is_used_is_refused(kase: &Kase) {
    let bundle = bundle(kase).args(["/probe", "write", "/new", "x"]);
    let option = format!("--overlay={}", kase.path("changes").display());
    let id = kase.id();
    let run = kase.command(words(["run", "-b"], bundle.dir(), [option.as_str(), id.as_str()]));
    // The clone comes after the check, and what is mounted after the clone.
    let running = kase.held("before", &[libc::SYS_clone3], None, &run);
    assert!(kase.path("changes/work").exists());
    fs::rename(kase.path("changes"), kase.path("checked")).unwrap();
    for name in ["changes", "changes/upper", "changes/work"] {
        fs::set_permissions(kase.directory(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    running.goes_on().finish().refused(&["open the overlay's directory", "it is not the directory any more"]);
    assert!(!kase.path("changes/upper/new").exists());
}

fn a_directory_that_others_may_write_to_is_refused(kase: &Kase) {
    let changes = kase.directory("changes");
    let option = format!("--overlay={}", changes.display());
    for mode in [0o777, 0o1777, 0o770] {
        fs::set_permissions(&changes, fs::Permissions::from_mode(mode)).unwrap();
        kase.run_with(&bundle(kase), [&option]).refused(&["--overlay", "others may change what is in it"]);
        assert_eq!(fs::read_dir(&changes).unwrap().count(), 0);
    }
    // Nobody comes to it, or anybody.
    fs::set_permissions(&changes, fs::Permissions::from_mode(0o700)).unwrap();
    let upper = kase.directory("changes/upper");
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o777)).unwrap();
    kase.run_with(&bundle(kase), [&option]).succeeded();
    fs::set_permissions(&changes, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = kase.run_with(&bundle(kase), [&option]);
    assert!(outcome.code == 1 && outcome.err.contains("changes/upper is user"), "{outcome}");
}

fn a_directory_that_others_may_enter_is_warned_of(kase: &Kase) {
    let changes = kase.directory("changes");
    fs::set_permissions(&changes, fs::Permissions::from_mode(0o755)).unwrap();
    let option = format!("--overlay={}", changes.display());
    let outcome = kase.run_with(&bundle(kase), [&option]);
    outcome.succeeded();
    assert!(outcome.err.contains("other users may enter"), "{outcome}");
    fs::set_permissions(&changes, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(!kase.run_with(&bundle(kase), [&option]).err.contains("other users"));
}

fn a_directory_of_another_user_is_refused(kase: &Kase) {
    let changes = kase.directory("changes");
    fs::set_permissions(&changes, fs::Permissions::from_mode(0o700)).unwrap();
    let option = format!("--overlay={}", changes.display());
    chown(&changes, Some(12345), None).unwrap();
    kase.run_with(&bundle(kase), [&option]).refused(&["--overlay", "is user 12345's"]);
    chown(&changes, Some(0), None).unwrap();
    chown(kase.directory("changes/work"), Some(12345), None).unwrap();
    kase.run_with(&bundle(kase), [&option]).refused(&["--overlay", "changes/work is user 12345's"]);
}

fn a_directory_in_the_rootfs_is_refused(kase: &Kase) {
    let bundle = bundle(kase);
    let option = |path: &Path| format!("--overlay={}", path.display());
    for inside in [bundle.rootfs(""), bundle.rootfs("etc"), bundle.rootfs("etc/new")] {
        kase.run_with(&bundle, [&option(&inside)]).refused(&["--overlay", "in each other"]);
    }
    symlink(bundle.rootfs("etc"), kase.path("link")).unwrap();
    kase.run_with(&bundle, [&option(&kase.path("link"))]).refused(&["in each other"]);
    assert!(!bundle.rootfs("etc/upper").exists());
    // One around it holds its layers beside the rootfs.
    kase.run_with(&bundle, [&option(bundle.dir())]).succeeded();
}

fn a_directory_that_cannot_be_made_is_refused(kase: &Kase) {
    let bundle = bundle(kase);
    let missing = format!("--overlay={}", kase.path("no/such").display());
    kase.run_with(&bundle, [&missing]).refused(&["make the overlay's directory", "no/such"]);
    let file = format!("--overlay={}", kase.file("file", "").display());
    kase.run_with(&bundle, [&file]).refused(&["make the overlay's directory"]);
}

/// With the name of the one that says who uses the directory.
fn a_file_of_the_users_is_not_written_over(kase: &Kase) {
    let bundle = bundle(kase);
    fs::set_permissions(kase.directory("changes"), fs::Permissions::from_mode(0o700)).unwrap();
    let file = kase.path("changes/container");
    let refused = || {
        let said = ["--overlay", "changes/container", "is there already and none of kase's"];
        kase.run_with(&bundle, ["--overlay=changes"]).refused(&said);
        kase.run(&bundle_of_annotation(kase)).refused(&said);
    };
    for text in ["mine", "/a/path\n", "/etc/a b", "two\nlines", "etc/x"] {
        kase.file("changes/container", text);
        refused();
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    kase.identity.own(&file);
    refused();
    fs::remove_file(&file).unwrap();
    kase.run_with(&bundle, ["--overlay=changes"]).succeeded();
}

fn bundle_of_annotation(kase: &Kase) -> crate::common::Bundle {
    let changes = kase.path("changes");
    bundle(kase).edit(|spec| spec["annotations"]["kase.overlay"] = crate::common::json!(changes))
}
