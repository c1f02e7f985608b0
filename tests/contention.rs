//! Two commands on one container at once: one of the two wins, the other says so, and nothing is left.

use crate::common::{Bundle, Kase, Outcome, Running, is_ours, patience, wait_until, words};
use nix::fcntl::{FcntlArg, fcntl};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

deeds! {
    a_creation_that_is_deleted_fails_wherever_it_is,
    of_a_creation_and_a_deletion_at_once_nothing_is_lost,
    a_creator_that_hangs_does_not_keep_its_id,
    of_two_starts_at_once_one_is_told_that_it_runs,
    of_two_deletions_at_once_one_has_deleted_it,
    what_is_frozen_while_it_is_killed_ends,
    whoever_freezes_a_container_again_and_again_keeps_nobody_from_its_deletion,
}

fn entry(kase: &Kase, id: &str) -> PathBuf {
    kase.state_dir().join(id)
}

fn creating<'a>(bundle: &'a Bundle, verb: &'a [&'a str], id: &'a str) -> Vec<&'a OsStr> {
    words(verb.iter().copied().chain(["-b"]), bundle.dir(), [id])
}

/// Whoever removes a container locks this byte of its record.
fn is_locked_by_remover(kase: &Kase, id: &str) -> bool {
    let Ok(record) = fs::File::open(entry(kase, id).join("record")) else { return false };
    let mut lock = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 2,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&record, FcntlArg::F_OFD_GETLK(&mut lock)).unwrap();
    lock.l_type != libc::F_UNLCK as i16
}

/// The creation stands still, once its entry is there, until the entry has gone or the deletion waits for its end.
fn a_creation_that_is_deleted_fails_wherever_it_is(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    for verb in [["create"].as_slice(), &["run", "-d"]] {
        for (hold, call, path) in [
            ("before", libc::SYS_openat, Some("record")),
            ("after", libc::SYS_openat, Some("record")),
            ("before", libc::SYS_clone3, None),
            ("after", libc::SYS_clone3, None),
        ] {
            let id = kase.id();
            let command = kase.command(creating(&bundle, verb, &id));
            let creation = kase.held(hold, &[call], path, &command);
            let delete = kase.spawn(kase.command(["delete", "--force", &id]));
            wait_until("the deletion", || !entry(kase, &id).exists() || is_locked_by_remover(kase, &id));
            let created = creation.goes_on().finish();
            let deleted = delete.finish();
            let place = format!("{verb:?} {hold} {call}");
            assert_eq!((deleted.code, created.code), (0, 1), "{place}: {deleted}{created}");
            assert!(!entry(kase, &id).exists(), "{place}");
            // The id and its cgroup are free.
            kase.call(creating(&bundle, &["create"], &id)).succeeded();
            kase.call(["delete", "--force", &id]).succeeded();
        }
    }
}

fn of_a_creation_and_a_deletion_at_once_nothing_is_lost(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    for round in 0..40_u64 {
        let id = kase.id();
        let verb: &[&str] = if round % 2 == 0 { &["create"] } else { &["run", "-d"] };
        let creation = kase.spawn(kase.command(creating(&bundle, verb, &id)));
        let (begun, mut deleted) = (Instant::now(), None);
        while deleted.as_ref().is_none_or(|deleted: &Outcome| deleted.code != 0) {
            assert!(begun.elapsed() < patience() / 3, "{deleted:?}: {}", creation.finish());
            std::thread::sleep(Duration::from_micros(round * 100));
            deleted = entry(kase, &id).exists().then(|| kase.call(["delete", "--force", &id]));
        }
        let created = creation.finish();
        assert!(!entry(kase, &id).exists(), "{created}");
        // What is lost keeps the id from use by its cgroup.
        kase.call(creating(&bundle, &["create"], &id)).succeeded();
        kase.call(["delete", "--force", &id]).succeeded();
    }
}

/// In a hook that does not end.
fn a_creator_that_hangs_does_not_keep_its_id(kase: &Kase) {
    let hook = serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", "touch at; exec sleep 100"],
        "env": ["PATH=/usr/bin:/bin"]}]);
    let bundle = kase.bundle().args(["/probe", "sleep"]).edit(|spec| spec["hooks"]["createRuntime"] = hook);
    let id = kase.id();
    let creation = kase.spawn(kase.command(creating(&bundle, &["create"], &id)));
    wait_until("the hook", || bundle.path("at").exists());
    kase.call(["delete", &id]).refused(&["not stopped: creating"]);
    kase.call(["delete", "--force", &id]).succeeded();
    let created = creation.finish();
    assert_ne!(created.code, 0, "{created}");
    kase.call(["state", &id]).refused(&["does not exist"]);
    end_hook(kase);
}

/// Ends the hook that has outlived its kase.
fn end_hook(kase: &Kase) {
    let marker = format!("{}/", kase.path("").display());
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let is_hook = fs::read(process.path().join("cmdline")).is_ok_and(|text| text == b"sleep\x00100\x00");
        let here = fs::read_link(process.path().join("cwd"))
            .is_ok_and(|directory| directory.to_string_lossy().starts_with(marker.trim_end_matches('/')));
        if is_hook && here {
            let pid = process.file_name().to_str().unwrap().parse().unwrap();
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

fn of_two_starts_at_once_one_is_told_that_it_runs(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    for _ in 0..30 {
        let container = kase.create(&bundle);
        let starts = [(); 3].map(|()| kase.spawn(kase.command(["start", &container.id])));
        let mut ends = starts.map(Running::finish);
        ends.sort_by_key(|end| end.code);
        let [won, lost @ ..] = ends;
        won.succeeded();
        for lost in lost {
            if is_ours() {
                lost.refused(&["cannot start an already running container"]);
            } else {
                assert_ne!(lost.code, 0);
            }
        }
    }
}

fn of_two_deletions_at_once_one_has_deleted_it(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    let delete = || kase.command(["delete", &container.id]);
    let first = kase.held("before", &[libc::SYS_unlinkat], None, &delete());
    let second = kase.spawn(delete());
    // fcntl of the two processors: it waits for the lock.
    wait_until("the second to wait", || {
        let call = fs::read_to_string(format!("/proc/{}/syscall", second.child.id())).unwrap();
        call.starts_with("72 ") || call.starts_with("25 ")
    });
    first.goes_on().finish().succeeded();
    second.finish().refused(&["does not exist"]);
}

fn what_is_frozen_while_it_is_killed_ends(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let kill = kase.command(["kill", &container.id, "KILL"]);
    let kill = kase.held("before", &[libc::SYS_pidfd_send_signal], None, &kill);
    let paused = container.call("pause", []);
    kill.goes_on().finish().succeeded();
    if paused.code != 0 {
        skip!("needs a freezer");
    }
    container.becomes("stopped");
}

/// As `pause` may, at a moment that the deletion has not waited for.
fn whoever_freezes_a_container_again_and_again_keeps_nobody_from_its_deletion(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let record = fs::read_to_string(entry(kase, &container.id).join("record")).unwrap_or_default();
    let Some((_, path)) = record.split_once("\"freezer\":\"") else {
        skip!("needs the freezer of cgroup v1")
    };
    let file = PathBuf::from(path.split('"').next().unwrap()).join("freezer.state");
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let freezing = std::thread::spawn(move || {
        while is_done
            .recv_timeout(Duration::from_millis(20))
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            let _ = fs::write(&file, "FROZEN");
        }
    });
    let deleted = container.call("delete", ["--force"]);
    drop(done);
    freezing.join().unwrap();
    deleted.succeeded();
    container.call("state", []).refused(&["does not exist"]);
}
