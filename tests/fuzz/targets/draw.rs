//! A host and a command line, drawn from the first bytes of an input.

use crate::host::facilities::{Facilities, Resctrl};
use crate::host::{Helpers, Host};
use crate::plan::Options;
use crate::plan::adapt::Adapt;
use crate::plan::cgroup::annotated::Properties;
use crate::plan::cgroup::{Driver, Manager, Systemd, Version};
use rootless::Range;
use rootless::caller::{Caller, Standing};
use rootless::id_map::{IdMap, IdMaps, Line};
use rootless::subid::Subordinate;
use std::path::Path;

/// How many bytes it takes.
pub const BYTES: usize = 8;

/// A byte decides each time; those that are missing are 0.
pub struct Draw<'a>(&'a [u8]);

impl<'a> Draw<'a> {
    /// From the first bytes, and what is behind them.
    pub fn from(input: &'a [u8]) -> (Self, &'a [u8]) {
        let (bytes, rest) = input.split_at(BYTES.min(input.len()));
        (Self(bytes), rest)
    }

    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.byte() % values.len()].clone()
    }

    pub fn host(&mut self) -> Host {
        let standing = self.one_of(&[Standing::Root, Standing::User, Standing::NamespaceRoot]);
        let own = if standing == Standing::User { 1000 } else { 0 };
        let line = |inside, outside, count| Line { inside, outside, count };
        let caller = Caller::assumed(standing, own, own).with_name(Some("anna"));
        let caller = match standing {
            Standing::NamespaceRoot => {
                let maps = [
                    vec![line(0, 1000, 1), line(1, 100_000, 65_536)],
                    vec![line(0, 1000, 1)],
                    vec![line(0, 0, u32::MAX)],
                ];
                let map = IdMap(self.one_of(&maps));
                caller.with_maps(IdMaps { uids: map.clone(), gids: map })
            }
            _ => caller,
        };
        let ranges: [Vec<Range>; 3] = [
            vec![Range { start: 100_000, count: 65_536 }],
            Vec::new(),
            vec![Range { start: 5, count: 1 }, Range { start: 4_294_901_760, count: 65_535 }],
        ];
        let presence = [true, false];
        let resctrl = Resctrl {
            root: "/sys/fs/resctrl".into(),
            cache: self.one_of(&presence),
            bandwidth: self.one_of(&presence),
        };
        Host {
            subordinate: Subordinate::new(self.one_of(&ranges), self.one_of(&ranges)),
            helpers: self.one_of(&[Helpers::Found, Helpers::Missing, Helpers::Powerless]),
            last_capability: self.one_of(&[40, 38, 63]),
            facilities: Facilities {
                apparmor: self.one_of(&presence),
                selinux: self.one_of(&presence),
                resctrl: self.one_of(&[Some(resctrl), None]),
            },
            ..Host::assumed(caller)
        }
    }

    pub fn options(&mut self) -> Options<'static> {
        let overlay = [None, Some(Path::new("tmpfs")), Some(Path::new("/var/overlay"))];
        let bits = self.byte();
        Options {
            bundle: Path::new("/bundle"),
            adapt: if bits & 1 == 0 { Adapt::Yes } else { Adapt::No },
            no_pivot: bits & 2 != 0,
            no_new_keyring: bits & 4 != 0,
            preserve_fds: 0,
            id: "web",
            version: self.version(),
            systemd: self.one_of(&[Some(Systemd::System), Some(Systemd::User), None]),
            cgroups: Manager {
                driver: self.one_of(&[Driver::Auto, Driver::Systemd, Driver::Cgroupfs, Driver::Disabled]),
                properties: self.one_of(&[Properties::Scope, Properties::Any]),
            },
            overlay: self.one_of(&overlay),
            fake_root: bits & 8 != 0,
        }
    }

    pub fn version(&mut self) -> Option<Version> {
        self.one_of(&[Some(Version::V2), Some(Version::V1), None])
    }
}

/// What lies at this pointer in a config.json, behind the bytes of a host.
pub fn part(text: &[u8], pointer: &str) -> Vec<Vec<u8>> {
    let whole: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let part = whole.pointer(pointer).map(ToString::to_string);
    let part = part.into_iter().map(|part| [&[0; BYTES], part.as_bytes()].concat());
    part.collect()
}
