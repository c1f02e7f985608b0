//! The container's share of caches and memory bandwidth: `linux.intelRdt`, a group of the resctrl file system.

use crate::fault::{Fault, Place};
use crate::host::facilities::{Facilities, Resctrl};
use oci_spec::runtime::LinuxIntelRdt;
use std::path::PathBuf;

#[derive(Debug, PartialEq, Eq)]
pub struct IntelRdt<'spec> {
    /// Where resctrl is mounted.
    pub root: PathBuf,
    /// The class of service.
    pub group: Group<'spec>,
    /// Lines for its `schemata` file, in order.
    pub schemata: Vec<(Place, &'spec str)>,
    /// Whether the container is counted by itself.
    pub monitoring: bool,
}

/// Which group the container joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group<'spec> {
    /// One of the container's own, named like it; it goes with the container.
    OfContainer,
    /// The class of service `/`: the root of the file system.
    Default,
    /// A class of service that the configuration names; it stays.
    Named(&'spec str),
}

const CLOS_ID: &str = "linux.intelRdt.closID";
const CACHE: Place = Place::of("linux.intelRdt.l3CacheSchema");
const BANDWIDTH: Place = Place::of("linux.intelRdt.memBwSchema");

impl IntelRdt<'_> {
    /// The lines that an existing class of service must have already: those of the two older fields.
    pub fn promised(&self) -> impl Iterator<Item = &(Place, &str)> {
        self.schemata.iter().filter(|(at, _)| *at == CACHE || *at == BANDWIDTH)
    }
}

/// Decides `linux.intelRdt`.
///
/// # Errors
/// No resctrl on the host, or one without what is asked for; a name or a line that resctrl cannot have.
pub fn decide<'spec>(
    listed: Option<&'spec LinuxIntelRdt>,
    facilities: &Facilities,
) -> Result<Option<IntelRdt<'spec>>, Fault> {
    let Some(listed) = listed else { return Ok(None) };
    let group = group(listed.clos_id().as_deref())?;
    let schemata = schemata(listed, facilities.resctrl.as_ref())?;
    let Some(resctrl) = &facilities.resctrl else {
        return Err(Fault::at("linux.intelRdt", "intelRdt is specified in config, but Intel RDT is not enabled")
            .remedy("mount it (mount -t resctrl resctrl /sys/fs/resctrl) if the processor and the kernel have it, or leave the field out"));
    };
    Ok(Some(IntelRdt {
        root: resctrl.root.clone(),
        group,
        schemata,
        monitoring: listed.enable_monitoring().unwrap_or(false),
    }))
}

fn group(name: Option<&str>) -> Result<Group<'_>, Fault> {
    /// Names of resctrl's own.
    const TAKEN: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];
    match name {
        None | Some("") => Ok(Group::OfContainer),
        Some("/") => Ok(Group::Default),
        Some(name) if TAKEN.contains(&name) || name.contains(['/', '\n', '\0']) => {
            Err(Fault::at(CLOS_ID, format!("{name:?} is no name of a class of service"))
                .remedy("name a directory of resctrl's root without slashes, or / for the default class"))
        }
        Some(name) => Ok(Group::Named(name)),
    }
}

/// In the order in which the specification wants them written.
fn schemata<'spec>(
    listed: &'spec LinuxIntelRdt,
    resctrl: Option<&Resctrl>,
) -> Result<Vec<(Place, &'spec str)>, Fault> {
    let cache = listed.l3_cache_schema().as_deref().filter(|line| !line.is_empty());
    let bandwidth = listed.mem_bw_schema().as_deref().filter(|line| !line.is_empty());
    let first = |line: Option<&'spec str>, at, prefix, form, there| match line {
        None => Ok(None),
        Some(line) if !line.starts_with(prefix) => {
            Err(Fault::at(at, format!("{line:?} does not begin with {prefix}")).remedy(form))
        }
        Some(_) if there == Some(false) => {
            Err(Fault::at(at, "is specified in config, but resctrl here has no such control")
                .remedy("leave it out; `ls /sys/fs/resctrl/info` shows what there is"))
        }
        Some(line) => Ok(Some((at, line))),
    };
    let first = [
        first(cache, CACHE, "L3", "write it as in L3:0=7f0;1=1f", resctrl.map(|there| there.cache))?,
        first(
            bandwidth,
            BANDWIDTH,
            "MB:",
            "write it as in MB:0=20;1=70",
            resctrl.map(|there| there.bandwidth),
        )?,
    ];
    let more = listed.schemata().iter().flatten().map(String::as_str).enumerate();
    let more = more.map(|(index, line)| (Place::nth("linux.intelRdt.schemata", index), line));
    let lines: Vec<_> = first.into_iter().flatten().chain(more).collect();
    match lines.iter().find(|(_, line)| line.contains(['\n', '\0']) || !line.contains(':')) {
        Some((at, line)) => Err(Fault::at(at, format!("{line:?} is no line of a schemata file"))
            .remedy("write one line without a newline, as in L3:0=7f0;1=1f")),
        None => Ok(lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn facilities() -> Facilities {
        let resctrl = Resctrl { root: "/sys/fs/resctrl".into(), cache: true, bandwidth: false };
        Facilities { resctrl: Some(resctrl), ..Facilities::default() }
    }

    fn fault(value: Value) -> String {
        let listed = serde_json::from_value(value).unwrap();
        decide(Some(&listed), &facilities()).unwrap_err().to_string()
    }

    #[test]
    fn a_host_without_resctrl_is_no_place_for_it() {
        let listed = serde_json::from_value(json!({})).unwrap();
        let fault = decide(Some(&listed), &Facilities::default()).unwrap_err();
        assert!(fault.to_string().starts_with("linux.intelRdt: intelRdt is specified"), "{fault}");
    }

    #[test]
    fn lines_are_written_in_the_specifications_order() {
        let listed = serde_json::from_value(json!({
            "closID": "gold", "schemata": ["L2:0=f"], "l3CacheSchema": "L3:0=7f0", "enableMonitoring": true,
        }))
        .unwrap();
        let rdt = decide(Some(&listed), &facilities()).unwrap().unwrap();
        assert_eq!(rdt.group, Group::Named("gold"));
        assert!(rdt.monitoring);
        let lines: Vec<_> = rdt.schemata.iter().map(|(_, line)| *line).collect();
        assert_eq!(lines, ["L3:0=7f0", "L2:0=f"]);
        assert_eq!(rdt.promised().count(), 1);
    }

    #[test]
    fn the_group_is_the_containers_unless_it_is_named() {
        assert_eq!(group(None).unwrap(), Group::OfContainer);
        assert_eq!(group(Some("/")).unwrap(), Group::Default);
        for name in [".", "..", "a/b", "/a", "info", "mon_groups", "a\nb"] {
            let fault = fault(json!({"closID": name}));
            assert!(fault.starts_with("linux.intelRdt.closID: "), "{fault}");
        }
    }

    #[test]
    fn lines_that_resctrl_cannot_have_are_refused_with_their_place() {
        let table = [
            (json!({"l3CacheSchema": "MB:0=1"}), "linux.intelRdt.l3CacheSchema: \"MB:0=1\""),
            (json!({"l3CacheSchema": "L3:0=f\nL2:0=f"}), "linux.intelRdt.l3CacheSchema"),
            (json!({"memBwSchema": "L3:0=f"}), "linux.intelRdt.memBwSchema: \"L3:0=f\""),
            (json!({"memBwSchema": "MB:0=20"}), "linux.intelRdt.memBwSchema: is specified"),
            (json!({"schemata": ["L3:0=f", "x"]}), "linux.intelRdt.schemata[1]"),
            (json!({"schemata": ["L3:0=f\n"]}), "linux.intelRdt.schemata[0]"),
        ];
        for (value, expected) in table {
            let fault = fault(value);
            assert!(fault.starts_with(expected), "{fault}");
        }
    }
}
