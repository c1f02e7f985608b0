//! Filters that ask an agent.

use super::agent::{Agent, Reply};
use super::{about_mkdir, filtered, privileges};
use crate::common::{Bundle, Kase, Value, json, words};
use std::os::unix::net::UnixListener;
use std::path::Path;

deeds! {
    the_agent_answers_for_the_kernel,
    the_agent_hears_the_containers_process_state,
    the_agent_answers_for_an_added_process,
    calls_of_kases_own_may_notify,
    a_listener_that_nobody_listens_on_is_refused,
    a_listener_that_is_relative_or_missing_is_refused,
    a_listener_without_a_rule_that_notifies_is_ignored,
    calls_that_bring_the_listener_cannot_notify,
    waiting_killably_needs_an_agent,
}

/// mkdir asks the agent at `path`.
fn asking(kase: &Kase, path: &Path) -> Bundle {
    filtered(kase, &profile(path))
}

fn profile(path: &Path) -> Value {
    let mut profile = about_mkdir(json!({"action": "SCMP_ACT_NOTIFY"}));
    profile["listenerPath"] = json!(path);
    profile["listenerMetadata"] = json!("for the agent");
    profile
}

fn the_agent_answers_for_the_kernel(kase: &Kase) {
    for none_new in [true, false] {
        for (reply, seen) in [
            (Reply::Errno(100), "ENETDOWN\nno\n"),
            (Reply::Value(0), "ok\nno\n"),
            (Reply::Continue, "ok\nmade\n"),
        ] {
            let agent = Agent::listen(kase, reply);
            let bundle = privileges(asking(kase, agent.path()), none_new);
            let listed = kase.sees(bundle, ["syscall", "mkdir", "/dev/shm/made", "--", "list", "/dev/shm"]);
            let listed = match listed.split_once('\n') {
                Some((answer, "" | "\n")) => format!("{answer}\nno\n"),
                _ => listed,
            };
            assert_eq!(listed, seen, "noNewPrivileges {none_new}");
        }
    }
}

fn the_agent_hears_the_containers_process_state(kase: &Kase) {
    let agent = Agent::listen(kase, Reply::Continue);
    let bundle = asking(kase, agent.path())
        .args(["/probe", "sleep"])
        .edit(|spec| spec["annotations"] = json!({"org.example.key": "value"}));
    let container = kase.create(&bundle);
    let heard = agent.hears();
    assert_eq!(heard["fds"], json!(["seccompFd"]));
    assert_eq!(heard["pid"], container.pid());
    assert_eq!(heard["metadata"], "for the agent");
    assert!(heard["ociVersion"].is_string(), "{heard}");
    let state = &heard["state"];
    assert_eq!(state["id"], container.id.as_str());
    assert_eq!(state["status"], "creating");
    assert_eq!(state["pid"], container.pid());
    assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    assert!(state["ociVersion"].is_string(), "{heard}");
    container.start();
}

fn the_agent_answers_for_an_added_process(kase: &Kase) {
    for none_new in [true, false] {
        let agent = Agent::listen(kase, Reply::Errno(100));
        let bundle = privileges(asking(kase, agent.path()), none_new).args(["/probe", "sleep"]);
        let container = kase.run_detached(&bundle);
        let first = agent.hears();
        let outcome = kase.call(["exec", &container.id, "/probe", "syscall", "mkdir", "/dev/shm/made"]);
        assert_eq!(outcome.stdout(), "ENETDOWN\n");
        let added = agent.hears();
        assert_ne!(added["pid"], first["pid"]);
        assert_eq!(added["state"]["pid"], first["pid"], "the container's first process");
        assert_eq!(added["state"]["status"], "running");
        assert_eq!(added["metadata"], "for the agent");
        drop(agent);
        let outcome = kase.call(["exec", &container.id, "/probe", "true"]);
        outcome.exited(255);
        assert!(outcome.err.contains("linux.seccomp.listenerPath"), "{outcome}");
    }
}

fn calls_of_kases_own_may_notify(kase: &Kase) {
    for none_new in [true, false] {
        let agent = Agent::listen(kase, Reply::Continue);
        let mut profile = profile(agent.path());
        profile["syscalls"][0]["names"] =
            json!(["execve", "openat", "read", "close", "fcntl", "capset", "recvmsg"]);
        let bundle = privileges(filtered(kase, &profile), none_new);
        assert_eq!(kase.sees(bundle, ["hostname"]), "kase\n");
    }
}

/// `create` is refused with these words, and there is no container afterwards.
fn refused(kase: &Kase, bundle: &Bundle, expected: &[&str]) {
    let id = kase.id();
    kase.call(words(["create", "-b"], bundle.dir(), [id.as_str()])).refused(expected);
    assert_ne!(kase.call(["state", &id]).code, 0, "a state is left");
}

fn a_listener_that_nobody_listens_on_is_refused(kase: &Kase) {
    let place = "linux.seccomp.listenerPath";
    refused(
        kase,
        &asking(kase, &kase.path("nobody")),
        &[place, "failed to connect with seccomp agent", "No such file"],
    );
    drop(UnixListener::bind(kase.path("deaf")).unwrap());
    std::fs::set_permissions(kase.path("deaf"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    refused(kase, &asking(kase, &kase.path("deaf")), &[place, "Connection refused"]);
    refused(kase, &asking(kase, &kase.path("x".repeat(120))), &[place]);
}

fn a_listener_that_is_relative_or_missing_is_refused(kase: &Kase) {
    for path in ["agent", ""] {
        refused(kase, &asking(kase, Path::new(path)), &["linux.seccomp.listenerPath"]);
    }
    let profile = about_mkdir(json!({"action": "SCMP_ACT_NOTIFY"}));
    refused(kase, &filtered(kase, &profile), &["linux.seccomp.listenerPath", "not set"]);
}

fn a_listener_without_a_rule_that_notifies_is_ignored(kase: &Kase) {
    let mut profile = about_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
    profile["listenerPath"] = json!("/nobody/listens/here");
    profile["listenerMetadata"] = json!("for nobody");
    assert_eq!(kase.sees(filtered(kase, &profile), super::MKDIR), "EPERM\n");
}

fn calls_that_bring_the_listener_cannot_notify(kase: &Kase) {
    let agent = Agent::listen(kase, Reply::Continue);
    for name in ["sendmsg", "write"] {
        let mut profile = profile(agent.path());
        profile["syscalls"][0]["names"] = json!([name]);
        refused(kase, &filtered(kase, &profile), &["linux.seccomp.syscalls", name, "SCMP_ACT_NOTIFY"]);
    }
    let mut profile = profile(agent.path());
    profile["defaultAction"] = json!("SCMP_ACT_NOTIFY");
    refused(kase, &filtered(kase, &profile), &["linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY"]);
}

fn waiting_killably_needs_an_agent(kase: &Kase) {
    let agent = Agent::listen(kase, Reply::Errno(100));
    let flags = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    let mut profile = profile(agent.path());
    profile["flags"] = flags.clone();
    assert_eq!(kase.sees(filtered(kase, &profile), super::MKDIR), "ENETDOWN\n");
    let mut profile = about_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
    profile["flags"] = flags;
    refused(kase, &filtered(kase, &profile), &["linux.seccomp.flags[0]", "WAIT_KILLABLE_RECV"]);
}
