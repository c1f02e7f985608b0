//! An image has a hostile tree where a tmpfs begins with a copy of what it covers (`tmpcopyup`), or a sibling changes the
//! tree while it is copied: kase must neither wait for what it copies, nor follow it out of the tree, nor fall over it,
//! nor give away what the container has no right to.

use super::attempts;
use crate::common::{Bundle, Container, Kase, is_root, json, patience, value};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

deeds! {
    what_is_no_file_is_copied_without_being_opened,
    symlinks_are_copied_and_not_followed,
    a_tree_that_is_swapped_while_it_is_copied_shows_nothing_of_the_host,
    a_file_that_is_swapped_while_it_is_copied_shows_nothing_of_the_host,
    a_tree_of_any_depth_ends_in_a_copy_or_an_error,
    a_file_of_any_size_ends_in_an_error,
    names_of_any_bytes_are_copied,
}
deeds! { user: a_program_of_another_owner_becomes_no_program_of_ours }
deeds! { bare: a_program_of_an_unmapped_owner_becomes_no_program_of_ours }

/// A bundle with a tmpfs over this directory of its image, that begins with a copy.
fn copied(bundle: Bundle, directory: &str) -> Bundle {
    bundle.mount(json!({
        "destination": directory, "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=4m", "nr_inodes=8k"],
    }))
}

fn what_is_no_file_is_copied_without_being_opened(kase: &Kase) {
    let bundle = kase.bundle().directory("tree");
    let tree = bundle.rootfs("tree");
    nix::unistd::mkfifo(&tree.join("fifo"), Mode::S_IRUSR).unwrap();
    drop(std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap());
    if kase.is_root() {
        mknod(&tree.join("device"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5)).unwrap();
        // The file of a tape, which is wound when it is opened, and of a watchdog, which then has to be fed.
        mknod(&tree.join("tape"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(9, 0)).unwrap();
        mknod(&tree.join("disk"), SFlag::S_IFBLK, Mode::S_IRUSR, makedev(1, 0)).unwrap();
    }
    for entry in fs::read_dir(&tree).unwrap() {
        kase.identity.own(&entry.unwrap().path());
    }
    let seen = kase.sees(copied(bundle, "/tree"), ["stat", "/tree/fifo", "--", "stat", "/tree/socket"]);
    assert!(seen.starts_with("fifo ") && seen.contains("\nsocket "), "{seen}");
}

fn symlinks_are_copied_and_not_followed(kase: &Kase) {
    let secret = kase.file("secret", "of the host");
    let secret = secret.to_str().unwrap();
    let bundle = kase
        .bundle()
        .directory("tree")
        .link("tree/file", secret)
        .link("tree/up", &format!("../../..{secret}"));
    let bundle =
        bundle.link("tree/root", "/").link("tree/loop", "loop").link("tree/magic", "/proc/self/root");
    let words = ["readlink", "/tree/file", "--", "readlink", "/tree/root", "--", "readlink", "/tree/magic"];
    let seen = kase.sees(copied(bundle, "/tree"), words);
    assert_eq!(seen, format!("{secret}\n/\n/proc/self/root\n"));
    // A mount point that is a symlink is looked for in the rootfs.
    let bundle = kase.bundle().link("tree", kase.path("").to_str().unwrap()).writable();
    let seen = kase.run(&copied(bundle, "/tree").args(["/probe", "read", "/tree/secret"]));
    assert!(!seen.out.contains("of the host"), "{seen}");
}

/// A volume in which a sibling lets two names change places.
fn swapped<'a>(kase: &'a Kase, one: &str, other: &str) -> (Bundle, Container<'a>) {
    let volume = kase.directory("volume");
    let share = json!({"destination": "/mnt", "type": "bind", "source": volume, "options": ["rbind"]});
    let victim = kase.bundle().mount(share.clone());
    let (one, other) = (format!("/mnt/{one}"), format!("/mnt/{other}"));
    let attacker = kase.run_detached(&kase.bundle().mount(share).args(["/probe", "exchange", &one, &other]));
    attacker.says("exchanging");
    (victim, attacker)
}

fn never_shows_the_host(kase: &Kase, victim: &Bundle) {
    attempts(20, || {
        let outcome = kase.run(victim);
        assert!(!outcome.out.contains("of the host"), "{outcome}");
        outcome.code == 0
    });
}

/// Whoever reads by the path reads what the symlink leads to, sooner or later.
fn control(path: &Path) {
    let deadline = Instant::now() + patience();
    while !fs::read_to_string(path).is_ok_and(|text| text == "of the host") {
        assert!(Instant::now() < deadline, "the attacker is never quick enough for anybody");
    }
}

fn a_tree_that_is_swapped_while_it_is_copied_shows_nothing_of_the_host(kase: &Kase) {
    kase.directory("outside");
    kase.file("outside/file", "of the host");
    for directory in ["volume", "volume/tree", "volume/tree/directory"] {
        kase.directory(directory);
    }
    kase.file("volume/tree/directory/file", "of the volume");
    symlink(kase.path("outside"), kase.path("volume/tree/link")).unwrap();
    let (victim, attacker) = swapped(kase, "tree/directory", "tree/link");
    // The symlink leads there in the container as well, where nothing of the host's is.
    let words = ["/probe", "read", "/mnt/tree/directory/file", "--", "read", "/mnt/tree/link/file"];
    let victim = copied(victim, "/mnt/tree").args(words);
    never_shows_the_host(kase, &victim);
    control(&kase.path("volume/tree/directory/file"));
    drop(attacker);
}

fn a_file_that_is_swapped_while_it_is_copied_shows_nothing_of_the_host(kase: &Kase) {
    kase.file("secret", "of the host");
    for directory in ["volume", "volume/tree"] {
        kase.directory(directory);
    }
    kase.file("volume/tree/file", "of the volume");
    symlink(kase.path("secret"), kase.path("volume/tree/link")).unwrap();
    let (victim, attacker) = swapped(kase, "tree/file", "tree/link");
    let victim = copied(victim, "/mnt/tree").args([
        "/probe",
        "read",
        "/mnt/tree/file",
        "--",
        "read",
        "/mnt/tree/link",
    ]);
    never_shows_the_host(kase, &victim);
    control(&kase.path("volume/tree/file"));
    drop(attacker);
}

fn a_tree_of_any_depth_ends_in_a_copy_or_an_error(kase: &Kase) {
    let bundle = kase.bundle().directory("tree");
    let tree = bundle.rootfs("tree");
    // As many levels as a path has place for.
    let path = tree.join(["d"; 1500].join("/"));
    fs::create_dir_all(&path).unwrap();
    if is_root() {
        let owner = format!("{}:{}", kase.identity.uid, kase.identity.gid);
        assert!(Command::new("chown").args(["-R", &owner]).arg(&tree).status().unwrap().success());
    }
    let bundle = copied(bundle, "/tree").args(["/probe", "list", "/tree"]);
    // As many descriptors as anybody has, and as many as there may be.
    for limit in [64, 1024, 100_000] {
        let run = kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
        let mut shell = kase.program("sh");
        shell.args(["-c", &format!("ulimit -n {limit} 2>/dev/null; exec \"$0\" \"$@\"")]);
        let outcome = kase.finish({
            shell.arg(run.get_program()).args(run.get_args());
            shell
        });
        if outcome.code == 0 {
            assert_eq!(outcome.out, "d\n");
        } else {
            outcome.refused(&[&bundle.last_mount()]);
        }
    }
    // By a program that needs no descriptor for each level.
    assert!(Command::new("rm").arg("-rf").arg(&tree).status().unwrap().success());
}

fn a_file_of_any_size_ends_in_an_error(kase: &Kase) {
    let bundle = kase.bundle().directory("tree").file("tree/file", "");
    let file = fs::OpenOptions::new().write(true).open(bundle.rootfs("tree/file")).unwrap();
    // It takes no place where it lies.
    file.set_len(1 << 40).unwrap();
    let bundle = copied(bundle, "/tree");
    kase.run(&bundle).refused(&[&bundle.last_mount(), "it does not take all of it"]);
}

fn names_of_any_bytes_are_copied(kase: &Kase) {
    use std::os::unix::ffi::OsStrExt;
    let bundle = kase.bundle().directory("tree");
    let names = [&b"a\nb"[..], b"\x1b[2J", b"\xff\xfe", b" ", b"-rf", &[b'x'; 255]];
    for name in names {
        let path = bundle.rootfs("tree").join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, "text").unwrap();
        kase.identity.own(&path);
    }
    let seen = kase.sees(copied(bundle, "/tree"), ["list", "/tree", "--", "read", "/tree/a\nb"]);
    assert!(seen.contains(&"x".repeat(255)) && seen.ends_with("text\n"), "{seen}");
}

/// A set-user-ID program of the host's root, which in the container is nobody's.
fn a_program_of_another_owner_becomes_no_program_of_ours(kase: &Kase) {
    let Some(seen) = program_of_root(kase) else { skip!("needs root, to give a file away") };
    assert_eq!(value(&seen, "owner"), "65534:65534", "{seen}");
}

/// Where nobody is mapped, the copy is its maker's, and would run as that for others.
fn a_program_of_an_unmapped_owner_becomes_no_program_of_ours(kase: &Kase) {
    let Some(seen) = program_of_root(kase) else { skip!("needs root, to give a file away") };
    assert_eq!((value(&seen, "owner"), value(&seen, "mode")), ("0:0", "0755"), "{seen}");
}

fn program_of_root(kase: &Kase) -> Option<String> {
    is_root().then_some(())?;
    let bundle = kase.bundle().directory("tree").program("tree/program", b"");
    let program = bundle.rootfs("tree/program");
    std::os::unix::fs::chown(&program, Some(0), Some(0)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    Some(kase.sees(copied(bundle, "/tree"), ["stat", "/tree/program"]))
}
