//! Where the container's memory comes from: `linux.memoryPolicy`.

use super::number_list::{self, Mask};
use crate::fault::{Fault, Place};
use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

/// As set_mempolicy(2) takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// MPOL_* with MPOL_F_*.
    pub mode: i32,
    /// Bit n is node n.
    pub nodes: Mask,
    /// As given, for messages.
    pub shown: String,
}

/// linux/mempolicy.h.
const STATIC_NODES: i32 = 1 << 15;
const RELATIVE_NODES: i32 = 1 << 14;
const NUMA_BALANCING: i32 = 1 << 13;

/// Every mode, for `features`.
pub const MODES: [Mode; 7] = [
    Mode::MpolBind,
    Mode::MpolDefault,
    Mode::MpolInterleave,
    Mode::MpolLocal,
    Mode::MpolPreferred,
    Mode::MpolPreferredMany,
    Mode::MpolWeightedInterleave,
];
/// Every flag, for `features`.
pub const FLAGS: [Flag; 3] = [Flag::MpolFNumaBalancing, Flag::MpolFRelativeNodes, Flag::MpolFStaticNodes];

/// Decides `linux.memoryPolicy`.
///
/// # Errors
/// What set_mempolicy(2) would refuse on any machine: no list of nodes, nodes too many or missing for the
/// mode, flags that exclude each other.
pub fn decide(listed: &LinuxMemoryPolicy) -> Result<MemoryPolicy, Fault> {
    let list = listed.nodes().as_deref().unwrap_or_default();
    let nodes = Mask::parse(list).map_err(|flaw| {
        Fault::at("linux.memoryPolicy.nodes", format!("{list:?} {flaw}")).remedy(number_list::FORM)
    })?;
    let mode = listed.mode();
    let number = match mode {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    match mode {
        Mode::MpolDefault | Mode::MpolLocal if !nodes.is_empty() => {
            return Err(Fault::at(
                "linux.memoryPolicy.nodes",
                format!("{mode}: mode requires 0 nodes but got {}", nodes.count()),
            )
            .remedy("leave nodes out, or choose a mode that is about nodes, such as MPOL_BIND"));
        }
        Mode::MpolDefault | Mode::MpolLocal | Mode::MpolPreferred => {}
        _ if nodes.is_empty() => {
            return Err(Fault::at(
                "linux.memoryPolicy.nodes",
                format!("{mode}: mode requires at least one node but got 0"),
            )
            .remedy("name nodes of this machine: cat /sys/devices/system/node/online"));
        }
        _ => {}
    }
    let flags = flags(listed.flags().as_deref().unwrap_or_default(), mode, &nodes)?;
    Ok(MemoryPolicy { mode: number | flags, nodes, shown: format!("{mode} {list}").trim_end().to_string() })
}

fn flags(listed: &[Flag], mode: Mode, nodes: &Mask) -> Result<i32, Fault> {
    let mut flags = 0;
    for (index, flag) in listed.iter().enumerate() {
        let refused = |why: &str, remedy: &str| {
            let at = Place::nth("linux.memoryPolicy.flags", index);
            Err(Fault::at(at, format!("{flag} {why}")).remedy(remedy))
        };
        flags |= match flag {
            Flag::MpolFNumaBalancing if !matches!(mode, Mode::MpolBind | Mode::MpolPreferredMany) => {
                return refused(
                    &format!("means nothing to {mode}"),
                    "leave it out, or set mode to MPOL_BIND or MPOL_PREFERRED_MANY",
                );
            }
            Flag::MpolFNumaBalancing => NUMA_BALANCING,
            _ if nodes.is_empty() => {
                return refused("is about nodes, and there are none", "leave it out, or give nodes");
            }
            Flag::MpolFStaticNodes => STATIC_NODES,
            Flag::MpolFRelativeNodes => RELATIVE_NODES,
        };
        if flags & STATIC_NODES != 0 && flags & RELATIVE_NODES != 0 {
            return refused("contradicts the flag before it", "leave one of the two out");
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn decided(value: Value) -> Result<(i32, u32), String> {
        let listed = serde_json::from_value(value).unwrap();
        decide(&listed).map(|policy| (policy.mode, policy.nodes.count())).map_err(|fault| fault.to_string())
    }

    #[test]
    fn modes_and_flags_are_the_kernels_bits() {
        assert_eq!(decided(json!({"mode": "MPOL_DEFAULT"})), Ok((0, 0)));
        assert_eq!(decided(json!({"mode": "MPOL_PREFERRED"})), Ok((1, 0)));
        assert_eq!(decided(json!({"mode": "MPOL_LOCAL"})), Ok((4, 0)));
        for (mode, number) in [
            ("MPOL_PREFERRED", 1),
            ("MPOL_BIND", 2),
            ("MPOL_INTERLEAVE", 3),
            ("MPOL_PREFERRED_MANY", 5),
            ("MPOL_WEIGHTED_INTERLEAVE", 6),
        ] {
            assert_eq!(decided(json!({"mode": mode, "nodes": "0-2"})), Ok((number, 3)));
        }
        let with = |flag: &str| decided(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}));
        assert_eq!(with("MPOL_F_STATIC_NODES"), Ok((2 | 0x8000, 1)));
        assert_eq!(with("MPOL_F_RELATIVE_NODES"), Ok((2 | 0x4000, 1)));
        assert_eq!(with("MPOL_F_NUMA_BALANCING"), Ok((2 | 0x2000, 1)));
    }

    #[test]
    fn what_no_machine_takes_is_refused_with_its_place() {
        let table = [
            (json!({"mode": "MPOL_BIND", "nodes": "x"}), "linux.memoryPolicy.nodes: \"x\""),
            (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "linux.memoryPolicy.nodes"),
            (json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes: MPOL_BIND: mode requires at least"),
            (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "linux.memoryPolicy.nodes: MPOL_DEFAULT"),
            (
                json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}),
                "linux.memoryPolicy.flags[0]: MPOL_F_NUMA_BALANCING means nothing",
            ),
            (
                json!({"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]}),
                "linux.memoryPolicy.flags[0]",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0",
                       "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
                "linux.memoryPolicy.flags[1]",
            ),
        ];
        for (value, expected) in table {
            let fault = decided(value.clone()).unwrap_err();
            assert!(fault.starts_with(expected), "{value}: {fault}");
        }
    }
}
