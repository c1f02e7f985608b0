//! A configuration has more id map lines than a message of 16 bits, or the kernel, takes: where the rest is cut off, or
//! read as something else, the container gets other ids than its engine allowed it (CVE-2021-43784).

use crate::common::{Bundle, Kase, json, wait_until};
use nix::sys::signal::Signal;
use std::fs;

deeds! {
    all_lines_that_the_kernel_takes_are_the_containers,
    more_lines_than_the_kernel_takes_are_refused_and_none_is_cut_off,
}

/// What the kernel takes: lines, and bytes of them.
const MOST_LINES: usize = 340;
const PAGE: usize = 4096;

/// A range of ids: inside, outside, how many.
type Line = (usize, usize, usize);

/// Lines of one id each that cannot be joined: every other id of the caller's.
fn scattered(kase: &Kase, count: usize) -> Vec<Line> {
    let first = if kase.is_root() {
        10_000
    } else {
        crate::common::ranges("/etc/subuid", &kase.identity)[0].0 as usize
    };
    (0..count).map(|number| (number, first + 2 * number, 1)).collect()
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|(inside, outside, size)| format!("{inside} {outside} {size}\n")).collect()
}

fn bundle(kase: &Kase, lines: &[Line]) -> Bundle {
    let map: Vec<_> = lines
        .iter()
        .map(|(inside, outside, size)| json!({"containerID": inside, "hostID": outside, "size": size}))
        .collect();
    kase.bundle().args(["/probe", "maps"]).namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = json!(map);
        spec["linux"]["gidMappings"] = json!(map);
    })
}

fn all_lines_that_the_kernel_takes_are_the_containers(kase: &Kase) {
    let most = (1..=MOST_LINES).rev().find(|count| text(&scattered(kase, *count)).len() < PAGE).unwrap();
    // Root's ids are short enough for every line.
    assert!(most == MOST_LINES || !kase.is_root(), "{most}");
    let lines = scattered(kase, most);
    let expected = text(&lines).lines().map(|line| format!("uid_map: {line}\n")).collect::<String>();
    let container = kase.run(&bundle(kase, &lines));
    assert!(container.stdout().starts_with(&expected), "{container}");
    assert_eq!(container.out.matches("uid_map: ").count(), most);
    // An added process is in the same namespace.
    let sleeper = kase.run_detached(&bundle(kase, &lines).args(["/probe", "sleep"]));
    let added = sleeper.call("exec", ["/probe", "maps"]);
    assert!(added.stdout().starts_with(&expected), "{added}");
}

fn more_lines_than_the_kernel_takes_are_refused_and_none_is_cut_off(kase: &Kase) {
    for count in [MOST_LINES + 1, 342, 400, 1000, 5000] {
        let outcome = kase.run(&bundle(kase, &scattered(kase, count)));
        outcome.refused(&["linux.uidMappings", &format!("{count} lines, but the kernel takes {MOST_LINES}")]);
        assert!(outcome.out.is_empty(), "{outcome}");
    }
    // Few enough lines, and too many bytes.
    let wide: Vec<Line> = (0..MOST_LINES).map(|number| (number, 1_000_000 + 2 * number, 1)).collect();
    kase.run(&bundle(kase, &wide))
        .refused(&["linux.uidMappings", "bytes of text, but the kernel takes 4095"]);
    let lines = wrapping();
    kase.run(&bundle(kase, &lines)).refused(&["linux.uidMappings", "4099 lines"]);
    control(kase, &lines);
}

/// Lines of 16 bytes each. Of their length, 65584, sixteen bits say 48: three lines.
fn wrapping() -> Vec<Line> {
    let lines: Vec<Line> = (0..4099).map(|number| (10_000 + 9 * number, 1_000_000 + 9 * number, 9)).collect();
    assert_eq!(text(&lines).len(), 65_536 + 3 * 16);
    lines
}

/// Whoever keeps the length in sixteen bits, as a netlink attribute does, has a map that the kernel takes for the whole.
fn control(kase: &Kase, lines: &[Line]) {
    if !crate::common::is_root() {
        skip!("needs root to write a map of a thousand ids without its checks");
    }
    let whole = text(lines);
    let length = usize::from(u16::try_from(whole.len() % 65_536).unwrap());
    let mut unshare = kase.program("unshare");
    unshare.args(["--user", "sleep", "1000"]);
    let victim = kase.spawn(unshare);
    let pid = victim.child.id();
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    wait_until("its user namespace", || {
        fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|link| link != own)
    });
    let file = format!("/proc/{pid}/uid_map");
    fs::write(&file, &whole[..length]).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3, "the attack works on nobody");
    victim.signal(Signal::SIGKILL);
    victim.finish();
}
