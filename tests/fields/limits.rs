//! Limits that only cgroup v1 has, or that a block device is needed for: what the kernel says it was told.

use crate::common::{Container, Kase, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

deeds! { root: swappiness_and_the_oom_killer_are_set_on_v1, each_rate_of_a_block_device_is_set_on_v1 }

fn limited<'a>(kase: &'a Kase, resources: Value) -> Container<'a> {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    kase.run_detached(&bundle.edit(|spec| spec["linux"]["resources"] = resources))
}

/// The container's directory in a hierarchy of v1.
fn directory(container: &Container<'_>, controller: &str) -> PathBuf {
    let cgroups = container.proc("cgroup");
    let own = cgroups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    });
    Path::new("/sys/fs/cgroup").join(controller).join(own.unwrap().trim_start_matches('/'))
}

fn swappiness_and_the_oom_killer_are_set_on_v1(kase: &Kase) {
    if !Path::new("/sys/fs/cgroup/memory/memory.swappiness").exists() {
        skip!("no memory controller of cgroup v1");
    }
    let container = limited(kase, json!({"memory": {"swappiness": 10, "disableOOMKiller": true}}));
    let directory = directory(&container, "memory");
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    assert_eq!(read("memory.swappiness"), "10\n");
    assert!(read("memory.oom_control").contains("oom_kill_disable 1\n"), "{}", read("memory.oom_control"));
}

fn each_rate_of_a_block_device_is_set_on_v1(kase: &Kase) {
    const RATES: [(&str, &str); 4] = [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
    ];
    if !Path::new("/sys/fs/cgroup/blkio").join(RATES[0].1).exists() {
        skip!("no rates in cgroup v1 here");
    }
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let Some(device) = devices.filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok()).next()
    else {
        skip!("no block device on this host");
    };
    let (major, minor) = device.trim().split_once(':').unwrap();
    let (major, minor): (u32, u32) = (major.parse().unwrap(), minor.parse().unwrap());
    let rate = |index: usize| 1_000_000 + index;
    let mut block_io = json!({});
    for (index, (field, _)) in RATES.iter().enumerate() {
        block_io[field] = json!([{"major": major, "minor": minor, "rate": rate(index)}]);
    }
    let container = limited(kase, json!({ "blockIO": block_io }));
    let directory = directory(&container, "blkio");
    for (index, (_, file)) in RATES.iter().enumerate() {
        let said = fs::read_to_string(directory.join(file)).unwrap();
        assert_eq!(said, format!("{major}:{minor} {}\n", rate(index)), "{file}");
    }
}
