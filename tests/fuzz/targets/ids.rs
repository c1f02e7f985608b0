//! /etc/subuid, and the maps that follow from it; the text of /proc/PID/uid_map.

use rootless::caller::{Caller, Standing};
use rootless::id_map::{IdMap, IdMaps};
use rootless::id_writer;
use rootless::subid::{self, Subordinate};

pub fn execute(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let anna = Caller::assumed(Standing::User, 1000, 1000).with_name(Some("anna"));
    let ranges = subid::parse(&text, Some("anna"), 1000);
    for (index, range) in ranges.iter().enumerate() {
        assert!(range.count > 0 && range.end() <= u64::from(u32::MAX), "{range:?}");
        let apart = |other: &rootless::Range| {
            range.end() <= u64::from(other.start) || other.end() <= u64::from(range.start)
        };
        assert!(ranges[..index].iter().all(apart), "{range:?} is there twice");
    }
    let subordinate = Subordinate::new(ranges.clone(), ranges);
    let maps = subordinate.maps(&anna);
    assert_eq!(maps.check(), Ok(()), "what follows from any file is a map that the kernel takes");
    assert!(id_writer::permitted(&anna, &subordinate, &maps).is_ok());
    assert_eq!(maps.uids.outside(0), Some(1000));
    if let Ok(map) = text.parse::<IdMap>() {
        check(&map, &anna, &subordinate);
    }
}

fn check(map: &IdMap, caller: &Caller, subordinate: &Subordinate) {
    assert_eq!(map.to_string().parse::<IdMap>().as_ref(), Ok(map), "what is written is what was read");
    let maps = IdMaps { uids: map.clone(), gids: map.clone() };
    if let Err(refused) = id_writer::permitted(caller, subordinate, &maps) {
        assert!(refused.line < map.0.len() && !refused.remedy(caller).is_empty());
    }
    match map.check() {
        Ok(()) => {
            for line in &map.0 {
                assert_eq!(map.outside(line.inside), Some(line.outside));
                assert_eq!(map.inside(line.outside), Some(line.inside));
                let last = line.count - 1;
                assert_eq!(map.outside(line.inside + last), Some(line.outside + last));
            }
        }
        Err(flaw) => assert!(flaw.line.is_none_or(|line| line < map.0.len()) && !flaw.to_string().is_empty()),
    }
}
