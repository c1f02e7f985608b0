//! An image, or a sibling that shares what is mounted at /dev, forges what kase uses there: a /dev/null that would lie
//! open in place of what it hides (CVE-2025-31133), a /dev/console or a /dev/pts that leads the terminal elsewhere
//! (CVE-2025-52565), and a /dev that leads to where kase would remove and make files (CVE-2026-41579 of runc and
//! CVE-2026-47766 of crun).

use super::{attempts, by_path};
use crate::common::{Bundle, Container, Kase, Outcome, Value, json, words};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

deeds! {
    a_forged_null_device_hides_nothing,
    a_forged_console_gets_no_terminal,
    a_forged_multiplexer_gives_no_terminal,
    a_console_that_is_swapped_leads_no_terminal_elsewhere,
    a_dev_that_is_a_symlink_changes_nothing_where_it_leads,
    a_dev_that_is_swapped_changes_nothing_where_it_leads,
}
deeds! { root: a_null_device_that_is_swapped_lays_nothing_open, a_device_behind_a_symlink_is_refused }

fn bind(source: &Path, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]})
}

/// A bundle whose /dev is this directory of the host's; a devpts is mounted in it if it has a `pts`.
fn with_dev(kase: &Kase, dev: &Path) -> Bundle {
    let bundle = without_dev(kase).mount(bind(dev, "/dev"));
    match dev.join("pts").exists() {
        false => bundle,
        true => bundle.mount(json!({
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        })),
    }
}

/// A bundle that mounts nothing at /dev.
fn without_dev(kase: &Kase) -> Bundle {
    kase.bundle().edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    })
}

/// A sibling that lets two names of this directory change places.
fn exchange<'a>(kase: &'a Kase, directory: &Path, one: &str, other: &str) -> Container<'a> {
    let bundle = kase.bundle().mount(bind(directory, "/mnt"));
    let (one, other) = (format!("/mnt/{one}"), format!("/mnt/{other}"));
    let attacker = kase.run_detached(&bundle.args(["/probe", "exchange", &one, &other]));
    attacker.says("exchanging");
    attacker
}

/// What is hidden is read through whatever hides it.
fn masks(bundle: Bundle) -> Bundle {
    let bundle = bundle.file("etc/masked", "hidden").edit(|spec| {
        spec["linux"]["maskedPaths"] = json!(["/etc/masked"]);
    });
    bundle.args(["/probe", "read", "/etc/masked", "--", "stat", "/etc/masked"])
}

fn a_forged_null_device_hides_nothing(kase: &Kase) {
    let dev = kase.directory("dev");
    kase.file("dev/secret", "of the host");
    let null = dev.join("null");
    let node = |number: u64| mknod(&null, SFlag::S_IFCHR, Mode::S_IRUSR, number).unwrap();
    type Forge<'a> = Box<dyn Fn() + 'a>;
    let mut forged: Vec<Forge<'_>> = vec![
        Box::new(|| symlink("secret", &null).unwrap()),
        Box::new(|| symlink("/proc/sys/kernel/core_pattern", &null).unwrap()),
        Box::new(|| drop(kase.file("dev/null", "of the host"))),
        Box::new(|| nix::unistd::mkfifo(&null, Mode::S_IRUSR).unwrap()),
        Box::new(|| drop(UnixListener::bind(&null).unwrap())),
    ];
    if kase.is_root() {
        forged.push(Box::new(|| node(makedev(1, 5))));
    }
    for forge in forged {
        forge();
        kase.run(&masks(with_dev(kase, &dev)))
            .refused(&["linux.maskedPaths[0]", "/dev/null in the container"]);
        fs::remove_file(&null).unwrap();
    }
    fs::create_dir(&null).unwrap();
    kase.run(&masks(with_dev(kase, &dev))).refused(&["linux.maskedPaths[0]", "/dev/null in the container"]);
}

fn a_null_device_that_is_swapped_lays_nothing_open(kase: &Kase) {
    let dev = kase.directory("dev");
    kase.file("dev/secret", "of the host");
    mknod(&dev.join("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
    symlink("secret", dev.join("link")).unwrap();
    let attacker = exchange(kase, &dev, "null", "link");
    let victim = masks(with_dev(kase, &dev));
    attempts(20, || {
        let outcome = kase.run(&victim);
        assert!(!outcome.out.contains("of the host"), "{outcome}");
        assert!(outcome.code != 0 || outcome.out.contains("rdev=1:3"), "{outcome}");
        outcome.code == 0
    });
    // Whoever binds the null device by its path binds what the symlink leads to, sooner or later.
    let masked = kase.file("masked", "hidden");
    let script = format!(
        "until mount --bind {0}/null {1} && grep -qs host {1}; do umount {1}; done; true",
        dev.display(),
        masked.display()
    );
    by_path(kase, &script);
    drop(attacker);
}

/// `create` of a container with a terminal, which may be refused; the terminal is there as long as the socket is.
fn create(kase: &Kase, bundle: &Bundle, id: &str) -> (Outcome, UnixListener) {
    let path = kase.path("console-socket");
    let listener = UnixListener::bind(&path).unwrap();
    kase.identity.own(&path);
    let options = ["--console-socket", path.to_str().unwrap(), id];
    let outcome = kase.call(words(["create", "-b"], bundle.dir(), options));
    fs::remove_file(path).unwrap();
    (outcome, listener)
}

fn with_terminal(bundle: Bundle) -> Bundle {
    bundle.edit(|spec| {
        spec["process"]["terminal"] = json!(true);
        // What hides files is not there.
        spec["linux"]["maskedPaths"] = json!([]);
    })
}

fn a_forged_console_gets_no_terminal(kase: &Kase) {
    let dev = kase.directory("dev");
    kase.directory("dev/pts");
    kase.file("dev/secret", "of the host");
    for target in ["secret", "/dev/secret", "/proc/sys/kernel/core_pattern", "/etc/absent"] {
        symlink(target, dev.join("console")).unwrap();
        let bundle = with_terminal(with_dev(kase, &dev));
        create(kase, &bundle, &kase.id()).0.refused(&["process.terminal", "/dev/console"]);
        assert!(!bundle.rootfs("etc/absent").exists());
        fs::remove_file(dev.join("console")).unwrap();
    }
    kase.directory("dev/console");
    create(kase, &with_terminal(with_dev(kase, &dev)), &kase.id()).0.refused(&["process.terminal"]);
    assert_eq!(fs::read_to_string(dev.join("secret")).unwrap(), "of the host");
}

fn a_forged_multiplexer_gives_no_terminal(kase: &Kase) {
    let dev = kase.directory("dev");
    let refused = || {
        // Nothing is mounted at /dev/pts.
        let bundle = with_terminal(without_dev(kase).mount(bind(&dev, "/dev")));
        create(kase, &bundle, &kase.id()).0.refused(&["process.terminal"]);
    };
    refused();
    let ptmx = kase.directory("dev/pts").join("ptmx");
    for target in ["/dev/ptmx", "../secret", "/proc/self/fd/0"] {
        symlink(target, &ptmx).unwrap();
        refused();
        fs::remove_file(&ptmx).unwrap();
    }
    nix::unistd::mkfifo(&ptmx, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    kase.identity.own(&ptmx);
    refused();
    fs::remove_file(&ptmx).unwrap();
    kase.file("dev/pts/ptmx", "");
    refused();
    fs::remove_file(&ptmx).unwrap();
    if kase.is_root() {
        mknod(&ptmx, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(5, 2)).unwrap();
        refused();
    }
}

fn a_console_that_is_swapped_leads_no_terminal_elsewhere(kase: &Kase) {
    let dev = kase.directory("dev");
    kase.directory("dev/pts");
    kase.file("dev/secret", "of the host");
    kase.file("dev/console", "");
    symlink("secret", dev.join("link")).unwrap();
    let attacker = exchange(kase, &dev, "console", "link");
    let bundle = with_terminal(with_dev(kase, &dev));
    attempts(15, || {
        let id = kase.id();
        let (outcome, _terminal) = create(kase, &bundle, &id);
        if outcome.code != 0 {
            return false;
        }
        let state: Value = serde_json::from_str(kase.call(["state", &id]).stdout()).unwrap();
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", state["pid"])).unwrap();
        kase.call(["delete", "--force", &id]).succeeded();
        assert!(!mounts.contains("/secret"), "{mounts}");
        mounts.lines().any(|line| line.contains(" - devpts ") && !line.contains(" /dev/pts "))
    });
    assert_eq!(fs::read_to_string(dev.join("secret")).unwrap(), "of the host");
    // Whoever mounts on the console by its path covers what the symlink leads to, sooner or later.
    let script = format!(
        "until mount --bind {1} {0}/console && grep -qs attacker {0}/secret; do umount {0}/console; done; true",
        dev.display(),
        kase.file("evil", "of the attacker").display()
    );
    by_path(kase, &script);
    drop(attacker);
}

/// Names that kase makes in /dev, or removes there first.
const NAMES: [&str; 8] = ["core", "fd", "full", "null", "ptmx", "stdin", "tty", "zero"];

/// Where a forged /dev leads, with files of all these names.
fn outside(kase: &Kase) -> std::path::PathBuf {
    let outside = kase.directory("outside");
    for name in NAMES {
        kase.file(&format!("outside/{name}"), "the host's");
    }
    outside
}

fn assert_unchanged(outside: &Path, what: &dyn std::fmt::Debug) {
    let mut left: Vec<_> = fs::read_dir(outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, NAMES, "{what:?}");
    for name in NAMES {
        let text = fs::read_to_string(outside.join(name));
        assert_eq!(text.ok().as_deref(), Some("the host's"), "{name}: {what:?}");
    }
}

fn a_dev_that_is_a_symlink_changes_nothing_where_it_leads(kase: &Kase) {
    let outside = outside(kase);
    let on_host = outside.display().to_string();
    let up = format!("../../../../../../../../../..{on_host}");
    for target in ["/data", "data", "../data", "link", "/proc/self/root/data", &on_host, &up] {
        for bundle in [kase.bundle(), without_dev(kase)] {
            let bundle =
                bundle.writable().directory("data").link("link", "/data").mount(bind(&outside, "/data"));
            fs::remove_dir(bundle.rootfs("dev")).unwrap();
            let bundle = bundle.link("dev", target).edit(|spec| spec["linux"]["maskedPaths"] = json!([]));
            let outcome = kase.run(&bundle);
            assert_unchanged(&outside, &outcome);
            outcome.refused(&["/dev"]);
        }
    }
    // Whoever makes the links by their paths makes them where the symlink leads.
    let rootfs = kase.directory("rootfs");
    symlink(&outside, rootfs.join("dev")).unwrap();
    fs::remove_file(rootfs.join("dev/ptmx")).unwrap();
    symlink("pts/ptmx", rootfs.join("dev/ptmx")).unwrap();
    assert_eq!(fs::read_link(outside.join("ptmx")).unwrap(), Path::new("pts/ptmx"));
}

/// Where the sibling may write to the whole rootfs.
fn a_dev_that_is_swapped_changes_nothing_where_it_leads(kase: &Kase) {
    let outside = outside(kase);
    for bundle in [kase.bundle(), without_dev(kase)] {
        let victim = bundle.writable().directory("data").link("link", "/data").mount(bind(&outside, "/data"));
        let victim = victim.edit(|spec| spec["linux"]["maskedPaths"] = json!([])).args(["/true"]);
        let attacker = exchange(kase, &victim.rootfs(""), "dev", "link");
        attempts(15, || {
            let outcome = kase.run(&victim);
            assert_unchanged(&outside, &outcome);
            outcome.code == 0
        });
        drop(attacker);
    }
}

fn a_device_behind_a_symlink_is_refused(kase: &Kase) {
    let volume = kase.directory("volume");
    let device = |path: &str| {
        let bundle = kase.bundle().directory("data").link("nodes", "/data/below");
        bundle.mount(bind(&volume, "/data")).edit(|spec| {
            spec["linux"]["devices"] = json!([{"path": path, "type": "c", "major": 1, "minor": 5}]);
        })
    };
    kase.run(&device("/nodes/zero")).refused(&["linux.devices[0]", "/nodes in the rootfs is a symlink"]);
    assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
    // The remedy: by the path that it leads to.
    let seen = kase.sees(device("/data/below/zero"), ["stat", "/data/below/zero"]);
    assert_eq!(crate::common::value(&seen, "rdev"), "1:5", "{seen}");
}
