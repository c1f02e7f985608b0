//! Maps written for a real process, by whoever runs the tests.
//!
//! As root the first test writes any ids; as a user with subordinate ids the helpers run. What the
//! caller cannot do is skipped, with the reason.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs::{read_link, read_to_string};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rootless::id_writer::{permitted, write};
use rootless::{Caller, IdKind, IdMap, IdMaps, Means, Range, Standing, Subordinate};

/// `sleep` in a user namespace of its own, without maps; killed when dropped.
struct Sleeper(Child);

impl Sleeper {
    /// `None` where this host makes no user namespace for the caller.
    fn new() -> Option<Self> {
        let mut sleeper = Self(Command::new("unshare").args(["-U", "sleep", "60"]).spawn().ok()?);
        let ours = read_link("/proc/self/ns/user").unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until && sleeper.0.try_wait().unwrap().is_none() {
            if read_link(format!("/proc/{}/ns/user", sleeper.0.id())).is_ok_and(|theirs| theirs != ours) {
                return Some(sleeper);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("skipped: no user namespace for this caller");
        None
    }

    fn read(&self, name: &str) -> String {
        read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap()
    }

    fn maps(&self) -> IdMaps {
        let map = |name| -> IdMap { self.read(name).parse().unwrap() };
        IdMaps { uids: map("uid_map"), gids: map("gid_map") }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_maps_of_everything_that_the_caller_has_are_written() {
    let caller = Caller::look().unwrap();
    let have = match caller.standing {
        Standing::Root => {
            let ranges = vec![Range { start: 100_000, count: 65_536 }, Range { start: 500_000, count: 7 }];
            Subordinate::new(ranges.clone(), ranges)
        }
        _ => Subordinate::look(&caller).unwrap(),
    };
    let maps = have.maps(&caller);
    maps.check().unwrap();
    permitted(&caller, &have, &maps).unwrap();
    let means = Means::choose(&caller, &maps).unwrap();
    let Some(sleeper) = Sleeper::new() else { return };

    write(sleeper.0.id(), &maps, &means).unwrap();
    assert_eq!(sleeper.maps(), maps);
    let setgroups = if means.denies_setgroups(&caller, &maps) { "deny\n" } else { "allow\n" };
    assert_eq!(sleeper.read("setgroups"), setgroups);
}

#[test]
fn the_own_ids_alone_are_written_without_help() {
    let caller = Caller::look().unwrap();
    let maps = caller.own_maps(5, 6);
    let means = Means::choose(&caller, &maps).unwrap();
    assert!(matches!(means, Means::Direct(_)));
    let Some(sleeper) = Sleeper::new() else { return };

    write(sleeper.0.id(), &maps, &means).unwrap();
    assert_eq!(sleeper.maps(), maps);
    let denied = sleeper.read("setgroups") == "deny\n";
    assert_eq!(denied, caller.standing == Standing::User);
}

#[test]
fn a_helper_refuses_ids_that_are_not_the_callers_and_the_hurdle_says_why() {
    let caller = Caller::look().unwrap();
    let maps =
        IdMaps { uids: "0 3000000000 1\n".parse().unwrap(), gids: "0 3000000000 1\n".parse().unwrap() };
    if caller.standing != Standing::User {
        return println!("skipped: only a user is refused ids");
    }
    let Ok(means) = Means::choose(&caller, &maps) else {
        return println!("skipped: newuidmap is not installed");
    };
    let refusal = permitted(&caller, &Subordinate::look(&caller).unwrap(), &maps).unwrap_err();
    assert_eq!((refusal.kind, refusal.line), (IdKind::Uid, 0));

    let Some(sleeper) = Sleeper::new() else { return };
    let error = write(sleeper.0.id(), &maps, &means).unwrap_err();
    let diagnosis = error.diagnosis(&caller).expect("a refusal of ids has a reason");
    assert!(diagnosis.cause.contains("/etc/subuid"), "{error}: {diagnosis:?}");
}
