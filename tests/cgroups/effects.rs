//! Limits that show in what the kernel does rather than in an answer: who gets the processor, the disk or the
//! memory that is left.
//!
//! Compared is always one container with another, never a time with the clock: a busy or emulated machine is slow
//! with both.

use super::limits::disk;
use super::{MIB, added, counts_swap};
use crate::common::{Bundle, Container, Ground, Value, json, wait_until};
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

in_settings! { each, cpuset:
    shares_divide_a_processor,
    idle_gets_what_others_leave,
}
in_settings! { each, cpu: a_burst_is_lent_by_periods_of_rest }
in_settings! { each, memory: swap_is_what_memory_and_swap_leave }
in_settings! { v2, memory: a_reservation_is_spared_when_memory_is_reclaimed }
in_settings! { v1, memory: without_the_killer_what_wants_more_waits, a_soft_limit_is_taken_back_first }
in_settings! { each, hugetlb: more_huge_pages_are_refused }
in_settings! { each, io: requests_and_writes_are_slowed_down, a_weight_divides_a_disk }

/// Who reads or writes a disk here does so alone: four readers would divide it by four, and one that comes late, because
/// the processor or the memory is taken, is no longer waited for, so that the disk is divided by turns.
static MACHINE: RwLock<()> = RwLock::new(());

fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

fn among_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Two containers at once, each with its limits on the processor, kept on the same one: how much of it each got.
fn rivals(ground: &Ground, limits: [Value; 2]) -> Option<[u64; 2]> {
    if !ground.has("cpu") {
        return None;
    }
    let burner = |mut cpu: Value| {
        cpu["cpus"] = json!("0");
        let bundle = ground.limited(&json!({ "cpu": cpu }));
        let bundle = bundle.args(["/probe", "wait", "/go", "--", "burn"]);
        (ground.run_detached(&bundle), bundle)
    };
    // Neither begins before both are there: beside one that computes, the other could hardly be made.
    let both = limits.map(burner);
    both.iter().for_each(|(_, bundle)| go(bundle));
    // Found once: kase is asked for it, which takes long beside these.
    let files = both.each_ref().map(|(container, _)| ground.limit(container, "cpuacct.usage", "cpu.stat"));
    Some(over(&|index| processor_time(ground, &files[index]), 800_000))
}

/// Ends the wait of the bundle's probe.
fn go(bundle: &Bundle) {
    fs::write(bundle.rootfs("go"), "").unwrap();
}

/// How much two counters grow until they did so by `enough` together.
fn over(counter: &dyn Fn(usize) -> u64, enough: u64) -> [u64; 2] {
    // Both at the same moment: whatever came between the reads shows in the first when it is read again.
    let both = || {
        let mut at_once = [0, 0];
        wait_until("two counters to be read at once", || {
            let (first, second, again) = (counter(0), counter(1), counter(0));
            at_once = [first, second];
            again - first <= enough / 20
        });
        at_once
    };
    let before = both();
    let mut grown = [0, 0];
    wait_until("two containers to use something", || {
        let now = both();
        grown = [now[0] - before[0], now[1] - before[1]];
        grown[0] + grown[1] >= enough
    });
    grown
}

/// In microseconds.
fn processor_time(ground: &Ground, file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    match ground.is_v1() {
        true => text.trim().parse::<u64>().unwrap() / 1000,
        false => field(&text, "usage_usec"),
    }
}

/// The number in a line `KEY NUMBER`.
fn field(text: &str, key: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(name, _)| *name == key)
        .and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or_default()
}

fn shares_divide_a_processor(ground: &Ground) {
    let _others = among_others();
    let Some([much, little]) = rivals(ground, [json!({"shares": 8192}), json!({"shares": 128})]) else {
        skip!("needs the cpu controller too");
    };
    // 64 to 1 on v1; on v2 the weights are 541 and 21.
    assert!(much > 6 * little, "{much} and {little}");
    assert!(little > 0, "it gets its part, be it small");
}

fn idle_gets_what_others_leave(ground: &Ground) {
    let _others = among_others();
    // Since Linux 5.15.
    let plain = ground.sleeper(&json!({}));
    if ground.has("cpu") && !ground.limit(&plain, "cpu.idle", "cpu.idle").exists() {
        skip!("this kernel has no cpu.idle");
    }
    let Some([normal, idle]) = rivals(ground, [json!({"shares": 8192}), json!({"idle": 1})]) else {
        skip!("needs the cpu controller too");
    };
    assert!(normal > 15 * idle, "{normal} and {idle}");
}

/// Both use 40 ms now and then, twice what they may have in a period: the one that may burst does it by what it did
/// not use before.
fn a_burst_is_lent_by_periods_of_rest(ground: &Ground) {
    let _others = among_others();
    let plain = ground.sleeper(&json!({}));
    if !ground.limit(&plain, "cpu.cfs_burst_us", "cpu.max.burst").exists() {
        skip!("this kernel has no burst");
    }
    let run = |burst: u64| {
        // The shares are for machines where others compute too.
        let cpu = json!({"quota": 20_000, "period": 100_000, "burst": burst, "shares": 100_000});
        let limits = json!({ "cpu": cpu });
        ground.run_detached(&ground.limited(&limits).args(["/probe", "bursts", "40"]))
    };
    let (bursts, stops) = (run(20_000), run(0));
    let stat = |container| ground.read(container, "cpu.stat", "cpu.stat");
    wait_until("bursts", || field(&stat(&bursts), "nr_bursts") > 1);
    wait_until("a stop", || field(&stat(&stops), "nr_throttled") > 1);
    assert_eq!(field(&stat(&stops), "nr_bursts"), 0, "{}", stat(&stops));
}

pub fn has_swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|list| list.lines().count() > 1)
}

fn swap_is_what_memory_and_swap_leave(ground: &Ground) {
    let _others = among_others();
    if !counts_swap(ground) {
        skip!("this kernel counts no swap");
    }
    if !has_swap() {
        skip!("this machine has no swap");
    }
    // Of 40 MiB in 24 of memory at least 16 go to swap, if there is as much.
    for (total, code) in [(64, 0), (28, 137)] {
        let limits = json!({"memory": {"limit": 24 * MIB, "swap": total * MIB}});
        let outcome = ground.run(&ground.limited(&limits).args(["/probe", "allocate", "40"]));
        assert_eq!(outcome.code, code, "{total} MiB: {outcome}");
    }
}

/// A cgroup above those of two containers, which takes memory back from both alike. With systemd it is a slice.
struct Above<'a> {
    ground: &'a Ground,
    name: String,
}

impl<'a> Above<'a> {
    fn new(ground: &'a Ground) -> Self {
        let name = format!("{}-above", ground.name());
        Self { ground, name }
    }

    fn below(&self, resources: &Value, name: &str) -> Bundle {
        let path = match self.ground.by_systemd() {
            true => format!("{}.slice:kase:{}-{name}", self.name, self.ground.name()),
            false => format!("/{}/{name}", self.name),
        };
        self.ground.limited(resources).edit(|spec| spec["linux"]["cgroupsPath"] = json!(path))
    }

    fn directory(&self, container: &Container<'_>) -> PathBuf {
        self.ground.cgroup(container, "memory").parent().unwrap().to_path_buf()
    }
}

impl Drop for Above<'_> {
    fn drop(&mut self) {
        if self.ground.by_systemd() {
            // A slice stays when it is empty, and this one is in two more.
            let slice = format!("{}.slice", self.name);
            let mut ends: Vec<_> =
                slice.match_indices('-').map(|(at, _)| format!("{}.slice", &slice[..at])).collect();
            ends.push(slice);
            // The topmost one may have others below it, which stopping it would stop.
            ends.remove(0);
            for slice in ends.iter().rev() {
                self.ground.systemctl(&["stop", slice]);
            }
            return;
        }
        for cgroup in self.ground.all().iter().rev() {
            let _ = fs::remove_dir(cgroup);
        }
    }
}

fn a_reservation_is_spared_when_memory_is_reclaimed(ground: &Ground) {
    let _others = among_others();
    let above = Above::new(ground);
    let holder = |reservation: i64, name: &str| {
        let limits = json!({"memory": {"limit": 128 * MIB, "reservation": reservation}});
        let bundle =
            above.below(&limits, name).writable().args(["/probe", "fill", "/data", "24", "--", "sleep"]);
        let container = ground.run_detached(&bundle);
        container.says("filled");
        container
    };
    let (spared, other) = (holder(64 * MIB, "spared"), holder(0, "other"));
    let reclaim = above.directory(&spared).join("memory.reclaim");
    // Since Linux 5.19.
    if !reclaim.exists() {
        skip!("this kernel does not take memory back when asked (memory.reclaim)");
    }
    let cached = |container| field(&ground.read(container, "", "memory.stat"), "file").cast_signed();
    assert!(cached(&spared) >= 24 * MIB && cached(&other) >= 24 * MIB);
    // Half of what the other has; EAGAIN says that it was not quite as much.
    let asked = fs::write(&reclaim, (12 * MIB).to_string());
    let (kept, left) = (cached(&spared), cached(&other));
    assert!(kept >= 23 * MIB, "{kept} bytes, {asked:?}");
    assert!(left <= 16 * MIB, "{left} bytes, {asked:?}");
}

/// v1's soft limit counts only when the machine as a whole is short of memory, which takes no more than reading a file
/// that is larger: all of that can be forgotten again. It would take long on a large machine.
fn a_soft_limit_is_taken_back_first(ground: &Ground) {
    let _others = among_others();
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let total = total.unwrap().parse::<u64>().unwrap() << 10;
    if total > 4 << 30 {
        skip!("this machine has too much memory to fill it with a cache: {} MiB", total >> 20);
    }
    let holder = |reservation: i64| {
        let limits = json!({"memory": {"reservation": reservation}});
        let bundle =
            ground.limited(&limits).writable().args(["/probe", "fill", "/data", "128", "--", "sleep"]);
        let container = ground.run_detached(&bundle);
        container.says("filled");
        container
    };
    let (spared, other) = (holder(1024 * MIB), holder(MIB));
    let cached = |container| field(&ground.read(container, "memory.stat", ""), "cache").cast_signed();
    assert!(cached(&spared) >= 120 * MIB && cached(&other) >= 120 * MIB);
    // A hole is cached as zeros, without a disk.
    let hole = ground.file("hole", "");
    fs::OpenOptions::new().write(true).open(&hole).unwrap().set_len(2 * total).unwrap();
    let (mut hole, mut buffer) = (fs::File::open(hole).unwrap(), vec![0; 16 << 20]);
    while cached(&other) > 48 * MIB && std::io::Read::read(&mut hole, &mut buffer).unwrap() > 0 {}
    let (kept, left) = (cached(&spared), cached(&other));
    assert!(left <= 48 * MIB && kept > 2 * left, "{kept} and {left} bytes");
}

fn without_the_killer_what_wants_more_waits(ground: &Ground) {
    let _others = among_others();
    let mut memory = json!({"limit": 32 * MIB, "disableOOMKiller": true});
    if counts_swap(ground) {
        memory["swap"] = json!(32 * MIB);
    }
    let limits = json!({ "memory": memory });
    let container = ground.run_detached(&ground.limited(&limits).args(["/probe", "allocate", "64"]));
    let control = || ground.read(&container, "memory.oom_control", "");
    wait_until("the limit to be reached", || field(&control(), "under_oom") == 1);
    assert_eq!(field(&control(), "oom_kill"), 0);
    assert_eq!(container.status(), "running");
}

fn more_huge_pages_are_refused(ground: &Ground) {
    let _others = among_others();
    let free = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free = fs::read_to_string(free).ok().and_then(|free| free.trim().parse::<u32>().ok());
    if free.is_none_or(|free| free < 4) {
        skip!("needs 4 free huge pages of 2 MB: /proc/sys/vm/nr_hugepages");
    }
    let container = ground.sleeper(&json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}));
    assert_eq!(added(&container, ["huge-pages", "4"]), "2 ENOSPC\n");
    let container = ground.sleeper(&json!({}));
    assert_eq!(added(&container, ["huge-pages", "4"]), "4\n");
}

/// The scheduler of a disk.
pub fn scheduler((major, minor): (u64, u64)) -> String {
    let file = format!("/sys/dev/block/{major}:{minor}/queue/scheduler");
    let text = fs::read_to_string(file).unwrap_or_default();
    let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    chosen.unwrap_or("none").to_owned()
}

/// KASE_SLOW_DISK is a directory on a disk that takes its time, so that the scheduler has a choice to make, as the
/// guest of scripts/vm has one: a disk that answers from memory leaves none.
fn a_weight_divides_a_disk(ground: &Ground) {
    let Some(slow) = env::var_os("KASE_SLOW_DISK").map(PathBuf::from) else {
        skip!("KASE_SLOW_DISK names no directory on a slow disk");
    };
    let Some(disk) = disk(&slow) else { skip!("{} is on no disk", slow.display()) };
    if scheduler(disk) != "bfq" {
        skip!("the disk of {} has no scheduler with weights: {}", slow.display(), scheduler(disk));
    }
    let _alone = alone();
    let reader = |weight: u16| {
        let data = slow.join(format!("kase-{weight}"));
        // Another setting's, whose file may be root's.
        let _ = fs::remove_dir_all(&data);
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
        let mount = json!({"destination": "/slow", "type": "none", "source": data, "options": ["bind"]});
        let bundle = ground.limited(&json!({"blockIO": {"weight": weight}})).mount(mount);
        let file = "/slow/data";
        let probe =
            ["/probe", "fill", file, "8", "--", "wait", "/go", "--", "read-directly", file, "forever"];
        let bundle = bundle.args(probe);
        let container = ground.run_detached(&bundle);
        container.says("filled");
        (container, bundle)
    };
    let both = [reader(1000), reader(50)];
    both.iter().for_each(|(_, bundle)| go(bundle));
    let counts = ("blkio.bfq.io_service_bytes", "io.stat");
    let files = both.each_ref().map(|(container, _)| ground.limit(container, counts.0, counts.1));
    let read = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        let key = if ground.is_v1() { "Read " } else { "rbytes=" };
        let counts = text.split(key).skip(1).filter_map(|rest| rest.split_whitespace().next());
        counts.filter_map(|count| count.parse::<u64>().ok()).sum::<u64>()
    };
    // On an emulated processor with busy neighbours nobody is waited for, for a while. Without weights, none of these
    // would be divided.
    let mut seen = Vec::new();
    for _ in 0..12 {
        let [much, little] = over(&|index| read(&files[index]), 8 << 20);
        if much > 2 * little {
            return;
        }
        seen.push((much, little));
    }
    panic!("bytes: {seen:?}");
}

fn requests_and_writes_are_slowed_down(ground: &Ground) {
    let mut bundle = ground.bundle().file("data", &"x".repeat(2 << 20)).writable();
    let Some((major, minor)) = disk(bundle.dir()) else { skip!("the temporary directory is on no disk") };
    let _alone = alone();
    super::limits::written(&bundle);
    // 2 MiB are eight requests of the probe's.
    let read = ["/probe", "read-directly", "/data"].as_slice();
    let write = ["/probe", "write-directly", "/new", "2"].as_slice();
    for (list, rate, args) in [
        ("throttleReadIOPSDevice", 4, read),
        ("throttleWriteBpsDevice", MIB, write),
        ("throttleWriteIOPSDevice", 4, write),
    ] {
        bundle = bundle.edit(|spec| {
            spec["process"]["args"] = json!(args);
            let rates = json!([{"major": major, "minor": minor, "rate": rate}]);
            spec["linux"]["resources"]["blockIO"] = json!({ list: rates });
        });
        let milliseconds = ground.run(&bundle).stdout().trim().to_owned();
        if milliseconds == "EINVAL" {
            skip!("the temporary directory's file system reads through the cache only");
        }
        assert!(milliseconds.parse::<u64>().unwrap() > 1200, "{list}: {milliseconds} ms");
    }
}
