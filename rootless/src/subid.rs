//! The ids that a user may map besides its own: subuid(5) and subgid(5).

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use crate::caller::{Caller, Standing};
use crate::id_map::{IdMap, IdMaps, Line};
use crate::range::{FIRST_INVALID, Range};
use crate::sysroot::{Sysroot, Unreadable};

/// The ids that a caller may map into a user namespace of its own, besides its own id.
///
/// For a user and for root, what `/etc/subuid` and `/etc/subgid` hold for them. For the root of a
/// user namespace, every id that is mapped there, one range a line of its map: the kernel lets it
/// hand out these and no others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subordinate {
    /// Ranges of uids, in the file's order, none overlapping another.
    pub uids: Vec<Range>,
    /// Ranges of gids, likewise.
    pub gids: Vec<Range>,
    /// Lines of the files that are meant for the caller, but that newuidmap(1) does not read: `line 3 of /etc/subuid`.
    pub passed_over: Vec<String>,
}

impl Subordinate {
    /// Looks up the caller's ranges on this host. A file that is not there holds none.
    ///
    /// Where the files hold none for a user, and nsswitch.conf(5) names a directory service for
    /// `subid`, getsubids(1) is run; nowhere else does this start a process.
    ///
    /// # Errors
    /// A file that is there cannot be read: one of these, or /etc/passwd, by which the caller has its name.
    pub fn look(caller: &Caller) -> Result<Self, Unreadable> {
        Self::look_in(&Sysroot::host(), caller)
    }

    pub(crate) fn look_in(root: &Sysroot, caller: &Caller) -> Result<Self, Unreadable> {
        if caller.standing == Standing::NamespaceRoot {
            let known = |map: &IdMap| map.0.iter().copied().map(Line::inside_range).collect();
            let maps = caller.maps()?;
            return Ok(Self::new(known(&maps.uids), known(&maps.gids)));
        }
        let name = caller.name()?;
        let mut passed_over = Vec::new();
        let mut ranges = |path| {
            let text = root.read(path)?.unwrap_or_default();
            passed_over.extend(unread(&text, name, caller.uid).map(|line| format!("line {line} of {path}")));
            Ok::<_, Unreadable>(parse(&text, name, caller.uid))
        };
        // subgid(5) is keyed by the user too, not by the group.
        let (uids, gids) = (ranges("/etc/subuid")?, ranges("/etc/subgid")?);
        let found = Self { uids, gids, passed_over };
        if found.is_incomplete()
            && caller.standing == Standing::User
            && let Some(name) = name
            && let Some(configuration) = root.read("/etc/nsswitch.conf")?
            && has_service(&configuration)
        {
            return Ok(Self::served(root, name)?.unwrap_or(found));
        }
        Ok(found)
    }

    /// What a directory service holds, asked through getsubids(1): the library behind it cannot be
    /// loaded into a static binary. `None` where that program is missing or knows nobody by that name.
    fn served(root: &Sysroot, name: &str) -> Result<Option<Self>, Unreadable> {
        let getsubids = root.join("/usr/bin/getsubids");
        let ask = |options: &[&str]| {
            let mut command = Command::new(&getsubids);
            command.args(options).arg(name).stdin(Stdio::null()).stderr(Stdio::null());
            match command.output() {
                Ok(answer) if answer.status.success() => {
                    Ok(Some(answered(&String::from_utf8_lossy(&answer.stdout), name)))
                }
                Ok(_) => Ok(None),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(source) => Err(Unreadable::new(&getsubids, source)),
            }
        };
        let Some(uids) = ask(&[])? else { return Ok(None) };
        Ok(ask(&["-g"])?.map(|gids| Self::new(uids, gids)))
    }

    /// These ranges, without a look at the host.
    #[must_use]
    pub fn new(uids: Vec<Range>, gids: Vec<Range>) -> Self {
        Self { uids, gids, passed_over: Vec::new() }
    }

    /// Maps of everything that the caller may map: 0 is the caller's own id, the subordinate ids follow from 1
    /// on, in their order and without gaps.
    #[must_use]
    pub fn maps(&self, caller: &Caller) -> IdMaps {
        IdMaps { uids: IdMap::of(caller.uid, &self.uids), gids: IdMap::of(caller.gid, &self.gids) }
    }

    /// Whether there is no range of one kind or the other, so that only own ids can be mapped.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.uids.is_empty() || self.gids.is_empty()
    }
}

/// The ranges that subuid(5) text holds for a user, by its name or by its uid in digits.
///
/// They keep the file's order, since that is the order in which ids inside a container are given
/// out. What overlaps an earlier range is cut off, and what continues the one before is added to it:
/// to newuidmap(1) both are the same. Lines that it does not read are passed over.
#[must_use]
pub fn parse(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let uid = uid.to_string();
    let entries = text.split('\n').filter_map(entry);
    let ours = entries.filter(|(owner, _)| Some(*owner) == name || *owner == uid);
    apart(ours.map(|(_, range)| range))
}

/// The numbers, from 1, of the lines that seem to be for a user, but are none to newuidmap(1): it
/// takes a comment, blanks at the end and a carriage return for parts of the number before.
fn unread(text: &str, name: Option<&str>, uid: u32) -> impl Iterator<Item = usize> {
    let uid = uid.to_string();
    let lines = text.split('\n').zip(1..);
    lines.filter_map(move |(line, number)| {
        let owner = line.trim_start().split(':').next()?.trim_end();
        let meant = line.contains(':') && (Some(owner) == name || owner == uid);
        let read = || entry(line).is_some_and(|(found, _)| found == owner);
        (meant && !read()).then_some(number)
    })
}

/// The ids that subuid(5) text gives to anybody, also by lines that only a person can read.
pub(crate) fn taken(text: &str) -> Vec<Range> {
    let plain = |line: &str| -> String {
        line.chars().take_while(|c| *c != '#').filter(|c| !c.is_whitespace()).collect()
    };
    text.lines().filter_map(|line| entry(&plain(line)).map(|(_, range)| range)).collect()
}

/// A line as every version of newuidmap(1) reads it: whose, and which ids. Three fields and nothing
/// else, the numbers in decimal; older versions take a leading 0 for octal.
fn entry(line: &str) -> Option<(&str, Range)> {
    let number = |text: &str| text.parse().ok().filter(|_| text == "0" || !text.starts_with(['0', '+']));
    let mut fields = line.split(':');
    let (owner, start, count) = (fields.next()?, number(fields.next()?)?, number(fields.next()?)?);
    let range = Range { start, count };
    // Lines that begin with a sign are rules of nss_compat.
    let sound = !owner.is_empty()
        && !owner.starts_with(['+', '-'])
        && fields.next().is_none()
        && range.count > 0
        && range.end() <= FIRST_INVALID;
    sound.then_some((owner, range))
}

/// The ranges without what overlaps an earlier one, neighbours in one.
fn apart(ranges: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut apart: Vec<Range> = Vec::new();
    for range in ranges {
        for new in range.subtract(&apart) {
            match apart.last_mut() {
                Some(last) if last.end() == u64::from(new.start) => last.count += new.count,
                _ => apart.push(new),
            }
        }
    }
    apart
}

/// Whether nsswitch.conf(5) has subordinate ids come from elsewhere than the files.
fn has_service(configuration: &str) -> bool {
    let sources = configuration.lines().find_map(|line| line.trim_start().strip_prefix("subid:"));
    sources.is_some_and(|sources| sources.split_whitespace().any(|source| source != "files"))
}

/// The ranges in what getsubids(1) prints: `0: alice 100000 65536`.
fn answered(text: &str, name: &str) -> Vec<Range> {
    let range = |line: &str| {
        let (_, rest) = line.split_once(": ")?;
        let (start, count) = rest.strip_prefix(name)?.trim().split_once(' ')?;
        let (start, count): (u32, u32) = (start.parse().ok()?, count.trim().parse().ok()?);
        Range::between(start.into(), u64::from(start) + u64::from(count))
            .filter(|range| range.end() <= FIRST_INVALID)
    };
    apart(text.lines().filter_map(range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysroot::stand_in::StandIn;

    fn range(start: u32, count: u32) -> Range {
        Range { start, count }
    }

    #[test]
    fn ranges_count_by_name_and_by_uid() {
        let text = "alice:100000:65536\nbob:165536:65536\n1000:300000:10\nalice:400000:5\n";
        let expected = vec![range(100_000, 65_536), range(300_000, 10), range(400_000, 5)];
        assert_eq!(parse(text, Some("alice"), 1000), expected);
        assert_eq!(parse(text, None, 1000), vec![range(300_000, 10)]);
    }

    #[test]
    fn a_name_of_digits_is_not_another_users_uid() {
        assert_eq!(parse("10:5:5\n", Some("alice"), 1000), vec![]);
        assert_eq!(parse("alicette:5:5\n", Some("alice"), 1000), vec![]);
    }

    #[test]
    fn comments_and_malformed_lines_are_passed_over() {
        let text = "# alice:1:1\n\nalice\nalice:1\nalice:x:1\nalice:1:x\nalice:-1:5\nalice:1:0\n\
            alice:1:2:3\nalice:4294967295:1\nalice:4294967290:6\nalice:99999999999:1\n:1:1\nalice:7:8\n";
        assert_eq!(parse(text, Some("alice"), 1000), vec![range(7, 8)]);
        assert_eq!(unread(text, Some("alice"), 1000).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    /// The helper would refuse the ids, and the container with them.
    #[test]
    fn what_newuidmap_does_not_read_is_passed_over_and_told() {
        let odd = [
            "a:5:6 ",
            "a:5:6\t",
            "a:5:6\r",
            "a:5:6 # mine",
            " a:5:6",
            "a :5:6",
            "a: 5:6",
            "a:+5:6",
            "a:05:6",
        ];
        for line in odd {
            let text = format!("b:1:2\n{line}\na:7:8");
            assert_eq!(parse(&text, Some("a"), 1000), vec![range(7, 8)], "{line:?}");
            assert_eq!(unread(&text, Some("a"), 1000).collect::<Vec<_>>(), [2], "{line:?}");
            assert_eq!(taken(&text).len(), if line.contains(":0") || line.contains('+') { 2 } else { 3 });
        }
        assert_eq!(unread("b:5:6 \n#a:5:6\n", Some("a"), 1000).count(), 0, "not for this user");
    }

    #[test]
    fn the_last_valid_id_may_be_in_a_range() {
        assert_eq!(parse("a:4294967290:5", Some("a"), 1), vec![range(4_294_967_290, 5)]);
    }

    #[test]
    fn what_overlaps_an_earlier_range_is_cut_off() {
        let text = "a:100:50\na:120:100\na:50:60\na:100:50\na:0:1000\n";
        let expected = vec![range(100, 120), range(50, 50), range(0, 50), range(220, 780)];
        assert_eq!(parse(text, Some("a"), 1), expected);
    }

    #[test]
    fn neighbours_are_one_and_the_order_stays() {
        assert_eq!(parse("a:150:50\na:100:50\n", Some("a"), 1), vec![range(150, 50), range(100, 50)]);
        assert_eq!(parse("a:100:50\na:150:50\na:200:1\n", Some("a"), 1), vec![range(100, 101)]);
    }

    #[test]
    fn a_missing_file_holds_no_ranges() {
        let caller = Caller::assumed(Standing::User, 1000, 1000).with_name(Some("alice"));
        let found = Subordinate::look_in(&StandIn::new().root(), &caller).unwrap();
        assert_eq!(found, Subordinate::default());
        assert!(found.is_incomplete());
    }

    #[test]
    fn a_directory_service_is_asked_only_where_one_is_named() {
        assert!(has_service("passwd: files\nsubid: sss\n"));
        assert!(has_service("subid:\tfiles sss\n"));
        assert!(!has_service("passwd: files sss\nsubid: files\n"));
        assert!(!has_service("#subid: sss\n"));
    }

    #[test]
    fn getsubids_numbers_its_lines() {
        let text = "0: alice 100000 65536\n1: alice 300000 10\n2: bob 7 7\nnonsense\n";
        assert_eq!(answered(text, "alice"), vec![range(100_000, 65_536), range(300_000, 10)]);
    }

    #[test]
    fn a_service_that_is_not_there_or_knows_nobody_gives_nothing_and_one_that_cannot_be_asked_is_an_error() {
        let host = StandIn::new();
        assert_eq!(Subordinate::served(&host.root(), "alice").unwrap(), None);
        let closed = StandIn::new().file("/usr/bin/getsubids", "");
        assert!(Subordinate::served(&closed.root(), "alice").is_err());
        let host = host.directory("/usr/bin");
        std::os::unix::fs::symlink("/bin/false", host.path().join("usr/bin/getsubids")).unwrap();
        assert_eq!(Subordinate::served(&host.root(), "alice").unwrap(), None);
    }

    #[test]
    fn a_namespace_root_may_hand_out_what_is_mapped_there() {
        let map: IdMap = "0 1000 1\n1 100000 65536\n".parse().unwrap();
        let caller =
            Caller::assumed(Standing::NamespaceRoot, 0, 0).with_maps(IdMaps { uids: map.clone(), gids: map });
        let found = Subordinate::look(&caller).unwrap();
        assert_eq!(found.uids, vec![range(0, 1), range(1, 65_536)]);
    }

    #[test]
    fn the_caller_is_0_and_its_ranges_follow_without_gaps() {
        let caller = Caller::assumed(Standing::User, 1000, 100);
        let have = Subordinate::new(vec![range(100_000, 65_536), range(300_000, 10)], vec![]);
        let maps = have.maps(&caller);
        assert_eq!(maps.uids.to_string(), "0 1000 1\n1 100000 65536\n65537 300000 10\n");
        assert_eq!(maps.gids.to_string(), "0 100 1\n");
        assert_eq!(maps.check(), Ok(()));
        assert!(!caller.are_own(&maps));
    }
}
