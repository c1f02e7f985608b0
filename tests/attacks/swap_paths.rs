//! A sibling container swaps a directory of a shared volume with a symlink to the host, again and again, while another
//! container is made whose mounts, devices and working directory lie there: what kase makes must never be made where
//! the symlink leads, nor mounted there (CVE-2021-30465, CVE-2024-45310).

use super::{attempts, by_path};
use crate::common::{Bundle, Container, Kase, Value, json, patience};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

deeds! {
    nothing_is_made_where_a_swapped_symlink_leads,
    a_volume_that_is_mounted_on_a_swapped_path_stays_in_the_container,
    what_is_mounted_on_a_swapped_path_is_what_becomes_read_only,
}

/// The volume, with what changes places in it, and where the symlink leads.
struct Ground {
    volume: PathBuf,
    outside: PathBuf,
}

impl Ground {
    fn new(kase: &Kase) -> Self {
        let (volume, outside) = (kase.directory("volume"), kase.directory("outside"));
        kase.directory("volume/target");
        std::os::unix::fs::symlink(&outside, volume.join("link")).unwrap();
        Self { volume, outside }
    }

    fn bundle(&self, kase: &Kase) -> Bundle {
        let volume =
            json!({"destination": "/mnt", "type": "bind", "source": self.volume, "options": ["rbind"]});
        kase.bundle().writable().mount(volume)
    }

    /// The attacker, at work.
    fn attack<'a>(&self, kase: &'a Kase) -> Container<'a> {
        let bundle = self.bundle(kase).args(["/probe", "exchange", "/mnt/target", "/mnt/link"]);
        let attacker = kase.run_detached(&bundle);
        attacker.says("exchanging");
        attacker
    }

    fn made(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.outside).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Whoever makes a directory by its path makes it where the symlink leads, sooner or later.
    fn control(&self) {
        let deadline = Instant::now() + patience();
        for round in 0.. {
            // The directory that is gone by then is an answer too.
            let _ = fs::create_dir_all(self.volume.join(format!("target/by-path-{round}")));
            if !self.made().is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "the attacker is never quick enough for anybody");
        }
    }
}

/// Each makes something below the path that is swapped.
fn victims(kase: &Kase, ground: &Ground) -> Vec<Bundle> {
    let file = kase.file("file", "of the host");
    let bundle = || ground.bundle(kase).args(["/true"]);
    let mount = |value: Value| bundle().mount(value);
    // In a user namespace a FIFO is what can be made.
    let kind = if kase.is_root() { "c" } else { "p" };
    vec![
        mount(json!({"destination": "/mnt/target/directory", "type": "tmpfs", "source": "tmpfs"})),
        mount(
            json!({"destination": "/mnt/target/file", "type": "bind", "source": file, "options": ["bind"]}),
        ),
        bundle().edit(|spec| spec["process"]["cwd"] = json!("/mnt/target/cwd")),
        bundle().edit(|spec| {
            spec["linux"]["devices"] =
                json!([{"path": "/mnt/target/device", "type": kind, "major": 1, "minor": 3}]);
        }),
    ]
}

fn nothing_is_made_where_a_swapped_symlink_leads(kase: &Kase) {
    let ground = Ground::new(kase);
    let attacker = ground.attack(kase);
    for victim in victims(kase, &ground) {
        attempts(15, || {
            // It may fail where the path leads nowhere in the container.
            let outcome = kase.run(&victim);
            assert_eq!(ground.made(), [""; 0].map(PathBuf::from), "{outcome}");
            outcome.code == 0
        });
    }
    ground.control();
    drop(attacker);
}

/// What is mounted at the swapped path is seen at that path of the container, or nowhere.
fn a_volume_that_is_mounted_on_a_swapped_path_stays_in_the_container(kase: &Kase) {
    let ground = Ground::new(kase);
    let attacker = ground.attack(kase);
    let victim = ground.bundle(kase).args(["/probe", "mounts"]).mount(
        json!({"destination": "/mnt/target", "type": "tmpfs", "source": "evil", "options": ["size=1m"]}),
    );
    let root = kase.path("").display().to_string();
    attempts(20, || {
        let outcome = kase.run(&victim);
        if outcome.code == 0 {
            let shown: Vec<&str> = outcome.stdout().lines().filter(|line| line.contains(" evil ")).collect();
            assert!(shown.len() <= 1, "{outcome}");
            assert!(shown.iter().all(|line| !line.contains(&format!("{root}/state"))), "{outcome}");
        }
        assert_eq!(ground.made(), [""; 0].map(PathBuf::from));
        outcome.code == 0
    });
    drop(attacker);
    // Whoever mounts by the path mounts where the symlink leads, sooner or later.
    let attacker = ground.attack(kase);
    let (target, outside) = (ground.volume.join("target"), ground.outside.display());
    let script = format!(
        "until mount -t tmpfs tmpfs {0} && [ \"$(stat -f -c %T {outside})\" = tmpfs ]; do umount {0}; done; true",
        target.display()
    );
    by_path(kase, &script);
    drop(attacker);
}

/// Two directories change places. What is left to be done to the new mount is done to that, and to no other.
fn what_is_mounted_on_a_swapped_path_is_what_becomes_read_only(kase: &Kase) {
    let ground = Ground::new(kase);
    kase.directory("volume/other");
    let bundle = ground.bundle(kase).args(["/probe", "exchange", "/mnt/target", "/mnt/other"]);
    let attacker = kase.run_detached(&bundle);
    attacker.says("exchanging");
    for options in [["ro", "size=1m"], ["rro", "size=1m"], ["rprivate", "ro"]] {
        let victim = ground.bundle(kase).args(["/probe", "mounts"]).mount(
            json!({"destination": "/mnt/target", "type": "tmpfs", "source": "evil", "options": options}),
        );
        attempts(10, || {
            let outcome = kase.run(&victim);
            let is_evil = |line: &&str| line.contains(" evil ");
            if let Some(shown) = outcome.out.lines().find(is_evil) {
                let words: Vec<&str> = shown.split(' ').collect();
                assert!(words[5].split(',').any(|word| word == "ro"), "{outcome}");
            }
            // The volume stays what it was.
            let mnt = outcome.out.lines().find(|line| line.split(' ').nth(4) == Some("/mnt"));
            assert!(mnt.is_none_or(|line| line.split(' ').nth(5).unwrap().starts_with("rw")), "{outcome}");
            outcome.code == 0
        });
    }
}
