//! What kase says of containers: the state JSON and the list.

use crate::common::{Kase, Value, is_root, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

deeds! {
    the_state_has_the_fields_of_the_spec_and_of_runc,
    the_state_is_printed_in_the_usual_order,
    a_stopped_container_has_no_pid,
    a_later_process_with_inits_id_is_not_init,
    the_state_of_a_missing_container_is_an_error,
    the_list_is_a_table,
    the_list_is_json_when_asked,
    the_quiet_list_has_only_ids,
    the_list_needs_no_descriptor_for_each_container,
    an_empty_list_is_no_error,
    a_record_that_never_answers_holds_nobody_up,
    a_cgroup_that_never_answers_holds_nobody_up,
    a_record_of_gigabytes_is_not_read,
    annotations_that_no_record_holds_are_refused,
    an_unknown_list_format_is_refused,
    a_root_that_does_not_exist_is_refused_when_given,
    a_root_that_is_a_link_of_the_callers_is_followed,
    a_link_to_state_that_is_anothers_is_refused,
    a_link_of_roots_to_state_is_followed_where_nobody_else_may_write,
    a_runtime_directory_that_cannot_be_looked_at_is_an_error,
}
deeds! { user: a_fallback_directory_is_looked_at_when_it_is_open }

fn the_state_has_the_fields_of_the_spec_and_of_runc(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let bundle = bundle.edit(|spec| spec["annotations"] = json!({"org.example.colour": "red"}));
    let container = kase.create(&bundle);
    let state = container.state();
    assert_eq!(state["id"], container.id.as_str());
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.rootfs("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(state["annotations"], json!({"org.example.colour": "red"}));
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    let created = state["created"].as_str().unwrap();
    let shape: String = created.chars().take(19).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!((shape.as_str(), created.ends_with('Z')), ("0000-00-00T00:00:00", true), "{state}");
    assert!(state["pid"].as_i64().unwrap() > 0, "{state}");
}

fn the_state_is_printed_in_the_usual_order(kase: &Kase) {
    let container = kase.create(&kase.bundle());
    let text = container.call("state", []).stdout().to_owned();
    let places: Vec<Option<usize>> =
        ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]
            .into_iter()
            .map(|key| text.find(&format!("\"{key}\":")))
            .collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
    assert!(text.starts_with("{\n  \"ociVersion\": \""), "{text}");
}

fn a_stopped_container_has_no_pid(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle());
    container.becomes("stopped");
    assert_eq!(container.state()["pid"], 0);
}

/// Process ids come round again: what the record says besides has to fit.
fn a_later_process_with_inits_id_is_not_init(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let path = kase.state_dir().join(&container.id).join("record");
    let record = fs::read_to_string(&path).unwrap();
    let told = |change: &dyn Fn(&mut Value)| {
        let lines = record.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            if line.get("init").is_some() {
                change(&mut line["init"]);
            }
            format!("{line}\n")
        });
        fs::write(&path, lines.collect::<String>()).unwrap();
        let list: Value = serde_json::from_str(kase.call(["list", "-f", "json"]).stdout()).unwrap();
        let status = container.state()["status"].clone();
        assert_eq!(list[0]["status"], status);
        status.as_str().unwrap().to_owned()
    };
    let forget = |init: &mut Value| {
        init.as_object_mut().unwrap().remove("inode");
    };
    let raise = |value: &mut Value| *value = json!(value.as_u64().unwrap() + 1);
    // As kernels before 6.9 have it: by the start time alone.
    let by_start = told(&forget);
    let by_another_start = told(&|init| {
        forget(init);
        raise(&mut init["startTime"]);
    });
    let by_another_inode = record.contains("\"inode\":").then(|| told(&|init| raise(&mut init["inode"])));
    fs::write(&path, &record).unwrap();
    assert_eq!([by_start, by_another_start], ["running", "stopped"]);
    assert!(by_another_inode.is_none_or(|status| status == "stopped"));
    assert_eq!(container.status(), "running");
}

fn the_state_of_a_missing_container_is_an_error(kase: &Kase) {
    for verb in ["state", "start", "kill"] {
        kase.call([verb, "nobody"]).refused(&["nobody", "does not exist"]);
    }
}

fn the_list_is_a_table(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let (one, other) = (kase.create(&bundle), kase.run_detached(&bundle));
    let list = kase.call(["list"]);
    let mut lines = list.stdout().lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row =
        |id: &str| list.out.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap().to_owned();
    for (container, status) in [(&one, "created"), (&other, "running")] {
        let row = row(&container.id);
        let columns: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(columns[1], container.pid().to_string(), "{row}");
        assert_eq!(columns[2], status, "{row}");
        assert_eq!(columns[3], bundle.dir().to_str().unwrap(), "{row}");
        assert_eq!(columns[5], kase.identity.name, "{row}");
    }
}

fn the_list_is_json_when_asked(kase: &Kase) {
    let container = kase.create(&kase.bundle());
    let list: Value = serde_json::from_str(kase.call(["list", "--format", "json"]).stdout()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["id"], container.id.as_str());
    assert_eq!(list[0]["status"], "created");
    assert_eq!(list[0]["owner"], kase.identity.name.as_str());
    assert_eq!(list[0]["pid"], container.pid());
}

fn the_quiet_list_has_only_ids(kase: &Kase) {
    let container = kase.create(&kase.bundle());
    assert_eq!(kase.call(["list", "-q"]).stdout(), format!("{}\n", container.id));
    assert_eq!(kase.call(["list", "--quiet"]).stdout(), format!("{}\n", container.id));
}

fn the_list_needs_no_descriptor_for_each_container(kase: &Kase) {
    let bundle = kase.bundle();
    let containers: Vec<_> = (0..8).map(|_| kase.create(&bundle)).collect();
    let list = kase.command(["list", "--format", "json"]);
    let mut limited = kase.program("sh");
    limited.args(["-c", "ulimit -n 12; exec \"$@\"", "sh"]).arg(list.get_program()).args(list.get_args());
    let outcome = kase.finish(limited);
    let list: Value = serde_json::from_str(outcome.stdout()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), containers.len(), "{outcome}");
}

fn an_empty_list_is_no_error(kase: &Kase) {
    assert_eq!(kase.call(["list"]).stdout().lines().count(), 1);
    assert_eq!(kase.call(["list", "-q"]).stdout(), "");
    let list: Value = serde_json::from_str(kase.call(["list", "-f", "json"]).stdout()).unwrap();
    assert!(list.as_array().is_none_or(Vec::is_empty), "{list}");
}

/// As another user may have made it, whose containers root looks at.
fn a_record_that_never_answers_holds_nobody_up(kase: &Kase) {
    let container = kase.create(&kase.bundle());
    let other = kase.state_dir().join("other");
    fs::create_dir(&other).unwrap();
    nix::unistd::mkfifo(&other.join("record"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    kase.identity.own(&other);
    kase.identity.own(&other.join("record"));
    let list = kase.call(["list", "-q"]);
    let state = kase.call(["state", "other"]);
    fs::remove_dir_all(other).unwrap();
    // The others are there, and the list is not whole.
    list.exited(1);
    assert_eq!(list.out, format!("{}\n", container.id));
    assert!(list.err.contains("other"), "{list}");
    state.refused(&["other", "read the container's record"]);
}

/// The cgroup of a record that another user may have written.
fn a_cgroup_that_never_answers_holds_nobody_up(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let cgroup = kase.directory("cgroup");
    nix::unistd::mkfifo(&cgroup.join("cgroup.freeze"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    kase.identity.own(&cgroup.join("cgroup.freeze"));
    let record = kase.state_dir().join(&container.id).join("record");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, format!("{text}{{\"cgroup\":{{\"v2\":{cgroup:?}}}}}\n")).unwrap();
    let (state, list) = (kase.call(["state", &container.id]), kase.call(["list"]));
    fs::write(&record, text).unwrap();
    assert!(state.stdout().contains("\"running\""), "{state}");
    assert!(list.stdout().contains("running"), "{list}");
}

/// As by another user, whose state root looks at.
fn a_record_of_gigabytes_is_not_read(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    let record = kase.state_dir().join(&container.id).join("record");
    let length = fs::metadata(&record).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&record).unwrap();
    file.set_len(8 << 30).unwrap();
    let outcomes = [kase.call(["state", &container.id]), kase.call(["delete", "--force", &container.id])];
    file.set_len(length).unwrap();
    for outcome in outcomes {
        outcome.refused(&["read the container's record", "longer than 16777216 bytes"]);
    }
    assert_eq!(container.status(), "created");
}

fn annotations_that_no_record_holds_are_refused(kase: &Kase) {
    let text = "x".repeat(9 << 20);
    let bundle = kase.bundle().edit(|spec| spec["annotations"]["org.example.key"] = json!(text));
    kase.run(&bundle).refused(&["write the container's record", "longer than"]);
    assert_eq!(kase.call(["list", "-q"]).stdout(), "");
}

fn an_unknown_list_format_is_refused(kase: &Kase) {
    kase.call(["list", "--format", "poem"]).refused(&["poem"]);
}

fn a_root_that_does_not_exist_is_refused_when_given(kase: &Kase) {
    let missing = kase.path("no-such-root");
    let mut command = kase.program(&crate::common::program());
    command.args(["--root", missing.to_str().unwrap(), "list"]);
    kase.finish(command).refused(&["no-such-root"]);
}

/// Puts a link, of user `owner`, in the place of the directory with the caller's containers.
fn link_state(kase: &Kase, owner: u32) {
    let target = kase.directory("elsewhere");
    let link = kase.state_dir();
    let _ = fs::remove_dir(&link);
    std::os::unix::fs::symlink(target, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(owner), None).unwrap();
}

fn a_root_that_is_a_link_of_the_callers_is_followed(kase: &Kase) {
    link_state(kase, kase.identity.uid);
    let container = kase.create(&kase.bundle());
    assert_eq!(container.status(), "created");
    assert!(kase.call(["list", "-q"]).stdout().contains(&container.id));
    container.call("delete", ["--force"]).succeeded();
    assert_eq!(kase.call(["list", "-q"]).stdout(), "");
}

fn a_link_to_state_that_is_anothers_is_refused(kase: &Kase) {
    if !is_root() {
        skip!("needs root");
    }
    link_state(kase, kase.identity.uid + 1);
    let bundle = kase.bundle();
    let created = kase.call(["create", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
    for outcome in [created, kase.call(["list"]), kase.call(["state", "web"])] {
        assert_ne!(outcome.code, 0, "{outcome}");
        assert!(outcome.err.contains("is a symbolic link of uid"), "{outcome}");
    }
}

fn a_link_of_roots_to_state_is_followed_where_nobody_else_may_write(kase: &Kase) {
    if !is_root() {
        skip!("needs root");
    }
    let (target, place) = (kase.directory("elsewhere"), kase.directory("roots"));
    std::os::unix::fs::chown(&place, Some(0), Some(0)).unwrap();
    let link = place.join("state");
    std::os::unix::fs::symlink(target, &link).unwrap();
    let list = || {
        let mut command = kase.program(&crate::common::program());
        command.args(["--root", link.to_str().unwrap(), "list"]);
        kase.finish(command)
    };
    list().succeeded();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    match kase.is_root() {
        true => list().succeeded(),
        false => list().refused(&["is a symbolic link of uid 0"]),
    };
}

fn a_runtime_directory_that_cannot_be_looked_at_is_an_error(kase: &Kase) {
    if kase.is_root() {
        skip!("root has none");
    }
    let mut strace = kase.program("strace");
    if strace.arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let list = kase.command(["list"]);
    let mut strace = kase.program("strace");
    let run = kase.path("run");
    strace.args(["-o", "strace", "-P"]).arg(&run).args(["-e", "inject=%%stat:error=EIO", "--"]);
    strace.arg(list.get_program()).args(list.get_args());
    let outcome = kase.finish(strace);
    assert_eq!(outcome.code, 1, "{outcome}");
    assert!(outcome.err.contains(&format!("{} cannot be used", run.display())), "{outcome}");
}

/// In /tmp a name is another's directory from one call to the next.
fn a_fallback_directory_is_looked_at_when_it_is_open(kase: &Kase) {
    let own = format!("/tmp/kase-{}", kase.identity.uid);
    if !is_root() || std::path::Path::new(&own).exists() {
        skip!("needs root, and {own} for itself");
    }
    let mut list = kase.command(["list"]);
    list.env_remove("XDG_RUNTIME_DIR");
    fs::create_dir(&own).unwrap();
    kase.identity.own(own.as_ref());
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    let looks = [libc::SYS_openat, libc::SYS_openat2, libc::SYS_newfstatat, libc::SYS_statx];
    let running = kase.held("after", &looks, Some(&own), &list);
    fs::remove_dir(&own).unwrap();
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = running.goes_on().finish();
    fs::remove_dir(&own).unwrap();
    assert_eq!(outcome.code, 1, "{outcome}");
    assert!(outcome.err.contains("belongs to uid 0"), "{outcome}");
}
