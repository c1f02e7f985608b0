//! How the container's process is scheduled, where its memory lies, which machine it sees.

use crate::common::{Caller, Kase, Value, is_ours, json, value, words};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Command;

deeds! {
    a_batch_policy_with_its_nice_value_is_set,
    an_idle_policy_is_set,
    flags_of_the_scheduler_are_taken,
    a_clamp_that_the_kernel_lacks_is_refused,
    a_scheduler_that_no_kernel_takes_is_refused_by_its_field,
    the_io_priority_is_set,
    a_bad_io_priority_is_refused,
    the_affinity_of_kase_does_not_reach_the_container,
    a_bad_affinity_is_refused,
    the_personality_shows_another_machine,
    a_personality_with_flags_or_without_a_domain_is_refused,
    the_memory_policy_is_set,
    a_memory_policy_for_nodes_that_are_not_there_is_refused,
    a_bad_memory_policy_is_refused,
    an_added_process_is_treated_like_the_container,
    an_added_process_has_its_own_scheduler_and_affinity,
}
deeds! { root:
    real_time_policies_are_set,
    a_deadline_is_set,
    a_real_time_io_priority_is_set,
    a_scheduler_that_is_not_inherited_reaches_what_exec_adds,
}
deeds! { user: a_policy_beyond_the_users_rights_is_refused_with_the_kernels_reason }

/// What `probe sched` prints under this `process.scheduler`.
fn under(kase: &Kase, scheduler: Value) -> String {
    let bundle = kase.bundle().edit(|spec| spec["process"]["scheduler"] = scheduler);
    kase.sees(bundle, ["sched"])
}

/// kase refuses this value of a field of `process`.
fn refused(kase: &Kase, field: &str, value: Value, expected: &[&str]) {
    let bundle = kase.bundle().edit(|spec| spec["process"][field] = value);
    kase.run(&bundle).refused(expected);
}

fn a_batch_policy_with_its_nice_value_is_set(kase: &Kase) {
    let seen = under(kase, json!({"policy": "SCHED_BATCH", "priority": 0, "nice": 19}));
    assert_eq!(seen, "policy=batch nice=19 priority=0\n");
    assert_eq!(
        under(kase, json!({"policy": "SCHED_OTHER", "nice": 19})),
        "policy=other nice=19 priority=0\n"
    );
}

fn an_idle_policy_is_set(kase: &Kase) {
    assert_eq!(value(&under(kase, json!({"policy": "SCHED_IDLE"})), "policy"), "idle");
}

fn real_time_policies_are_set(kase: &Kase) {
    for (policy, priority, name) in [("SCHED_FIFO", "10", "fifo"), ("SCHED_RR", "99", "rr")] {
        let bundle = kase.bundle().edit(|spec| {
            spec["process"]["scheduler"] =
                json!({"policy": policy, "priority": priority.parse::<i32>().unwrap()});
            // With real-time groups a cgroup has no time of this kind unless it is given some.
            if Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
                spec["linux"]["resources"]["cpu"] =
                    json!({"realtimePeriod": 1_000_000, "realtimeRuntime": 10_000});
            }
        });
        let seen = kase.sees(bundle, ["sched"]);
        assert_eq!((value(&seen, "policy"), value(&seen, "priority")), (name, priority));
    }
}

fn a_deadline_is_set(kase: &Kase) {
    let seen = under(
        kase,
        json!({
            "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"],
            "nice": 19, "priority": 0, "runtime": 42000, "deadline": 100_000, "period": 1_000_000,
        }),
    );
    assert!(seen.starts_with("policy=deadline "), "{seen}");
    let bundle = kase.bundle().args(["/probe", "sleep"]).edit(|spec| {
        spec["process"]["scheduler"] =
            json!({"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 100_000, "period": 1_000_000});
    });
    let container = kase.run_detached(&bundle);
    let Ok(said) = Command::new("chrt").args(["-p", &container.pid().to_string()]).output() else {
        skip!("no chrt on this host");
    };
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("42000/100000/1000000"), "{said}");
}

/// A deadline, and what a flag keeps from being inherited, is for a process alone: exec's is made by another.
fn a_scheduler_that_is_not_inherited_reaches_what_exec_adds(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    for (scheduler, policy) in [
        (
            json!({"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 100_000, "period": 1_000_000}),
            "deadline",
        ),
        (json!({"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}), "batch"),
    ] {
        let process = json!({
            "args": ["/probe", "sched"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "scheduler": scheduler,
        });
        let file = kase.file("process.json", &process.to_string());
        let seen = kase.call(["exec", "--process", file.to_str().unwrap(), &container.id]);
        assert_eq!(value(seen.stdout(), "policy"), policy);
    }
}

fn flags_of_the_scheduler_are_taken(kase: &Kase) {
    // One keeps the policy that kase has; with the other the kernel keeps that and the nice value.
    let keep = |flag: &str| {
        let flags = [flag, "SCHED_FLAG_RESET_ON_FORK"];
        under(kase, json!({"policy": "SCHED_BATCH", "flags": flags, "nice": 19}))
    };
    assert_eq!(keep("SCHED_FLAG_KEEP_POLICY"), "policy=other nice=19 priority=0\n");
    assert_eq!(keep("SCHED_FLAG_KEEP_PARAMS"), kase.sees(kase.bundle(), ["sched"]));
}

fn a_clamp_that_the_kernel_lacks_is_refused(kase: &Kase) {
    if Path::new("/proc/sys/kernel/sched_util_clamp_min").exists() {
        skip!("this kernel has CONFIG_UCLAMP_TASK");
    }
    let clamp = json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]});
    refused(kase, "scheduler", clamp, &["process.scheduler", "SCHED_OTHER"]);
}

fn a_scheduler_that_no_kernel_takes_is_refused_by_its_field(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes leave some of these to the kernel");
    }
    let table = [
        (json!({"policy": "SCHED_ISO"}), "process.scheduler.policy"),
        (json!({"policy": "SCHED_OTHER", "nice": 40}), "process.scheduler.nice"),
        (json!({"policy": "SCHED_OTHER", "priority": 1}), "process.scheduler.priority"),
        (json!({"policy": "SCHED_FIFO", "priority": 0}), "process.scheduler.priority"),
        (json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_FUN"]}), "process.scheduler.flags[0]"),
        (json!({"policy": "SCHED_OTHER", "runtime": 1}), "process.scheduler.runtime"),
        (json!({"policy": "SCHED_DEADLINE", "runtime": 9999, "deadline": 1}), "process.scheduler.runtime"),
        (json!({"nice": 1}), "process.scheduler: missing field `policy`"),
        (json!({"policy": "SCHED_OTHER", "runtime": -1}), "process.scheduler.runtime"),
    ];
    for (scheduler, place) in table {
        refused(kase, "scheduler", scheduler, &[place]);
    }
}

fn a_policy_beyond_the_users_rights_is_refused_with_the_kernels_reason(kase: &Kase) {
    for scheduler in [
        json!({"policy": "SCHED_FIFO", "priority": 1}),
        json!({"policy": "SCHED_OTHER", "nice": -20}),
        json!({"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 100_000}),
    ] {
        let bundle = kase.bundle().edit(|spec| spec["process"]["scheduler"] = scheduler.clone());
        let outcome = kase.run(&bundle);
        outcome.refused(&["process.scheduler", "CAP_SYS_NICE", "Operation not permitted"]);
    }
    let priority = json!({"class": "IOPRIO_CLASS_RT", "priority": 0});
    refused(kase, "ioPriority", priority, &["process.ioPriority", "CAP_SYS_NICE", "Operation not permitted"]);
}

/// What ionice(1) says of a container with this `process.ioPriority`; nothing where there is no ionice.
fn ionice(kase: &Kase, priority: Value) -> Option<String> {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let container = kase.run_detached(&bundle.edit(|spec| spec["process"]["ioPriority"] = priority));
    let said = Command::new("ionice").args(["-p", &container.pid().to_string()]).output().ok()?;
    Some(String::from_utf8(said.stdout).unwrap())
}

fn the_io_priority_is_set(kase: &Kase) {
    let Some(said) = ionice(kase, json!({"class": "IOPRIO_CLASS_BE", "priority": 6})) else {
        skip!("no ionice on this host");
    };
    assert_eq!(said, "best-effort: prio 6\n");
    assert_eq!(ionice(kase, json!({"class": "IOPRIO_CLASS_IDLE"})).unwrap(), "idle\n");
}

fn a_real_time_io_priority_is_set(kase: &Kase) {
    let Some(said) = ionice(kase, json!({"class": "IOPRIO_CLASS_RT", "priority": 0})) else {
        skip!("no ionice on this host");
    };
    assert_eq!(said, "realtime: prio 0\n");
}

fn a_bad_io_priority_is_refused(kase: &Kase) {
    let class = json!({"class": "IOPRIO_CLASS_NONE", "priority": 0});
    refused(kase, "ioPriority", class, &["process.ioPriority.class", "IOPRIO_CLASS_NONE"]);
    for priority in [-1, 8] {
        let priority = json!({"class": "IOPRIO_CLASS_BE", "priority": priority});
        refused(kase, "ioPriority", priority, &["process.ioPriority.priority"]);
    }
    refused(kase, "ioPriority", json!({"priority": 1}), &["process.ioPriority", "class"]);
}

/// This test's own thread is kept on one processor, and all that it starts.
fn the_affinity_of_kase_does_not_reach_the_container(kase: &Kase) {
    let here = Pid::from_raw(0);
    let all = sched_getaffinity(here).unwrap();
    let processors = (0..CpuSet::count()).filter(|processor| all.is_set(*processor).unwrap());
    let Some(last) = processors.skip(1).last() else { skip!("this machine has one processor") };
    let mut one = CpuSet::new();
    one.set(last).unwrap();
    let unbound = kase.sees(kase.bundle(), ["affinity"]);
    sched_setaffinity(here, &one).unwrap();
    let bound = kase.sees(kase.bundle(), ["affinity"]);
    sched_setaffinity(here, &all).unwrap();
    assert_eq!(bound, unbound);
    assert_ne!(bound, format!("Cpus_allowed_list: {last}\n"));
}

fn a_bad_affinity_is_refused(kase: &Kase) {
    for (field, list) in [("initial", "x"), ("final", "3-1"), ("final", "0-99999999999")] {
        let place = format!("process.execCPUAffinity.{field}");
        refused(kase, "execCPUAffinity", json!({ field: list }), &[&place, list]);
    }
    let bundle = kase.bundle().edit(|spec| {
        spec["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    });
    kase.run(&bundle).succeeded();
}

fn the_personality_shows_another_machine(kase: &Kase) {
    let under = |domain: &str| {
        let bundle = kase.bundle().edit(|spec| spec["linux"]["personality"] = json!({"domain": domain}));
        kase.sees(bundle, ["personality"])
    };
    let native = kase.sees(kase.bundle(), ["personality"]);
    assert_eq!(under("LINUX"), native);
    if native == "x86_64\n" {
        assert_eq!(under("LINUX32"), "i686\n");
    } else {
        under("LINUX32");
    }
}

fn linux_refused(kase: &Kase, field: &str, value: Value, expected: &[&str]) {
    let bundle = kase.bundle().edit(|spec| spec["linux"][field] = value);
    kase.run(&bundle).refused(expected);
}

fn a_personality_with_flags_or_without_a_domain_is_refused(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes ignore flags");
    }
    let flags = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
    linux_refused(kase, "personality", flags, &["linux.personality.flags[0]"]);
    linux_refused(kase, "personality", json!({"domain": "HPUX"}), &["linux.personality.domain", "HPUX"]);
    linux_refused(kase, "personality", json!({}), &["linux.personality", "domain"]);
}

fn numa() -> bool {
    Path::new("/proc/self/numa_maps").exists()
}

fn the_memory_policy_is_set(kase: &Kase) {
    if !numa() {
        skip!("this kernel has no NUMA");
    }
    let under = |policy: Value| {
        let bundle = kase.bundle().edit(|spec| spec["linux"]["memoryPolicy"] = policy);
        kase.sees(bundle, ["mempolicy"])
    };
    assert_eq!(under(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"})), "interleave:0\n");
    let bound = under(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}));
    assert!(bound.starts_with("bind") && bound.contains("static") && bound.ends_with("0\n"), "{bound}");
    let preferred =
        under(json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}));
    assert!(preferred.starts_with("prefer") && preferred.contains("relative"), "{preferred}");
    assert_eq!(under(json!({"mode": "MPOL_LOCAL"})), "local\n");
    assert_eq!(under(json!({"mode": "MPOL_DEFAULT"})), "default\n");
}

fn a_memory_policy_for_nodes_that_are_not_there_is_refused(kase: &Kase) {
    let policy = json!({"mode": "MPOL_BIND", "nodes": "1023"});
    linux_refused(kase, "memoryPolicy", policy, &["linux.memoryPolicy", "MPOL_BIND 1023"]);
}

fn a_bad_memory_policy_is_refused(kase: &Kase) {
    let table = [
        (json!({}), "linux.memoryPolicy"),
        (json!({"mode": "INTERLEAVE"}), "linux.memoryPolicy.mode"),
        (json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "mode requires 0 nodes but got 8"),
        (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "linux.memoryPolicy.nodes"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["badflag"]}), "linux.memoryPolicy.flags[0]"),
    ];
    for (policy, place) in table {
        linux_refused(kase, "memoryPolicy", policy, &[place]);
    }
}

#[test]
fn an_ordinary_user_without_ranges_is_scheduled_too() {
    Kase::with(Caller::Bare, |kase| {
        assert_eq!(
            under(kase, json!({"policy": "SCHED_BATCH", "nice": 19})),
            "policy=batch nice=19 priority=0\n"
        );
    });
}

fn an_added_process_is_treated_like_the_container(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]).edit(|spec| {
        spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 19});
        spec["linux"]["personality"] = json!({"domain": "LINUX32"});
        if numa() {
            spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"});
        }
    });
    let container = kase.run_detached(&bundle);
    let seen = |what: &str| container.call("exec", ["/probe", what]).stdout().to_owned();
    assert_eq!(seen("sched"), "policy=batch nice=19 priority=0\n");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(seen("personality"), "i686\n");
    }
    if numa() {
        assert_eq!(seen("mempolicy"), "interleave:0\n");
    }
}

fn an_added_process_has_its_own_scheduler_and_affinity(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let with = |fields: Value| {
        let mut process = json!({"cwd": "/", "args": ["/probe", "sched", "--", "affinity"]});
        process.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let file = kase.file("process.json", &process.to_string());
        kase.call(words(["exec", "--process"], &file, [container.id.as_str()]))
    };
    let seen = with(json!({
        "scheduler": {"policy": "SCHED_IDLE"}, "execCPUAffinity": {"initial": "0", "final": "0"},
    }));
    let lines: Vec<_> = seen.stdout().lines().collect();
    assert_eq!((value(lines[0], "policy"), lines[1]), ("idle", "Cpus_allowed_list: 0"));
    let initial = with(json!({"execCPUAffinity": {"initial": "0"}}));
    assert!(initial.stdout().ends_with("Cpus_allowed_list: 0\n"), "{initial}");
    if is_ours() {
        let outcome = with(json!({"execCPUAffinity": {"final": "60000"}}));
        outcome.exited(255);
        assert!(outcome.err.contains("process.execCPUAffinity.final"), "{outcome}");
    }
}
