//! Which devices a container may open or make: `linux.resources.devices` and what every container has.
//!
//! The last rule that matches counts, for each of read, write and mknod by itself; without one the answer
//! is no.

use crate::fault::{Fault, Place};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use std::path::Path;

/// What may be done with a device, as bits; the values are those of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(pub u8);

impl Access {
    /// mknod(2).
    pub const MAKE: u8 = 1;
    /// Opening for reading.
    pub const READ: u8 = 2;
    /// Opening for writing.
    pub const WRITE: u8 = 4;
    /// All of it.
    pub const ALL: Self = Self(Self::MAKE | Self::READ | Self::WRITE);

    /// As config.json and v1's files write it: `rwm`.
    pub fn letters(self) -> String {
        [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MAKE, 'm')]
            .into_iter()
            .filter_map(|(bit, letter)| (self.0 & bit != 0).then_some(letter))
            .collect()
    }
}

/// A rule's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// EPERM.
    Deny,
    /// Go ahead.
    Allow,
}

/// Character or block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `c`.
    Character,
    /// `b`.
    Block,
}

/// One rule. Nothing in a field stands for whatever is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `linux.resources.devices[i]`; nothing for a default.
    pub at: Option<Place>,
    /// What it says.
    pub answer: Answer,
    /// Of which kind.
    pub kind: Option<Kind>,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// What it speaks about.
    pub access: Access,
}

impl Rule {
    /// Whether it speaks about everything, so that no rule before it counts.
    pub fn is_total(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == Access::ALL
    }

    /// Whether it speaks about every device that `other` speaks about.
    pub fn covers(&self, other: &Self) -> bool {
        (self.kind.is_none() || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Whether there is a device that both speak about.
    pub fn meets(&self, other: &Self) -> bool {
        let same = |one: Option<u32>, two: Option<u32>| one.is_none() || two.is_none() || one == two;
        (self.kind.is_none() || other.kind.is_none() || self.kind == other.kind)
            && same(self.major, other.major)
            && same(self.minor, other.minor)
    }
}

/// The rules every container ends with, as in runc: any node may be made, and these may be used.
const DEFAULT: [(&str, u32, Option<u32>); 9] = [
    ("/dev/null", 1, Some(3)),
    ("/dev/random", 1, Some(8)),
    ("/dev/full", 1, Some(7)),
    ("/dev/tty", 5, Some(0)),
    ("/dev/zero", 1, Some(5)),
    ("/dev/urandom", 1, Some(9)),
    // The pseudo terminals and their multiplexer.
    ("", 136, None),
    ("", 5, Some(2)),
    // /dev/net/tun, which engines have relied on ever since.
    ("", 10, Some(200)),
];

/// The listed rules, then the defaults, without those whose node is among `replaced`.
///
/// # Errors
/// A device type that has no numbers, numbers out of range, no access or an unknown letter in it.
pub fn decide<'a>(
    listed: &[LinuxDeviceCgroup],
    replaced: impl Iterator<Item = &'a Path> + Clone,
) -> Result<Vec<Rule>, Fault> {
    let mut rules = Vec::with_capacity(listed.len() + DEFAULT.len() + 2);
    for (index, entry) in listed.iter().enumerate() {
        rules.push(one(entry, Place::nth("linux.resources.devices", index))?);
    }
    let allow = |kind, major, minor, access| Rule {
        at: None,
        answer: Answer::Allow,
        kind: Some(kind),
        major,
        minor,
        access: Access(access),
    };
    rules.push(allow(Kind::Character, None, None, Access::MAKE));
    rules.push(allow(Kind::Block, None, None, Access::MAKE));
    for (path, major, minor) in DEFAULT {
        if path.is_empty() || replaced.clone().all(|replaced| replaced != Path::new(path)) {
            rules.push(allow(Kind::Character, Some(major), minor, Access::ALL.0));
        }
    }
    Ok(rules)
}

fn one(entry: &LinuxDeviceCgroup, at: Place) -> Result<Rule, Fault> {
    let kind = match entry.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Character),
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::P) => {
            return Err(Fault::at(at.field(".type"), "p is a FIFO, for which there is no rule")
                .remedy("use a, b or c, or leave the rule out"));
        }
    };
    Ok(Rule {
        at: Some(at),
        answer: if entry.allow() { Answer::Allow } else { Answer::Deny },
        kind,
        major: number(entry.major(), 0xfff, at.field(".major"))?,
        minor: number(entry.minor(), 0xf_ffff, at.field(".minor"))?,
        access: access(entry.access().as_deref().unwrap_or_default(), at.field(".access"))?,
    })
}

/// -1 is another way to write any number.
fn number(value: Option<i64>, most: u32, at: Place) -> Result<Option<u32>, Fault> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => match u32::try_from(value) {
            Ok(number) if number <= most => Ok(Some(number)),
            _ => Err(Fault::at(at, format!("{value} is no device number"))
                .remedy(format!("use a number from 0 to {most}, or leave it out for any"))),
        },
    }
}

fn access(letters: &str, at: Place) -> Result<Access, Fault> {
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'r' => Access::READ,
            'w' => Access::WRITE,
            'm' => Access::MAKE,
            // The word for every type in v1's own files; runc overlooks it, and so configs have it.
            'a' => 0,
            _ => {
                return Err(Fault::at(at, format!("{letter:?} is no access"))
                    .remedy("use r (read), w (write) and m (mknod)"));
            }
        };
    }
    if bits == 0 {
        return Err(
            Fault::at(at, "device access cannot be empty").remedy("say what the rule is about: rwm for all")
        );
    }
    Ok(Access(bits))
}

#[cfg(test)]
mod tests {
    use super::super::v1::devices as v1;
    use super::*;
    use serde_json::json;
    use std::iter;

    fn rules(listed: &serde_json::Value) -> Result<Vec<Rule>, Fault> {
        decide(&serde_json::from_value::<Vec<_>>(listed.clone()).unwrap(), iter::empty())
    }

    #[test]
    fn the_defaults_come_last_so_that_no_listed_rule_takes_them_away() {
        let rules = rules(&json!([{"allow": false, "access": "rwm"}])).unwrap();
        assert!(rules[0].is_total());
        let lines = v1(&rules).unwrap();
        assert_eq!(lines[0], ("devices.deny", "a".into()));
        assert!(lines.contains(&("devices.allow", "c 136:* rwm".into())));
        assert!(lines.contains(&("devices.allow", "b *:* m".into())));
        assert_eq!(lines.len(), 12);
    }

    #[test]
    fn a_configured_node_takes_the_place_of_a_default_rule() {
        let rules = decide(&[], iter::once(Path::new("/dev/null"))).unwrap();
        assert!(!v1(&rules).unwrap().contains(&("devices.allow", "c 1:3 rwm".into())));
    }

    #[test]
    fn v1_forgets_what_is_denied_later_and_refuses_what_it_cannot_say() {
        let fuse = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
        let lines =
            v1(&rules(&json!([fuse, {"allow": false, "type": "c", "major": 10, "access": "w"}])).unwrap());
        assert!(lines.unwrap().contains(&("devices.allow", "c 10:229 rm".into())));
        let part = json!([
            {"allow": true, "type": "c", "major": 10, "access": "rwm"},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"},
        ]);
        let fault = v1(&rules(&part).unwrap()).unwrap_err().to_string();
        assert!(
            fault.starts_with("linux.resources.devices[1]: cgroup v1 cannot take c 10:229 w out of"),
            "{fault}"
        );
    }

    #[test]
    fn everything_allowed_needs_no_exceptions() {
        assert_eq!(
            v1(&rules(&json!([{"allow": true, "access": "rwm"}])).unwrap()).unwrap(),
            [("devices.allow", "a".into())]
        );
    }

    #[test]
    fn bad_rules_are_named() {
        for (entry, words) in [
            (json!({"allow": true}), "devices[0].access: device access cannot be empty"),
            (json!({"allow": true, "access": "rx"}), "devices[0].access: 'x' is no access"),
            (json!({"allow": true, "access": "r", "major": 4096}), "devices[0].major: 4096 is no device"),
            (json!({"allow": true, "access": "r", "minor": -2}), "devices[0].minor: -2 is no device"),
            (json!({"allow": true, "access": "r", "type": "p"}), "devices[0].type: p is a FIFO"),
        ] {
            let fault = rules(&json!([entry])).unwrap_err().to_string();
            assert!(fault.contains(words), "{fault}");
        }
    }
}
