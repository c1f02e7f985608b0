//! Which ids inside a user namespace are which ids outside: user_namespaces(7).

use std::fmt;
use std::str::FromStr;

use crate::range::{FIRST_INVALID, Range};

/// The kernel's `UID_GID_MAP_MAX_EXTENTS`, since Linux 4.15.
pub const MOST_LINES: usize = 340;

/// The kernel takes a map's text by one write(2) of less than a page. Pages of 4096 bytes are
/// assumed, so that a map that is accepted on one machine is so on every other.
pub const MOST_BYTES: usize = 4095;

/// One line of a map: `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The first id in the namespace.
    pub inside: u32,
    /// The first id in the namespace around it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl Line {
    /// The ids in the namespace.
    #[must_use]
    pub fn inside_range(self) -> Range {
        Range { start: self.inside, count: self.count }
    }

    /// The ids in the namespace around it.
    #[must_use]
    pub fn outside_range(self) -> Range {
        Range { start: self.outside, count: self.count }
    }
}

impl fmt::Display for Line {
    /// With its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {}", self.inside, self.outside, self.count)
    }
}

/// Uids or gids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// User ids.
    Uid,
    /// Group ids.
    Gid,
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uid => "uid",
            Self::Gid => "gid",
        })
    }
}

/// The map of one kind of ids, line by line.
///
/// `Display` writes the kernel's text, `FromStr` reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap(pub Vec<Line>);

impl IdMap {
    /// The id outside that `inside` is, or `None` where it is unmapped.
    #[must_use]
    pub fn outside(&self, inside: u32) -> Option<u32> {
        let line = self.0.iter().find(|line| line.inside_range().contains(inside.into()))?;
        line.outside.checked_add(inside - line.inside)
    }

    /// The id inside that `outside` is, or `None` where it is unmapped.
    #[must_use]
    pub fn inside(&self, outside: u32) -> Option<u32> {
        let line = self.0.iter().find(|line| line.outside_range().contains(outside.into()))?;
        line.inside.checked_add(outside - line.outside)
    }

    /// How many ids it has.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|line| u64::from(line.count)).sum()
    }

    /// Whether the map is one line of one id, which is `id` outside: what the kernel lets anyone
    /// write for a namespace of their own.
    #[must_use]
    pub fn is_single(&self, id: u32) -> bool {
        matches!(self.0[..], [line] if line.count == 1 && line.outside == id)
    }

    /// Whether the kernel would take this map, whoever writes it; if not, the first flaw.
    pub fn check(&self) -> Result<(), Flaw> {
        let whole = |wrong| Err(Flaw { line: None, wrong });
        if self.0.is_empty() {
            return whole(Wrong::Empty);
        }
        if self.0.len() > MOST_LINES {
            return whole(Wrong::TooManyLines(self.0.len()));
        }
        for (index, line) in self.0.iter().enumerate() {
            let flawed = |wrong| Err(Flaw { line: Some(index), wrong });
            if line.count == 0 {
                return flawed(Wrong::NoIds);
            }
            if line.inside_range().end() > FIRST_INVALID {
                return flawed(Wrong::InsideTooHigh);
            }
            if line.outside_range().end() > FIRST_INVALID {
                return flawed(Wrong::OutsideTooHigh);
            }
            for (earlier, other) in self.0[..index].iter().enumerate() {
                if line.inside_range().overlaps(other.inside_range()) {
                    return flawed(Wrong::InsideTwice(earlier));
                }
                if line.outside_range().overlaps(other.outside_range()) {
                    return flawed(Wrong::OutsideTwice(earlier));
                }
            }
        }
        match self.to_string().len() {
            ..=MOST_BYTES => Ok(()),
            bytes => whole(Wrong::TooLong(bytes)),
        }
    }

    /// Inside 0 is `own`; from 1 on come the ranges, one after another.
    ///
    /// The kernel refuses an id that is outside twice, so `own` is left out of the ranges. It also
    /// refuses more than so many lines and bytes: the ranges that do not fit are left out.
    pub(crate) fn of(own: u32, ranges: &[Range]) -> Self {
        let first = Line { inside: 0, outside: own, count: 1 };
        let mut lines = vec![first];
        let mut bytes = first.to_string().len();
        let mut inside = 1;
        let own = [Range { start: own, count: 1 }];
        for range in ranges.iter().flat_map(|range| range.subtract(&own)) {
            let room = Range::between(inside, FIRST_INVALID).map_or(0, |room| room.count);
            let count = range.count.min(room);
            let (Ok(first), true) = (u32::try_from(inside), count > 0 && lines.len() < MOST_LINES) else {
                break;
            };
            let line = Line { inside: first, outside: range.start, count };
            bytes += line.to_string().len();
            if bytes > MOST_BYTES {
                break;
            }
            lines.push(line);
            inside += u64::from(count);
        }
        Self(lines)
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| line.fmt(f))
    }
}

impl FromStr for IdMap {
    type Err = NotAMap;

    /// Reads `/proc/PID/uid_map` or `gid_map`.
    fn from_str(text: &str) -> Result<Self, NotAMap> {
        let line = |text: &str| {
            let mut numbers = text.split_ascii_whitespace().map(str::parse);
            match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
                (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count)), None) => {
                    Ok(Line { inside, outside, count })
                }
                _ => Err(NotAMap(text.to_owned())),
            }
        };
        text.lines().map(line).collect::<Result<_, _>>().map(Self)
    }
}

/// A line of text that is no line of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAMap(String);

impl fmt::Display for NotAMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not three numbers", self.0)
    }
}

impl std::error::Error for NotAMap {}

/// The maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// User ids.
    pub uids: IdMap,
    /// Group ids.
    pub gids: IdMap,
}

impl IdMaps {
    /// The map of this kind.
    #[must_use]
    pub fn kind(&self, kind: IdKind) -> &IdMap {
        match kind {
            IdKind::Uid => &self.uids,
            IdKind::Gid => &self.gids,
        }
    }

    /// Whether the kernel would take both maps, whoever writes them; if not, the first flaw and which map has it.
    pub fn check(&self) -> Result<(), (IdKind, Flaw)> {
        self.uids.check().map_err(|flaw| (IdKind::Uid, flaw))?;
        self.gids.check().map_err(|flaw| (IdKind::Gid, flaw))
    }
}

/// Why the kernel would refuse a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flaw {
    /// Which line, from 0; `None` where it is the map as a whole.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// No line at all.
    Empty,
    /// So many lines, more than [`MOST_LINES`].
    TooManyLines(usize),
    /// Text of so many bytes, more than [`MOST_BYTES`].
    TooLong(usize),
    /// A count of 0.
    NoIds,
    /// The ids inside reach 4294967295 or beyond.
    InsideTooHigh,
    /// The ids outside reach 4294967295 or beyond.
    OutsideTooHigh,
    /// An id inside is in this earlier line too.
    InsideTwice(usize),
    /// An id outside is in this earlier line too.
    OutsideTwice(usize),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wrong {
            Wrong::Empty => write!(f, "maps no id"),
            Wrong::TooManyLines(lines) => write!(f, "{lines} lines, but the kernel takes {MOST_LINES}"),
            Wrong::TooLong(bytes) => write!(f, "{bytes} bytes of text, but the kernel takes {MOST_BYTES}"),
            Wrong::NoIds => write!(f, "maps 0 ids"),
            Wrong::InsideTooHigh => write!(f, "ids in the container go past 4294967294, the last one"),
            Wrong::OutsideTooHigh => write!(f, "ids on the host go past 4294967294, the last one"),
            Wrong::InsideTwice(line) => write!(f, "maps ids in the container that line {line} maps too"),
            Wrong::OutsideTwice(line) => write!(f, "maps ids on the host that line {line} maps too"),
        }
    }
}

impl std::error::Error for Flaw {}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u32 = u32::MAX - 1;

    fn map(lines: &[(u32, u32, u32)]) -> IdMap {
        IdMap(lines.iter().map(|&(inside, outside, count)| Line { inside, outside, count }).collect())
    }

    fn flaw(lines: &[(u32, u32, u32)]) -> Option<(Option<usize>, Wrong)> {
        map(lines).check().err().map(|flaw| (flaw.line, flaw.wrong))
    }

    fn ranges(ranges: &[(u32, u32)]) -> Vec<Range> {
        ranges.iter().map(|&(start, count)| Range { start, count }).collect()
    }

    #[test]
    fn the_callers_own_id_is_left_out_of_its_ranges() {
        assert_eq!(IdMap::of(1000, &ranges(&[(999, 3)])), map(&[(0, 1000, 1), (1, 999, 1), (2, 1001, 1)]));
        assert_eq!(IdMap::of(0, &ranges(&[(0, 1), (1, 5)])), map(&[(0, 0, 1), (1, 1, 5)]));
    }

    #[test]
    fn a_map_of_ranges_is_always_one_that_the_kernel_takes() {
        let everything = IdMap::of(1000, &ranges(&[(0, u32::MAX)]));
        assert_eq!(everything.check(), Ok(()));
        assert_eq!(everything.inside(LAST), Some(LAST));
        let many: Vec<(u32, u32)> = (0..500).map(|index| (2000 + index * 2, 1)).collect();
        let many = IdMap::of(1000, &ranges(&many));
        assert_eq!((many.0.len(), many.check()), (MOST_LINES, Ok(())));
        let long: Vec<(u32, u32)> = (0..300).map(|index| (100_000 + index * 200_000, 65_536)).collect();
        let long = IdMap::of(1000, &ranges(&long));
        assert_eq!((long.check(), long.to_string().len() > MOST_BYTES - 30), (Ok(()), true));
    }

    #[test]
    fn ids_are_found_from_either_side() {
        let map = map(&[(0, 1000, 1), (1, 100_000, 65_536)]);
        assert_eq!(map.outside(0), Some(1000));
        assert_eq!(map.outside(65_536), Some(165_535));
        assert_eq!(map.outside(65_537), None);
        assert_eq!(map.inside(100_000), Some(1));
        assert_eq!(map.inside(0), None);
    }

    #[test]
    fn the_kernels_text_reads_back_as_the_same_map() {
        let text = "         0       1000          1\n         1     100000      65536\n";
        let map: IdMap = text.parse().unwrap();
        assert_eq!(map.to_string(), "0 1000 1\n1 100000 65536\n");
        assert_eq!(map.to_string().parse(), Ok(map));
        assert!("0 1000".parse::<IdMap>().is_err());
        assert!("0 1000 1 1".parse::<IdMap>().is_err());
        assert!("0 1000 x".parse::<IdMap>().is_err());
        assert_eq!("".parse(), Ok(IdMap::default()));
    }

    #[test]
    fn a_flaw_names_its_line() {
        assert_eq!(flaw(&[]), Some((None, Wrong::Empty)));
        assert_eq!(flaw(&[(0, 0, 1), (1, 1, 0)]), Some((Some(1), Wrong::NoIds)));
        assert_eq!(flaw(&[(0, 1, 5), (10, 20, 5), (14, 40, 1)]), Some((Some(2), Wrong::InsideTwice(1))));
        assert_eq!(flaw(&[(0, 1, 5), (10, 20, 5), (20, 5, 1)]), Some((Some(2), Wrong::OutsideTwice(0))));
    }

    #[test]
    fn the_last_id_may_be_mapped_and_the_one_behind_it_not() {
        assert_eq!(flaw(&[(0, 0, u32::MAX)]), None);
        assert_eq!(flaw(&[(LAST, 0, 1)]), None);
        assert_eq!(flaw(&[(u32::MAX, 0, 1)]), Some((Some(0), Wrong::InsideTooHigh)));
        assert_eq!(flaw(&[(0, LAST, 2)]), Some((Some(0), Wrong::OutsideTooHigh)));
        assert_eq!(flaw(&[(u32::MAX, u32::MAX, u32::MAX)]), Some((Some(0), Wrong::InsideTooHigh)));
    }

    #[test]
    fn the_kernel_takes_340_lines_and_less_than_a_page() {
        let lines = |count: u32, from: u32| -> IdMap {
            IdMap((0..count).map(|at| Line { inside: at, outside: from + at, count: 1 }).collect())
        };
        assert_eq!(lines(340, 1000).check(), Ok(()));
        assert_eq!(lines(341, 1000).check().map_err(|flaw| flaw.wrong), Err(Wrong::TooManyLines(341)));
        let long = lines(340, 1_000_000_000).check().map_err(|flaw| flaw.wrong);
        assert!(matches!(long, Err(Wrong::TooLong(5000..))), "{long:?}");
    }

    #[test]
    fn a_flaw_tells_which_of_the_maps_has_it() {
        let maps = IdMaps { uids: map(&[(0, 0, 1)]), gids: map(&[]) };
        assert_eq!(maps.check(), Err((IdKind::Gid, Flaw { line: None, wrong: Wrong::Empty })));
    }

    /// Every map of two lines in a small universe, against sets of ids.
    #[test]
    fn two_lines_pass_exactly_if_no_id_is_twice_on_either_side() {
        let all = |count| (0..5_u32).flat_map(move |a| (0..5_u32).map(move |b| (a, b, count)));
        for first in (1..4).flat_map(all) {
            for second in (1..4).flat_map(all) {
                let twice = |one: u32, other: u32| {
                    (one..one + first.2).any(|id| (other..other + second.2).contains(&id))
                };
                let sound = !twice(first.0, second.0) && !twice(first.1, second.1);
                let map = map(&[first, second]);
                assert_eq!(map.check().is_ok(), sound, "{first:?} {second:?}");
                if sound {
                    let there_and_back = |id| map.outside(id).is_none_or(|out| map.inside(out) == Some(id));
                    assert!((0..10).all(there_and_back), "{first:?} {second:?}");
                }
            }
        }
    }
}
