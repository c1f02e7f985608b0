//! The ids of processes that have ended come round again, to somebody else's processes: a container's init ends, and
//! its id becomes that of a victim, before a command of kase's begins or in the middle of it. Neither is signalled,
//! entered or shown.

use crate::common::{Kase, Outcome, is_root, programs, words};
use std::fs;
use std::process::Command;

deeds! {
    whoever_has_the_id_later_is_left_alone,
    whoever_gets_the_id_in_the_middle_of_a_command_is_left_alone,
}

/// A pid namespace with few ids where the kernel gives each its own (Linux 6.14), and else one where the next id can be
/// chosen. `take` makes a victim whose id is `$1`, `gone` waits until nobody has it, `as` runs something as the caller,
/// `is_left` fails unless the victim lives.
const GROUND: &str = r#"
    set -u
    case $(uname -r) in
        [1-5].*|6.[0-9].*|6.1[0-3].*) ;;
        *) echo 500 >/proc/sys/kernel/pid_max ;;
    esac
    fail() { echo "$*"; exit 9; }
    gone() {
        # An external command has the shell, which is the first process here, look after its children.
        until ! [ -e /proc/$1 ]; do /bin/true; done
    }
    read most </proc/sys/kernel/pid_max
    # When they have come round, the kernel leaves the first 300 out.
    last=0
    until [ $last -ge 310 ] || [ $most -gt 500 ]; do : & last=$!; wait $last; done
    take() {
        got=0
        # Nothing else in the loop is a process: with two in each round, half of the ids would never be the victim's.
        until [ $got = $1 ]; do
            [ $got = 0 ] || { kill -9 $got; wait $got; }
            [ $most -le 500 ] || echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
            as sleep 1000 >/dev/null 2>&1 </dev/null &
            got=$!
        done 2>/dev/null
        until [ "$(tr '\0' ' ' </proc/$1/cmdline)" = 'sleep 1000 ' ]; do :; done
    }
    is_left() { [ "$(tr '\0' ' ' </proc/$got/cmdline)" = 'sleep 1000 ' ] || fail "the victim is no more after $*"; }
"#;

/// Runs the script on that ground as root, in it `"$@"` is kase and `$id` a container that is running.
fn on_the_ground(kase: &Kase, script: &str) -> Outcome {
    let (bundle, id) = (kase.bundle().args(["/probe", "sleep"]), kase.id());
    let caller = if kase.is_root() {
        String::new()
    } else {
        format!("setpriv --reuid {} --regid {} --clear-groups", kase.identity.uid, kase.identity.gid)
    };
    let create = words(["run", "-d", "--pid-file", "pid", "-b"], bundle.dir(), []);
    let create: Vec<_> = create.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let whole = format!(
        "{GROUND}
        id={id} inject='{}' rights='{}'
        as() {{ exec {caller} \"$@\"; }}
        make() {{ (as \"$@\" {} $id) </dev/null >/dev/null 2>made || fail \"$(cat made)\"; pid=$(cat pid); }}
        {script}",
        programs::inject().display(),
        if kase.is_root() {
            String::new()
        } else {
            format!("uid={} gid={}", kase.identity.uid, kase.identity.gid)
        },
        create.join(" "),
    );
    let own = kase.command([""; 0]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &whole, "sh"]);
    unshare.arg(own.get_program()).args(own.get_args());
    unshare.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    unshare.current_dir(kase.path(""));
    let outcome = kase.finish(unshare);
    // What the namespace leaves when it ends has no processes any more.
    kase.call(["delete", "--force", &id]);
    outcome
}

fn whoever_has_the_id_later_is_left_alone(kase: &Kase) {
    if !is_root() {
        skip!("needs root to make a pid namespace with few ids");
    }
    let script = r#"
        make "$@"
        kill -9 $pid; gone $pid
        take $pid
        call() { wanted=$1; shift; ( as "$@" ) >out 2>&1 </dev/null; code=$?; is_left "$*"
            [ $code = $wanted ] || fail "$code from $*: $(cat out)"; }
        call 0 "$@" state $id; grep -q '"status": "stopped"' out || fail "$(cat out)"
        call 0 "$@" list; grep -q "$id .* stopped" out || fail "$(cat out)"
        call 0 "$@" ps --format json $id; [ "$(cat out)" = '[]' ] || fail "$(cat out)"
        call 1 "$@" kill $id KILL
        call 1 "$@" kill $id TERM
        call 0 "$@" kill --all $id KILL
        call 255 "$@" exec $id /true
        call 1 "$@" start $id
        call 1 "$@" pause $id
        call 1 "$@" resume $id
        call 1 "$@" update --pids-limit 10 $id
        call 1 "$@" events --stats $id
        call 0 "$@" gc
        call 0 "$@" delete --force $id
        echo survived
    "#;
    let outcome = on_the_ground(kase, script);
    assert_eq!(outcome.stdout(), "survived\n", "{outcome}");
    control(kase);
}

/// A runtime that knows init by its id alone: kase with a record that has the victim's start, and no inode.
fn control(kase: &Kase) {
    let record = kase.state_dir();
    let script = r#"
        make "$@"
        kill -9 $pid; gone $pid
        take $pid
        start=$(sed 's/.*) //' /proc/$pid/stat | cut -d ' ' -f 20)
        sed -i "/^{\"init\":/{s/\"startTime\":[0-9]*/\"startTime\":$start/;s/,\"inode\":[0-9]*//}" RECORD/$id/record
        ( as "$@" kill $id KILL ) || fail 'it was not killed'
        wait $got
        [ $? = 137 ] && echo killed
    "#;
    let outcome = on_the_ground(kase, &script.replace("RECORD", record.to_str().unwrap()));
    assert_eq!(outcome.stdout(), "killed\n", "the attack works on nobody: {outcome}");
}

/// Where a command stands still, and what it may say when it goes on.
fn moments() -> Vec<(&'static str, libc::c_long, &'static str)> {
    vec![
        // The record has been read.
        ("before", libc::SYS_pidfd_open, "kill $id KILL"),
        ("before", libc::SYS_pidfd_open, "kill --all $id KILL"),
        ("before", libc::SYS_pidfd_open, "exec $id /true"),
        ("before", libc::SYS_pidfd_open, "delete --force $id"),
        // The process has been opened.
        ("after", libc::SYS_pidfd_open, "kill $id KILL"),
        ("before", libc::SYS_pidfd_send_signal, "kill $id KILL"),
        ("before", libc::SYS_pidfd_send_signal, "kill --all $id KILL"),
        ("after", libc::SYS_pidfd_open, "exec $id /true"),
        ("before", libc::SYS_pidfd_send_signal, "exec --user name $id /true"),
        ("before", libc::SYS_clone3, "exec $id /true"),
        ("after", libc::SYS_pidfd_open, "delete --force $id"),
        ("before", libc::SYS_pidfd_send_signal, "delete --force $id"),
    ]
}

fn whoever_gets_the_id_in_the_middle_of_a_command_is_left_alone(kase: &Kase) {
    if !is_root() {
        skip!("needs root to make a pid namespace with few ids");
    }
    for (hold, call, command) in moments() {
        for file in ["held", "go-on", "made", "pid"] {
            let _ = fs::remove_file(kase.path(file));
        }
        let script = format!(
            r#"
            make "$@"
            $inject log=held $rights hold={hold} calls={call} until=go-on -- "$@" {command} >out 2>&1 </dev/null &
            running=$!
            until [ -s held ]; do [ -e /proc/$running ] || fail "it did not stand still: $(cat out)"; /bin/true; done
            kill -9 $pid; gone $pid
            take $pid
            : >go-on
            wait $running; code=$?
            is_left
            case "{command}" in exec*) [ $code != 0 ] || fail "it was executed: $(cat out)" ;; esac
            echo survived
            "#
        );
        let outcome = on_the_ground(kase, &script);
        assert_eq!(outcome.stdout(), "survived\n", "{hold} {call} of {command}: {outcome}");
    }
}
