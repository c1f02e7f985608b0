//! Profiles that cannot be, each refused with its place.

use super::{about_mkdir, filtered};
use crate::common::{Kase, Value, json, words};

deeds! {
    unknown_words_are_refused_with_their_place,
    an_architecture_without_a_table_is_refused,
    an_argument_index_over_5_is_refused,
    an_errno_out_of_range_is_refused,
    an_errno_for_an_action_without_one_is_refused,
    a_rule_that_contradicts_another_is_refused,
    an_empty_name_is_refused,
    a_program_that_is_too_long_is_refused,
    a_filter_under_which_nothing_could_start_is_refused,
}

/// A profile about mkdir with one change is refused with these words, and leaves nothing behind.
fn refused(kase: &Kase, change: impl FnOnce(&mut Value), expected: &[&str]) {
    let mut profile = about_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
    change(&mut profile);
    let (bundle, id) = (filtered(kase, &profile), kase.id());
    kase.call(words(["create", "-b"], bundle.dir(), [id.as_str()])).refused(expected);
    assert_ne!(kase.call(["state", &id]).code, 0, "a state is left");
}

fn unknown_words_are_refused_with_their_place(kase: &Kase) {
    let arg = json!({"index": 0, "value": 1, "op": "SCMP_CMP_LIKE"});
    refused(
        kase,
        |it| it["defaultAction"] = json!("SCMP_ACT_ASK"),
        &["linux.seccomp.defaultAction", "SCMP_ACT_ASK"],
    );
    refused(
        kase,
        |it| it["syscalls"][0]["action"] = json!("SCMP_ACT_ASK"),
        &["linux.seccomp.syscalls[0].action", "SCMP_ACT_ASK"],
    );
    refused(
        kase,
        |it| it["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_VAX"]),
        &["linux.seccomp.architectures[1]", "SCMP_ARCH_VAX"],
    );
    refused(
        kase,
        |it| it["syscalls"][0]["args"] = json!([arg]),
        &["linux.seccomp.syscalls[0].args[0].op", "SCMP_CMP_LIKE"],
    );
    refused(
        kase,
        |it| it["flags"] = json!(["SECCOMP_FILTER_FLAG_FAST"]),
        &["linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_FAST"],
    );
}

fn an_architecture_without_a_table_is_refused(kase: &Kase) {
    refused(
        kase,
        |it| it["architectures"] = json!(["SCMP_ARCH_PARISC"]),
        &["linux.seccomp.architectures[0]", "SCMP_ARCH_PARISC"],
    );
}

fn an_argument_index_over_5_is_refused(kase: &Kase) {
    let args =
        json!([{"index": 5, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]);
    refused(kase, |it| it["syscalls"][0]["args"] = args, &["linux.seccomp.syscalls[0].args[1].index", "6"]);
}

fn an_errno_out_of_range_is_refused(kase: &Kase) {
    refused(
        kase,
        |it| it["syscalls"][0]["errnoRet"] = json!(4096),
        &["linux.seccomp.syscalls[0].errnoRet", "4096"],
    );
    let change = |it: &mut Value| {
        it["defaultAction"] = json!("SCMP_ACT_ERRNO");
        it["defaultErrnoRet"] = json!(70000);
    };
    refused(kase, change, &["linux.seccomp.defaultErrnoRet", "70000"]);
    refused(kase, |it| it["syscalls"][0]["errnoRet"] = json!(-1), &["linux.seccomp.syscalls[0].errnoRet"]);
}

fn an_errno_for_an_action_without_one_is_refused(kase: &Kase) {
    let change = |it: &mut Value| {
        it["syscalls"][0] = json!({"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 1});
    };
    refused(kase, change, &["linux.seccomp.syscalls[0].errnoRet", "SCMP_ACT_KILL"]);
    refused(
        kase,
        |it| it["defaultErrnoRet"] = json!(1),
        &["linux.seccomp.defaultErrnoRet", "SCMP_ACT_ALLOW"],
    );
}

fn a_rule_that_contradicts_another_is_refused(kase: &Kase) {
    let args = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]);
    let rule = |action: &str| json!({"names": ["lseek"], "action": action, "args": args});
    let change = |it: &mut Value| it["syscalls"] = json!([rule("SCMP_ACT_ERRNO"), rule("SCMP_ACT_KILL")]);
    refused(kase, change, &["linux.seccomp.syscalls[1].action", "syscalls[0]"]);
}

fn an_empty_name_is_refused(kase: &Kase) {
    refused(
        kase,
        |it| it["syscalls"][0]["names"] = json!(["mkdir", ""]),
        &["linux.seccomp.syscalls[0].names[1]", "empty"],
    );
}

fn a_program_that_is_too_long_is_refused(kase: &Kase) {
    let rules: Vec<Value> = (0..3000)
        .map(|at: u64| {
            let arg = json!({"index": 1, "value": (at << 32) | (at * 7), "op": "SCMP_CMP_EQ"});
            json!({"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "args": [arg]})
        })
        .collect();
    let change = |it: &mut Value| it["syscalls"] = json!(rules);
    refused(kase, change, &["linux.seccomp.syscalls[", "instructions", "4096"]);
}

/// runc creates the container, which then ends at its start: "container process is already dead".
fn a_filter_under_which_nothing_could_start_is_refused(kase: &Kase) {
    let words = ["linux.seccomp", "refuses execve"];
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"] {
        refused(kase, |it| *it = json!({"defaultAction": action}), &words);
        let rule = json!([{"names": ["execve"], "action": action}]);
        refused(kase, |it| *it = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule}), &words);
    }
}
