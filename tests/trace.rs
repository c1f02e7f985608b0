//! `--trace`: the steps of create, run and exec, from both halves.

use crate::common::{Bundle, Container, Kase, Outcome, Value, json, words};
use std::fs;
use std::path::PathBuf;

deeds! {
    a_run_is_traced_from_both_halves,
    a_create_is_traced_to_the_gate,
    an_exec_is_traced,
    a_hop_has_a_row_of_its_own,
    clocks_of_the_container_do_not_shift_its_trace,
    a_filter_that_allows_no_write_does_not_matter,
    a_failure_is_traced_as_far_as_it_goes,
    a_trace_that_cannot_be_written_is_refused,
}

fn file(kase: &Kase) -> PathBuf {
    kase.path("trace.json")
}

fn traced(kase: &Kase, rest: &[&str]) -> Outcome {
    let file = file(kase);
    kase.call(["--trace", file.to_str().unwrap()].into_iter().chain(rest.iter().copied()))
}

fn run(kase: &Kase, bundle: &Bundle) -> Outcome {
    traced(kase, &["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()])
}

/// The names of the steps of a row; the file has the form that viewers take.
fn steps(kase: &Kase, row: &str) -> Vec<String> {
    let text = fs::read_to_string(file(kase)).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let (names, steps): (Vec<&Value>, Vec<&Value>) = events.iter().partition(|event| event["ph"] == "M");
    for name in &names {
        assert_eq!(name["name"], "thread_name");
        assert_eq!(name["args"].as_object().unwrap().len(), 1);
    }
    for step in &steps {
        assert_eq!((&step["ph"], &step["pid"]), (&json!("X"), &json!(1)), "{step}");
        assert_eq!(step.as_object().unwrap().len(), 6, "{step}");
        assert!(step["ts"].is_f64() && step["dur"].as_f64().unwrap() >= 0.0, "{step}");
    }
    let Some(row) = names.iter().find(|name| name["args"]["name"] == row) else { return Vec::new() };
    let mut of_row: Vec<&Value> = steps.into_iter().filter(|step| step["tid"] == row["tid"]).collect();
    of_row.sort_by(|one, other| one["ts"].as_f64().unwrap().total_cmp(&other["ts"].as_f64().unwrap()));
    for pair in of_row.windows(2) {
        let (end, next) =
            (pair[0]["ts"].as_f64().unwrap() + pair[0]["dur"].as_f64().unwrap(), &pair[1]["ts"]);
        assert!(end <= next.as_f64().unwrap() + 0.01, "one after another: {pair:?}");
    }
    of_row.iter().map(|step| step["name"].as_str().unwrap().to_owned()).collect()
}

fn has(steps: &[String], wanted: &[&str]) {
    let mut steps_left = steps.iter();
    for name in wanted {
        assert!(steps_left.any(|step| step == name), "{name} in its place: {steps:?}");
    }
}

fn a_run_is_traced_from_both_halves(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "hostname"]);
    assert_eq!(run(kase, &bundle).stdout(), "kase\n");
    has(&steps(kase, "kase"), &["bundle", "host", "plan", "state", "clone", "wait for init", "start"]);
    let init = steps(kase, "init");
    has(&init, &["session", "loopback", "rootfs", "mounts", "devices", "pivot", "masked paths"]);
    assert_eq!(init.last().unwrap(), "wait for the start");
    assert_eq!(steps(kase, "hop"), Vec::<String>::new());
    // A second one begins anew.
    run(kase, &bundle).succeeded();
    assert_eq!(steps(kase, "kase").iter().filter(|step| *step == "plan").count(), 1);
}

fn a_create_is_traced_to_the_gate(kase: &Kase) {
    let bundle = kase.bundle();
    let option = file(kase);
    let id = kase.id();
    traced(kase, &["create", "-b", bundle.dir().to_str().unwrap(), &id]).succeeded();
    let before = fs::read(&option).unwrap();
    has(&steps(kase, "init"), &["mounts", "pivot", "user and capabilities"]);
    kase.call(["start", &id]).succeeded();
    assert_eq!(fs::read(&option).unwrap(), before, "what comes after the gate is no part of it");
    kase.call(["delete", "--force", &id]).succeeded();
}

fn an_exec_is_traced(kase: &Kase) {
    let container: Container<'_> = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    assert_eq!(traced(kase, &["exec", &container.id, "/probe", "hostname"]).stdout(), "kase\n");
    has(&steps(kase, "kase"), &["container", "plan", "join namespaces", "clone", "wait for init", "start"]);
    // What the container sees has no descriptor of the trace any more.
    has(&steps(kase, "init"), &["join namespaces", "session", "user and capabilities", "capabilities"]);
}

fn a_hop_has_a_row_of_its_own(kase: &Kase) {
    let bundle = kase.bundle().namespace(json!({"type": "time"}));
    let bundle = bundle.edit(|spec| spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 5}}));
    run(kase, &bundle).succeeded();
    has(&steps(kase, "hop"), &["join namespaces"]);
    has(&steps(kase, "init"), &["mounts", "pivot"]);
}

/// When the steps of a row began, in microseconds; each within the minute that a test may take.
fn begins(kase: &Kase, row: &str) -> Vec<f64> {
    steps(kase, row);
    let events: Vec<Value> = serde_json::from_str(&fs::read_to_string(file(kase)).unwrap()).unwrap();
    let row = events.iter().find(|event| event["args"]["name"] == row).unwrap();
    let of_row = events.iter().filter(|event| event["ph"] == "X" && event["tid"] == row["tid"]);
    let begins: Vec<f64> = of_row.map(|step| step["ts"].as_f64().unwrap()).collect();
    assert!(begins.iter().all(|ts| (0.0..6e7).contains(ts)), "{begins:?}");
    begins
}

fn clocks_of_the_container_do_not_shift_its_trace(kase: &Kase) {
    let bundle = |seconds: i64| {
        kase.bundle().namespace(json!({"type": "time"})).edit(|spec| {
            spec["linux"]["timeOffsets"] = json!({"monotonic": {"secs": seconds}});
        })
    };
    // Its own, back and forth.
    for seconds in [-5, 86_400] {
        run(kase, &bundle(seconds).args(["/probe", "hostname"])).succeeded();
        assert!(begins(kase, "init").iter().all(|ts| *ts > 0.0));
    }
    // Another's, by exec and by path.
    let other = kase.run_detached(&bundle(-5).args(["/probe", "sleep"]));
    assert_eq!(traced(kase, &["exec", &other.id, "/probe", "hostname"]).stdout(), "kase\n");
    begins(kase, "init");
    let kinds = if kase.is_root() { &["time"][..] } else { &["user", "time"][..] };
    let joining = kinds.iter().fold(kase.bundle(), |bundle, kind| {
        bundle.namespace(json!({"type": kind, "path": format!("/proc/{}/ns/{kind}", other.pid())}))
    });
    assert_eq!(run(kase, &joining.args(["/probe", "hostname"])).stdout(), "kase\n");
    begins(kase, "hop");
    begins(kase, "init");
}

fn a_filter_that_allows_no_write_does_not_matter(kase: &Kase) {
    let bundle = kase.bundle().args(["/true"]).edit(|spec| {
        spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"},
        ]});
    });
    run(kase, &bundle).succeeded();
    assert_eq!(steps(kase, "init").last().unwrap(), "wait for the start");
}

fn a_failure_is_traced_as_far_as_it_goes(kase: &Kase) {
    let bundle = kase.bundle().mount(json!({"destination": "/mnt", "type": "bind", "source": "/no/such"}));
    run(kase, &bundle).refused(&["/no/such"]);
    has(&steps(kase, "kase"), &["bundle", "plan"]);
    assert!(!steps(kase, "init").contains(&"pivot".to_owned()));
}

fn a_trace_that_cannot_be_written_is_refused(kase: &Kase) {
    let file = kase.path("no/such/file");
    let bundle = kase.bundle();
    let words = words(["--trace", file.to_str().unwrap(), "run", "-b"], bundle.dir(), ["name"]);
    kase.call(words).refused(&["write the trace", "no/such/file"]);
}
