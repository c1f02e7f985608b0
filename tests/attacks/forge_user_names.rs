//! An image has names in its passwd and group that look like ids, and makes of these files whatever is not to be read:
//! a number that is asked for must stay that number, and nobody must wait for such a file or read it for ever
//! (CVE-2016-3697, CVE-2024-40635, CVE-2026-30892).

use crate::common::{Bundle, Container, Kase, json, wait_until};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

deeds! {
    a_number_is_never_the_name_of_another,
    what_cannot_be_read_to_its_end_is_not_read,
    a_file_that_is_swapped_leads_nowhere_else,
}

/// Numbers that the image has as names of root. The last ones are no ids: cut to 32 bits they would be root's.
const IDS: &[&str] = &["1", "10", "010", "1000"];
const NO_IDS: &[&str] = &["4294967295", "4294967296", "18446744073709551616", "99999999999999999999999999"];

fn victim(kase: &Kase) -> Bundle {
    let names = || IDS.iter().chain(NO_IDS);
    let passwd: String = names().map(|name| format!("{name}:x:0:0::/roots:\n")).collect();
    let group: String = names().map(|name| format!("{name}:x:0:\n")).collect();
    kase.bundle().file("etc/passwd", &passwd).file("etc/group", &group).args(["/probe", "sleep"])
}

fn as_user(container: &Container<'_>, user: &str) -> crate::common::Outcome {
    container.kase.call(["exec", "--user", user, &container.id, "/probe", "id"])
}

fn a_number_is_never_the_name_of_another(kase: &Kase) {
    let bundle = victim(kase);
    let container = kase.run_detached(&bundle);
    for text in IDS {
        let id: u32 = text.parse().unwrap();
        let ids =
            |uid: u32, gid: u32| format!("Uid: {uid} {uid} {uid} {uid}\nGid: {gid} {gid} {gid} {gid}\n");
        for (user, expected) in [
            (text.to_string(), ids(id, 0)),
            (format!("{text}:{text}"), ids(id, id)),
            (format!("0:{text}"), ids(0, id)),
        ] {
            let outcome = as_user(&container, &user);
            assert!(outcome.stdout().starts_with(&expected), "--user {user}: {outcome}");
        }
    }
    for text in NO_IDS {
        for user in [text.to_string(), format!("{text}:0"), format!("1:{text}"), format!("0:{text}")] {
            let outcome = as_user(&container, &user);
            outcome.exited(255);
            assert!(!outcome.out.contains("Uid:") && outcome.err.contains(text), "--user {user}: {outcome}");
        }
        // In config.json a number is a number.
        for field in ["uid", "gid"] {
            let bundle = bundle_with_id(kase, field, text);
            kase.run(&bundle).refused(&["process.user"]);
        }
    }
    // The home is that of whoever has the id.
    let bundle = bundle.args(["/probe", "env"]).edit(|spec| spec["process"]["user"]["uid"] = json!(10));
    let seen = kase.run(&bundle);
    assert!(!seen.stdout().contains("/roots"), "{seen}");
    control_of_names(kase, &bundle);
}

fn bundle_with_id(kase: &Kase, field: &str, number: &str) -> Bundle {
    let bundle = victim(kase);
    let text = fs::read_to_string(bundle.path("config.json")).unwrap();
    let field = format!("\"{field}\": ");
    assert!(text.contains(&format!("{field}0")), "{text}");
    bundle.config(&text.replace(&format!("{field}0"), &format!("{field}{number}")))
}

/// chroot(1) takes a number for a name first, as POSIX has it for chown(1): it becomes root.
fn control_of_names(kase: &Kase, bundle: &Bundle) {
    let mut unshare = kase.program("unshare");
    if !kase.is_root() {
        unshare.args(["--user", "--map-root-user", "--map-auto"]);
    }
    let script = "mount --rbind /proc \"$1/proc\" && exec chroot --userspec=10:0 \"$1\" /probe id";
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(bundle.rootfs(""));
    let outcome = kase.finish(unshare);
    assert!(outcome.stdout().starts_with("Uid: 0 0 0 0\n"), "the attack works on nobody: {outcome}");
}

/// Each way to make a file that no reader is done with, or that opens something else.
fn hostile_files(kase: &Kase, path: &str) -> Vec<(&'static str, Bundle)> {
    let made = |make: &dyn Fn(&Path)| {
        let bundle = kase.bundle().args(["/probe", "sleep"]);
        make(&bundle.rootfs(path));
        kase.identity.own(&bundle.rootfs(path));
        bundle
    };
    let device = json!({"destination": format!("/{path}"), "type": "bind", "source": "/dev/zero", "options": ["bind"]});
    let line = |file: &Path| fs::write(file, vec![b'x'; (16 << 20) + 1]).unwrap();
    vec![
        ("a FIFO", made(&|file| mkfifo(file, Mode::from_bits_truncate(0o666)).unwrap())),
        ("a device", made(&|file| drop(File::create(file).unwrap())).mount(device)),
        ("a symlink to a device", made(&|file| symlink("/dev/zero", file).unwrap())),
        ("as large as a disk", made(&|file| File::create(file).unwrap().set_len(8 << 40).unwrap())),
        ("one line of megabytes", made(&line)),
        ("a directory", made(&|file| fs::create_dir(file).unwrap())),
        ("a symlink to itself", made(&|file| symlink(file.file_name().unwrap(), file).unwrap())),
        ("a symlink to a descriptor", made(&|file| symlink("/proc/self/fd/0", file).unwrap())),
        ("a symlink to a log", made(&|file| symlink("/proc/kmsg", file).unwrap())),
    ]
}

fn what_cannot_be_read_to_its_end_is_not_read(kase: &Kase) {
    for (path, user) in [("etc/passwd", "zero"), ("etc/passwd", "zero:0"), ("etc/group", "0:zero")] {
        for (what, bundle) in hostile_files(kase, path) {
            let container = kase.run_detached(&bundle);
            let outcome = as_user(&container, user);
            assert!(!outcome.out.contains("Uid:"), "{path} is {what}, --user {user}: {outcome}");
            assert_eq!(outcome.code, 255, "{path} is {what}, --user {user}: {outcome}");
            if ["a FIFO", "a device", "a directory"].contains(&what) {
                assert!(outcome.err.contains(&format!("/{path}: it is not a regular file")), "{outcome}");
                assert_eq!(outcome.help(), "give --user numbers, as in 1000:1000", "{outcome}");
            }
            let by_numbers = as_user(&container, "0:0");
            by_numbers.succeeded();
            container.call("delete", ["--force"]).succeeded();
            if path == "etc/passwd" && user == "zero" {
                // It runs without a home, which is looked up there.
                kase.run(&bundle.args(["/probe", "env"])).succeeded();
            }
        }
    }
    control_of_files(kase);
}

/// Who opens the FIFO, or reads the device, does so for ever.
fn control_of_files(kase: &Kase) {
    let fifo = kase.path("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o666)).unwrap();
    kase.identity.own(&fifo);
    for file in [fifo.to_str().unwrap(), "/dev/zero"] {
        let mut wc = kase.program("wc");
        wc.args(["-c", file]);
        let mut reader = kase.spawn(wc);
        assert_eq!(reader.ends_within(Duration::from_millis(200)), None, "{file}");
        reader.signal(Signal::SIGKILL);
        reader.finish().exited(128 + 9);
    }
}

/// The container lets its passwd change places with a symlink to the host's file, and with a FIFO.
fn a_file_that_is_swapped_leads_nowhere_else(kase: &Kase) {
    let outside = kase.file("passwd-of-the-host", "zero:x:4321:4321::/:\n");
    let bundle = || kase.bundle().writable().file("etc/passwd", "zero:x:1234:1234::/:\n");
    for other in ["link", "fifo"] {
        let bundle = bundle().args(["/probe", "exchange", "/etc/passwd", &format!("/etc/{other}")]);
        match other {
            "link" => symlink(&outside, bundle.rootfs("etc/link")).unwrap(),
            _ => mkfifo(&bundle.rootfs("etc/fifo"), Mode::from_bits_truncate(0o666)).unwrap(),
        }
        let attacker = kase.run_detached(&bundle);
        attacker.says("exchanging");
        for _ in 0..25 {
            let outcome = as_user(&attacker, "zero");
            assert!(!outcome.out.contains("4321"), "{outcome}");
            assert!(outcome.code == 255 || outcome.out.starts_with("Uid: 1234 "), "{outcome}");
        }
        if other == "link" {
            // Whoever opens it by its path reads the host's.
            let path = bundle.rootfs("etc/passwd");
            wait_until("the host's file", || {
                fs::read_to_string(&path).is_ok_and(|text| text.contains("4321"))
            });
        }
    }
}
