//! A sibling container swaps a directory of a shared volume with a symlink to the host, again and again, while another
//! container is made whose mounts, devices and working directory lie there: what kase makes must never be made where
//! the symlink leads (CVE-2021-30465, CVE-2024-45310, CVE-2019-19921).

use crate::common::{Bundle, Container, Kase, Value, json};
use std::fs;
use std::path::PathBuf;

deeds! {
    nothing_is_made_where_a_swapped_symlink_leads,
    a_volume_that_is_mounted_on_a_swapped_path_stays_in_the_container,
}

/// How often each victim is made.
const ROUNDS: usize = 50;

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
        for round in 0..1_000_000 {
            // The directory that is gone by then is an answer too.
            let _ = fs::create_dir_all(self.volume.join(format!("target/by-path-{round}")));
            if !self.made().is_empty() {
                return;
            }
        }
        panic!("the attacker is never quick enough for anybody");
    }
}

/// Each makes something below the path that is swapped.
fn victims(kase: &Kase, ground: &Ground) -> Vec<Bundle> {
    let file = kase.file("file", "of the host");
    let bundle = || ground.bundle(kase).args(["/true"]);
    let mount = |value: Value| bundle().mount(value);
    vec![
        mount(json!({"destination": "/mnt/target/directory", "type": "tmpfs", "source": "tmpfs"})),
        mount(
            json!({"destination": "/mnt/target/file", "type": "bind", "source": file, "options": ["bind"]}),
        ),
        bundle().edit(|spec| spec["process"]["cwd"] = json!("/mnt/target/cwd")),
        bundle().edit(|spec| {
            spec["linux"]["devices"] =
                json!([{"path": "/mnt/target/device", "type": "c", "major": 1, "minor": 3}]);
        }),
    ]
}

fn nothing_is_made_where_a_swapped_symlink_leads(kase: &Kase) {
    let ground = Ground::new(kase);
    let attacker = ground.attack(kase);
    let mut ran = 0;
    for victim in victims(kase, &ground) {
        // It may fail where the path leads nowhere in the container.
        ran += (0..ROUNDS).filter(|_| kase.run(&victim).code == 0).count();
        assert_eq!(ground.made(), [""; 0].map(PathBuf::from));
    }
    // Otherwise nothing was shown.
    assert!(ran > ROUNDS / 2, "{ran} of {}", 4 * ROUNDS);
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
    for _ in 0..ROUNDS {
        let outcome = kase.run(&victim);
        if outcome.code == 0 {
            let shown: Vec<&str> = outcome.stdout().lines().filter(|line| line.contains(" evil ")).collect();
            assert!(shown.len() <= 1, "{outcome}");
            let root = kase.path("").display().to_string();
            assert!(shown.iter().all(|line| !line.contains(&format!("{root}/state"))), "{outcome}");
        }
        assert_eq!(ground.made(), [""; 0].map(PathBuf::from));
    }
    drop(attacker);
}
