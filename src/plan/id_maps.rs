//! The ids of a user namespace that is made.

use super::adapt::Adapt;
use super::namespaces::{Kind, Namespaces};
use super::notes::Notes;
use crate::fault::{Fault, Place};
use crate::host::{Helpers, Host};
use oci_spec::runtime::LinuxIdMapping;
use rootless::caller::Standing;
use rootless::id_map::{IdMap, IdMaps, Line, MOST_BYTES, MOST_LINES};
use rootless::{diagnose, id_map, id_writer};

/// The maps for the container's new user namespace, if it gets one. An ordinary user's container always
/// does: `namespaces` is changed then.
///
/// # Errors
/// Maps without a user namespace, flawed maps, ids that are not the caller's to map.
pub fn decide(
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
    namespaces: &mut Namespaces<'_>,
    host: &Host,
    adapt: Adapt,
    notes: &mut Notes,
) -> Result<Option<IdMaps>, Fault> {
    let given = !uids.is_empty() || !gids.is_empty();
    let lacks = !namespaces.has(Kind::User);
    if lacks && host.caller.standing == Standing::User && adapt == Adapt::Yes {
        namespaces.add(Kind::User);
    } else if lacks && given {
        return Err(Fault::at(
            if uids.is_empty() { "linux.gidMappings" } else { "linux.uidMappings" },
            "there are maps, but no user namespace to map",
        )
        .remedy("add {\"type\": \"user\"} to linux.namespaces, or leave the maps out"));
    }
    if !namespaces.makes(Kind::User) {
        return Ok(None);
    }
    if given {
        let maps = IdMaps { uids: lines(uids), gids: lines(gids) };
        check(&maps, host)?;
        return Ok(Some(maps));
    }
    let maps = default(host);
    if host.caller.standing == Standing::User {
        tell_left_out(host, &maps, notes);
    }
    if lacks {
        notes.info(format!(
            "config.json has no user namespace: kase made one{} ({})",
            short(host),
            describe(&maps)
        ));
    }
    Ok(Some(maps))
}

/// The maps of a container whose config.json has none. An ordinary user gets all that is theirs. Root gets what it
/// has itself: another map would only take ids away.
pub fn default(host: &Host) -> IdMaps {
    match host.caller.standing {
        Standing::User if host.helpers != Helpers::Found => host.caller.own_maps(0, 0),
        Standing::User => host.subordinate.maps(&host.caller),
        Standing::Root | Standing::NamespaceRoot => {
            // The container gets every id that our own namespace has, each mapped to itself.
            let same = |map: &IdMap| {
                IdMap(map.0.iter().map(|line| Line { outside: line.inside, ..*line }).collect())
            };
            let own = host.caller.namespace_maps();
            own.map_or_else(whole, |own| IdMaps { uids: same(&own.uids), gids: same(&own.gids) })
        }
    }
}

/// Why there is just one id in it, if that is so.
fn short(host: &Host) -> String {
    let why = match host.helpers {
        Helpers::Missing => "newuidmap and newgidmap are not installed",
        Helpers::Powerless => "newuidmap gains no privilege in a user namespace that does not map uid 0",
        Helpers::Found if host.subordinate.is_incomplete() => {
            "/etc/subuid and /etc/subgid give you no others"
        }
        Helpers::Found => return String::new(),
    };
    format!(" of your own id only, since {why}")
}

/// What the user may think that it has in its container.
fn tell_left_out(host: &Host, maps: &IdMaps, notes: &mut Notes) {
    let subordinate = &host.subordinate;
    if let Some(diagnosis) = diagnose::unread_lines(&subordinate.passed_over) {
        notes.warn(format!("{}: {}", diagnosis.cause, diagnosis.remedy));
    }
    for (kind, map, ranges) in
        [("uid", &maps.uids, &subordinate.uids), ("gid", &maps.gids, &subordinate.gids)]
    {
        let have: u64 = ranges.iter().map(|range| u64::from(range.count)).sum();
        let left = have.saturating_sub(map.count());
        if host.helpers == Helpers::Found && left > 0 && map.count() > 1 {
            notes.warn(format!(
                "{left} of your {kind}s are left out of the container: /etc/sub{kind} has more ranges for you than the \
                 kernel takes ({MOST_LINES} lines, {MOST_BYTES} bytes)"
            ));
        }
    }
}

fn whole() -> IdMaps {
    let all = || IdMap(vec![Line { inside: 0, outside: 0, count: u32::MAX }]);
    IdMaps { uids: all(), gids: all() }
}

/// A list of mappings as a map.
pub fn lines(listed: &[LinuxIdMapping]) -> IdMap {
    let line = |entry: &LinuxIdMapping| Line {
        inside: entry.container_id(),
        outside: entry.host_id(),
        count: entry.size(),
    };
    IdMap(listed.iter().map(line).collect())
}

fn check(maps: &IdMaps, host: &Host) -> Result<(), Fault> {
    maps.check().map_err(|(kind, flaw)| {
        Fault::at(place(kind, flaw.line), flaw.to_string())
            .remedy("give each range of ids once: containerID, hostID and a size of at least 1")
    })?;
    if host.caller.standing == Standing::Root {
        return Ok(());
    }
    id_writer::permitted(&host.caller, &host.subordinate, maps).map_err(|refused| {
        Fault::at(place(refused.kind, Some(refused.line)), refused.to_string())
            .remedy(refused.remedy(&host.caller))
    })
}

fn place(kind: id_map::IdKind, line: Option<usize>) -> Place {
    let list = match kind {
        id_map::IdKind::Uid => "linux.uidMappings",
        id_map::IdKind::Gid => "linux.gidMappings",
    };
    line.map_or(Place::of(list), |line| Place::nth(list, line))
}

/// The maps in words; of long ones the beginning.
pub fn describe(maps: &IdMaps) -> String {
    const SHOWN: usize = 5;
    let list = |map: &IdMap| {
        let shown = map.0.iter().take(SHOWN).map(|line| match line.count {
            1 => format!("{} is {}", line.inside, line.outside),
            count => format!(
                "{}-{} are {}-{}",
                line.inside,
                line.inside + (count - 1),
                line.outside,
                line.outside + (count - 1)
            ),
        });
        let more = map.0.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("and {more} more ranges"));
        shown.chain(more).collect::<Vec<_>>().join(", ")
    };
    format!("uids: {}; gids: {}", list(&maps.uids), list(&maps.gids))
}
