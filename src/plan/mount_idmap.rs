//! Option `idmap` of a mount, and its `uidMappings` and `gidMappings`: other owners than its source has.

use super::id_maps;
use super::mount_options::Options;
use super::namespaces::{Kind, Namespaces};
use crate::fault::{Fault, Place};
use crate::kernel::mount::Reach;
use rootless::caller::Standing;
use rootless::id_map::IdMaps;
use std::path::Path;

/// How a mount's ids are mapped; mount_setattr(2), "ID-mapped mounts".
#[derive(Debug)]
pub struct IdMapped<'spec> {
    /// By what.
    pub by: MappedBy<'spec>,
    /// The mount alone, or all below it too.
    pub reach: Reach,
}

/// Where a mount's maps come from.
#[derive(Debug)]
pub enum MappedBy<'spec> {
    /// From the source's ids (inside) to those that the mount shows (outside).
    Maps(IdMaps),
    /// Those of the user namespace at this path, which the container joins.
    Namespace(&'spec Path),
}

/// The maps of the entry, or with `idmap` alone those of the container's user namespace: `maps` where it is made.
pub fn decide<'spec>(
    entry: &oci_spec::runtime::Mount,
    at: Place,
    options: &Options<'_>,
    namespaces: &Namespaces<'spec>,
    maps: Option<&IdMaps>,
    standing: Standing,
) -> Result<Option<IdMapped<'spec>>, Fault> {
    let uids = entry.uid_mappings().as_deref().unwrap_or_default();
    let gids = entry.gid_mappings().as_deref().unwrap_or_default();
    if options.idmap.is_none() && uids.is_empty() && gids.is_empty() {
        return Ok(None);
    }
    if options.bind.is_none() {
        return Err(
            Fault::at(at, "only a bind mount can have mapped ids").remedy("put bind or rbind into options")
        );
    }
    if standing == Standing::User {
        return Err(Fault::at(
            at,
            "an ordinary user cannot map a mount's ids: the kernel asks for CAP_SYS_ADMIN on the host",
        )
        .remedy("run as root, or chown a copy of the files to your subordinate ids"));
    }
    let by = match (uids.is_empty(), gids.is_empty()) {
        (false, false) => {
            let maps = IdMaps { uids: id_maps::lines(uids), gids: id_maps::lines(gids) };
            maps.check().map_err(|(kind, flaw)| {
                Fault::at(format!("{at}.{kind}Mappings"), flaw.to_string())
                    .remedy("give each range of ids once")
            })?;
            MappedBy::Maps(maps)
        }
        (true, true) => match (namespaces.join(Kind::User), maps) {
            (Some(join), _) => MappedBy::Namespace(join.path),
            (None, Some(maps)) => MappedBy::Maps(maps.clone()),
            (None, None) => {
                return Err(Fault::at(
                    at.field(".options"),
                    "idmap needs maps, and the container has no user namespace to take them from",
                )
                .remedy("give the mount uidMappings and gidMappings"));
            }
        },
        _ => {
            return Err(
                Fault::at(at, "uidMappings and gidMappings go together").remedy("give both, or neither")
            );
        }
    };
    Ok(Some(IdMapped { by, reach: options.idmap.unwrap_or(Reach::One) }))
}
