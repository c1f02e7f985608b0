//! A user without subordinate ids, and a range to give it that is nobody's.

use crate::caller::Caller;
use crate::diagnosis::Diagnosis;
use crate::range::{FIRST_INVALID, Range};
use crate::subid::{Subordinate, taken};
use crate::sysroot::Sysroot;

/// Where useradd(8) begins to give out ids (`SUB_UID_MIN` in login.defs(5)).
const FIRST: u64 = 100_000;

/// As many as useradd(8) gives, and as images expect.
const COUNT: u64 = 65_536;

/// What a user lacks who has no subordinate uids or no subordinate gids.
#[must_use]
pub fn no_ranges(caller: &Caller) -> Diagnosis {
    no_ranges_in(&Sysroot::host(), caller)
}

pub(crate) fn no_ranges_in(root: &Sysroot, caller: &Caller) -> Diagnosis {
    let found = match Subordinate::look_in(root, caller) {
        Ok(found) => found,
        Err(unreadable) => return unreadable.into(),
    };
    if let Some(diagnosis) = unread_lines(&found.passed_over) {
        return diagnosis;
    }
    let text = |path| root.readable(path).unwrap_or_default();
    let (subuid, subgid) = (text("/etc/subuid"), text("/etc/subgid"));
    let wanted = match (found.uids.is_empty(), found.gids.is_empty()) {
        (true, false) => &[("uid", "/etc/subuid")][..],
        (false, true) => &[("gid", "/etc/subgid")],
        // With a range in both, what is asked for lies elsewhere: then more of both.
        _ => &[("uid", "/etc/subuid"), ("gid", "/etc/subgid")],
    };

    let user = caller.called();
    let range = unused(&[&subuid, &subgid]);
    let files: Vec<&str> = wanted.iter().map(|(_, file)| *file).collect();
    let files = files.join(" and ");
    let cause = format!("{user} has no range in {files}");
    // usermod(8) knows only who is in /etc/passwd.
    let local = text("/etc/passwd").lines().any(|line| line.split(':').next() == Some(&user));
    let remedy = match range {
        None => format!("add a range for {user} to {files}, as root"),
        Some(range) if local => {
            let options: Vec<String> =
                wanted.iter().map(|(kind, _)| format!("--add-sub{kind}s {range}")).collect();
            format!("run as root: usermod {} {user}", options.join(" "))
        }
        Some(Range { start, count }) => {
            format!("add the line \"{user}:{start}:{count}\" to {files}, as root")
        }
    };
    Diagnosis::new(cause, remedy)
}

/// What is wrong with the lines that a user wrote for itself in vain, by their places.
#[must_use]
pub fn unread_lines(places: &[String]) -> Option<Diagnosis> {
    (!places.is_empty()).then(|| {
        let places = places.join(" and ");
        Diagnosis::new(
            format!("newuidmap reads nothing in {places}"),
            format!(
                "correct {places}, as root, after the pattern alice:100000:65536: two decimal numbers, and \
                 neither blanks nor a comment nor a carriage return"
            ),
        )
    })
}

/// The first run of ids that no line gives to anybody.
fn unused(texts: &[&str]) -> Option<Range> {
    let mut taken: Vec<Range> = texts.iter().flat_map(|text| taken(text)).collect();
    taken.sort_by_key(|range| range.start);
    let mut start = FIRST;
    for range in taken {
        if u64::from(range.start) >= start + COUNT {
            break;
        }
        start = start.max(range.end());
    }
    Range::between(start, start + COUNT).filter(|range| range.end() <= FIRST_INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Standing;
    use crate::sysroot::stand_in::StandIn;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";

    fn alice() -> Caller {
        Caller::assumed(Standing::User, 1000, 1000).with_name(Some("alice"))
    }

    #[test]
    fn a_local_user_is_given_a_range_by_usermod() {
        let host = StandIn::new().file("/etc/passwd", PASSWD).file("/etc/subuid", "bob:100000:65536\n");
        let diagnosis = no_ranges_in(&host.root(), &alice());
        assert_eq!(diagnosis.cause, "alice has no range in /etc/subuid and /etc/subgid");
        assert_eq!(
            diagnosis.remedy,
            "run as root: usermod --add-subuids 165536-231071 --add-subgids 165536-231071 alice"
        );
    }

    #[test]
    fn only_the_file_that_lacks_a_range_is_named() {
        let host = StandIn::new().file("/etc/passwd", PASSWD).file("/etc/subuid", "alice:100000:65536\n");
        let diagnosis = no_ranges_in(&host.root(), &alice());
        assert_eq!(diagnosis.cause, "alice has no range in /etc/subgid");
        assert_eq!(diagnosis.remedy, "run as root: usermod --add-subgids 165536-231071 alice");
    }

    #[test]
    fn a_user_that_usermod_does_not_know_is_added_by_hand() {
        let host = StandIn::new().file("/etc/passwd", PASSWD);
        let nameless = Caller::assumed(Standing::User, 70_000, 70_000).with_name(None);
        assert_eq!(
            no_ranges_in(&host.root(), &nameless).remedy,
            "add the line \"70000:100000:65536\" to /etc/subuid and /etc/subgid, as root"
        );
    }

    #[test]
    fn a_line_with_a_blank_at_its_end_is_the_reason() {
        let host = StandIn::new().file("/etc/passwd", PASSWD).file("/etc/subuid", "alice:100000:65536 \n");
        let diagnosis = no_ranges_in(&host.root(), &alice());
        assert_eq!(diagnosis.cause, "newuidmap reads nothing in line 1 of /etc/subuid");
        assert!(diagnosis.remedy.starts_with("correct line 1 of /etc/subuid, as root, after the pattern "));
    }

    #[test]
    fn the_proposed_range_is_the_first_gap_that_is_wide_enough() {
        assert_eq!(unused(&[]).unwrap().start, 100_000);
        let narrow = "a:100000:65536\nb:200000:65536\n";
        assert_eq!(unused(&[narrow]).unwrap().start, 265_536);
        let wide = "a:300000:65536\n";
        assert_eq!(unused(&[wide]).unwrap().start, 100_000);
        assert_eq!(unused(&["a:165536:65536\n", "b:100000:65536\n"]).unwrap().start, 231_072);
    }

    #[test]
    fn no_range_is_proposed_where_every_id_is_taken() {
        assert_eq!(unused(&["a:0:4294967295\n"]), None);
    }
}
